"""The fields, lists, packages and schedules of the stand-in for Kubeflow."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import kfp_server_api.models as genuine
import pytest

from mlops_nb.dev.kubeflow import fields, schedule
from mlops_nb.dev.kubeflow.cache import fingerprint
from mlops_nb.dev.kubeflow.clock import parse
from mlops_nb.dev.kubeflow.ir import arguments, manifest_of, read_package
from mlops_nb.dev.kubeflow.listing import Shape, page
from mlops_nb.dev.kubeflow.records import node_id
from mlops_nb.dev.kubeflow.refusal import Refusal
from mlops_nb.dev.kubeflow.state import Store

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = Shape("runs", "id", {"name": "name", "created_at": "at"})


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        (fields.EXPERIMENT, genuine.V2beta1Experiment),
        (fields.PIPELINE, genuine.V2beta1Pipeline),
        (fields.PIPELINE_VERSION, genuine.V2beta1PipelineVersion),
        (fields.RUN, genuine.V2beta1Run),
        (fields.RECURRING_RUN, genuine.V2beta1RecurringRun),
    ],
)
def test_the_fields_are_those_of_the_official_models(shape: Any, model: Any) -> None:
    assert set(shape) == set(model.attribute_map.values())
    for name, inner in shape.items():
        if inner is not None:
            kind = getattr(genuine, model.openapi_types[name])
            assert set(inner) == set(kind.attribute_map.values()), name


def test_camel_case_is_understood_and_null_is_absent() -> None:
    given = {"displayName": "x", "runtimeConfig": {"pipelineRoot": "/r"}, "description": None}
    read = fields.read(given, fields.RUN)
    assert read == {"display_name": "x", "runtime_config": {"pipeline_root": "/r"}}


@pytest.mark.parametrize(
    "given", [[], "x", {"runtime_config": 3}, {"runtime_config": {"x": 1}}]
)
def test_other_shapes_are_refused(given: Any) -> None:
    with pytest.raises(Refusal):
        fields.read(given, fields.RUN)


def test_empty_fields_are_left_out() -> None:
    body = {"a": "", "b": [], "c": {}, "d": 0, "e": False, "f": "x", "g": True, "h": None}
    assert fields.without_empty(body) == {"f": "x", "g": True}


def test_pages_keep_their_order_and_filter() -> None:
    items = [{"id": str(n), "name": f"n{n % 2}", "at": "same"} for n in range(6)]
    predicate = {"operation": "EQUALS", "key": "name", "stringValue": "n1"}
    text = json.dumps({"predicates": [predicate]})
    query = {"page_size": "2", "sort_by": "created_at desc", "filter": text}
    first = page(SHAPE, items, query)
    assert [item["id"] for item in first["runs"]] == ["5", "3"]
    assert first["total_size"] == 3
    second = page(SHAPE, items, {"page_token": first["next_page_token"]})
    assert [item["id"] for item in second["runs"]] == ["1"]
    assert "next_page_token" not in second
    assert page(SHAPE, [], {}) == {}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"predicates": 3}',
        '{"other": []}',
        '{"predicates": [3]}',
        '{"predicates": [{"operation": "EQUALS", "key": "name"}]}',
        '{"predicates": [{"operation": "LIKE", "key": "name", "stringValue": "x"}]}',
        '{"predicates": [{"operation": 1, "key": "name", "stringValue": "x", "extra": 1}]}',
        '{"predicates": [{"operation": true, "key": "colour", "stringValue": "x"}]}',
    ],
)
def test_filters_that_cannot_be_read(text: str) -> None:
    with pytest.raises(Refusal):
        page(SHAPE, [{"id": "1", "name": "x"}], {"filter": text})


def manifest(**changes: Any) -> dict[str, Any]:
    """Give a small pipeline."""
    spec: dict[str, Any] = {
        "pipelineInfo": {"name": "p"},
        "schemaVersion": "2.1.0",
        "root": {
            "dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}}}},
            "inputDefinitions": {
                "parameters": {
                    "n": {"parameterType": "NUMBER_INTEGER", "defaultValue": 2.0},
                    "t": {"parameterType": "STRING"},
                    "o": {"parameterType": "STRING", "isOptional": True},
                }
            },
        },
        "components": {"comp-a": {"executorLabel": "exec-a"}},
        "deploymentSpec": {"executors": {"exec-a": {"container": {"image": "x"}}}},
    }
    return {**spec, **changes}


def tasks(**named: Any) -> dict[str, Any]:
    dag = {"tasks": {n: {"componentRef": {"name": "comp-a"}, **t} for n, t in named.items()}}
    return manifest(root={"dag": dag})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (manifest(root=None), "pipeline spec is invalid"),
        (manifest(pipelineInfo={}), "pipelineInfo.name"),
        (manifest(schemaVersion="1.0"), "schema version"),
        (manifest(components={}), 'component spec for "comp-a" not found'),
        (manifest(deploymentSpec={}), 'executor with label "exec-a" not found'),
        (
            manifest(deploymentSpec={"executors": {"exec-a": {"customJob": {}}}}),
            "an executor that is not supported",
        ),
        (tasks(a={"dependentTasks": ["b"]}), "depends on unknown b"),
        (
            tasks(a={"dependentTasks": ["b"]}, b={"dependentTasks": ["a"]}),
            "wait for each other",
        ),
        (tasks(), "one or more non-exit tasks"),
        (tasks(a={"artifactIterator": {}}), "artifact iterator"),
    ],
)
def test_pipelines_that_could_not_run_are_refused(spec: Any, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        manifest_of(spec)


def test_defaults_complete_the_parameters() -> None:
    known = manifest_of(manifest())
    assert repr(arguments(known, {"t": "x"})) == "{'n': 2, 't': 'x'}"
    for wrong in ({}, {"t": 1}, {"t": "x", "n": "many"}, {"t": "x", "other": 1}):
        with pytest.raises(Refusal):
            arguments(known, wrong)


def test_packages_in_archives() -> None:
    text = json.dumps(manifest()).encode()
    platform = b"\n---\nplatforms: {kubernetes: {}}\n"
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("pipeline.yaml", text + platform)
    with tarfile.open(fileobj=tarred, mode="w:gz") as tar:
        member = tarfile.TarInfo("p.yaml")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    assert read_package(zipped.getvalue())["platform_spec"] == {"platforms": {"kubernetes": {}}}
    assert read_package(tarred.getvalue())["pipeline_spec"]["pipelineInfo"] == {"name": "p"}
    for broken in (b"PK\x03\x04broken", b"\x1f\x8bbroken", b"\xff\xfe"):
        with pytest.raises(Refusal):
            read_package(broken)


def test_node_ids_are_those_of_argo() -> None:
    assert node_id("hello", "hello") == "hello"
    assert node_id("hello-world-mpxvd", "a") == f"hello-world-mpxvd-{0xE40C292C}"


def test_the_fingerprint_counts_what_the_real_one_counts() -> None:
    container = {"image": "i", "command": ["go"], "args": ["{{$.inputs.parameters['x']}}"]}
    inputs = {"parameters": {"x": 1}, "artifacts": {"a": [{"name": "a", "uri": "u"}]}}
    first = fingerprint({}, {}, container, inputs)
    moved = {**inputs, "artifacts": {"a": [{"name": "a", "uri": "elsewhere"}]}}
    assert fingerprint({}, {}, container, moved) == first
    assert fingerprint({}, {}, container, {**inputs, "parameters": {"x": 1.0}}) == first
    for other in (
        fingerprint({}, {}, {**container, "image": "j"}, inputs),
        fingerprint({}, {}, {**container, "args": []}, inputs),
        fingerprint({}, {}, {**container, "env": [{"name": "A", "value": "b"}]}, inputs),
        fingerprint({}, {}, container, {**inputs, "parameters": {"x": 2}}),
        fingerprint({}, {"outputDefinitions": {"artifacts": {"o": {}}}}, container, inputs),
    ):
        assert other != first


def moment(text: str) -> float:
    return parse(f"2026-11-{text}Z", "time")


def period(seconds: int, **more: str) -> dict[str, Any]:
    return {"periodic_schedule": {"interval_second": str(seconds), **more}}


def test_a_period_with_and_without_catching_up() -> None:
    last, now = moment("01T00:00:00"), moment("01T03:30:00")
    due = schedule.due(period(3600), last, now, "UTC", catchup=True)
    assert due == moment("01T01:00:00")
    assert schedule.due(period(3600), last, now, "UTC", catchup=False) == moment("01T03:00:00")


def test_a_schedule_that_is_over_and_one_that_has_not_begun() -> None:
    last, now = moment("01T00:00:00"), moment("02T00:00:00")
    over = period(3600, end_time="2026-11-01T00:30:00Z")
    assert schedule.due(over, last, now, "UTC", catchup=True) == float("inf")
    ahead = period(3600, start_time="2026-11-05T00:00:00Z")
    assert schedule.due(ahead, last, now, "UTC", catchup=True) == moment("05T01:00:00")


@pytest.mark.parametrize(
    "trigger",
    [
        {},
        {"cron_schedule": {"cron": "0 0 3 * * *"}, **period(1)},
        period(0),
        {"periodic_schedule": {}},
        {"cron_schedule": {"cron": "@every 1h"}},
        {"cron_schedule": {}},
    ],
)
def test_triggers_that_cannot_be(trigger: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        schedule.check(trigger)


@pytest.mark.parametrize(
    ("cron", "zone", "expected"),
    [
        ("0 0 3 * * 1", "UTC", "09T03:00:00"),
        ("0 0 3 ? * MON", "UTC", "09T03:00:00"),
        ("0 0 3 * * *", "Europe/Berlin", "04T02:00:00"),
        ("*/10 * * * * *", "UTC", "03T12:00:10"),
        ("0 30 * * *", "UTC", "03T12:30:00"),
        ("@hourly", "UTC", "03T13:00:00"),
    ],
)
def test_cron(cron: str, zone: str, expected: str) -> None:
    pytest.importorskip("croniter")
    trigger = {"cron_schedule": {"cron": cron}}
    schedule.check(trigger)
    now = moment("03T12:00:00")
    assert schedule.due(trigger, now, now, zone, catchup=True) == moment(expected)


def test_placeholders_of_a_scheduled_run() -> None:
    given = {"t": "[[ScheduledTime]]/[[Index]]/[[Other]]", "n": 1}
    when = moment("03T12:00:00")
    filled = schedule.filled(given, when, when, 7, "id")
    assert filled == {"t": "20261103120000/7/[[Other]]", "n": 1}


def test_the_store_keeps_order_and_gives_copies(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    for key in ("b", "a"):
        store.put("k", key, {"id": key, "list": []})
    store.put("k", "b", {"id": "b", "list": [1]})
    store.put("other", "a", {})
    found = store.get("k", "b")
    assert found == {"id": "b", "list": [1]}
    found["list"].append(2)
    assert [item["id"] for item in store.all("k")] == ["b", "a"]
    store.close()
    again = Store(tmp_path / "s.sqlite")
    assert again.get("k", "b") == {"id": "b", "list": [1]}
    again.delete("k", "b")
    assert again.get("k", "b") is None
    again.close()
