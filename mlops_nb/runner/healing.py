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
from mlops_nb.runner.journal import EXECUTED, INPUT, JOURNAL, assemble
from mlops_nb.runner.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.core.run import Run
    from mlops_nb.core.verbs import Job

_LOG_TAIL = 2_000


def heal(job: Job, directory: Path) -> None:
    """Save what the run left, and record it as failed; repeating this changes nothing.

    Args:
        job: what was asked.
        directory: its run directory; the caller holds its lock.
    """
    project = Project.open(Path(job.project))
    redact = Redactor(_known_secrets(job, project))
    run = project.executor.run(job.id)
    if run is None:
        return
    failure = _failure(run, directory)
    if (directory / INPUT).exists():
        executed = assemble(directory, redact=redact, failure=failure)
        save(executed, directory / EXECUTED)
        (directory / JOURNAL).unlink(missing_ok=True)
    run = replace(run, state=RunState.FAILED, failure=failure, ended=datetime.now(UTC))
    if run.tracking_id:
        names = (EXECUTED, "log.txt", "job.json")
        files = {f"mlops_nb/{n}": directory / n for n in names if (directory / n).exists()}
        run = project.registry.finish(run, files)
    record = Record(run, directory, redact)
    record.move(RunState.FAILED, failure)
    record.close()


def _known_secrets(job: Job, project: Project) -> Iterator[str]:
    """Give the secrets that can still be looked up; what was written is redacted already."""
    for reference in job.spec.secrets.values():
        with suppress(UserError):
            yield project.secret(reference)


def _failure(run: Run, directory: Path) -> Failure:
    has_ended = run.cells > 0 and run.cells_done == run.cells
    if has_ended:
        where = "after the notebook's last cell"
    else:
        where = f"in cell {run.cells_done + 1} of {run.cells}" if run.cells else "at the start"
    log = directory / "runner.log"
    said = log.read_text(errors="replace").strip()[-_LOG_TAIL:] if log.exists() else ""
    again = f"run it again: mlops retry {run.id}"
    crashed = "Traceback (most recent call last)" in said
    return Failure(
        reason=f"the runner crashed {where}: {said.rpartition(chr(10))[2]}"
        if crashed
        else f"the runner was killed, or the machine went down, {where}",
        hint=f"look into {log}, then {again}" if crashed else again,
        traceback=said,
        step="gates" if has_ended else "run",
    )
