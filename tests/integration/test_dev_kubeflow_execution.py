"""What the stand-in for Kubeflow really executes: each construct that kfp compiles."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, kubernetes
from test_dev_kubeflow import add, compiled, flaky, nap, rehearsal, say, shell, sleeper, states


@dsl.container_component  # type: ignore[untyped-decorator]
def fail(code: int):  # type: ignore[no-untyped-def]
    return shell('echo "going down"; exit "$1"', code)


@dsl.container_component  # type: ignore[untyped-decorator]
def write(text: str, note: dsl.Output[dsl.Artifact]):  # type: ignore[no-untyped-def]
    return shell('echo "$1" > "$2"', text, note.path)


@dsl.container_component  # type: ignore[untyped-decorator]
def read(note: dsl.Input[dsl.Artifact]):  # type: ignore[no-untyped-def]
    return shell('echo "$2"; cat "$1"', note.path, note.uri)


@dsl.container_component  # type: ignore[untyped-decorator]
def report(status: dsl.PipelineTaskFinalStatus):  # type: ignore[no-untyped-def]
    return shell('echo "$1"', status)


@dsl.container_component
def show_environment():  # type: ignore[no-untyped-def]
    return shell("env | sort; pwd")


def test_conditions_on_text_numbers_and_truth(tmp_path: Path) -> None:
    @dsl.container_component  # type: ignore[untyped-decorator]
    def judge(passed: dsl.OutputPath(bool), score: dsl.OutputPath(float)):  # type: ignore[no-untyped-def,valid-type]
        return shell('echo true > "$1"; echo 0.75 > "$2"', passed, score)

    @dsl.pipeline(name="branches")  # type: ignore[untyped-decorator]
    def pipeline(name: str = "it's") -> None:
        verdict = judge()
        with dsl.If(verdict.outputs["passed"] == True):  # noqa: E712
            say(text="passed")
        with dsl.If(verdict.outputs["score"] >= 0.8):
            say(text="good")
        with dsl.Elif(verdict.outputs["score"] >= 0.7):
            say(text="fair")
        with dsl.Else():
            say(text="poor")
        with dsl.If(name == "other"):
            say(text="other")

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        assert run.state == "SUCCEEDED"
        said = sorted(text for text in r.logs(run.run_id).values() if text)
        assert said == ["said: fair\n", "said: passed\n"]


def test_one_of_two_branches_gives_the_output(tmp_path: Path) -> None:
    @dsl.pipeline(name="inner")  # type: ignore[untyped-decorator]
    def inner(number: int) -> int:
        with dsl.If(number == 1):
            small = add(number=10)
        with dsl.Else():
            large = add(number=20)
        found: int = dsl.OneOf(small.outputs["total"], large.outputs["total"])
        return found

    @dsl.pipeline(name="outer")  # type: ignore[untyped-decorator]
    def pipeline(number: int = 2) -> None:
        found = inner(number=number)
        say(text=f"it is {found.output}")

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        assert r.logs(run.run_id)["say"] == "said: it is 21\n"


def test_a_loop_with_a_limit_and_its_collected_outputs(tmp_path: Path) -> None:
    @dsl.container_component  # type: ignore[untyped-decorator]
    def total(numbers: list):  # type: ignore[no-untyped-def,type-arg]
        return shell('echo "$1"', numbers)

    @dsl.pipeline(name="loop")  # type: ignore[untyped-decorator]
    def pipeline(numbers: list = [1, 2, 3]) -> None:  # type: ignore[type-arg] # noqa: B006
        with dsl.ParallelFor(numbers, parallelism=1) as number:
            one = add(number=number)
        total(numbers=dsl.Collected(one.outputs["total"]))

    with rehearsal(tmp_path, parallel=4) as r:
        run = r.finish(pipeline, {"numbers": [5, 6, 7, 8]})
        assert run.state == "SUCCEEDED"
        assert r.logs(run.run_id)["total"] == "[6,7,8,9]\n"
        names = [task.display_name for task in run.run_details.task_details]
        assert {"iteration-driver", "iteration-iterations", "iteration-item"} <= set(names)
        assert "iteration-iterations(3:3)" in names
        pods = [p for p in r.server._store.all("pods") if p["task"] == "add"]
        spans = sorted((pod["started"], pod["finished"]) for pod in pods)
        assert all(early[1] <= late[0] + 0.2 for early, late in pairwise(spans))


def test_a_loop_over_objects(tmp_path: Path) -> None:
    @dsl.pipeline(name="objects")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        with dsl.ParallelFor([{"n": 1, "t": "a"}, {"n": 2, "t": "b"}]) as item:
            add(number=item.n)

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        assert sorted(r.logs(run.run_id).values()) == ["adding to 1\n", "adding to 2\n"]


@pytest.mark.parametrize(("code", "state"), [(0, "SUCCEEDED"), (4, "FAILED")])
def test_an_exit_handler_runs_whatever_happened(tmp_path: Path, code: int, state: str) -> None:
    @dsl.pipeline(name="handled")  # type: ignore[untyped-decorator]
    def pipeline(code: int) -> None:
        with dsl.ExitHandler(report()):
            first = fail(code=code)
            say(text="after").after(first)

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline, {"code": code})
        assert run.state == state
        logs = r.logs(run.run_id)
        status = json.loads(logs["exit-handler-1.onExit.report"])
        assert status["state"] == state
        assert status["pipelineTaskName"] == "exit-handler-1"
        assert ("exit-handler-1.say" in logs) is (state == "SUCCEEDED")


def test_tasks_that_do_not_wait_for_each_other_run_at_once(tmp_path: Path) -> None:
    @dsl.pipeline(name="side-by-side")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        for _ in range(3):
            nap(seconds=0.6).set_caching_options(enable_caching=False)

    with rehearsal(tmp_path, parallel=2) as r:
        assert r.finish(pipeline).state == "SUCCEEDED"
        pods = sorted(r.server._store.all("pods"), key=lambda pod: pod["started"])
        first, second, third = pods
        assert second["started"] < first["finished"]
        assert third["started"] >= min(first["finished"], second["finished"])


def test_artifacts_go_from_task_to_task(tmp_path: Path) -> None:
    @dsl.pipeline(name="artifacts")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        read(note=write(text="hello").outputs["note"])
        outside = dsl.importer(
            artifact_uri="s3://bucket/data.csv", artifact_class=dsl.Artifact, reimport=False
        )
        say(text="imported").after(outside)

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        assert run.state == "SUCCEEDED"
        uri, text = r.logs(run.run_id)["read"].splitlines()
        assert text == "hello"
        assert Path(uri).read_text() == "hello\n"


def test_metrics_and_parameters_from_the_executor_output(tmp_path: Path) -> None:
    @dsl.container_component  # type: ignore[untyped-decorator]
    def tell(accuracy: dsl.OutputPath(float), made: dsl.Output[dsl.Metrics]):  # type: ignore[no-untyped-def,valid-type]
        told = {
            "parameterValues": {"accuracy": 0.93},
            "artifacts": {"made": {"artifacts": [{"name": "made", "metadata": {"auc": 0.8}}]}},
        }
        output = dsl.PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER
        script = 'mkdir -p "$(dirname "$1")"; echo "$2" > "$1"'
        return shell(script, output, json.dumps(told), made.path)

    @dsl.container_component  # type: ignore[untyped-decorator]
    def seen(accuracy: float, made: dsl.Input[dsl.Metrics]):  # type: ignore[no-untyped-def]
        return shell('echo "$1 $2"', accuracy, made.metadata["auc"])

    @dsl.pipeline(name="told")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        told = tell()
        seen(accuracy=told.outputs["accuracy"], made=told.outputs["made"])

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        assert r.logs(run.run_id)["seen"] == "0.93 0.8\n"


def test_an_output_that_is_missing_or_of_another_type_fails_the_task(tmp_path: Path) -> None:
    @dsl.container_component  # type: ignore[untyped-decorator]
    def nothing(number: dsl.OutputPath(int)):  # type: ignore[no-untyped-def,valid-type]
        return shell("true", number)

    @dsl.container_component  # type: ignore[untyped-decorator]
    def words(number: dsl.OutputPath(int)):  # type: ignore[no-untyped-def,valid-type]
        return shell('echo many > "$1"', number)

    @dsl.pipeline(name="wrong")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        nothing()
        words()

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        assert run.state == "FAILED"
        logs = r.logs(run.run_id)
        assert "failed to read output parameter number" in logs["nothing"]
        assert "is not of type NUMBER_INTEGER" in logs["words"]


def test_a_failed_task_stops_what_comes_after_it(tmp_path: Path) -> None:
    @dsl.pipeline(name="failing")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        say(text="never").after(fail(code=7))

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        assert run.state == "FAILED"
        assert states(run)["fail"] == "FAILED"
        assert states(run)["say"] is None
        (pod,) = r.server._store.all("pods")
        assert (pod["exit_code"], pod["exit_reason"]) == (7, "Error")


def test_a_command_that_is_not_there_fails_with_words(tmp_path: Path) -> None:
    @dsl.container_component
    def absent():  # type: ignore[no-untyped-def]
        return dsl.ContainerSpec(image="x", command=["no-such-program"])

    @dsl.pipeline(name="absent")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        absent()

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        assert run.state == "FAILED"
        assert "no-such-program" in r.logs(run.run_id)["absent"]


def test_retries_until_it_works(tmp_path: Path) -> None:
    count = tmp_path / "count"

    @dsl.container_component  # type: ignore[untyped-decorator]
    def third_time(path: str):  # type: ignore[no-untyped-def]
        return shell('echo x >> "$1"; test $(wc -l < "$1") -ge 3', path)

    @dsl.pipeline(name="stubborn")  # type: ignore[untyped-decorator]
    def pipeline(path: str) -> None:
        third_time(path=path).set_retry(5, backoff_duration="60s", backoff_factor=2)

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline, {"path": str(count)})
        assert run.state == "SUCCEEDED"
        found = states(run)
        assert found["executor(0)"] == found["executor(1)"] == "FAILED"
        assert found["executor(2)"] == found["executor"] == "SUCCEEDED"
        assert len(count.read_text().splitlines()) == 3


def test_a_task_is_cached_by_what_it_would_do(tmp_path: Path) -> None:
    count = tmp_path / "count"

    @dsl.container_component  # type: ignore[untyped-decorator]
    def counted(path: str, number: int, total: dsl.OutputPath(int)):  # type: ignore[no-untyped-def,valid-type]
        return shell('echo x >> "$1"; echo "$2" > "$3"', path, number, total)

    @dsl.pipeline(name="cached")  # type: ignore[untyped-decorator]
    def pipeline(path: str, number: int = 1) -> None:
        first = counted(path=path, number=number)
        add(number=first.outputs["total"]).set_caching_options(enable_caching=False)

    def times() -> int:
        return len(count.read_text().splitlines())

    with rehearsal(tmp_path) as r:
        assert r.finish(pipeline, {"path": str(count)}).state == "SUCCEEDED"
    with rehearsal(tmp_path) as r:
        again = r.finish(pipeline, {"path": str(count)})
        assert times() == 1
        executors = [t for t in again.run_details.task_details if t.display_name == "executor"]
        assert [task.state for task in executors] == ["SKIPPED", "SUCCEEDED"]
        assert states(again)["counted"] == "SUCCEEDED"
        assert r.logs(again.run_id)["add"] == "adding to 1\n"
        r.finish(pipeline, {"path": str(count), "number": 2})
        assert times() == 2
        run_id = r.submit(pipeline, {"path": str(count)}, enable_caching=False)
        assert r.wait(run_id).state == "SUCCEEDED"
        assert times() == 3


def test_a_cache_key_of_the_author_stands_for_everything(tmp_path: Path) -> None:
    @dsl.pipeline(name="keyed")  # type: ignore[untyped-decorator]
    def pipeline(number: int) -> None:
        add(number=number).set_caching_options(enable_caching=True, cache_key="mine")

    with rehearsal(tmp_path) as r:
        r.finish(pipeline, {"number": 1})
        assert states(r.finish(pipeline, {"number": 2}))["executor"] == "SKIPPED"


def test_what_a_pod_sees_of_the_environment(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://outside")
    monkeypatch.setenv("HOME", str(tmp_path))

    @dsl.pipeline(name="environment")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        task = show_environment().set_env_variable("COLOUR", "red")
        kubernetes.use_secret_as_env(task, "creds", {"token": "TOKEN"})
        kubernetes.use_secret_as_env(task, "absent", {"x": "ABSENT"}, optional=True)
        kubernetes.use_config_map_as_env(task, "settings", {"level": "LEVEL"})
        kubernetes.use_field_path_as_env(task, "POD", "metadata.name")
        kubernetes.use_field_path_as_env(task, "RUN", "metadata.labels['pipeline/runid']")

    server = tmp_path / "server"
    server.mkdir()
    (server / "secrets.json").write_text('{"creds": {"token": "t0k"}}')
    (server / "configmaps.json").write_text('{"settings": {"level": "high"}}')
    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        *lines, here = r.logs(run.run_id)["show-environment"].splitlines()
        seen = dict(line.split("=", 1) for line in lines)
        (pod,) = r.server._store.all("pods")
        assert (seen["COLOUR"], seen["TOKEN"], seen["LEVEL"]) == ("red", "t0k", "high")
        assert (seen["POD"], seen["RUN"]) == (pod["name"], run.run_id)
        assert seen["HOME"] == str(tmp_path)
        assert not {"MLFLOW_TRACKING_URI", "ABSENT", "PYTEST_CURRENT_TEST"} & set(seen)
        assert pod["name"] in here


def test_optional_inputs_and_built_words(tmp_path: Path) -> None:
    @dsl.container_component  # type: ignore[untyped-decorator]
    def call(name: str = "you", loud: bool = False, extra: str = None):  # type: ignore[no-untyped-def,assignment] # noqa: RUF013
        return dsl.ContainerSpec(
            image="x",
            command=["echo"],
            args=[
                dsl.ConcatPlaceholder(["hey-", name]),
                dsl.IfPresentPlaceholder(
                    input_name="extra", then=["--extra", extra], else_=["--plain"]
                ),
                loud,
            ],
        )

    @dsl.pipeline(name="optional")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        call()
        call(name="me", loud=True, extra="x y")

    with rehearsal(tmp_path) as r:
        logs = r.logs(r.finish(pipeline).run_id)
        assert logs["call"] == "hey-you --plain false\n"
        assert logs["call-2"] == "hey-me --extra x y true\n"


def test_placeholders_of_the_run(tmp_path: Path) -> None:
    @dsl.pipeline(name="named")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        say(text=f"{dsl.PIPELINE_JOB_NAME_PLACEHOLDER}|{dsl.PIPELINE_JOB_ID_PLACEHOLDER}")
        say(text=f"{dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER}")

    with rehearsal(tmp_path) as r:
        run_id = r.submit(pipeline, run_name="a name")
        run = r.wait(run_id)
        logs = r.logs(run_id)
        assert logs["say"] == f"said: a name|{run_id}\n"
        assert run.created_at.strftime("%Y-%m-%dT%H:%M:%SZ") in logs["say-2"]


def test_python_is_that_of_the_server(tmp_path: Path) -> None:
    @dsl.container_component
    def which():  # type: ignore[no-untyped-def]
        script = "import sys, mlops_nb; print(sys.executable)"
        return dsl.ContainerSpec(image="x", command=["python", "-c"], args=[script])

    @dsl.pipeline(name="which")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        which()

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        assert r.logs(run.run_id)["which"].strip() == r.server.options.python


def test_a_lightweight_component(tmp_path: Path) -> None:
    @dsl.component(base_image="x", install_kfp_package=False)  # type: ignore[untyped-decorator]
    def double(number: int, note: dsl.Output[dsl.Artifact]) -> int:
        with open(note.path, "w") as file:  # noqa: PTH123
            file.write("doubled")
        return number * 2

    @dsl.pipeline(name="light")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        one = double(number=4)
        add(number=one.outputs["Output"])
        read(note=one.outputs["note"])

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        assert run.state == "SUCCEEDED", r.logs(run.run_id)
        assert r.logs(run.run_id)["add"] == "adding to 8\n"


def test_a_deadline_ends_a_pod(tmp_path: Path) -> None:
    @dsl.pipeline(name="late")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        kubernetes.set_timeout(nap(seconds=30.0), 1)

    with rehearsal(tmp_path) as r:
        assert r.finish(pipeline).state == "FAILED"
        (pod,) = r.server._store.all("pods")
        assert (pod["phase"], pod["reason"]) == ("Failed", "DeadlineExceeded")


def test_children_of_a_pod_end_with_it(tmp_path: Path) -> None:
    @dsl.container_component
    def leave():  # type: ignore[no-untyped-def]
        return shell("sleep 300 & echo $!")

    @dsl.pipeline(name="leaving")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        leave()

    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline)
        pid = r.logs(run.run_id)["leave"].strip()
        r.until(lambda: not _alive(pid))


def _alive(pid: str) -> bool:
    try:
        return "(sleep) Z" not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_driver_says_why_its_task_cannot_be_done(tmp_path: Path) -> None:
    @dsl.pipeline(name="unjudged")  # type: ignore[untyped-decorator]
    def pipeline(text: str = "many") -> None:
        with dsl.If(text > "a"):
            say(text="more")

    with rehearsal(tmp_path) as r:
        path = compiled(pipeline, tmp_path / "p.yaml")
        path.write_text(path.read_text().replace("> 'a'", "> 5"))
        run = r.wait(r.client.create_run_from_pipeline_package(str(path)).run_id)
        assert run.state == "FAILED"
        assert states(run)["condition-1-driver"] == "FAILED"
        assert "cannot compare 'many' > 5" in r.logs(run.run_id)["condition-1-driver"]


def test_a_retry_runs_the_exit_handler_again(tmp_path: Path) -> None:
    @dsl.pipeline(name="handled")  # type: ignore[untyped-decorator]
    def pipeline(marker: str) -> None:
        with dsl.ExitHandler(report()):
            first = add(number=1).set_caching_options(enable_caching=False)
            flaky(marker=marker).after(first).set_caching_options(enable_caching=False)

    marker = tmp_path / "marker"
    with rehearsal(tmp_path) as r:
        run = r.finish(pipeline, {"marker": str(marker)})
        assert run.state == "FAILED"
        marker.touch()
        r.api.run_service_retry_run(run.run_id)
        r.until(lambda: r.client.get_run(run.run_id).state == "SUCCEEDED")
        status = json.loads(r.logs(run.run_id)["exit-handler-1.onExit.report"])
        assert status["state"] == "SUCCEEDED"


def test_volumes_that_are_not_played_are_told(tmp_path: Path) -> None:
    @dsl.pipeline(name="volumes")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        kubernetes.use_secret_as_volume(add(number=1), "creds", mount_path="/creds")

    with rehearsal(tmp_path) as r:
        assert r.finish(pipeline).state == "SUCCEEDED"
        (pod,) = r.server._store.all("pods")
        assert pod["events"][0]["reason"] == "NotPlayed"
        assert "secretAsVolume" in pod["events"][0]["message"]


def test_a_deleted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run_id = r.submit(sleeper)
        r.until(lambda: "asleep" in r.logs(run_id).get("nap", ""))
        r.client.delete_run(run_id)
        r.until(lambda: not r.server.engine._live)
        assert r.server._store.all("pods") == []
        assert r.server._store.all("runs") == []


def test_a_run_that_was_terminated_can_be_retried(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run_id = r.submit(sleeper)
        r.until(lambda: "asleep" in r.logs(run_id).get("nap", ""))
        r.client.terminate_run(run_id)
        r.wait(run_id)
        r.api.run_service_retry_run(run_id)
        r.until(lambda: r.client.get_run(run_id).state == "RUNNING")
        r.until(lambda: "asleep" in r.logs(run_id).get("nap", ""))
        r.client.terminate_run(run_id)
        assert r.wait(run_id).state == "FAILED"


@pytest.mark.parametrize(
    "spec", [[], {"root": []}, {"root": {}, "pipelineInfo": []}, {"root": {"dag": []}}]
)
def test_a_spec_of_another_shape_is_refused(tmp_path: Path, spec: Any) -> None:
    with rehearsal(tmp_path) as r:
        body = {"display_name": "x", "pipeline_spec": spec}
        assert r.post("/apis/v2beta1/runs", body)[0] == 400
        assert r.client.list_runs().runs is None
