"""Schedules on a stand-in for Kubeflow that starts what is due, with a real tracking server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kfp_server_api as api
import pytest
from rehearsal import Rehearsal, rehearsal

from mlops_nb.core import verbs
from mlops_nb.core.recurring import Scheduled, ScheduleState
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.settings import parse_settings
from mlops_nb.errors import Conflict, NotFound, UserError
from mlops_nb.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlops_nb.adapters.kubeflow.connection import Connection

CODE = "print('x is', x)"


def write(path: Path, *sources: str) -> Path:
    cells: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {"tags": ["parameters"]} if i == 0 else {},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for i, source in enumerate(["x: int = 1", *sources])
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = {
        "nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells,
    }  # fmt: skip
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, migrated_store: Path
) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path_factory.mktemp("servers"), migrated_store) as both:
        yield both


class Here:
    """A project whose runs go on in the stand-in."""

    def __init__(self, folder: Path, servers: Rehearsal, more: str = "") -> None:
        self.folder = folder
        text = f"[project]\nname = '{folder.name}'\n{servers.settings(more)}"
        (folder / "mlops.toml").write_text(text)
        settings = parse_settings(text, path="mlops.toml", default_name="p")
        self.project = Project(folder, settings, {})
        self.notebook = write(folder / "credit.ipynb", CODE)
        self.told: list[Any] = []

    def do(self, verb: verbs.Verb) -> Any:
        return self.project.run(verb, self.told.append)

    def schedule(self, **words: Any) -> Scheduled:
        given = {"notebook": str(self.notebook), "cron": "0 3 * * 1", "on": "kubeflow"}
        made: Scheduled = self.do(verbs.Schedule(**{**given, **words}))
        return made

    def runs(self) -> tuple[Run, ...]:
        found: tuple[Run, ...] = self.do(verbs.Runs()).runs
        return found

    @property
    def kubeflow(self) -> Connection:
        connection: Connection = self.project.executor.scheduler()._kubeflow  # type: ignore[union-attr]
        return connection

    def recurring(self) -> list[api.V2beta1RecurringRun]:
        experiment = self.kubeflow.experiment_id(self.folder.name)
        return list(self.kubeflow.recurring_runs(experiment_id=experiment))

    def hasten(self, name: str) -> None:
        """Have a schedule start runs every two seconds, which no crontab line says."""
        (found,) = [each for each in self.recurring() if each.display_name == name]
        often = api.V2beta1CronSchedule(cron="*/2 * * * * *")
        quick = api.V2beta1RecurringRun(
            display_name=name,
            description=found.description,
            pipeline_spec=found.pipeline_spec,
            pipeline_version_reference=found.pipeline_version_reference,
            runtime_config=found.runtime_config,
            experiment_id=found.experiment_id,
            max_concurrency="1",
            mode=api.RecurringRunMode.ENABLE,
            no_catchup=True,
            trigger=api.V2beta1Trigger(cron_schedule=often),
        )
        self.kubeflow.delete_recurring(found.recurring_run_id)
        self.kubeflow.create_recurring(quick)

    def until(self, found: Callable[[], Any], seconds: float = 90) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := found():
                return value
            time.sleep(0.5)
        raise AssertionError("not in time")

    def succeeded(self) -> list[Run]:
        return [run for run in self.runs() if run.state is RunState.SUCCEEDED]


@pytest.fixture
def here(tmp_path: Path, servers: Rehearsal) -> Here:
    return Here(tmp_path, servers)


def test_a_schedule_is_made_listed_and_starts_runs_that_bear_its_name(here: Here) -> None:
    made = here.schedule(name="nightly", parameters={"x": "7"})
    assert (made.is_new, made.state, made.when) == (
        True, ScheduleState.ACTIVE, "at 03:00 on Mondays UTC",
    )  # fmt: skip
    assert [time.hour for time in made.next] == [3, 3, 3]
    assert {time.weekday() for time in made.next} == {0}
    (recurring,) = here.recurring()
    assert recurring.trigger.cron_schedule.cron == "0 0 3 * * 1"
    assert (recurring.no_catchup, recurring.max_concurrency) == (True, "1")
    assert here.runs() == ()
    here.hasten("nightly")
    run = here.until(here.succeeded)[-1]
    assert (run.id.startswith("nightly-"), run.schedule) == (True, "nightly")
    shown = here.do(verbs.Show(run="nightly"))
    assert (shown.name, shown.when) == ("nightly", "at 03:00 on Mondays UTC")
    assert shown.last_run.startswith("nightly-")
    with pytest.raises(UserError, match="nightly is a schedule: its runs have ids"):
        here.do(verbs.Cancel(run="nightly"))
    assert (run.parameters, run.executor) == ({"x": 7}, "kubeflow")
    assert "".join(here.do(verbs.Logs(run=run.id))) == "x is 7\n"
    here.do(verbs.PauseSchedule(name="nightly"))
    (listed,) = here.do(verbs.Schedules()).schedules
    assert (listed.state, listed.next) == (ScheduleState.PAUSED, ())
    assert listed.request.notebook == "credit.ipynb"
    # A run is recorded when its first pod has begun.
    here.until(lambda: listed.last_run in {run.id for run in here.runs()})
    here.until(lambda: all(run.state.is_final for run in here.runs()))
    before = len(here.runs())
    time.sleep(3)
    assert len(here.runs()) == before
    resumed = here.do(verbs.ResumeSchedule(name="nightly"))
    assert (resumed.state, len(resumed.next)) == (ScheduleState.ACTIVE, 3)
    here.until(lambda: len(here.runs()) > before)
    here.do(verbs.DeleteSchedule(name="nightly"))


def test_the_same_line_again_changes_nothing_and_other_words_are_told(here: Here) -> None:
    first = here.schedule(parameters={"x": 7}, gates=("score >= 0.5",))
    assert first.name == "credit"
    again = here.schedule(parameters={"x": "7"}, gates=("score >= 0.5",))
    assert (again.is_new, again.changes, again.address) == (False, (), first.address)
    other = here.schedule(cron="@daily", parameters={"x": 8}, gates=("score >= 0.5",))
    assert other.changes == ("parameters: x=7 → x=8", "cron: 0 3 * * 1 → @daily")
    (recurring,) = here.recurring()
    assert recurring.recurring_run_id == other.address != first.address
    assert recurring.trigger.cron_schedule.cron == "0 0 0 * * *"


def test_a_pinned_notebook_stays_as_it_was_until_the_update(here: Here) -> None:
    first = here.schedule()
    write(here.notebook, CODE, "print('more')")
    same = here.schedule()
    assert same.address == first.address
    assert "mlops schedule update credit" in here.told[-1].text
    here.do(verbs.PauseSchedule(name="credit"))
    updated = here.do(verbs.UpdateSchedule(name="credit", parameters={"x": 3}))
    assert updated.changes == ("parameters: none → x=3", "notebook: as it is now")
    assert updated.state is ScheduleState.PAUSED
    (recurring,) = here.recurring()
    assert (recurring.recurring_run_id, recurring.status) == (updated.address, "DISABLED")
    here.hasten("credit")
    run = here.until(here.succeeded)[-1]
    assert "".join(here.do(verbs.Logs(run=run.id))) == "x is 3\nmore\n"
    here.do(verbs.DeleteSchedule(name="credit"))
    assert here.recurring() == []
    assert here.do(verbs.Schedules()).schedules == ()
    assert run.id in {run.id for run in here.runs()}


def test_runs_of_the_latest_take_what_an_update_uploads(here: Here) -> None:
    made = here.schedule(latest=True)
    assert made.request.latest
    here.hasten("credit")
    here.until(here.succeeded)
    before = {run.id for run in here.runs()}
    write(here.notebook, "print('newer')")
    updated = here.do(verbs.UpdateSchedule(name="credit"))
    assert updated.changes == ("notebook: as it is now",)
    (recurring,) = here.recurring()
    assert recurring.recurring_run_id == updated.address
    same = here.do(verbs.UpdateSchedule(name="credit"))
    assert (same.changes, same.address) == ((), updated.address)
    pipeline = recurring.pipeline_version_reference.pipeline_id
    assert len(here.kubeflow.versions(pipeline)) == 2

    def newer() -> str:
        done = [run for run in here.succeeded() if run.id not in before]
        said = ["".join(here.do(verbs.Logs(run=run.id))) for run in done]
        return "newer\n" if "newer\n" in said else ""

    assert here.until(newer)
    here.do(verbs.DeleteSchedule(name="credit"))
    assert here.kubeflow.pipeline_named("credit") is None


@pytest.mark.parametrize(
    "lost", ["recurringruns", "pipelines/upload"], ids=lambda path: path.partition("/")[0]
)
def test_a_lost_answer_makes_no_second_one(here: Here, servers: Rehearsal, lost: str) -> None:
    servers.kubeflow.faults.add({"match": f"POST /apis/v2beta1/{lost}", "drop": True})
    name = f"once-{lost[:4]}"
    made = here.schedule(name=name, latest=True)
    (recurring,) = here.recurring()
    assert recurring.recurring_run_id == made.address
    pipeline = recurring.pipeline_version_reference.pipeline_id
    assert len(here.kubeflow.versions(pipeline)) == 1


def test_a_change_that_was_interrupted_leaves_one_schedule_after_the_next(here: Here) -> None:
    first = here.schedule()
    twin = here.recurring()[0]
    here.kubeflow.create_recurring(
        api.V2beta1RecurringRun(
            display_name=twin.display_name,
            description=twin.description,
            pipeline_spec=twin.pipeline_spec,
            runtime_config=twin.runtime_config,
            experiment_id=twin.experiment_id,
            max_concurrency="1",
            mode="ENABLE",
            trigger=twin.trigger,
        ),
        instead_of=[first.address],
    )
    assert len(here.recurring()) == 2
    assert len(here.do(verbs.Schedules()).schedules) == 1
    here.do(verbs.UpdateSchedule(name="credit"))
    assert len(here.recurring()) == 1


def test_lineage_and_placement_of_a_scheduled_run_are_those_of_a_submitted_one(
    here: Here,
) -> None:
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
        subprocess.run(["git", *identity, *words], cwd=here.folder, check=True)
    here.schedule()
    here.hasten("credit")
    run = here.until(here.succeeded)[-1]
    here.do(verbs.PauseSchedule(name="credit"))
    assert run.placement.on == "kubeflow"
    from mlflow import MlflowClient

    tags = MlflowClient(here.project.tracking_uri).get_run(run.tracking_id).data.tags
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=here.folder, text=True)
    assert head.strip() in tags.values()
    assert len(tags["mlops_nb.bundle"]) == 64


def test_what_cannot_be_is_refused_before_anything_is_made(here: Here) -> None:
    with pytest.raises(UserError, match="Europe/Berlin is now ahead of it"):
        here.schedule(timezone="Europe/Berlin")
    with pytest.raises(UserError, match="no parameter 'y'"):
        here.schedule(parameters={"y": 1})
    with pytest.raises(NotFound, match="there is no schedule 'nobody'"):
        here.do(verbs.PauseSchedule(name="nobody"))
    assert here.kubeflow.experiments() is not None
    with pytest.raises(NotFound):
        here.kubeflow.experiment_id(here.folder.name, create=False)
    run = here.do(verbs.Train(notebook=str(here.notebook), on="kubeflow", wait=False))
    with pytest.raises(Conflict, match=f"there is a run {run.id} already"):
        here.schedule(name=run.id)


def test_a_controller_in_the_same_zone_needs_no_conversion(
    tmp_path: Path, servers: Rehearsal
) -> None:
    here = Here(tmp_path, servers, 'timezone = "Europe/Berlin"\n')
    made = here.schedule(timezone="Europe/Berlin")
    assert {time.hour for time in made.next} == {3}
    assert here.recurring()[0].trigger.cron_schedule.cron == "0 0 3 * * 1"
    in_utc = here.schedule(name="in-utc", timezone="Europe/Paris")
    assert in_utc.when == "at 03:00 on Mondays Europe/Paris"


def test_an_ejected_pipeline_runs_by_the_commands_that_are_written_with_it(
    here: Here, servers: Rehearsal
) -> None:
    folder = here.folder / "pipeline"
    verb = verbs.Eject(notebook=str(here.notebook), to=str(folder), kubernetes=True)
    ejected = here.do(replace(verb, parameters={"x": 9}))
    bundle, *_ = [path for path in ejected.files if path.endswith(".tar.gz")]
    assert set(ejected.files) == {"README.md", "kubernetes.yaml", "pipeline.yaml", bundle}
    assert "kind: PipelineVersion" in (folder / "kubernetes.yaml").read_text()
    subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, check=True)
    typed = [line for line in ejected.commands if not line.startswith("kubectl")]
    done = subprocess.run(
        ["bash", "-ec", "\n".join(typed)],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = here.until(here.succeeded)[-1]
    assert run.id.startswith("credit-")
    assert "".join(here.do(verbs.Logs(run=run.id))) == "x is 9\n"


def test_an_ejected_pipeline_is_submitted_by_the_official_client(
    here: Here, servers: Rehearsal
) -> None:
    import kfp
    from mlflow import MlflowClient

    folder = here.folder / "pipeline"
    ejected = here.do(verbs.Eject(notebook=str(here.notebook), to=str(folder)))
    bundle, *_ = [path for path in ejected.files if path.endswith(".tar.gz")]
    tracking = MlflowClient(servers.tracking_uri)
    holder = tracking.create_run(tracking.create_experiment(here.folder.name)).info.run_id
    tracking.log_artifact(holder, str(folder / bundle), "mlops_nb")
    client = kfp.Client(host=servers.kubeflow.url)
    submitted = client.create_run_from_pipeline_package(
        str(folder / "pipeline.yaml"), arguments={"bundle_run": holder}, run_name="by hand"
    )
    done = client.wait_for_run_completion(submitted.run_id, timeout=120)
    assert done.state == "SUCCEEDED"
    (run,) = here.runs()
    assert run.id == f"credit-{submitted.run_id[:8]}"
    again = client.create_run_from_pipeline_package(
        str(folder / "pipeline.yaml"), arguments={"bundle_run": holder}, run_name="once more"
    )
    client.wait_for_run_completion(again.run_id, timeout=120)
    shown = here.do(verbs.Show(run=f"credit-{again.run_id[:8]}"))
    assert shown.cached_from == run.id
