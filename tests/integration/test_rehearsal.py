"""`mlops dev kubeflow` as a program: how it ends, and words that it cannot take."""

from __future__ import annotations

import re
import signal
import socket
from itertools import pairwise
from typing import TYPE_CHECKING

import psutil
import pytest
from shell import Shell, free_port, rehearsing, wait_until

if TYPE_CHECKING:
    from pathlib import Path


def servers(port: int) -> list[psutil.Process]:
    """Give the processes of the tracking server on a port."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "--tracking-port" not in (words := process.info["cmdline"] or [])
        and ["--port", str(port)] in [list(pair) for pair in pairwise(words)]
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_while_it_starts_it_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    shell = Shell(tmp_path)
    shell.type("init")
    before = (tmp_path / "mlops.toml").read_text()
    port, tracking = free_port(), free_port()
    words = ("--port", str(port), "--tracking-port", str(tracking))
    process = shell.start("dev", "kubeflow", *words)
    wait_until(lambda: bool(servers(tracking)))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, ""), err
    assert servers(tracking) == []
    assert (tmp_path / "mlops.toml").read_text() == before


def test_the_end_of_its_terminal_ends_both_servers(
    tmp_path: Path, migrated_store: Path
) -> None:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    shell = Shell(tmp_path)
    shell.type("init")
    with rehearsing(shell, "dev", "kubeflow", stop=signal.SIGHUP):
        settings = (tmp_path / "mlops.toml").read_text()
        found = re.search(r'^tracking_uri = "http://127.0.0.1:(\d+)"', settings, re.MULTILINE)
        assert found is not None
        assert servers(int(found[1]))
    assert servers(int(found[1])) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tracking-port", "70000"), "tracking-port is 70000; it must be from 1 to 65535"),
        (("--tracking-port", "0"), "tracking-port is 0;"),
        (("--port", "70000"), "port is 70000; it must be from 0 to 65535"),
        (("--gpus", "-1"), "gpus is -1; it must be 0 or more"),
        (("--parallel", "0"), "parallel is 0; it must be at least 1"),
    ],
)
def test_numbers_that_cannot_be_are_told_before_anything_starts(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    shell = Shell(tmp_path)
    shell.type("init")
    done = shell.type("dev", "kubeflow", *words, code=2)
    assert said in done.stderr
    assert "starting" not in done.stderr


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.type("init")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("--port", str(port), "--tracking-port", str(free_port()))
        done = shell.type("dev", "kubeflow", *words, code=4)
    assert f"port {port} cannot be used" in done.stderr
    assert "starting" not in done.stderr
