"""What is told of a run while it goes on and after it was cut off is true and tells all."""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from one_execution import is_alive, run_cells
from shell import Shell, wait_until, write_notebook

from mlops_nb.core.run import Limits, RunState

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "s3cr3t-Wert/with+signs=="


@pytest.fixture
def shell(tmp_path: Path, migrated_store: Path) -> Shell:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    return Shell(tmp_path)


def events(shell: Shell, run_id: str, kind: str) -> list[dict[str, Any]]:
    lines = (shell.run_folder(run_id) / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def test_a_secret_printed_bit_by_bit_is_nowhere_even_if_the_runner_is_killed(
    shell: Shell,
) -> None:
    write_notebook(
        shell.folder / "nb.ipynb",
        "token: str = ''",
        "import time\nprint('begun')\n"
        "for character in token:\n    print(character, end='', flush=True)\n"
        "    time.sleep(0.1)\nprint()",
        "print('next')\nprint(token[:9], end='', flush=True)\ntime.sleep(1)\n"
        "open('split', 'w').close()\ntime.sleep(600)",
    )
    run = shell.json(
        "train", "nb.ipynb", "--detach", "-p", "token=secret:API_TOKEN", API_TOKEN=TOKEN
    )
    wait_until((shell.folder / "split").exists)
    shell.runner(run["id"]).kill()
    (listed,) = shell.json("runs")["runs"]
    assert listed["state"] == "failed"
    said = {event["last_line"] for event in events(shell, run["id"], "progress")}
    assert said == {"", "begun", "[redacted]", "next"}
    for path in (path for path in shell.folder.rglob("*") if path.is_file()):
        assert TOKEN[:6].encode() not in path.read_bytes(), path


def test_a_run_healed_later_ended_when_it_was_last_alive(shell: Shell) -> None:
    write_notebook(
        shell.folder / "nb.ipynb",
        "x: int = 1",
        "import time\nprint('on', flush=True)\ntime.sleep(600)",
    )
    run = shell.detach(shell.folder / "nb.ipynb")
    shell.wait_for(run["id"], "on")
    shell.runner(run["id"]).kill()
    killed = datetime.now(UTC)
    time.sleep(4)
    (healed,) = shell.json("runs")["runs"]
    ended = datetime.fromisoformat(healed["ended"])
    assert abs(ended - killed) < timedelta(seconds=2)
    assert ended >= datetime.fromisoformat(healed["started"])
    recorded = shell.mlflow().get_run(healed["tracking_id"]).info.end_time
    assert recorded == int(ended.timestamp() * 1000)


def test_healing_ends_what_the_kernel_started_and_nothing_else(shell: Shell) -> None:
    write_notebook(
        shell.folder / "nb.ipynb",
        "import subprocess, time\npids = [subprocess.Popen(['sleep', '777']).pid,\n"
        "    subprocess.Popen(['sleep', '777'], start_new_session=True).pid]\n"
        "print(*pids, flush=True)\ntime.sleep(600)",
        tag_first=False,
    )
    run = shell.detach(shell.folder / "nb.ipynb")
    log = shell.run_folder(run["id"]) / "log.txt"
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    left = [psutil.Process(int(pid)) for pid in log.read_text().split()]
    namesake = {"MLOPS_NB_RUN": run["id"], "MLOPS_NB_DIRECTORY": "/another/project"}
    with subprocess.Popen(["sleep", "777"], env={**os.environ, **namesake}) as other:
        try:
            shell.runner(run["id"]).kill()
            time.sleep(0.5)
            assert all(is_alive(process.pid) for process in left)
            assert shell.json("show", run["id"])["state"] == "failed"
            wait_until(lambda: not any(is_alive(process.pid) for process in left), 10)
            assert is_alive(other.pid)
        finally:
            other.kill()
            for process in left:
                if process.is_running():
                    process.kill()


def test_a_retry_tells_its_own_time(shell: Shell) -> None:
    write_notebook(
        shell.folder / "nb.ipynb",
        "x: int = 1",
        "import pathlib\nassert pathlib.Path('mended').exists()",
    )
    run = shell.train(shell.folder / "nb.ipynb", code=3)
    (shell.folder / "mended").touch()
    asked = datetime.now(UTC)
    shell.type("retry", run["id"])
    again = shell.json("show", run["id"])
    assert again["state"] == "succeeded"
    assert datetime.fromisoformat(again["started"]) > asked


def test_another_attempt_is_told_and_counted(shell: Shell) -> None:
    write_notebook(
        shell.folder / "nb.ipynb", "x: int = 1", "import os\nos.kill(os.getpid(), 9)"
    )
    done = shell.type("train", "nb.ipynb", "--retries", "1", "--json", code=3)
    killed = "the kernel was killed (SIGKILL) in cell 2; it held"
    assert f"attempt 2 of 2: {killed}" in done.stderr
    run = json.loads(done.stdout)
    assert run["failure"]["reason"].startswith(killed)
    assert run["failure"]["reason"].endswith(" (attempt 2 of 2)")
    once = shell.train(shell.folder / "nb.ipynb", code=3)
    assert "attempt" not in once["failure"]["reason"]


@pytest.mark.parametrize(("limit", "said"), [(8, "8 bytes"), (20 * 2**20, "20 MiB")])
def test_a_limit_that_the_kernel_cannot_start_under_is_named(
    tmp_path: Path, limit: int, said: str
) -> None:
    got = run_cells(tmp_path, "print('never')", limits=Limits(memory=limit))
    failure = got.outcome.failure
    assert got.outcome.state is RunState.FAILED
    assert failure
    assert failure.reason.startswith("the kernel needs more memory to start (")
    assert failure.reason.endswith(f"than the limit of {said}")
    assert failure.hint == "run again with --memory 256MiB"


def test_a_sweep_shows_life_and_counts_the_children_of_every_try(shell: Shell) -> None:
    write_notebook(
        shell.folder / "nb.ipynb",
        "n: int = 1",
        "import time, pathlib\nfrom pathlib import Path\ntime.sleep(6 if n == 1 else 0)",
        "assert n != 2 or Path('mended').exists()",
    )
    first = shell.json("sweep", "nb.ipynb", "-p", "n=1..3", code=3)
    sweep = first["run"]["id"]
    assert (first["run"]["cells_done"], first["run"]["cells"]) == (3, 3)
    told = events(shell, sweep, "progress")
    assert (told[0]["cell"], told[0]["done"]) == (1, 0)
    assert (2, 1) in {(event["cell"], event["done"]) for event in told}
    assert any(event["last_line"] == f"{sweep}.1 1/3" for event in told)
    assert (told[-1]["done"], told[-1]["last_line"]) == (3, f"{sweep}.3 succeeded")
    (shell.folder / "mended").touch()
    shell.type("retry", sweep)
    again = shell.json("show", sweep)["run"]
    assert (again["state"], again["cells_done"], again["cells"]) == ("succeeded", 3, 3)


def test_a_sweep_that_was_cut_off_names_what_still_runs(shell: Shell) -> None:
    write_notebook(
        shell.folder / "nb.ipynb",
        "n: int = 1",
        "import time\nprint('running', n, flush=True)\ntime.sleep(0 if n == 1 else 600)",
    )
    sweep = shell.json("sweep", "nb.ipynb", "-p", "n=1,2,3", "--detach")["id"]
    shell.wait_for(f"{sweep}.2", "running 2")
    shell.runner(sweep).kill()
    try:
        stopped = shell.json("show", sweep)["run"]
        assert stopped["failure"]["reason"].endswith("when 1 of 3 children had ended")
        assert (stopped["cells_done"], stopped["cells"]) == (1, 3)
        assert stopped["failure"]["hint"] == (
            f"{sweep}.2 is still running: mlops cancel {sweep}.2; "
            f"continue the rest: mlops retry {sweep}"
        )
    finally:
        shell.type("cancel", f"{sweep}.2")
