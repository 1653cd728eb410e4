"""The steps after a notebook, done in this process with fakes behind them and a real kernel."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fake_forge import FakeForge
from fake_registry import FakeRegistry
from shell import write_notebook

from mlops_nb import wire
from mlops_nb.core.outcome import ensure_success
from mlops_nb.core.run import Run, RunSpec, RunState
from mlops_nb.core.settings import parse_settings
from mlops_nb.core.verbs import Job
from mlops_nb.errors import BackendUnavailable, GateFailed
from mlops_nb.project import Project
from mlops_nb.runner.job import run_job

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IMAGE = "example.com/mlserver@sha256:" + "0" * 64
ENVIRONMENT = f"[environments.prod]\nimage = '{IMAGE}'\n"


class Registry(FakeRegistry):
    """A registry whose notebooks log one model and an accuracy of 0.8."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()
        self.ended: list[RunState] = []

    def begin(self, run: Run, tags: Mapping[str, str]) -> Run:
        run = super().begin(run, tags)
        self.log_metrics(run.tracking_id, {"accuracy": 0.8})
        self.recorded[run.tracking_id].models = ["model"]
        return run

    def finish(self, run: Run, files: Mapping[str, Path]) -> Run:
        self._lose("finish")
        self.ended.append(run.state)
        return super().finish(run, files)

    def register(self, run: Run, name: str):  # type: ignore[no-untyped-def]
        self._lose("register")
        return super().register(run, name)

    def _lose(self, what: str) -> None:
        if what in self.lost:
            raise BackendUnavailable("the server is away", hint="start it")


class Workplace:
    """A run directory and the project behind it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.directory = folder / "runs" / "nb-1"
        self.directory.mkdir(parents=True)
        notebook = write_notebook(
            folder / "nb.ipynb",
            "x: int = 1",
            "with open('count', 'a') as file:\n    _ = file.write('ran\\n')",
        )
        (self.directory / "notebook.ipynb").write_bytes(notebook.read_bytes())
        spec = RunSpec(notebook=str(notebook))
        self.job = Job(id="nb-1", spec=spec, project=str(folder), requested_by="Ann")
        self.registry = Registry()
        self.forge = FakeForge()
        self.settings = ""
        monkeypatch.setattr(Project, "open", lambda _folder: self.project())

    def project(self) -> Project:
        settings = parse_settings(self.settings, path="mlops.toml", default_name="p")
        project = Project(self.folder, settings, {})
        project.registry = self.registry
        project.forge = self.forge
        project.person = "Ann"
        return project

    def run(self, *, again: bool = False, **asked: object) -> Run:
        self.job = replace(self.job, **asked)  # type: ignore[arg-type]  # the test says what fits
        result = self.directory / "result.json"
        (self.directory / "job.json").write_text(wire.dumps(self.job))
        if again:
            result.replace(self.directory / "result.before.json")
        run_job(self.job, self.directory, threading.Event(), is_resumed=again)
        return wire.loads(Run, result.read_bytes())

    @property
    def times_run(self) -> int:
        return len((self.folder / "count").read_text().splitlines())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    return Workplace(tmp_path, monkeypatch)


def test_a_run_that_could_not_be_recorded_is_recorded_by_retry_and_not_run_again(
    place: Workplace,
) -> None:
    place.registry.lost = {"finish"}
    run = place.run()
    assert run.failure is not None
    assert (run.state, run.failure.step) == (RunState.FAILED, "record")
    assert "ran to its end, but" in run.failure.reason
    with pytest.raises(BackendUnavailable):
        ensure_success(run)
    place.registry.lost = set()
    run = place.run(again=True)
    assert ensure_success(run).metrics == {"accuracy": 0.8}
    assert place.times_run == 1
    recorded = place.registry.recorded[run.tracking_id]
    assert recorded.run.state is RunState.SUCCEEDED
    assert "mlops_nb/executed.ipynb" in recorded.files


def test_a_registration_that_failed_is_all_that_is_repeated(place: Workplace) -> None:
    place.registry.lost = {"register"}
    run = place.run(register="churn", gates=("accuracy >= 0.7",))
    assert run.failure is not None
    assert (run.state, run.failure.step) == (RunState.FAILED, "register")
    assert place.registry.recorded[run.tracking_id].run.state is RunState.FAILED
    place.registry.lost = set()
    run = place.run(again=True)
    assert (run.state, run.model, run.failure) == (RunState.SUCCEEDED, "churn/1", None)
    assert place.registry.recorded[run.tracking_id].run.state is RunState.SUCCEEDED
    assert place.times_run == 1


def test_a_gate_mended_in_mlops_toml_counts_when_the_run_is_retried(place: Workplace) -> None:
    place.settings = '[models.churn]\ngates = ["accuracy >= 0.9"]\n'
    run = place.run(register="churn")
    assert run.state is RunState.SUCCEEDED
    with pytest.raises(GateFailed, match=r"accuracy >= 0\.9"):
        ensure_success(run)
    assert not place.registry.registered
    place.settings = '[models.churn]\ngates = ["accuracy >= 0.75"]\n'
    run = place.run(again=True)
    assert ensure_success(run).model == "churn/1"
    assert run.verdict is not None
    assert [check.gate for check in run.verdict.checks] == ["accuracy >= 0.75"]
    assert place.times_run == 1


def test_an_environments_gate_is_told_as_a_gate_and_mended_likewise(place: Workplace) -> None:
    place.settings = ENVIRONMENT + 'gates = ["accuracy >= 0.99"]\n'
    run = place.run(register="churn", deploy="prod")
    assert (run.model, run.pull_request) == ("churn/1", None)
    with pytest.raises(GateFailed, match=r"accuracy >= 0\.99") as error:
        ensure_success(run)
    # What it was trained for it was not held to; what refused it is kept with the run.
    recorded = place.registry.recorded[run.tracking_id].run
    assert [check.value for check in error.value.verdict.refused] == [0.8]
    assert recorded.failure is not None
    assert (recorded.verdict, recorded.failure.verdict) == (None, error.value.verdict)
    place.settings = ENVIRONMENT
    run = place.run(again=True)
    assert ensure_success(run).pull_request == 1
    assert (run.model, place.times_run) == ("churn/1", 1)


def test_that_the_notebook_failed_is_told_before_that_it_could_not_be_recorded(
    place: Workplace,
) -> None:
    write_notebook(place.folder / "bad.ipynb", "x: int = 1", "1 / 0")
    (place.directory / "notebook.ipynb").write_bytes((place.folder / "bad.ipynb").read_bytes())
    place.registry.lost = {"finish"}
    run = place.run()
    assert run.failure is not None
    assert (run.failure.cell, run.failure.step) == (2, "run")
