"""Where pods may send to, as base and overlay together say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.core.change import evidence_path, overlay_path
from mlops_nb.manifests.render import operations, patched
from mlops_nb.manifests.servers import base_path
from mlops_nb.manifests.yaml import parse_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mlops_nb.core.delivery import Environment

_POLICY = "NetworkPolicy"


def ways_out(
    model: str, environment: Environment, files: Mapping[str, bytes]
) -> tuple[str, ...]:
    """Give the ways out that NetworkPolicies leave open, in words: `anywhere: TCP 443`.

    Where a policy says nothing of egress, all of it is open (networking.k8s.io/v1).

    Args:
        model: the model.
        environment: where it is deployed.
        files: files of the model, by path.

    Raises:
        UserError: if one of them was broken by hand.
    """
    found = {way for policy in _policies(model, environment, files) for way in _ways(policy)}
    return tuple(sorted(found))


def _policies(
    model: str, environment: Environment, files: Mapping[str, bytes]
) -> Iterator[Mapping[str, Any]]:
    overlay = overlay_path(model, environment.name)
    patch, evidence = f"{overlay}/network.yaml", evidence_path(model, environment.name)
    for folder in (base_path(model, environment.target), overlay):
        for path in sorted(p for p in files if p.startswith(f"{folder}/") and p != evidence):
            for document in parse_all(files[path], path):
                if not isinstance(document, dict) or document.get("kind") != _POLICY:
                    continue
                is_base = folder != overlay and document["metadata"].get("name") == model
                if is_base and patch in files:
                    yield patched(document, patch, operations(patch, files[patch]))
                else:
                    yield document


def _ways(policy: Mapping[str, Any]) -> Iterator[str]:
    spec = policy.get("spec") or {}
    rules = spec.get("egress")
    if rules is None:
        if "Egress" not in (spec.get("policyTypes") or ()):
            yield f"{policy['metadata'].get('name', '')}: anywhere, by any port"
        return
    for rule in rules:
        told = dict.fromkeys(_port(port) for port in rule.get("ports") or ())
        ports = ", ".join(told) or "any port"
        places = [_peer(peer) for peer in rule.get("to") or ()] or ["anywhere"]
        for place in places:
            yield f"{place}: {ports}"


def _port(port: Mapping[str, Any]) -> str:
    until = f"-{port['endPort']}" if "endPort" in port else ""
    return f"{port.get('protocol', 'TCP')} {port.get('port', 'any')}{until}"


def _peer(peer: Mapping[str, Any]) -> str:
    if block := peer.get("ipBlock"):
        but = ", ".join(block.get("except") or ())
        return f"{block.get('cidr')}{f' but {but}' if but else ''}"
    pods, spaces = peer.get("podSelector"), peer.get("namespaceSelector")
    said = [f"pods {_chosen(pods)}"] if pods is not None else []
    if spaces is not None:
        said.append(f"namespaces {_chosen(spaces)}")
    return " in ".join(said) or "anywhere"


def _chosen(selector: Mapping[str, Any]) -> str:
    """Say what a label selector chooses."""
    labels = [
        f"{key.removeprefix('kubernetes.io/metadata.')}={value}"
        for key, value in sorted((selector.get("matchLabels") or {}).items())
    ]
    more = [_expression(each) for each in selector.get("matchExpressions") or ()]
    return ", ".join([*labels, *more]) or "of any kind"


def _expression(each: Mapping[str, Any]) -> str:
    values: Iterable[str] = each.get("values") or ()
    return " ".join(filter(None, (each["key"], each["operator"], ", ".join(values))))
