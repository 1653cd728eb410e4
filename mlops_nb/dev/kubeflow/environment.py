"""What a pod sees in its environment: what its spec gives, and the least to run at all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_nb.dev.kubeflow.options import Json, Options
    from mlops_nb.dev.kubeflow.records import Pod

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
_INDEXED = re.compile(r"^metadata\.(labels|annotations)\[['\"](.+)['\"]\]$")


class MissingConfig(Exception):
    """A secret or config map, or a key of one, that a container cannot start without."""


def variables(container: Json, kubernetes: Json, pod: Pod, options: Options) -> dict[str, str]:
    """Give the environment of a pod.

    Args:
        container: the container as the IR has it.
        kubernetes: what the IR's second document says of the pod.
        pod: the pod, for its name and namespace.
        options: for the folder with the secrets, and for PATH and its like.
    """
    found = {name: options.environ[name] for name in _KEPT if name in options.environ}
    path = found.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    found["PATH"] = f"{Path(options.python).parent}:{path}"
    found |= {"KFP_POD_NAME": pod.name, "KFP_POD_UID": pod.uid, "NAMESPACE": pod.namespace}
    for variable in container.get("env", []):
        found[variable["name"]] = str(variable.get("value", ""))
    for kind, file in (("secret", "secrets.json"), ("configMap", "configmaps.json")):
        kept = _kept(options.folder / file)
        for source in kubernetes.get(f"{kind}AsEnv", []):
            found |= _from_kept(kind, source, kept)
    for source in kubernetes.get("fieldPathAsEnv", []):
        found[source["name"]] = _field(source["fieldPath"], pod)
    return found


def _kept(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise MissingConfig(f"{path} is no JSON object") from None


def _from_kept(kind: str, source: Json, kept: dict[str, Any]) -> dict[str, str]:
    """Give what one secret or config map adds."""
    parameter = source.get(f"{kind}NameParameter", {}).get("runtimeValue", {})
    name = parameter.get("constant") or source.get(f"{kind}Name", "")
    found: dict[str, str] = {}
    optional = bool(source.get("optional"))
    if name not in kept:
        if optional:
            return {}
        raise MissingConfig(f'{kind.lower()} "{name}" not found')
    for pair in source.get("keyToEnv", []):
        key = pair[f"{kind}Key"]
        if key in kept[name]:
            found[pair["envVar"]] = str(kept[name][key])
        elif not optional:
            raise MissingConfig(f"couldn't find key {key} in {kind} {name}")
    return found


def _field(path: str, pod: Pod) -> str:
    match = _INDEXED.match(path)
    if match:
        return getattr(pod, match[1]).get(match[2], "")  # type: ignore[no-any-return]
    return {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": "laptop",
        "spec.serviceAccountName": pod.service_account,
        "status.hostIP": "127.0.0.1",
        "status.podIP": "127.0.0.1",
    }.get(path, "")
