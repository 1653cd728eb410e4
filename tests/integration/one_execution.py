"""Executes cells with a real kernel, for the tests of the engine."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.core.events import Progress
from mlops_nb.core.run import Limits
from mlops_nb.runner.document import Notebook, invalid, load, new_cell, save
from mlops_nb.runner.execution import LOG, Outcome, execute
from mlops_nb.runner.journal import EXECUTED, JOURNAL
from mlops_nb.runner.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Cell = str | dict[str, Any]


@dataclass
class Executed:
    outcome: Outcome
    notebook: Notebook
    log: str
    told: list[Progress]
    kernel_pid: int

    @property
    def code(self) -> list[dict[str, Any]]:
        return [cell for cell in self.notebook["cells"] if cell["cell_type"] == "code"]

    @property
    def statuses(self) -> list[str]:
        return [cell["metadata"]["papermill"]["status"] for cell in self.code]

    def text(self, cell: int) -> str:
        return "".join(
            part for output in self.code[cell]["outputs"] for part in output.get("text", ())
        )


def notebook_of(*cells: Cell) -> Notebook:
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = [cell if isinstance(cell, dict) else new_cell("code", cell, []) for cell in cells]
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": spec},
        "cells": made,
    }


def write(path: Path, *cells: Cell) -> Path:
    save(notebook_of(*cells), path)
    return path


def run_cells(directory: Path, *cells: Cell, **options: Any) -> Executed:
    return run_notebook(directory, notebook_of(*cells), **options)


def run_notebook(
    directory: Path,
    notebook: Notebook,
    *,
    limits: Limits | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    redact: Callable[[str], str] = str,
    tell: Callable[[Progress, Kernel], None] = lambda _, __: None,
    stop: threading.Event | None = None,
) -> Executed:
    run = directory / "run"
    run.mkdir(exist_ok=True)
    told: list[Progress] = []
    environment = {**os.environ, **(env or {})}
    # With it IPython does not watch the file descriptors, as it does everywhere else.
    environment.pop("PYTEST_CURRENT_TEST", None)
    with Kernel("python3", cwd=cwd or directory, env=environment) as kernel:

        def listen(progress: Progress) -> None:
            told.append(progress)
            tell(progress, kernel)

        outcome = execute(
            notebook,
            run="test",
            kernel=kernel,
            limits=limits or Limits(),
            directory=run,
            redact=redact,
            tell=listen,
            stop=stop or threading.Event(),
        )
        sockets, pid = kernel.directory, kernel.pid
    executed = json.loads((run / EXECUTED).read_bytes())
    assert invalid(executed) == ""
    assert not (run / JOURNAL).exists()
    assert not sockets.exists()
    assert not is_alive(pid)
    return Executed(outcome, executed, (run / LOG).read_text(), told, pid)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return not Path("/proc/self").exists()


def loaded(path: Path) -> Notebook:
    return load(path)[0]
