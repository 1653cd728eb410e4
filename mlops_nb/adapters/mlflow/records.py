"""A run as MLflow records it, and back."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlops_nb import wire
from mlops_nb.core.data import Dataset
from mlops_nb.core.events import Progress, advance
from mlops_nb.core.gate import Verdict
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.run import Failure, Placement, Run, RunState
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

T = TypeVar("T")

RUN = "mlops_nb.run"
MANAGED = "mlops_nb.managed"
NOTEBOOK = "mlops_nb.notebook"
NOTEBOOK_NAME = "mlops_nb.notebook_name"
PARENT = "mlops_nb.parent"
SCHEDULE = "mlops_nb.schedule"
PARAMETERS = "mlops_nb.parameters"
_DEFAULTS = "mlops_nb.defaults"
MODEL = "mlops_nb.model"
TRACKING_ID = "mlops_nb.tracking_id"
DATASETS = "mlops_nb.datasets"
ADDRESS = "mlops_nb.address"
PULL_REQUEST = "mlops_nb.pull_request"
PROGRESS = "mlops_nb.progress"
BUNDLE = "mlops_nb.bundle"
CACHED_FROM = "mlops_nb.cached_from"
_EXECUTOR = "mlops_nb.executor"
_PLACEMENT = "mlops_nb.placement"
POD_SECONDS = "mlops_nb.pod_seconds"
LONGEST_PARAMETER = 6000
_BEST = "mlops_nb.best"
_CHILDREN = "mlops_nb.sweep"
_FAILURE = "mlops_nb.failure"
_VERDICT = "mlops_nb.verdict"
_MEMORY = "mlops_nb.peak_memory"
_CELLS = "mlops_nb.cells"
_CHUNK = 5000  # MLflow cuts longer tags without a word, servers of old at this length

STATUS = {
    RunState.QUEUED: "SCHEDULED",
    RunState.RUNNING: "RUNNING",
    RunState.SUCCEEDED: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.CANCELLED: "KILLED",
}
_STATES = {status: state for state, status in STATUS.items()}


def spread(name: str, text: str) -> dict[str, str]:
    """Give the tags `name`, `name.1`, `name.2`, … that hold a text of any length."""
    if len(text) % _CHUNK == 0:
        text += " "  # a last chunk is always shorter than the others
    chunks = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    return {f"{name}.{n}" if n else name: chunk for n, chunk in enumerate(chunks)}


def gather(tags: Mapping[str, str], name: str) -> str:
    """Give the text that `spread` made tags of; empty if there is none."""

    def chunks() -> Iterator[str]:
        n = 0
        while (chunk := tags.get(f"{name}.{n}" if n else name)) is not None:
            yield chunk
            if len(chunk) < _CHUNK:
                return
            n += 1

    return "".join(chunks()).rstrip()


def first_tags(run: Run, user: str) -> dict[str, str]:
    """Give the tags of a run that is about to start."""
    tags = {
        RUN: run.id,
        MANAGED: "true",
        NOTEBOOK: run.notebook,
        NOTEBOOK_NAME: Path(run.notebook).name,
        "mlflow.source.name": Path(run.notebook).name,
        "mlflow.source.type": "NOTEBOOK",
        "mlflow.user": user,
        **spread(PARAMETERS, json.dumps(dict(run.parameters))),
    }
    if run.parent:
        tags[PARENT] = run.parent
    if run.schedule:
        tags[SCHEDULE] = run.schedule
    if run.defaults:
        tags |= spread(_DEFAULTS, json.dumps(dict(run.defaults)))
    if run.best:
        tags[_BEST] = run.best
    if run.children:
        tags[_CHILDREN] = str(run.children)
    tags[_EXECUTOR] = run.executor
    if run.address:
        tags[ADDRESS] = run.address
    if run.placement != Placement():
        tags[_PLACEMENT] = wire.dumps(run.placement)
    return tags


def cleared_tags() -> dict[str, str]:
    """Give the tags by which a run that is done again loses what came of it before."""
    # A tag cannot be deleted together with others.
    return {_FAILURE: "null", _VERDICT: "null", PROGRESS: "null"}


def last_tags(run: Run) -> dict[str, str]:
    """Give the tags of a run that ended."""
    tags = {_CELLS: f"{run.cells_done}/{run.cells}", _MEMORY: str(run.peak_memory)}
    if run.datasets:
        tags |= spread(DATASETS, json.dumps([json.loads(wire.dumps(d)) for d in run.datasets]))
    tags |= spread(_FAILURE, wire.dumps(run.failure) if run.failure else "null")
    if run.verdict:
        tags |= spread(_VERDICT, wire.dumps(run.verdict))
    if run.best:
        tags[_BEST] = run.best
    if run.pull_request is not None:
        tags[PULL_REQUEST] = str(run.pull_request)
    return tags


def read_run(found: MlflowRun, url: str) -> Run:
    """Give the run that MLflow recorded."""
    tags = found.data.tags
    state = _STATES[found.info.status]
    done, _, cells = tags.get(_CELLS, "0/0").partition("/")
    parameters = gather(tags, PARAMETERS)
    run = Run(
        id=tags.get(RUN, found.info.run_name or found.info.run_id),
        notebook=tags.get(NOTEBOOK, ""),
        state=state,
        tracking_id=found.info.run_id,
        url=url,
        parent=tags.get(PARENT, ""),
        schedule=tags.get(SCHEDULE, ""),
        parameters=json.loads(parameters) if parameters else dict(found.data.params),
        defaults=json.loads(gather(tags, _DEFAULTS) or "{}"),
        code_commit=_commit(tags),
        code_note=tags.get("mlops_nb.git.note", ""),
        metrics=dict(found.data.metrics),
        datasets=_read(tuple[Dataset, ...], gather(tags, DATASETS)) or (),
        started=instant(found.info.start_time),
        ended=instant(found.info.end_time) if state.is_final else None,
        cells_done=int(done),
        cells=int(cells or 0),
        peak_memory=int(tags.get(_MEMORY, "0")),
        failure=_read(Failure, gather(tags, _FAILURE)),
        verdict=_read(Verdict, gather(tags, _VERDICT)),
        model=tags.get(MODEL, ""),
        pull_request=int(tags[PULL_REQUEST]) if tags.get(PULL_REQUEST) else None,
        best=tags.get(_BEST, ""),
        children=int(tags.get(_CHILDREN, "0")),
        executor=tags.get(_EXECUTOR, "local"),
        address=tags.get(ADDRESS, ""),
        cached_from=tags.get(CACHED_FROM, ""),
        placement=_read(Placement, tags.get(_PLACEMENT, "")) or Placement(),
        pod_seconds=float(tags.get(POD_SECONDS, "0")),
    )
    progress = None if state.is_final else _read(Progress, gather(tags, PROGRESS))
    return advance(run, progress) if progress else run


def _commit(tags: Mapping[str, str]) -> str:
    commit = tags.get("mlflow.source.git.commit", "")
    is_dirty = commit and tags.get("mlflow.source.git.dirty") == "true"
    return f"{commit}-dirty" if is_dirty else commit


def work(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Give what makes two runs the same work, besides the notebook and its modules."""
    return gather(tags, PARAMETERS), gather(tags, DATASETS)


def read_version(found: MlflowVersion, aliases: Mapping[str, int]) -> ModelVersion:
    """Give the registered version; `aliases` are all of its model."""
    tags = dict(found.tags)
    number = int(found.version)
    return ModelVersion(
        name=found.name,
        version=number,
        source=found.source or "",
        digest=tags.get("mlops_nb.digest", ""),
        flavor=tags.get("mlops_nb.flavor", ""),
        uses_pickle=tags.get("mlops_nb.uses_pickle", "true") == "true",
        run=tags.get(RUN, ""),
        tracking_id=tags.get(TRACKING_ID, found.run_id or ""),
        aliases=tuple(sorted(a for a, version in aliases.items() if int(version) == number)),
        tags=tags,
        created=instant(found.creation_timestamp),
    )


def lineage(tags: Mapping[str, str]) -> dict[str, str]:
    """Give the tags of a run that tell where its model comes from."""
    ends = (
        _CELLS, _MEMORY, _FAILURE, _VERDICT, MANAGED, MODEL, PARAMETERS, _DEFAULTS, _BEST,
        PROGRESS, PULL_REQUEST, ADDRESS, CACHED_FROM, _PLACEMENT, POD_SECONDS,
        "mlops_nb.key", "mlops_nb.request",
    )  # fmt: skip
    return {
        name: value
        for name, value in tags.items()
        if name.startswith(("mlops_nb.", "mlflow.source."))
        and not any(name == end or name.startswith(f"{end}.") for end in ends)
    }


def user_name() -> str:
    """Give the name of who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user id need not have a name.
        return "unknown"


def instant(milliseconds: int | None) -> datetime | None:
    """Give the time of MLflow's milliseconds."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _read(type_: type[T], text: str) -> T | None:
    if not text or text == "null":
        return None
    try:
        return wire.loads(type_, text)
    except UserError:
        # Somebody else's tag, or a later version's; the run itself can still be shown.
        return None
