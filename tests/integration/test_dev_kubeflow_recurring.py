"""Recurring runs of the stand-in for Kubeflow, by the official client."""

import json
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest
from test_dev_kubeflow import Rehearsal, compiled, rehearsal, say, shell, three

from kfp import dsl  # isort: skip


@dsl.pipeline(name="told")  # type: ignore[untyped-decorator]
def told(text: str = "[[ScheduledTime]] [[Index]]") -> None:
    """Say when it was due."""
    say(text=text).set_caching_options(False)


@dsl.container_component
def hold():  # type: ignore[no-untyped-def]
    return shell("sleep 30")


@dsl.pipeline(name="held")  # type: ignore[untyped-decorator]
def held() -> None:
    """Go on and on."""
    hold()


def schedule(r: Rehearsal, pipeline: Any, name: str = "nightly", **more: Any) -> Any:
    experiment = r.client.create_experiment("scheduled")
    path = compiled(pipeline, r.folder / "pipeline.yaml")
    if "version_id" not in more:
        more["pipeline_package_path"] = str(path)
    return r.client.create_recurring_run(experiment.experiment_id, name, **more)


def runs_of(r: Rehearsal, recurring: Any) -> list[Any]:
    runs = r.client.list_runs(sort_by="created_at asc").runs or []
    return [run for run in runs if run.recurring_run_id == recurring.recurring_run_id]


def test_a_period_starts_runs_that_name_it(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        made = schedule(
            r, told, interval_second=1, params={"text": "[[Index]] at [[ScheduledTime]]"}
        )
        assert (made.mode, made.status) == ("ENABLE", "ENABLED")
        assert made.trigger.periodic_schedule.interval_second == "1"
        assert made.max_concurrency == "1"
        r.until(lambda: len(runs_of(r, made)) >= 2)
        r.client.disable_recurring_run(made.recurring_run_id)
        first, second, *_ = runs_of(r, made)
        assert 1 <= (second.scheduled_at - first.scheduled_at).total_seconds() <= 2
        assert first.display_name.startswith("nightly-")
        r.wait(first.run_id)
        due = first.scheduled_at.strftime("%Y%m%d%H%M%S")
        assert r.logs(first.run_id)["say"] == f"said: 1 at {due}\n"


def test_enable_disable_list_and_delete(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        made = schedule(r, three, interval_second=3600, enabled=False)
        key = made.recurring_run_id
        assert r.client.get_recurring_run(key).status == "DISABLED"
        r.client.enable_recurring_run(key)
        assert r.client.get_recurring_run(key).status == "ENABLED"
        r.client.disable_recurring_run(key)
        shown = r.client.get_recurring_run(key)
        assert (shown.mode, shown.status) == ("DISABLE", "DISABLED")
        listed = r.client.list_recurring_runs(sort_by="created_at desc")
        assert [known.recurring_run_id for known in listed.recurring_runs] == [key]
        by_experiment = r.client.list_recurring_runs(experiment_id=made.experiment_id)
        assert by_experiment.total_size == 1
        r.client.delete_recurring_run(key)
        with pytest.raises(kfp_server_api.ApiException) as refused:
            r.client.get_recurring_run(key)
        assert refused.value.status == 404


def test_no_more_at_once_than_allowed(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        made = schedule(r, held, interval_second=1, max_concurrency=1)
        (first,) = r.until(lambda: runs_of(r, made))
        with pytest.raises(AssertionError, match="in time"):
            r.until(lambda: len(runs_of(r, made)) > 1, seconds=2.2)
        r.client.terminate_run(first.run_id)
        r.until(lambda: len(runs_of(r, made)) > 1)


def test_schedules_survive_a_restart(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        made = schedule(r, three, interval_second=2)
    with rehearsal(tmp_path) as r:
        r.until(lambda: runs_of(r, made))


def test_a_schedule_of_a_pipeline_takes_its_newest_version(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        path = str(compiled(three, tmp_path / "three.yaml"))
        pipeline = r.client.upload_pipeline(path, pipeline_name="churn")
        body = {
            "display_name": "latest",
            "max_concurrency": "1",
            "mode": "ENABLE",
            "trigger": {"periodic_schedule": {"interval_second": "1"}},
            "pipeline_version_reference": {"pipeline_id": pipeline.pipeline_id},
        }
        assert r.post("/apis/v2beta1/recurringruns", body)[0] == 200
        second = r.client.upload_pipeline_version(
            path, "second", pipeline_id=pipeline.pipeline_id
        )
        run = r.until(lambda: r.client.list_runs().runs)[0]
        assert run.pipeline_version_reference.pipeline_version_id == second.pipeline_version_id


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"interval_second": 60, "max_concurrency": 11}, "out of range. Supports 1-10"),
        ({"interval_second": 60, "start_time": "yesterday"}, "no RFC 3339 time"),
        ({"cron_expression": "0 3 * *"}, "Expected 5 to 6 fields, found 4"),
        ({"cron_expression": "CRON_TZ=Europe/Berlin 0 0 3 * * *"}, "found 7"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(
    tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    with rehearsal(tmp_path) as r:
        with pytest.raises(kfp_server_api.ApiException) as refused:
            schedule(r, three, **more)
        assert refused.value.status == 400
        assert words in json.loads(refused.value.body)["message"]


def test_cron_has_seconds_first(tmp_path: Path) -> None:
    pytest.importorskip("croniter")
    with rehearsal(tmp_path) as r:
        made = schedule(r, three, cron_expression="*/2 * * * * *")
        assert made.trigger.cron_schedule.cron == "*/2 * * * * *"
        runs = r.until(lambda: (found := runs_of(r, made))[1:] and found)
        assert {run.scheduled_at.second % 2 for run in runs} == {0}


def test_cron_without_its_library_is_refused_in_words(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "croniter", None)
    with rehearsal(tmp_path) as r:
        with pytest.raises(kfp_server_api.ApiException) as refused:
            schedule(r, three, cron_expression="0 0 3 * * *")
        assert "need the package croniter" in refused.value.body
