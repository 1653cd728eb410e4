"""Compare the runner's engine with plain papermill on the same notebooks.

Run: python tests/benchmarks/bench_engine.py [ROUNDS]. Both run in one process, with everything
imported, in alternation; medians of wall seconds and their ratio are printed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import nbformat as untyped_nbformat
import papermill

from mlops_nb.core.run import Limits
from mlops_nb.runner.document import load
from mlops_nb.runner.execution import execute
from mlops_nb.runner.kernel import Kernel

nbformat: Any = untyped_nbformat

ROWS = {
    "3 trivial cells": ["x = 1"] * 3,
    "30 trivial cells": ["x = 1"] * 30,
    "20,000 lines, flushed": ["for i in range(20_000): print('x' * 99, flush=True)"],
    "2,000 displays": ["for i in range(2_000): display(i)"],
    "50 cells of 1 MB": [
        "print('x' * 99 + '\\n') if False else print(('x' * 99 + '\\n') * 10_000)"
    ]
    * 50,
}


def write(folder: Path, sources: list[str]) -> Path:
    """Write a notebook of these cells."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
    path = folder / "in.ipynb"
    nbformat.write(notebook, path)
    return path


def by_papermill(path: Path, folder: Path) -> str:
    """Run with papermill's own engine; tell how it ended."""
    try:
        papermill.execute_notebook(path, folder / "out.ipynb", progress_bar=False)
    except Exception as error:  # noqa: BLE001
        return f"failed: {type(error).__name__}"
    return "ok"


def by_engine(path: Path, folder: Path) -> str:
    """Run with ours."""
    run = Path(tempfile.mkdtemp(dir=folder))
    with Kernel("python3", cwd=folder, env=os.environ) as kernel:
        outcome = execute(
            load(path)[0],
            run="bench",
            kernel=kernel,
            limits=Limits(),
            directory=run,
            redact=str,
            tell=lambda _: None,
            stop=threading.Event(),
        )
    return outcome.state.value


def whole_process(path: Path, folder: Path) -> None:
    """Compare both as processes of their own, imports and all."""
    ours = (
        "import os, sys, tempfile, threading; from pathlib import Path\n"
        "from mlops_nb.runner.kernel import Kernel\n"
        "k = Kernel('python3', cwd=Path('.'), env=os.environ)\n"
        "from mlops_nb.runner.execution import execute\n"
        "from mlops_nb.runner.document import load\n"
        "from mlops_nb.core.run import Limits\n"
        "execute(load(Path(sys.argv[1]))[0], run='b', kernel=k, limits=Limits(), redact=str,\n"
        " directory=Path(tempfile.mkdtemp(dir=sys.argv[2])), tell=lambda _: None,\n"
        " stop=threading.Event())\n"
    )
    theirs = (
        "import sys, papermill; papermill.execute_notebook(sys.argv[1],"
        " sys.argv[2] + '/o.ipynb', progress_bar=False)"
    )
    seconds: dict[str, list[float]] = {"ours": [], "papermill": []}
    for _ in range(3):
        for name, code in (("papermill", theirs), ("ours", ours)):
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", code, path, folder], check=True, capture_output=True
            )
            seconds[name].append(time.perf_counter() - began)
    theirs_s, ours_s = (statistics.median(seconds[name]) for name in ("papermill", "ours"))
    name = "process, 3 trivial cells"
    print(f"{name:24} {theirs_s:9.2f} {ours_s:9.2f} {theirs_s / ours_s:7.1f}x")


def main(rounds: int) -> None:
    """Print one line per notebook."""
    print(f"{'notebook':24} {'papermill':>9} {'mlops_nb':>9} {'ratio':>8}")
    for name, sources in ROWS.items():
        seconds: dict[str, list[float]] = {"papermill": [], "ours": []}
        ends: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as given:
            folder = Path(given)
            path = write(folder, sources)
            for _ in range(rounds):
                for who, how in (("papermill", by_papermill), ("ours", by_engine)):
                    began = time.perf_counter()
                    ends[who] = how(path, folder)
                    seconds[who].append(time.perf_counter() - began)
            if name.startswith("3 "):
                whole_process(path, folder)
        theirs, ours = (
            statistics.median(seconds["papermill"]),
            statistics.median(seconds["ours"]),
        )
        print(f"{name:24} {theirs:9.2f} {ours:9.2f} {theirs / ours:7.1f}x  {ends}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
