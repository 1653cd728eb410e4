"""A sweep: its children one after the other, a few at once."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.core.events import Progress
from mlops_nb.core.run import Failure, RunState
from mlops_nb.errors import Conflict, MlopsError
from mlops_nb.flows.runs import best_of
from mlops_nb.project import Project
from mlops_nb.runner.record import Record, first_run

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from mlops_nb.core.run import Run
    from mlops_nb.core.verbs import Job
    from mlops_nb.ports import Executor

_POLL_SECONDS = 0.2
_TELL_SECONDS = 3.0
_SHARE_OF_LOOKING = 10


def run_children(job: Job, directory: Path, stop: threading.Event) -> int:
    """Run a sweep's children; one that fails does not stop the rest.

    Children that succeeded in an earlier try are not run again.

    Args:
        job: the sweep.
        directory: its run directory, with `notebook.ipynb`.
        stop: set when the sweep is to be cancelled.

    Returns:
        0 if every child succeeded, 3 if not.
    """
    project = Project.open(Path(job.project))
    record = Record(first_run(job, directory), directory, str)
    record.move(RunState.RUNNING)
    try:
        record.run = project.registry.begin(record.run, {})
        record.move(RunState.RUNNING)
        _drive(job, (directory / "notebook.ipynb").read_bytes(), project.executor, record, stop)
        failure = _failure(job, project.executor)
        state = RunState.SUCCEEDED if failure is None else RunState.FAILED
        state = RunState.CANCELLED if stop.is_set() else state
        ended = replace(record.run, state=state, failure=failure, ended=datetime.now(UTC))
        record.run = project.registry.finish(
            ended, {"mlops_nb/job.json": directory / "job.json"}
        )
    except MlopsError as error:
        state = RunState.FAILED
        failure = Failure(
            reason=error.message, hint=error.hint, step="start", error=type(error).__name__
        )
    record.move(state, failure)
    record.close()
    return 0 if state is RunState.SUCCEEDED else 3


def _drive(
    job: Job, notebook: bytes, executor: Executor, record: Record, stop: threading.Event
) -> None:
    before = [executor.run(child.id) for child in job.children]
    ended = {run.id: run for run in before if run and run.state is RunState.SUCCEEDED}
    waiting = [child for child in job.children if child.id not in ended]
    active: dict[str, Run] = {}
    told = 0.0
    while True:
        is_news = not told
        if stop.is_set():
            waiting.clear()
            for name in active:
                executor.cancel(name)
        while waiting and len(active) < job.parallel:
            child = waiting.pop(0)
            active[child.id] = _start(child, notebook, executor)
            is_news = True
        began = time.monotonic()
        for name in list(active):
            run = executor.run(name)
            if run is not None and not run.state.is_final:
                active[name] = run
                continue
            del active[name]
            is_news = True
            if run is not None:
                ended[name] = run
        now = time.monotonic()
        if is_news or now > told + _TELL_SECONDS:
            told = now
            begun = len(job.children) - len(waiting)
            record.tell(_progress(job, begun, active, ended, record))
        if not waiting and not active:
            return
        # A look at long children must not take the time they need themselves.
        stop.wait(max(_POLL_SECONDS, _SHARE_OF_LOOKING * (now - began)))


def _start(child: Job, notebook: bytes, executor: Executor) -> Run:
    before = executor.run(child.id)
    if before is None:
        return executor.submit(child, notebook)
    # A child that an interrupted sweep left running is simply waited for.
    with suppress(Conflict):
        return executor.resume(child.id)
    return before


def _progress(
    job: Job, begun: int, active: Mapping[str, Run], ended: Mapping[str, Run], record: Record
) -> Progress:
    now = datetime.now(UTC)
    best = best_of(list(ended.values()), job.best)
    running = [
        f"{run.id} {run.cells_done}/{run.cells}" if run.cells else f"{run.id} {run.state}"
        for run in active.values()
    ]
    last = [f"{run.id} {run.state}" for run in list(ended.values())[-1:]]
    said = [", ".join(running), *last, f"best so far {best}" if best else ""]
    return Progress(
        run=job.id,
        time=now,
        cell=begun,
        cells=len(job.children),
        done=len(ended),
        elapsed=(now - (record.run.started or now)).total_seconds(),
        last_line="; ".join(part for part in said if part),
    )


def _failure(job: Job, executor: Executor) -> Failure | None:
    runs = [executor.run(child.id) for child in job.children]
    failed = [run.id for run in runs if run is not None and run.state is RunState.FAILED]
    if not failed:
        return None
    return Failure(
        reason=f"{len(failed)} of {len(job.children)} children failed: {', '.join(failed[:9])}",
        hint=f"look at one: mlops show {failed[0]}; run these again: mlops retry {job.id}",
    )
