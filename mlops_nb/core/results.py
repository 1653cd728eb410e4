"""What verbs give back where no other domain value says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_nb.core.delivery import Deployed, Deployment, Merged
from mlops_nb.core.dora import DoraReport
from mlops_nb.core.gate import Verdict
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.notebook import Notebook
from mlops_nb.core.recurring import Scheduled, ScheduleList
from mlops_nb.core.rollout import Status
from mlops_nb.core.run import Run
from mlops_nb.core.tracing import Trace
from mlops_nb.core.verification import Verification, Workflow
from mlops_nb.errors import GateFailed, MlopsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialized:
    """A project that is ready for use.

    Args:
        folder: the project's folder.
        settings: path of mlops.toml.
        repository: path or URL of the GitOps repository.
        created: what this call made; empty if everything was there.
    """

    folder: str
    settings: str
    repository: str
    created: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One configured part, tried.

    Args:
        name: the part.
        ok: whether it works.
        detail: what was found, in words.
        hint: how to mend it; empty if it works.
        seconds: how long the try took.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Every configured part, tried."""

    probes: tuple[Probe, ...]

    @property
    def healthy(self) -> bool:
        """Whether every part works."""
        return all(probe.ok for probe in self.probes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """A sweep and its children.

    Args:
        run: the sweep itself.
        children: its runs, in the order of their sets.
        best: id of the best child; empty if none is known.
    """

    run: Run
    children: tuple[Run, ...]
    best: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs to be read side by side."""

    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """Runs, newest first.

    Args:
        runs: as many as were asked for.
        next: what `after` takes to go on with older ones; empty if there are none.
    """

    runs: tuple[Run, ...]
    next: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelList:
    """Versions of registered models, newest first."""

    versions: tuple[ModelVersion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentHistory:
    """What was deployed where, newest first."""

    deployments: tuple[Deployed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusList:
    """Where deployments stand.

    Args:
        statuses: one for each model and environment.
        timed_out: whether they were watched, and not all had settled in time.
    """

    statuses: tuple[Status, ...]
    timed_out: bool = False

    @property
    def is_bad(self) -> bool:
        """Whether a version that Git says did not come through."""
        return any(status.stage.is_bad for status in self.statuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What was seen of deployments, and done about it.

    Args:
        statuses: one for each model and environment.
        done: what was done, in words; empty where nothing was to do.
        pull_requests: numbers of the pull requests that revert aborted versions.
    """

    statuses: tuple[Status, ...]
    done: tuple[str, ...] = ()
    pull_requests: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What a request would submit, had it not been a dry run.

    Args:
        files: texts by file name.
    """

    files: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ejected:
    """What was written to go on without this tool.

    Args:
        folder: where it is.
        files: paths in it.
        commands: what to type there next, in a shell.
    """

    folder: str
    files: tuple[str, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What a run printed.

    Args:
        lines: without their ends.
    """

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """Runs that were deleted, or brought back.

    Args:
        runs: their ids, sweeps' children among them.
        is_restored: whether they were brought back.
        lost: those of which nothing was recorded, so that they cannot be brought back.
    """

    runs: tuple[str, ...]
    is_restored: bool = False
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a verb was not done.

    Args:
        type: class of `mlops_nb.errors`.
        message: what is wrong, with the value.
        hint: the one thing to do next; empty where there is none.
        exit_code: exit code of the shell.
        verdict: every gate, judged, where one refused; else None.
    """

    type: str
    message: str
    hint: str
    exit_code: int
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The document of a verb that was not done."""

    error: Fault

    @classmethod
    def of(cls, error: MlopsError) -> Refused:
        """Give the document of an error."""
        return cls(
            error=Fault(
                type=type(error).__name__,
                message=error.message,
                hint=error.hint,
                exit_code=error.exit_code,
                verdict=error.verdict if isinstance(error, GateFailed) else None,
            )
        )


DOCUMENTS: Mapping[str, Any] = {
    "init": Initialized,
    "doctor": Diagnosis,
    "inspect": Notebook,
    "train": Run | Rendered,
    "sweep": SweepResult | Run,
    "schedule": Scheduled,
    "schedule update": Scheduled,
    "schedule pause": Scheduled,
    "schedule resume": Scheduled,
    "schedule delete": Scheduled,
    "schedules": ScheduleList,
    "runs": RunList,
    "show": SweepResult | Scheduled | Run,
    "logs": Log,
    "cancel": Run,
    "delete": Deleted,
    "retry": SweepResult | Run | Status,
    "compare": Comparison,
    "register": ModelVersion,
    "models": ModelList,
    "deploy": Deployment,
    "merge": Merged,
    "status": StatusList,
    "promote": Status,
    "abort": Status,
    "follow": Followed,
    "history": DeploymentHistory,
    "rollback": Deployment,
    "trace": Trace,
    "dora": DoraReport,
    "verify-pr": Verification | Workflow,
    "eject": Ejected,
}
"""What each verb gives; `logs` gives its lines one by one, and as a document a Log."""
