"""What a notebook's own MLflow code does to the run it runs in, in real child processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mlops_nb.adapters.mlflow import MlflowRegistry
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.entities import Run as MlflowRun

_SCRIPTS = {
    "autolog": """
        import mlflow
        from sklearn.linear_model import LogisticRegression
        mlflow.sklearn.autolog(log_models=False)
        X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
        LogisticRegression(C=0.5).fit(X, y)
        LogisticRegression(C=2.0).fit(X, y)
        """,
    "twice": """
        import mlflow
        with mlflow.start_run():
            mlflow.log_metric("accuracy", 0.9)
            with mlflow.start_run(nested=True):
                mlflow.log_metric("fold", 1)
        with mlflow.start_run():
            mlflow.log_metric("accuracy", 0.1)
        client = mlflow.MlflowClient()
        client.create_run(mlflow.get_run(mlflow.last_active_run().info.run_id).info.experiment_id,
                          tags={"mlflow.parentRunId": %(outer)r})
        """,
    "raises": """
        import mlflow
        mlflow.log_metric("loss", 3)
        raise ValueError("bad data")
        """,
    "killed": """
        import mlflow, os, signal
        mlflow.log_metric("loss", 4)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    "no run": "",
    "own run": """
        import mlflow
        mlflow.start_run(); mlflow.end_run()
        with mlflow.start_run():
            mlflow.log_metric("accuracy", 0.7)
            mlflow.log_text(
                '{"columns": ["label", "prediction"], "data": [[1, 1]]}', "evaluation.json")
        """,
}


_KERNELS = """
import json, os, sys, traceback
import mlflow, sklearn.linear_model

codes = {}
for name, (environment, folder, text) in json.load(sys.stdin).items():
    child = os.fork()
    if not child:
        os.environ.update(environment)
        os.chdir(folder)
        exec(text, {"__name__": "__main__"})
        sys.exit()
    codes[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(codes))
"""


class Journey:
    """Every script in a process of its own, forked from one that has imported the libraries."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.registry = MlflowRegistry(self.uri, "churn", str(folder / "artifacts"))
        self.runs: dict[str, Run] = {}
        kernels = {}
        for name, script in _SCRIPTS.items():
            run = self.registry.begin(
                Run(id=name.replace(" ", "-"), notebook="/a/nb.ipynb", state=RunState.RUNNING),
                {},
            )
            self.runs[name] = run
            place = folder / name
            place.mkdir()
            text = textwrap.dedent(script).replace("%(outer)r", repr(run.tracking_id))
            kernels[name] = (dict(self.registry.environment(run)), str(place), text)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        answer = subprocess.run(
            [sys.executable, "-c", _KERNELS],
            env={
                **clean,
                "MLFLOW_EXPERIMENT_NAME": "of the user",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            input=json.dumps(kernels),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        self.codes = json.loads(answer.stdout.splitlines()[-1])
        self.left_behind = [path for name in _SCRIPTS for path in (folder / name).iterdir()]

    def all_runs(self, name: str) -> list[MlflowRun]:
        """Give the run itself and everything it is a parent of."""
        from mlflow import MlflowClient

        client = MlflowClient(self.uri, self.uri)
        every = client.search_runs(
            [e.experiment_id for e in client.search_experiments()], max_results=1000
        )
        ids = {self.runs[name].tracking_id}
        for _ in range(3):
            ids |= {
                r.info.run_id for r in every if r.data.tags.get("mlflow.parentRunId") in ids
            }
        return [run for run in every if run.info.run_id in ids]


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return Journey(tmp_path_factory.mktemp("kernels"))


def test_every_script_ended_as_it_should(journey: Journey) -> None:
    assert journey.codes == {
        "autolog": 0, "twice": 0, "raises": 1, "killed": -signal.SIGKILL, "no run": 0,
        "own run": 0
    }  # fmt: skip
    assert journey.left_behind == []


def test_no_run_is_an_orphan(journey: Journey) -> None:
    counted = {name: len(journey.all_runs(name)) for name in journey.runs}
    assert counted == {
        "autolog": 2, "twice": 4, "raises": 1, "killed": 1, "no run": 1, "own run": 2
    }  # fmt: skip


def test_a_second_fit_is_a_child_of_the_run(journey: Journey) -> None:
    outer = journey.runs["autolog"].tracking_id
    parameters = {
        run.info.run_id == outer: run.data.params["C"] for run in journey.all_runs("autolog")
    }
    assert parameters == {True: "0.5", False: "2.0"}
    assert {run.data.tags["mlflow.source.name"] for run in journey.all_runs("autolog")} == {
        "nb.ipynb"
    }


def test_a_second_start_run_leaves_the_runs_metrics_alone(journey: Journey) -> None:
    assert journey.registry.metrics(journey.runs["twice"].tracking_id) == {"accuracy": 0.9}


def test_the_end_ends_runs_left_behind(journey: Journey) -> None:
    states = {run.info.status for run in journey.all_runs("twice")}
    assert states == {"FINISHED", "RUNNING"}
    journey.registry.finish(replace(journey.runs["twice"], state=RunState.SUCCEEDED), {})
    assert {run.info.status for run in journey.all_runs("twice")} == {"FINISHED"}


def test_a_run_whose_cell_raised_is_failed_whatever_the_kernel_said(journey: Journey) -> None:
    run = journey.runs["raises"]
    assert journey.registry.find(run.id).state is RunState.SUCCEEDED  # mlflow's own exit hook
    failure = Failure(reason="cell 1 raised ValueError: bad data")
    result = journey.registry.finish(replace(run, state=RunState.FAILED, failure=failure), {})
    assert result.metrics == {"loss": 3.0}
    found = journey.registry.find(run.id)
    assert (found.state, found.failure) == (RunState.FAILED, failure)


def test_a_killed_run_is_healed(journey: Journey) -> None:
    run = journey.runs["killed"]
    assert journey.registry.find(run.id).state is RunState.RUNNING
    journey.registry.finish(replace(run, state=RunState.CANCELLED), {})
    found = journey.registry.find(run.id)
    assert (found.state, found.metrics) == (RunState.CANCELLED, {"loss": 4.0})
    assert found.ended is not None


def test_a_run_that_logged_all_to_one_run_of_its_own_is_read_there(journey: Journey) -> None:
    run = journey.runs["own run"]
    assert journey.registry.metrics(run.tracking_id) == {"accuracy": 0.7}
    table = journey.registry.table(run.tracking_id)
    assert table is not None
    assert table.label == (1,)
    assert journey.registry.finish(replace(run, state=RunState.SUCCEEDED), {}).metrics == {
        "accuracy": 0.7
    }


def test_only_our_runs_are_listed(journey: Journey) -> None:
    listed = {run.id for run in journey.registry.runs(limit=100)}
    assert listed == {run.id for run in journey.runs.values()}


@pytest.mark.parametrize("inner", [0, 1, 2])
def test_a_model_of_an_inner_run_is_registered(
    journey: Journey, tmp_path: Path, inner: int
) -> None:
    from mlflow import MlflowClient

    run = journey.registry.begin(
        Run(id=f"nb-model{inner}", notebook="/a/nb.ipynb", state=RunState.RUNNING), {}
    )
    client = MlflowClient(journey.uri, journey.uri)
    experiment = client.get_run(run.tracking_id).info.experiment_id
    (tmp_path / "MLmodel").write_text("flavors:\n  xgboost:\n    data: model.ubj\n")
    (tmp_path / "model.ubj").write_bytes(b"{}")
    for _ in range(inner):
        child = client.create_run(experiment, tags={"mlflow.parentRunId": run.tracking_id})
        client.log_artifacts(child.info.run_id, str(tmp_path), "models/booster")
    ended = journey.registry.finish(replace(run, state=RunState.SUCCEEDED), {})
    if inner != 1:
        with pytest.raises(UserError, match="no model" if not inner else "2 models"):
            journey.registry.register(ended, "booster")
        return
    version = journey.registry.register(ended, "booster")
    assert (version.flavor, version.uses_pickle) == ("xgboost", False)
    assert version.tracking_id == run.tracking_id
    assert journey.registry.register(ended, "booster") == version
