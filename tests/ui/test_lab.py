"""The view of a run in a real JupyterLab and a real browser."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What a busy machine may need for a page, a kernel, a run.
MILLISECONDS = 120_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# The status bar says Idle too early; a cell that is run then asks for a kernel.
READY = (
    "jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status"
    " === 'idle'"
)
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


def chromium() -> str:
    """Give the browser's path; without one, skip, but not where it must be tested."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = [path for name in names if (path := shutil.which(name))]
    for app in ("Chromium", "Google Chrome"):
        program = Path(f"/Applications/{app}.app/Contents/MacOS/{app}")
        found += [str(program)] if program.exists() else []
    if found:
        return found[0]
    missing = "there is no Chromium: apt-get install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@dataclass
class Lab:
    """A running JupyterLab.

    Args:
        url: its address.
        token: what its pages ask for.
        folder: what it shows.
        data: its data directory, with the signatures of trusted notebooks.
    """

    url: str
    token: str
    folder: Path
    data: Path

    def open(self, page: Page, name: str) -> None:
        page.goto(f"{self.url}lab/tree/{name}?token={self.token}&reset")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=MILLISECONDS)
        page.wait_for_function(READY, timeout=MILLISECONDS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def lab(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, migrated_store: Path
) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("home")
    folder = tmp_path_factory.mktemp("lab") / "work"
    (folder / ".mlops").mkdir(parents=True)
    (folder / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    news = home / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_", "MLOPS"))
    }
    env |= {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    words = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True",
    ]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words], env=env, stdout=log, stderr=log
        )
    try:
        started = Lab(f"http://127.0.0.1:{port}/", token, folder, home / "data")
        wait_for_server(started, server, home / "lab.log")
        yield started
    finally:
        # It ends its kernels before itself.
        server.terminate()
        server.wait(60)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MILLISECONDS / 1000
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def wait_for_server(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{lab.url}api/status?token={lab.token}", timeout=5)  # noqa: S310  # our own server
        except OSError:
            return False
        return True

    wait_for(answers)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1180, "height": 900})
    context.set_default_timeout(MILLISECONDS)
    yield context.new_page()
    context.close()


def write_notebook(path: Path, *sources: str) -> None:
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for number, source in enumerate(sources)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}}
    path.write_text(json.dumps({**notebook, "cells": cells}))


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
