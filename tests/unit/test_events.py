"""A run is what its events add up to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mlops_nb.core.events import (
    Judged,
    MetricLogged,
    Note,
    Progress,
    Proposed,
    Registered,
    RunMoved,
    advance,
)
from mlops_nb.core.gate import Check, Outcome, Verdict
from mlops_nb.core.run import Failure, Run, RunState

T0 = datetime(2026, 3, 1, tzinfo=UTC)
QUEUED = Run(id="r", notebook="n.ipynb", state=RunState.QUEUED)


def later(seconds: int) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_a_run_is_followed_to_its_pull_request() -> None:
    verdict = Verdict(checks=(Check(gate="a >= 1", outcome=Outcome.PASSED),))
    run = QUEUED
    for event in (
        RunMoved(run="r", state=RunState.RUNNING, time=T0),
        RunMoved(run="r", state=RunState.RUNNING, time=later(1), tracking_id="t", url="u"),
        Progress(
            run="r", time=later(2), cell=2, cells=3, done=1, elapsed=2, last_line="hi",
            memory=5, peak_memory=9,
        ),
        MetricLogged(run="r", time=later(3), name="a", value=1.0),
        MetricLogged(run="r", time=later(4), name="a", value=2.0),
        Judged(run="r", time=later(5), verdict=verdict),
        Registered(run="r", time=later(6), model="m/1"),
        Proposed(
            run="r", time=later(7), model="m/1", environment="prod", pull_request=4, url="p"
        ),
        Note(text="by the way"),
        RunMoved(run="r", state=RunState.SUCCEEDED, time=later(8)),
    ):  # fmt: skip
        run = advance(run, event)
    assert run == Run(
        id="r",
        notebook="n.ipynb",
        state=RunState.SUCCEEDED,
        tracking_id="t",
        url="u",
        metrics={"a": 2.0},
        started=T0,
        ended=later(8),
        cells=3,
        cells_done=1,
        last_line="hi",
        peak_memory=9,
        verdict=verdict,
        model="m/1",
        pull_request=4,
    )


def test_a_run_that_is_tried_again_is_no_longer_failed_nor_ended() -> None:
    failed = advance(
        QUEUED,
        RunMoved(run="r", state=RunState.FAILED, time=later(5), failure=Failure(reason="no")),
    )
    assert (failed.ended, failed.failure) == (later(5), Failure(reason="no"))
    again = advance(failed, RunMoved(run="r", state=RunState.RUNNING, time=later(9)))
    assert (again.ended, again.failure, again.started) == (None, None, later(5))
