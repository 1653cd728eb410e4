"""The shell face: `mlops VERB …`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.core.dora import DoraReport
from mlops_nb.core.events import Progress, RunMoved
from mlops_nb.core.outcome import ensure_success
from mlops_nb.core.results import DeploymentHistory, Diagnosis, Refused, StatusList, SweepResult
from mlops_nb.core.run import Run
from mlops_nb.core.verbs import Retry, Status, Sweep, Train
from mlops_nb.core.verification import Verification
from mlops_nb.errors import GateFailed, MlopsError, UserError
from mlops_nb.grammar import Help, parse, parser
from mlops_nb.words import Form

if TYPE_CHECKING:
    from mlops_nb.core.events import Event
    from mlops_nb.core.verbs import Verb

_INTERRUPTED = 130
_DID_NOT_COME = 3  # what a failed run gives, too
_REFUSED = 3  # what a gate that did not pass gives, too
_SECONDS_UNTOLD = 30.0


def main(words: list[str] | None = None) -> int:
    """Do what the words say.

    Returns:
        the exit code: 0, or the failing error's (2 request, 3 run or gate, 4 system).
    """
    words = sys.argv[1:] if words is None else words
    if "_ARGCOMPLETE" in os.environ:
        from argcomplete.completers import SuppressCompleter

        from mlops_nb.completion import finder

        finder()(parser(), default_completer=SuppressCompleter())
    if words == ["--version"]:
        from mlops_nb import __version__

        print(f"mlops-nb {__version__}")
        return 0
    try:
        code = _answer(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted; `mlops runs` shows what goes on", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # `mlops history | head` closes our stdout; that is no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _answer(words: list[str]) -> int:
    if words[:1] == ["dev"]:
        from mlops_nb.dev.rehearsal import main as rehearse

        return rehearse(words[1:])
    form = Form.JSON if "--json" in words else Form.TEXT
    try:
        verb, form = parse(words or ["--help"])
        return _do(verb, form)
    except Help as help_:
        print(help_, end="")
        return 0
    except MlopsError as error:
        _report(error, form)
        return error.exit_code


def _do(verb: Verb, form: Form) -> int:
    from mlops_nb.project import Project

    if isinstance(verb, Train | Sweep | Retry) and verb.wait is None:
        verb = replace(verb, wait=not getattr(verb, "env", ""))
    notebook = getattr(verb, "notebook", None)
    if notebook == "" and verb.verb != "runs":
        raise UserError(f"mlops {verb.verb} needs a notebook", hint="name it: churn.ipynb")
    project = Project.open_for(verb)
    teller = _Teller()
    result = project.run(verb, teller)
    teller.end()
    _show(result, form)
    return _exit_code(result, verb)


def _exit_code(result: object, verb: Verb) -> int:
    if isinstance(result, Diagnosis):
        return 0 if result.healthy else 4
    if isinstance(result, Verification):
        return 0 if result.passed else _REFUSED
    if isinstance(verb, Status) and verb.watch and isinstance(result, StatusList):
        return _DID_NOT_COME if result.is_bad or result.timed_out else 0
    waited = isinstance(verb, Train | Sweep | Retry) and verb.wait
    run = result.run if isinstance(result, SweepResult) else result
    if waited and isinstance(run, Run) and run.state.is_final:
        try:
            ensure_success(run)
        except MlopsError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    return 0


def _show(result: object, form: Form) -> None:
    from mlops_nb import wire
    from mlops_nb.display import sheet, text

    if form is Form.JSON:
        print(wire.dumps(result, indent=2))
    elif form is Form.CSV and isinstance(result, DeploymentHistory | DoraReport):
        print(sheet(result), end="")
    elif isinstance(result, Iterator):
        for line in result:
            sys.stdout.write(line)
            sys.stdout.flush()
    else:
        print(text(result), flush=True)


def _report(error: MlopsError, form: Form) -> None:
    if form is Form.JSON:
        _show(Refused.of(error), form)
    elif isinstance(error, GateFailed):
        _show(error.verdict, Form.TEXT)
    print(error, file=sys.stderr)


class _Teller:
    """Shows events on stderr: progress on one line of a terminal, the rest line by line.

    Where nobody looks on, as in CI, a line of progress now and then shows that time goes by.
    """

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._told_at = time.monotonic()
        self._has_line = False
        self._moved = ""

    def __call__(self, event: Event) -> None:
        from mlops_nb.display import line

        said = line(event)
        if isinstance(event, Progress):
            if self._is_terminal:
                sys.stderr.write(f"\r\x1b[K{said[: _columns() - 1]}")
                sys.stderr.flush()
                self._has_line = True
            elif time.monotonic() > self._told_at + _SECONDS_UNTOLD:
                self._told_at = time.monotonic()
                print(said, file=sys.stderr, flush=True)
            return
        self.end()
        if isinstance(event, RunMoved):
            # A run tells that it runs once more when it is recorded, which nobody need know;
            # how it ended is shown with the result.
            if event.state.is_final or said == self._moved:
                return
            self._moved = said
        print(said, file=sys.stderr)

    def end(self) -> None:
        """Close the progress line."""
        if self._has_line:
            sys.stderr.write("\r\x1b[K")
            self._has_line = False


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 100
