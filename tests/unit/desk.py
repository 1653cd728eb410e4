"""What a test of a verb needs: a project with fakes behind it, notebooks and finished runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fake_executor import FakeExecutor
from fake_registry import FakeRegistry

from mlops_nb.core.events import MetricLogged, Progress, RunMoved
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.core.settings import Settings, parse_settings
from mlops_nb.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mlops_nb.core.events import Event
    from mlops_nb.core.verbs import Job

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def write_notebook(path: Path, parameters: str = "lr: float = 0.1\ndepth: int = 3") -> Path:
    cells: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "id": "a",
            "metadata": {"tags": ["parameters"]},
            "execution_count": None,
            "outputs": [],
            "source": parameters,
        }
    ]
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    path.write_text(json.dumps(document))
    return path


def play(job: Job, attempt: int) -> Iterator[Event]:
    """Succeed with a score of lr times depth; depth 13 fails."""
    yield RunMoved(run=job.id, state=RunState.RUNNING, time=NOON)
    depth, lr = job.spec.parameters.get("depth", 3), job.spec.parameters.get("lr", 0.1)
    assert isinstance(depth, int)
    assert isinstance(lr, float)
    yield Progress(
        run=job.id, time=NOON, cell=1, cells=1, done=1, elapsed=1, last_line=f"depth {depth}"
    )
    if depth == 13:
        failure = Failure(reason="cell 1: ValueError: unlucky", cell=1, ename="ValueError")
        yield RunMoved(run=job.id, state=RunState.FAILED, time=NOON, failure=failure)
        return
    yield MetricLogged(run=job.id, time=NOON, name="score", value=lr * depth)
    yield RunMoved(run=job.id, state=RunState.SUCCEEDED, time=NOON + timedelta(seconds=90))


class Desk:
    """A project whose executor and registry are in memory."""

    def __init__(
        self, folder: Path, settings: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.executor = FakeExecutor(play)
        self.registry = FakeRegistry()
        self.events: list[Event] = []
        read: Settings = parse_settings(settings, path="mlops.toml", default_name="churn")
        self.project = Project(folder, read, environment or {})
        self.project.executor = self.executor
        self.project.registry = self.registry
        self.project.person = "Ann Lee <ann@example.com>"
        self.notebook = str(write_notebook(folder / "churn.ipynb"))

    def recorded(self, run_id: str, **values: object) -> Run:
        """Record a run in the registry, as another machine would have done."""
        told = {"notebook": "churn.ipynb", "state": RunState.SUCCEEDED, **values}
        run = Run(id=run_id, **told)  # type: ignore[arg-type]  # the test says what fits
        run = self.registry.begin(run, {})
        self.registry.log_metrics(run.tracking_id, run.metrics)
        return self.registry.finish(run, {})
