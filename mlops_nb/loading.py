"""Loads adapters by entry point."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from mlops_nb.core.settings import FILE_NAME
from mlops_nb.errors import BadSettings


def adapter(port: str, name: str) -> Any:
    """Give the adapter of a port, built-in and foreign ones alike.

    Raises:
        BadSettings: if none of this name is installed.
    """
    found = entry_points(group=f"mlops_nb.{port}")
    for point in found:
        if point.name == name:
            return point.load()
    raise BadSettings(
        f"there is no {port} {name!r}; installed: {', '.join(sorted(found.names))}",
        hint=f"mend it in {FILE_NAME}, or install the package that brings it",
    )
