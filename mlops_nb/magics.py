"""The notebook face: `%mlops VERB …`, the shell's line in a cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops_nb.core.events import Note
from mlops_nb.core.outcome import ensure_success
from mlops_nb.core.run import Run
from mlops_nb.core.verbs import Inspect, Retry, Show, Sweep, Train
from mlops_nb.grammar import Help, parse, parser

if TYPE_CHECKING:
    from mlops_nb.core.events import Event
    from mlops_nb.project import Project

_PROG = "%mlops"


def load(shell: Any) -> None:
    """Add `%mlops`, its completion and the display of its results to a shell."""
    on_display: set[tuple[str, int]] = set()

    def mlops(line: str) -> Any:
        """Do a verb of mlops: `%mlops --help` lists them."""
        return _do(line, shell, on_display)

    shell.register_magic_function(mlops, "line", "mlops")
    shell.set_hook("complete_command", _complete, str_key="%mlops")
    shell.set_hook("complete_command", _complete, str_key="mlops")
    _add_formatters(shell, on_display)


def _do(line: str, shell: Any, on_display: set[tuple[str, int]]) -> Any:
    from mlops_nb.live import is_live, this_notebook
    from mlops_nb.project import Project

    try:
        verb, wants_json = parse(line or "--help", _PROG)
    except Help as help_:
        print(help_, end="")
        return None
    if isinstance(verb, Train | Sweep | Inspect) and not verb.notebook:
        verb = replace(verb, notebook=this_notebook())
    if isinstance(verb, Train | Sweep | Retry) and verb.wait is None:
        verb = replace(verb, wait=not is_live())
    project = Project.open()
    if isinstance(verb, Train | Sweep | Retry | Show) and not wants_json:
        return _show_run(verb, project, shell, on_display)
    result = project.run(verb, _say)
    if wants_json:
        from mlops_nb import wire

        print(wire.dumps(result, indent=2))
        return None
    if isinstance(result, Iterator):
        for text in result:
            print(text, end="")
        return None
    return result


def _say(event: Event) -> None:
    from mlops_nb.display import line

    print(line(event))


def _show_run(
    verb: Train | Sweep | Retry | Show,
    project: Project,
    shell: Any,
    on_display: set[tuple[str, int]],
) -> Any:
    """Do a verb that gives a run, with a view that follows it."""
    from mlops_nb.live import View, follow

    wait = not isinstance(verb, Show) and bool(verb.wait)
    view: View | None = None

    def tell(event: Event) -> None:
        nonlocal view
        run_id = getattr(event, "run", "")
        if view is None and run_id and (run := project.executor.run(run_id)):
            view = View(run)
        if view is None:
            _say(event)
        else:
            view.tell(event)

    result = project.run(verb, tell if wait else _say_notes)
    run = result if isinstance(result, Run) else result.run
    if not run.notebook:
        return result
    view = view or View(run)
    on_display.add((run.id, shell.execution_count))
    if run.state.is_final:
        view.draw(run)
        if isinstance(result, Run) and wait:
            ensure_success(run)
    elif run.directory:
        follow(view, project)
    return result


def _say_notes(event: Event) -> None:
    if isinstance(event, Note):
        _say(event)


def _complete(_shell: Any, event: Any) -> list[str]:
    """Complete a line by the same rules as the shell's completion."""
    from argcomplete.finders import CompletionFinder
    from argcomplete.lexers import split_line

    _, _, words = event.text_until_cursor.partition("mlops")
    finder = CompletionFinder(parser(_PROG), always_complete_options=True)
    _prequote, prefix, _suffix, before, _break = split_line(f"mlops{words}")
    found: list[str] = finder._get_completions(  # type: ignore[no-untyped-call]  # noqa: SLF001
        before, prefix, "", None
    )
    return [word.rstrip() for word in found]


def _add_formatters(shell: Any, on_display: set[tuple[str, int]]) -> None:
    from mlops_nb.core import delivery, gate, model, notebook, results
    from mlops_nb.display import html, text

    formatters = shell.display_formatter.formatters
    for type_ in (
        gate.Verdict,
        model.ModelVersion,
        notebook.Notebook,
        delivery.Deployment,
        delivery.Merged,
        results.Comparison,
        results.DeploymentHistory,
        results.Diagnosis,
        results.Initialized,
        results.ModelList,
        results.RunList,
        results.SweepResult,
    ):
        formatters["text/plain"].for_type(type_, lambda value, p, _cycle: p.text(text(value)))
        formatters["text/html"].for_type(type_, html)

    def show(run: Run) -> None:
        # A run that a view of this very cell shows is not drawn a second time.
        if (run.id, shell.execution_count) in on_display:
            return
        from IPython.display import display

        display(  # type: ignore[no-untyped-call]
            {"text/plain": text(run), "text/html": html(run)}, raw=True
        )

    shell.display_formatter.ipython_display_formatter.for_type(Run, show)
