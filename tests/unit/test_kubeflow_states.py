"""What Kubeflow and Kubernetes say, in our words."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kfp_server_api import ApiClient
from kubernetes.client import ApiClient as KubernetesClient

from mlops_nb.adapters.kubeflow.pods import words
from mlops_nb.adapters.kubeflow.states import (
    StepState,
    error,
    in_words,
    moment,
    run_state,
    steps,
)
from mlops_nb.core.run import RunState

FLOW = "nb-train-x7f2q"
NO_TIME = "0001-01-01T00:00:00Z"


def run(**fields: Any) -> Any:
    """Read a run as the client does."""
    answer = SimpleNamespace(data=json.dumps(fields))
    return ApiClient().deserialize(answer, "V2beta1Run")


def clock(second: int) -> str:
    return f"2026-11-24T10:{second // 60:02}:{second % 60:02}Z"


def node_id(path: str) -> str:
    value = 2166136261
    for byte in f"{FLOW}.{path}".encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return f"{FLOW}-{value}"


def task(name: str, state: str, start: int, end: int | None = None, *below: str) -> Any:
    """Write a task as the server does; `below` are the paths of its children."""
    return {
        "task_id": f"uuid-{name}-{start}",
        "display_name": name,
        "start_time": clock(start),
        "end_time": NO_TIME if end is None else clock(end),
        **({"state": state} if state else {}),
        "child_tasks": [{"pod_name": node_id(path)} for path in below],
    }


def pipeline(*tasks: Any, state: str = "RUNNING", **fields: Any) -> Any:
    root = [
        {"display_name": FLOW, "state": state, "child_tasks": [{"pod_name": node_id("root")}]},
        task("root", state, 0, None, "root.prepare-driver"),
        task("root-driver", "SUCCEEDED", 0, 1),
    ]
    details = {"task_details": [*root, *tasks]}
    return run(state=state, run_details=details, **fields)


@pytest.mark.parametrize(
    ("state", "expected", "said"),
    [
        (None, RunState.QUEUED, ""),
        ("RUNTIME_STATE_UNSPECIFIED", RunState.QUEUED, ""),
        ("PENDING", RunState.QUEUED, ""),
        ("RUNNING", RunState.RUNNING, ""),
        ("PAUSED", RunState.RUNNING, "it is paused in Kubeflow"),
        ("CANCELING", RunState.RUNNING, "it is being stopped"),
        ("SUCCEEDED", RunState.SUCCEEDED, ""),
        ("SKIPPED", RunState.SUCCEEDED, "Kubeflow had nothing to do"),
        ("FAILED", RunState.FAILED, ""),
        ("CANCELED", RunState.CANCELLED, ""),
        (
            "HIBERNATING",
            RunState.RUNNING,
            "Kubeflow calls its state HIBERNATING, which is not known here; taken for running",
        ),
    ],
)
def test_states_of_a_run(state: str | None, expected: RunState, said: str) -> None:
    found = run(state=state) if state else run()
    assert run_state(found) is expected
    assert in_words(found) == said


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        (["PENDING", "RUNNING", "FAILED"], RunState.FAILED),
        (["PENDING", "RUNNING", "CANCELING", "FAILED"], RunState.CANCELLED),
        (["PENDING", "CANCELING", "FAILED"], RunState.CANCELLED),
        (["RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED"], RunState.FAILED),
    ],
)
def test_a_run_that_was_stopped_ends_as_failed_in_kubeflow(
    past: list[str], expected: RunState
) -> None:
    history = [{"state": state, "update_time": clock(n)} for n, state in enumerate(past)]
    assert run_state(run(state="FAILED", state_history=history)) is expected


def test_times_that_are_none() -> None:
    found = run(created_at=clock(3), finished_at="1970-01-01T00:00:00Z", scheduled_at=NO_TIME)
    assert moment(found.finished_at) is None
    assert moment(found.scheduled_at) is None
    assert moment(None) is None
    created = moment(found.created_at)
    assert created is not None
    assert created.isoformat() == "2026-11-24T10:00:03+00:00"


def test_what_the_server_says_of_a_failure() -> None:
    assert error(run(state="FAILED")) == ""
    assert error(run(error={"code": 13, "message": "no quota"})) == "no quota"
    history = [{"state": "FAILED", "error": {"message": "exceeded its deadline"}}]
    assert error(run(state_history=history)) == "exceeded its deadline"


def test_steps_of_a_run_under_way() -> None:
    found = steps(
        pipeline(
            task("prepare-driver", "SUCCEEDED", 1, 5),
            task("prepare", "SUCCEEDED", 5, 20, "root.prepare.executor"),
            task("executor", "SUCCEEDED", 6, 20, "root.train-driver"),
            task("train-driver", "SUCCEEDED", 20, 25, "root.train"),
            task("train", "RUNNING", 25, None, "root.train.executor"),
            task("executor", "PENDING", 25),
        )
    )
    assert [(step.name, step.state) for step in found] == [
        ("prepare", StepState.SUCCEEDED),
        ("train", StepState.QUEUED),
    ]
    digits = node_id("root.train.executor").rpartition("-")[2]
    assert found[1].pod == f"{FLOW}-system-container-impl-{digits}"
    assert found[1].ended is None
    assert found[0].started is not None
    assert found[0].ended is not None
    assert (found[0].ended - found[0].started).total_seconds() == 15
    assert [step.state.is_final for step in found] == [True, False]


def test_a_step_whose_driver_runs_is_queued() -> None:
    [step] = steps(pipeline(task("prepare-driver", "RUNNING", 1)))
    assert (step.name, step.state, step.pod) == ("prepare", StepState.QUEUED, "")
    [step] = steps(pipeline(task("prepare-driver", "FAILED", 1, 3)))
    assert step.state is StepState.FAILED


def test_cached_skipped_and_left_out() -> None:
    found = steps(
        pipeline(
            task("train", "SUCCEEDED", 25, 26, "root.train.executor"),
            task("executor", "SKIPPED", 25, 25),
            task("validate", "SUCCEEDED", 30, 40, "root.validate.executor"),
            task("executor", "SUCCEEDED", 31, 40),
            task("register", "SKIPPED", 41, 41),
            task("deploy", "", 41, 41),
            state="SUCCEEDED",
        )
    )
    assert [(step.name, str(step.state), bool(step.pod)) for step in found] == [
        ("train", "cached", False),
        ("validate", "succeeded", True),
        ("register", "skipped", False),
        ("deploy", "skipped", False),
    ]


def test_a_step_is_known_as_cached_where_the_next_began_in_the_same_second() -> None:
    found = steps(
        pipeline(
            task("train", "SUCCEEDED", 25, 25, "root.train.executor"),
            task("executor", "SKIPPED", 25, 25),
            task("validate", "SUCCEEDED", 25, 28, "root.validate.executor"),
            task("executor", "SUCCEEDED", 25, 28),
            state="SUCCEEDED",
        )
    )
    assert [(step.name, str(step.state)) for step in found] == [
        ("train", "cached"),
        ("validate", "succeeded"),
    ]


def test_the_pod_of_a_step_is_that_of_its_last_try() -> None:
    [step] = steps(
        pipeline(
            task("train-driver", "SUCCEEDED", 20, 25, "root.train"),
            task("train", "RUNNING", 25, None, "root.train.executor"),
            task(
                "executor",
                "RUNNING",
                25,
                None,
                *(f"root.train.executor({n})" for n in range(11)),
            ),
            *(task(f"executor({n})", "FAILED", 25 + n, 26 + n) for n in range(10)),
            task("executor(10)", "RUNNING", 35),
        )
    )
    assert step.pod.endswith(node_id("root.train.executor(10)").rpartition("-")[2])
    assert step.state is StepState.RUNNING


def test_a_first_try_that_waits_for_its_pod() -> None:
    [step] = steps(
        pipeline(
            task("train", "RUNNING", 25, None, "root.train.executor"),
            task("executor", "RUNNING", 25, None, "root.train.executor(0)"),
            task("executor(0)", "PENDING", 25),
        )
    )
    assert step.state is StepState.QUEUED


def test_steps_of_a_stopped_run_are_cancelled() -> None:
    history = [{"state": state} for state in ("RUNNING", "CANCELING", "FAILED")]
    found = steps(
        pipeline(
            task("prepare", "SUCCEEDED", 5, 20, "root.prepare.executor"),
            task("train", "FAILED", 25, 30, "root.train.executor"),
            state="FAILED",
            state_history=history,
        )
    )
    assert [str(step.state) for step in found] == ["succeeded", "cancelled"]


def test_children_of_a_sweep() -> None:
    loop = "root.for-loop-1"
    tasks = [
        task("prepare-driver", "SUCCEEDED", 1, 2, "root.prepare"),
        task("prepare", "SUCCEEDED", 2, 4, "root.prepare.executor"),
        task("executor", "SUCCEEDED", 2, 4, "root.for-loop-1"),
        task("for-loop-1", "RUNNING", 5, None, f"{loop}.iteration-driver"),
        task("iteration-driver", "SUCCEEDED", 5, 6, f"{loop}.iteration-iterations"),
    ]
    rounds = [f"{loop}.iteration-iterations({n}:{n})" for n in range(3)]
    tasks.append(task("iteration-iterations", "RUNNING", 6, None, *rounds))
    for n, state in ((2, "RUNNING"), (0, "SUCCEEDED"), (1, "FAILED")):
        item = f"{rounds[n]}.iteration-item"
        tasks += [
            task(f"iteration-iterations({n}:{n})", state, 7, None, f"{item}-driver"),
            task("iteration-item-driver", "SUCCEEDED", 7, 8, item),
            task("iteration-item", state, 8, None, f"{item}.train-driver"),
            task("train-driver", "SUCCEEDED", 8, 9, f"{item}.train"),
            task("train", state, 9, None, f"{item}.train.executor"),
            task("executor", state, 9),
        ]
    found = steps(pipeline(*tasks))
    assert [(step.name, step.iteration, str(step.state)) for step in found] == [
        ("prepare", None, "succeeded"),
        ("train", 0, "succeeded"),
        ("train", 1, "failed"),
        ("train", 2, "running"),
    ]
    assert len({step.pod for step in found}) == 4


def test_a_state_of_a_step_that_nobody_knows_is_running() -> None:
    [step] = steps(pipeline(task("train", "DREAMING", 25)))
    assert step.state is StepState.RUNNING


def test_a_run_that_nothing_is_told_of() -> None:
    assert steps(run(state="PENDING")) == []
    assert steps(run(run_details={})) == []


# --- pods -----------------------------------------------------------------------------------


def read(body: Any, kind: str) -> Any:
    answer = SimpleNamespace(data=json.dumps(body))
    return KubernetesClient().deserialize(answer, kind)


def pod(
    *,
    phase: str = "Pending",
    waiting: tuple[str, str] | None = None,
    ended: dict[str, Any] | None = None,
    container: str = "main",
    limit: str = "",
    secrets: tuple[str, ...] = (),
    deadline: int | None = None,
    **status: Any,
) -> Any:
    states: dict[str, Any] = {}
    if waiting:
        states = {"waiting": {"reason": waiting[0], "message": waiting[1]}}
    if ended:
        states = {"terminated": {"exitCode": 1, **ended}}
    told = {
        "name": container,
        "image": "reg.example.com/nb:1",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": states,
    }
    limits = {"limits": {"memory": limit}} if limit else {}
    return read(
        {
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{"name": container, "resources": limits}],
                "imagePullSecrets": [{"name": name} for name in secrets],
                **({"activeDeadlineSeconds": deadline} if deadline else {}),
            },
            "status": {
                "phase": phase,
                "containerStatuses": [told] if states else [],
                **status,
            },
        },
        "V1Pod",
    )


def event(reason: str, message: str, second: int = 0) -> Any:
    body = {
        "metadata": {},
        "involvedObject": {},
        "reason": reason,
        "message": message,
        "lastTimestamp": clock(second),
    }
    return read(body, "CoreV1Event")


def condition(kind: str, status: str, reason: str, message: str = "") -> Any:
    return [{"type": kind, "status": status, "reason": reason, "message": message}]


GPU = (
    "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are "
    "available: 3 No preemption victims found for incoming pod."
)
TAINT = (
    "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: true}, 2 node(s) didn't "
    "match Pod's node affinity/selector."
)
UNSCHEDULABLE = condition("PodScheduled", "False", "Unschedulable", GPU)


@pytest.mark.parametrize(
    ("found", "events", "expected"),
    [
        (pod(phase="Running"), [], ""),
        (pod(phase="Succeeded", ended={"exitCode": 0}), [], ""),
        (pod(), [], ""),
        (pod(phase="Running", ended={"exitCode": 0, "reason": "Completed"}), [], ""),
        (
            pod(conditions=UNSCHEDULABLE),
            [],
            (
                "no node has a free nvidia.com/gpu: 0/3 nodes are available: 3 Insufficient "
                "nvidia.com/gpu"
            ),
        ),
        (
            pod(),
            [
                event("FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu.", 1),
                event("FailedScheduling", "0/3 nodes are available: 3 Insufficient memory.", 2),
            ],
            "no node has a free memory: 0/3 nodes are available: 3 Insufficient memory",
        ),
        (
            pod(conditions=condition("PodScheduled", "False", "Unschedulable", TAINT)),
            [],
            f"no node fits its selector and tolerations: {TAINT.rstrip('.')}",
        ),
        (
            pod(conditions=condition("PodScheduled", "False", "SchedulingGated", "gated")),
            [],
            "waits in a queue for its turn",
        ),
        (
            pod(),
            [event("FailedScheduling", 'persistentvolumeclaim "data" not found.')],
            'its volume is not there: persistentvolumeclaim "data" not found',
        ),
        (
            pod(),
            [event("FailedMount", 'MountVolume.SetUp failed: secret "git-key" not found')],
            "there is no secret git-key to mount",
        ),
        (
            pod(waiting=("ErrImagePull", "rpc error: unauthorized"), secrets=("regcred",)),
            [],
            (
                "cannot pull image reg.example.com/nb:1 with pull secret regcred: the registry "
                "refuses it"
            ),
        ),
        (
            pod(waiting=("ImagePullBackOff", 'Back-off pulling image "nb:1"')),
            [event("Failed", 'Failed to pull image "nb:1": manifest unknown')],
            (
                "cannot pull image reg.example.com/nb:1 without a pull secret: there is no "
                "such image or tag"
            ),
        ),
        (
            pod(waiting=("ErrImagePull", "dial tcp: lookup registry: no such host")),
            [],
            (
                "cannot pull image reg.example.com/nb:1 without a pull secret: the registry "
                "cannot be reached"
            ),
        ),
        (
            pod(waiting=("CreateContainerConfigError", 'secret "mlflow-creds" not found')),
            [],
            "there is no Secret mlflow-creds",
        ),
        (
            pod(
                waiting=(
                    "CreateContainerConfigError",
                    "couldn't find key token in Secret team/mlflow-creds",
                )
            ),
            [],
            "Secret mlflow-creds has no key token",
        ),
        (
            pod(waiting=("CreateContainerConfigError", 'configmap "settings" not found')),
            [],
            "there is no ConfigMap settings",
        ),
        (
            pod(waiting=("CreateContainerError", 'exec: "python": not found in $PATH')),
            [],
            'its container cannot be made: exec: "python": not found in $PATH',
        ),
        (pod(waiting=("ContainerCreating", "")), [], ""),
        (
            pod(
                phase="Failed",
                ended={"exitCode": 137, "reason": "OOMKilled"},
                limit="8589934592",
            ),
            [],
            "out of memory: killed by its node, its limit was 8 GiB (exit code 137)",
        ),
        (
            pod(phase="Failed", ended={"exitCode": 137, "reason": "Error"}, limit="8Gi"),
            [],
            "killed from outside (exit code 137); its memory limit is 8 GiB",
        ),
        (
            pod(phase="Failed", ended={"exitCode": 3, "message": "gate failed\n"}),
            [],
            "ended with exit code 3: gate failed",
        ),
        (
            pod(phase="Failed", ended={"exitCode": 1}, container="wait"),
            [],
            "",
        ),
        (
            pod(
                phase="Failed",
                reason="Evicted",
                message="The node was low on resource: ephemeral-storage.",
            ),
            [],
            "evicted from its node: The node was low on resource: ephemeral-storage",
        ),
        (
            pod(
                phase="Failed",
                conditions=condition(
                    "DisruptionTarget",
                    "True",
                    "PreemptionByScheduler",
                    "preempting to make room.",
                ),
            ),
            [],
            (
                "pre-empted: its node was given to a pod of higher priority: preempting to "
                "make room"
            ),
        ),
        (
            pod(phase="Failed", reason="DeadlineExceeded", deadline=3600),
            [],
            "stopped at its time limit of 3600 s",
        ),
    ],
)
def test_what_a_pod_suffers_from(found: Any, events: list[Any], expected: str) -> None:
    assert words(found, events) == expected
