"""The stand-in for Kubeflow Pipelines, driven by the official clients, unchanged.

Every answer that a client reads is held against that client's own models: a field that they do
not know, or a value of another type, fails the test.
"""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import kfp
import kfp_server_api
import pytest
import yaml
from kfp import compiler, dsl

from mlops_nb.dev.kubeflow import Options, Server, serve

IMAGE = "registry.example.org/any:1"
_INSIDE = re.compile(r"^(list\[|dict\(str, )(.*)[\])]$")


def hold_against(models: Any, body: Any, kind: str, where: str = "body") -> None:
    """Fail on what a client's models do not know."""
    inside = _INSIDE.match(kind)
    if inside and inside[1] == "list[":
        for number, item in enumerate(body):
            hold_against(models, item, inside[2], f"{where}[{number}]")
    elif inside:
        for key, item in body.items():
            hold_against(models, item, inside[2], f"{where}.{key}")
    elif kind == "datetime":
        assert datetime.fromisoformat(body).tzinfo, where
    elif kind in {"str", "int", "bool", "float"}:
        assert type(body).__name__ == kind, f"{where} is {body!r}, not {kind}"
    elif kind != "object":
        _hold_against_model(models, body, getattr(models, kind), where)


def _hold_against_model(models: Any, body: Any, model: Any, where: str) -> None:
    if not model.openapi_types:
        words = {value for name, value in vars(model).items() if name.isupper()}
        assert body in words, f"{where} is {body!r}"
        return
    types = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    unknown = set(body) - set(types)
    assert not unknown, f"{where} has {sorted(unknown)}, which {model.__name__} does not know"
    for key, value in body.items():
        hold_against(models, value, types[key], f"{where}.{key}")


@contextmanager
def strict(models: Any, client: Any) -> Iterator[list[str]]:
    """Check every answer that a generated client reads; give the kinds that were read."""
    read: list[str] = []
    genuine: Callable[..., Any] = client.deserialize

    def checking(self: Any, response: Any, kind: str) -> Any:
        if kind in vars(models):
            read.append(kind)
            hold_against(models, json.loads(response.data), kind)
        return genuine(self, response, kind)

    with mock.patch.object(client, "deserialize", checking):
        yield read


class Rehearsal:
    """A server, and the clients for it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        namespace = "team" if server.options.multi_user else None
        token = server.options.token or None
        self.client = kfp.Client(host=server.url, namespace=namespace, existing_token=token)
        self.api = kfp_server_api.RunServiceApi(self.client._run_api.api_client)

    def submit(
        self, pipeline: Any, arguments: dict[str, Any] | None = None, **more: Any
    ) -> str:
        """Compile and start a pipeline; give the run's id."""
        path = compiled(pipeline, self.folder / "pipeline.yaml")
        start = self.client.create_run_from_pipeline_package
        return str(start(str(path), arguments=arguments, **more).run_id)

    def wait(self, run_id: str, seconds: float = 20) -> Any:
        """Wait as the official client does; give the run."""
        wait = self.client.wait_for_run_completion
        return wait(run_id, timeout=int(seconds), sleep_duration=0.05)

    def finish(self, pipeline: Any, arguments: dict[str, Any] | None = None) -> Any:
        """Take a pipeline to its end; give the run."""
        return self.wait(self.submit(pipeline, arguments))

    def until(self, condition: Callable[[], Any], seconds: float = 20) -> Any:
        """Wait for something to be true; give it."""
        return until(condition, seconds)

    def logs(self, run_id: str) -> dict[str, str]:
        """Give what each pod of a run printed, by its task's node."""
        run = self.server.engine.find(run_id)
        logs = {}
        for name, node in list(run.nodes.items()):
            status, body = self.get(f"/apis/v1alpha1/runs/{run_id}/nodes/{node.id}/log")
            if status == 200 and body:
                short = name.removeprefix(f"{run.workflow}.root.").removesuffix(".executor")
                logs[short] = body
        return logs

    def get(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, str]:
        """Ask without any client; give status and text."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.server.options.token:
            headers["Authorization"] = f"Bearer {self.server.options.token}"
        url = self.server.url + path
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def post(self, path: str, body: Any = None) -> tuple[int, str]:
        """Post without any client."""
        return self.get(path, "POST", {} if body is None else body)


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.03)
    return found


def compiled(pipeline: Any, path: Path) -> Path:
    compiler.Compiler().compile(pipeline, str(path))
    return path


@contextmanager
def rehearsal(folder: Path, **options: Any) -> Iterator[Rehearsal]:
    """Start a server, and check all that the official client reads of it."""
    given = Options(folder=folder / "server", **{"grace": 2.0, "backoff": 0.05, **options})
    with (
        serve(given) as server,
        strict(kfp_server_api.models, kfp_server_api.ApiClient) as read,
    ):
        yield Rehearsal(server, folder)
        assert read, "no client read anything"


def shell(script: str, *words: Any) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-ec", script, "sh"], args=list(words))


@dsl.container_component  # type: ignore[untyped-decorator]
def add(number: int, total: dsl.OutputPath(int)):  # type: ignore[no-untyped-def,valid-type]
    return shell('echo "adding to $1"; echo $(($1 + 1)) > "$2"', number, total)


@dsl.container_component  # type: ignore[untyped-decorator]
def say(text: str):  # type: ignore[no-untyped-def]
    return shell('echo "said: $1"', text)


@dsl.container_component  # type: ignore[untyped-decorator]
def nap(seconds: float):  # type: ignore[no-untyped-def]
    return shell('echo asleep; sleep "$1"; echo awake', seconds)


@dsl.container_component  # type: ignore[untyped-decorator]
def flaky(marker: str):  # type: ignore[no-untyped-def]
    return shell('test -e "$1" || { echo broken; exit 3; }', marker)


@dsl.pipeline(name="three")  # type: ignore[untyped-decorator]
def three(number: int = 1) -> None:
    """Three tasks in a row, and one of two branches."""
    first = add(number=number).set_caching_options(False)
    second = add(number=first.outputs["total"]).set_caching_options(False)
    third = add(number=second.outputs["total"]).set_caching_options(False)
    with dsl.If(third.outputs["total"] > 5, name="much"):
        say(text="much").set_caching_options(False)
    with dsl.If(third.outputs["total"] <= 5, name="little"):
        say(text="little").set_caching_options(False)


@dsl.pipeline(name="sleeper")  # type: ignore[untyped-decorator]
def sleeper(seconds: float = 30.0) -> None:
    """One task that takes its time, and one after it."""
    first = nap(seconds=seconds).set_caching_options(False)
    say(text="after").after(first)


@dsl.pipeline(name="mended")  # type: ignore[untyped-decorator]
def mended(marker: str) -> None:
    """A task that goes well, and one that fails until the marker is there."""
    first = add(number=1).set_caching_options(False)
    say(text="count me").after(first).set_caching_options(False)
    second = flaky(marker=marker).after(first).set_caching_options(False)
    say(text="at last").after(second).set_caching_options(False)


def states(run: Any) -> dict[str, str]:
    """Give the state of each task by its display name."""
    return {task.display_name: task.state for task in run.run_details.task_details}


def test_a_run_goes_from_submission_to_its_end(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run_id = r.submit(three, {"number": 4}, run_name="my run", experiment_name="mine")
        run = r.wait(run_id)
        assert run.state == "SUCCEEDED"
        assert [past.state for past in run.state_history] == ["PENDING", "RUNNING", "SUCCEEDED"]
        assert run.finished_at >= run.created_at
        assert run.runtime_config.parameters == {"number": 4}
        assert run.service_account == "pipeline-runner"
        assert run.storage_state == "AVAILABLE"
        assert states(run) == {
            "root-driver": "SUCCEEDED",
            "root": "SUCCEEDED",
            "add-driver": "SUCCEEDED",
            "add": "SUCCEEDED",
            "add-2-driver": "SUCCEEDED",
            "add-2": "SUCCEEDED",
            "add-3-driver": "SUCCEEDED",
            "add-3": "SUCCEEDED",
            "executor": "SUCCEEDED",
            "condition-1-driver": "SUCCEEDED",
            "condition-1": "SUCCEEDED",
            "condition-2-driver": "SUCCEEDED",
            "condition-2": "SKIPPED",
            "say-driver": "SUCCEEDED",
            "say": "SUCCEEDED",
            run.run_details.task_details[0].display_name: "SUCCEEDED",
        }
        assert r.logs(run_id) == {
            "add": "adding to 4\n",
            "add-2": "adding to 5\n",
            "add-3": "adding to 6\n",
            "condition-1.say": "said: much\n",
        }
        listed = r.client.list_runs(page_size=10, sort_by="created_at desc")
        assert [known.run_id for known in listed.runs] == [run_id]


def test_a_task_names_its_pod_as_a_child(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run = r.finish(three)
        task = next(t for t in run.run_details.task_details if t.display_name == "add")
        (child,) = task.child_tasks
        path = f"/apis/v1alpha1/runs/{run.run_id}/nodes/{child.pod_name}/log"
        assert r.get(path) == (200, "adding to 1\n")


def test_an_unfinished_run_has_times_that_are_no_times(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run_id = r.submit(sleeper)
        r.until(lambda: "asleep" in r.logs(run_id).get("nap", ""))
        run = json.loads(r.get(f"/apis/v2beta1/runs/{run_id}")[1])
        assert run["state"] == "RUNNING"
        assert run["finished_at"] == "1970-01-01T00:00:00Z"
        ends = {
            task["display_name"]: task["end_time"]
            for task in run["run_details"]["task_details"]
        }
        assert ends["executor"] == "0001-01-01T00:00:00Z"
        assert "description" not in run
        assert "recurring_run_id" not in run


def test_terminate_is_canceling_and_then_failed(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run_id = r.submit(sleeper)
        r.until(lambda: "asleep" in r.logs(run_id).get("nap", ""))
        began = time.monotonic()
        r.client.terminate_run(run_id)
        run = r.wait(run_id)
        assert time.monotonic() - began < 5
        assert run.state == "FAILED"
        history = [past.state for past in run.state_history]
        assert history == ["PENDING", "RUNNING", "CANCELING", "FAILED"]
        assert states(run)["executor"] == "FAILED"
        assert "say" not in states(run) or states(run)["say"] is None
        assert "awake" not in r.logs(run_id)["nap"]


def test_a_run_that_is_over_cannot_be_terminated(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run = r.finish(three)
        with pytest.raises(kfp_server_api.ApiException) as refused:
            r.client.terminate_run(run.run_id)
        assert refused.value.status == 400
        body = json.loads(refused.value.body)
        assert body["code"] == 3
        assert "Failed to terminate a run" in body["message"]
        assert body["error"] == body["message"]
        assert body["details"][0]["@type"].startswith("type.googleapis.com/")


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    @dsl.container_component  # type: ignore[untyped-decorator]
    def stubborn(pid: dsl.OutputPath(int)):  # type: ignore[no-untyped-def,valid-type]
        return shell('trap "" TERM; echo $$; while :; do sleep 0.1; done; echo "$1"', pid)

    @dsl.pipeline(name="stubborn")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        stubborn()

    with rehearsal(tmp_path, grace=0.5) as r:
        run_id = r.submit(pipeline)
        pid = r.until(lambda: r.logs(run_id).get("stubborn", "").strip())
        r.client.terminate_run(run_id)
        assert r.wait(run_id).state == "FAILED"
        assert not Path(f"/proc/{pid}").exists()


def test_retry_keeps_the_id_and_what_went_well(tmp_path: Path) -> None:
    marker = tmp_path / "mended"
    with rehearsal(tmp_path) as r:
        run = r.finish(mended, {"marker": str(marker)})
        assert run.state == "FAILED"
        assert states(run)["flaky"] == "FAILED"
        before = {p["name"]: p["uid"] for p in r.server._store.all("pods")}
        marker.touch()
        r.api.run_service_retry_run(run.run_id)
        r.until(lambda: r.client.get_run(run.run_id).state != "FAILED")
        again = r.wait(run.run_id)
        assert again.run_id == run.run_id
        assert again.state == "SUCCEEDED"
        history = [past.state for past in again.state_history]
        assert history == ["PENDING", "RUNNING", "FAILED", "RUNNING", "SUCCEEDED"]
        after = {p["name"]: p["uid"] for p in r.server._store.all("pods")}
        kept = {name for name in before if before[name] == after.get(name)}
        assert len(kept) == 2, "add and the first say ran once; only flaky ran again"
        assert r.logs(run.run_id)["say-2"] == "said: at last\n"


def test_only_a_failed_run_can_be_retried(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run = r.finish(three)
        with pytest.raises(kfp_server_api.ApiException) as refused:
            r.api.run_service_retry_run(run.run_id)
        assert refused.value.status == 400


def test_archive_and_delete(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run_id = r.finish(three).run_id
        r.client.archive_run(run_id)
        assert r.client.get_run(run_id).storage_state == "ARCHIVED"
        r.client.unarchive_run(run_id)
        assert r.client.get_run(run_id).storage_state == "AVAILABLE"
        r.client.delete_run(run_id)
        with pytest.raises(kfp_server_api.ApiException) as refused:
            r.client.get_run(run_id)
        assert (refused.value.status, json.loads(refused.value.body)["code"]) == (404, 5)


def test_a_missing_parameter_an_unknown_one_and_a_wrong_type_are_refused(
    tmp_path: Path,
) -> None:
    with rehearsal(tmp_path) as r:
        wrong: list[tuple[dict[str, Any], str]] = [
            ({}, "parameter marker is not optional"),
            ({"marker": "m", "other": 1}, "['other'] are not declared"),
            ({"marker": 3}, "marker requires type STRING"),
        ]
        for arguments, words in wrong:
            with pytest.raises(kfp_server_api.ApiException) as refused:
                r.submit(mended, arguments)
            assert refused.value.status == 400
            assert words in json.loads(refused.value.body)["message"]
        assert r.client.list_runs().runs is None


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        spec = yaml.safe_load(compiled(three, tmp_path / "p.yaml").read_text())
        body = {"display_name": "x", "pipeline_spec": spec, "colour": "red"}
        status, text = r.post("/apis/v2beta1/runs", body)
        assert status == 400
        assert 'unknown field "colour"' in json.loads(text)["message"]
        nested = {"display_name": "x", "pipeline_spec": spec, "runtime_config": {"gpu": 1}}
        assert r.post("/apis/v2beta1/runs", nested)[0] == 400


def test_pages_and_filters(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        names = [f"churn {number}" for number in range(5)]
        for name in names:
            r.wait(r.submit(three, run_name=name))
        first = r.client.list_runs(page_size=2, sort_by="created_at desc")
        assert [run.display_name for run in first.runs] == names[:2:-1]
        assert first.total_size == 5
        rest = r.client.list_runs(page_token=first.next_page_token, page_size=9)
        assert [run.display_name for run in rest.runs] == names[2::-1]
        assert rest.next_page_token is None

        def found(*predicates: dict[str, Any]) -> list[str]:
            text = json.dumps({"predicates": list(predicates)})
            return [run.display_name for run in r.client.list_runs(filter=text).runs or []]

        equal = {"operation": "EQUALS", "key": "name", "string_value": "churn 3"}
        assert found(equal) == ["churn 3"]
        inside = {"operation": "IS_SUBSTRING", "key": "display_name", "stringValue": "CHURN"}
        assert len(found(inside)) == 5
        assert found(inside, {"operation": 1, "key": "state", "stringValue": "FAILED"}) == []
        listed = {"operation": "IN", "key": "state", "string_values": {"values": ["SUCCEEDED"]}}
        assert len(found(listed)) == 5
        for query in ("filter=x", "sort_by=colour", "page_token=x", "page_size=x"):
            assert r.get(f"/apis/v2beta1/runs?{query}")[0] == 400
        with pytest.raises(kfp_server_api.ApiException) as refused:
            found({"operation": "EQUALS", "key": "colour", "string_value": "red"})
        assert "unrecognized field" in refused.value.body


def test_pipelines_are_uploaded_versioned_run_and_deleted(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        path = str(compiled(three, tmp_path / "three.yaml"))
        pipeline = r.client.upload_pipeline(
            path, pipeline_name="churn", description="what it does"
        )
        assert r.client.get_pipeline_id("churn") == pipeline.pipeline_id
        assert r.client.get_pipeline(pipeline.pipeline_id).description == "what it does"
        api = kfp_server_api.PipelineServiceApi(r.api.api_client)
        assert (
            api.pipeline_service_get_pipeline_by_name("churn").pipeline_id
            == pipeline.pipeline_id
        )
        second = r.client.upload_pipeline_version(
            path, "second", pipeline_id=pipeline.pipeline_id
        )
        versions = r.client.list_pipeline_versions(
            pipeline.pipeline_id, sort_by="created_at desc"
        )
        assert [version.display_name for version in versions.pipeline_versions] == [
            "second",
            "churn",
        ]
        assert r.client.list_pipelines().total_size == 1
        experiment = r.client.create_experiment("by reference")
        run = r.client.run_pipeline(
            experiment.experiment_id,
            "referred",
            pipeline_id=pipeline.pipeline_id,
            version_id=second.pipeline_version_id,
        )
        run = r.wait(run.run_id)
        assert run.state == "SUCCEEDED"
        assert run.pipeline_spec is None
        reference = run.pipeline_version_reference
        assert reference.pipeline_version_id == second.pipeline_version_id
        with pytest.raises(kfp_server_api.ApiException) as refused:
            r.client.upload_pipeline(path, pipeline_name="churn")
        assert (refused.value.status, json.loads(refused.value.body)["code"]) == (409, 6)
        with pytest.raises(kfp_server_api.ApiException):
            r.client.delete_pipeline(pipeline.pipeline_id)
        for version in versions.pipeline_versions:
            r.client.delete_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
        r.client.delete_pipeline(pipeline.pipeline_id)
        assert r.client.list_pipelines().pipelines is None


def test_packages_that_are_no_pipeline_are_refused(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        api = kfp_server_api.PipelineUploadServiceApi(r.api.api_client)
        for number, text in enumerate(
            ["", "a: [", "a: 1", "- 1", "schemaVersion: 2.1.0\nroot: {}"]
        ):
            path = tmp_path / f"{number}.yaml"
            path.write_text(text)
            with pytest.raises(kfp_server_api.ApiException) as refused:
                api.upload_pipeline(str(path), name=f"p{number}")
            assert refused.value.status == 400, text


def test_experiments(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        made = r.client.create_experiment("churn", description="all of them")
        assert r.client.create_experiment("churn").experiment_id == made.experiment_id
        assert {e.display_name for e in r.client.list_experiments().experiments} == {
            "Default",
            "churn",
        }
        run_id = r.submit(three, experiment_name="churn")
        assert r.client.list_runs(experiment_id=made.experiment_id).runs[0].run_id == run_id
        r.wait(run_id)
        r.client.archive_experiment(made.experiment_id)
        shown = r.client.get_experiment(experiment_name="churn")
        assert shown.storage_state == "ARCHIVED"
        r.client.delete_experiment(made.experiment_id)
        with pytest.raises(ValueError, match="No experiment is found"):
            r.client.get_experiment(experiment_name="churn")


def test_namespaces_of_many_users(tmp_path: Path) -> None:
    with rehearsal(tmp_path, multi_user=True, namespaces=("team",)) as r:
        assert r.client.get_kfp_healthz().multi_user is True
        run_id = r.submit(three, namespace="team")
        assert r.wait(run_id).state == "SUCCEEDED"
        assert r.client.list_runs(namespace="team").total_size == 1
        assert r.get("/apis/v2beta1/runs")[0] == 400
        status, text = r.get("/apis/v2beta1/runs?namespace=other")
        assert (status, json.loads(text)["code"]) == (403, 7)
        with pytest.raises(kfp_server_api.ApiException) as refused:
            r.client.create_experiment("x", namespace="other")
        assert refused.value.status == 403


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    with rehearsal(tmp_path, token="s3cret") as r:
        assert r.finish(three).state == "SUCCEEDED"
        other = kfp_server_api.Configuration(host=r.server.url)
        api = kfp_server_api.RunServiceApi(kfp_server_api.ApiClient(other))
        with pytest.raises(kfp_server_api.ApiException) as refused:
            api.run_service_list_runs()
        assert (refused.value.status, json.loads(refused.value.body)["code"]) == (401, 16)


def test_web_pages_are_not_answered(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example:80"}):
            url = f"{r.server.url}/apis/v2beta1/runs"
            request = urllib.request.Request(url, b"{}", headers, method="POST")  # noqa: S310
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=5)  # noqa: S310
            assert refused.value.code == 403


def test_an_unknown_log_and_an_unknown_path_are_404(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run_id = r.finish(three).run_id
        for path in (
            f"/apis/v1alpha1/runs/{run_id}/nodes/nobody/log",
            "/apis/v1alpha1/runs/none/nodes/nobody/log",
            "/apis/v2beta1/nothing",
        ):
            status, text = r.get(path)
            assert status == 404
            assert set(json.loads(text)) == {"error", "code", "message", "details"}


def test_state_survives_a_restart(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        done = r.finish(three).run_id
        r.client.upload_pipeline(str(r.folder / "pipeline.yaml"), pipeline_name="kept")
        running = r.submit(sleeper)
        r.until(lambda: "asleep" in r.logs(running).get("nap", ""))
    with rehearsal(tmp_path) as r:
        assert r.client.get_run(done).state == "SUCCEEDED"
        assert r.logs(done)["add"] == "adding to 1\n"
        assert r.client.get_run(running).state == "FAILED"
        assert r.client.get_pipeline_id("kept")


@pytest.mark.parametrize(
    "prefix", ["/pipeline", "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"]
)
def test_behind_a_gateway(tmp_path: Path, prefix: str) -> None:
    with rehearsal(tmp_path) as r:
        client = kfp.Client(host=r.server.url + prefix)
        path = str(compiled(three, tmp_path / "p.yaml"))
        run_id = client.create_run_from_pipeline_package(path).run_id
        assert r.wait(run_id).state == "SUCCEEDED"


def test_the_newer_official_client(tmp_path: Path) -> None:
    newer = pytest.importorskip("kfp.kubeflow_client")
    with rehearsal(tmp_path) as r:
        settings = newer.KubernetesBackendConfig(base_url=r.server.url, namespace="kubeflow")
        client = newer.PipelinesClient(settings)
        path = str(compiled(three, tmp_path / "p.yaml"))
        client.upload_pipeline(path, name="churn", version="first")
        run = client.run("churn", params={"number": 2}, name="mine")
        run = client.wait_for_run_status(run, timeout=20, polling_interval=1)
        assert run.state == "SUCCEEDED"
        assert [known.run_id for known in client.list_runs().runs] == [run.run_id]
