"""Do again what failed of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.core.events import Note
from mlops_nb.core.notebook import Notebook
from mlops_nb.core.run import RunState
from mlops_nb.errors import NotFound, UserError

if TYPE_CHECKING:
    from mlops_nb.core.run import Run
    from mlops_nb.ports import Executor, Listener


def retry(run: Run, *, executor: Executor, tell: Listener) -> Run:
    """Start again what failed, under the run's id: the notebook, or only the step after it.

    Raises:
        NotFound: if the run was made on another machine.
        UserError: if it is not final, or there is nothing to do again.
    """
    if not run.is_at_hand:
        raise NotFound(
            f"run {run.id} was made on another machine: there is nothing here to repeat",
            hint=f"run `mlops train {run.notebook}` with its parameters",
        )
    if not run.state.is_final:
        raise UserError(
            f"run {run.id} is {run.state}", hint=f"wait for it: mlops logs -f {run.id}"
        )
    gates_failed = run.verdict is not None and not run.verdict.passed
    if run.state is RunState.SUCCEEDED and not gates_failed:
        raise UserError(f"run {run.id} succeeded: there is nothing to do again")
    if run.state is RunState.SUCCEEDED:
        tell(
            Note(
                text="the notebook is not run again: it is judged by the gates as they are now"
            )
        )
    elif run.directory and _has_changed(run):
        name = Path(run.notebook).name
        tell(
            Note(
                text=f"{name} was changed since; the run repeats it as it was. To run it as it "
                f"is now: mlops train {name}"
            )
        )
    return executor.resume(run.id)


def _has_changed(run: Run) -> bool:
    """Tell whether the notebook's file holds other cells than the run had."""
    try:
        then, now = (
            Notebook.parse(str(path), path.read_bytes()).fingerprint
            for path in (Path(run.directory) / "notebook.ipynb", Path(run.notebook))
        )
    except (OSError, UserError):
        # A file that is gone or broken takes nothing from the run: it has its own copy.
        return False
    return then != now
