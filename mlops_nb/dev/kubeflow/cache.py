"""Whether a task was done before: by the fingerprint of the real driver."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow.values import plain

if TYPE_CHECKING:
    from mlops_nb.dev.kubeflow.options import Json
    from mlops_nb.dev.kubeflow.state import Store

_KIND = "cache"


def fingerprint(task: Json, component: Json, container: Json, inputs: Json) -> str:
    """Tell what a container task would do.

    The command counts as written, before its placeholders are filled; of input artifacts the
    names count, not the content. A cache key that the author gave stands for all of it.
    """
    custom = task.get("cachingOptions", {}).get("cacheKey", "")
    if custom:
        return str(custom)
    outputs = component.get("outputDefinitions", {})
    parameters = outputs.get("parameters", {})
    key = {
        "inputParameterValues": plain(inputs["parameters"]),
        "inputArtifactNames": {
            name: [artifact["name"] for artifact in artifacts]
            for name, artifacts in inputs["artifacts"].items()
        },
        "outputParametersSpec": {
            name: definition.get("parameterType", "") for name, definition in parameters.items()
        },
        "outputArtifactsSpec": outputs.get("artifacts", {}),
        "image": container.get("image", ""),
        "cmdArgs": [*container.get("command", []), *container.get("args", [])],
        "env": container.get("env", []),
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


class Cache:
    """What tasks gave, by namespace, pipeline and fingerprint."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, namespace: str, pipeline: str, print_: str) -> Json | None:
        """Give what the task gave the last time, or None."""
        return self._store.get(_KIND, f"{namespace}/{pipeline}/{print_}")

    def keep(self, namespace: str, pipeline: str, print_: str, outputs: Json) -> None:
        """Remember what the task gave."""
        self._store.put(_KIND, f"{namespace}/{pipeline}/{print_}", outputs)
