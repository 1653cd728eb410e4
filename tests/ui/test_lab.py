"""The view of a run in a real JupyterLab and a real browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from lab import MILLISECONDS, Lab, served, wait_for, write_notebook
from playwright.sync_api import Browser, Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRAIN_ME = (
    "lr: float = 0.1  # learning rate",
    """import pathlib, time
print('epoch 1 of 4', flush=True)
while not pathlib.Path('go').exists():
    time.sleep(0.05)""",
    """import mlflow, pandas
mlflow.log_metrics({'accuracy': 0.9, 'loss': 0.21})
rows = range(200)
table = {
    'label': [1 for _ in rows],
    'prediction': [int(i % 5 > 0 or i % 2 > 0) for i in rows],
    'sex': ['female' if i % 2 else 'male' for i in rows],
}
mlflow.log_table(pandas.DataFrame(table), 'evaluation.json')""",
)
LINE = (
    "%load_ext mlops_nb\n"
    "%mlops train train_me.ipynb -p lr=0.05 --gate 'accuracy >= 0.8' "
    "--gate 'gap(accuracy, by=sex) <= 0.05'"
)


@pytest.fixture(scope="module")
def lab(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, migrated_store: Path
) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("home")
    folder = tmp_path_factory.mktemp("lab") / "work"
    (folder / ".mlops").mkdir(parents=True)
    (folder / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    with served(folder, home) as started:
        yield started


def test_the_view_goes_on_after_its_cell_and_the_saved_notebook_shows_the_end(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    write_notebook(lab.folder / "train_me.ipynb", *TRAIN_ME)
    write_notebook(lab.folder / "mine.ipynb", LINE, "'another cell'")
    lab.open(page, "mine.ipynb")
    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    output = page.locator(".jp-NotebookPanel .jp-Cell").first.locator(".jp-OutputArea")
    other = page.locator(".jp-NotebookPanel .jp-Cell").nth(1)
    # The second cell is done, so the first is; the run waits for the file `go`.
    expect(other.locator(".jp-OutputArea-output")).to_have_text(
        "'another cell'", timeout=MILLISECONDS
    )
    expect(output).to_contain_text("running", timeout=MILLISECONDS)
    expect(output).to_contain_text("epoch 1 of 4", timeout=MILLISECONDS)
    expect(output).to_contain_text("cell 2 of 3")
    expect(output.locator("progress")).to_have_attribute("value", "1")
    page.screenshot(path=tmp_path / "running.png")
    (lab.folder / "go").touch()
    expect(output).to_contain_text("succeeded", timeout=MILLISECONDS)
    expect(output.locator("table").first).to_contain_text("gap(accuracy, by=sex) <= 0.05")
    expect(output).to_contain_text("1 of 2 gates did not pass")
    page.screenshot(path=tmp_path / "ended.png")
    page.evaluate(
        "void jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    expect(page.locator("body[data-jp-theme-light=false]")).to_be_attached()
    page.screenshot(path=tmp_path / "ended-dark.png")

    page.evaluate("void jupyterapp.commands.execute('docmanager:save')")
    wait_for(lambda: "gates did not pass" in (lab.folder / "mine.ipynb").read_text())
    page.reload()
    expect(output).to_contain_text("1 of 2 gates did not pass", timeout=MILLISECONDS)
    expect(output).to_contain_text("accuracy")


def test_a_notebook_from_somebody_else_shows_the_verdict(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    """Untrusted: Lab drops scripts, styles and whatever else could do harm."""
    from mlops_nb.core.gate import Check, Outcome, Verdict
    from mlops_nb.core.run import Run, RunState
    from mlops_nb.display import html, text

    run = Run(
        id="credit-3fa9c1",
        notebook="credit.ipynb",
        state=RunState.SUCCEEDED,
        metrics={"accuracy": 0.9},
        parameters={"lr": 0.05},
        verdict=Verdict(
            checks=(
                Check(
                    gate="gap(accuracy, by=sex) <= 0.05",
                    outcome=Outcome.FAILED,
                    value=0.2,
                    low=0.12,
                    high=0.28,
                    threshold=0.05,
                    n=200,
                    reason="the worst group is worse than it may be, " * 4,
                ),
            )
        ),
    )
    write_notebook(lab.folder / "theirs.ipynb", "%mlops train credit.ipynb")
    notebook = json.loads((lab.folder / "theirs.ipynb").read_text())
    data = {
        "text/plain": text(run),
        "text/html": html(run) + "<script>document.title='x'</script>",
    }
    notebook["cells"][0]["outputs"] = [
        {"output_type": "display_data", "data": data, "metadata": {}}
    ]
    (lab.folder / "theirs.ipynb").write_text(json.dumps(notebook))
    lab.open(page, "theirs.ipynb")
    output = page.locator(".jp-NotebookPanel .jp-OutputArea")
    expect(output.locator("table").first).to_contain_text("the worst group is worse")
    assert output.locator("script").count() == 0
    state = output.get_by_text("✔").first
    assert state.evaluate("e => getComputedStyle(e).color") == "rgb(37, 136, 61)"
    box = output.locator("table").first.bounding_box()
    assert box
    assert box["x"] + box["width"] <= 1180
    page.screenshot(path=tmp_path / "untrusted.png")


def test_a_form_in_a_cell_runs_its_notebook(lab: Lab, page: Page, tmp_path: Path) -> None:
    quick = ("lr: float = 0.1  # learning rate", "import mlflow\nmlflow.log_metric('f1', lr)")
    write_notebook(lab.folder / "quick.ipynb", *quick)
    write_notebook(lab.folder / "form.ipynb", "import mlops_nb\nmlops_nb.form('quick.ipynb')")
    lab.open(page, "form.ipynb")
    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    output = page.locator(".jp-NotebookPanel .jp-OutputArea")
    field = output.get_by_label("lr", exact=True)
    field.fill("fast")
    output.get_by_role("button", name="Run").click()
    expect(output.get_by_role("alert")).to_contain_text("'fast' is not float")
    field.fill("0.5")
    output.get_by_label("gates").fill("f1 >= 0.9")
    output.get_by_role("button", name="Run").click()
    expect(output).to_contain_text("1 of 1 gates did not pass")
    page.screenshot(path=tmp_path / "form.png")
