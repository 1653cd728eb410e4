"""What changed of a run between two looks at it, as events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb.core.events import (
    Doing,
    Judged,
    MetricLogged,
    Note,
    Progress,
    Proposed,
    Registered,
    RunMoved,
)
from mlops_nb.core.run import RunState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.core.events import Event
    from mlops_nb.core.run import Run


class Differ:
    """Tells a run's story from looks at it.

    Args:
        run: the run at the first look.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def first(self) -> Iterator[Event]:
        """Yield what the first look shows, as if it had just happened."""
        yield _moved(self.run, RunState.RUNNING if self.run.state.is_final else self.run.state)
        yield from _differences(None, self.run)

    def news(self, seen: Run) -> Iterator[Event]:
        """Yield what is new since the look before."""
        before, self.run = self.run, seen
        if seen.state is not before.state and not seen.state.is_final:
            yield _moved(seen, seen.state)
        yield from _differences(before, seen)


def _differences(before: Run | None, run: Run) -> Iterator[Event]:
    now = datetime.now(UTC)
    if run.cached_from and (before is None or not before.cached_from):
        yield Note(text=f"train was cached: this is the result of {run.cached_from}")
    if run.doing and (before is None or run.doing != before.doing):
        yield Doing(run=run.id, time=now, text=run.doing)
    if run.cells and (before is None or _progress(before) != _progress(run)):
        yield Progress(
            run=run.id,
            time=now,
            cell=min(run.cells_done + 1, run.cells),
            cells=run.cells,
            done=run.cells_done,
            elapsed=(now - (run.started or now)).total_seconds(),
            last_line=run.last_line,
            memory=run.peak_memory,
            peak_memory=run.peak_memory,
        )
    for name, value in run.metrics.items():
        if before is None or before.metrics.get(name) != value:
            yield MetricLogged(run=run.id, time=now, name=name, value=value)
    if run.verdict and (before is None or before.verdict != run.verdict):
        yield Judged(run=run.id, time=now, verdict=run.verdict)
    if run.model and (before is None or before.model != run.model):
        yield Registered(run=run.id, time=now, model=run.model)
    if run.pull_request and (before is None or before.pull_request != run.pull_request):
        yield Proposed(
            run=run.id,
            time=now,
            model=run.model,
            environment="",
            pull_request=run.pull_request,
            url="",
        )
    if run.state.is_final and (before is None or not before.state.is_final):
        yield _moved(run, run.state)


def _progress(run: Run) -> tuple[object, ...]:
    return (run.cells_done, run.cells, run.last_line, run.peak_memory)


def _moved(run: Run, state: RunState) -> RunMoved:
    return RunMoved(
        run=run.id,
        state=state,
        time=datetime.now(UTC),
        tracking_id=run.tracking_id,
        url=run.url,
        failure=run.failure if state.is_final else None,
    )
