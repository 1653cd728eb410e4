"""Delete runs that ended, and bring back what is recorded of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.results import Deleted, SweepResult
from mlops_nb.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlops_nb.core.run import Run
    from mlops_nb.core.verbs import Delete
    from mlops_nb.ports import Executor, Registry


def delete(
    verb: Delete,
    *,
    find: Callable[[str], Run | SweepResult],
    executor: Executor,
    registry: Registry,
) -> Deleted:
    """Delete all of the runs or none; a sweep's children go with it.

    Raises:
        NotFound: if there is no such run.
        Conflict: if one has not ended, or a registered version was made from it.
    """
    if verb.restore:
        restored = [run for ref in verb.runs for run in registry.restore(ref)]
        return Deleted(runs=tuple(dict.fromkeys(run.id for run in restored)), is_restored=True)
    chosen: dict[str, Run] = {}
    for ref in verb.runs:
        found = find(ref)
        # Children first: who is interrupted finds the sweep still there.
        every = (*found.children, found.run) if isinstance(found, SweepResult) else (found,)
        chosen.update({run.id: run for run in every})
    _check_ended(chosen.values())
    _check_unregistered(chosen.values(), registry)
    return Deleted(
        runs=tuple(chosen),
        lost=tuple(run.id for run in chosen.values() if not _delete(run, executor, registry)),
    )


def _delete(run: Run, executor: Executor, registry: Registry) -> bool:
    """Delete a run; tell whether it can be brought back."""
    # Its record goes last: who is interrupted can do it again.
    if run.is_at_hand:
        executor.delete(run.id)
    if not run.tracking_id:
        return False
    try:
        registry.delete(run.tracking_id)
    except NotFound:
        # Its store was made anew since.
        return False
    return True


def _check_ended(runs: Iterable[Run]) -> None:
    going = [run for run in runs if not run.state.is_final]
    if going:
        raise Conflict(
            f"run {_named(going)} has not ended; nothing was deleted",
            hint=f"stop it first: mlops cancel {going[0].parent or going[0].id}",
        )


def _check_unregistered(runs: Iterable[Run], registry: Registry) -> None:
    versions = registry.versions()
    made = {version.tracking_id: version for version in versions if version.tracking_id}
    kept = [run for run in runs if run.tracking_id in made]
    if kept:
        raise Conflict(
            f"run {_named(kept)} is what {made[kept[0].tracking_id]} was made from: it speaks "
            "for the version; nothing was deleted",
            hint="leave it out",
        )


def _named(runs: Sequence[Run]) -> str:
    others = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return f"{runs[0].id}{others}"
