"""Look at runs: in the executor's record, which is live, and the registry, which is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.events import Note
from mlops_nb.core.results import RunList, SweepResult
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.sweep import parse_best
from mlops_nb.errors import BackendError, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.core.verbs import Logs, Runs
    from mlops_nb.ports import Executor, Listener, Registry


def runs(verb: Runs, *, executor: Executor, registry: Registry, tell: Listener) -> RunList:
    """List runs, newest first; sweeps' children are left to `show`.

    Raises:
        UserError: if the state is none.
    """
    state = _state(verb.state)
    found = {run.id: run for run in executor.runs()}
    try:
        recorded = registry.runs(limit=verb.limit, notebook=verb.notebook, state=state)
    except BackendError as error:
        tell(Note(text=f"only runs of this machine are shown: {error.message}"))
        recorded = []
    for run in recorded:
        if run.id not in found:
            found[run.id] = run
    wanted = [
        run
        for run in found.values()
        if not run.parent
        and (state is None or run.state is state)
        and (not verb.notebook or run.notebook.endswith(verb.notebook))
    ]
    wanted.sort(key=lambda run: run.started.timestamp() if run.started else 1e12, reverse=True)
    return RunList(runs=tuple(wanted[: verb.limit]))


def _state(text: str) -> RunState | None:
    if not text:
        return None
    try:
        return RunState(text)
    except ValueError:
        raise UserError(
            f"{text!r} is no state of a run", hint=f"one of {', '.join(RunState)}"
        ) from None


def show(ref: str, *, executor: Executor, registry: Registry) -> Run | SweepResult:
    """Give a run, or a sweep with its children.

    Raises:
        NotFound: if there is none.
    """
    run = find(ref, executor=executor, registry=registry)
    children = _children(run, executor=executor, registry=registry)
    if not children:
        return run
    return SweepResult(run=run, children=tuple(children), best=best_of(children, run.best))


def find(ref: str, *, executor: Executor, registry: Registry) -> Run:
    """Give a run by its id, MLflow id, or unique beginning of either.

    Raises:
        NotFound: if there is none.
        UserError: if the beginning fits several.
    """
    if run := executor.run(ref):
        return run
    found = registry.find(ref)
    return executor.run(found.id) or found


def _children(run: Run, *, executor: Executor, registry: Registry) -> Sequence[Run]:
    if run.parent:
        return []
    here = [child for child in executor.runs() if child.parent == run.id]
    children = here or (
        [] if run.directory else list(registry.runs(limit=10_000, parent=run.id))
    )
    return sorted(children, key=lambda child: int(child.id.rpartition(".")[2]))


def best_of(children: Sequence[Run], best: str) -> str:
    """Give the id of the best succeeded child by `max:METRIC`; empty if none has the metric."""
    if not best:
        return ""
    wanted = parse_best(best)
    scored = [
        (child.metrics[wanted.metric], child.id)
        for child in children
        if child.state is RunState.SUCCEEDED and wanted.metric in child.metrics
    ]
    if not scored:
        return ""
    pick = max if wanted.is_max else min
    return pick(scored, key=lambda pair: pair[0])[1]


def logs(verb: Logs, *, executor: Executor, registry: Registry) -> Iterator[str]:
    """Yield what a run printed, in lines; with `follow`, until it is final.

    Raises:
        NotFound: if there is no such run, or its log is kept nowhere.
    """
    run = find(verb.run, executor=executor, registry=registry)
    if run.directory:
        yield from executor.log(run.id, follow=verb.follow)
        return
    content = registry.file(run.tracking_id, "mlops_nb/log.txt")
    if content is None:
        raise NotFound(f"run {run.id} has no log in the tracking server")
    yield from content.decode(errors="replace").splitlines(keepends=True)
