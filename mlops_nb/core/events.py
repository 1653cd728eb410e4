"""What happens while a verb runs; each event has a literal `kind` on the wire."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from mlops_nb.core.gate import Verdict
from mlops_nb.core.rollout import Status
from mlops_nb.core.run import Failure, Run, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMoved:
    """A run came to another state.

    Args:
        run: id of the run.
        state: the new state.
        tracking_id: MLflow's run id, once there is one.
        url: page of the run in the tracking server, where there is one.
        failure: why it did not succeed.
    """

    run: str
    state: RunState
    time: datetime
    tracking_id: str = ""
    url: str = ""
    failure: Failure | None = None
    kind: Literal["run_moved"] = "run_moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is; sent when a cell begins or ends, and at most a few times a second.

    Args:
        run: id of the run.
        cell: number of the code cell being executed, counted from 1.
        cells: code cells in all.
        done: code cells that finished.
        elapsed: seconds since the run began.
        last_line: last line the notebook printed.
        memory: bytes the kernel and its children hold now.
        peak_memory: most bytes they held at once so far.
    """

    run: str
    time: datetime
    cell: int
    cells: int
    done: int
    elapsed: float
    last_line: str = ""
    memory: int = 0
    peak_memory: int = 0
    kind: Literal["progress"] = "progress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What a run is at, or waits for.

    Args:
        run: id of the run.
        text: in words: `train: no node has a free nvidia.com/gpu`.
    """

    run: str
    time: datetime
    text: str
    kind: Literal["doing"] = "doing"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLogged:
    """The notebook logged a metric."""

    run: str
    time: datetime
    name: str
    value: float
    kind: Literal["metric_logged"] = "metric_logged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The run's gates were judged."""

    run: str
    time: datetime
    verdict: Verdict
    kind: Literal["judged"] = "judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The run's model was registered; `model` is `name/version`."""

    run: str
    time: datetime
    model: str
    kind: Literal["registered"] = "registered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A deployment pull request was opened or updated."""

    run: str
    time: datetime
    model: str
    environment: str
    pull_request: int
    url: str
    kind: Literal["proposed"] = "proposed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutMoved:
    """A deployment that is watched came to another stage, step or share of the traffic."""

    status: Status
    time: datetime
    kind: Literal["rollout_moved"] = "rollout_moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something a person should know that changes nothing."""

    text: str
    kind: Literal["note"] = "note"


Event = (
    RunMoved | Progress | Doing | MetricLogged | Judged | Registered | Proposed | RolloutMoved
    | Note
)  # fmt: skip


def known_key(key: str, run_id: str) -> Note:
    """Give what a person is told whose idempotency key has a run already."""
    return Note(text=f"key {key!r} was used before: this is run {run_id}")


def unheard(_event: Event) -> None:
    """Listen to events for who is not interested in them."""


def advance(run: Run, event: Event) -> Run:
    """Give the run as it is after the event."""
    match event:
        case RunMoved():
            return replace(
                run,
                state=event.state,
                tracking_id=event.tracking_id or run.tracking_id,
                url=event.url or run.url,
                failure=event.failure,
                doing="" if event.state.is_final else run.doing,
                started=run.started or event.time,
                ended=event.time if event.state.is_final else None,
            )
        case Progress():
            return replace(
                run,
                cells=event.cells,
                cells_done=event.done,
                last_line=event.last_line,
                peak_memory=event.peak_memory,
            )
        case Doing():
            return replace(run, doing=event.text)
        case MetricLogged():
            return replace(run, metrics={**run.metrics, event.name: event.value})
        case Judged():
            return replace(run, verdict=event.verdict)
        case Registered():
            return replace(run, model=event.model)
        case Proposed():
            return replace(run, pull_request=event.pull_request)
        case RolloutMoved() | Note():
            return run
        case _:
            assert_never(event)
