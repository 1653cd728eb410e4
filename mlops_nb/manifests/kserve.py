"""A version on KServe: an InferenceService, or a pair of LLMInferenceServices for an LLM.

KServe has no analysis: nothing promotes or aborts a canary by itself. Each deployment says one
share, the first of its plan; the next deployment of the same version says the next.
"""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING, Any

from mlops_nb.core.change import overlay_path
from mlops_nb.errors import UserError
from mlops_nb.manifests.extras import pull_secrets, secrets
from mlops_nb.manifests.overlay import (
    Operation,
    Resource,
    kustomization,
    patch_file,
    resource_file,
)
from mlops_nb.manifests.routes import DNS_EGRESS, requests_from
from mlops_nb.manifests.servers import SERVERS, base_path
from mlops_nb.manifests.yaml import flow, flow_list, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.delivery import Environment
    from mlops_nb.core.model import ModelVersion

# Where KServe's storage initializer can read from.
_SCHEMES = (
    "s3://",
    "gs://",
    "oci://",
    "oci+native://",
    "hf://",
    "pvc://",
    "https://",
    "http://",
)
_FORMATS = {"sklearn", "xgboost", "lightgbm"}
_RUNTIMES = {
    "sklearn": "kserve-sklearnserver",
    "xgboost": "kserve-xgbserver",
    "lightgbm": "kserve-lgbserver",
    "mlflow": "kserve-mlserver",
}
_FIRST_WITH_CANARY = (0, 21)
_FILES = {
    "kustomization.yaml": """\
# Written once by mlops_nb; yours to edit. overlays/<environment> says what is served.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- serviceaccount.yaml
- networkpolicy.yaml
""",
    "serviceaccount.yaml": """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: $model
  labels:
    mlops-nb.io/server: $server
automountServiceAccountToken: false
""",
    "networkpolicy.yaml": """\
# Whatever is not allowed here is denied. The overlay sets where requests come from.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: $model
spec:
  podSelector:
    matchLabels:
      mlops-nb.io/model: $model
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: set-by-the-overlay
  - from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: monitoring
  egress:
  # The model is downloaded from its store: narrow this to its address with `to:`.
  - ports:
    - protocol: TCP
      port: 443
"""
    + DNS_EGRESS,
}
_SERVICE_COMMENT = """\
`mlops deploy` writes what is served: the stable version and, while it is tried, the next."""
_LLM_COMMENT = """\
`mlops deploy` writes what is served. Both services of the pair share one route by weight."""


def kserve_files(
    version: ModelVersion,
    lock: LockFile,
    environment: Environment,
    current: Mapping[str, bytes],
) -> dict[str, bytes]:
    """Give a model's base, unless it has one, and its overlay.

    Args:
        version: what is deployed.
        lock: its audit record.
        environment: where to, with the server of the version.
        current: files of the model on base, by path.

    Raises:
        UserError: if KServe could not read the model from where it is, or not serve it.
    """
    model, server = lock.model, SERVERS[environment.server]
    _check(version, lock, environment)
    base, folder = base_path(model, "kserve"), overlay_path(model, environment.name)
    files: dict[str, bytes] = {}
    if not any(path.startswith(f"{base}/") for path in current):
        words = {"model": model, "server": server.name}
        files = {
            f"{base}/{name}": Template(text).substitute(words).encode()
            for name, text in _FILES.items()
        }
    found = (
        _llm_pair(lock, environment, current)
        if server.is_llm
        else _inference_service(version, lock, environment, current)
    )
    resources = (*found, *secrets(environment))
    for resource in resources:
        path = f"{folder}/{resource.name}"
        files[path] = resource_file(path, resource, current.get(path))
    patches = {
        "network.yaml": [
            Operation(path="/spec/ingress/0/from/0", value=requests_from(environment))
        ],
        "account.yaml": _account(environment),
    }
    for name, operations in patches.items():
        path = f"{folder}/{name}"
        files[path] = patch_file(path, operations, current.get(path))
    path = f"{folder}/kustomization.yaml"
    files[path] = kustomization(
        path,
        environment.namespace,
        "../../base-kserve",
        resources=[resource.name for resource in resources],
        patches={
            "network.yaml": ("NetworkPolicy", model),
            "account.yaml": ("ServiceAccount", model),
        },
        current=current.get(path),
    )
    return files


def has_canary(environment: Environment) -> bool:
    """Tell whether KServe there splits traffic between two versions of one model."""
    release = tuple(int(part) for part in environment.kserve_version.split(".")[:2])
    return environment.server == "vllm" or release >= _FIRST_WITH_CANARY


def _check(version: ModelVersion, lock: LockFile, environment: Environment) -> None:
    if environment.server == "triton":
        raise UserError(
            f"{version} is not laid out as KServe's Triton wants it: MLflow's folder is no "
            "model repository",
            hint=f'set server = "mlserver" in [environments.{environment.name}], which serves '
            "ONNX, too",
        )
    if environment.server == "kserve" and version.flavor not in _FORMATS:
        raise UserError(
            f"how {version} was saved is not known: KServe's server cannot be chosen",
            hint=f"deploy it anew: mlops deploy {version} --to {environment.name}",
        )
    if not lock.source.startswith(_SCHEMES):
        raise UserError(
            f"{version} is kept at {lock.source or 'no known place'}: KServe cannot read that",
            hint="keep models where its storage initializer reads: start the tracking server "
            "with an artifact root such as s3://bucket and without --serve-artifacts",
        )


def _account(environment: Environment) -> list[Operation]:
    # KServe reads the credentials of a store from its service account's secrets.
    named = [flow({"name": environment.model_secret})] if environment.model_secret else []
    return [Operation(path="/secrets", value=named, op="add", is_essential=True)]


def _inference_service(
    version: ModelVersion,
    lock: LockFile,
    environment: Environment,
    current: Mapping[str, bytes],
) -> tuple[Resource, ...]:
    name = "inferenceservice.yaml"
    new = _predictor(version, lock, environment)
    path = f"{overlay_path(lock.model, environment.name)}/{name}"
    before = parse(current[path], path) if path in current else None
    stable = _of(before, "spec", "predictor")
    share = environment.canary.weights[0]
    is_canary = bool(stable) and stable["name"] != new["name"]
    if not is_canary or share == 100 or not has_canary(environment):
        stable, canary = new, []
    else:
        canary = [{"trafficPercent": share, "predictor": new}]
    annotations = {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/enable-prometheus-scraping": "true",
        **_audit(lock),
    }
    content = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": lock.model, "annotations": annotations},
        "spec": {"predictor": stable, "canary": canary},
    }
    places = (("metadata", "annotations"), ("spec", "predictor"), ("spec", "canary"))
    return (Resource(name=name, content=content, comment=_SERVICE_COMMENT, settings=places),)


def _predictor(
    version: ModelVersion, lock: LockFile, environment: Environment
) -> dict[str, Any]:
    kind = version.flavor if environment.server == "kserve" else "mlflow"
    return {
        "name": f"v{lock.version}",
        "labels": _labels(lock),
        "annotations": {"mlops-nb.io/model-digest": lock.digest},
        "minReplicas": environment.replicas,
        "serviceAccountName": lock.model,
        "automountServiceAccountToken": False,
        **pull_secrets(environment),
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_tolerations(environment),
        "volumes": [{"name": "tmp", "emptyDir": flow({})}],
        "model": {
            "name": "kserve-container",
            "modelFormat": {"name": kind},
            # Pinned: KServe would choose among several, and by a tag that moves.
            "runtime": _RUNTIMES[kind],
            "protocolVersion": "v2",
            "image": lock.image,
            "storageUri": lock.source,
            "resources": _resources(environment),
            "securityContext": _confined(),
            "volumeMounts": [flow({"name": "tmp", "mountPath": "/tmp"})],  # noqa: S108  # in the pod
        },
    }


def _llm_pair(
    lock: LockFile, environment: Environment, current: Mapping[str, bytes]
) -> tuple[Resource, ...]:
    names = ("llm.yaml", "llm-other.yaml")
    folder = overlay_path(lock.model, environment.name)
    paths = [f"{folder}/{name}" for name in names]
    stable, other = (parse(current[p], p) if p in current else None for p in paths)
    new = _llm(lock, environment)
    share = environment.canary.weights[0]
    if stable is None or stable["metadata"]["name"] == new["metadata"]["name"]:
        pair = (new, other)
    elif share == 100:
        pair = (new, _weighed(stable, 1, is_stopped=True))
    else:
        pair = (
            _weighed(stable, 100 - share, is_stopped=False),
            _weighed(new, share, is_stopped=False),
        )
    places = (("metadata",), ("spec",))
    return tuple(
        Resource(name=name, content=content, comment=_LLM_COMMENT, settings=places)
        for name, content in zip(names, pair, strict=True)
        if content is not None
    )


def _llm(lock: LockFile, environment: Environment) -> dict[str, Any]:
    namespace, _, gateway = environment.gateway.partition("/")
    return {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {
            "name": f"{lock.model}-v{lock.version}",
            "labels": _labels(lock),
            "annotations": {**_audit(lock), "mlops-nb.io/model-digest": lock.digest},
        },
        "spec": {
            # The folder that MLflow keeps the weights in; with them the tokenizer, where the
            # model was logged from a checkpoint's folder.
            "model": {"name": lock.model, "uri": f"{lock.source}/model"},
            "labels": _labels(lock),
            "replicas": environment.replicas,
            "router": {
                "route": {"group": lock.model, "weight": 100},
                "gateway": {"refs": [flow({"name": gateway, "namespace": namespace})]},
                "scheduler": flow({}),
            },
            "template": {
                "serviceAccountName": lock.model,
                "automountServiceAccountToken": False,
                **pull_secrets(environment),
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 1000,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                **_tolerations(environment),
                "containers": [
                    {
                        "name": "main",
                        "image": lock.image,
                        "resources": _resources(environment),
                        "securityContext": _confined(),
                    }
                ],
            },
        },
    }


def _weighed(service: Mapping[str, Any], weight: int, *, is_stopped: bool) -> dict[str, Any]:
    metadata, spec = service["metadata"], service["spec"]
    kept = {k: v for k, v in metadata["annotations"].items() if k != _STOP}
    annotations = {**kept, _STOP: "true"} if is_stopped else kept
    route = {**spec["router"]["route"], "weight": weight}
    return {
        **service,
        "metadata": {**metadata, "annotations": annotations},
        "spec": {**spec, "router": {**spec["router"], "route": route}},
    }


_STOP = "serving.kserve.io/stop"


def _labels(lock: LockFile) -> dict[str, str]:
    return {"mlops-nb.io/model": lock.model, "mlops-nb.io/version": str(lock.version)}


def _audit(lock: LockFile) -> dict[str, str]:
    return {
        "mlops-nb.io/model-uri": lock.uri,
        "mlops-nb.io/run": lock.run,
        "mlops-nb.io/tracking-id": lock.tracking_id,
    }


def _tolerations(environment: Environment) -> dict[str, object]:
    if not environment.gpu:
        return {}
    gpus = {"key": environment.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}
    return {"tolerations": [flow(gpus)]}


def _resources(environment: Environment) -> dict[str, object]:
    gpus = {environment.gpu_resource: environment.gpu} if environment.gpu else {}
    return {
        "requests": {"cpu": environment.cpu, "memory": environment.memory},
        "limits": {"memory": environment.memory, **gpus},
    }


def _confined() -> dict[str, object]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": flow_list(["ALL"])},
    }


def _of(document: Any, *place: str) -> Any:
    for step in place:
        document = (document or {}).get(step)
    return document
