"""What `mlops train` costs over plain papermill: whole processes, alternating, medians.

    python tests/benchmarks/bench_train.py [ROUNDS]

Both run the same notebooks in the same project, whose MLflow store exists already. The figures
include what papermill does not do: recording in MLflow, lineage, events, the journal.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from shell import write_notebook

BIN = Path(sys.executable).parent
NOTEBOOKS = {
    "3 trivial cells": ["x: int = 1", "y = x + 1", "print(y)"],
    "logs to MLflow": ["x: int = 1", "import mlflow\nmlflow.log_metric('score', x)"],
    "50 cells x 1 MB": ["x: int = 1", *["print('a' * 1_000_000)"] * 50],
    "20,000 flushed lines": [
        "x: int = 1",
        "for i in range(20_000):\n    print(i, 'x' * 90, flush=True)",
    ],
}


def seconds(command: list[str], folder: Path, env: dict[str, str]) -> tuple[float, int]:
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False)
    return time.perf_counter() - started, done.returncode


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/.mlops/mlflow.db"}
        write_notebook(folder / "warm.ipynb", "x: int = 1")
        seconds([str(BIN / "mlops"), "train", "warm.ipynb"], folder, env)
        print(f"{'notebook':<22} {'mlops':>8} {'papermill':>10} {'ratio':>6}   exit codes")
        for title, sources in NOTEBOOKS.items():
            write_notebook(folder / "nb.ipynb", *sources)
            ours = [str(BIN / "mlops"), "train", "nb.ipynb", "-p", "x=2"]
            theirs = [str(BIN / "papermill"), "nb.ipynb", "out.ipynb", "-p", "x", "2"]
            times: dict[str, list[float]] = {"mlops": [], "papermill": []}
            codes: dict[str, set[int]] = {"mlops": set(), "papermill": set()}
            for _ in range(rounds):
                for which, command in (("mlops", ours), ("papermill", theirs)):
                    took, code = seconds(command, folder, env)
                    times[which].append(took)
                    codes[which].add(code)
            a, b = (statistics.median(times[which]) for which in ("mlops", "papermill"))
            print(
                f"{title:<22} {a:7.1f}s {b:9.1f}s {a / b:6.2f}   "
                f"{sorted(codes['mlops'])} {sorted(codes['papermill'])}",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
