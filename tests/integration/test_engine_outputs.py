"""What cells put out reaches the notebook and the log, whole, however it comes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from one_execution import run_cells, run_notebook

from mlops_nb.core.run import RunState
from mlops_nb.runner.document import new_cell


@pytest.fixture(scope="module", autouse=True)
def _quiet_kernels(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ.setdefault("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))


def test_an_ordinary_notebook(tmp_path: Path) -> None:
    got = run_cells(
        tmp_path,
        new_cell("markdown", "# Title", []),
        "import sys\nx = 20",
        "",
        "print('out')\nprint('err', file=sys.stderr)\nx + 1",
        "!echo from the shell; pwd",
        "%time y = 1",
        "%%bash\necho from a magic",
    )
    assert got.outcome.state is RunState.SUCCEEDED
    assert (got.outcome.cells_done, got.outcome.cells) == (6, 6)
    assert got.outcome.peak_memory > 20_000_000
    assert got.outcome.last_line == "from a magic"
    assert got.statuses == ["completed", "pending", *["completed"] * 4]
    assert got.code[2]["outputs"][-1]["data"]["text/plain"] == ["21"]
    assert "from the shell" in got.text(3)
    assert str(tmp_path) in got.text(3)
    assert got.notebook["cells"][0]["source"] == ["# Title"]
    assert got.notebook["metadata"]["language_info"]["name"] == "python"
    for text in ("out\n", "err\n", "from the shell", "from a magic\n"):
        assert text in got.log
    assert got.told[0].cell == 1
    assert got.told[-1].done == 6
    assert max(progress.memory for progress in got.told) > 0


def test_floods_lose_nothing(tmp_path: Path) -> None:
    got = run_cells(
        tmp_path,
        "for i in range(20_000): print(f'{i:06}' + 'x' * 93, flush=True)",
        "for i in range(2_000): display(i)",
        "print(('y' * 99 + '\\n') * 500_000, end='')",
        "import sys\n"
        "for i in range(3_000): print(f'\\r{i} of 3000', end='', file=sys.stderr, flush=True)",
        "for i in range(300): print(f'\\b\\b\\b{i:03}', end='', flush=True)",
    )
    assert got.outcome.state is RunState.SUCCEEDED
    lines = got.text(0).splitlines()
    assert [int(line[:6]) for line in lines] == list(range(20_000))
    shown = [output["data"]["text/plain"] for output in got.code[1]["outputs"]]
    assert shown == [[str(number)] for number in range(2_000)]
    assert len(got.text(2)) == 50_000_000
    assert got.code[3]["outputs"] == [
        {"output_type": "stream", "name": "stderr", "text": ["2999 of 3000"]}
    ]
    assert got.text(4) == "299"
    assert got.log.count("\n") == 520_002
    assert len(got.told) < 1_000


def test_a_runner_that_was_stopped_a_while_loses_nothing(tmp_path: Path) -> None:
    code = f"""
        import os, pathlib, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from one_execution import run_cells
        flood = "for i in range(5_000): print('x' * 2_000, flush=True)"
        got = run_cells(pathlib.Path({str(tmp_path)!r}),
            "print('begun', flush=True); import pathlib",
            flood + "\\npathlib.Path('over').touch()",
            tell=lambda progress, _: print(progress.cell, flush=True))
        print("lines", len(got.text(1).splitlines()))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout
        for line in runner.stdout:
            if line == "2\n":
                break
        runner.send_signal(signal.SIGSTOP)
        until = time.monotonic() + 90
        while not (tmp_path / "over").exists() and time.monotonic() < until:
            time.sleep(0.05)
        runner.send_signal(signal.SIGCONT)
        assert runner.stdout.read().splitlines()[-1] == "lines 5000"


def test_what_is_no_text_harms_nothing(tmp_path: Path) -> None:
    got = run_cells(
        tmp_path,
        r"import os, sys; os.write(1, b'raw \xff\xfe bytes\n'); sys.stdout.flush()",
        r"!printf 'shell \377 bytes\n'",
        r"print('lone \ud800 surrogate')",
        "from IPython.display import display\n"
        "display({'image/png': bytes(range(256)), 'application/json': float('nan'),"
        " 'text/plain': 'p'}, raw=True)",
        "display({'application/json': {'a': [float('inf'), 1]}}, raw=True)",
        "display({'text/html': 5, 'text/plain': 'five'}, raw=True)",
        "raise ValueError('odd \\x00')",
    )
    assert got.outcome.state is RunState.FAILED
    assert got.outcome.failure
    assert got.outcome.failure.ename == "ValueError"
    assert "bytes" in got.text(1)
    assert "surrogate" in got.text(2)
    assert "raw" in got.log


def test_widgets_and_updates_of_displays(tmp_path: Path) -> None:
    got = run_cells(
        tmp_path,
        "handle = display('old', display_id=True)",
        "handle.update('new')",
        "from IPython.display import clear_output\n"
        "print('gone')\nclear_output(wait=True)\nprint('kept')",
        "import ipywidgets; ipywidgets.IntSlider()",
        "import threading, time\n"
        "def late():\n    time.sleep(0.3); print('late')\n"
        "t = threading.Thread(target=late); t.start()",
        "t.join()",
    )
    assert got.outcome.state is RunState.SUCCEEDED
    assert got.code[0]["outputs"][0]["data"]["text/plain"] == ["'new'"]
    assert got.text(2) == "kept\n"
    assert "application/vnd.jupyter.widget-view+json" in got.code[3]["outputs"][0]["data"]
    assert "late\n" in got.text(4) + got.text(5)


def test_tags_that_nbclient_honours(tmp_path: Path) -> None:
    got = run_cells(
        tmp_path,
        new_cell("code", "1 / 0", ["raises-exception"]),
        new_cell("code", "print('never')", ["skip-execution"]),
        "print('after')",
    )
    assert got.outcome.state is RunState.SUCCEEDED
    assert got.code[0]["outputs"][0]["ename"] == "ZeroDivisionError"
    assert got.code[1]["outputs"] == []
    assert got.text(2) == "after\n"


def test_leaving_early_on_purpose_is_no_failure(tmp_path: Path) -> None:
    got = run_cells(tmp_path, "import sys\nsys.exit(0)", "print('never')")
    assert got.outcome.state is RunState.SUCCEEDED
    assert got.statuses == ["completed", "pending"]


def test_local_modules_in_a_folder_with_spaces_and_umlauts(tmp_path: Path) -> None:
    folder = tmp_path / "Mein Ordner äöü"
    folder.mkdir()
    (folder / "beside.py").write_text("value = 'found'\n")
    (folder / "debugpy.py").write_text("value = 'mine'\n")
    got = run_cells(folder, "import beside, debugpy\nprint(beside.value, debugpy.value)")
    assert got.text(0) == "found mine\n"


def test_exit_functions_are_run(tmp_path: Path) -> None:
    got = run_cells(
        tmp_path,
        "import atexit, time, pathlib\n"
        "def last():\n    time.sleep(1); pathlib.Path('done').write_text('yes')\n"
        "    print('good bye', flush=True)\n"
        "atexit.register(last)",
    )
    assert (tmp_path / "done").read_text() == "yes"
    assert "good bye\n" in got.log


def test_secrets_come_by_environment_and_are_nowhere(tmp_path: Path) -> None:
    def redact(text: str) -> str:
        return text.replace("hunter2", "***")

    told: list[str] = []
    got = run_cells(
        tmp_path,
        "import os, sys, time\ntoken = os.environ['TOKEN']\nprint(token)\n"
        "print(token[:3], end='', flush=True); time.sleep(0.3); print(token[3:], flush=True)",
        "token",
        "raise ValueError(f'refused {token}')",
        env={"TOKEN": "hunter2"},
        redact=redact,
        tell=lambda progress, _: told.append(progress.last_line),
    )
    everything = "".join(
        file.read_text() for file in (tmp_path / "run").iterdir() if file.is_file()
    )
    assert "hunter2" not in everything
    assert "hunter2" not in repr(got.outcome)
    assert "hunter2" not in "".join(told)
    assert got.text(0) == "***\n***\n"
    assert got.outcome.failure
    assert got.outcome.failure.evalue == "refused ***"


def test_an_executed_notebook_can_be_executed_again(tmp_path: Path) -> None:
    first = run_cells(tmp_path, "print('x')", "1 / 0")
    again = run_notebook(
        tmp_path,
        json.loads(json.dumps(first.notebook))
        | {
            "cells": [
                cell | {"source": "".join(cell["source"])} for cell in first.notebook["cells"]
            ]
        },
    )
    assert len(again.notebook["cells"]) == len(first.notebook["cells"]) == 4
