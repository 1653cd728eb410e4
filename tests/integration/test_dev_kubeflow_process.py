"""The stand-in for Kubeflow as a program of its own: start, stop, sudden death."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kfp
import pytest
from test_dev_kubeflow import compiled, sleeper, until

PROGRAM = [sys.executable, "-m", "mlops_nb.dev.kubeflow"]


@contextmanager
def program(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], kfp.Client]]:
    """Start the program; give it with a client for it."""
    line = [*PROGRAM, "--folder", str(folder), "--port", "0", *words]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = process.stdout.readline()
        address = re.search(r"http://\S+", said)
        assert address, said
        try:
            yield process, kfp.Client(host=address[0])
        finally:
            process.kill()


def sleeping(client: Any, folder: Path) -> tuple[str, int]:
    """Start a run that sleeps; give its id and the number of its process."""
    path = compiled(sleeper, folder / "sleeper.yaml")
    run_id = client.create_run_from_pipeline_package(str(path)).run_id
    log = until(lambda: [*folder.rglob(f"runs/{run_id}/*/log.txt")])[0]
    until(lambda: "asleep" in log.read_text())
    work = str(log.parent / "work")
    links = [p for p in Path("/proc").glob("[0-9]*/cwd") if _where(p) == work]
    return run_id, int(links[0].parent.name)


def _where(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    with program(tmp_path / "d") as (process, client):
        run_id, pid = sleeping(client, tmp_path)
        process.send_signal(number)
        assert process.wait(10) == 0
        until(lambda: _gone(pid), 3)
    with program(tmp_path / "d") as (_, client):
        assert client.get_run(run_id).state == "FAILED"


def test_after_sudden_death_the_run_is_failed_and_its_processes_are_gone(
    tmp_path: Path,
) -> None:
    with program(tmp_path / "d") as (process, client):
        run_id, pid = sleeping(client, tmp_path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert not _gone(pid)
    with program(tmp_path / "d") as (_, client):
        run = client.get_run(run_id)
        assert run.state == "FAILED"
        assert run.state_history[-1].state == "FAILED"
        until(lambda: _gone(pid), 3)


def test_faults_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps([{"match": "GET /apis/v2beta1/experiments", "status": 500}]))
    with program(tmp_path / "d", "--fail", str(path)) as (_, client):
        with pytest.raises(Exception, match="500"):
            client.list_experiments()
        assert client.list_experiments().total_size == 1


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--parallel", "0"], 2, "parallel is 0"),
        (["--timezone", "Mars/North"], 2, "no time zone Mars/North"),
        (["--fail", "/nowhere.json"], 2, "cannot read /nowhere.json"),
        (["--port", "70000"], 2, "port is 70000"),
    ],
)
def test_wrong_words(tmp_path: Path, words: list[str], code: int, text: str) -> None:
    line = [*PROGRAM, "--folder", str(tmp_path), *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = [*PROGRAM, "--folder", str(tmp_path), "--port", str(taken.getsockname()[1])]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (4, False)
    assert "cannot serve" in done.stderr


def test_a_folder_that_is_in_use(tmp_path: Path) -> None:
    with program(tmp_path / "d"):
        line = [*PROGRAM, "--folder", str(tmp_path / "d"), "--port", "0"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "is used by another server" in done.stderr


def test_the_server_loads_no_vendor_sdk() -> None:
    code = "import mlops_nb.dev.kubeflow.__main__, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {
        "kfp",
        "kfp_server_api",
        "kubernetes",
        "mlflow",
        "requests",
        "pydantic",
    }
