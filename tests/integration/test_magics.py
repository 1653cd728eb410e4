"""`%mlops` in real kernels, by the messages that a front end gets."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from kernels import Cell, Kernel
from shell import Shell, wait_until, write_notebook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = ("lr: float = 0.1  # learning rate", "print('the rate is', lr)")
UNTIL_TOLD = (
    "lr: float = 0.1",
    """import pathlib, time
print('half of it', flush=True)
while not pathlib.Path('go').exists():
    time.sleep(0.05)""",
    "import mlflow\nmlflow.log_metric('score', lr * 2)",
)


def make_project(folder: Path, store: Path) -> Shell:
    (folder / ".mlops").mkdir(parents=True)
    (folder / ".mlops" / "mlflow.db").write_bytes(store.read_bytes())
    return Shell(folder)


@pytest.fixture
def shell(tmp_path: Path, migrated_store: Path) -> Shell:
    return make_project(tmp_path / "project", migrated_store)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Iterator[Kernel]:
    """A live notebook's kernel with the extension loaded, for lines that start no run."""
    shell = make_project(tmp_path_factory.mktemp("live") / "project", migrated_store)
    folder = shell.folder
    notebook = write_notebook(
        folder / "nb.ipynb",
        "from typing import Literal\nlr: float = 0.1\n"
        "model: Literal['tree', 'linear'] = 'tree'",
    )
    write_notebook(folder / "mein Heft.ipynb", *QUICK)
    (folder / ".mlops" / "runs" / "nb-3fa9c1").mkdir(parents=True)
    with Kernel(folder, shell.env, notebook) as kernel:
        kernel.run("%load_ext mlops_nb")
        yield kernel


def alive(kernel: Kernel) -> bool:
    return kernel.run("40 + 2").result == "42"


def test_a_live_run_is_watched_after_its_cell_has_ended_and_from_another_kernel(
    shell: Shell,
) -> None:
    notebook = write_notebook(shell.folder / "this.ipynb", *UNTIL_TOLD)
    with (
        Kernel(shell.folder, shell.env, notebook) as kernel,
        Kernel(shell.folder, shell.env, notebook) as other,
    ):
        kernel.run("%load_ext mlops_nb\nlr = 0.4")
        started = kernel.run('run = %mlops train -p lr={lr} --gate "score >= 0.5"')
        assert not started.error
        assert "this.ipynb as it was saved at" in started.printed
        # The notebook waits for the file `go`: the cell has ended before the run could.
        asked = kernel.run("print(type(run).__name__, run.state, run.parameters, run.id)")
        class_, state, *_, run_id = asked.printed.split()
        assert class_ == "Run"
        assert state in {"queued", "running"}
        assert "{'lr': 0.4}" in asked.printed

        kernel.listen_for(started, "half of it")
        other.run("%load_ext mlops_nb")
        attached = other.run(f"%mlops show {run_id}")
        other.listen_for(attached, "half of it")
        (shell.folder / "go").touch()
        other.listen_for(attached, "succeeded")
        kernel.listen_for(started, "succeeded")

        for cell in (started, attached):
            assert "✔ passed" in cell.shown["text/plain"]
            assert "✔ passed" in cell.shown["text/html"]
            assert "score" in cell.shown["text/html"]
            assert_one_view(cell)
        assert "▶</span> running" in shown_before(started)
        assert "cell 2 of 3" in shown_before(started)
        names = "[t.name for t in threading.enumerate() if 'mlops' in t.name]"
        kernel.listen(lambda: kernel.run(f"import threading\n{names}").result == "[]")
        assert not asked.of("display_data", "update_display_data")


def assert_one_view(cell: Cell) -> None:
    """One output, drawn again in its place, and no oftener than a front end can draw."""
    (first,) = cell.of("display_data")
    updates = cell.of("update_display_data")
    ids = {m["content"]["transient"]["display_id"] for m in (first, *updates)}
    assert len(ids) == 1
    assert not cell.of("execute_result")
    drawn = [m["header"]["date"] for m in (first, *updates)]
    gaps = [(b - a).total_seconds() for a, b in pairwise(drawn[:-1])]
    assert min(gaps) >= 0.24


def shown_before(cell: Cell) -> str:
    return "".join(
        m["content"]["data"]["text/html"] for m in cell.of("update_display_data")[:-1]
    )


def test_interrupting_a_waiting_cell_cancels_the_run(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "nb.ipynb", *UNTIL_TOLD)
    with Kernel(shell.folder, shell.env, notebook) as kernel:
        kernel.run("%load_ext mlops_nb")
        cell = kernel.start("%mlops train nb.ipynb --wait")
        kernel.listen_for(cell, "half of it")
        assert not cell.is_done
        kernel.interrupt()
        kernel.listen(lambda: cell.is_done)
        assert "■" in cell.shown["text/plain"]
        assert "cancelled" in cell.shown["text/html"]
        assert cell.error.startswith("RunFailed: nb-")
        assert "File" not in cell.error
        assert alive(kernel)
    (run,) = shell.json("runs")["runs"]
    assert run["state"] == "cancelled"


def test_a_failed_run_is_an_error_in_words(shell: Shell) -> None:
    write_notebook(shell.folder / "nb.ipynb", "x: int = 0", "1 / x")
    with Kernel(shell.folder, shell.env) as kernel:
        kernel.run("%load_ext mlops_nb")
        cell = kernel.run("%mlops train nb.ipynb")
        assert cell.error.startswith("RunFailed: nb-")
        assert "cell 2" in cell.error
        assert "ZeroDivisionError" in cell.error
        assert "site-packages" not in cell.error
        assert "mlops_nb/" not in cell.error
        assert "✘ failed" in cell.shown["text/html"]
        assert alive(kernel)
        unnamed = kernel.run("%mlops train")
        assert unnamed.error.startswith("UserError: no notebook is named")
        assert "%mlops train churn.ipynb" in unnamed.error


def test_a_refusal_shows_its_gates_and_tells_why_once(shell: Shell) -> None:
    write_notebook(
        shell.folder / "nb.ipynb", QUICK[0], "import mlflow\nmlflow.log_metric('score', lr)"
    )
    with Kernel(shell.folder, shell.env) as kernel:
        called = kernel.run(
            "import mlops_nb\nmlops_nb.train('nb.ipynb', gate='score >= 0.5', wait=True)"
        )
        (run,) = shell.json("runs")["runs"]
        register = f"mlops_nb.register('{run['id']}', 'm')"
        registered = kernel.run(register)
        caught = kernel.run(
            f"from mlops_nb.errors import GateFailed\ntry:\n    {register}\n"
            "except GateFailed as error:\n    print(error, error.verdict.passed)"
        )
        kernel.run("%load_ext mlops_nb")
        typed = kernel.run(f"%mlops register {run['id']} --name m")
        watched = kernel.run("%mlops train nb.ipynb --gate 'score >= 0.5'")
    for cell in (called, registered, typed, watched):
        assert cell.error.startswith("GateFailed: nb-")
        assert "1 of 1 gates did not pass: score >= 0.5" in cell.error
        assert len(cell.of("display_data")) == 1
        assert "<td" in cell.shown["text/html"]
        for shown in (cell.shown["text/html"], cell.shown["text/plain"]):
            assert "✘ failed" in shown
            told = shown + cell.printed + cell.error
            assert html.unescape(told).count("score is 0.1, not >= 0.5") == 1
    assert "train a better one" in registered.error
    assert caught.printed.endswith("the run and its verdict are kept False\n")
    assert not caught.of("display_data", "error")


def test_a_sweep_ends_with_its_children(shell: Shell) -> None:
    write_notebook(
        shell.folder / "nb.ipynb",
        "depth: int = 1",
        "import mlflow\nmlflow.log_metric('score', depth)\nassert depth < 2, 'too deep'",
    )
    with Kernel(shell.folder, shell.env) as kernel:
        kernel.run("%load_ext mlops_nb")
        cell = kernel.run("%mlops sweep nb.ipynb -p depth=1,2 --parallel 2 --best max:score")
        assert cell.error.startswith("RunFailed: ")
        assert "1 of 2 children failed" in cell.error
        assert len(cell.of("display_data")) == 1
        for kind in ("text/plain", "text/html"):
            assert "★ best: " in cell.shown[kind]
            assert "✔ succeeded" in cell.shown[kind]
            assert "✘ failed" in cell.shown[kind]


def test_a_live_sweep_shows_its_children_while_they_run(shell: Shell) -> None:
    waiting = "while depth > 1 and not pathlib.Path('go').exists():\n    time.sleep(0.05)"
    notebook = write_notebook(
        shell.folder / "nb.ipynb",
        "depth: int = 1",
        f"import pathlib, time\n{waiting}",
        "import mlflow\nmlflow.log_metric('score', depth)",
    )
    with Kernel(shell.folder, shell.env, notebook) as kernel:
        kernel.run("%load_ext mlops_nb")
        cell = kernel.run("%mlops sweep nb.ipynb -p depth=1,2 --best max:score")
        kernel.listen_for(cell, ".1 ★")
        kernel.listen_for(cell, "▶ running 1/3")
        first, second = cell.shown["text/plain"].splitlines()[-3:-1]
        assert "✔ succeeded" in first
        assert "▶ running 1/3" in second
        again = kernel.run(f"%mlops show {shell.json('runs')['runs'][0]['id']}")
        assert "▶ running 1/3" in again.shown["text/plain"]
        (shell.folder / "go").touch()
        kernel.listen(lambda: cell.shown["text/plain"].count("✔ succeeded") == 2)


def test_shutting_the_kernel_down_ends_the_view_and_not_the_run(shell: Shell) -> None:
    notebook = write_notebook(shell.folder / "nb.ipynb", *UNTIL_TOLD)
    with Kernel(shell.folder, shell.env, notebook) as kernel:
        kernel.run("%load_ext mlops_nb")
        cell = kernel.run("%mlops train nb.ipynb")
        kernel.listen_for(cell, "half of it")
        kernel.shut_down()
    assert "Traceback" not in kernel.said.read_text()
    assert "Exception" not in kernel.said.read_text()
    (run,) = shell.json("runs")["runs"]
    assert run["state"] == "running"
    (shell.folder / "go").touch()
    wait_until((shell.run_folder(run["id"]) / "result.json").exists)
    assert shell.json("show", run["id"])["state"] == "succeeded"


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("trian nb.ipynb", "there is no verb 'trian'", "did you mean 'train'?"),
        ("train nb.ipynb -p lrr=1", "lrr", "did you mean"),
        ("train nb.ipynb -p lr=fast", "fast", ""),
        ("train nb.ipynb --gate 'score >>= 1'", "score >>= 1", ""),
        ("train nb.ipnyb", "nb.ipnyb", ""),
        ("train 'nb.ipynb", "No closing quotation", "close the quotation mark"),
        ("show churn-000000", "churn-000000", "mlops train NOTEBOOK"),
    ],
)
def test_a_slip_leaves_the_kernel_alive_and_says_the_next_step(
    live: Kernel, line: str, message: str, hint: str
) -> None:
    cell = live.run(f"%mlops {line}")
    assert message in cell.error
    assert hint in cell.error
    assert "site-packages" not in cell.error
    assert "mlops_nb/" not in cell.error
    assert not cell.of("display_data")
    assert alive(live)


def test_help_and_json_are_printed(live: Kernel) -> None:
    assert "usage: %mlops" in live.run("%mlops").printed
    assert "%mlops train churn.ipynb -p lr=0.05" in live.run("%mlops train --help").printed
    inspected = json.loads(live.run("%mlops inspect nb.ipynb --json").printed)
    assert [p["name"] for p in inspected["parameters"]] == ["lr", "model"]
    assert "learning rate" in live.run("%mlops inspect 'mein Heft.ipynb'").result


@pytest.mark.parametrize(
    ("line", "replaced", "among"),
    [
        ("%mlops tr", "tr", {"train"}),
        ("run = %mlops tr", "tr", {"train"}),
        ("%mlops ", "", {"init", "train", "rollback"}),
        ("%mlops train n", "n", {"nb.ipynb"}),
        ("%mlops train m", "m", {r"mein\ Heft.ipynb"}),
        ("%mlops train 'm", "'m", {"'mein Heft.ipynb"}),
        ("%mlops train nb.ipynb -p l", "l", {"lr="}),
        ("%mlops train nb.ipynb -p model=t", "model=t", {"model=tree"}),
        ("%mlops train nb.ipynb --ga", "--ga", {"--gate"}),
        ("x = 1\n%mlops hist", "hist", {"history"}),
    ],
)
def test_the_tab_key_knows_what_may_stand_here(
    live: Kernel, line: str, replaced: str, among: set[str]
) -> None:
    found = live.complete(line)
    assert found[0] == replaced
    assert among <= set(found[1])
    assert all(word.startswith(replaced) for word in found[1])


def test_completion_leaves_other_lines_alone(live: Kernel) -> None:
    live.run("%config Completer.use_jedi = False\nsome_mlops_value = 1")
    assert live.complete("some_mlo") == ("some_mlo", ["some_mlops_value"])
    assert live.complete("%mlo")[1] == ["%mlops"]


@pytest.mark.parametrize("tool", ["nbconvert", "papermill"])
def test_executed_as_a_batch_it_waits_and_the_saved_notebook_shows_the_end(
    shell: Shell, tool: str
) -> None:
    write_notebook(shell.folder / "other.ipynb", *UNTIL_TOLD[::2])
    outer = write_notebook(
        shell.folder / "outer.ipynb",
        '%load_ext mlops_nb\nrun = %mlops train other.ipynb -p lr=0.3 --gate "score > 0"',
        "print(run.state, run.metrics)",
        tag_first=False,
    )
    done = shell.folder / "done.ipynb"
    lines = {
        "nbconvert": ["nbconvert", "--to", "notebook", "--execute", "--output", "done.ipynb"],
        "papermill": ["papermill", "--no-progress-bar", "outer.ipynb"],
    }
    line = [*lines[tool], "outer.ipynb" if tool == "nbconvert" else "done.ipynb"]
    # Even where the tool was started from a cell of a live notebook, and inherits its mark.
    typed(shell, *line, JPY_SESSION_NAME=str(outer))
    first, second = json.loads(done.read_text())["cells"]
    (view,) = [out for out in first["outputs"] if out["output_type"] == "display_data"]
    assert "✔" in "".join(view["data"]["text/plain"])
    assert "succeeded" in "".join(view["data"]["text/html"])
    assert "succeeded {'score': 0.6}" in "".join(second["outputs"][0]["text"])
    for kind, name in (("html", "done.html"), ("markdown", "done.md")):
        typed(shell, "nbconvert", "--to", kind, "done.ipynb")
        page = (shell.folder / name).read_text()
        assert "succeeded" in page
        assert "score &gt; 0" in page


def typed(shell: Shell, *words: str, **env: str) -> None:
    module, *rest = words
    subprocess.run(
        [sys.executable, "-m", module, *rest],
        cwd=shell.folder,
        env={**shell.env, **env},
        check=True,
        capture_output=True,
        timeout=180,
    )
