"""Where a line is typed and what it is about: folders, projects, notebooks that run itself."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from shell import Shell, outputs, wait_until, write_notebook

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ("lr: float = 0.1", "print('the rate is', lr)")
SLOW = ("lr: float = 0.1", "import time\nprint('begun', flush=True)\ntime.sleep(lr * 1000)")


@pytest.fixture
def shell(tmp_path: Path, migrated_store: Path) -> Shell:
    folder = tmp_path / "project"
    (folder / ".mlops").mkdir(parents=True)
    (folder / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    (folder / "mlops.toml").write_text("[run]\ncell_timeout = '5m'\n")
    return Shell(folder)


@pytest.mark.parametrize(
    "source",
    [
        "%load_ext mlops_nb\n%mlops train",
        "import mlops_nb\nprint(mlops_nb.train().id)",
        "import mlops_nb\nprint(mlops_nb.sweep(lr='1,2').id)",
    ],
)
def test_a_notebook_that_runs_itself_is_run_once(shell: Shell, source: str) -> None:
    notebook = write_notebook(shell.folder / "me.ipynb", "lr: float = 0.1", source)
    run = shell.train(notebook)
    assert run["state"] == "succeeded"
    assert run["id"] in outputs(shell.run_folder(run["id"]) / "executed.ipynb")[-1]
    assert [one["id"] for one in shell.json("runs")["runs"]] == [run["id"]]


def test_a_notebook_elsewhere_is_run_in_its_own_project(shell: Shell, tmp_path: Path) -> None:
    notebook = write_notebook(shell.folder / "nb.ipynb", *QUICK)
    (tmp_path / "elsewhere").mkdir()
    away = Shell(tmp_path / "elsewhere")
    run = away.train(notebook)
    assert [one["id"] for one in shell.json("runs")["runs"]] == [run["id"]]
    assert not (away.folder / ".mlops").exists()
    # A project that one stands in is meant, wherever the notebook lies.
    (away.folder / "mlops.toml").touch()
    second = away.train(notebook)
    assert (away.folder / ".mlops" / "runs" / second["id"]).is_dir()


def test_without_a_project_it_is_said_once_where_runs_are_kept(tmp_path: Path) -> None:
    bare = Shell(tmp_path)
    write_notebook(tmp_path / "nb.ipynb", *QUICK)
    first = bare.type("train", "nb.ipynb")
    assert f"runs are kept in {tmp_path}/.mlops" in first.stderr
    assert "mlops init" in first.stderr
    assert "are kept" not in bare.type("train", "nb.ipynb").stderr


def test_data_is_named_from_where_one_stands(shell: Shell) -> None:
    below = shell.folder / "data"
    below.mkdir()
    (below / "t.csv").write_text("a\n1\n")
    notebook = write_notebook(
        shell.folder / "nb.ipynb", "table: str = ''", "print(open(table).read())"
    )
    inner = Shell(below)
    run = inner.train(notebook, "--data", "table=t.csv")
    (dataset,) = run["datasets"]
    assert dataset["uri"] == (below / "t.csv").as_uri()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "lr=tt.csv"), "did you mean t.csv?"),
        (("--data", "lr=ftp://host/t.csv"), "cannot be read from ftp://"),
        (("--register", "m", "--deploy", "bare"), "names no model server image"),
    ],
)
def test_what_cannot_go_well_is_said_before_anything_runs(
    shell: Shell, words: tuple[str, ...], message: str
) -> None:
    shell.type("init")
    with (shell.folder / "mlops.toml").open("a") as settings:
        settings.write("\n[gitops]\nrepository = '.mlops/gitops.git'\n[environments.bare]\n")
    (shell.folder / "t.csv").touch()
    notebook = write_notebook(shell.folder / "nb.ipynb", *QUICK)
    done = shell.type("train", str(notebook), *words, code=2)
    assert message in done.stderr
    assert shell.json("runs")["runs"] == []


def test_a_key_is_for_one_request(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "nb.ipynb", *QUICK)
    first = shell.train(notebook, "--key", "k")
    again = shell.type("train", str(notebook), "--key", "k")
    assert f"key 'k' was used before: this is run {first['id']}" in again.stderr
    other = shell.type("train", str(notebook), "--key", "k", "-p", "lr=0.2", code=2)
    assert f"belongs to run {first['id']}" in other.stderr
    assert "give another --key" in other.stderr


def test_an_interrupted_sweep_is_no_success_and_says_how_to_go_on(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "nb.ipynb", *SLOW)
    process = shell.start("sweep", str(notebook), "-p", "lr=0.001,1", "--best", "max:x")
    wait_until(lambda: any(shell.folder.glob(".mlops/runs/*.2/log.txt")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    sweep = json.loads(shell.type("runs", "--json").stdout)["runs"][0]
    assert sweep["state"] == "cancelled"
    assert f"go on with it: mlops retry {sweep['id']}" in err
    assert f"cancelling {sweep['id']}" in err
    assert "succeeded" in out


def test_a_notebook_changed_since_is_said_when_it_is_run_again_as_it_was(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "nb.ipynb", "lr: float = 0.1", "1 / 0")
    run = shell.train(notebook, code=3)
    write_notebook(notebook, "lr: float = 0.1", "1 / 1")
    again = shell.type("retry", run["id"], code=3)
    assert "nb.ipynb was changed since; the run repeats it as it was" in again.stderr
    started = shell.json("retry", run["id"], "--detach")
    assert started["state"] == "queued"


def test_a_sweep_has_no_output_of_its_own(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "nb.ipynb", *QUICK)
    sweep = shell.json("sweep", str(notebook), "-p", "lr=1,2")
    ids = [child["id"] for child in sweep["children"]]
    asked = shell.type("logs", sweep["run"]["id"], code=2)
    assert f"mlops logs {ids[0]}" in asked.stderr
    compared = shell.json("compare", sweep["run"]["id"])
    assert [run["id"] for run in compared["runs"]] == ids
