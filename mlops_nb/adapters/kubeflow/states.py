"""What Kubeflow Pipelines says of a run and its steps, in our words."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from mlops_nb.core.run import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kfp_server_api import V2beta1PipelineTaskDetail, V2beta1Run

STEPS = ("check", "prepare", "train", "validate", "register", "deploy")

_EXECUTOR = re.compile(r"executor(\(\d+\))?")
_ITERATION = re.compile(r"\((\d+):")


class StepState(StrEnum):
    """Where a step stands; only the first two change."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    CACHED = "cached"

    @property
    def is_final(self) -> bool:
        """Whether the state never changes again, short of a retry of the run."""
        return self not in {StepState.QUEUED, StepState.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a run.

    Args:
        name: one of STEPS.
        state: where it stands.
        pod: name of its pod, of the last try; empty while or because it has none.
        iteration: number of the sweep's child, from 0; None outside a sweep.
        started: when it was begun.
        ended: when it became final.
        error: what the server says of its failure; empty if nothing.
    """

    name: str
    state: StepState
    pod: str = ""
    iteration: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    error: str = ""


def run_state(run: V2beta1Run) -> RunState:
    """Give where a run stands; a state that is not known here is still going on."""
    state = str(run.state or "")
    if state == "FAILED" and _was_stopped(run):
        # Kubeflow leaves a run that was stopped in the state of its workflow.
        return RunState.CANCELLED
    return _RUN.get(state, RunState.RUNNING)


def in_words(run: V2beta1Run) -> str:
    """Say what is peculiar about where a run stands; empty where nothing is."""
    state = str(run.state or "")
    if state in _WORDS:
        return _WORDS[state]
    if state in _RUN:
        return ""
    return f"Kubeflow calls its state {state}, which is not known here; taken for running"


def error(run: V2beta1Run) -> str:
    """Give what the server says of a run's failure; empty if nothing."""
    said = [run.error, *(past.error for past in reversed(run.state_history or []))]
    return next((str(each.message) for each in said if each and each.message), "")


def moment(value: datetime | None) -> datetime | None:
    """Give a time, or None for the times by which servers say that there is none."""
    if value is None or value.year <= 1970:
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def steps(run: V2beta1Run) -> Sequence[Step]:
    """Give the steps that the server told of; those of a sweep's child together."""
    details = run.run_details.task_details if run.run_details else None
    tasks: list[V2beta1PipelineTaskDetail] = details or []
    names = _names(tasks)
    stopped = run_state(run) is RunState.CANCELLED
    found = [_step(task, tasks, names, stopped) for task in tasks if task.display_name in STEPS]
    found.extend(_begun(tasks, {step.name for step in found}))
    return sorted(
        found,
        key=lambda step: (
            step.iteration is not None or step.name not in _BEFORE_SWEEP,
            -1 if step.iteration is None else step.iteration,
            STEPS.index(step.name),
        ),
    )


def _was_stopped(run: V2beta1Run) -> bool:
    """Whether somebody stopped the run since it was last begun."""
    past = [str(entry.state or "") for entry in run.state_history or []]
    begun = max((n for n, state in enumerate(past) if state == "RUNNING"), default=-1)
    return any(state in {"CANCELING", "CANCELED"} for state in past[begun + 1 :])


def _step(
    task: V2beta1PipelineTaskDetail,
    tasks: Sequence[V2beta1PipelineTaskDetail],
    names: Mapping[str, str],
    stopped: bool,  # noqa: FBT001 - of a private function
) -> Step:
    state = _STEP.get(str(task.state or ""), StepState.RUNNING)
    executor = _executor(task, tasks)
    if executor is not None:
        inner = str(executor.state or "")
        if state is StepState.SUCCEEDED and inner == "SKIPPED":
            state = StepState.CACHED
        elif state is StepState.RUNNING and inner == "PENDING":
            state = StepState.QUEUED
    if state is StepState.FAILED and stopped:
        state = StepState.CANCELLED
    node, iteration = _last_try(task, names)
    has_pod = state not in {StepState.CACHED, StepState.SKIPPED}
    return Step(
        name=str(task.display_name),
        state=state,
        pod=_pod(node) if node and has_pod else "",
        iteration=iteration,
        started=moment(task.start_time),
        ended=moment(task.end_time) if state.is_final else None,
        error=str(task.error.message or "") if task.error else "",
    )


def _begun(tasks: Iterable[V2beta1PipelineTaskDetail], known: set[str]) -> Iterable[Step]:
    """Give the steps whose driver runs, and that have no node of their own yet."""
    for task in tasks:
        name = str(task.display_name or "").removesuffix("-driver")
        if name == task.display_name or name not in STEPS or name in known:
            continue
        state = _STEP.get(str(task.state or ""), StepState.QUEUED)
        if state in {StepState.RUNNING, StepState.SUCCEEDED}:
            state = StepState.QUEUED
        yield Step(name=name, state=state, started=moment(task.start_time))


def _executor(
    task: V2beta1PipelineTaskDetail, tasks: Sequence[V2beta1PipelineTaskDetail]
) -> V2beta1PipelineTaskDetail | None:
    """Give the record of the step's container: the one whose times are closest to the step's.

    All of them are called `executor`, and none tells whose it is. Times are whole seconds: a
    step that was taken from the cache is over in the second in which the next one begins.
    """
    begun, ended = moment(task.start_time), moment(task.end_time)
    if begun is None:
        return None
    after = [
        (((start - begun).total_seconds(), _apart(moment(other.end_time), ended)), other)
        for other in tasks
        if _EXECUTOR.fullmatch(str(other.display_name or ""))
        and (start := moment(other.start_time)) is not None
        and start >= begun
        and (ended is None or (moment(other.end_time) or start) <= ended)
    ]
    if not after:
        return None
    closest = min(distance for distance, _ in after)
    as_close = [other for distance, other in after if distance == closest]
    # Where a step is tried again, `executor` is the whole and `executor(0)` the pod.
    as_close = [other for other in as_close if other.display_name != "executor"] or as_close
    # Children of a sweep begin together; what differs between them tells nothing of one.
    return as_close[0] if len({str(other.state) for other in as_close}) == 1 else None


def _apart(end: datetime | None, ended: datetime | None) -> float:
    """Give the seconds between two ends; of one that is to come it is not known."""
    if end is None or ended is None:
        return 0.0 if end is ended else math.inf
    return (ended - end).total_seconds()


def _last_try(
    task: V2beta1PipelineTaskDetail, names: Mapping[str, str]
) -> tuple[str, int | None]:
    """Give the node of the step's last try, and the number of the sweep's child."""
    children = [str(child.pod_name) for child in task.child_tasks or [] if child.pod_name]
    if not children:
        return "", None
    node = children[0]
    name = names.get(node, "")
    found = _ITERATION.findall(name)
    tries = [
        (int(match[1]), other)
        for other, path in names.items()
        if name and (match := re.fullmatch(rf"{re.escape(name)}\((\d+)\)", path))
    ]
    return max(tries)[1] if tries else node, int(found[-1]) if found else None


def _pod(node: str) -> str:
    """Give the name that Argo gives the pod of a node."""
    workflow, _, digits = node.rpartition("-")
    return f"{workflow}-system-container-impl-{digits}"


def _names(tasks: Sequence[V2beta1PipelineTaskDetail]) -> Mapping[str, str]:
    """Give the path of each node that is the child of one, by its id.

    The API tells ids of children, and names of nodes, but not which belong together. An id ends
    in a hash (FNV-1a) of the node's path: what hashes to an id that there is, is there.
    """
    ids = {str(child.pod_name) for task in tasks for child in task.child_tasks or []}
    displays = sorted({str(task.display_name or "") for task in tasks})
    workflows = {node.rpartition("-")[0] for node in ids} - {""}
    found: dict[str, str] = {}
    for workflow in workflows:
        # The topmost nodes are nobody's child in some versions.
        paths = [workflow, f"{workflow}.root"]
        sums = [_hash(_OFFSET, path) for path in paths]
        while paths:
            path, total = paths.pop(), sums.pop()
            for display in displays:
                here = _hash(total, f".{display}")
                node = f"{workflow}-{here}"
                if node in ids and node not in found:
                    found[node] = f"{path}.{display}"
                    paths.append(found[node])
                    sums.append(here)
    return found


_OFFSET, _PRIME = 2166136261, 16777619


def _hash(total: int, text: str) -> int:
    for byte in text.encode():
        total = (total ^ byte) * _PRIME & 0xFFFFFFFF
    return total


_RUN: Mapping[str, RunState] = {
    "": RunState.QUEUED,
    "RUNTIME_STATE_UNSPECIFIED": RunState.QUEUED,
    "PENDING": RunState.QUEUED,
    "RUNNING": RunState.RUNNING,
    "PAUSED": RunState.RUNNING,
    "CANCELING": RunState.RUNNING,
    "SUCCEEDED": RunState.SUCCEEDED,
    "SKIPPED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "CANCELED": RunState.CANCELLED,
}
_WORDS: Mapping[str, str] = {
    "PAUSED": "it is paused in Kubeflow",
    "CANCELING": "it is being stopped",
    "SKIPPED": "Kubeflow had nothing to do",
}
# A node without a state is one that Argo left out because a step before it failed.
_STEP: Mapping[str, StepState] = {
    "": StepState.SKIPPED,
    "RUNTIME_STATE_UNSPECIFIED": StepState.SKIPPED,
    "PENDING": StepState.QUEUED,
    "RUNNING": StepState.RUNNING,
    "PAUSED": StepState.RUNNING,
    "CANCELING": StepState.RUNNING,
    "SUCCEEDED": StepState.SUCCEEDED,
    "SKIPPED": StepState.SKIPPED,
    "FAILED": StepState.FAILED,
    "CANCELED": StepState.CANCELLED,
}
_BEFORE_SWEEP = frozenset({"prepare"})
