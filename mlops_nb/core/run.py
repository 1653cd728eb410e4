"""What a run is asked to do and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mlops_nb.core.data import Dataset, DataSource
from mlops_nb.core.gate import Verdict


class RunState(StrEnum):
    """Where a run stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the state never changes again."""
        return self in {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use; None means no limit.

    Args:
        timeout: seconds for the whole run.
        cell_timeout: seconds for any one cell.
        memory: bytes the kernel and its children may hold in memory.
    """

    timeout: float | None = None
    cell_timeout: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a run is to go on, and what it is to be given there.

    Args:
        on: name of the executor; empty takes the project's.
        profile: named resources of mlops.toml; empty takes the executor's default.
        gpu: accelerators instead of the profile's; None leaves them.
        cpu: CPU request instead of the profile's, as a Kubernetes quantity.
        memory: bytes instead of the profile's.
        image: container image instead of the profile's.
    """

    on: str = ""
    profile: str = ""
    gpu: int | None = None
    cpu: str = ""
    memory: int | None = None
    image: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What is run: bound, checked, free of secrets' values.

    Args:
        notebook: absolute path of the notebook as the user named it.
        parameters: values to inject, by parameter name; JSON values only.
        secrets: reference (`NAME` of `secret:NAME`) by parameter name; the runner looks the
            value up and passes it to the kernel in its environment.
        data: sources to stage before the run; each is passed to the parameter of its name.
        kernel: kernelspec name; None takes the notebook's own, or python3.
        limits: what the run may use.
    """

    notebook: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    data: tuple[DataSource, ...] = ()
    kernel: str | None = None
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run did not succeed.

    Args:
        reason: one sentence, in words.
        hint: the one thing to do next; empty where there is none.
        cell: number of the failing code cell, counted from 1; None if no cell was at fault.
        ename: exception class raised in the cell; empty if none.
        evalue: its message.
        traceback: its traceback as plain text.
        step: what failed: `run`, or the step after it: `record`, `gates`, `register`, `deploy`.
        error: name of the class of `mlops_nb.errors` that a waiting caller is given.
        verdict: every gate that the step was held to, its environment's among them, where one
            of these refused it.
    """

    reason: str
    hint: str = ""
    cell: int | None = None
    ename: str = ""
    evalue: str = ""
    traceback: str = ""
    step: str = "run"
    error: str = "RunFailed"
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of a run.

    Args:
        id: the run's name for people, unique in its tracking server: `churn-3fa9c1`.
        notebook: path of the notebook as the user named it.
        state: where it stands.
        tracking_id: MLflow's run id; empty until the run is recorded there.
        url: page of the run in the tracking server; empty for a store without one.
        directory: run directory on this machine; empty for a run made elsewhere.
        parent: id of the sweep it belongs to; empty if none.
        schedule: name of the schedule that started it; empty if none did.
        parameters: injected values; secrets appear as `secret:NAME`.
        defaults: values of the notebook's other parameters, as its own cell sets them: the
            value, or the source text of one that is no literal; known once the run is recorded.
        code_commit: commit of the notebook's repository, `…-dirty` if it had changes; empty if
            unknown.
        code_note: what could not be told of that repository, in words; empty if nothing.
        metrics: last value by name.
        datasets: what was staged, with its digest.
        started: when the runner took it up; None before.
        ended: when it became final; None before.
        cells_done: code cells that finished.
        cells: code cells in all.
        last_line: last line the notebook printed.
        peak_memory: most bytes the kernel and its children held at once; 0 if unknown.
        failure: why it did not succeed.
        verdict: its gates, once judged.
        model: registered version as `name/version`; empty if none.
        pull_request: number of the deployment pull request; None if none.
        best: `max:METRIC` or `min:METRIC` of a sweep; empty if none.
        children: how many runs a sweep consists of; 0 of a run that is none.
        executor: name of the executor that runs it.
        address: the executor's own id of it: Kubeflow's run id; empty on this machine.
        doing: the step it is at or what it waits for, in words; empty if there is no more to
            say than its state.
        cached_from: id of the earlier run whose result was taken, because it was the same
            work; empty if the notebook was run.
        placement: what it was given, where an executor gives anything.
        pod_seconds: seconds that pods were training for it, of all tries and children
            together; 0 where none did, or it is not known yet.
    """

    id: str
    notebook: str
    state: RunState
    tracking_id: str = ""
    url: str = ""
    directory: str = ""
    parent: str = ""
    schedule: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    defaults: Mapping[str, object] = field(default_factory=dict)
    code_commit: str = ""
    code_note: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: tuple[Dataset, ...] = ()
    started: datetime | None = None
    ended: datetime | None = None
    cells_done: int = 0
    cells: int = 0
    last_line: str = ""
    peak_memory: int = 0
    failure: Failure | None = None
    verdict: Verdict | None = None
    model: str = ""
    pull_request: int | None = None
    best: str = ""
    children: int = 0
    executor: str = "local"
    address: str = ""
    doing: str = ""
    cached_from: str = ""
    placement: Placement = Placement()
    pod_seconds: float = 0.0

    @property
    def judged_last(self) -> Verdict | None:
        """The verdict that decided: of a step that gates refused, else the run's own."""
        return (self.failure and self.failure.verdict) or self.verdict

    @property
    def is_schedule(self) -> bool:
        """Whether it is no run, but the record that a schedule's runs are copied from."""
        return bool(self.schedule) and self.schedule == self.id

    @property
    def is_at_hand(self) -> bool:
        """Whether its executor can be asked about it from here; a record is all of others."""
        return bool(self.directory) or self.executor != "local"
