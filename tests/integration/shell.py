"""A project in a temporary folder and the shell lines a user would type in it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MLOPS = Path(sys.executable).with_name("mlops")


def write_notebook(path: Path, *sources: str, tag_first: bool = True) -> Path:
    """Write a notebook of code cells; the first is tagged `parameters`."""
    cells: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {"tags": ["parameters"]} if i == 0 and tag_first else {},
            "execution_count": None,
            "outputs": [],
            "source": source,
        }
        for i, source in enumerate(sources)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(
        json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "metadata": {"kernelspec": kernel},
                "cells": cells,
            }
        )
    )
    return path


class Shell:
    """Types lines in a project's folder.

    Args:
        folder: the project.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MLFLOW_", "MLOPS_", "JPY_", "GIT_"))
        } | {
            "GIT_CONFIG_GLOBAL": str(folder / ".gitconfig"),
            "HOME": str(folder),
            "PYTHONWARNINGS": "ignore",
            "COLUMNS": "100",
            "KEYRING_BACKEND": "keyring.backends.null.Keyring",
            # Images are looked for at their registry, which is outside of this machine.
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1,localhost,::1",
        }
        (folder / ".gitconfig").write_text("[user]\nname = Ann Lee\nemail = ann@example.com\n")

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(MLOPS), *words],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def type(self, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Type a line; its exit code must be `code`."""
        process = self.start(*words, **env)
        out, err = process.communicate(timeout=180)
        assert process.returncode == code, f"{words}: {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def json(self, *words: str, code: int = 0, **env: str) -> Any:
        """Type a line with --json; give the document it prints."""
        return json.loads(self.type(*words, "--json", code=code, **env).stdout)

    def train(self, notebook: Path, *words: str, code: int = 0, **env: str) -> Any:
        """Train and give the run as JSON."""
        return self.json("train", str(notebook), *words, code=code, **env)

    def detach(self, notebook: Path, *words: str) -> Any:
        """Train detached and give the run as JSON."""
        return self.train(notebook, "--detach", *words)

    def run_folder(self, run_id: str) -> Path:
        return self.folder / ".mlops" / "runs" / run_id

    def wait_for(self, run_id: str, text: str) -> None:
        """Wait until the run's log holds a text."""
        log = self.run_folder(run_id) / "log.txt"
        wait_until(lambda: log.exists() and text in log.read_text())

    def runner(self, run_id: str) -> psutil.Process:
        pid, _, _ = (self.run_folder(run_id) / "runner.pid").read_text().partition(" ")
        return psutil.Process(int(pid))

    def mlflow(self) -> Any:
        return mlflow.MlflowClient(f"sqlite:///{self.folder}/.mlops/mlflow.db")

    def status(self, tracking_id: str) -> str:
        status: str = self.mlflow().get_run(tracking_id).info.status
        return status


@contextmanager
def rehearsing(
    shell: Shell, *words: str, stop: signal.Signals = signal.SIGINT
) -> Iterator[None]:
    """Have `mlops dev WHAT` run in a shell's project, on free ports, until the end."""
    ports = ["--port", str(free_port())]
    if "kubeflow" in words:
        ports += ["--tracking-port", str(free_port())]
    server = shell.start(*words, *ports)
    assert server.stdout is not None
    assert server.stderr is not None
    said = ""
    while "Ctrl-C stops" not in said:
        line = server.stdout.readline()
        assert line, server.stderr.read()
        said += line
    assert "wrote " in said
    try:
        yield
    finally:
        server.send_signal(stop)
        server.communicate(timeout=60)
        assert server.returncode == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def outputs(path: Path) -> Sequence[str]:
    """Give the text that each code cell of an executed notebook printed."""
    cells = json.loads(path.read_text())["cells"]
    return [
        "".join(
            "".join(out.get("text", ""))
            if out["output_type"] == "stream"
            else out.get("ename", "")
            for out in cell["outputs"]
        )
        for cell in cells
        if cell["cell_type"] == "code"
    ]
