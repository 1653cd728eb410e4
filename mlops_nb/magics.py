"""The notebook face: `%mlops VERB …`, the shell's line in a cell."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb import completion
from mlops_nb.core.events import Note, Progress
from mlops_nb.core.outcome import ensure_success
from mlops_nb.core.results import SweepResult
from mlops_nb.core.run import Run
from mlops_nb.core.verbs import Eject, Inspect, Retry, Schedule, Show, Sweep, Train
from mlops_nb.grammar import Help, parse, parser
from mlops_nb.words import Form

if TYPE_CHECKING:
    from mlops_nb.core.events import Event
    from mlops_nb.project import Project

_PROG = "%mlops"
OnDisplay = set[tuple[str, int]]
"""Runs' ids, each with the number of the cell whose view shows it."""


def do(line: str, shell: Any, on_display: OnDisplay) -> Any:
    """Do what a line says, in a shell.

    Args:
        line: the words after `%mlops`.
        shell: IPython's shell.
        on_display: told of the runs that a cell's view shows.
    """
    from mlops_nb.project import INSIDE_RUN, Project
    from mlops_nb.viewing import drawing_refusals, is_kernel, is_live, this_notebook

    try:
        verb, form = parse(line or "--help", _PROG)
    except Help as help_:
        print(help_, end="")
        return None
    is_inside_run = INSIDE_RUN in os.environ
    if isinstance(verb, Train | Sweep | Schedule | Eject | Inspect) and not verb.notebook:
        verb = replace(verb, notebook=this_notebook() if is_inside_run else _as_saved())
    project = Project.open_for(verb)
    if isinstance(verb, Retry) and verb.env:
        # About a canary, it has no run to show.
        with drawing_refusals():
            return _give(project.run(verb, _say), form)
    if isinstance(verb, Train | Sweep | Retry) and verb.wait is None:
        verb = replace(verb, wait=not is_live())
    is_dry = isinstance(verb, Train) and verb.dry_run
    if isinstance(verb, Train | Sweep | Retry | Show) and not (form is Form.JSON or is_dry):
        if is_kernel() and not is_inside_run:
            return _show_run(verb, project, shell, on_display)
        with drawing_refusals():
            result = project.run(verb, _say)
            if is_inside_run and isinstance(result, Run):
                on_display.add((result.id, shell.execution_count))
            return _checked(result, verb)
    with drawing_refusals():
        return _give(project.run(verb, _say), form)


def _as_saved() -> str:
    """Give this notebook's path, and say how old the file is that will be run."""
    from mlops_nb.viewing import this_notebook

    path = this_notebook()
    saved = Path(path).stat().st_mtime if Path(path).exists() else None
    if saved is not None:
        at = time.strftime("%H:%M:%S", time.localtime(saved))
        _say(Note(text=f"{Path(path).name} as it was saved at {at}"))
    return path


def _give(result: Any, form: Form) -> Any:
    if form is Form.JSON:
        from mlops_nb import wire

        print(wire.dumps(result, indent=2))
        return None
    if form is Form.CSV:
        from mlops_nb.display import sheet

        print(sheet(result), end="")
        return None
    if isinstance(result, Iterator):
        try:
            for text in result:
                print(text, end="")
        except KeyboardInterrupt:
            print("… interrupted; the run goes on")
        return None
    return result


def _say(event: Event) -> None:
    from mlops_nb.display import line

    if not isinstance(event, Progress):
        print(line(event))


def _checked(result: Any, verb: Train | Sweep | Retry | Show) -> Any:
    """Raise what a waiting caller must not overlook."""
    if not isinstance(verb, Show) and verb.wait:
        run = _run_of(result)
        if run.state.is_final:
            ensure_success(run)
    return result


def _run_of(result: Run | SweepResult) -> Run:
    return result if isinstance(result, Run) else result.run


def _show_run(
    verb: Train | Sweep | Retry | Show,
    project: Project,
    shell: Any,
    on_display: OnDisplay,
) -> Any:
    """Do a verb that gives a run, with a view that follows it."""
    from mlops_nb.viewing import View, follow

    view: View | None = None

    def tell(event: Event) -> None:
        nonlocal view
        run_id = getattr(event, "run", "")
        if view is None and run_id and (run := project.executor.run(run_id)):
            view = View(run, project.executor)
        if view is None:
            _say(event)
        else:
            view.tell(event)

    is_waiting = not isinstance(verb, Show) and bool(verb.wait)
    try:
        result = project.run(verb, tell if is_waiting else _say_notes)
    except BaseException:
        # A view that nobody ends would go on counting seconds.
        if view is not None:
            view.stop()
        raise
    if not isinstance(result, Run | SweepResult):
        # `show` was given a schedule's name.
        return result
    run = _run_of(result)
    view = view or View(result, project.executor)
    on_display.add((run.id, shell.execution_count))
    if run.state.is_final or not run.is_at_hand:
        view.end(result)
    else:
        follow(view, project)
    return _checked(result, verb)


def _say_notes(event: Event) -> None:
    if isinstance(event, Note):
        _say(event)


def complete(words: str) -> tuple[str, list[str]]:
    """Give the fragment to be completed and the words that complete it."""
    from argcomplete.lexers import split_line

    finder = completion.finder(
        argument_parser=parser(_PROG), always_complete_options=True, append_space=False
    )
    quote, prefix, _suffix, before, _break = split_line(f"mlops {words}")
    found: list[str] = finder._get_completions(  # type: ignore[no-untyped-call]  # noqa: SLF001  # argcomplete has no public way in but the process' environment
        before, prefix, quote, None
    )
    return quote + prefix, [quote + word.rstrip() for word in found]


def draw(value: Run | SweepResult, shell: Any, on_display: OnDisplay) -> None:
    """Draw a run, unless a view of this very cell shows it already."""
    if (_run_of(value).id, shell.execution_count) in on_display:
        return
    from mlops_nb import viewing

    viewing.draw(value)
