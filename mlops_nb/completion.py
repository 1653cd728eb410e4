"""What completes a word of the grammar: notebooks, their parameters, runs, environments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.core import verbs
from mlops_nb.errors import MlopsError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from argcomplete.finders import CompletionFinder

    from mlops_nb.core.run import Run


_OF_TWO_WORDS = {name for name in verbs.BY_NAME if " " in name}


def joined(words: list[str]) -> list[str]:
    """Give a line's words with a verb of two words as one."""
    verb = " ".join(words[:2])
    return [verb, *words[2:]] if verb in _OF_TWO_WORDS else words


def finder(**options: Any) -> CompletionFinder:
    """Give what completes lines, verbs of two words among them."""
    from argcomplete.finders import CompletionFinder

    class Finder(CompletionFinder):
        def _get_completions(  # argcomplete has no public way in but the process' environment
            self, comp_words: list[str], prefix: str, quote: str, last: int | None
        ) -> list[str]:
            program, *words = comp_words
            known = joined(words)
            found: list[str] = super()._get_completions(  # type: ignore[no-untyped-call]
                [program, *known], prefix, quote, last
            )
            if not words:
                return [word for word in found if "schedule\\ " not in word]
            if words == ["schedule"] and known == words:
                found += [
                    action + (" " if self.append_space else "")
                    for action in sorted(name.partition(" ")[2] for name in _OF_TWO_WORDS)
                    if action.startswith(prefix)
                ]
            return found

    return Finder(**options)


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
        notebook, _content = read_notebook(getattr(parsed_args, "notebook", "") or "")
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


def traceable(prefix: str, **_: object) -> list[str]:
    """Give notebooks and this machine's runs: what of a model's way can be named from here."""
    return [*notebooks(prefix), *runs(prefix)]


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


def schedules(prefix: str, **_: object) -> list[str]:
    """Give the names of the project's schedules."""
    from mlops_nb.project import Project

    try:
        scheduler = Project.open().executor.scheduler()
        found = scheduler.schedules() if scheduler else ()
    except MlopsError:
        return []
    return [scheduled.name for scheduled in found if scheduled.name.startswith(prefix)]


def zones(prefix: str, **_: object) -> list[str]:
    """Give time zones."""
    from zoneinfo import available_timezones

    return sorted(name for name in available_timezones() if name.startswith(prefix))


def environments(prefix: str, **_: object) -> list[str]:
    """Give the configured environments."""
    from mlops_nb.project import Project

    try:
        return [e for e in Project.open().settings.environments if e.startswith(prefix)]
    except MlopsError:
        return []
