"""What a page of a list costs with many runs, here and in the tracking server.

    python tests/benchmarks/bench_runs.py [RUNS]

Half of them are told by run directories as well. First is a process that was just started, next
one that stays, as Jupyter Server does.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops_nb import wire
from mlops_nb.adapters.mlflow import records
from mlops_nb.core.run import Run, RunSpec, RunState
from mlops_nb.core.verbs import Job, Runs
from mlops_nb.project import Project

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def made(folder: Path, n: int) -> Run:
    began = BEGAN + timedelta(minutes=n)
    return Run(
        id=f"churn-{n:06x}",
        notebook=str(folder / "churn.ipynb"),
        state=RunState.SUCCEEDED,
        tracking_id=f"{n:032x}",
        parameters={"lr": 0.1, "depth": n},
        metrics={"accuracy": 0.7, "auc": 0.8},
        started=began,
        ended=began + timedelta(seconds=30),
        cells=8,
        cells_done=8,
    )


def record(path: Path, run: Run, pattern: dict[str, object]) -> None:
    """Write a run into the store as MLflow would, which takes a hundred times as long."""
    began = int(run.started.timestamp() * 1000) if run.started else 0
    row = pattern | {
        "run_uuid": run.tracking_id, "name": run.id, "status": "FINISHED",
        "start_time": began, "end_time": began + 30_000,
    }  # fmt: skip
    tags = {**records.first_tags(run, "ann"), **records.last_tags(run)}
    with closing(sqlite3.connect(path)) as store:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        store.execute(f"INSERT INTO runs ({names}) VALUES ({marks})", [*row.values()])  # noqa: S608  # our own names
        store.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)",
            [(key, value, run.tracking_id) for key, value in tags.items()],
        )
        store.executemany(
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"
            " VALUES (?, ?, ?, 0, 0, ?)",
            [(key, value, began, run.tracking_id) for key, value in run.metrics.items()],
        )
        store.commit()


def keep(folder: Path, run: Run) -> None:
    directory = folder / run.id
    directory.mkdir(parents=True)
    job = Job(id=run.id, spec=RunSpec(notebook=run.notebook), project=str(folder))
    (directory / "job.json").write_text(wire.dumps(job))
    (directory / "result.json").write_text(wire.dumps(replace(run, directory=str(directory))))


def fill(folder: Path, count: int) -> Project:
    """Give a project of so many runs, half of them with run directories."""
    (folder / "mlops.toml").write_text('[project]\nname = "bench"\n')
    project = Project.open(folder)
    project.registry.begin(Run(id="first-1", notebook="", state=RunState.QUEUED), {})
    path = folder / ".mlops" / "mlflow.db"
    with closing(sqlite3.connect(path)) as store:
        store.row_factory = sqlite3.Row
        store.execute("PRAGMA synchronous = OFF")
        pattern = dict(store.execute("SELECT * FROM runs").fetchone())
    for n in range(count):
        run = made(folder, n)
        record(path, run, pattern)
        if n % 2:
            keep(project.runs_folder, run)
    return project


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as place:
        project = fill(Path(place), count)
        after = ""
        for name in ("first", "next", "next", "next"):
            began = time.monotonic()
            page = project.run(Runs(limit=50, after=after))
            print(f"{name}: {len(page.runs)} runs, {time.monotonic() - began:.3f} s")
            after = page.next
        began = time.monotonic()
        middle = f"{int((BEGAN + timedelta(minutes=count // 2)).timestamp() * 1e6)}.churn-0"
        page = project.run(Runs(limit=50, after=middle, notebook="churn.ipynb"))
        print(f"the middle: {len(page.runs)} runs, {time.monotonic() - began:.3f} s")


if __name__ == "__main__":
    main()
