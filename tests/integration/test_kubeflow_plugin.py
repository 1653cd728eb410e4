"""Where Kubeflow's own MLflow plugin makes runs, too, a user still sees one of a training."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient
from rehearsal import Rehearsal, rehearsal
from shell import write_notebook

from mlops_nb.core import verbs
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.settings import parse_settings
from mlops_nb.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlflow.entities import Run as MlflowRun

MANAGED = "mlops_nb.managed"
PARENT = "mlflow.parentRunId"
MADE_BY_PLUGIN = "kfp.pipeline_run_id"
WORDS: dict[str, Any] = {"gates": ("score >= 0.4",), "on": "kubeflow"}


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, migrated_store: Path
) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path_factory.mktemp("servers"), migrated_store, plugin="p") as both:
        yield both


class Here:
    """A project whose pods find the plugin's variables in their environment."""

    def __init__(self, folder: Path, servers: Rehearsal, name: str) -> None:
        settings = parse_settings(
            f"[project]\nname = '{name}'\n{servers.settings()}",
            path="mlops.toml",
            default_name="p",
        )
        self.project = Project(folder, settings, {})
        self.client = MlflowClient(servers.tracking_uri)
        self.notebook = write_notebook(
            folder / "nb.ipynb",
            "lr: float = 0.5",
            "import mlflow\nmlflow.log_metric('score', lr)",
        )

    def recorded(self) -> dict[str, MlflowRun]:
        """Give what MLflow holds below the project's experiment, by MLflow id."""
        experiment = self.client.get_experiment_by_name(self.project.settings.name)
        assert experiment is not None
        found = self.client.search_runs([experiment.experiment_id])
        return {run.info.run_id: run for run in found}

    def outermost(self) -> list[MlflowRun]:
        """Give what a user of MLflow sees in the list of runs; schedules are no runs."""
        return [
            run
            for run in self.recorded().values()
            if PARENT not in run.data.tags and run.data.tags.get(MANAGED) != "schedule"
        ]

    def submit(self) -> Run:
        verb = verbs.Train(notebook=str(self.notebook), wait=True, **WORDS)
        run: Run = self.project.run(verb)
        return run

    def start_scheduled(self) -> Run:
        """Have Kubeflow start a run of a schedule, as it does at the set times."""
        verb = verbs.Schedule(
            notebook=str(self.notebook), cron="@yearly", name="nightly", **WORDS
        )
        made = self.project.run(verb)
        kubeflow = self.project.executor.scheduler()._kubeflow  # type: ignore[union-attr]
        (recurring,) = kubeflow.recurring_runs(
            experiment_id=kubeflow.experiment_id(self.project.settings.name)
        )
        started = kubeflow.create_run(
            "nightly-1",
            recurring.pipeline_spec,
            {"bundle_run": made.tracking_id},
            experiment_id=recurring.experiment_id,
            service_account="",
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            run = self.project.registry.tagged("mlops_nb.address", started.run_id)
            now = self.project.executor.run(run.id) if run else None
            if now and now.state.is_final:
                return self.project.registry.find(now.id)
            time.sleep(0.5)
        raise AssertionError("not in time")


@pytest.fixture
def here(tmp_path: Path, servers: Rehearsal) -> Iterator[Here]:
    here = Here(tmp_path, servers, "p")
    yield here
    for run_id in here.recorded():
        here.client.delete_run(run_id)


def check_steps(here: Here, made: MlflowRun) -> None:
    """Whatever the plugin made of single steps lies below what it made of all of them."""
    steps = [
        run for run in here.recorded().values() if run.data.tags.get(PARENT) == made.info.run_id
    ]
    assert {run.info.run_name for run in steps} == {"prepare", "train", "validate"}
    assert {run.info.status for run in steps} == {"FINISHED"}
    assert all(not run.data.metrics for run in steps)


def test_of_a_submitted_run_the_plugins_is_a_child(here: Here) -> None:
    run = here.submit()
    assert (run.state, run.metrics) == (RunState.SUCCEEDED, {"score": 0.5})
    assert [run.info.run_id for run in here.outermost()] == [run.tracking_id]
    (made,) = [r for r in here.recorded().values() if MADE_BY_PLUGIN in r.data.tags]
    assert made.data.tags[PARENT] == run.tracking_id
    check_steps(here, made)
    assert [listed.id for listed in here.project.run(verbs.Runs()).runs] == [run.id]


def test_a_scheduled_run_is_recorded_in_the_plugins(here: Here) -> None:
    run = here.start_scheduled()
    assert (run.state, run.metrics) == (RunState.SUCCEEDED, {"score": 0.5})
    assert run.verdict is not None
    assert run.verdict.passed
    (seen,) = here.outermost()
    assert (seen.info.run_id, seen.info.run_name) == (run.tracking_id, run.id)
    assert seen.data.tags[MADE_BY_PLUGIN] == run.address
    check_steps(here, seen)
    assert [listed.id for listed in here.project.run(verbs.Runs()).runs] == [run.id]


def test_a_plugin_that_keeps_its_runs_elsewhere_takes_none_away(
    tmp_path: Path, servers: Rehearsal
) -> None:
    here = Here(tmp_path, servers, "elsewhere")
    run = here.start_scheduled()
    assert (run.state, run.metrics) == (RunState.SUCCEEDED, {"score": 0.5})
    assert [run.info.run_id for run in here.outermost()] == [run.tracking_id]
