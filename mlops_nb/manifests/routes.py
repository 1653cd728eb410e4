"""How traffic comes to a model's pods, and metrics to who asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.manifests.overlay import Resource
from mlops_nb.manifests.yaml import flow, flow_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.core.delivery import Environment
    from mlops_nb.manifests.servers import Server

_ROUTE = "route.yaml"
_FILLED_IN = """\
What the API would fill in stands here in full, or Argo CD would find a difference for ever.
The weights are moved by the rollout; clusters/%s tells Argo CD to let them be."""
_WEIGHTS = """\
The weights are moved by the rollout; clusters/%s tells Argo CD to let them be."""
_BY_PODS = """\
Nothing splits the traffic by request: this reaches the pods of both versions, so that shares
are those of their numbers."""
_ISTIO_ROUTE = "primary"
# The end of a NetworkPolicy: whatever else is denied, names are looked up.
DNS_EGRESS = """\
  - to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
      podSelector:
        matchLabels:
          k8s-app: kube-dns
    ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
"""


def route(environment: Environment, model: str) -> Resource:
    """Give what brings requests to a model's stable and canary pods."""
    namespace, _, gateway = environment.gateway.partition("/")
    host = environment.host.replace("{model}", model)
    if environment.router == "none":
        return Resource(name=_ROUTE, content=_service(model), comment=_BY_PODS)
    if environment.router == "istio":
        return Resource(
            name=_ROUTE,
            content=_virtual_service(model, host, environment.gateway),
            comment=_WEIGHTS % environment.name,
            settings=(("spec", "hosts", 0), ("spec", "gateways", 0)),
        )
    return Resource(
        name=_ROUTE,
        content=_http_route(model, host, namespace, gateway),
        comment=_FILLED_IN % environment.name,
        settings=(
            ("spec", "hostnames", 0),
            ("spec", "parentRefs", 0, "name"),
            ("spec", "parentRefs", 0, "namespace"),
        ),
    )


def traffic_routing(environment: Environment, model: str) -> Mapping[str, object] | None:
    """Give a Rollout's `trafficRouting`; None where traffic is split by the number of pods."""
    if environment.router == "none":
        return None
    if environment.router == "istio":
        routes = flow_list([_ISTIO_ROUTE])
        return {"istio": {"virtualService": flow({"name": model, "routes": routes})}}
    plugin = flow({"httpRoute": model, "namespace": environment.namespace})
    return {"plugins": {"argoproj-labs/gatewayAPI": plugin}}


def requests_from(environment: Environment) -> Mapping[str, object]:
    """Give the NetworkPolicy peer that requests may come from."""
    if environment.router == "none":
        return flow({"podSelector": flow({})})
    namespace = environment.gateway.partition("/")[0]
    labels = flow({"kubernetes.io/metadata.name": namespace})
    return flow({"namespaceSelector": flow({"matchLabels": labels})})


def scrape(environment: Environment, model: str, server: Server) -> Resource:
    """Give what has the metrics of a model's pods read, each series with its pods' hash."""
    is_vm = environment.monitor == "vmpodscrape"
    every = {"scrape_interval" if is_vm else "interval": "15s"}
    return Resource(
        name="scrape.yaml",
        content={
            "apiVersion": "operator.victoriametrics.com/v1beta1"
            if is_vm
            else "monitoring.coreos.com/v1",
            "kind": "VMPodScrape" if is_vm else "PodMonitor",
            "metadata": {"name": model},
            "spec": {
                "selector": {"matchLabels": {"app.kubernetes.io/name": model}},
                "podTargetLabels": ["rollouts-pod-template-hash", "app.kubernetes.io/name"],
                "podMetricsEndpoints": [{"port": server.scraped, "path": "/metrics", **every}],
            },
        },
    )


def _service(model: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": model},
        "spec": {
            "selector": {"app.kubernetes.io/name": model},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }


def _virtual_service(model: str, host: str, gateway: str) -> dict[str, object]:
    shares = {f"{model}-stable": 100, f"{model}-canary": 0}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": model},
        "spec": {
            "hosts": [host],
            "gateways": [gateway],
            "http": [
                {
                    "name": _ISTIO_ROUTE,
                    "route": [
                        {
                            "destination": {"host": service, "port": flow({"number": 80})},
                            "weight": weight,
                        }
                        for service, weight in shares.items()
                    ],
                }
            ],
        },
    }


def _http_route(model: str, host: str, namespace: str, gateway: str) -> dict[str, object]:
    shares = {f"{model}-stable": 100, f"{model}-canary": 0}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": model},
        "spec": {
            "parentRefs": [
                {
                    "group": "gateway.networking.k8s.io",
                    "kind": "Gateway",
                    "name": gateway,
                    "namespace": namespace,
                }
            ],
            "hostnames": [host],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [
                        {
                            "group": "",
                            "kind": "Service",
                            "name": service,
                            "port": 80,
                            "weight": weight,
                        }
                        for service, weight in shares.items()
                    ],
                }
            ],
        },
    }
