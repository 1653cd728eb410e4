"""The README's Kubeflow section, typed line by line against `mlops dev kubeflow`."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kernels import Kernel
from shell import Shell, outputs, rehearsing, wait_until, write_notebook

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD = (
    "lr: float = 0.1",
    "import mlflow\nfrom rates import doubled\nprint('the rate is', lr)",
    "mlflow.log_metric('score', doubled(lr))",
    """import sklearn.linear_model, mlflow.sklearn
model = sklearn.linear_model.LogisticRegression().fit([[0.0], [1.0]], [0, 1])
mlflow.sklearn.log_model(model, name='model', pip_requirements=[])""",
)
SLOW = (
    "n: int = 600",
    "import time\nfor i in range(n):\n    print('step', i, flush=True)\n    time.sleep(0.1)",
)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("project")
    (folder / ".mlops").mkdir()
    (folder / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    shell = Shell(folder)
    (folder / "rates.py").write_text("def doubled(rate):\n    return 2 * rate\n")
    shell.type("init")
    with rehearsing(shell, "dev", "kubeflow", "--gpus", "2"):
        with (folder / "mlops.toml").open("a") as settings:
            settings.write(
                "\n[profiles.gpu-small]\ngpu = 1\nmemory = '24Gi'\nprice = 1.5\n"
                "tolerations = [{ key = 'nvidia.com/gpu', operator = 'Exists' }]\n"
                "[profiles.cpu]\nmemory = '2Gi'\nprice = 0.3\n"
                "[environments.strict]\ngates = ['score >= 0.95']\n"
                f"image = 'example.com/server@sha256:{'0' * 64}'\n"
            )
        yield shell


def runs(shell: Shell, notebook: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shell.json("runs", notebook)["runs"]
    return found


def fault(shell: Shell, what: dict[str, Any]) -> None:
    """Have the stand-in do something wrong."""
    url = re.search(r'url = "(http://127[^"]+)"', (shell.folder / "mlops.toml").read_text())
    assert url is not None
    request = urllib.request.Request(  # noqa: S310  # our own
        f"{url[1]}/dev/faults",
        data=json.dumps(what).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).read()  # noqa: S310


def test_a_notebook_is_trained_judged_registered_and_proposed(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "churn.ipynb", *GOOD)
    words = ("--on", "kubeflow", "-p", "lr=0.3", "--gate", "score >= 0.5")
    done = shell.type("train", str(notebook), *words, "--register", "churn", "--deploy", "prod")
    told = done.stderr.splitlines()
    steps = [line.strip() for line in told if line.strip() in {"prepare", "train"}]
    assert steps == ["prepare", "train"]
    for said in ("score = 0.6", "1 of 1 gates passed", "✔ registered churn/1"):
        assert said in done.stderr
    assert done.stderr.count("✔ pull request #1: churn/1") == 1
    (run,) = runs(shell, "churn.ipynb")
    assert (run["state"], run["executor"]) == ("succeeded", "kubeflow")
    assert (run["model"], run["pull_request"]) == ("churn/1", 1)
    assert run["notebook"] == str(notebook)
    assert "the rate is 0.3\n" in shell.type("logs", run["id"]).stdout
    store = shell.mlflow()
    files = {f.path for f in store.list_artifacts(run["tracking_id"], "mlops_nb")}
    assert {"mlops_nb/executed.ipynb", "mlops_nb/verdict.json"} <= files
    executed = store.download_artifacts(run["tracking_id"], "mlops_nb/executed.ipynb")
    assert outputs(Path(executed))[2].endswith("the rate is 0.3\n")
    body = shell.type("deploy", "churn/1", "--to", "prod", "--dry-run").stdout
    assert "Ann Lee" in body
    assert shell.json("merge", "1")["environment"] == "prod"


def test_the_same_work_is_not_done_twice(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "twice.ipynb", *GOOD)
    first = shell.train(notebook, "--on", "kubeflow", "-p", "lr=0.4")
    again = shell.type("train", str(notebook), "--on", "kubeflow", "-p", "lr=0.4")
    assert f"train was cached: this is the result of {first['id']}" in again.stderr
    assert f"cached       the result of {first['id']}" in again.stdout
    assert "score 0.8" in again.stdout
    other = shell.train(notebook, "--on", "kubeflow", "-p", "lr=0.45")
    assert other["cached_from"] == ""
    judged = shell.train(notebook, "--on", "kubeflow", "-p", "lr=0.4", "--gate", "score >= 0.5")
    assert (judged["cached_from"], judged["metrics"]) == (first["id"], {"score": 0.8})


def test_a_refused_gate_is_an_end_and_no_failure(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "weak.ipynb", *GOOD)
    words = ("--on", "kubeflow", "--gate", "score >= 0.9", "--register", "weak")
    run = shell.train(notebook, *words, code=3)
    assert (run["state"], run["failure"], run["model"]) == ("succeeded", None, "")
    assert run["verdict"]["checks"][0]["outcome"] == "failed"


def test_an_environments_refusal_is_kept_with_its_gates(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "mild.ipynb", *GOOD)
    words = ("--gate", "score >= 0.1", "--register", "mild", "--deploy", "strict")
    run = shell.train(notebook, "--on", "kubeflow", *words, code=3)
    failure = run["failure"]
    assert (run["model"], run["pull_request"]) == ("mild/1", None)
    assert (failure["step"], failure["error"]) == ("deploy", "GateFailed")
    outcomes = {check["gate"]: check["outcome"] for check in failure["verdict"]["checks"]}
    assert outcomes == {"score >= 0.1": "passed", "score >= 0.95": "failed"}


def test_a_run_is_followed_and_stopped_from_another_shell(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "slow.ipynb", *SLOW)
    words = ("--on", "kubeflow", "--profile", "gpu-small", "--detach")
    started = shell.type("train", str(notebook), *words)
    assert "1.5 an hour with profile gpu-small" in started.stderr
    (queued,) = runs(shell, "slow.ipynb")
    follower = shell.start("logs", "-f", queued["id"])
    assert follower.stdout is not None
    assert [follower.stdout.readline() for _ in range(3)] == [
        "step 0\n",
        "step 1\n",
        "step 2\n",
    ]
    wait_until(lambda: shell.json("show", queued["id"])["cells_done"] == 1)
    stopped = shell.json("cancel", queued["id"])
    assert stopped["state"] == "cancelled"
    assert "cell 2" in stopped["failure"]["reason"]
    assert stopped["failure"]["reason"].endswith("freed 1 nvidia.com/gpu")
    rest = list(follower.stdout)
    assert follower.wait(60) == 0
    follower.communicate()
    assert rest[0] == "step 3\n"
    assert any(line.startswith("KeyboardInterrupt") for line in rest)
    assert shell.status(queued["tracking_id"]) == "KILLED"


def test_a_run_that_no_node_takes_is_given_up_in_words(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "wait.ipynb", *GOOD)
    with (shell.folder / "mlops.toml").open("a") as settings:
        settings.write("\n[profiles.huge]\ngpu = 64\nmax_wait = '4s'\n")
    run = shell.train(notebook, "--on", "kubeflow", "--profile", "huge", code=3)
    assert run["state"] == "failed"
    assert run["failure"]["reason"].startswith("train did not begin within 4s")
    assert "no node has a free nvidia.com/gpu" in run["failure"]["reason"]
    assert f"mlops retry {run['id']}" in run["failure"]["hint"]
    wait_until(lambda: shell.json("show", run["id"])["state"] == "failed")
    assert shell.status(run["tracking_id"]) == "FAILED"


def test_what_runs_cost_is_told_by_what_those_with_the_profile_took(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "paid.ipynb", *GOOD)
    words = ("train", str(notebook), "--on", "kubeflow", "--profile")
    first = shell.type(*words, "gpu-small", "-p", "lr=0.11")
    assert "about" not in first.stderr
    assert "1.5 an hour with profile gpu-small" in first.stderr
    assert "GPU-hours" in first.stdout
    (run,) = runs(shell, "paid.ipynb")
    # Only the pod that trains has a GPU.
    whole = datetime.fromisoformat(run["ended"]) - datetime.fromisoformat(run["started"])
    assert 0 < run["pod_seconds"] < whole.total_seconds()
    other = shell.type(*words, "cpu", "-p", "lr=0.12")
    assert "about" not in other.stderr
    again = shell.type(*words, "gpu-small", "-p", "lr=0.13")
    assert re.search(
        r"about \S+: its last ones trained for \S+, 1.5 an hour with profile gpu-small",
        again.stderr,
    )


def test_a_run_whose_submission_was_killed_is_known_and_can_be_given_up(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "killed.ipynb", *GOOD)
    fault(shell, {"match": "POST /apis/v2beta1/runs", "slow": 60})
    process = shell.start("train", str(notebook), "--on", "kubeflow", "--detach")
    wait_until(lambda: bool(runs(shell, "killed.ipynb")))
    process.kill()
    process.communicate()
    (run,) = runs(shell, "killed.ipynb")
    assert (run["state"], run["doing"]) == (
        "queued",
        f"not submitted yet; if that was interrupted: mlops cancel {run['id']}",
    )
    given_up = shell.json("cancel", run["id"])
    assert given_up["state"] == "cancelled"
    assert given_up["failure"]["reason"] == "cancelled before it was submitted"


def test_a_sweep_is_stopped_as_a_whole_and_tells_what_it_freed(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "stopped.ipynb", *SLOW)
    words = ("-p", "n=600,601,602", "--on", "kubeflow", "--profile", "gpu-small")
    sweep = shell.json("sweep", str(notebook), *words, "--parallel", "2", "--detach")

    def training() -> int:
        children = shell.json("show", sweep["id"])["children"]
        return sum(child["cells_done"] == 1 for child in children)

    wait_until(lambda: training() == 2, seconds=90)
    one = shell.json("cancel", f"{sweep['id']}.1", code=2)["error"]
    assert one["hint"] == f"give the sweep: {sweep['id']}"
    stopped = shell.json("cancel", sweep["id"])
    assert stopped["state"] == "cancelled"
    # The third child had not begun.
    assert stopped["failure"]["reason"].endswith("freed 2 nvidia.com/gpu")
    states = [child["state"] for child in shell.json("show", sweep["id"])["children"]]
    assert states == ["cancelled"] * 2


def test_a_schedule_is_shown_in_a_live_notebook_and_in_one_that_is_run(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "nightly.ipynb", *GOOD)
    words = ("--on", "kubeflow", "--cron", "0 3 * * 1")
    shell.type("schedule", str(notebook), *words)
    for env in ({}, {"MLOPS_NB_RUN": "nightly-3fa9c1"}):
        with Kernel(shell.folder, shell.env | env, notebook) as kernel:
            kernel.run("%load_ext mlops_nb")
            shown = kernel.run("%mlops show nightly")
            assert not shown.error, shown.error
            assert "schedule nightly is active" in shown.result
            assert kernel.run("s = %mlops show nightly\ns.when").result == (
                "'at 03:00 on Mondays UTC'"
            )
    shell.type("schedule", "delete", "nightly")


def test_a_failed_run_is_tried_again_under_its_id(shell: Shell) -> None:
    allowed = shell.folder / "allowed"
    notebook = write_notebook(
        shell.folder / "once.ipynb",
        "x: int = 1",
        f"import pathlib\nassert pathlib.Path({str(allowed)!r}).exists(), 'not yet'",
    )
    failed = shell.train(notebook, "--on", "kubeflow", code=3)
    assert failed["failure"]["reason"] == "cell 2 failed: AssertionError: not yet"
    allowed.touch()
    again = shell.json("retry", failed["id"])
    assert (again["id"], again["state"], again["failure"]) == (failed["id"], "succeeded", None)


def test_a_failed_step_after_training_is_repeated_without_training(shell: Shell) -> None:
    seen = shell.folder / "trained-times"
    notebook = write_notebook(
        shell.folder / "nomodel.ipynb",
        "x: int = 1",
        f"with open({str(seen)!r}, 'a') as file:\n    file.write('x')",
    )
    words = ("--on", "kubeflow", "--register", "nomodel")
    failed = shell.train(notebook, *words, code=2)
    assert failed["failure"]["step"] == "register"
    assert "logged no model" in failed["failure"]["reason"]
    again = shell.json("retry", failed["id"], code=2)
    assert again["failure"]["step"] == "register"
    assert seen.read_text() == "x"


def test_a_module_that_the_image_lacks_is_told_before_a_gpu_is_asked_for(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "lacks.ipynb", "x: int = 1", "import torch_of_tomorrow"
    )
    run = shell.train(notebook, "--on", "kubeflow", "--profile", "gpu-small", code=2)
    assert "no module torch_of_tomorrow" in run["failure"]["reason"]
    assert run["failure"]["step"] == "start"


def test_a_sweep_runs_its_children_and_one_that_fails_stops_none(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "sweep.ipynb",
        "n: int = 1",
        "import mlflow\nmlflow.log_metric('score', n)\nassert n != 3, 'three'",
    )
    words = ("-p", "n=1..8", "--on", "kubeflow", "--parallel", "4", "--best", "max:score")
    sweep = shell.json("sweep", str(notebook), *words, code=3)
    states = [child["state"] for child in sweep["children"]]
    assert states == ["succeeded"] * 2 + ["failed"] + ["succeeded"] * 5
    assert sweep["best"] == f"{sweep['run']['id']}.8"
    assert sweep["run"]["failure"]["reason"] == "1 of 8 children failed"
    assert [run["id"] for run in runs(shell, "sweep.ipynb")] == [sweep["run"]["id"]]


def test_a_dry_run_shows_the_pipeline_and_submits_nothing(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "dry.ipynb", *GOOD)
    words = ("--on", "kubeflow", "--profile", "gpu-small", "--dry-run")
    shown = shell.type("train", str(notebook), *words).stdout
    assert "resourceType: nvidia.com/gpu" in shown
    assert "tolerations:" in shown
    assert runs(shell, "dry.ipynb") == []


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (
            ("--profile", "gpu-smal"),
            "there is no profile 'gpu-smal'",
            "did you mean 'gpu-small'?",
        ),
        (("-p", "lrr=1"), "no parameter 'lrr'", "did you mean lr?"),
        (("-p", "lr=secret:KEY"), "needs the secret KEY", "secret-name/key"),
        (("--deploy", "prod"), "needs a registered model", "--register NAME"),
    ],
)
def test_a_wrong_request_is_told_before_anything_is_submitted(
    shell: Shell, words: tuple[str, ...], said: str, hint: str
) -> None:
    notebook = write_notebook(shell.folder / "wrong.ipynb", *GOOD)
    done = shell.type(
        "train", str(notebook), "--on", "kubeflow", *words, code=2, KEY="s3cr3t-value"
    )
    assert said in done.stderr
    assert hint in done.stderr
    assert runs(shell, "wrong.ipynb") == []


def test_what_pods_cannot_reach_is_told_before_anything_is_submitted(
    shell: Shell, tmp_path: Path
) -> None:
    settings = (shell.folder / "mlops.toml").read_text()
    notebook = write_notebook(tmp_path / "nb.ipynb", "lr: float = 0.1\ndata: str = ''", "1")
    (tmp_path / "d.csv").touch()
    away = Shell(tmp_path)
    cases = (
        ("shares_machine = true", "", ("--data", "data=d.csv"), "pods cannot reach the data"),
        (
            'tracking_uri = "http',
            'tracking_uri = "sqlite:///x.db"\n# "',
            (),
            "pods cannot reach the tracking server sqlite:///x.db",
        ),
        ('url = "http://127', '# url = "http://127', (), "no Kubeflow is configured"),
        ("shares_machine", "bundle_limit = '1kB'\nshares_machine", (), "more than the limit"),
    )
    (tmp_path / "rates.py").write_text("# " + "".join(map(str, range(2000))))
    write_notebook(notebook, "lr: float = 0.1\ndata: str = ''", "import rates")
    for before, after, words, said in cases:
        changed = settings.replace(before, after)
        if "sqlite" in after:
            changed = changed.replace("shares_machine = true", "")
        (tmp_path / "mlops.toml").write_text(changed)
        done = away.type("train", "nb.ipynb", "--on", "kubeflow", *words, code=2)
        assert said in done.stderr, done.stderr


def test_the_doctor_goes_to_kubeflow_hop_by_hop(shell: Shell) -> None:
    probes = {probe["name"]: probe for probe in shell.json("doctor")["probes"]}
    assert probes["kubeflow"]["ok"], probes["kubeflow"]
    settings = shell.folder / "mlops.toml"
    before = settings.read_text()
    settings.write_text(
        re.sub(r'url = "http://127.0.0.1:\d+"\ntr', 'url = "http://127.0.0.1:9"\ntr', before)
    )
    try:
        probes = {probe["name"]: probe for probe in shell.json("doctor", code=4)["probes"]}
    finally:
        settings.write_text(before)
    assert not probes["kubeflow"]["ok"]
    assert "TCP" in probes["kubeflow"]["detail"]


def test_following_survives_trouble_on_the_way(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "shaken.ipynb", "n: int = 40", SLOW[1])
    process = shell.start("train", str(notebook), "--on", "kubeflow")
    wait_until(lambda: bool(runs(shell, "shaken.ipynb")))
    for trouble in (
        {"status": 503, "times": 3},
        {"drop": True, "times": 2},
        {"state": "BOGUS"},
    ):
        fault(shell, {"match": "GET /apis/v2beta1/runs", "times": 1, **trouble})
        time.sleep(1)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "✔" in out
