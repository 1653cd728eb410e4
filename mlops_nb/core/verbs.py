"""What a user can ask for; every face makes one of these, `Project.run` takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from mlops_nb.core.recurring import (
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    Schedule,
    Schedules,
    UpdateSchedule,
)
from mlops_nb.core.request import Request, Work, above_zero, at_least
from mlops_nb.core.run import Placement, Run, RunSpec, RunState
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "BY_NAME", "Abort", "Cancel", "Compare", "Delete", "DeleteSchedule", "Deploy", "Doctor",
    "Dora", "Eject", "Follow", "History", "Init", "Inspect", "Job", "Logs", "Merge", "Models",
    "PauseSchedule", "Promote", "Register", "ResumeSchedule", "Retry", "Rollback", "Runs",
    "Schedule", "Schedules", "Show", "Status", "Sweep", "Trace", "Train", "UpdateSchedule",
    "Verb", "VerifyPr",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """Write mlops.toml and, where no remote is named, a local GitOps repository."""

    gitops: str = ""
    verb: Literal["init"] = "init"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Probe every configured part.

    Args:
        timeout: seconds that each may take.
        inside: whether a pod on Kubeflow is to try what pods need, too; it may take three
            minutes, or `timeout` if that is more.
        verb: the word for it.
    """

    timeout: float = 10.0
    inside: bool = False
    verb: Literal["doctor"] = "doctor"

    def __post_init__(self) -> None:
        """Refuse a time in which nothing answers."""
        above_zero(timeout=self.timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Show a notebook's declared parameters."""

    notebook: str
    verb: Literal["inspect"] = "inspect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Train(Request):
    """Run a notebook; judge, register and propose its model where asked.

    Args:
        wait: True waits for the end, False returns at once, None lets the face decide.
        key: idempotency key; the same key gives the same run.
        dry_run: show what would be submitted, submit nothing.
    """

    wait: bool | None = None
    key: str = ""
    dry_run: bool = False
    verb: Literal["train"] = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep(Work):
    """Run a notebook once for each set of parameters; limits and places are each child's.

    Args:
        parameters: text by name: `0.1,0.01` lists values, `2..8` counts, anything else is one.
        file: CSV file, one set a row; its columns are parameters.
        random: how many of the sets to draw; 0 takes all.
        seed: seed of the drawing.
        parallel: how many children run at once.
        best: `max:METRIC` or `min:METRIC`.
        wait: as of a single run, for the whole sweep.
    """

    file: str = ""
    random: int = 0
    seed: int = 0
    parallel: int = 1
    best: str = ""
    wait: bool | None = None
    verb: Literal["sweep"] = "sweep"

    def __post_init__(self) -> None:
        """Refuse numbers that run nothing."""
        Work.__post_init__(self)
        at_least(0, random=self.random)
        at_least(1, parallel=self.parallel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """List runs, newest first.

    Args:
        notebook: path of a notebook, its end, or its name; empty for all.
        state: only runs in this state; empty for any.
        limit: how many at most.
        after: `next` of the list that this one goes on from; empty begins with the newest.
        verb: the word for it.
    """

    notebook: str = ""
    state: str = ""
    limit: int = 20
    after: str = ""
    verb: Literal["runs"] = "runs"

    def __post_init__(self) -> None:
        """Refuse a list of nothing."""
        at_least(1, limit=self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """Show a run; of a sweep, its children too; a schedule by its name."""

    run: str
    verb: Literal["show"] = "show"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """Show what a run printed."""

    run: str
    follow: bool = False
    verb: Literal["logs"] = "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop a run."""

    run: str
    verb: Literal["cancel"] = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete runs that ended, or bring back what is recorded of them.

    Args:
        runs: ids of runs; to bring them back, whole ones.
        restore: whether they were deleted and are to come back.
        verb: the word for it.
    """

    runs: tuple[str, ...]
    restore: bool = False
    verb: Literal["delete"] = "delete"

    def __post_init__(self) -> None:
        """Refuse to delete nothing."""
        if not self.runs:
            raise UserError(
                "no run is named", hint="name one or more: mlops delete churn-3fa9c1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Do again what failed: the notebook, or only the step after it; of a sweep, its rest.

    Args:
        run: the run; with `env`, the model whose canary is to be tried again.
        wait: True waits for the end, False returns at once, None lets the face decide.
        env: environment of the canary; empty where it is about a run.
    """

    run: str
    wait: bool | None = None
    env: str = ""
    verb: Literal["retry"] = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Show runs' parameters and metrics side by side."""

    runs: tuple[str, ...]
    verb: Literal["compare"] = "compare"


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """Register a run's model, if its gates pass."""

    run: str
    name: str
    gates: tuple[str, ...] = ()
    verb: Literal["register"] = "register"


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """List registered models' versions."""

    name: str = ""
    verb: Literal["models"] = "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """Propose a model version to an environment.

    Args:
        model: `NAME`, `NAME/VERSION` or `NAME@ALIAS`.
        to: environment.
        canary: percentages such as `5,25,50,100`; None takes the environment's.
        dry_run: show the change, write nothing.
    """

    model: str
    to: str
    canary: str | None = None
    dry_run: bool = False
    verb: Literal["deploy"] = "deploy"

    def __post_init__(self) -> None:
        """Refuse an empty plan: a variable that was never set is no wish for the default."""
        if self.canary is not None and not self.canary.strip():
            raise UserError(
                "canary is empty",
                hint="give rising percentages that end at 100, e.g. --canary 5,25,50,100, or "
                "leave it out: the environment has its own",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Merge a pull request of the GitOps repository."""

    number: int
    verb: Literal["merge"] = "merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Tell who deployed which model when, and with what data, from Git alone."""

    model: str = ""
    env: str = ""
    limit: int = 50
    verb: Literal["history"] = "history"

    def __post_init__(self) -> None:
        """Refuse a list of nothing."""
        at_least(1, limit=self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Tell what belongs together: notebook, run, version, commit, pull request, image, pods."""

    ref: str
    verb: Literal["trace"] = "trace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dora:
    """Give deployment frequency, lead time, change fail rate and recovery time.

    Args:
        model: registered model; empty for every one.
        env: environment; empty for every one.
        since: seconds to look back.
    """

    model: str = ""
    env: str = ""
    since: float = 90 * 86_400.0
    verb: Literal["dora"] = "dora"

    def __post_init__(self) -> None:
        """Refuse a time in which nothing was deployed."""
        above_zero(since=self.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyPr:
    """Verify a pull request of the GitOps repository: for its CI.

    Args:
        repo: a clone of the repository.
        base: branch that the cluster follows, or a commit of it; empty takes origin's.
        head: what is proposed.
        gates: gates the versions must pass, besides those they were proposed with.
        workflow: github or gitlab gives the file that has its CI do this; empty verifies.
    """

    repo: str = "."
    base: str = ""
    head: str = "HEAD"
    gates: tuple[str, ...] = ()
    workflow: str = ""
    verb: Literal["verify-pr"] = "verify-pr"

    def __post_init__(self) -> None:
        """Refuse the file of a forge whose CI is not known."""
        if self.workflow not in {"", "github", "gitlab"}:
            raise UserError(
                f"there is no workflow for {self.workflow!r}", hint="known: github, gitlab"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """Propose the return to an earlier version.

    Args:
        model: registered model.
        env: environment.
        to: version to return to; 0 takes the one before.
        reason: why, for the record.
        dry_run: show the change and what it would meet, write nothing.
    """

    model: str
    env: str
    to: int = 0
    reason: str = ""
    dry_run: bool = False
    verb: Literal["rollback"] = "rollback"

    def __post_init__(self) -> None:
        """Refuse what is no version."""
        at_least(0, to=self.to)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Tell where deployments stand: proposed, merged, synced, canary, healthy.

    Args:
        model: registered model; empty for every one.
        env: environment; empty for every one.
        watch: stay until each is healthy, was aborted, or does not come up.
        interval: seconds between two looks.
        timeout: seconds after which watching ends; None never does.
    """

    model: str = ""
    env: str = ""
    watch: bool = False
    interval: float = 2.0
    timeout: float | None = None
    verb: Literal["status"] = "status"

    def __post_init__(self) -> None:
        """Refuse times in which nothing can be seen."""
        above_zero(interval=self.interval, timeout=self.timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """Let a canary go on to its next step; `full` gives it all traffic at once."""

    model: str
    env: str
    full: bool = False
    verb: Literal["promote"] = "promote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """End a canary: the stable version gets all traffic back.

    Args:
        model: registered model.
        env: environment.
        reason: why, for the record.
    """

    model: str
    env: str
    reason: str = ""
    verb: Literal["abort"] = "abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """Answer what the cluster did: revert what it aborted, point aliases at what it runs.

    Args:
        model: registered model; empty for every one.
        env: environment; empty for every one.
        once: look once, for cron or CI, instead of until interrupted.
        interval: seconds between two looks.
    """

    model: str = ""
    env: str = ""
    once: bool = False
    interval: float = 30.0
    verb: Literal["follow"] = "follow"

    def __post_init__(self) -> None:
        """Refuse times in which nothing can be seen."""
        above_zero(interval=self.interval)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eject(Request):
    """Write what a submission consists of, to go on without this tool.

    Args:
        to: folder to write; empty takes `NOTEBOOK-ejected`, beside the notebook.
        kubernetes: whether the pipeline is written as Kubernetes manifests, too.
        model: `NAME`, `NAME/VERSION` or `NAME@ALIAS` whose deployment is written, too.
        env: environment of that deployment.
    """

    to: str = ""
    kubernetes: bool = False
    model: str = ""
    env: str = ""
    verb: Literal["eject"] = "eject"

    def __post_init__(self) -> None:
        """Refuse limits under which nothing runs, and half a deployment."""
        Request.__post_init__(self)
        if bool(self.model) != bool(self.env):
            raise UserError(
                "--model and --env go together", hint="e.g. --model credit/3 --env prod"
            )


Verb = (
    Init | Doctor | Inspect | Train | Sweep | Schedule | UpdateSchedule | PauseSchedule
    | ResumeSchedule | DeleteSchedule | Schedules | Runs | Show | Logs | Cancel | Delete | Retry
    | Compare | Register | Models | Deploy | Merge | Status | Promote | Abort | Follow | History
    | Rollback | Trace | Dora | VerifyPr | Eject
)  # fmt: skip

BY_NAME: Mapping[str, Callable[..., Verb]] = {
    str(verb.__dataclass_fields__["verb"].default): verb for verb in get_args(Verb)
}
"""Every verb's class, by the word that people type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an executor is handed: one run and the steps after it.

    Args:
        id: id of the run, for people.
        spec: what to run.
        gates: expressions to judge by, besides those that mlops.toml has for `register` when it
            is judged.
        register: name to register under; empty registers none.
        deploy: environment to propose to; empty proposes none.
        retries: how often a run that failed for no fault of the notebook's is started again.
        parent: id of the sweep it belongs to; empty if none.
        key: idempotency key; empty for none.
        children: jobs of a sweep; the notebook is then run for each of them, not for this one.
        parallel: how many children run at once.
        best: `max:METRIC` or `min:METRIC` by which a sweep names its best child.
        project: folder of the project, with mlops.toml.
        requested_by: who asked, `Name <mail>` or a user name.
        placement: where it is to go on.
    """

    id: str
    spec: RunSpec
    project: str
    gates: tuple[str, ...] = ()
    register: str = ""
    deploy: str = ""
    retries: int = 0
    parent: str = ""
    key: str = ""
    requested_by: str = ""
    children: tuple[Job, ...] = ()
    parallel: int = 1
    best: str = ""
    placement: Placement = Placement()

    def queued(self, directory: str) -> Run:
        """Give the run as it is before its runner said anything; secrets stay references."""
        spec = self.spec
        secrets = {name: f"secret:{reference}" for name, reference in spec.secrets.items()}
        return Run(
            id=self.id,
            notebook=spec.notebook,
            state=RunState.QUEUED,
            directory=directory,
            parent=self.parent,
            parameters={**spec.parameters, **secrets},
            best=self.best,
            children=len(self.children),
        )
