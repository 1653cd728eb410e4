"""However a run ends, its state is true, its reason names the cell, its notebook is saved."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
from one_execution import is_alive, notebook_of, run_cells, write

from mlops_nb.core.events import Progress
from mlops_nb.core.run import Failure, Limits, RunState
from mlops_nb.errors import UserError
from mlops_nb.runner.document import invalid
from mlops_nb.runner.execution import Outcome, execute
from mlops_nb.runner.journal import assemble
from mlops_nb.runner.kernel import Kernel
from mlops_nb.runner.kernelspec import find


def test_an_exception_ends_the_run_at_its_cell(tmp_path: Path) -> None:
    got = run_cells(tmp_path, "print('before')", "1 / 0", "print('never')")
    failure = got.outcome.failure
    assert got.outcome.state is RunState.FAILED
    assert failure
    assert failure.reason == "cell 2 failed: ZeroDivisionError: division by zero"
    assert (failure.cell, failure.ename) == (2, "ZeroDivisionError")
    assert "\x1b" not in failure.traceback
    assert "1 / 0" in failure.traceback
    assert "ZeroDivisionError" in got.log
    assert got.statuses == ["completed", "failed", "pending"]
    assert (got.outcome.cells_done, got.outcome.cells) == (1, 3)
    assert failure.reason in "".join(got.notebook["cells"][0]["source"])
    assert "papermill-error-cell" in "".join(got.notebook["cells"][2]["source"])


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("input('name?')", "make the value a parameter"),
        ("import no_such_module", "beside the notebook"),
        ("raise MemoryError", "more memory"),
    ],
)
def test_hints(tmp_path: Path, source: str, hint: str) -> None:
    failure = run_cells(tmp_path, source).outcome.failure
    assert failure
    assert hint in failure.hint


def test_memory_that_the_system_refuses(tmp_path: Path) -> None:
    got = run_cells(
        tmp_path,
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))",
        "b = bytearray(8 * 2**30)",
    )
    assert got.outcome.failure
    assert got.outcome.failure.reason == "cell 2 failed: MemoryError"
    assert "more memory" in got.outcome.failure.hint


def test_a_killed_kernel(tmp_path: Path) -> None:
    got = run_cells(
        tmp_path,
        "print('kept')",
        # A moment for zmq's own thread: what it has not written to the socket dies with it.
        "import os, time\nprint('last words', flush=True)\n"
        "time.sleep(0.5)\nos.kill(os.getpid(), 9)",
    )
    assert got.outcome.state is RunState.FAILED
    assert got.outcome.failure
    assert got.outcome.failure.reason.startswith(
        "the kernel was killed (SIGKILL) in cell 2; it held"
    )
    assert "out of memory" not in got.outcome.failure.reason
    assert got.text(0) == "kept\n"
    assert got.text(1) == "last words\n"
    assert got.code[1]["outputs"][-1]["ename"] == "KernelDied"


def test_a_kernel_killed_from_outside_in_a_flood(tmp_path: Path) -> None:
    def kill(progress: Progress, kernel: Kernel) -> None:
        if progress.last_line and kernel.exit_code is None:
            os.kill(kernel.pid, signal.SIGKILL)

    got = run_cells(tmp_path, "while True: print('x' * 80, flush=True)", tell=kill)
    assert got.outcome.failure
    assert "killed (SIGKILL) in cell 1" in got.outcome.failure.reason


def test_a_crash_leaves_its_trace_in_the_log(tmp_path: Path) -> None:
    got = run_cells(tmp_path, "import ctypes\nctypes.string_at(0)")
    assert got.outcome.failure
    assert "the kernel crashed (SIGSEGV) in cell 1" in got.outcome.failure.reason
    assert "Segmentation fault" in got.log


def test_the_memory_limit(tmp_path: Path) -> None:
    got = run_cells(
        tmp_path,
        "print('kept')",
        "import time\nheld = []\n"
        "while True:\n    held.append(bytearray(10_000_000)); time.sleep(0.02)",
        limits=Limits(memory=300 * 2**20),
    )
    failure = got.outcome.failure
    assert got.outcome.state is RunState.FAILED
    assert failure
    assert failure.reason.startswith("cell 2 ran out of memory: ")
    assert failure.reason.endswith("limit 300 MiB")
    assert "--memory " in failure.hint
    assert got.outcome.peak_memory > 300 * 2**20
    assert got.code[1]["outputs"][0]["ename"] == "OutOfMemory"
    assert got.text(0) == "kept\n"


def test_the_memory_limit_counts_children(tmp_path: Path) -> None:
    child = "x = bytearray(300_000_000); import time; time.sleep(60)"
    got = run_cells(
        tmp_path,
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])",
        limits=Limits(memory=250 * 2**20),
    )
    assert got.outcome.failure
    assert got.outcome.failure.ename == "OutOfMemory"


def own_memory_group() -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/")
    pytest.skip("no cgroup v1 memory controller here")


def test_a_kernel_that_linux_kills_for_want_of_memory(tmp_path: Path) -> None:
    if not Path("/proc/self/cgroup").exists():
        pytest.skip("not Linux")
    group = own_memory_group() / f"mlops-nb-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(256 * 2**20))
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    enter = group / "cgroup.procs"
    # The runner itself must be in the group before its kernel is: that is how a pod is.
    code = f"""
        import json, os, sys, pathlib
        pathlib.Path({str(enter)!r}).write_text(str(os.getpid()))
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from one_execution import run_cells
        got = run_cells(pathlib.Path({str(tmp_path)!r}), "print('kept')",
            "held = [bytearray(10_000_000) for _ in range(100)]")
        failure = got.outcome.failure
        print(json.dumps([got.outcome.state, failure.reason, failure.hint]))
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False
        )
    finally:
        for _ in range(50):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.1)
    assert done.returncode == 0, done.stderr.decode()
    state, reason, hint = json.loads(done.stdout.splitlines()[-1])
    assert state == "failed"
    assert reason.startswith("cell 2 ran out of memory: the system killed the kernel")
    assert "256 MiB" in reason
    assert "more memory than 256 MiB" in hint


def test_the_cell_timeout(tmp_path: Path) -> None:
    got = run_cells(
        tmp_path,
        "print('kept')",
        "import time\nprint('begun', flush=True)\ntime.sleep(60)",
        limits=Limits(cell_timeout=1.5),
    )
    assert got.outcome.state is RunState.FAILED
    assert got.outcome.failure
    assert got.outcome.failure.reason == "cell 2 ran past its time-out of 1.5 s"
    assert got.text(1) == "begun\n"
    assert "KeyboardInterrupt" in [o.get("ename") for o in got.code[1]["outputs"]]


def test_the_run_timeout_against_a_cell_that_will_not_be_interrupted(tmp_path: Path) -> None:
    stubborn = (
        "import time, subprocess\nsubprocess.Popen(['sleep', '61'], start_new_session=True)\n"
        "while True:\n    try:\n        time.sleep(1)\n    except KeyboardInterrupt:\n"
        "        print('no', flush=True)"
    )
    got = run_cells(tmp_path, stubborn, limits=Limits(timeout=4))
    assert got.outcome.failure
    assert got.outcome.failure.reason == "the run passed its time-out of 4 s in cell 1"
    assert "no\n" in got.text(0)
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "61"]
    ]


def test_cancelling(tmp_path: Path) -> None:
    stop = threading.Event()

    def cancel(progress: Progress, _: Kernel) -> None:
        if progress.last_line == "begun":
            stop.set()

    got = run_cells(
        tmp_path,
        "!echo begun; sleep 60",
        "print('never')",
        stop=stop,
        tell=cancel,
    )
    assert got.outcome.state is RunState.CANCELLED
    assert got.outcome.failure
    assert got.outcome.failure.reason == "cancelled in cell 1"
    assert got.statuses == ["failed", "pending"]
    assert "begun" in got.text(0)


def test_cancelling_before_the_kernel_is_up(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    got = run_cells(tmp_path, "print('never')", stop=stop)
    assert got.outcome.state is RunState.CANCELLED
    assert got.outcome.failure
    assert got.outcome.failure.reason == "cancelled before cell 1"


def test_a_killed_runner_takes_its_kernel_along_and_leaves_a_notebook(tmp_path: Path) -> None:
    write(
        tmp_path / "in.ipynb", "x = 1", "print('half', flush=True)\nimport time; time.sleep(60)"
    )
    code = f"""
        import sys, pathlib
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from one_execution import loaded, run_notebook
        here = pathlib.Path({str(tmp_path)!r})
        run_notebook(here, loaded(here / "in.ipynb"),
            tell=lambda p, k: print(k.pid, p.last_line, flush=True))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout
        pid = 0
        for line in runner.stdout:
            pid = int(line.split()[0])
            if "half" in line:
                break
        runner.kill()
    assert pid
    until = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_alive(pid)
    killed = Failure(reason="the runner was killed", cell=2)
    made = assemble(tmp_path / "run", redact=str, failure=killed)
    assert invalid(made) == ""
    code_cells = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert [cell["metadata"]["papermill"]["status"] for cell in code_cells] == [
        "completed",
        "failed",
    ]
    assert code_cells[1]["outputs"][0]["text"] == "half\n"


def test_a_kernel_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"no kernel named 'klingon'; installed: .*python3"):
        find("klingon")


def kernelspec(tmp_path: Path, argv: list[str]) -> dict[str, str]:
    folder = tmp_path / "share" / "kernels" / "odd"
    folder.mkdir(parents=True)
    spec = {
        "argv": argv,
        "display_name": "odd",
        "language": "python",
        "env": {"ODD": "${HOME}!"},
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    return {"JUPYTER_PATH": str(tmp_path / "share")}


def test_a_kernel_that_ends_at_once_tells_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = [sys.executable, "-c", "raise SystemExit('no such luck')", "{connection_file}"]
    for name, value in kernelspec(tmp_path, argv).items():
        monkeypatch.setenv(name, value)
    with (
        Kernel("odd", cwd=tmp_path, env=os.environ) as kernel,
        pytest.raises(UserError, match="ended at once: no such luck"),
    ):
        execute_one("print()", kernel, tmp_path)


def execute_one(source: str, kernel: Kernel, directory: Path) -> Outcome:
    return execute(
        notebook_of(source),
        run="odd",
        kernel=kernel,
        limits=Limits(),
        directory=directory,
        redact=str,
        tell=lambda _: None,
        stop=threading.Event(),
    )


def test_a_kernel_that_is_not_ipykernels_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = [sys.executable, "-m", "ipykernel", "-f", "{connection_file}"]
    for name, value in kernelspec(tmp_path, argv).items():
        monkeypatch.setenv(name, value)
    with Kernel("odd", cwd=tmp_path, env={**os.environ, "HOME": "/h"}) as kernel:
        assert not kernel.spec.is_ipykernel
        outcome = execute_one("import os; print(os.environ['ODD'])", kernel, tmp_path)
    assert outcome.last_line == "/h!"
