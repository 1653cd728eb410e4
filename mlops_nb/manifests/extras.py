"""Manifests that an environment asks for: secrets from a store, a job that scores answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.manifests.analysis import QUALITY
from mlops_nb.manifests.overlay import Resource
from mlops_nb.manifests.yaml import flow, flow_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.core.delivery import Environment

_REFERENCE = """\
A reference: the secret itself comes from the store, whose entry bears the same name."""
_JOB = """\
A job scores the canary's answers; its exit code is its verdict. Until a least score is set
(limits.quality of mlops.toml) it is observed and not judged."""
_JOB_NETWORK = """\
What scores answers may ask the model, and nothing else."""


def secrets(environment: Environment) -> tuple[Resource, ...]:
    """Give the ExternalSecrets of an environment whose secrets come from a store."""
    if not environment.secret_store:
        return ()
    found = []
    if name := environment.pull_secret:
        key = ".dockerconfigjson"
        data = [{"secretKey": key, "remoteRef": {"key": name, "property": "dockerconfigjson"}}]
        template = {"template": {"type": "kubernetes.io/dockerconfigjson"}}
        found.append(_secret(environment, "pull-secret.yaml", name, template, data=data))
    if name := environment.model_secret:
        every = [{"extract": {"key": name}}]
        found.append(_secret(environment, "model-secret.yaml", name, {}, dataFrom=every))
    return tuple(found)


def quality(environment: Environment, model: str) -> tuple[Resource, ...]:
    """Give the job that scores a canary's answers, and its place in the network."""
    if not environment.quality_job:
        return ()
    name = f"{model}-quality"
    labels = {"app.kubernetes.io/name": name}
    return (
        Resource(
            name="quality.yaml",
            content={
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "AnalysisTemplate",
                "metadata": {"name": name},
                "spec": {"metrics": [_quality_metric(environment, model, labels)]},
            },
            comment=_JOB,
            settings=tuple((*_CONTAINER, *end) for end in (("image",), ("env", 1, "value"))),
        ),
        Resource(
            name="quality-network.yaml",
            content={
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": name},
                "spec": {
                    "podSelector": {"matchLabels": labels},
                    "policyTypes": flow_list(["Ingress", "Egress"]),
                    "egress": [
                        {
                            "to": [{"podSelector": _labelled(model)}],
                            "ports": [{"protocol": "TCP", "port": "http"}],
                        },
                        {
                            "to": [
                                {
                                    "namespaceSelector": {
                                        "matchLabels": {
                                            "kubernetes.io/metadata.name": "kube-system"
                                        }
                                    },
                                    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                                }
                            ],
                            "ports": [
                                {"protocol": "UDP", "port": 53},
                                {"protocol": "TCP", "port": 53},
                            ],
                        },
                    ],
                },
            },
            comment=_JOB_NETWORK,
        ),
    )


def pull_secrets(environment: Environment) -> dict[str, object]:
    """Give a pod's `imagePullSecrets`; nothing where none are needed."""
    if not environment.pull_secret:
        return {}
    return {"imagePullSecrets": [flow({"name": environment.pull_secret})]}


_CONTAINER = (
    "spec", "metrics", 0, "provider", "job", "spec", "template", "spec", "containers", 0,
)  # fmt: skip


def _labelled(name: str) -> dict[str, object]:
    return {"matchLabels": {"app.kubernetes.io/name": name}}


def _quality_metric(
    environment: Environment, model: str, labels: dict[str, str]
) -> dict[str, object]:
    return {
        "name": QUALITY,
        "consecutiveErrorLimit": 2,
        "provider": {
            "job": {
                "metadata": {"labels": dict(labels)},
                "spec": {
                    "backoffLimit": 1,
                    "activeDeadlineSeconds": 3600,
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {
                            "restartPolicy": "Never",
                            **pull_secrets(environment),
                            "automountServiceAccountToken": False,
                            "securityContext": {
                                "runAsNonRoot": True,
                                "seccompProfile": {"type": "RuntimeDefault"},
                            },
                            "containers": [
                                {
                                    "name": "quality",
                                    "image": environment.quality_job,
                                    "env": [
                                        {
                                            "name": "MODEL_URL",
                                            "value": f"http://{model}-canary",
                                        },
                                        {
                                            "name": "LEAST_SCORE",
                                            "value": f"{environment.limits.quality:g}",
                                        },
                                    ],
                                    "resources": {
                                        "requests": {"cpu": "100m", "memory": "256Mi"},
                                        "limits": {"memory": "256Mi"},
                                    },
                                    "securityContext": {
                                        "allowPrivilegeEscalation": False,
                                        "readOnlyRootFilesystem": True,
                                        "capabilities": {"drop": flow_list(["ALL"])},
                                    },
                                }
                            ],
                        },
                    },
                },
            }
        },
    }


def _secret(
    environment: Environment, file: str, name: str, target: Mapping[str, object], **data: object
) -> Resource:
    store = {"name": environment.secret_store, "kind": "ClusterSecretStore"}
    return Resource(
        name=file,
        content={
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": {"name": name},
            "spec": {
                "refreshInterval": "1h",
                "secretStoreRef": flow(store),
                "target": {"name": name, **target},
                **data,
            },
        },
        comment=_REFERENCE,
        settings=(
            ("metadata", "name"),
            ("spec", "secretStoreRef", "name"),
            ("spec", "target", "name"),
        ),
    )
