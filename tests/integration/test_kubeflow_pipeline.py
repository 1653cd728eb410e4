"""Plans as kfp compiles them, and the compiled as kfp's own local runner executes it."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import tempfile
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mlops_nb.adapters.kubeflow.pipeline import compile_plan, manifests
from mlops_nb.core.data import DataSource
from mlops_nb.core.pipeline import Plan, plan
from mlops_nb.core.profile import SHARED_MEMORY, Profile, Toleration
from mlops_nb.core.run import Limits, RunSpec
from mlops_nb.core.settings import Kubeflow
from mlops_nb.core.verbs import Job

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 2**30
IMAGE = "registry.example.com/ml/train-python@sha256:" + "0" * 64
KUBEFLOW = Kubeflow(
    url="https://kubeflow.example.com/pipeline",
    image=IMAGE,
    tracking_uri="http://mlflow.mlflow:5000",
    service_account="pipeline-runner",
)
SPEC = RunSpec(
    notebook="credit.ipynb",
    parameters={"lr": 0.1, "text": "it's {{$.pipeline_job_uuid}}, $(TOKEN) and «ü»"},
    data=(DataSource(name="data", uri="s3://bucket/german.csv"),),
    limits=Limits(cell_timeout=600),
)
JOB = Job(id="credit-3fa9c1", spec=SPEC, project="/home/ann/credit", requested_by="Ann")
ALL_STEPS = replace(JOB, gates=("accuracy >= 0.65",), register="credit", deploy="prod")
CPU = Profile(name="cpu", cpu="2", memory=8 * GIB)
SECRETS = replace(
    CPU,
    name="secrets",
    secrets={
        "MLFLOW_TRACKING_TOKEN": "mlflow/token",
        "API_KEY": "scoring/key",
        "AWS_SECRET_ACCESS_KEY": "mlflow/aws",
    },
    pull_secrets=("registry", "mirror"),
)
GPU = replace(
    SECRETS,
    name="gpu-small",
    gpu=1,
    cpu="4",
    memory=24 * GIB,
    shm=8 * GIB,
    node_selector={"cloud.google.com/gke-accelerator": "nvidia-l4", "pool": "gpu"},
    tolerations=(
        Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),
        Toleration(key="team", value="credit", effect="NoExecute"),
    ),
    volumes={"datasets": "/mnt/data"},
    labels={"kueue.x-k8s.io/queue-name": "gpu", "team": "credit"},
    annotations={"example.com/owner": "credit risk"},
    env={"NCCL_DEBUG": "WARN"},
    service_account="gpu-runner",
    timeout=7200.5,
    retries=2,
    backoff=45,
)
MIG = Profile(name="mig", gpu=2, gpu_resource="nvidia.com/mig-1g.10gb", memory=10 * GIB)
AMD = Profile(name="amd", gpu=4, gpu_resource="amd.com/gpu", memory=10 * 10**9)


def sweep(count: int) -> Job:
    children = tuple(
        Job(
            id=f"{JOB.id}.{number}",
            spec=replace(SPEC, parameters={"lr": number / 10, "it's": "{{x}}"}),
            project=JOB.project,
            parent=JOB.id,
        )
        for number in range(1, count + 1)
    )
    whole = replace(SPEC, parameters={}, data=())
    return replace(JOB, spec=whole, children=children, parallel=3, best="max:accuracy")


def planned(job: Job, profile: Profile, kubeflow: Kubeflow = KUBEFLOW) -> Plan:
    return plan(
        job,
        profile=profile,
        kubeflow=kubeflow,
        bundle="b" * 64,
        settings='{"name":"credit","gates":{"credit":["auc >= 0.7"]}}',
        experiment="credit",
        version="0.1.0",
    )


CASES = {
    "cpu": planned(JOB, CPU),
    "gpu": planned(JOB, GPU),
    "mig": planned(JOB, MIG),
    "amd": planned(JOB, AMD),
    "secrets": planned(
        replace(JOB, spec=replace(SPEC, secrets={"key": "API_KEY"})),
        SECRETS,
        replace(KUBEFLOW, check_imports=False),
    ),
    "sweep": planned(sweep(8), GPU),
    "all-steps": planned(ALL_STEPS, GPU),
    "schedule": planned(
        replace(JOB, id="credit-nightly", gates=ALL_STEPS.gates, register="credit"), CPU
    ).fresh(),
}


def documents(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give each executor's container and, of the second document, its pod."""
    specification, platform = yaml.safe_load_all(text)
    executors = specification["deploymentSpec"]["executors"]
    containers = {name: executor["container"] for name, executor in executors.items()}
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return containers, pods


@pytest.mark.parametrize("case", CASES)
def test_a_plan_compiles_to_the_golden_file(
    case: str, golden: Callable[[str, bytes], None]
) -> None:
    text = re.sub(r"(?m)^sdkVersion: .*$", "sdkVersion: any", compile_plan(CASES[case]))
    golden(f"kubeflow/{case}.yaml", text.encode())


def test_manifests_are_as_golden(golden: Callable[[str, bytes], None]) -> None:
    text = manifests(CASES["cpu"], "ml-team")
    pipeline, version = yaml.safe_load_all(text)
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert {d["metadata"]["namespace"] for d in (pipeline, version)} == {"ml-team"}
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"] == "credit"
    assert version["spec"]["pipelineSpec"] == next(
        yaml.safe_load_all(compile_plan(CASES["cpu"]))
    )
    # The version's name holds a digest of all, of kfp's version too.
    text = re.sub(r"credit-[0-9a-f]{12}", "credit-any", text)
    text = re.sub(r"sdkVersion: .*", "sdkVersion: any", text)
    golden("kubeflow/manifests.yaml", text.encode())


def test_manifests_hold_what_pods_need_and_may_leave_the_namespace_open() -> None:
    pipeline, version = yaml.safe_load_all(manifests(CASES["gpu"], ""))
    assert "namespace" not in pipeline["metadata"]
    platform = version["spec"]["platformSpec"]
    assert platform == list(yaml.safe_load_all(compile_plan(CASES["gpu"])))[1]
    other = list(yaml.safe_load_all(manifests(CASES["mig"], "")))[1]
    assert other["metadata"]["name"] != version["metadata"]["name"]


@pytest.mark.parametrize(
    ("case", "resource", "count"),
    [
        ("gpu", "nvidia.com/gpu", "1"),
        ("mig", "nvidia.com/mig-1g.10gb", "2"),
        ("amd", "amd.com/gpu", "4"),
        ("sweep", "nvidia.com/gpu", "1"),
    ],
)
def test_training_alone_has_the_accelerator(case: str, resource: str, count: str) -> None:
    containers, _ = documents(compile_plan(CASES[case]))
    accelerator = containers.pop("exec-train")["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == (resource, count)
    assert all("accelerator" not in other["resources"] for other in containers.values())


def test_a_pod_without_gpu_asks_for_none() -> None:
    containers, pods = documents(compile_plan(CASES["cpu"]))
    assert "accelerator" not in containers["exec-train"]["resources"]
    assert containers["exec-train"]["resources"]["resourceMemoryLimit"] == "8Gi"
    assert all(set(pod) == {"fieldPathAsEnv"} for pod in pods.values())


def test_every_pod_knows_the_servers_run() -> None:
    for made in CASES.values():
        containers, pods = documents(compile_plan(made))
        assert set(pods) == set(containers)
        for pod in pods.values():
            assert pod["fieldPathAsEnv"] == [
                {"fieldPath": "metadata.labels['pipeline/runid']", "name": "KFP_RUN_ID"}
            ]


def test_bytes_that_are_no_round_number_stay_exact() -> None:
    containers, _ = documents(compile_plan(CASES["amd"]))
    assert containers["exec-train"]["resources"]["resourceMemoryLimit"] == "9765625Ki"
    odd = documents(compile_plan(planned(JOB, replace(CPU, memory=10**9 + 1))))[0]
    assert odd["exec-train"]["resources"]["resourceMemoryLimit"] == "1000000001"


def test_only_the_training_pod_may_go_to_the_gpus_nodes() -> None:
    _, pods = documents(compile_plan(CASES["all-steps"]))
    train = pods.pop("exec-train")
    assert train["nodeSelector"]["labels"] == {
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "pool": "gpu",
    }
    assert train["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "credit", "effect": "NoExecute"},
    ]
    assert train["emptyDirMounts"] == [
        {
            "medium": "Memory",
            "mountPath": SHARED_MEMORY,
            "sizeLimit": "8Gi",
            "volumeName": "shm",
        }
    ]
    assert train["podMetadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert train["podMetadata"]["annotations"] == {"example.com/owner": "credit risk"}
    assert train["activeDeadlineSeconds"] == "7201"
    assert [(m["constant"], m["mountPath"]) for m in train["pvcMount"]] == [
        ("datasets", "/mnt/data")
    ]
    for other in pods.values():
        assert set(other) == {"fieldPathAsEnv", "imagePullSecret", "secretAsEnv"}


def test_secrets_are_references_in_every_pod_and_plain_in_none() -> None:
    containers, pods = documents(compile_plan(CASES["all-steps"]))
    assert set(pods) == set(containers)
    for name, pod in pods.items():
        given = {
            pair["envVar"]: f"{secret['secretName']}/{pair['secretKey']}"
            for secret in pod["secretAsEnv"]
            for pair in secret["keyToEnv"]
        }
        assert given == SECRETS.secrets
        assert [pull["secretName"] for pull in pod["imagePullSecret"]] == ["registry", "mirror"]
        assert {variable["name"] for variable in containers[name]["env"]} == {
            "MLFLOW_TRACKING_URI",
            "MLFLOW_DISABLE_TELEMETRY",
            "NCCL_DEBUG",
        }


def test_only_training_is_cached_and_knows_no_run() -> None:
    specification = next(yaml.safe_load_all(compile_plan(CASES["all-steps"])))
    tasks = dict(specification["root"]["dag"]["tasks"])
    tasks |= specification["components"]["comp-condition-1"]["dag"]["tasks"]
    cached = {
        name: task["cachingOptions"].get("enableCache", False)
        for name, task in tasks.items()
        if "cachingOptions" in task
    }
    assert cached == {
        "prepare": False,
        "train": True,
        "validate": False,
        "register": False,
        "deploy": False,
    }
    assert set(tasks["train"]["inputs"]["parameters"]) == {"datasets"}
    retry = tasks["train"]["retryPolicy"]
    assert (retry["maxRetryCount"], retry["backoffDuration"]) == (2, "45s")
    assert all("retryPolicy" not in task for name, task in tasks.items() if name != "train")
    # The same work under another run's name and id is the same container.
    train = documents(compile_plan(CASES["all-steps"]))[0]["exec-train"]
    again = planned(replace(ALL_STEPS, id="credit-ffffff", requested_by="Bob"), GPU)
    assert documents(compile_plan(again))[0]["exec-train"] == train
    assert JOB.id not in json.dumps(train)


def test_registering_and_deploying_stand_behind_the_gates() -> None:
    specification = next(yaml.safe_load_all(compile_plan(CASES["all-steps"])))
    guarded = specification["root"]["dag"]["tasks"]["condition-1"]
    assert guarded["triggerPolicy"]["condition"] == (
        "inputs.parameter_values['pipelinechannel--validate-passed'] == 'true'"
    )
    inner = specification["components"]["comp-condition-1"]["dag"]["tasks"]
    assert set(inner) == {"register", "deploy"}
    assert inner["deploy"]["dependentTasks"] == ["register"]


def test_a_sweep_is_a_loop_of_bounded_width() -> None:
    specification = next(yaml.safe_load_all(compile_plan(CASES["sweep"])))
    loop = specification["root"]["dag"]["tasks"]["for-loop-2"]
    assert loop["iteratorPolicy"] == {"parallelismLimit": 3}
    assert loop["dependentTasks"] == ["prepare"]
    items = json.loads(loop["parameterIterator"]["items"]["raw"])
    assert [json.loads(item)["number"] for item in items] == list(range(1, 9))
    assert set(specification["deploymentSpec"]["executors"]) == {"exec-prepare", "exec-train"}


def test_the_service_account_is_no_part_of_the_pipeline() -> None:
    made = CASES["gpu"]
    assert made.service_account == "gpu-runner"
    assert "gpu-runner" not in compile_plan(made)
    assert "pipeline-runner" not in compile_plan(made)


def test_user_text_reaches_no_placeholder_or_variable() -> None:
    for made in CASES.values():
        for container in documents(compile_plan(made))[0].values():
            for word in container["args"]:
                assert "$(" not in word
                # What kfp itself fills in is the whole word.
                assert "{{" not in word or re.fullmatch(r"\{\{\$\.[^{}]*\}\}", word)


def test_compilations_are_equal_byte_by_byte_in_any_process() -> None:
    text = compile_plan(CASES["all-steps"])
    assert compile_plan(CASES["all-steps"]) == text
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_kubeflow_pipeline import CASES, compile_plan\n"
        "sys.stdout.write(compile_plan(CASES['all-steps']))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
        )
        assert done.stdout == text


def test_threads_compile_one_after_the_other() -> None:
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda: texts.append(compile_plan(CASES["gpu"])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [compile_plan(CASES["gpu"])] * 4


def test_compiling_leaves_logging_warnings_and_the_folder_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (root.handlers[:], root.level, warnings.filters[:], warnings.showwarning)
    compile_plan(CASES["gpu"])
    manifests(CASES["gpu"], "ml")
    assert (root.handlers[:], root.level, warnings.filters[:], warnings.showwarning) == before
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert not list(temporary.iterdir())


def test_a_first_compilation_in_a_process_leaves_it_as_it_was() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import builtins, logging, os, warnings\n"
        "from test_kubeflow_pipeline import CASES, compile_plan\n"
        "assert 'kfp' not in sys.modules\n"
        "def state():\n"
        "    root = logging.getLogger()\n"
        "    return (root.handlers[:], root.level, warnings.filters[:], warnings.showwarning,\n"
        "            builtins.print, sys.excepthook, dict(os.environ))\n"
        "before = state()\n"
        "compile_plan(CASES['cpu'])\n"
        "assert 'kfp' in sys.modules\n"
        "assert state() == before\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


POD = """#!{python}
import json, os, sys
module, command, step, *words = sys.argv[1:]
assert (module, command) == ("-m", "mlops_nb.runner.pod"), sys.argv
given = dict(zip(words[::2], words[1::2]))
log = os.environ["POD_LOG"]
with open(log, "a") as file:
    file.write(json.dumps({{"step": step, "given": given,
                            "tracking": os.environ["MLFLOW_TRACKING_URI"]}}) + "\\n")
results = {{
    "datasets": json.dumps([{{"name": "data", "digest": "sha256:it's"}}]),
    "trained": "run-" + str(json.loads(given.get("--child", "{{}}")).get("number", "x")),
    "passed": os.environ["POD_PASSED"],
    "version": "7",
}}
for flag, path in given.items():
    if flag.startswith("--out-"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(results[flag.removeprefix("--out-")])
"""

# Two things that kfp's local runner lacks, its server does not: containers as processes, and
# conditions on a result that is not named `Output`.
RUN = """
import sys
from kfp import components, local
from kfp.local import subprocess_task_handler as handler
from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator
handler.SubprocessTaskHandler.validate_not_container_component = lambda self, command: None
def resolve(channel, store):
    task, _, output = channel.removeprefix("pipelinechannel--").rpartition("-")
    return store.get_task_output(task, output)
ConditionEvaluator._resolve_pipeline_channel = staticmethod(resolve)
local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2])
components.load_component_from_file(sys.argv[1])(run_id="credit-3fa9c1", bundle_run="cafe")
"""


def executed(folder: Path, made: Plan, passed: str = "true") -> list[dict[str, Any]]:
    """Run a compiled pipeline with kfp's own local runner; a script stands for our pod."""
    file = folder / "pipeline.yaml"
    file.write_text(compile_plan(made))
    shim = folder / "bin" / "python"
    shim.parent.mkdir()
    shim.write_text(POD.format(python=sys.executable))
    shim.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file), str(folder / "root")],
        env={
            "PATH": f"{shim.parent}:/usr/bin:/bin",
            "POD_LOG": str(folder / "log"),
            "POD_PASSED": passed,
            "HOME": str(folder),
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def test_kfp_runs_the_steps_in_order_and_hands_results_on(tmp_path: Path) -> None:
    prepare, train, validate, register, deploy = executed(tmp_path, CASES["all-steps"])
    steps = [prepare, train, validate, register, deploy]
    assert [s["step"] for s in steps] == ["prepare", "train", "validate", "register", "deploy"]
    assert {s["tracking"] for s in steps} == {"http://mlflow.mlflow:5000"}
    # One run of the pipeline, and every step knows which.
    (run,) = {s["given"]["--pipeline-run"] for s in steps}
    assert run
    assert "{{" not in run
    assert prepare["given"]["--run"] == "credit-3fa9c1"
    assert prepare["given"]["--bundle-run"] == "cafe"
    assert prepare["given"]["--bundle"] == train["given"]["--bundle"] == "b" * 64
    assert json.loads(train["given"]["--datasets"])[0]["digest"] == "sha256:it's"
    assert json.loads(train["given"]["--spec"])["parameters"] == SPEC.parameters
    assert validate["given"]["--trained"] == register["given"]["--trained"] == "run-x"
    assert json.loads(validate["given"]["--job"])["gates"] == ["accuracy >= 0.65"]
    assert json.loads(deploy["given"]["--settings"])["name"] == "credit"
    assert deploy["given"]["--version"] == "7"


def test_kfp_neither_registers_nor_deploys_what_the_gates_refused(tmp_path: Path) -> None:
    ran = executed(tmp_path, CASES["all-steps"], passed="false")
    assert [step["step"] for step in ran] == ["prepare", "train", "validate"]


def test_kfp_trains_each_child_of_a_sweep(tmp_path: Path) -> None:
    prepare, *trained = executed(tmp_path, CASES["sweep"])
    assert prepare["step"] == "prepare"
    assert "children" not in json.loads(prepare["given"]["--job"])
    children = sorted(
        (json.loads(child["given"]["--child"]) for child in trained),
        key=lambda child: int(child["number"]),
    )
    assert children == [
        {"number": number, "spec": {"parameters": {"lr": number / 10, "it's": "{{x}}"}}}
        for number in range(1, 9)
    ]
    assert {json.loads(child["given"]["--spec"])["notebook"] for child in trained} == {
        "credit.ipynb"
    }
