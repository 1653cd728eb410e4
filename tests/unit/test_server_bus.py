"""What goes on is told once, in order, and no longer than somebody wants to know."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from desk import NOON, Desk
from jupyter_events import EventLogger

from mlops_nb.core.events import MetricLogged, Note, Progress, RolloutMoved, RunMoved
from mlops_nb.core.results import RunList, StatusList, SweepResult
from mlops_nb.core.rollout import Stage
from mlops_nb.core.rollout import Status as Standing
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.verbs import Show, Status, Train
from mlops_nb.errors import BackendUnavailable
from mlops_nb.server.bus import SCHEMA, SCHEMA_ID, Bus, Watchers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlops_nb.core.events import Event
    from mlops_nb.ports import Listener

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CLUSTER = "[environments.prod]\nargocd = 'https://argocd.example.com'\n"


class Told:
    """Everything that was sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.bus = Bus(self.sent.append)

    @property
    def kinds(self) -> list[str]:
        return [each["event"]["kind"] for each in self.sent]

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.sent) < count:
            assert time.monotonic() < deadline, self.sent
            time.sleep(0.01)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, CLUSTER)


def test_numbers_are_in_order_from_many_threads(told: Told, desk: Desk) -> None:
    def tell() -> None:
        for n in range(200):
            told.bus.tell(desk.project, Note(text=str(n)))

    threads = [threading.Thread(target=tell) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each["number"] for each in told.sent] == list(range(1, 1601))
    assert told.bus.number == 1600


def test_jupyters_bus_takes_what_is_sent(told: Told, desk: Desk) -> None:
    logger = EventLogger()
    logger.register_event_schema(SCHEMA)
    told.bus.tell(desk.project, RunMoved(run="r-1", state=RunState.FAILED, time=NOON))
    logger.schemas.validate_event(SCHEMA_ID, told.sent[0])


def test_a_run_is_watched_once_to_its_end(
    told: Told, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchers = Watchers(told.bus)
    run = desk.project.run(Train(notebook=desk.notebook, wait=False))
    go = threading.Event()
    played = desk.executor.watch

    def watch(run_id: str) -> Iterator[Event]:
        go.wait()
        yield from played(run_id)

    monkeypatch.setattr(desk.executor, "watch", watch)
    for result in (run, RunList(runs=(run,)), SweepResult(run=run, children=())):
        watchers.see(desk.project, result, LONG_AGO)
    go.set()
    told.wait(4)
    assert told.kinds == ["run_moved", "progress", "metric_logged", "run_moved"]
    assert told.sent[-1]["event"]["state"] == "succeeded"
    assert {each["project"] for each in told.sent} == {str(desk.folder)}
    watchers.see(desk.project, desk.project.run(Show(run=run.id)), LONG_AGO)
    time.sleep(0.1)
    assert len(told.sent) == 4


def test_what_was_before_is_in_the_answer(told: Told, desk: Desk) -> None:
    run = desk.project.run(Train(notebook=desk.notebook, wait=False))
    Watchers(told.bus).see(desk.project, run, NOON + timedelta(seconds=1))
    told.wait(1)
    assert told.kinds == ["run_moved"]
    assert told.sent[0]["event"]["state"] == "succeeded"


def test_a_metric_logged_again_and_again_is_told_now_and_then(
    told: Told, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(run_id: str) -> Iterator[Event]:
        for n in range(1000):
            at = NOON + timedelta(milliseconds=n)
            yield MetricLogged(run="r-1", time=at, name="loss", value=n)
        yield RunMoved(run="r-1", state=RunState.SUCCEEDED, time=NOON)

    monkeypatch.setattr(desk.executor, "watch", watch)
    run = Run(id="r-1", notebook="", state=RunState.RUNNING, directory="memory")
    Watchers(told.bus).see(desk.project, run, LONG_AGO)
    told.wait(7)
    values = [each["event"].get("value") for each in told.sent]
    assert values == [0, 200, 400, 600, 800, 999, None]


def test_a_run_that_cannot_be_watched_says_so(
    told: Told, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(run_id: str) -> Iterator[Event]:
        yield Progress(run="r-1", time=NOON, cell=1, cells=1, done=0, elapsed=1)
        raise BackendUnavailable("Kubeflow does not answer")

    monkeypatch.setattr(desk.executor, "watch", watch)
    run = Run(id="r-1", notebook="", state=RunState.RUNNING, executor="kubeflow")
    Watchers(told.bus).see(desk.project, run, datetime.now(UTC))
    told.wait(2)
    assert told.sent[-1]["event"]["text"] == (
        "r-1 is watched no longer: Kubeflow does not answer"
    )


def moved(stage: Stage) -> RolloutMoved:
    standing = Standing(
        model="credit", environment="prod", stage=stage, version=2, summary="so it is"
    )
    return RolloutMoved(status=standing, time=NOON)


def test_a_canary_is_watched_until_it_has_settled(
    told: Told, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Status] = []
    go = threading.Event()

    def run(verb: Status, tell: Listener) -> StatusList:
        looks.append(verb)
        go.wait()
        tell(moved(Stage.CANARY))
        if len(looks) == 1:
            return StatusList(statuses=(), timed_out=True)
        tell(moved(Stage.HEALTHY))
        return StatusList(statuses=())

    monkeypatch.setattr(desk.project, "run", run)
    watchers = Watchers(told.bus)
    watchers.look(desk.project, Status(model="credit"))
    watchers.look(desk.project, Status(model="credit"))
    go.set()
    told.wait(2)
    assert [each["event"]["status"]["stage"] for each in told.sent] == ["canary", "healthy"]
    assert [(look.model, look.watch) for look in looks] == [("credit", True)] * 2


def test_where_no_cluster_is_named_nothing_is_watched(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, "[environments.prod]\n")
    monkeypatch.setattr(desk.project, "run", lambda *_: pytest.fail("it was asked"))
    Watchers(told.bus).look(desk.project, Status())
    time.sleep(0.1)
    assert told.sent == []
