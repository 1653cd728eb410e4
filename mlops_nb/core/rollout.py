"""What a cluster runs beside what Git says: where it stands, in words, and what may be done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mlops_nb.core.analysis import Phase
from mlops_nb.core.change import PullRequest
from mlops_nb.errors import UserError

INCONCLUSIVE_PAUSE = "InconclusiveAnalysis"
"""Why Argo Rollouts pauses where an analysis could not tell."""
_ASSESSED = (
    "assessed"  # as in: Metric "p95" assessed Failed due to failed (2) > failureLimit (1)
)


def deployed_tag(environment: str) -> str:
    """Name the version's tag that says what became of it in an environment."""
    return f"mlops_nb.deployed.{environment}"


def abort_tag(environment: str) -> str:
    """Name the version's tag that says why a person aborted it in an environment."""
    return f"mlops_nb.aborted.{environment}"


class RolloutPhase(StrEnum):
    """Where a rollout stands, as Argo Rollouts words it."""

    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    DEGRADED = "Degraded"
    UNKNOWN = "Unknown"


class Action(StrEnum):
    """What a person may ask of a running rollout."""

    PROMOTE = "promote"
    PROMOTE_FULL = "promote-full"
    ABORT = "abort"
    RETRY = "retry"


class Operation(StrEnum):
    """What a rollout is told; the words are those of Argo CD's actions."""

    RESUME = "resume"
    SKIP_STEP = "skip-current-step"
    PROMOTE_FULL = "promote-full"
    ABORT = "abort"
    RETRY = "retry"


class Stage(StrEnum):
    """How far a deployment is on its way from Git to all of the traffic."""

    UNDEPLOYED = "undeployed"
    UNSEEN = "unseen"
    SYNCING = "syncing"
    STARTING = "starting"
    CANARY = "canary"
    PAUSED = "paused"
    ABORTED = "aborted"
    DEGRADED = "degraded"
    HEALTHY = "healthy"

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens until somebody does something."""
        return self not in {Stage.SYNCING, Stage.STARTING, Stage.CANARY, Stage.PAUSED}

    @property
    def is_bad(self) -> bool:
        """Whether the version that Git says did not come through."""
        return self in {Stage.ABORTED, Stage.DEGRADED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A version as pods carry it.

    Args:
        version: the version; 0 where the pods do not tell.
        digest: digest of the model; empty where they do not tell.
        template: hash of their pod template, as Argo Rollouts labels them.
    """

    version: int = 0
    digest: str = ""
    template: str = ""

    def __str__(self) -> str:
        """Give the version, or the pods' template where they do not tell it."""
        return str(self.version) if self.version else f"pods {self.template or 'unknown'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A metric of an analysis, with what it came to.

    Args:
        metric: its name.
        phase: what it came to.
        value: the measurement that decided, or else the last; None where there was no sample.
        judged: the value and its limit in words: `3.79 > 1.2`; empty where nothing was judged.
        query: the query, its arguments filled in.
        condition: the condition that was evaluated, its arguments filled in.
        count: measurements so far.
        message: what Argo Rollouts says of it.
        is_dry_run: whether it is observed and not judged.
    """

    metric: str
    phase: Phase
    value: float | None = None
    judged: str = ""
    query: str = ""
    condition: str = ""
    count: int = 0
    message: str = ""
    is_dry_run: bool = False

    @property
    def words(self) -> str:
        """Give the metric and what it came to: `p95-latency-ratio 3.79 > 1.2`."""
        if self.phase is Phase.INCONCLUSIVE and self.value is None:
            return f"{self.metric}: no data, or too few requests"
        if self.phase is Phase.ERROR:
            return f"{self.metric}: {self.message or 'could not be measured'}"
        return f"{self.metric} {self.judged or self.phase.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """One analysis run of a canary.

    Args:
        name: its name in the cluster.
        phase: what it came to.
        weight: share of the traffic it judged, in percent; None in the background of all.
        metrics: its metrics.
        message: what Argo Rollouts says of it.
        created: when it began.
    """

    name: str
    phase: Phase
    weight: int | None = None
    metrics: tuple[Measured, ...] = ()
    message: str = ""
    created: datetime | None = None

    @property
    def decisive(self) -> tuple[Measured, ...]:
        """Give the metrics that made it what it is, where it did not succeed."""
        if self.phase in {Phase.SUCCESSFUL, Phase.RUNNING}:
            return ()
        return tuple(m for m in self.metrics if m.phase is self.phase and not m.is_dry_run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A live rollout.

    Args:
        phase: where it stands.
        message: why, in the words of Argo Rollouts.
        step: steps done.
        steps: steps in all.
        weight: share of the traffic that the canary has, in percent.
        wanted: what its manifest asks for.
        stable: what serves; None before anything does.
        is_observed: whether Argo Rollouts has seen the manifest as it is now.
        pause: why it is paused, in the words of Argo Rollouts; empty while it is not.
        is_aborted: whether the version wanted was given up.
        aborted: when it was.
        aborted_weight: share of the traffic it had then; None where that cannot be told.
        analyses: analysis runs of the version wanted, oldest first.
    """

    phase: RolloutPhase
    wanted: Served
    message: str = ""
    step: int = 0
    steps: int = 0
    weight: int = 0
    stable: Served | None = None
    is_observed: bool = True
    pause: str = ""
    is_aborted: bool = False
    aborted: datetime | None = None
    aborted_weight: int | None = None
    analyses: tuple[Analysis, ...] = ()

    @property
    def has_canary(self) -> bool:
        """Whether the version wanted is not yet what serves everybody."""
        return self.stable is not None and self.wanted.template != self.stable.template

    @property
    def is_moving(self) -> bool:
        """Whether a canary is on its way, paused or not."""
        return self.has_canary and not self.is_aborted

    @property
    def failing(self) -> tuple[Measured, ...]:
        """Give the metrics for which it was aborted, or is paused because nothing is known.

        Where a person ended it, Argo Rollouts names no metric: none is to blame, then.
        """
        if self.is_aborted:
            wanted = {Phase.FAILED, Phase.ERROR} if _ASSESSED in self.message else set()
        else:
            wanted = {Phase.INCONCLUSIVE} if self.pause == INCONCLUSIVE_PAUSE else set()
        for analysis in reversed(self.analyses):
            if analysis.phase in wanted and analysis.decisive:
                return analysis.decisive
        return ()

    @property
    def is_step_undecided(self) -> bool:
        """Whether the analysis without a verdict is that of the step, not one behind it all."""
        steps = [a.phase for a in self.analyses if a.weight is not None]
        return not self.analyses or steps[-1:] == [Phase.INCONCLUSIVE]

    @property
    def why(self) -> str:
        """Say why it was aborted or is paused."""
        if self.failing:
            return "; ".join(metric.words for metric in self.failing)
        return self.message.removeprefix("RolloutAborted: ")

    @property
    def identity(self) -> str:
        """Tell this abort from any other; empty while nothing is aborted."""
        if not self.is_aborted:
            return ""
        when = self.aborted.isoformat() if self.aborted else ""
        return f"{self.wanted.template} {when}".strip()

    @property
    def actions(self) -> tuple[Action, ...]:
        """Give what may be asked of it now."""
        if not self.has_canary:
            return ()
        if self.is_aborted:
            return (Action.RETRY,)
        again = (Action.RETRY,) if self.pause == INCONCLUSIVE_PAUSE else ()
        return (*again, Action.PROMOTE, Action.PROMOTE_FULL, Action.ABORT)


def operation(rollout: Rollout, action: Action, where: str) -> Operation:
    """Give what a rollout must be told for it to do what a person asks.

    A pause that a step asked for is resumed. An inconclusive analysis, resumed, is measured
    again: to go on regardless is to skip its step, and so it is while one is running, as
    `kubectl argo rollouts promote` does. One in the background belongs to no step that could
    be skipped.

    Args:
        rollout: the rollout as it is.
        action: what is asked.
        where: model and environment in words, for errors.

    Raises:
        UserError: if it cannot do that now.
    """
    if action not in rollout.actions:
        raise UserError(
            f"{where} cannot do that now: {state_of(rollout)}",
            hint=f"it may be told: {', '.join(rollout.actions)}"
            if rollout.actions
            else "there is nothing to steer until another version is deployed",
        )
    match action:
        case Action.PROMOTE:
            is_undecided = rollout.pause == INCONCLUSIVE_PAUSE and rollout.is_step_undecided
            skips = not rollout.pause or is_undecided
            return Operation.SKIP_STEP if skips else Operation.RESUME
        case Action.PROMOTE_FULL:
            return Operation.PROMOTE_FULL
        case Action.ABORT:
            return Operation.ABORT
        case Action.RETRY:
            return Operation.RETRY if rollout.is_aborted else Operation.RESUME


def state_of(rollout: Rollout) -> str:
    """Say in a few words what a rollout is doing."""
    stable = rollout.stable
    if rollout.is_aborted and rollout.has_canary:
        return f"its canary {rollout.wanted} was aborted"
    if stable is None:
        return f"{rollout.wanted} is starting, and nothing served before"
    if not rollout.has_canary:
        return f"{stable} has all of the traffic and no canary is running"
    how = "paused" if rollout.pause else "running"
    return f"the canary {rollout.wanted} is {how} at {rollout.weight} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncWindow:
    """A time in which Argo CD may, or may not, bring Git's state into the cluster.

    Args:
        kind: allow or deny.
        schedule: cron expression of its beginning.
        duration: how long it lasts, as `1h`.
        is_active: whether it is open now.
    """

    kind: str
    schedule: str
    duration: str
    is_active: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What Argo CD says of a deployment.

    Args:
        name: the application.
        sync: Synced, OutOfSync or Unknown.
        health: Healthy, Progressing, Suspended, Degraded, Missing or Unknown.
        revision: commit of the GitOps repository that was applied last.
        message: what Argo CD says of a trouble; empty if there is none.
        url: its page.
        can_sync: whether its sync windows let it follow Git now.
        windows: its sync windows.
        synced: when it was brought to that commit.
    """

    name: str
    sync: str = "Unknown"
    health: str = "Unknown"
    revision: str = ""
    message: str = ""
    url: str = ""
    can_sync: bool = True
    windows: tuple[SyncWindow, ...] = ()
    synced: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A model in an environment: what Git says, what is proposed, what the cluster runs.

    Args:
        model: the model.
        environment: the environment.
        stage: how far it is.
        version: version that Git says; 0 if none.
        digest: its digest.
        summary: where it stands, in one sentence.
        drift: in words, how the cluster differs from Git, and why; empty where it does not.
        next: lines that may be typed next.
        actions: what may be asked of the rollout now.
        pull_request: open pull request of the model there; None if there is none.
        application: what Argo CD says; None where it was not asked or does not know.
        rollout: the live rollout; None where there is none or it was not asked for.
        trouble: why the cluster could not be asked; empty if it was.
    """

    model: str
    environment: str
    stage: Stage
    version: int = 0
    digest: str = ""
    summary: str = ""
    drift: str = ""
    next: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    pull_request: PullRequest | None = None
    application: Application | None = None
    rollout: Rollout | None = None
    trouble: str = ""

    @property
    def where(self) -> str:
        """Give model and environment in words."""
        return f"{self.model} in {self.environment}"
