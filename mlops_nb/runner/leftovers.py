"""Ends the processes that a run's kernel started and that outlived its runner."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mlops_nb.project import INSIDE_RUN

if TYPE_CHECKING:
    from pathlib import Path

MARK = "MLOPS_NB_DIRECTORY"
"""Variable in a kernel's environment, which its processes inherit: the run directory.

The run's id alone would not do: another project may have a run of the same name.
"""


def end_leftovers(run_id: str, directory: Path) -> None:
    """Kill what a run's kernel started and left, in whichever session it is by now."""
    import psutil

    ours = {INSIDE_RUN: run_id, MARK: str(directory)}
    this = psutil.Process()
    spared = {this.pid, *(parent.pid for parent in this.parents())}
    for process in psutil.process_iter():
        # Other people's processes do not tell their environment, and any may end meanwhile.
        with suppress(psutil.Error):
            if process.pid not in spared and ours.items() <= process.environ().items():
                process.kill()
