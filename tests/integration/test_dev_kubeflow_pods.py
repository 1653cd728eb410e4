"""What the stand-in tells of pods, read by the official kubernetes client, and its troubles."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes as official
import pytest
from kfp import dsl, kubernetes
from test_dev_kubeflow import IMAGE, Rehearsal, add, nap, rehearsal, sleeper, strict, three


@dsl.pipeline(name="gpu")  # type: ignore[untyped-decorator]
def on_gpu(seconds: float = 0.0) -> None:
    """A task that asks for an accelerator."""
    task = nap(seconds=seconds).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
    kubernetes.add_node_selector(task, "cloud.example.org/gpu", "l4")
    kubernetes.add_toleration(
        task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"
    )
    kubernetes.add_pod_label(task, "queue", "night")
    task.set_caching_options(False)


@contextmanager
def cluster(folder: Path, **options: Any) -> Iterator[tuple[Rehearsal, Any]]:
    """Start a server; give it with the official Kubernetes client for it."""
    with rehearsal(folder, **options) as r:
        settings = official.client.Configuration()
        settings.host = r.server.url
        if r.server.options.token:
            settings.api_key = {"authorization": f"Bearer {r.server.options.token}"}
        api = official.client.ApiClient(settings)
        with strict(official.client.models, official.client.ApiClient):
            yield r, official.client.CoreV1Api(api)


def pod_of(core: Any, run_id: str, task: str = "executor", namespace: str = "kubeflow") -> Any:
    """Give the pod of a run's only task, once there is one."""
    found = core.list_namespaced_pod(namespace, label_selector=f"pipeline/runid={run_id}")
    for pod in found.items:
        name = pod.metadata.annotations["workflows.argoproj.io/node-name"]
        if name.rpartition(".")[2] == task:
            return pod
    return None


def test_pods_of_a_run_are_found_by_its_label(tmp_path: Path) -> None:
    with cluster(tmp_path) as (r, core):
        run = r.finish(three)
        other = r.finish(three)
        label = f"pipeline/runid={run.run_id}"
        pods = core.list_namespaced_pod("kubeflow", label_selector=label).items
        names = {pod.metadata.annotations["workflows.argoproj.io/node-name"] for pod in pods}
        tails = {name.partition(".root.")[2] for name in names}
        assert {"add.executor", "add-2.executor", "add-3.executor", "add-driver"} <= tails
        assert all(pod.metadata.labels["pipeline/runid"] == run.run_id for pod in pods)
        assert other.run_id not in json.dumps(sorted(names))
        assert core.list_namespaced_pod("elsewhere").items == []


def test_a_pod_that_went_well(tmp_path: Path) -> None:
    with cluster(tmp_path) as (r, core):
        run = r.finish(on_gpu)
        pod = pod_of(core, run.run_id)
        assert core.read_namespaced_pod(pod.metadata.name, "kubeflow").metadata.uid
        assert pod.status.phase == "Succeeded"
        ended = pod.status.container_statuses[0].state.terminated
        assert (ended.exit_code, ended.reason) == (0, "Completed")
        assert pod.spec.containers[0].image == IMAGE
        assert pod.spec.containers[0].resources.limits == {"nvidia.com/gpu": "1"}
        assert pod.spec.node_selector == {"cloud.example.org/gpu": "l4"}
        assert pod.spec.tolerations[0].key == "nvidia.com/gpu"
        assert pod.metadata.labels["queue"] == "night"
        selector = f"involvedObject.name={pod.metadata.name}"
        events = core.list_namespaced_event("kubeflow", field_selector=selector).items
        assert [event.reason for event in events] == ["Scheduled", "Started"]


def test_the_log_of_a_pod_and_its_refusals(tmp_path: Path) -> None:
    with cluster(tmp_path) as (r, core):
        run = r.finish(on_gpu)
        name = pod_of(core, run.run_id).metadata.name
        read = core.read_namespaced_pod_log
        assert read(name, "kubeflow", container="main") == "asleep\nawake\n"
        assert read(name, "kubeflow", container="main", tail_lines=1) == "awake\n"
        wrong: list[tuple[dict[str, Any], str]] = [
            ({}, "a container name must be specified"),
            ({"container": "x"}, "container x is not valid"),
            ({"container": "main", "previous": True}, "previous is not played"),
        ]
        for more, words in wrong:
            with pytest.raises(official.client.ApiException) as refused:
                read(name, "kubeflow", **more)
            assert refused.value.status == 400
            assert words in json.loads(refused.value.body)["message"]
        with pytest.raises(official.client.ApiException) as refused:
            core.read_namespaced_pod("nobody", "kubeflow")
        assert refused.value.status == 404
        assert json.loads(refused.value.body)["kind"] == "Status"


def test_a_log_is_followed_until_the_pod_ends(tmp_path: Path) -> None:
    with cluster(tmp_path) as (r, core):
        run_id = r.submit(on_gpu, {"seconds": 2.0})
        pod = r.until(lambda: (p := pod_of(core, run_id)) and p.status.phase == "Running" and p)
        stream = core.read_namespaced_pod_log(
            pod.metadata.name, "kubeflow", container="main", follow=True, _preload_content=False
        )
        came = list(stream.stream())
        assert b"".join(came) == b"asleep\nawake\n"
        assert came[0] == b"asleep\n", "the first line came while the pod was running"


def test_no_free_accelerator_leaves_the_pod_pending(tmp_path: Path) -> None:
    with cluster(tmp_path, accelerators=0) as (r, core):
        run_id = r.submit(on_gpu)
        pod = r.until(lambda: (p := pod_of(core, run_id)) and p.status.conditions and p)
        assert pod.status.phase == "Pending"
        condition = pod.status.conditions[0]
        assert (condition.type, condition.status, condition.reason) == (
            "PodScheduled",
            "False",
            "Unschedulable",
        )
        words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
        assert condition.message == words
        selector = f"involvedObject.name={pod.metadata.name}"
        (event,) = core.list_namespaced_event("kubeflow", field_selector=selector).items
        assert (event.reason, event.message, event.type) == (
            "FailedScheduling",
            words,
            "Warning",
        )
        tasks = r.client.get_run(run_id).run_details.task_details
        assert [t.state for t in tasks if t.display_name == "executor"] == ["PENDING"]
        r.client.terminate_run(run_id)
        assert r.wait(run_id).state == "FAILED"


def test_an_accelerator_is_given_when_another_pod_is_done(tmp_path: Path) -> None:
    with cluster(tmp_path, accelerators=1) as (r, core):
        first = r.submit(on_gpu, {"seconds": 1.0})
        r.until(lambda: (p := pod_of(core, first)) and p.status.phase == "Running")
        second = r.submit(on_gpu)
        r.until(lambda: (p := pod_of(core, second)) and p.status.conditions)
        assert r.wait(first).state == r.wait(second).state == "SUCCEEDED"


def test_a_missing_secret_keeps_the_container_from_starting(tmp_path: Path) -> None:
    @dsl.pipeline(name="secretive")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        kubernetes.use_secret_as_env(add(number=1), "creds", {"token": "TOKEN"})

    with cluster(tmp_path) as (r, core):
        run_id = r.submit(pipeline)

        def waiting() -> Any:
            pod = pod_of(core, run_id)
            return (
                pod
                and pod.status.container_statuses
                and pod.status.container_statuses[0].state.waiting
            )

        state = r.until(lambda: (w := waiting()) and w.message and w)
        assert state.reason == "CreateContainerConfigError"
        assert state.message == 'secret "creds" not found'
        assert r.client.get_run(run_id).state == "RUNNING"
        secrets = r.server.options.folder / "secrets.json"
        secrets.write_text('{"creds": {"token": "here"}}')
        assert r.wait(run_id).state == "SUCCEEDED"


def test_an_image_that_cannot_be_pulled(tmp_path: Path) -> None:
    with cluster(tmp_path) as (r, core):
        assert r.post("/dev/pods", {"task": "nap", "waiting": "ImagePullBackOff"})[0] == 200
        run_id = r.submit(sleeper)
        pod = r.until(lambda: (p := pod_of(core, run_id)) and p.status.container_statuses and p)
        pod = r.until(
            lambda: (
                (p := pod_of(core, run_id))
                and p.status.container_statuses[0].state.waiting.reason == "ImagePullBackOff"
                and p
            )
        )
        assert IMAGE in pod.status.container_statuses[0].state.waiting.message
        with pytest.raises(official.client.ApiException) as refused:
            core.read_namespaced_pod_log(pod.metadata.name, "kubeflow", container="main")
        assert "is waiting to start: ImagePullBackOff" in refused.value.body
        assert r.client.get_run(run_id).state == "RUNNING"
        r.get("/dev/faults", "DELETE")
        r.until(lambda: pod_of(core, run_id).status.phase == "Running")


@pytest.mark.parametrize(
    ("fault", "phase_reason", "exit_reason", "condition"),
    [
        ({"oom": True}, None, "OOMKilled", None),
        ({"evict": True}, "Evicted", "Error", "TerminationByKubelet"),
        ({"preempt": True}, None, "Error", "PreemptionByScheduler"),
    ],
)
def test_a_pod_that_is_ended_early(
    tmp_path: Path,
    fault: dict[str, Any],
    phase_reason: str | None,
    exit_reason: str,
    condition: str | None,
) -> None:
    with cluster(tmp_path) as (r, core):
        r.post("/dev/pods", {"task": "nap", **fault})
        run_id = r.submit(sleeper)
        assert r.wait(run_id).state == "FAILED"
        pod = pod_of(core, run_id)
        assert (pod.status.phase, pod.status.reason) == ("Failed", phase_reason)
        ended = pod.status.container_statuses[0].state.terminated
        assert ended.reason == exit_reason
        assert ended.exit_code == (137 if fault.get("oom") else 143)
        found = [c.reason for c in pod.status.conditions if c.type == "DisruptionTarget"]
        assert found == ([condition] if condition else [])
        assert "awake" not in r.logs(run_id)["nap"]


def test_a_running_pod(tmp_path: Path) -> None:
    with cluster(tmp_path, multi_user=True, token="t") as (r, core):
        run_id = r.submit(sleeper, namespace="team")
        pod = r.until(
            lambda: (
                (p := pod_of(core, run_id, namespace="team"))
                and p.status.phase == "Running"
                and p
            )
        )
        assert pod.status.container_statuses[0].state.running.started_at
        assert pod.status.start_time


def test_a_client_that_follows_a_log_does_not_hold_up_others(tmp_path: Path) -> None:
    with cluster(tmp_path) as (r, core):
        run_id = r.submit(sleeper)
        pod = r.until(lambda: (p := pod_of(core, run_id)) and p.status.phase == "Running" and p)
        got: list[str] = []

        def follow() -> None:
            got.append(
                core.read_namespaced_pod_log(
                    pod.metadata.name, "kubeflow", container="main", follow=True
                )
            )

        thread = threading.Thread(target=follow)
        thread.start()
        assert r.client.get_run(run_id).state == "RUNNING"
        r.client.terminate_run(run_id)
        thread.join(10)
        assert got == ["asleep\n"]
