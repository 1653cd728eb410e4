"""An overlay as kustomize would build it, as far as this project's manifests go.

Read are `resources`, JSON 6902 `patches` by kind and name, and `namespace`. Anything else in a
kustomization is refused by name rather than passed over.
"""

from __future__ import annotations

import copy
import posixpath
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
_KNOWN = {"apiVersion", "kind", "metadata", "namespace", "patches", "resources"}


class CannotBuild(Exception):
    """A folder that this is no builder for; the text says why."""


def build(files: Mapping[str, bytes], folder: str) -> list[Json]:
    """Give the resources that a folder stands for.

    Args:
        files: content by path from the repository's root.
        folder: where the kustomization is.

    Raises:
        CannotBuild: if something is missing, broken, or of another kind than is read here.
    """
    path = f"{folder}/kustomization.yaml"
    [kustomization] = _documents(files, path)
    if unknown := sorted(set(kustomization) - _KNOWN):
        raise CannotBuild(f"{path}: {', '.join(unknown)} is not known to `mlops dev cluster`")
    resources: list[Json] = []
    for name in kustomization.get("resources") or []:
        place = posixpath.normpath(f"{folder}/{name}")
        is_folder = f"{place}/kustomization.yaml" in files
        resources += build(files, place) if is_folder else _documents(files, place)
    for patch in kustomization.get("patches") or []:
        _patch(resources, patch, files, folder)
    for resource in resources:
        if namespace := kustomization.get("namespace"):
            resource.setdefault("metadata", {})["namespace"] = namespace
    return resources


def _documents(files: Mapping[str, bytes], path: str) -> list[Any]:
    if path not in files:
        raise CannotBuild(f"there is no {path}")
    try:
        found = list(YAML(typ="safe", pure=True).load_all(files[path].decode()))
    except (YAMLError, UnicodeDecodeError) as error:
        raise CannotBuild(f"{path}: {' '.join(str(error).split())}") from None
    # An anchor's value is one object in all its places; a patch is to change one of them.
    return [copy.deepcopy(each) for each in found if each]


def _patch(
    resources: list[Json], patch: Mapping[str, Any], files: Mapping[str, bytes], folder: str
) -> None:
    place = posixpath.normpath(f"{folder}/{patch.get('path', '')}")
    operations = _documents(files, place)[0]
    target = patch.get("target") or {}
    if not isinstance(operations, list):
        raise CannotBuild(f"{place} is no list of JSON 6902 operations")
    for resource in resources:
        is_meant = all(
            have == target.get(key, have)
            for key, have in (
                ("kind", resource.get("kind")),
                ("name", resource.get("metadata", {}).get("name")),
            )
        )
        if is_meant:
            for operation in operations:
                _apply(resource, operation, place)


def _apply(resource: Json, operation: Mapping[str, Any], path: str) -> None:
    """Do one operation of RFC 6902; those that kustomization files of ours have."""
    where = str(operation.get("path", ""))
    keys = [k.replace("~1", "/").replace("~0", "~") for k in where.split("/")[1:]]
    op, value = operation.get("op"), copy.deepcopy(operation.get("value"))
    try:
        parent: Any = resource
        for key in keys[:-1]:
            parent = parent[int(key)] if isinstance(parent, list) else parent[key]
        last: Any = keys[-1]
        if isinstance(parent, list) and last != "-":
            last = int(last)
        _do(op, parent, last, value)
    except (KeyError, IndexError, ValueError, TypeError, AssertionError):
        raise CannotBuild(f"{path}: {op} {where} does not fit") from None


def _do(op: object, parent: Any, last: Any, value: Any) -> None:
    match op:
        case "test" if parent[last] == value:
            return
        case "replace" if isinstance(parent, list) or last in parent:
            parent[last] = value
        case "add" if isinstance(parent, list):
            parent.insert(len(parent) if last == "-" else last, value)
        case "add":
            parent[last] = value
        case "remove":
            del parent[last]
        case _:
            raise ValueError(op)
