"""Run directories that a full disk, a kill or two people at once left behind."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from shell import write_notebook

from mlops_nb import wire
from mlops_nb.adapters.local import LocalExecutor
from mlops_nb.core.events import Progress, RunMoved
from mlops_nb.core.run import Failure, Run, RunSpec, RunState
from mlops_nb.core.verbs import Job
from mlops_nb.errors import Conflict

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Folders:
    """Run directories as a runner leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.executor = LocalExecutor(folder / ".mlops" / "runs")

    def add(self, run_id: str, state: RunState | None = None) -> Path:
        """Add a run; without a state, one whose runner was killed in its second cell."""
        notebook = write_notebook(self.folder / "nb.ipynb", "x: int = 1", "print(x)")
        directory = self.folder / ".mlops" / "runs" / run_id
        directory.mkdir(parents=True)
        (directory / "notebook.ipynb").write_bytes(notebook.read_bytes())
        job = Job(id=run_id, spec=RunSpec(notebook=str(notebook)), project=str(self.folder))
        (directory / "job.json").write_text(wire.dumps(job))
        events = (
            RunMoved(run=run_id, state=RunState.RUNNING, time=NOW),
            Progress(run=run_id, time=NOW, cell=2, cells=2, done=1, elapsed=1, last_line="hi"),
        )
        lines = "".join(f"{wire.dumps(event)}\n" for event in events)
        (directory / "events.jsonl").write_text(lines)
        if state is not None:
            failure = Failure(reason="cell 2") if state is RunState.FAILED else None
            run = Run(
                id=run_id, notebook=str(notebook), state=state, failure=failure, started=NOW
            )
            (directory / "result.json").write_text(wire.dumps(run))
        return directory

    def states(self) -> dict[str, str]:
        return {run.id: run.state for run in self.executor.runs()}


@pytest.fixture
def folders(tmp_path: Path, migrated_store: Path) -> Folders:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    return Folders(tmp_path)


@pytest.mark.parametrize("name", ["job.json", "result.json"])
@pytest.mark.parametrize("content", [b"", b'{"id": "torn'])
def test_a_run_whose_record_is_broken_does_not_hide_the_others(
    folders: Folders, name: str, content: bytes
) -> None:
    folders.add("good-1", RunState.SUCCEEDED)
    broken = folders.add("broken-1", RunState.SUCCEEDED)
    if name == "job.json":
        (broken / "result.json").unlink()
    (broken / name).write_bytes(content)
    assert folders.states() == {"good-1": "succeeded", "broken-1": "failed"}
    (told,) = [run for run in folders.executor.runs() if run.id == "broken-1"]
    assert told.failure is not None
    assert "the run's record cannot be read" in told.failure.reason
    assert str(broken) in told.failure.hint


def test_a_torn_last_event_is_passed_over_and_what_follows_it_is_read(
    folders: Folders,
) -> None:
    directory = folders.add("torn-1")
    with (directory / "events.jsonl").open("a") as file:
        file.write('{"run": "torn-1", "state": "succ')
    run = folders.executor.run("torn-1")
    assert run is not None
    assert run.failure is not None
    assert (run.state, run.cells_done) == (RunState.FAILED, 1)
    assert "killed" in run.failure.reason
    assert "in cell 2 of 2" in run.failure.reason
    *_, last = folders.executor.watch("torn-1")
    assert isinstance(last, RunMoved)
    assert last.state is RunState.FAILED


def test_a_run_that_is_healed_by_two_at_once_ends_once(folders: Folders) -> None:
    directory = folders.add("dead-1")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: folders.states(), range(3)))
    assert folders.states() == {"dead-1": "failed"}
    lines = (directory / "events.jsonl").read_text().splitlines()
    assert [json.loads(line).get("state") for line in lines] == ["running", None, "failed"]


def test_of_two_retries_at_once_one_is_done_and_one_is_told(folders: Folders) -> None:
    folders.add("failed-1", RunState.FAILED)

    def retry(_: int) -> str:
        try:
            return folders.executor.resume("failed-1").state
        except Conflict as error:
            return error.message

    with ThreadPoolExecutor(2) as pool:
        told = sorted(pool.map(retry, range(2)))
    assert told == ["queued", "run failed-1 is not finished"]
    list(folders.executor.watch("failed-1"))
    assert folders.states() == {"failed-1": "succeeded"}


def test_a_run_whose_result_is_broken_can_be_run_again(folders: Folders) -> None:
    directory = folders.add("broken-1", RunState.SUCCEEDED)
    (directory / "result.json").write_bytes(b"")
    assert folders.executor.resume("broken-1").state is RunState.QUEUED
    list(folders.executor.watch("broken-1"))
    assert folders.states() == {"broken-1": "succeeded"}
    assert (directory / "log.txt").read_text() == "1\n"
