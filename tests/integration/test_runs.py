"""Runs as a user meets them: by shell lines, with everything real behind them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from shell import MLOPS, Shell, outputs, wait_until, write_notebook

QUICK = ("lr: float = 0.1  # learning rate\nname: str = 'a'", "print(name, lr * 2)")
LONG = (
    "x: int = 1",
    "print('one', flush=True)",
    "import time\nprint('two', flush=True)\ntime.sleep(600)",
)


@pytest.fixture
def shell(tmp_path: Path, migrated_store: Path) -> Shell:
    folder = tmp_path / "ein Projekt mit Größe"
    (folder / ".mlops").mkdir(parents=True)
    (folder / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    return Shell(folder)


def test_a_run_is_recorded_with_what_it_was(shell: Shell) -> None:
    (shell.folder / "beside.py").write_text("def twice(x):\n    return 2 * x\n")
    notebook = write_notebook(
        shell.folder / "mein Übungs-Heft.ipynb",
        QUICK[0],
        "import beside, mlflow\nmlflow.log_metric('score', beside.twice(lr))\nprint('hello')",
    )
    run = shell.train(notebook, "-p", "lr=0.25", "-p", "name=007")
    assert run["state"] == "succeeded"
    assert run["parameters"] == {"lr": 0.25, "name": "007"}
    assert run["metrics"] == {"score": 0.5}
    assert (run["cells_done"], run["cells"]) == (2, 2)
    assert run["peak_memory"] > 10_000_000
    recorded = shell.mlflow().get_run(run["tracking_id"])
    assert recorded.info.status == "FINISHED"
    assert recorded.data.params == {"lr": "0.25", "name": "007"}
    assert recorded.data.metrics == {"score": 0.5}
    assert recorded.data.tags["mlops_nb.run"] == run["id"]
    assert recorded.data.tags["mlops_nb.notebook_digest"].startswith("sha256:")
    kept = {f.path for f in shell.mlflow().list_artifacts(run["tracking_id"], "mlops_nb")}
    assert {
        "mlops_nb/executed.ipynb",
        "mlops_nb/log.txt",
        "mlops_nb/requirements.lock.txt",
        "mlops_nb/job.json",
    } <= kept
    assert "hello" in "".join(outputs(shell.run_folder(run["id"]) / "executed.ipynb"))


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("-p", "lrr=1"), "lrr", "did you mean"),
        (("-p", "lr=quick"), "quick", "lr"),
        (("--data", "nme=x.csv"), "nme", "did you mean"),
        (("--gate", "score >>= 1"), "score >>= 1", ""),
        (("--gate", "score >= champion"), "champion", "--register"),
        (("--deploy", "prod"), "--deploy prod", "--register"),
        (("--register", "My Model"), "My Model", "my-model"),
        (("-p", "name=ghp_0123456789abcdefghijklmnopqrstuvwxyzAB"), "credential", "secret:"),
        (("-p", "name=secret:NOT_SET"), "NOT_SET", "export"),
        (("--kernel", "fortran77"), "fortran77", ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_request_is_refused_with_the_next_step(
    shell: Shell, words: tuple[str, ...], message: str, hint: str
) -> None:
    notebook = write_notebook(shell.folder / "nb.ipynb", *QUICK)
    done = shell.type("train", str(notebook), *words, code=2)
    assert message in done.stderr
    assert hint in done.stderr
    assert "hello" not in done.stdout


def test_a_failed_cell_is_named_and_the_executed_notebook_is_kept(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "nb.ipynb", "x: int = 0", "print('before')", "1 / x"
    )
    done = shell.type("train", str(notebook), "-p", "x=0", "--json", code=3)
    run = json.loads(done.stdout)
    assert run["failure"]["cell"] == 3
    assert run["failure"]["ename"] == "ZeroDivisionError"
    assert "cell 3" in done.stderr
    assert shell.status(run["tracking_id"]) == "FAILED"
    said = outputs(shell.run_folder(run["id"]) / "executed.ipynb")
    assert "before\n" in said
    assert said[-1] == "ZeroDivisionError"


def test_a_run_outlives_the_shell_and_is_seen_from_another(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "x: int = 1",
        "import time\nprint('on', flush=True)\ntime.sleep(3)\nprint('done')",
    )
    process = shell.start("train", str(notebook), "--key", "k1")
    folder = shell.folder / ".mlops" / "runs"
    wait_until(lambda: list(folder.glob("*/log.txt")))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = shell.train(notebook, "--key", "k1")
    assert again["state"] == "succeeded"
    assert len(list(folder.glob("*/job.json"))) == 1
    assert shell.type("logs", again["id"]).stdout == "on\ndone\n"
    listed = shell.json("runs")["runs"]
    assert [(run["id"], run["state"]) for run in listed] == [(again["id"], "succeeded")]
    assert shell.json("show", again["tracking_id"][:8])["id"] == again["id"]


def test_interrupting_the_shell_cancels_the_run_and_saves_the_notebook(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "nb.ipynb", *LONG)
    process = shell.start("train", str(notebook), "--json")
    wait_until(lambda: list((shell.folder / ".mlops" / "runs").glob("*/log.txt")))
    run_id = next((shell.folder / ".mlops" / "runs").glob("*/log.txt")).parent.name
    shell.wait_for(run_id, "two")
    process.send_signal(signal.SIGINT)
    out, _err = process.communicate(timeout=60)
    assert process.returncode == 3
    run = json.loads(out)
    assert run["state"] == "cancelled"
    assert shell.status(run["tracking_id"]) == "KILLED"
    assert outputs(shell.run_folder(run_id) / "executed.ipynb")[-1].endswith(
        "KeyboardInterrupt"
    )


def test_cancel_from_another_shell(shell: Shell) -> None:
    run = shell.detach(write_notebook(shell.folder / "nb.ipynb", *LONG))
    shell.wait_for(run["id"], "two")
    live = shell.json("show", run["id"])
    assert live["state"] == "running"
    assert live["last_line"] == "two"
    runner = shell.runner(run["id"])
    family = [runner, *runner.children(recursive=True)]
    assert len(family) > 1
    assert shell.json("cancel", run["id"])["state"] == "cancelled"
    wait_until(lambda: not any(p.is_running() and p.status() != "zombie" for p in family))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_runner_in_its_first_moment_cancels_the_run(
    shell: Shell, number: signal.Signals
) -> None:
    run = shell.detach(write_notebook(shell.folder / "nb.ipynb", *LONG))
    shell.runner(run["id"]).send_signal(number)
    wait_until((shell.run_folder(run["id"]) / "result.json").exists)
    ended = shell.json("show", run["id"])
    assert ended["state"] == "cancelled"
    assert shell.status(ended["tracking_id"]) == "KILLED"


def test_a_killed_runner_is_healed_by_the_next_command_that_looks(shell: Shell) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=shell.folder, check=True)
    run = shell.detach(write_notebook(shell.folder / "nb.ipynb", *LONG))
    shell.wait_for(run["id"], "two")
    tracking_id = shell.json("show", run["id"])["tracking_id"]
    runner = shell.runner(run["id"])
    family = [runner, *runner.children(recursive=True)]
    runner.kill()
    assert shell.status(tracking_id) == "RUNNING"
    (listed,) = shell.json("runs")["runs"]
    assert listed["state"] == "failed"
    assert "killed" in listed["failure"]["reason"]
    assert "cell 3" in listed["failure"]["reason"]
    assert shell.status(tracking_id) == "FAILED"
    shown = shell.json("show", run["id"])
    assert shown["defaults"] == {"x": 1}
    assert shown["code_note"] == "the Git repository has no commit yet"
    said = outputs(shell.run_folder(run["id"]) / "executed.ipynb")
    assert said[-2] == "one\n"
    assert said[-1].startswith("two\n")
    wait_until(lambda: not any(p.is_running() and p.status() != "zombie" for p in family))


def test_a_secret_is_written_nowhere(shell: Shell) -> None:
    value = "s3cr3t-Wert/with+signs=="
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "token: str = ''\nfail: bool = False",
        "import mlflow, sys\nprint('it is', token)\n"
        "print(token[:5], end='', flush=True)\nprint(token[5:])\n"
        "sys.stderr.write(repr([token]))\nmlflow.set_tag('seen', len(token))\n"
        "assert not fail, token",
    )
    for fail, code in (("false", 0), ("true", 3)):
        done = shell.type(
            "train", str(notebook), "-p", "token=secret:API_TOKEN", "-p", f"fail={fail}",
            "--json", code=code, API_TOKEN=value,
        )  # fmt: skip
        run = json.loads(done.stdout)
        assert run["parameters"]["token"] == "secret:API_TOKEN"
        assert shell.mlflow().get_run(run["tracking_id"]).data.tags["seen"] == str(len(value))
        assert value not in done.stdout + done.stderr
        assert "[redacted]" in shell.type("logs", run["id"]).stdout
    for path in (p for p in shell.folder.rglob("*") if p.is_file()):
        assert value.encode() not in path.read_bytes(), path


def test_a_secret_the_notebook_itself_logs_is_taken_out_or_the_run_fails(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "token: str = ''\nas_parameter: bool = False",
        "import mlflow\nmlflow.set_tag('leak', 'it is ' + token)\n"
        "mlflow.log_dict({'url': 'https://me:' + token + '@host'}, 'deep/er/config.json')\n"
        "mlflow.log_text('nothing to see', 'plain.txt')\n"
        "if as_parameter:\n    mlflow.log_param('key', token)",
    )
    words = ("-p", "token=secret:API_TOKEN")
    run = shell.train(notebook, *words, API_TOKEN="s3cr3t-Wert")
    leak = shell.mlflow().get_run(run["tracking_id"]).data.tags["leak"]
    assert leak == "it is [redacted]"
    files = Path(shell.mlflow().download_artifacts(run["tracking_id"], ""))
    assert "https://me:[redacted]@host" in (files / "deep/er/config.json").read_text()
    assert (files / "plain.txt").read_text() == "nothing to see"
    failed = shell.train(
        notebook, *words, "-p", "as_parameter=true", code=3, API_TOKEN="s3cr3t-Wert"
    )
    assert "logged a secret to MLflow as parameter key" in failed["failure"]["reason"]
    assert failed["tracking_id"] in failed["failure"]["hint"]
    assert shell.status(failed["tracking_id"]) == "FAILED"


def test_a_secret_in_a_file_that_is_no_text_fails_the_run(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "token: str = ''",
        "import mlflow, pathlib\n"
        "pathlib.Path('w.bin').write_bytes(b'\\0\\xff' + token.encode())\n"
        "mlflow.log_artifact('w.bin', 'weights')",
    )
    run = shell.train(notebook, "-p", "token=secret:API_TOKEN", code=3, API_TOKEN="s3cr3t-Wert")
    assert "logged a secret to MLflow as file weights/w.bin" in run["failure"]["reason"]


def test_data_is_staged_digested_and_recorded(shell: Shell) -> None:
    (shell.folder / "train.csv").write_text("a,b\n1,2\n")
    notebook = write_notebook(
        shell.folder / "nb.ipynb", "train: str = ''", "print(open(train).read())"
    )
    run = shell.train(notebook, "--data", "train=train.csv")
    (dataset,) = run["datasets"]
    assert dataset["digest"] == (
        "sha256:" + __import__("hashlib").sha256(b"a,b\n1,2\n").hexdigest()
    )
    (used,) = shell.mlflow().get_run(run["tracking_id"]).inputs.dataset_inputs
    assert used.dataset.name == "train"
    missing = shell.type("train", str(notebook), "--data", "train=no.csv", code=2)
    assert "no.csv" in missing.stderr


def test_the_notebooks_own_values_are_recorded_but_no_credentials(shell: Shell) -> None:
    source = (
        "data: str = ''\nlr: float = 0.1\ndepth: int = 3\n"
        "login = {'key': 'ghp_0123456789abcdefghijklmnopqrstuvwxyzAB'}\npassword = 'hunter2!'"
    )
    write_notebook(shell.folder / "nb.ipynb", source)
    (shell.folder / "rows.csv").write_text("1\n")
    run = shell.train(shell.folder / "nb.ipynb", "-p", "lr=0.2", "--data", "data=rows.csv")
    told = {"depth": 3, "login": "[redacted]", "password": "[redacted]"}
    assert run["defaults"] == told
    recorded = shell.mlflow().get_run(run["tracking_id"]).data
    assert json.loads(recorded.tags["mlops_nb.defaults"]) == told
    # MLflow's own parameters stay free for what the notebook itself logs.
    assert recorded.params.keys() == {"lr"}


def test_a_tuple_stays_a_tuple(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "layers = (64, 32)\nshape: tuple[int, ...] = (1,)\nnames: list = ['a']",
        "print(layers, shape, names)",
    )
    run = shell.train(notebook, "-p", "layers=(8, 4)", "-p", "shape=2,3", "-p", "names=['b']")
    said = outputs(shell.run_folder(run["id"]) / "executed.ipynb")
    assert said[-1] == "(8, 4) (2, 3) ['b']\n"
    assert shell.json("inspect", str(notebook))["parameters"][0]["type"] == "tuple"


def test_a_notebook_that_trains_itself_does_not_recurse(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "x: int = 1",
        f"%load_ext mlops_nb\n%mlops train nb.ipynb\n!{MLOPS} train nb.ipynb\n"
        "import mlops_nb\nprint(mlops_nb.train('nb.ipynb').state)",
    )
    run = shell.train(notebook)
    assert run["state"] == "succeeded"
    assert len(list((shell.folder / ".mlops" / "runs").glob("*/job.json"))) == 1
    said = "".join(outputs(shell.run_folder(run["id"]) / "executed.ipynb"))
    assert sum(line.startswith("  inside run") for line in said.splitlines()) == 2
    assert said.endswith("running\n")


def test_a_tracking_server_that_is_down_is_said_before_anything_runs(shell: Shell) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (shell.folder / "mlops.toml").write_text(f"[tracking]\nuri = 'http://127.0.0.1:{port}'\n")
    notebook = write_notebook(shell.folder / "nb.ipynb", *QUICK)
    started = time.monotonic()
    done = shell.type("train", str(notebook), code=4)
    assert f"127.0.0.1:{port}" in done.stderr
    assert time.monotonic() - started < 60
    assert not list(shell.folder.rglob("executed.ipynb"))
    doctor = shell.type("doctor", "--timeout", "20s", code=4)
    assert f"127.0.0.1:{port}" in doctor.stdout


def test_doctor_finds_a_new_project_healthy(shell: Shell) -> None:
    shell.type("init")
    diagnosis = shell.json("doctor", "--timeout", "60s")
    assert [(probe["name"], probe["ok"]) for probe in diagnosis["probes"]] == [
        ("settings", True),
        ("kernel", True),
        ("tracking", True),
        ("gitops", True),
    ]
    version = ".".join(str(part) for part in sys.version_info[:3])
    assert f"python3 runs python {version} by {sys.executable}" in str(diagnosis)
    again = shell.json("init")
    assert again["created"] == []


def test_a_sweep_goes_on_where_it_stopped(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "depth: int = 1\nlr: float = 0.1",
        "import mlflow, pathlib\nmlflow.log_metric('score', depth * lr)\n"
        "assert depth != 3 or pathlib.Path('mended').exists(), 'depth 3 is broken'",
    )
    line = ("sweep", str(notebook), "-p", "depth=2..4", "-p", "lr=0.5", "--best", "max:score")
    first = shell.type(*line, "--parallel", "2", "--json", code=3)
    sweep = json.loads(first.stdout)
    assert [child["state"] for child in sweep["children"]] == [
        "succeeded",
        "failed",
        "succeeded",
    ]
    assert sweep["best"] == sweep["children"][2]["id"]
    assert "1 of 3 children failed" in first.stderr
    began = [child["started"] for child in sweep["children"]]
    (shell.folder / "mended").touch()
    shell.type("retry", sweep["run"]["id"])
    again = shell.json("show", sweep["run"]["id"])
    assert [child["state"] for child in again["children"]] == ["succeeded"] * 3
    assert [child["started"] for child in again["children"]][::2] == began[::2]
    parent = shell.mlflow().get_run(sweep["run"]["tracking_id"])
    child = shell.mlflow().get_run(sweep["children"][0]["tracking_id"])
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.status == "FINISHED"
    shown = shell.type("show", sweep["run"]["id"]).stdout
    assert "★ best" in shown
    compared = shell.type("compare", *(c["id"] for c in sweep["children"][:2])).stdout
    assert "depth" in compared
    assert "score" in compared


def test_an_interrupted_sweep_continues(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "n: int = 1",
        "import time\nprint('running', n, flush=True)\ntime.sleep(0 if n == 1 else 600)",
    )
    sweep = shell.json("sweep", str(notebook), "-p", "n=1,2,3", "--detach")
    shell.wait_for(f"{sweep['id']}.2", "running 2")
    runner = shell.runner(sweep["id"])
    runner.kill()
    stopped = shell.json("show", sweep["id"])
    assert stopped["run"]["state"] == "failed"
    assert [child["state"] for child in stopped["children"]] == ["succeeded", "running"]
    shell.type("cancel", f"{sweep['id']}.2")
    shell.json("retry", sweep["id"], "--detach")
    wait_until((shell.run_folder(f"{sweep['id']}.2") / "result.before.json").exists)
    assert shell.json("cancel", sweep["id"])["state"] == "cancelled"
    states = [child["state"] for child in shell.json("show", sweep["id"])["children"]]
    assert states[:2] == ["succeeded", "cancelled"]
    wait_until(
        lambda: (
            not any(
                sweep["id"] in str(p.info["cmdline"]) for p in psutil.process_iter(["cmdline"])
            )
        )
    )


def test_a_dead_kernel_is_started_again_as_often_as_asked(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "x: int = 1",
        "import os, pathlib, signal\nmark = pathlib.Path('mark')\nif not mark.exists():\n"
        "    mark.touch()\n    os.kill(os.getpid(), signal.SIGKILL)\nprint('second try')",
    )
    assert shell.train(notebook, "--retries", "1")["state"] == "succeeded"
    (shell.folder / "mark").unlink()
    failed = shell.train(notebook, code=3)
    assert "cell 2" in failed["failure"]["reason"]


def test_completion_knows_parameters_choices_runs_and_notebooks(shell: Shell) -> None:
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "from typing import Literal\nmodel: Literal['tree', 'linear'] = 'tree'\n"
        "max_depth: int = 3",
    )

    def complete(line: str) -> list[str]:
        done = shell.type(
            _ARGCOMPLETE="1", _ARGCOMPLETE_IFS="\013", COMP_LINE=line,
            COMP_POINT=str(len(line)),
            _ARGCOMPLETE_STDOUT_FILENAME=str(shell.folder / "completions"),
        )  # fmt: skip
        assert not done.stderr
        return (shell.folder / "completions").read_text().split("\013")

    assert notebook.name == "nb.ipynb"
    assert {"train", "trace"} <= {word.strip() for word in complete("mlops tr")}
    assert "nb.ipynb" in [word.strip() for word in complete("mlops train n")]
    assert set(complete("mlops train nb.ipynb -p m")) == {"model=", "max_depth="}
    assert {w.strip() for w in complete("mlops train nb.ipynb -p model=")} == {
        "model=tree",
        "model=linear",
    }
