"""Bring a run to its end whose runner died without doing so."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.core.run import Failure, RunState
from mlops_nb.errors import UserError
from mlops_nb.project import Project
from mlops_nb.redaction import Redactor
from mlops_nb.runner.document import save
from mlops_nb.runner.execution import LOG
from mlops_nb.runner.journal import EXECUTED, INPUT, JOURNAL, assemble
from mlops_nb.runner.leftovers import end_leftovers
from mlops_nb.runner.record import EVENTS, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.core.run import Run
    from mlops_nb.core.verbs import Job
    from mlops_nb.ports import Registry

_LOG_TAIL = 2_000
_SIGNS_OF_LIFE = ("job.json", "runner.pid", "runner.log", EVENTS, LOG, JOURNAL)


def heal(job: Job, directory: Path) -> None:
    """Save what the run left, and record it as failed; repeating this changes nothing.

    Args:
        job: what was asked.
        directory: its run directory; the caller holds its lock.
    """
    end_leftovers(job.id, directory)
    project = Project.open(Path(job.project))
    redact = Redactor(_known_secrets(job, project))
    run = project.executor.run(job.id)
    if run is None:
        return
    ended = _last_sign_of_life(run, directory)
    if job.children:
        children = project.executor.children(job.id)
        count = sum(child.state.is_final for child in children)
        run = replace(run, cells=len(job.children), cells_done=count)
        failure = _failure_of_sweep(run, children, directory)
    else:
        failure = _failure_of_notebook(run, directory)
    if (directory / INPUT).exists():
        executed = assemble(directory, redact=redact, failure=failure)
        save(executed, directory / EXECUTED)
        (directory / JOURNAL).unlink(missing_ok=True)
    run = replace(run, state=RunState.FAILED, failure=failure, ended=ended)
    if run.tracking_id:
        run = _as_begun(run, project.registry)
        names = (EXECUTED, LOG, "job.json")
        files = {f"mlops_nb/{n}": directory / n for n in names if (directory / n).exists()}
        run = project.registry.finish(run, files)
    record = Record(run, directory, redact)
    record.move(RunState.FAILED, failure, time=ended)
    record.close()


def _as_begun(run: Run, registry: Registry) -> Run:
    """Add what the runner knew of the run and only told the tracking server."""
    begun = registry.find(run.tracking_id)
    return replace(
        run,
        defaults=begun.defaults,
        code_commit=begun.code_commit,
        code_note=begun.code_note,
    )


def _known_secrets(job: Job, project: Project) -> Iterator[str]:
    """Give the secrets that can still be looked up; what was written is redacted already."""
    for reference in job.spec.secrets.values():
        with suppress(UserError):
            yield project.secret(reference)


def _last_sign_of_life(run: Run, directory: Path) -> datetime:
    """Give when the runner last wrote anything: whoever heals it may come days later."""
    files = [directory / name for name in _SIGNS_OF_LIFE]
    latest = max(file.stat().st_mtime for file in files if file.exists())
    ended = datetime.fromtimestamp(latest, UTC)
    # A file's time is that of the last tick of the clock.
    return max(ended, run.started) if run.started else ended


def _failure_of_notebook(run: Run, directory: Path) -> Failure:
    has_ended = run.cells > 0 and run.cells_done == run.cells
    if has_ended:
        where = "after the notebook's last cell"
    else:
        where = f"in cell {run.cells_done + 1} of {run.cells}" if run.cells else "at the start"
    failure = _failure(where, f"run it again: mlops retry {run.id}", directory)
    return replace(failure, step="gates") if has_ended else failure


def _failure_of_sweep(run: Run, children: Sequence[Run], directory: Path) -> Failure:
    where = f"when {run.cells_done} of {run.cells} children had ended"
    again = f"continue the rest: mlops retry {run.id}"
    begun = [child for child in children if child.directory]
    if running := [child.id for child in begun if not child.state.is_final]:
        are = "is" if len(running) == 1 else "are"
        stop = ", ".join(f"mlops cancel {child}" for child in running)
        again = f"{', '.join(running)} {are} still running: {stop}; {again}"
    return _failure(where, again, directory)


def _failure(where: str, again: str, directory: Path) -> Failure:
    log = directory / "runner.log"
    said = log.read_text(errors="replace").strip()[-_LOG_TAIL:] if log.exists() else ""
    crashed = "Traceback (most recent call last)" in said
    return Failure(
        reason=f"the runner crashed {where}: {said.rpartition(chr(10))[2]}"
        if crashed
        else f"the runner was killed, or the machine went down, {where}",
        hint=f"look into {log}, then {again}" if crashed else again,
        traceback=said,
    )
