"""What a pipeline is made of, before Kubeflow is asked anything."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb import wire
from mlops_nb.core.argument import as_argument, shield
from mlops_nb.core.data import DataSource
from mlops_nb.core.pipeline import (
    ARGUMENT_LIMIT,
    Item,
    Output,
    Parameter,
    Plan,
    Result,
    Step,
    Word,
    plan,
)
from mlops_nb.core.profile import Profile, Toleration
from mlops_nb.core.run import Limits, RunSpec
from mlops_nb.core.settings import Kubeflow
from mlops_nb.core.verbs import Job
from mlops_nb.errors import UserError

IMAGE = "registry.example.com/train@sha256:" + "0" * 64
KUBEFLOW = Kubeflow(
    url="https://kf.example.com", image=IMAGE, tracking_uri="http://mlflow:5000"
)
GPU = Profile(
    name="gpu",
    gpu=1,
    cpu="4",
    memory=24 * 2**30,
    shm=8 * 2**30,
    node_selector={"pool": "gpu"},
    tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists"),),
    volumes={"data": "/mnt/data", "scratch": "/scratch"},
    labels={"kueue.x-k8s.io/queue-name": "gpu"},
    secrets={"TOKEN": "mlflow/token"},
    env={"REGION": "eu"},
    pull_secrets=("pull",),
    timeout=7200,
)
SPEC = RunSpec(notebook="/home/ann/churn model.ipynb", parameters={"lr": 0.1, "name": "x"})
JOB = Job(id="churn-3fa9c1", spec=SPEC, project="/home/ann")


def planned(job: Job = JOB, profile: Profile = GPU, kubeflow: Kubeflow = KUBEFLOW) -> Plan:
    return plan(
        job,
        profile=profile,
        kubeflow=kubeflow,
        bundle="b" * 64,
        settings='{"gates":{}}',
        experiment="churn",
        version="0.1.0",
    )


def options(step: Step) -> dict[str, Word]:
    words = step.words[1:]
    return {str(flag): word for flag, word in zip(words[::2], words[1::2], strict=False)}


def sweep(count: int, **spec: object) -> Job:
    children = tuple(
        Job(
            id=f"{JOB.id}.{number}",
            spec=replace(SPEC, parameters={"lr": number / 10}, **spec),  # type: ignore[arg-type]
            project="/home/ann",
            parent=JOB.id,
        )
        for number in range(1, count + 1)
    )
    whole = replace(children[0].spec, parameters={}, secrets={}, data=())
    return replace(JOB, spec=whole, children=children, parallel=3)


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        ({}, ["prepare", "train"]),
        ({"gates": ("auc >= 0.7",)}, ["prepare", "train", "validate"]),
        ({"register": "churn"}, ["prepare", "train", "validate", "register"]),
        (
            {"register": "churn", "deploy": "prod"},
            ["prepare", "train", "validate", "register", "deploy"],
        ),
    ],
)
def test_only_the_steps_asked_for_stand_in_it(
    asked: dict[str, object], steps: list[str]
) -> None:
    made = planned(replace(JOB, **asked))  # type: ignore[arg-type]
    assert [step.name for step in made.steps] == steps
    assert [step.name for step in made.steps if step.place == "passed"] == steps[3:]


def test_the_words_of_each_step() -> None:
    job = replace(JOB, gates=("auc >= 0.7",), register="churn", deploy="prod")
    made = planned(job)
    whole = {step.name: options(step) for step in made.steps}
    for step in made.steps:
        assert step.words[0] == step.name
        assert whole[step.name]["--pipeline-run"] == "{{$.pipeline_job_uuid}}"
        assert whole[step.name]["--experiment"] == "churn"
    told = as_argument(job)
    common = {"--pipeline-run": "{{$.pipeline_job_uuid}}", "--experiment": "churn"}
    judged = {**common, "--job": told, "--settings": '{"gates":{}}'}
    trained = Result(step="train", name="trained")
    assert whole == {
        "prepare": {
            **common,
            "--run": Parameter(name="run_id"),
            "--bundle-run": Parameter(name="bundle_run"),
            "--bundle": "b" * 64,
            "--job": told,
            "--out-datasets": Output(name="datasets"),
        },
        "train": {
            **common,
            "--bundle": "b" * 64,
            "--spec": as_argument(SPEC),
            "--datasets": Result(step="prepare", name="datasets"),
            "--out-trained": Output(name="trained"),
        },
        "validate": {**judged, "--trained": trained, "--out-passed": Output(name="passed")},
        "register": {**judged, "--trained": trained, "--out-version": Output(name="version")},
        "deploy": {**judged, "--version": Result(step="register", name="version")},
    }


def test_the_import_check_can_be_left_out() -> None:
    assert "--no-import-check" not in planned().step("prepare").words
    kubeflow = replace(KUBEFLOW, check_imports=False)
    assert planned(kubeflow=kubeflow).step("prepare").words[-1] == "--no-import-check"


def test_equal_work_has_an_equal_training_step_whatever_the_run_is_called() -> None:
    other = replace(JOB, id="churn-ffffff", key="k", requested_by="Bob", gates=("auc >= 1",))
    assert planned(other).step("train") == planned().step("train")
    assert planned(other).step("prepare") != planned().step("prepare")


def test_only_training_is_cached_and_has_the_profiles_pod() -> None:
    made = planned(replace(JOB, gates=("a >= 1",), register="churn", deploy="prod"))
    for step in made.steps:
        assert step.is_cached == step.is_bounded == (step.name == "train")
        assert step.pod.env == {
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "REGION": "eu",
        }
        assert step.pod.secrets == {"TOKEN": "mlflow/token"}
        assert step.pod.pull_secrets == ("pull",)
        assert step.pod.image == IMAGE
        if step.name == "train":
            assert replace(step.pod, env={}, image="") == replace(GPU, env={})
        else:
            # Nothing that only the node with the GPU, or its queue, is for.
            bare = Profile(name="gpu", image=IMAGE, cpu="500m", memory=2**30)
            assert replace(step.pod, env={}, secrets={}, pull_secrets=()) == bare


def test_data_on_a_volume_is_there_when_its_digest_is_taken() -> None:
    for uri in ("/mnt/data/train.csv", "file:///mnt/data/train.csv"):
        spec = replace(SPEC, data=(DataSource(name="train", uri=uri),))
        assert planned(replace(JOB, spec=spec)).step("prepare").pod.volumes == {
            "data": "/mnt/data"
        }
    spec = replace(SPEC, data=(DataSource(name="train", uri="s3://mnt/data/x"),))
    assert not planned(replace(JOB, spec=spec)).step("prepare").pod.volumes


def test_the_more_retries_of_run_and_profile_count() -> None:
    assert planned(replace(JOB, retries=2)).step("train").pod.retries == 2
    assert (
        planned(replace(JOB, retries=2), replace(GPU, retries=3)).step("train").pod.retries == 3
    )
    assert planned(replace(JOB, retries=2)).step("prepare").pod.retries == 0


def test_a_sweep_trains_each_child_once_and_judges_none() -> None:
    job = sweep(8, data=(DataSource(name="data", uri="s3://b/x"),))
    made = planned(job)
    assert [(step.name, step.place) for step in made.steps] == [
        ("prepare", "once"),
        ("train", "each"),
    ]
    assert made.parallel == 3
    assert [json.loads(item) for item in made.items] == [
        {"number": number, "spec": {"parameters": {"lr": number / 10}}}
        for number in range(1, 9)
    ]
    assert options(made.step("train"))["--child"] == Item()


def test_the_words_of_a_sweep_give_each_child_back() -> None:
    job = sweep(3, data=(DataSource(name="data", uri="s3://b/x"),))
    odd = replace(
        job.children[2],
        id=f"{JOB.id}.7",
        spec=replace(job.children[2].spec, kernel="r", data=()),
    )
    job = replace(job, children=(*job.children[:2], odd))
    made = planned(job)
    shared = json.loads(str(options(made.step("train"))["--spec"]))
    back = [
        (item["number"], wire.loads(RunSpec, json.dumps({**shared, **item["spec"]})))
        for item in map(json.loads, made.items)
    ]
    specs = [child.spec for child in job.children]
    assert back == list(zip([1, 2, 7], specs, strict=True))
    # What prepares the data has to know it, and no child.
    prepared = wire.loads(Job, str(options(made.step("prepare"))["--job"]))
    assert prepared.spec.data == (DataSource(name="data", uri="s3://b/x"),)
    assert not prepared.children


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text()
    | st.sampled_from(["{{$.pipeline_job_uuid}}", "$(TOKEN)", "{{{", "{{=1}}", "$$("]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(parameters=st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_an_argument_gives_the_job_back_and_holds_nothing_that_others_replace(
    parameters: dict[str, object],
) -> None:
    spec = replace(SPEC, parameters=parameters, limits=Limits(timeout=1.5), kernel="r")
    job = replace(JOB, spec=spec, gates=("a >= 1",), children=(JOB,))
    text = as_argument(job)
    assert "{{" not in text
    assert "$(" not in text
    # What JSON has no numbers for, NaN, is a text, as in every other document.
    assert wire.loads(Job, text) == wire.loads(Job, wire.dumps(job))


def test_settings_are_passed_on_without_what_others_replace() -> None:
    text = json.dumps({"host": "{{model}}.$(TOKEN)"})
    assert json.loads(shield(text)) == json.loads(text)
    assert "{{" not in shield(text)
    assert "$(" not in shield(text)


@pytest.mark.parametrize(
    ("job", "profile", "kubeflow", "message", "hint"),
    [
        (JOB, GPU, replace(KUBEFLOW, image=""), "no image for profile gpu", "--image"),
        (JOB, GPU, replace(KUBEFLOW, tracking_uri=""), "no tracking server", "tracking_uri"),
        (
            JOB,
            GPU,
            replace(KUBEFLOW, tracking_uri="sqlite:///mlflow.db"),
            "pods cannot reach the tracking server sqlite:///mlflow.db",
            "http address",
        ),
        (
            JOB,
            replace(GPU, env={"MLFLOW_TRACKING_URI": "x"}),
            KUBEFLOW,
            "profile gpu sets MLFLOW_TRACKING_URI",
            "tracking_uri in [kubeflow]",
        ),
        (
            JOB,
            replace(GPU, secrets={"KFP_RUN_ID": "a/b"}),
            KUBEFLOW,
            "profile gpu sets KFP_RUN_ID, which every pod has already",
            "take it out",
        ),
        (replace(JOB, deploy="prod"), GPU, KUBEFLOW, "nothing to deploy to prod", "--register"),
        (
            replace(JOB, spec=replace(SPEC, secrets={"key": "API_KEY"})),
            GPU,
            KUBEFLOW,
            "parameter 'key' needs the secret API_KEY, which profile gpu gives no pod",
            '[profiles.gpu.secrets]: API_KEY = "secret-name/key"',
        ),
        (
            sweep(2, secrets={"key": "API_KEY"}),
            GPU,
            KUBEFLOW,
            "parameter 'key' needs the secret API_KEY",
            "profiles.gpu.secrets",
        ),
        (
            replace(JOB, spec=replace(SPEC, parameters={"x": "y" * ARGUMENT_LIMIT})),
            GPU,
            KUBEFLOW,
            "prepare: --job is 64.13 KiB, a pod takes 64 KiB at most",
            "pass it with --data",
        ),
        (sweep(1500), GPU, KUBEFLOW, "the sweep's 1500 children are", "sweep in parts"),
    ],
)
def test_what_no_pod_could_do_is_refused_before_anything_is_sent(
    job: Job, profile: Profile, kubeflow: Kubeflow, message: str, hint: str
) -> None:
    with pytest.raises(UserError) as error:
        planned(job, profile, kubeflow)
    assert message in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("settings", "parameter", "message", "hint"),
    [
        (64, 1, "validate: --settings is 64.01 KiB, a", "shorten mlops.toml"),
        (
            50,
            49,
            "validate: all arguments, --settings foremost, are 99.27 KiB, a pod takes 96",
            "shorten mlops.toml",
        ),
        (
            49,
            50,
            "validate: all arguments, --job foremost, are 99.27 KiB, a pod takes 96",
            "pass it with --data",
        ),
    ],
)
def test_too_long_arguments_are_told_by_what_makes_them_so(
    settings: int, parameter: int, message: str, hint: str
) -> None:
    spec = replace(SPEC, parameters={"x": "y" * 1024 * parameter})
    with pytest.raises(UserError) as error:
        plan(
            replace(JOB, spec=spec, register="churn"),
            profile=GPU,
            kubeflow=KUBEFLOW,
            bundle="b",
            settings=json.dumps({"x": "y" * 1024 * settings}),
            experiment="churn",
            version="0.1.0",
        )
    assert message in error.value.message
    assert hint in error.value.hint


def test_a_secret_that_the_profile_gives_the_pod_is_taken() -> None:
    job = replace(JOB, spec=replace(SPEC, secrets={"key": "TOKEN"}))
    assert '"secrets":{"key":"TOKEN"}' in str(options(planned(job).step("train"))["--spec"])


def test_a_store_of_this_machine_will_do_for_pods_of_this_machine() -> None:
    kubeflow = replace(KUBEFLOW, tracking_uri="sqlite:////p/mlflow.db", shares_machine=True)
    pod = planned(kubeflow=kubeflow).step("train").pod
    assert pod.env["MLFLOW_TRACKING_URI"] == "sqlite:////p/mlflow.db"


def test_warnings_tell_of_a_moving_image_and_an_early_end() -> None:
    assert planned().warnings == ()
    spec = replace(SPEC, limits=Limits(timeout=10800))
    made = planned(replace(JOB, spec=spec), replace(GPU, image="train:latest"))
    assert made.step("train").pod.image == "train:latest"
    assert made.warnings == (
        "image train:latest has no digest: what it holds may change from run to run",
        "profile gpu ends the pod after 2h, before the run's own 3h",
    )


@pytest.mark.parametrize(
    ("notebook", "name"),
    [
        ("/a/churn model.ipynb", "churn-model"),
        ("Übung_1.ipynb", "bung-1"),
        ("модель.ipynb", "notebook"),
        ("x" * 60 + ".ipynb", "x" * 40),
    ],
)
def test_the_pipeline_is_called_as_the_notebook(notebook: str, name: str) -> None:
    made = planned(replace(JOB, spec=replace(SPEC, notebook=notebook)))
    assert made.name == name
    assert made.description.endswith(".ipynb, by mlops-nb 0.1.0")


def test_the_service_account_is_for_who_submits() -> None:
    kubeflow = replace(KUBEFLOW, service_account="runner")
    assert planned(kubeflow=kubeflow).service_account == "runner"
    assert planned(profile=replace(GPU, service_account="gpu")).service_account == "gpu"
