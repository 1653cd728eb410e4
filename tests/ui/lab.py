"""A real JupyterLab and a real browser, for the tests of what people see."""

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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

# What a busy machine may need for a page, a kernel, a run.
MILLISECONDS = 120_000
expect.set_options(timeout=MILLISECONDS)
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
# A hub gives each person an address of its own.
BASE = "/user/ann@b/"
READY = (
    "jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status"
    " === 'idle'"
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


@contextmanager
def served(
    folder: Path, home: Path, *words: str, python: str = sys.executable
) -> Iterator[Lab]:
    """Start a JupyterLab that shows `folder`, with settings of nobody.

    Args:
        folder: what it shows.
        home: where it keeps what is its own.
        words: further words of its line.
        python: the interpreter it is installed for.
    """
    news = home / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    news.parent.mkdir(parents=True, exist_ok=True)
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
        "PATH": os.pathsep.join([str(Path(python).parent), os.environ["PATH"]]),
    }
    line = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.base_url={BASE}",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True",
        *words,
    ]
    with (home / "lab.log").open("a") as log:
        server = subprocess.Popen(
            [python, "-m", "jupyterlab", *line], env=env, cwd=folder, stdout=log, stderr=log
        )
    try:
        started = Lab(f"http://127.0.0.1:{port}{BASE}", token, folder, home / "data")
        wait_for_server(started, server, home / "lab.log")
        yield started
    finally:
        # It ends its kernels before itself.
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            raise


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MILLISECONDS / 1000
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def wait_for_server(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{lab.url}api/status?token={lab.token}", timeout=5)  # noqa: S310  # our own server
        except OSError:
            return False
        return True

    wait_for(answers)


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
