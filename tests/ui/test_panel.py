"""The panel in a real JupyterLab and browser, from a wheel in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import MILLISECONDS, READY, Lab, served, wait_for, write_notebook
from playwright.sync_api import Browser, Locator, Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
AXE = ROOT / ".venv" / "axe" / "axe.min.js"
SHOTS = Path(os.environ.get("MLOPS_NB_SHOTS", ""))
TRAIN = (
    "lr: float = 0.1  # learning rate\nkind: str = 'plain'  # what is trained",
    """import pathlib, time
print('epoch 1 of 2', flush=True)
while not pathlib.Path('go').exists():
    time.sleep(0.05)""",
    """import mlflow, numpy, pandas
from sklearn.linear_model import LogisticRegression
rows = numpy.random.default_rng(0).normal(size=(400, 3))
truth = rows.sum(axis=1) > 0
fitted = LogisticRegression(C=lr).fit(rows, truth)
found = fitted.predict(rows)
for step in range(3):
    mlflow.log_metric('loss', 1 / (step + 1), step=step)
    time.sleep(2.5)
mlflow.log_metric('accuracy', float((found == truth).mean()))
mlflow.sklearn.log_model(fitted, name='model', serialization_format='skops')
table = {'label': truth.astype(int), 'prediction': found.astype(int)}
mlflow.log_table(pandas.DataFrame(table), 'evaluation.json')""",
)


@pytest.fixture(scope="module")
def python(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter of an environment into which nothing but the wheel was installed."""
    if not UV.exists() or not (ROOT / "mlops_nb" / "labextension" / "package.json").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("the panel is not built: see `.ci/setup panel`")
        pytest.skip("the panel is not built: see `make panel`")
    folder = tmp_path_factory.mktemp("installed")
    environment = {k: v for k, v in os.environ.items() if k != "HTTPS_PROXY"}

    def uv(*words: str | Path) -> None:
        done = subprocess.run(
            [UV, *words], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    uv("build", "--quiet", "--wheel", "--out-dir", folder)
    uv("venv", "--quiet", "--python", sys.executable, folder / "venv")
    interpreter = folder / "venv" / "bin" / "python"
    # The notebook's own needs come along, as on anybody's machine.
    needs = (next(folder.glob("*.whl")), "scikit-learn", "skops", "pandas")
    constraints = ("-c", ROOT / ".ci" / "constraints.txt")
    uv("pip", "install", "--quiet", "--python", interpreter, *constraints, *needs)
    return str(interpreter)


@pytest.fixture
def lab(python: str, tmp_path: Path, migrated_store: Path) -> Iterator[Lab]:
    folder = tmp_path / "work"
    (folder / ".mlops").mkdir(parents=True)
    (folder / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    write_notebook(folder / "churn.ipynb", *TRAIN)
    with served(folder, tmp_path / "home", python=python) as started:
        yield started


def panel(page: Page) -> Locator:
    page.evaluate("void jupyterapp.commands.execute('mlops-nb:open')")
    found = page.locator("#mlops-nb-panel")
    expect(found).to_be_visible()
    return found


def tab(shown: Locator, name: str) -> None:
    shown.get_by_role("tab", name=name, exact=True).click()


def press(shown: Locator, name: str) -> None:
    shown.locator("#mlops-view").get_by_role("button", name=name, exact=True).first.click()


def agree(page: Page) -> None:
    page.locator(".jp-Dialog .jp-mod-accept").click()


def picture(page: Page, name: str, folder: Path) -> None:
    """Keep a picture, where they are asked for, else with the test's own files."""
    page.screenshot(path=(SHOTS if SHOTS.name else folder) / f"{name}.png")


def faults(page: Page) -> list[str]:
    """Give what axe finds serious in the panel."""
    if not AXE.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{AXE} is missing: `.ci/setup test` gets it by npm")
        return []
    page.evaluate(AXE.read_text())
    found: Any = page.evaluate("axe.run('#mlops-nb-panel')")
    return [
        f"{each['id']}: {node['html'][:160]}"
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]


def test_from_the_notebook_to_a_rollback(  # noqa: PLR0915  # one story, as it is told
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    lab.open(page, "churn.ipynb")
    shown = panel(page)
    tab(shown, "Setup")
    press(shown, "Set up this folder")
    expect(shown.get_by_text("environments")).to_be_visible()
    assert (lab.folder / "mlops.toml").is_file()
    press(shown, "Check every part")
    expect(shown.get_by_role("list", name="Checks").locator("li")).to_have_count(4)
    assert faults(page) == []

    tab(shown, "Run")
    field = shown.get_by_label("lr", exact=True)
    field.fill("fast")
    press(shown, "Run")
    expect(shown.locator("#mlops-parameter-lr-error")).to_contain_text("'fast' is not float")
    expect(field).to_have_value("fast")
    assert faults(page) == []
    field.fill("0.5")
    expect(shown.get_by_text("changed", exact=True)).to_be_visible()
    shown.get_by_text("Gates, registry, deployment").click()
    shown.get_by_label("Gates, one a line").fill("accuracy >= 0.8")
    picture(page, "form", tmp_path)
    press(shown, "Run")
    run = shown.get_by_role("article")
    expect(run).to_contain_text("cell 2 of 3")
    expect(run).to_contain_text("epoch 1 of 2")
    picture(page, "running", tmp_path)
    (lab.folder / "go").touch()
    expect(run).to_contain_text("succeeded")
    expect(run.get_by_role("img", name="loss: 3 values, from 1 to 0.3333")).to_be_visible()
    expect(run.get_by_role("table", name="Gates")).to_contain_text("accuracy >= 0.8")
    expect(run.get_by_role("table", name="Gates")).to_contain_text("passed")
    assert faults(page) == []
    run.get_by_label("Register as").fill("churn")
    press(shown, "Register")
    expect(run.get_by_text("churn/1")).to_be_visible()
    picture(page, "run", tmp_path)

    deploy(shown, page, 1, tmp_path)
    expect(shown.get_by_text("Git says 1", exact=False)).to_be_visible()
    tab(shown, "Run")
    shown.get_by_label("lr", exact=True).fill("0.25")
    shown.get_by_label("Register as").fill("churn")
    press(shown, "Run")
    expect(run).to_contain_text("churn/2")
    deploy(shown, page, 2, tmp_path)
    press(shown, "Roll back …")
    expect(shown.get_by_text("What the return meets")).to_be_visible()
    shown.get_by_label("Why, for the record").fill("wrong prices")
    press(shown, "Open the pull request")
    press(shown, "Merge #3")
    agree(page)
    expect(shown.get_by_text("Git says 1", exact=False)).to_be_visible()
    shown.get_by_text("History").click()
    rows = shown.locator(".mlops-History li")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("rollback churn 2 → 1")
    expect(rows.first).to_contain_text("wrong prices")
    assert faults(page) == []
    picture(page, "deployments", tmp_path)
    tab(shown, "Models")
    expect(shown.get_by_role("region", name="churn")).to_contain_text("champion")
    assert faults(page) == []
    page.evaluate(
        "void jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    expect(page.locator("body[data-jp-theme-light=false]")).to_be_attached()
    assert faults(page) == []
    picture(page, "models-dark", tmp_path)
    assert errors == []


def deploy(shown: Locator, page: Page, number: int, folder: Path) -> None:
    """Bring the version that is looked at to prod."""
    press(shown, "Deploy …")
    expect(shown.get_by_text(f"→ {number} in prod")).to_be_visible()
    shown.get_by_text("Manifest diff: ").click()
    expect(shown.locator(".mlops-Diff")).to_contain_text(f"models:/churn/{number}")
    assert faults(page) == []
    picture(page, f"deploy-{number}", folder)
    press(shown, "Open the pull request")
    press(shown, f"Merge #{number}")
    agree(page)
    expect(shown.get_by_role("button", name=f"Merge #{number}")).to_have_count(0)


def start(lab: Lab, page: Page) -> Locator:
    """Run the notebook from the panel; it waits in its second cell."""
    lab.open(page, "churn.ipynb")
    shown = panel(page)
    press(shown, "Run")
    expect(shown.get_by_role("article")).to_contain_text("cell 2 of 3")
    return shown


@contextmanager
def released(folder: Path) -> Iterator[None]:
    """Let a run that waits go on in the end, whatever became of the test."""
    try:
        yield
    finally:
        (folder / "go").touch()


def test_nothing_is_lost_by_a_reload_a_second_window_a_kernel_or_a_server(
    python: str, browser: Browser, tmp_path: Path, migrated_store: Path
) -> None:
    folder = tmp_path / "work"
    (folder / ".mlops").mkdir(parents=True)
    (folder / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    write_notebook(folder / "churn.ipynb", *TRAIN)
    context = browser.new_context(viewport={"width": 1180, "height": 900})
    context.set_default_timeout(MILLISECONDS)
    page, other = context.new_page(), context.new_page()
    with released(folder), served(folder, tmp_path / "home", python=python) as lab:
        lab.open(page, "churn.ipynb")
        shown = panel(page)
        shown.get_by_label("lr", exact=True).fill("0.75")
        time.sleep(1)  # what is typed is kept after a moment
        page.reload()
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        shown = panel(page)
        expect(shown.get_by_label("lr", exact=True)).to_have_value("0.75")
        press(shown, "Run")
        expect(shown.get_by_role("article")).to_contain_text("cell 2 of 3")
        other.goto(f"{lab.url}lab/workspaces/other/tree/churn.ipynb?token={lab.token}")
        other.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        theirs = panel(other)
        tab(theirs, "Runs")
        row = theirs.locator(".mlops-RunRow")
        expect(row).to_contain_text("running")
        page.reload()
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        page.wait_for_function(READY)
        # A server that is to end while a kernel starts anew never does.
        page.evaluate(
            "jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()"
        )
        page.wait_for_function(READY)
        shown = panel(page)
        tab(shown, "Runs")
        expect(shown.locator(".mlops-RunRow")).to_contain_text("1/3")
    # The server is gone; the run is not, until now.
    with served(folder, tmp_path / "home", python=python) as lab:
        lab.open(page, "churn.ipynb")
        shown = panel(page)
        tab(shown, "Runs")
        expect(shown.locator(".mlops-RunRow")).to_contain_text("succeeded")
    context.close()


def test_a_run_is_cancelled_and_failed_cells_are_opened(lab: Lab, page: Page) -> None:
    shown = start(lab, page)
    press(shown, "Cancel")
    expect(shown.get_by_role("article")).to_contain_text("cancelled")
    write_notebook(lab.folder / "broken.ipynb", "lr = 0.1", "1 / 0")
    page.evaluate("void jupyterapp.commands.execute('docmanager:open', {path: 'broken.ipynb'})")
    expect(shown.get_by_role("form", name="Run broken.ipynb")).to_have_count(0)
    tab(shown, "Run")
    expect(shown.get_by_role("form", name="Run broken.ipynb")).to_be_visible()
    press(shown, "Run")
    expect(shown.get_by_role("alert")).to_contain_text("ZeroDivisionError")
    press(shown, "Open at the failed cell")
    wait_for(lambda: bool(list(lab.folder.glob("broken-*.executed.ipynb"))))
    expect(page.locator(".jp-NotebookPanel:visible .jp-mod-active")).to_contain_text("1 / 0")


def test_it_fits_a_narrow_place_and_is_reached_by_the_keyboard(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    lab.open(page, "churn.ipynb")
    shown = panel(page)
    box = shown.bounding_box()
    assert box
    assert box["width"] <= 320
    for name in ("Run", "Runs", "Models", "Deploy", "Setup"):
        tab(shown, name)
        wide = shown.evaluate("e => [e.scrollWidth, e.clientWidth]")
        assert wide[0] <= wide[1], name
        picture(page, f"narrow-{name.lower()}", tmp_path)
    shown.get_by_role("tab", name="Setup").press("Home")
    expect(shown.get_by_role("tab", name="Run", exact=True)).to_be_focused()
    expect(shown.get_by_label("lr", exact=True)).to_be_visible()
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.closest('#mlops-view') !== null")
    assert focused


def test_a_cell_is_tagged_from_the_panel(lab: Lab, page: Page) -> None:
    write_notebook(lab.folder / "bare.ipynb", "import os", "lr = 0.1", "print(lr)")
    lab.open(page, "bare.ipynb")
    shown = panel(page)
    page.locator(".jp-NotebookPanel .jp-Cell").nth(1).click()
    press(shown, "Tag the selected cell")
    expect(shown.get_by_label("lr", exact=True)).to_be_visible()
    wait_for(lambda: '"parameters"' in (lab.folder / "bare.ipynb").read_text())


def test_on_a_rehearsed_kubeflow_a_run_is_started_and_cancelled(
    python: str, tmp_path: Path, page: Page, migrated_store: Path
) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "integration"))
    from shell import Shell, rehearsing

    folder = tmp_path / "work"
    (folder / ".mlops").mkdir(parents=True)
    (folder / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    write_notebook(folder / "churn.ipynb", *TRAIN)
    shell = Shell(folder)
    shell.type("init")
    with (
        rehearsing(shell, "dev", "kubeflow"),
        served(folder, tmp_path / "home", python=python) as lab,
    ):
        lab.open(page, "churn.ipynb")
        shown = panel(page)
        press(shown, "Run on Kubeflow")
        run = shown.get_by_role("article")
        expect(run).to_contain_text("cell 2 of 3")
        press(shown, "Cancel")
        expect(run).to_contain_text("cancelled")
        tab(shown, "Runs")
        press(shown, "← All runs")
        expect(shown.locator(".mlops-RunRow")).to_contain_text("cancelled")


def test_binder_opens_the_tour_with_the_panel_beside_it(
    python: str, tmp_path: Path, page: Page
) -> None:
    folder = tmp_path / "work"
    (folder / "examples").mkdir(parents=True)
    for name in ("tour.ipynb", "credit.ipynb"):
        shutil.copy(ROOT / "examples" / name, folder / "examples")
    workspaces = tmp_path / "home" / "workspaces"
    environment = os.environ | {
        "HOME": str(tmp_path / "home"),
        "JUPYTERLAB_WORKSPACES_DIR": str(workspaces),
        "PATH": os.pathsep.join([str(Path(python).parent), os.environ["PATH"]]),
    }
    subprocess.run([ROOT / "binder" / "postBuild"], cwd=ROOT, env=environment, check=True)
    with served(folder, tmp_path / "home", python=python) as lab:
        page.goto(f"{lab.url}lab?token={lab.token}")
        expect(page.locator(".jp-NotebookPanel")).to_contain_text("to production traffic")
        shown = page.locator("#mlops-nb-panel")
        expect(shown).to_be_visible()
        expect(shown.get_by_role("heading", name="tour.ipynb")).to_be_visible()
        picture(page, "binder", tmp_path)
