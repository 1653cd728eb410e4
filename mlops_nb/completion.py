"""What completes a word of the grammar: notebooks, their parameters, runs, environments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors import MlopsError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from mlops_nb.core.run import Run


def notebooks(prefix: str, **_: object) -> list[str]:
    """Give notebooks and folders whose path begins with `prefix`."""
    folder, name = Path(prefix).parent, Path(prefix).name
    if prefix.endswith("/"):
        folder, name = Path(prefix), ""
    start = "" if str(folder) == "." and not prefix.startswith("./") else f"{folder}/"
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        f"{start}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(name)
        and not entry.name.startswith(".")
        and (entry.is_dir() or entry.suffix == ".ipynb")
    ]


def parameters(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Give `name=` for the notebook's parameters, and `name=choice` where there are choices."""
    from mlops_nb.preparation import read_notebook

    try:
        notebook, _content = read_notebook(parsed_args.notebook or "")
    except MlopsError:
        return []
    name, equals, _value = prefix.partition("=")
    if not equals:
        return [f"{p.name}=" for p in notebook.parameters if p.name.startswith(name)]
    return [
        f"{p.name}={choice}"
        for p in notebook.parameters
        if p.name == name
        for choice in p.choices
        if f"{p.name}={choice}".startswith(prefix)
    ]


def runs(prefix: str, **_: object) -> list[str]:
    """Give ids of this machine's runs."""
    return [run.id for run in _runs() if run.id.startswith(prefix)]


def _runs() -> Sequence[Run]:
    from mlops_nb.project import Project

    try:
        return Project.open().executor.runs()
    except MlopsError:
        return []


def kernels(prefix: str, **_: object) -> list[str]:
    """Give the kernelspecs that are installed here."""
    from jupyter_core.paths import jupyter_path

    found = {
        path.parent.name
        for folder in jupyter_path("kernels")
        for path in Path(folder).glob("*/kernel.json")
    }
    return sorted(name for name in found if name.startswith(prefix))


def files(prefix: str, **_: object) -> list[str]:
    """Give files and folders whose path begins with `prefix`."""
    from argcomplete.completers import FilesCompleter

    return list(FilesCompleter()(prefix))


def bests(prefix: str, **_: object) -> list[str]:
    """Give `max:METRIC` and `min:METRIC` of the metrics this machine's runs logged."""
    metrics = sorted({name for run in _runs() for name in run.metrics})
    found = [f"{way}:{name}" for way in ("max", "min") for name in metrics or [""]]
    return [text for text in found if text.startswith(prefix)]


def profiles(prefix: str, **_: object) -> list[str]:
    """Give the configured profiles."""
    from mlops_nb.project import Project

    try:
        return [p for p in Project.open().settings.profiles if p.startswith(prefix)]
    except MlopsError:
        return []


def environments(prefix: str, **_: object) -> list[str]:
    """Give the configured environments."""
    from mlops_nb.project import Project

    try:
        return [e for e in Project.open().settings.environments if e.startswith(prefix)]
    except MlopsError:
        return []
