"""A version in an environment as files of the GitOps repository."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from mlops_nb.core.change import evidence_path, lock_path, overlay_path
from mlops_nb.errors import UserError
from mlops_nb.manifests.cluster import cluster_files
from mlops_nb.manifests.kserve import kserve_files
from mlops_nb.manifests.lock import live_lock, lock_text
from mlops_nb.manifests.rollout import rollout_files
from mlops_nb.manifests.rules import RULED, breaches
from mlops_nb.manifests.servers import SERVERS, base_path, fitted
from mlops_nb.manifests.yaml import parse, parse_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.delivery import Environment
    from mlops_nb.core.model import ModelVersion


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
        UserError: if files there were broken or are not ours, or the result would be refused
            by the cluster; the message names the file.
    """
    model = version.name
    environment = fitted(environment, version, current)
    _check_layout(model, environment, current)
    check_record(model, environment.name, current)
    _check_download(environment, lock)
    files = {
        path: content
        for path, content in cluster_files(environment).items()
        if path not in current
    }
    if environment.target == "kserve":
        files |= kserve_files(version, lock, environment, current)
    else:
        files |= rollout_files(lock, environment, current)
    files[lock_path(model, environment.name)] = lock_text(lock)
    _check_rules(model, environment, {**current, **files})
    return {p: content for p, content in files.items() if current.get(p) != content}


def built_rollout(
    model: str, environment: Environment, files: Mapping[str, bytes]
) -> dict[str, Any] | None:
    """Give the Rollout as base and overlay build it; None if there is none with pods.

    Raises:
        UserError: if one of the two was broken by hand.
    """
    applied = _applied(model, environment, files)
    rollouts = (document for _, document in applied if document["kind"] == "Rollout")
    return next((r for r in rollouts if "template" in (r.get("spec") or {})), None)


def _check_layout(model: str, environment: Environment, current: Mapping[str, bytes]) -> None:
    folder = base_path(model, environment.target)
    name = "rollout.yaml" if environment.target == "rollout" else "serviceaccount.yaml"
    needed = [f"{folder}/kustomization.yaml", f"{folder}/{name}"]
    missing = [path for path in needed if path not in current]
    if missing and any(path.startswith(f"{folder}/") for path in current):
        raise UserError(
            f"{folder} is there, but not {missing[0].rpartition('/')[2]}: it is no base that "
            "mlops can build on",
            hint="move the folder to another name to have a base written, or add the file",
        )


def check_record(model: str, environment: str, current: Mapping[str, bytes]) -> None:
    """Refuse a record that does not tell what the overlay beside it runs.

    Args:
        model: the model.
        environment: name of the environment.
        current: files of the model, by path.

    Raises:
        UserError: if the two contradict each other; the message names the value.
    """
    where = lock_path(model, environment)
    path = f"{overlay_path(model, environment)}/rollout.yaml"
    if where not in current or path not in current:
        return
    lock = live_lock(current[where], where)
    told = {
        "/spec/template/spec/initContainers/0/env/0/value": lock.uri,
        "/spec/template/spec/initContainers/0/env/1/value": lock.digest,
        "/spec/template/spec/containers/0/image": lock.image,
    }
    for operation in operations(path, current[path]):
        value = told.get(str(operation.get("path")))
        if value and operation.get("op") != "test" and operation.get("value") != value:
            raise UserError(
                f"{where} says {value}, but {path} runs {operation.get('value')}: one of them "
                "was edited by hand",
                hint="restore both files from the commit that deployed the version",
            )


def _check_download(environment: Environment, lock: LockFile) -> None:
    where = f"[environments.{environment.name}]"
    if not lock.image:
        raise UserError(
            f"environment {environment.name} names no image for server {environment.server}",
            hint=f'add images.{environment.server} = "registry/name@sha256:…" to {where}',
        )
    if not lock.digest:
        raise UserError(
            f"{lock.model}/{lock.version} has no digest: a pod could not tell whether it "
            "serves what was registered",
            hint="register it with mlops: mlops register RUN --name NAME",
        )
    has_mlflow = SERVERS[environment.server].has_mlflow
    if environment.target == "rollout" and not (has_mlflow or environment.download_image):
        raise UserError(
            f"{environment.server} cannot download a model from the registry by itself",
            hint=f'set download_image = "registry/name@sha256:…", one with MLflow, in {where}',
        )


def _check_rules(model: str, environment: Environment, files: Mapping[str, bytes]) -> None:
    """Refuse what the cluster would refuse, whoever wrote it."""
    applied = list(_applied(model, environment, files))
    templates = [d["metadata"]["name"] for _, d in applied if d["kind"] == "AnalysisTemplate"]
    for paths, document in applied:
        if wrong := breaches(document, templates=templates):
            raise UserError(
                f"{paths}: the cluster would refuse this {document['kind']}: "
                + "; ".join(wrong),
                hint="mend the file on the base branch; nothing was written",
            )


def _applied(
    model: str, environment: Environment, files: Mapping[str, bytes]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the manifests that rules are about, as the overlay builds them."""
    overlay = overlay_path(model, environment.name)
    patch = f"{overlay}/rollout.yaml"
    evidence = evidence_path(model, environment.name)
    for folder in (base_path(model, environment.target), overlay):
        for path in sorted(p for p in files if p.startswith(f"{folder}/") and p != evidence):
            for document in parse_all(files[path], path):
                kind = document.get("kind") if isinstance(document, dict) else None
                if kind == "Rollout" and patch in files:
                    found = operations(patch, files[patch])
                    yield f"{path} with {patch}", patched(document, patch, found)
                elif kind in RULED:
                    yield path, document


def patched(document: dict[str, Any], path: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Give a manifest as an overlay's patch makes it.

    Args:
        document: the manifest.
        path: of the patch, for errors.
        found: its operations.

    Raises:
        UserError: if the patch does not fit.
    """
    from jsonpatch import JsonPatch, JsonPatchException, JsonPointerException

    try:
        result: dict[str, Any] = JsonPatch(found).apply(copy.deepcopy(document))
    except (JsonPatchException, JsonPointerException) as error:
        raise UserError(
            f"{path} does not fit the base: {error}",
            hint="mend it on the base branch, or delete it to have it written anew",
        ) from None
    return result


def operations(path: str, content: bytes) -> list[dict[str, Any]]:
    """Read a patch.

    Raises:
        UserError: if it is none.
    """
    found = parse(content, path)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise UserError(
            f"{path} does not hold a list of JSON 6902 operations",
            hint="mend it on the base branch, or delete it to have it written anew",
        )
    return found
