"""Several executors behind one port."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from fake_executor import FakeExecutor

from mlops_nb.core.events import RunMoved
from mlops_nb.core.run import Placement, RunSpec, RunState
from mlops_nb.core.verbs import Job
from mlops_nb.errors import NotFound
from mlops_nb.executors import Executors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.core.events import Event
    from mlops_nb.core.run import Run


def ends(job: Job, _attempt: int) -> Iterator[Event]:
    yield RunMoved(run=job.id, state=RunState.SUCCEEDED, time=datetime.now(UTC))


class Remote(FakeExecutor):
    """Counts how often it is asked for a run: elsewhere that takes a request."""

    looks = 0

    def run(self, run_id: str) -> Run | None:
        self.looks += 1
        return super().run(run_id)


@pytest.fixture
def remote() -> Remote:
    return Remote(ends)


@pytest.fixture
def executors(remote: Remote) -> Executors:
    both = {"local": FakeExecutor(ends), "kubeflow": remote}
    made = Executors("local", ["kubeflow"], both.__getitem__)
    spec = RunSpec(notebook="nb.ipynb")
    made.submit(Job(id="here", spec=spec, project="."), b"")
    made.submit(
        Job(id="there", spec=spec, project=".", placement=Placement(on="kubeflow")), b""
    )
    return made


def test_a_run_elsewhere_is_not_looked_up_before_each_call(
    executors: Executors, remote: Remote
) -> None:
    (moved,) = executors.watch("there")
    assert isinstance(moved, RunMoved)
    assert moved.run == "there"
    assert list(executors.log("there", follow=False)) == []
    assert executors.cancel("there").state is RunState.SUCCEEDED
    assert executors.resume("there").state is RunState.QUEUED
    assert executors.children("there") == []
    assert remote.looks == 0


def test_a_run_here_asks_nothing_of_the_others(executors: Executors, remote: Remote) -> None:
    (moved,) = executors.watch("here")
    assert isinstance(moved, RunMoved)
    assert moved.run == "here"
    assert executors.children("here") == []
    assert remote.looks == 0


def test_a_run_that_none_of_them_has_is_said_to_be_unknown(executors: Executors) -> None:
    assert executors.run("nobody") is None
    with pytest.raises(NotFound, match="nobody"):
        executors.cancel("nobody")
    with pytest.raises(NotFound, match="nobody"):
        list(executors.watch("nobody"))
