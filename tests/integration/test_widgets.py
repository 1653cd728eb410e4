"""Views in a cell: pressed as a front end presses them, and read where there is none."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from shell import Shell, rehearsing, write_notebook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SLOW = ("lr: float = 0.1\nkind: str = 'plain'", "import time\ntime.sleep(60)")
QUICK = ("lr: float = 0.1", "import mlflow\nmlflow.log_metric('accuracy', lr)")


@pytest.fixture
def shell(tmp_path: Path, migrated_store: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    shell = Shell(tmp_path)
    shell.type("init")
    monkeypatch.chdir(tmp_path)
    # A person sits before it: what goes on is followed beside the cell.
    monkeypatch.setattr("mlops_nb.widgets.is_live", lambda: True)
    return shell


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def state(view: Any) -> str:
    return str(view.run.state)


def test_a_form_refuses_a_wrong_value_and_runs_with_a_right_one(shell: Shell) -> None:
    import mlops_nb

    write_notebook(shell.folder / "quick.ipynb", *QUICK)
    form: Any = mlops_nb.form("quick.ipynb")
    assert "lr" in repr(form)
    form.fields["lr"].value = "fast"
    form.button.click()
    assert "is not float" in form.trouble
    assert [each for each in form.children if each is form.started] == []
    form.fields["lr"].value = "0.5"
    form.gates.value = "accuracy >= 0.9"
    form.button.click()
    assert form.trouble == ""
    assert form.started in form.children
    until(lambda: form.started.run.state.is_final)
    until(lambda: form.started.run.verdict is not None)
    assert form.started.run.parameters == {"lr": 0.5}
    assert "1 of 1 gates did not pass" in form.started.children[1].value


def test_a_run_is_followed_and_cancelled(shell: Shell) -> None:
    import mlops_nb

    run = shell.detach(write_notebook(shell.folder / "slow.ipynb", *SLOW))
    view = mlops_nb.live(run["id"])
    until(lambda: state(view) == "running" and view.run.cells_done == 1)
    assert "running" in view.children[1].value
    view.children[0].click()
    until(lambda: state(view) == "cancelled")
    until(lambda: view.children[0].layout.display == "none")
    assert view.trouble == ""


def test_a_canary_is_watched_and_steered(shell: Shell) -> None:
    import mlops_nb

    cells = (
        "import mlflow, numpy\nfrom sklearn.linear_model import LogisticRegression\n"
        "rows = numpy.random.default_rng(0).normal(size=(50, 3))\n"
        "fitted = LogisticRegression().fit(rows, rows.sum(axis=1) > 0)\n"
        "mlflow.log_metric('accuracy', 1.0)\n"
        "mlflow.sklearn.log_model(fitted, name='model', serialization_format='skops')"
    )
    notebook = write_notebook(shell.folder / "m.ipynb", "seed = 1", cells)
    for _ in range(2):
        shell.train(notebook, "--register", "m")
    with rehearsing(shell, "dev", "cluster", "--speed", "1"):
        shell.type("deploy", "m/1", "--to", "prod")
        shell.type("merge", "1")
        view: Any = mlops_nb.canary("m", "prod")
        until(lambda: view.value.stage == "healthy")
        shell.type("deploy", "m/2", "--to", "prod")
        shell.type("merge", "2")
        view = mlops_nb.canary("m", "prod")
        until(lambda: view.value.stage == "canary")
        until(lambda: "5 %" in repr(view))
        shown = {b.description for b in view.children[0].children if not b.layout.display}
        assert {"Promote", "Abort"} <= shown
        view.children[0].children[1].click()
        until(lambda: view.value.stage == "aborted")


def test_a_batch_waits_and_its_file_can_be_read_without_a_widget(shell: Shell) -> None:
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    write_notebook(shell.folder / "quick.ipynb", *QUICK)
    batch = write_notebook(
        shell.folder / "batch.ipynb",
        "import mlops_nb\nrun = mlops_nb.train('quick.ipynb', wait=False)\n"
        "mlops_nb.live(run.id)",
        "mlops_nb.form('quick.ipynb')",
    )
    notebook = nbformat.reads(batch.read_text(), as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(shell.folder)}}
    words: dict[str, Any] = {
        "timeout": 120,
        "resources": resources,
        "store_widget_state": False,
    }
    NotebookClient(notebook, **words).execute()
    first, second = (cell.outputs[-1].data for cell in notebook.cells)
    for data in (first, second):
        assert {"text/plain", "text/html"} <= set(data)
    assert "succeeded" in first["text/plain"]
    assert "succeeded" in first["text/html"]
    assert "lr" in second["text/plain"]
    exporter: Any = HTMLExporter  # it has no types
    page, _ = exporter().from_notebook_node(notebook)
    assert "succeeded" in page
    assert json.loads(json.dumps(first))
