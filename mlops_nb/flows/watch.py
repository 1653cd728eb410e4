"""Stay with a run to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.events import Note
from mlops_nb.errors import NotFound

if TYPE_CHECKING:
    from mlops_nb.core.run import Run
    from mlops_nb.ports import Executor, Listener


def watch(run_id: str, *, executor: Executor, tell: Listener) -> Run:
    """Tell every event of a run from its beginning; give the final run.

    Interrupting this cancels the run.

    Raises:
        NotFound: if the executor never had the run.
    """
    try:
        for event in executor.watch(run_id):
            tell(event)
    except KeyboardInterrupt:
        tell(Note(text=f"cancelling {run_id}; a cell that does not stop is killed after 5 s"))
        return executor.cancel(run_id)
    run = executor.run(run_id)
    if run is None:
        raise NotFound(
            f"run {run_id} was deleted while it was watched", hint="see `mlops runs`"
        )
    return run
