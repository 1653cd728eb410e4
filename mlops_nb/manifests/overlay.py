"""Files of an overlay: written once, then edited value by value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlops_nb.errors import UserError
from mlops_nb.manifests.yaml import Document, emit, flow

_PATCH_COMMENT = "`mlops deploy` sets these values; comments and lines of your own are kept."


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A JSON 6902 operation on a manifest of the base.

    Args:
        path: where.
        value: the value; None removes an operation of an earlier deployment.
        op: replace, add or test.
        is_essential: whether it is added again where somebody removed it; otherwise its
            absence is a decision of the people who own the file.
    """

    path: str
    value: object
    op: str = "replace"
    is_essential: bool = False

    def as_mapping(self) -> Mapping[str, object]:
        """Give it as it is written."""
        return {"op": self.op, "path": self.path, "value": self.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A manifest that belongs to one environment.

    Args:
        name: its file in the overlay.
        content: the manifest.
        comment: what stands above it.
        settings: the places in it that follow the environment's settings.
    """

    name: str
    content: Mapping[str, object]
    comment: str = ""
    settings: Sequence[tuple[str | int, ...]] = ()


def expect(path: str, value: str) -> Operation:
    """Make a base whose order was changed stop the build, not be patched in a wrong place."""
    return Operation(op="test", path=path, value=value)


def patch_file(path: str, operations: Sequence[Operation], current: bytes | None) -> bytes:
    """Write a patch, or set its values in the one that is there.

    Args:
        path: its path, for errors.
        operations: what it does.
        current: the file on base; None if there is none.

    Raises:
        UserError: if it was broken by hand.
    """
    if current is None:
        wanted = [operation for operation in operations if operation.value is not None]
        return emit([operation.as_mapping() for operation in wanted], comment=_PATCH_COMMENT)
    document = Document(current, path)
    for operation in operations:
        if operation.value is None:
            document.drop_operation(operation.path)
        else:
            document.set_operation(operation.as_mapping(), essential=operation.is_essential)
    return document.content()


def resource_file(path: str, resource: Resource, current: bytes | None) -> bytes:
    """Write a manifest of the overlay, or set the environment's values in the one there.

    Raises:
        UserError: if the file holds another kind of manifest.
    """
    if current is None:
        return emit(resource.content, comment=resource.comment)
    document = Document(current, path)
    found = document.data.get("kind") if isinstance(document.data, dict) else None
    kind = resource.content["kind"]
    if found != kind:
        raise UserError(
            f"{path} holds {found or 'no manifest'}; what mlops.toml says of this environment "
            f"takes {kind}",
            hint="change mlops.toml back, or delete the file to have it written anew",
        )
    for place in resource.settings:
        value: object = resource.content
        for step in place:
            value = value[step]  # type: ignore[index]  # a place leads through mappings and lists
        document.set_in(place, value)
    return document.content()


def kustomization(
    path: str,
    namespace: str,
    base: str,
    *,
    resources: Sequence[str],
    patches: Mapping[str, tuple[str, str]],
    current: bytes | None,
) -> bytes:
    """Write the overlay's kustomization, or add to the one that is there.

    Args:
        path: its path, for errors.
        namespace: namespace of all that it builds.
        base: the base, seen from the overlay.
        resources: files of the overlay that are manifests.
        patches: kind and name of what each patch is for, by file.
        current: the file on base; None if there is none.

    Raises:
        UserError: if the one there builds on something else.
    """
    if current is None:
        return emit(
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "namespace": namespace,
                "resources": [base, *resources],
                "patches": [
                    {"path": name, "target": flow({"kind": kind, "name": target})}
                    for name, (kind, target) in patches.items()
                ],
            }
        )
    document = Document(current, path)
    listed = document.data.get("resources") if isinstance(document.data, dict) else None
    if base not in (listed or []):
        raise UserError(
            f"{path} does not build on {base}: it is no overlay that mlops knows",
            hint=f"add {base} to its resources, or move the folder to another name",
        )
    document.set_key("namespace", namespace)
    document.add_items("resources", resources)
    return document.content()
