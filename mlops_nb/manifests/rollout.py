"""A version on Argo Rollouts: its base and its overlay in an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops_nb.core.change import overlay_path
from mlops_nb.manifests.analysis import guard_analysis, step_analysis
from mlops_nb.manifests.base import base_files
from mlops_nb.manifests.extras import pull_secrets, quality, secrets
from mlops_nb.manifests.overlay import (
    Operation,
    expect,
    kustomization,
    patch_file,
    resource_file,
)
from mlops_nb.manifests.routes import requests_from, route, scrape, traffic_routing
from mlops_nb.manifests.servers import SERVERS, base_path
from mlops_nb.manifests.yaml import anchored, flow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.delivery import Environment

_POD = "/spec/template/spec"
_DOWNLOAD = f"{_POD}/initContainers/0"
_SERVER = f"{_POD}/containers/0"
_CANARY = "/spec/strategy/canary"


def rollout_files(
    lock: LockFile, environment: Environment, current: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Give a model's base, unless it has one, and its overlay, edited in place.

    Args:
        lock: audit record of the version.
        environment: where to, with the server of the version.
        current: files of the model on base, by path.

    Raises:
        UserError: if an overlay was broken by hand; the message names the file.
    """
    model, server = lock.model, SERVERS[environment.server]
    folder, base = overlay_path(model, environment.name), base_path(model, "rollout")
    files: dict[str, bytes] = {}
    if not any(path.startswith(f"{base}/") for path in current):
        files |= base_files(model, server)
    patches = {
        "rollout.yaml": list(_rollout(lock, environment)),
        "network.yaml": _network(lock, environment),
    }
    for name, operations in patches.items():
        path = f"{folder}/{name}"
        files[path] = patch_file(path, operations, current.get(path))
    resources = (
        route(environment, model),
        scrape(environment, model, server),
        *secrets(environment),
        *quality(environment, model),
    )
    for resource in resources:
        path = f"{folder}/{resource.name}"
        files[path] = resource_file(path, resource, current.get(path))
    path = f"{folder}/kustomization.yaml"
    files[path] = kustomization(
        path,
        environment.namespace,
        "../../base",
        resources=[resource.name for resource in resources],
        patches={"rollout.yaml": ("Rollout", model), "network.yaml": ("NetworkPolicy", model)},
        current=current.get(path),
    )
    return files


def _rollout(lock: LockFile, environment: Environment) -> Iterator[Operation]:
    plan, is_llm = environment.canary, SERVERS[environment.server].is_llm
    # Annotations stand on the Rollout: in the pod template each edit would start a canary.
    annotations = {
        "mlops-nb.io/model-uri": lock.uri,
        "mlops-nb.io/run": lock.run,
        "mlops-nb.io/tracking-id": lock.tracking_id,
    }
    has_mlflow = SERVERS[environment.server].has_mlflow
    download = environment.download_image or (lock.image if has_mlflow else "")
    yield expect(f"{_DOWNLOAD}/env/0/name", "MODEL_URI")
    yield expect(f"{_DOWNLOAD}/env/1/name", "MODEL_DIGEST")
    yield expect(f"{_DOWNLOAD}/env/2/name", "MLFLOW_TRACKING_URI")
    yield expect(f"{_SERVER}/name", "server")
    yield _needed("/metadata/annotations", annotations, op="add")
    yield _needed(f"{_DOWNLOAD}/env/0/value", lock.uri)
    yield _needed(f"{_DOWNLOAD}/env/1/value", lock.digest)
    yield Operation(path=f"{_DOWNLOAD}/env/2/value", value=lock.tracking_uri)
    yield _needed(f"{_DOWNLOAD}/image", download)
    yield _needed(f"{_SERVER}/image", lock.image)
    yield Operation(path=f"{_SERVER}/resources", value=_resources(environment))
    yield from _wanted(environment)
    if is_llm:
        yield expect(f"{_SERVER}/env/0/name", "GPUS")
        yield Operation(path=f"{_SERVER}/env/0/value", value=str(max(1, environment.gpu)))
        yield expect(f"{_POD}/volumes/2/name", "shm")
        path = f"{_POD}/volumes/2/emptyDir/sizeLimit"
        yield Operation(path=path, value=environment.shm)
    yield Operation(path="/spec/replicas", value=environment.replicas)
    # Longer than any one step, or an analysis would look like a rollout that is stuck.
    deadline = 1800 + plan.share_seconds
    yield Operation(path="/spec/progressDeadlineSeconds", value=deadline)
    routing = traffic_routing(environment, lock.model)
    yield _needed(f"{_CANARY}/trafficRouting", routing, op="add")
    guard = guard_analysis(lock.model, environment)
    yield Operation(path=f"{_CANARY}/analysis", value=guard, op="add")
    yield _needed(f"{_CANARY}/steps", _steps(lock.model, environment))


def _wanted(environment: Environment) -> Iterator[Operation]:
    """Give what stands there only where the environment asks for it."""
    secret = environment.model_secret
    origin = [flow({"secretRef": flow({"name": secret})})] if secret else None
    yield _needed(f"{_DOWNLOAD}/envFrom", origin, op="add")
    pull = pull_secrets(environment).get("imagePullSecrets")
    yield _needed(f"{_POD}/imagePullSecrets", pull, op="add")
    gpus = {"key": environment.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}
    tolerations = [flow(gpus)] if environment.gpu else None
    yield _needed(f"{_POD}/tolerations", tolerations, op="add")
    dynamic = environment.dynamic_stable_scale or None
    yield _needed(f"{_CANARY}/dynamicStableScale", dynamic, op="add")


def _resources(environment: Environment) -> Mapping[str, object]:
    gpus = {environment.gpu_resource: environment.gpu} if environment.gpu else {}
    return {
        "requests": {"cpu": environment.cpu, "memory": environment.memory},
        "limits": {"memory": environment.memory, **gpus},
    }


def _steps(model: str, environment: Environment) -> list[object]:
    plan = environment.canary
    analysis = anchored(step_analysis(model, environment), "analysis")
    steps: list[object] = []
    for weight in plan.weights:
        steps.append({"setWeight": weight})
        if weight < 100:
            steps.append({"analysis": analysis} if plan.minutes else {"pause": flow({})})
    return steps


def _network(lock: LockFile, environment: Environment) -> Sequence[Operation]:
    return [
        Operation(path="/spec/ingress/0/from/0", value=requests_from(environment)),
        Operation(path="/spec/egress/0/ports/0/port", value=tracking_port(lock.tracking_uri)),
    ]


def tracking_port(uri: str) -> int:
    """Give the port of a tracking server; 443 for an address that tells none."""
    address = urlsplit(uri)
    if address.scheme not in {"http", "https"}:
        return 443
    return address.port or (80 if address.scheme == "http" else 443)


def _needed(path: str, value: object, *, op: str = "replace") -> Operation:
    return Operation(path=path, value=value, op=op, is_essential=True)
