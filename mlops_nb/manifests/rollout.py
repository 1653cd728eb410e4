"""A version on Argo Rollouts: its base, its overlay in an environment, Argo CD's part."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops_nb.core.change import lock_path, overlay_path
from mlops_nb.manifests.base import base_files
from mlops_nb.manifests.cluster import cluster_files
from mlops_nb.manifests.lock import lock_text
from mlops_nb.manifests.yaml import Document, anchored, emit, flow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.delivery import CanaryPlan, Environment
    from mlops_nb.core.model import ModelVersion

_POD = "/spec/template/spec"
_DOWNLOAD = f"{_POD}/initContainers/0"
_SERVER = f"{_POD}/containers/0"
_ROUTING = "/spec/strategy/canary/trafficRouting/plugins/argoproj-labs~1gatewayAPI"


def render(
    version: ModelVersion,
    lock: LockFile,
    environment: Environment,
    current: Mapping[str, bytes],
) -> dict[str, bytes]:
    """Give the files that must change for the version to be what the environment runs.

    Files that are there are edited in place: comments and lines of other people's survive.
    Base and cluster files that are there are left alone.

    Args:
        version: what is deployed.
        lock: its audit record.
        environment: where to, with the canary plan of this deployment.
        current: files of the model and of the cluster on base, by path.

    Raises:
        UserError: if an overlay was broken by hand; the message names the file.
    """
    model = version.name
    files = {**base_files(model), **cluster_files(environment)}
    files = {path: content for path, content in files.items() if path not in current}
    folder = overlay_path(model, environment.name)
    patches = {
        "rollout.yaml": _rollout(lock, environment),
        "route.yaml": _route(environment, model),
        "network.yaml": _network(lock, environment),
    }
    for name, operations in patches.items():
        path = f"{folder}/{name}"
        files[path] = _patch(path, operations, current.get(path))
    path = f"{folder}/kustomization.yaml"
    files[path] = _kustomization(path, environment, model, current.get(path))
    files[lock_path(model, environment.name)] = lock_text(lock)
    return {p: content for p, content in files.items() if current.get(p) != content}


def _rollout(lock: LockFile, environment: Environment) -> Sequence[Mapping[str, object]]:
    plan = environment.canary
    # Annotations stand on the Rollout: in the pod template each edit would start a canary.
    annotations = {
        "mlops-nb.io/model-uri": lock.uri,
        "mlops-nb.io/run": lock.run,
        "mlops-nb.io/tracking-id": lock.tracking_id,
    }
    resources = {
        "requests": {"cpu": environment.cpu, "memory": environment.memory},
        "limits": {"memory": environment.memory},
    }
    return [
        _test(f"{_DOWNLOAD}/env/0/name", "MODEL_URI"),
        _test(f"{_DOWNLOAD}/env/1/name", "MODEL_DIGEST"),
        _test(f"{_DOWNLOAD}/env/2/name", "MLFLOW_TRACKING_URI"),
        _test(f"{_SERVER}/name", "server"),
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
        _replace(f"{_DOWNLOAD}/env/0/value", lock.uri),
        _replace(f"{_DOWNLOAD}/env/1/value", lock.digest),
        _replace(f"{_DOWNLOAD}/env/2/value", lock.tracking_uri),
        _replace(f"{_DOWNLOAD}/image", lock.image),
        _replace(f"{_SERVER}/image", lock.image),
        _replace(f"{_SERVER}/resources", resources),
        _replace("/spec/replicas", environment.replicas),
        # Longer than any one step, or an analysis would look like a rollout that is stuck.
        _replace("/spec/progressDeadlineSeconds", 1800 + plan.share_seconds),
        _replace(f"{_ROUTING}/namespace", environment.namespace),
        _replace("/spec/strategy/canary/steps", _steps(lock.model, environment, plan)),
    ]


def _steps(model: str, environment: Environment, plan: CanaryPlan) -> list[object]:
    analysis = anchored(
        {
            "templates": [flow({"templateName": f"{model}-canary"})],
            "args": [
                flow({"name": "canary-hash", "valueFrom": _hash("Latest")}),
                flow({"name": "stable-hash", "valueFrom": _hash("Stable")}),
                flow({"name": "metrics-url", "value": environment.metrics_url}),
                flow({"name": "window", "value": f"{plan.window}s"}),
                flow({"name": "interval", "value": f"{plan.interval}s"}),
            ],
        },
        "analysis",
    )
    steps: list[object] = []
    for weight in plan.weights:
        steps.append({"setWeight": weight})
        if weight < 100:
            steps.append({"analysis": analysis} if plan.minutes else {"pause": flow({})})
    return steps


def _hash(which: str) -> Mapping[str, object]:
    return flow({"podTemplateHashValue": which})


def _route(environment: Environment, model: str) -> Sequence[Mapping[str, object]]:
    namespace, _, name = environment.gateway.partition("/")
    return [
        _replace("/spec/hostnames/0", environment.host.replace("{model}", model)),
        _replace("/spec/parentRefs/0/name", name),
        _replace("/spec/parentRefs/0/namespace", namespace),
    ]


def _network(lock: LockFile, environment: Environment) -> Sequence[Mapping[str, object]]:
    gateway = environment.gateway.partition("/")[0]
    selector = "namespaceSelector/matchLabels/kubernetes.io~1metadata.name"
    return [
        _replace(f"/spec/ingress/0/from/0/{selector}", gateway),
        _replace("/spec/egress/0/ports/0/port", tracking_port(lock.tracking_uri)),
    ]


def tracking_port(uri: str) -> int:
    """Give the port of a tracking server; 443 for an address that tells none."""
    address = urlsplit(uri)
    if address.scheme not in {"http", "https"}:
        return 443
    return address.port or (80 if address.scheme == "http" else 443)


def _kustomization(
    path: str, environment: Environment, model: str, current: bytes | None
) -> bytes:
    if current is not None:
        document = Document(current, path)
        document.set_key("namespace", environment.namespace)
        return document.content()
    targets = {"rollout": "Rollout", "route": "HTTPRoute", "network": "NetworkPolicy"}
    return emit(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": environment.namespace,
            "resources": ["../../base"],
            "patches": [
                {"path": f"{name}.yaml", "target": flow({"kind": kind, "name": model})}
                for name, kind in targets.items()
            ],
        },
    )


def _patch(
    path: str, operations: Sequence[Mapping[str, object]], current: bytes | None
) -> bytes:
    if current is None:
        return emit(list(operations), comment=_PATCH_COMMENT)
    document = Document(current, path)
    for operation in operations:
        where = str(operation["path"])
        document.set_operation(operation, essential=where in _ESSENTIAL)
    return document.content()


_PATCH_COMMENT = "`mlops deploy` sets these values; comments and lines of your own are kept."
# What makes it this version: added again where somebody removed it.
_ESSENTIAL = {
    "/metadata/annotations",
    f"{_DOWNLOAD}/env/0/value",
    f"{_DOWNLOAD}/env/1/value",
    f"{_DOWNLOAD}/image",
    f"{_SERVER}/image",
    "/spec/strategy/canary/steps",
}


def _replace(path: str, value: object) -> Mapping[str, object]:
    return {"op": "replace", "path": path, "value": value}


def _test(path: str, value: str) -> Mapping[str, object]:
    # A base whose order was changed stops the build instead of patching the wrong place.
    return {"op": "test", "path": path, "value": value}
