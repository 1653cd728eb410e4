"""What every executor promises.

A fake in memory, the one on this machine and the one for Kubeflow keep it; the last runs on a
stand-in that is held to Kubeflow's own clients by tests of its own.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from fake_executor import FakeExecutor
from rehearsal import Rehearsal, rehearsal

from mlops_nb.adapters.kubeflow.executor import KubeflowExecutor
from mlops_nb.adapters.local import LocalExecutor
from mlops_nb.core.events import Progress, RunMoved, unheard
from mlops_nb.core.run import Failure, RunSpec, RunState
from mlops_nb.core.settings import parse_settings
from mlops_nb.core.verbs import Job
from mlops_nb.errors import BackendError, Conflict, NotFound
from mlops_nb.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlops_nb.core.events import Event
    from mlops_nb.core.run import Run
    from mlops_nb.ports import Executor, Listener


def notebook(*sources: str) -> bytes:
    cells: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {"tags": ["parameters"]} if i == 0 else {},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for i, source in enumerate(sources)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    ).encode()


GOOD = notebook("x: int = 1", "print('x is', x)", "print('the end')")
BAD = notebook("x: int = 1", "print('x is', x)", "1 / 0")
LONG = notebook("x: int = 1", "import time\nprint('x is', x, flush=True)\ntime.sleep(300)")


class ExecutorContract:
    """The promises; a subclass gives the executor."""

    @pytest.fixture
    def executor(self, tmp_path: Path) -> Executor:
        raise NotImplementedError

    def job(self, tmp_path: Path, name: str = "nb-1", key: str = "") -> Job:
        path = tmp_path / "nb.ipynb"
        path.touch()
        spec = RunSpec(notebook=str(path), parameters={"x": 7})
        return Job(id=name, spec=spec, project=str(tmp_path), key=key)

    def test_a_run_goes_from_queued_to_succeeded(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        first = executor.submit(self.job(tmp_path), GOOD)
        assert first.state is RunState.QUEUED
        assert first.parameters == {"x": 7}
        events = list(executor.watch("nb-1"))
        moved = [event.state for event in events if isinstance(event, RunMoved)]
        assert RunState.RUNNING in moved
        assert moved[-1] is RunState.SUCCEEDED
        run = executor.run("nb-1")
        assert run is not None
        assert (run.state, run.cells_done, run.cells) == (RunState.SUCCEEDED, 3, 3)
        assert run.failure is None
        assert "".join(executor.log("nb-1", follow=False)) == "x is 7\nthe end\n"

    def test_a_failed_cell_is_named_and_can_be_tried_again(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        executor.submit(self.job(tmp_path), BAD)
        last = list(executor.watch("nb-1"))[-1]
        assert isinstance(last, RunMoved)
        assert last.state is RunState.FAILED
        assert last.failure is not None
        assert (last.failure.cell, last.failure.ename) == (3, "ZeroDivisionError")
        again = executor.resume("nb-1")
        assert (again.state, again.failure) == (RunState.QUEUED, None)
        assert list(executor.watch("nb-1"))
        run = executor.run("nb-1")
        assert run is not None
        assert run.state is RunState.FAILED

    def test_watching_again_tells_all_of_it(self, executor: Executor, tmp_path: Path) -> None:
        executor.submit(self.job(tmp_path), GOOD)
        list(executor.watch("nb-1"))
        first, second = (list(executor.watch("nb-1")) for _ in range(2))
        assert [event.kind for event in first] == [event.kind for event in second]
        for events in (first, second):
            last = events[-1]
            assert isinstance(last, RunMoved)
            assert last.state is RunState.SUCCEEDED
            (progress,) = [e for e in events if isinstance(e, Progress)][-1:]
            assert (progress.done, progress.cells) == (3, 3)

    def test_one_key_is_one_run(self, executor: Executor, tmp_path: Path) -> None:
        first_job = self.job(tmp_path, "nb-1", key="k")
        first = executor.submit(first_job, GOOD)
        told: list[Event] = []
        second = executor.submit(self.job(tmp_path, "nb-2", key="k"), GOOD, told.append)
        assert "key 'k' was used before" in getattr(told[0], "text", "")
        assert first.id == second.id == "nb-1"
        other = replace(first_job, id="nb-3", retries=3)
        with pytest.raises(Conflict, match="key 'k' belongs to"):
            executor.submit(other, GOOD)
        list(executor.watch("nb-1"))

    def test_cancelling_ends_a_run_and_a_final_run_stays_as_it_is(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        executor.submit(self.job(tmp_path), LONG)
        for event in executor.watch("nb-1"):
            if isinstance(event, Progress) and "x is 7" in event.last_line:
                break
        with pytest.raises(Conflict):
            executor.resume("nb-1")
        run = executor.cancel("nb-1")
        assert run.state is RunState.CANCELLED
        assert executor.cancel("nb-1") == run

    def test_a_sweeps_children_are_told_before_they_begin(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        whole = self.job(tmp_path)
        children = tuple(
            replace(
                self.job(tmp_path, f"nb-1.{n}"),
                spec=replace(whole.spec, parameters={"x": n}),
                parent="nb-1",
            )
            for n in (1, 2)
        )
        sweep = executor.submit(replace(whole, children=children), LONG)
        assert sweep.children == 2
        planned = executor.children("nb-1")
        assert [run.parameters for run in planned] == [{"x": 1}, {"x": 2}]
        assert planned[1].state is RunState.QUEUED
        executor.cancel("nb-1")
        # What is never to begin waits for nothing.
        assert "nb-1.2" not in [run.id for run in executor.children("nb-1")]

    def test_children_are_those_of_the_sweep_in_their_order(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        names = ["nb-1.2", "nb-1.10", "nb-1.1"]
        for name in names:
            job = replace(self.job(tmp_path, name), parent="nb-1")
            executor.submit(job, GOOD)
            list(executor.watch(name))
        executor.submit(self.job(tmp_path, "nb-11"), GOOD)
        list(executor.watch("nb-11"))
        found = executor.children("nb-1")
        assert {run.id for run in found} == set(names)
        assert [run.state for run in found] == [RunState.SUCCEEDED] * 3
        assert executor.children("nb-11") == []

    def test_only_what_ended_is_taken_away(self, executor: Executor, tmp_path: Path) -> None:
        executor.submit(self.job(tmp_path), LONG)
        with pytest.raises(Conflict, match="nb-1 is not finished"):
            executor.delete("nb-1")
        executor.cancel("nb-1")
        executor.delete("nb-1")

    def test_an_unknown_run_is_said_to_be_unknown(self, executor: Executor) -> None:
        assert executor.run("nobody") is None
        for ask in (
            lambda: list(executor.watch("nobody")),
            lambda: list(executor.log("nobody", follow=False)),
            lambda: executor.cancel("nobody"),
            lambda: executor.resume("nobody"),
            lambda: executor.delete("nobody"),
        ):
            with pytest.raises(NotFound, match="nobody"):
                ask()


class TestFakeExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> Executor:
        contents: list[bytes] = []

        def script(job: Job, attempt: int) -> Iterator[Event]:
            now = datetime.now(UTC)
            yield RunMoved(run=job.id, state=RunState.RUNNING, time=now)
            said = [f"x is {job.spec.parameters['x']}", "the end"]
            if contents[-1] == BAD:
                yield RunMoved(
                    run=job.id,
                    state=RunState.FAILED,
                    time=now,
                    failure=Failure(reason="cell 3", cell=3, ename="ZeroDivisionError"),
                )
                return
            for number, line in enumerate(said, start=2):
                yield Progress(
                    run=job.id,
                    time=now,
                    cell=number,
                    cells=3,
                    done=number,
                    elapsed=1,
                    last_line=line,
                )
                while contents[-1] == LONG:
                    yield Progress(run=job.id, time=now, cell=2, cells=2, done=1, elapsed=1)
            yield RunMoved(run=job.id, state=RunState.SUCCEEDED, time=now)

        class Keeping(FakeExecutor):
            def submit(self, job: Job, notebook: bytes, tell: Listener = unheard) -> Run:
                contents.append(notebook)
                return super().submit(job, notebook, tell)

        return Keeping(script)


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, migrated_store: Path
) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path_factory.mktemp("servers"), migrated_store) as both:
        yield both


class TestKubeflowExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self, tmp_path: Path, servers: Rehearsal) -> Executor:
        # Each test has an experiment of its own: the runs' names are the same in all.
        project = f"[project]\nname = '{tmp_path.name}'\n"
        settings = parse_settings(
            project + servers.settings(), path="mlops.toml", default_name="p"
        )
        return KubeflowExecutor(Project(tmp_path, settings, {}))


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self, tmp_path: Path, migrated_store: Path) -> Executor:
        (tmp_path / ".mlops").mkdir()
        (tmp_path / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
        return LocalExecutor(tmp_path / ".mlops" / "runs")

    def test_two_at_once_with_one_key_are_one_run(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        ids = []

        def submit(name: str) -> None:
            ids.append(executor.submit(self.job(tmp_path, name, key="k"), GOOD).id)

        threads = [threading.Thread(target=submit, args=(f"nb-{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(ids)) == 1
        list(executor.watch(ids[0]))

    def test_following_a_log_ends_with_the_run(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        slow = notebook(
            "x: int = 1", "import time\nfor i in range(5):\n print(i); time.sleep(.2)"
        )
        executor.submit(self.job(tmp_path), slow)
        started = time.monotonic()
        first = None
        lines = []
        for line in executor.log("nb-1", follow=True):
            first = first or time.monotonic() - started
            lines.append(line)
        assert lines == ["0\n", "1\n", "2\n", "3\n", "4\n"]
        run = executor.run("nb-1")
        assert run is not None
        assert run.state is RunState.SUCCEEDED

    def test_a_folder_that_cannot_be_written_is_said_in_words(self, tmp_path: Path) -> None:
        (tmp_path / "runs").write_text("a file where the folder should be")
        with pytest.raises(BackendError, match=r"runs/nb-1 cannot be written") as error:
            LocalExecutor(tmp_path / "runs").submit(self.job(tmp_path), GOOD)
        assert "permissions" in error.value.hint
