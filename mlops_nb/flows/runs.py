"""Look at runs: in the executor's record, which is live, and the registry, which is whole."""

from __future__ import annotations

import difflib
import math
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.core.events import Note
from mlops_nb.core.results import Comparison, RunList, SweepResult
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.sweep import parse_best
from mlops_nb.errors import BackendError, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mlops_nb.core.verbs import Compare, Logs, Runs
    from mlops_nb.ports import Executor, Listener, Registry

_NOT_BEGUN = "new"


def runs(verb: Runs, *, executor: Executor, registry: Registry, tell: Listener) -> RunList:
    """List runs, newest first; sweeps' children are left to `show`.

    Raises:
        UserError: if the state is none, or `after` no place in a list.
    """
    state = _state(verb.state)
    after = _Spot.parse(verb.after) if verb.after else None
    found = {run.id: run for run in executor.runs()}
    try:
        for run in _recorded(verb, state, after, registry):
            found.setdefault(run.id, run)
    except BackendError as error:
        tell(Note(text=f"only runs of this machine are shown: {error.message}"))
    # Of ten thousand runs there are a few notebooks.
    named = {run.notebook for run in found.values()}
    meant = {notebook for notebook in named if _is_of(notebook, verb.notebook)}
    of_notebook = [run for run in found.values() if run.notebook in meant]
    if found and not of_notebook and after is None:
        tell(Note(text=_others(verb.notebook, found.values())))
    older = [run for run in of_notebook if after is None or _Spot.of(run) < after]
    # What is recorded as going on elsewhere may have ended, or lost its pods, since.
    older = [
        run if run.state.is_final or run.directory else _now(run, executor) for run in older
    ]
    wanted = [run for run in older if not run.parent and (state is None or run.state is state)]
    wanted.sort(key=_Spot.of, reverse=True)
    listed = tuple(wanted[: verb.limit])
    has_more = len(wanted) > verb.limit
    return RunList(runs=listed, next=str(_Spot.of(listed[-1])) if has_more else "")


@dataclass(frozen=True, order=True, slots=True)
class _Spot:
    """Where a run stands in a list of all: by when it began, those that have not at the top.

    Args:
        began: microseconds; infinite before it began.
        run: id of the run.
    """

    began: float
    run: str

    @classmethod
    def of(cls, run: Run) -> _Spot:
        return cls(round(run.started.timestamp() * 1e6) if run.started else math.inf, run.id)

    @classmethod
    def parse(cls, text: str) -> _Spot:
        began, _, run = text.partition(".")
        if not run or not (began.isdecimal() or began == _NOT_BEGUN):
            raise UserError(
                f"after is {text!r}: no place in a list",
                hint="give the `next` of a list before",
            )
        return cls(math.inf if began == _NOT_BEGUN else int(began), run)

    def __str__(self) -> str:
        return f"{_NOT_BEGUN if math.isinf(self.began) else int(self.began)}.{self.run}"

    @property
    def time(self) -> datetime | None:
        if math.isinf(self.began):
            return None
        return datetime.fromtimestamp(self.began // 1e6, UTC) + timedelta(
            microseconds=self.began % 1e6
        )


def _others(notebook: str, found: Iterable[Run]) -> str:
    """Say of which notebooks there are runs, when there is none of the one asked for."""
    names = sorted({run.notebook.rpartition("/")[2] for run in found if run.notebook})
    close = difflib.get_close_matches(Path(notebook).name, names, n=1)
    said = f"did you mean {close[0]}?" if close else f"there are runs of {', '.join(names[:8])}"
    return f"no run of {notebook}; {said}"


def _recorded(
    verb: Runs, state: RunState | None, after: _Spot | None, registry: Registry
) -> Sequence[Run]:
    """Give enough recorded runs to list and to know whether there are more.

    Sweeps' children come among them, and notebooks of the same name.
    """
    limit = verb.limit + 2
    while True:
        recorded = registry.runs(
            limit=limit,
            notebook=verb.notebook,
            state=state,
            until=after.time if after else None,
        )
        outer = [
            run
            for run in recorded
            if not run.parent
            and _is_of(run.notebook, verb.notebook)
            and (after is None or _Spot.of(run) < after)
        ]
        if len(recorded) < limit:
            return outer
        # Of runs that began at once some may still be missing.
        if len(outer) > verb.limit and recorded[-1].started != outer[verb.limit - 1].started:
            return outer
        limit *= 4


def _is_of(notebook: str, wanted: str) -> bool:
    """Tell whether a notebook is meant by a path, a file name, a path's end, or nothing."""
    if not wanted:
        return True
    path, parts = Path(notebook), Path(wanted).parts
    return path.parts[-len(parts) :] == parts or path == Path(wanted).resolve()


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
    run = recorded(ref, executor=executor, registry=registry)
    children = _children(run, executor=executor, registry=registry)
    if not children:
        return run
    return SweepResult(run=run, children=tuple(children), best=best_of(children, run.best))


def compare(verb: Compare, *, executor: Executor, registry: Registry) -> Comparison:
    """Give runs side by side; a sweep stands for its children.

    Raises:
        NotFound: if there is no such run.
    """
    found: dict[str, Run] = {}
    for ref in verb.runs:
        run = find(ref, executor=executor, registry=registry)
        children = _children(run, executor=executor, registry=registry)
        found.update({one.id: one for one in children or [run]})
    return Comparison(runs=tuple(found.values()))


def find(ref: str, *, executor: Executor, registry: Registry) -> Run:
    """Give a run by its id, MLflow id, or unique beginning of either.

    Raises:
        NotFound: if there is none.
        UserError: if the beginning fits several, or is the name of a schedule.
    """
    run = recorded(ref, executor=executor, registry=registry)
    if run.is_schedule:
        raise UserError(
            f"{run.id} is a schedule: its runs have ids of their own",
            hint=f"see the newest: mlops show {run.id}; all: mlops runs "
            f"{shlex.quote(Path(run.notebook).name)}",
        )
    return run


def recorded(ref: str, *, executor: Executor, registry: Registry) -> Run:
    """Give what is recorded under an id: a run, or what stands for a schedule.

    Raises:
        NotFound: if there is none.
        UserError: if the beginning fits several.
    """
    if ref and (run := executor.run(ref)):
        return run
    here = _beginning_with(ref, executor) if ref else None
    try:
        found = registry.find(ref)
    except (BackendError, NotFound):
        # A run that was never recorded, or whose server is away, is known here all the same.
        if here is None:
            raise
        return here
    if here is not None and here.id != found.id:
        raise UserError(
            f"{ref!r} is the beginning of {here.id} and of {found.id}", hint="type more of it"
        )
    return _now(found, executor)


def _now(recorded: Run, executor: Executor) -> Run:
    """Give a recorded run as its executor knows it now, where that can be asked."""
    try:
        return executor.run(recorded.id) or recorded
    except BackendError:
        return recorded


def _beginning_with(ref: str, executor: Executor) -> Run | None:
    fits = [r for r in executor.runs() if r.id.startswith(ref) or r.tracking_id.startswith(ref)]
    if not fits:
        return None
    first = min(fits, key=lambda run: len(run.id))
    # A sweep's children bear its id: the beginning of all of them means the sweep.
    if all(run is first or run.parent == first.id for run in fits):
        return first
    ids = sorted(run.id for run in fits)
    raise UserError(
        f"{ref!r} is the beginning of {len(ids)} runs: {', '.join(ids[:5])}",
        hint="type more of it",
    )


def _children(run: Run, *, executor: Executor, registry: Registry) -> Sequence[Run]:
    if run.parent:
        return []
    if run.is_at_hand:
        return executor.children(run.id)
    return sorted(registry.runs(limit=10_000, parent=run.id), key=_place)


def _place(child: Run) -> tuple[float, str]:
    number = child.id.rpartition(".")[2]
    return (int(number) if number.isdecimal() else float("inf"), child.id)


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
    if children := _children(run, executor=executor, registry=registry):
        raise UserError(
            f"run {run.id} is a sweep: its {len(children)} children print, not it",
            hint=f"look at one: mlops logs {children[0].id}; at all: mlops show {run.id}",
        )
    if run.is_at_hand:
        yield from executor.log(run.id, follow=verb.follow)
        return
    content = registry.file(run.tracking_id, "mlops_nb/log.txt")
    if content is None:
        raise NotFound(
            f"run {run.id} has no log in the tracking server",
            hint="it printed nothing, or its folder is on another machine"
            if run.state.is_final
            else "it is on another machine and is recorded when the run ends",
        )
    yield from content.decode(errors="replace").splitlines(keepends=True)
