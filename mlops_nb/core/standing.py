"""From what Git, Argo CD and a rollout each say to where a deployment stands, in words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlops_nb.core.change import LockFile, PullRequest
from mlops_nb.core.rollout import (
    INCONCLUSIVE_PAUSE,
    Application,
    Rollout,
    RolloutPhase,
    Stage,
    Status,
)

_SHORT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What was seen of a model in an environment.

    Args:
        model: the model.
        environment: the environment.
        lock: record on base; None where nothing is deployed.
        pull_request: open pull request; None if there is none.
        has_cluster: whether a cluster is configured to be asked.
        application: what Argo CD says.
        rollout: the live rollout.
        trouble: why the cluster could not be asked; empty if it was.
    """

    model: str
    environment: str
    lock: LockFile | None = None
    pull_request: PullRequest | None = None
    has_cluster: bool = True
    application: Application | None = None
    rollout: Rollout | None = None
    trouble: str = ""


def status_of(sight: Sight) -> Status:
    """Tell where a deployment stands."""
    stage = _stage(sight)
    lock = sight.lock
    status = Status(
        model=sight.model,
        environment=sight.environment,
        stage=stage,
        version=lock.version if lock else 0,
        digest=lock.digest if lock else "",
        pull_request=sight.pull_request,
        application=sight.application,
        rollout=sight.rollout,
        actions=sight.rollout.actions if sight.rollout else (),
        trouble=sight.trouble,
    )
    return replace(
        status, summary=_summary(sight, stage), drift=_drift(sight, stage), next=_next(status)
    )


def _stage(sight: Sight) -> Stage:
    lock, rollout, application = sight.lock, sight.rollout, sight.application
    if lock is None:
        return Stage.UNDEPLOYED
    if not sight.has_cluster or sight.trouble:
        return Stage.UNSEEN
    if rollout is None:
        return _stage_of_application(application)
    return Stage.SYNCING if _lags(lock, rollout) else _stage_of_rollout(rollout)


def _stage_of_rollout(rollout: Rollout) -> Stage:
    if rollout.is_aborted and rollout.has_canary:
        return Stage.ABORTED
    if rollout.phase is RolloutPhase.DEGRADED:
        return Stage.DEGRADED
    if rollout.stable is None:
        return Stage.STARTING
    if rollout.has_canary:
        return Stage.PAUSED if rollout.phase is RolloutPhase.PAUSED else Stage.CANARY
    is_there = rollout.phase in {RolloutPhase.HEALTHY, RolloutPhase.UNKNOWN}
    return Stage.HEALTHY if is_there else Stage.STARTING


def _stage_of_application(application: Application | None) -> Stage:
    """Tell it where there is no rollout, as of KServe's own resources."""
    if application is None or application.sync != "Synced":
        return Stage.SYNCING
    by_health = {"Healthy": Stage.HEALTHY, "Degraded": Stage.DEGRADED}
    return by_health.get(application.health, Stage.STARTING)


def _lags(lock: LockFile, rollout: Rollout) -> bool:
    """Whether the cluster does not yet want what Git says."""
    if not rollout.is_observed:
        return True
    wanted = rollout.wanted
    if wanted.version and wanted.version != lock.version:
        return True
    return bool(wanted.digest and lock.digest and wanted.digest != lock.digest)


def _runs(rollout: Rollout | None) -> str:
    if rollout is None or rollout.stable is None:
        return "nothing runs yet"
    return f"the cluster runs {rollout.stable}"


def _share(rollout: Rollout) -> str:
    weight = rollout.aborted_weight
    return "" if weight is None else f" at {weight} %"


def _waiting(sight: Sight) -> str:
    """Say why the cluster has not taken Git's state over yet."""
    application = sight.application
    if sight.lock and sight.lock.contradiction:
        return f"its record was edited by hand: {sight.lock.contradiction}"
    if application is None:
        return "it was not synced yet"
    if application.message:
        return f"Argo CD cannot sync it: {application.message}"
    if not application.can_sync:
        windows = [w for w in application.windows if w.kind == "deny" and w.is_active]
        told = ", ".join(f"{w.schedule} for {w.duration}" for w in windows)
        return f"a sync window denies it{f' ({told})' if told else ''}"
    at = application.revision[:_SHORT]
    return f"Argo CD has not synced it yet{f', it is at {at}' if at else ''}"


def _summary(sight: Sight, stage: Stage) -> str:
    lock, rollout = sight.lock, sight.rollout
    match stage:
        case Stage.UNDEPLOYED:
            return "not deployed"
        case Stage.UNSEEN:
            version = f"Git says {lock.version}" if lock else ""
            why = sight.trouble or "no cluster is configured, so what runs is not known"
            return f"{version}; {why}"
        case Stage.SYNCING:
            return _waiting(sight)
        case Stage.STARTING:
            return _message(rollout, sight.application) or "pods are starting"
        case Stage.CANARY | Stage.PAUSED if rollout:
            return _canary(rollout)
        case Stage.ABORTED if rollout:
            return f"the canary was aborted{_share(rollout)}: {rollout.why}"
        case Stage.DEGRADED:
            return _message(rollout, sight.application) or "it does not come up"
        case _:
            return f"{lock.version if lock else ''} has all of the traffic"


def _message(rollout: Rollout | None, application: Application | None) -> str:
    return (rollout.message if rollout else "") or (application.message if application else "")


def _canary(rollout: Rollout) -> str:
    where = f"step {min(rollout.step + 1, rollout.steps)} of {rollout.steps}"
    share = f"{rollout.weight} % of the traffic goes to {rollout.wanted}"
    if not rollout.pause:
        return f"{where}: {share}"
    if rollout.pause == INCONCLUSIVE_PAUSE:
        why = f"the analysis could not tell: {rollout.why}" if rollout.why else "no verdict"
        return f"{where}, paused: {share}; {why}"
    return f"{where}, paused until a person agrees: {share}"


def _drift(sight: Sight, stage: Stage) -> str:
    lock, rollout = sight.lock, sight.rollout
    if lock is None or not sight.has_cluster or sight.trouble:
        return ""
    says = f"Git says {lock.version}, {_runs(rollout)}"
    match stage:
        case Stage.ABORTED if rollout:
            return f"{says}, because the canary was aborted{_share(rollout)}: {rollout.why}"
        case Stage.SYNCING:
            if rollout and rollout.stable and rollout.stable.version == lock.version:
                return f"{says} as well, but not all that Git says of it: {_waiting(sight)}"
            return f"{says}: {_waiting(sight)}"
        case Stage.CANARY | Stage.PAUSED if rollout:
            return f"{says} and gives {rollout.wanted} {rollout.weight} % of the traffic"
        case Stage.STARTING | Stage.DEGRADED if rollout and (
            rollout.stable is None or rollout.has_canary
        ):
            return f"{says}: {rollout.message or 'pods are starting'}"
        case _:
            return ""


def _next(status: Status) -> tuple[str, ...]:
    place = f"{status.model} --env {status.environment}"
    pull = status.pull_request
    merge = (f"mlops merge {pull.number}",) if pull else ()
    match status.stage:
        case Stage.UNDEPLOYED:
            return merge or (f"mlops deploy {status.model} --to {status.environment}",)
        case Stage.SYNCING | Stage.STARTING:
            return (*merge, f"mlops status {place} --watch")
        case Stage.CANARY:
            return (f"mlops status {place} --watch", f"mlops abort {place} --reason TEXT")
        case Stage.PAUSED:
            inconclusive = (
                status.rollout is not None and status.rollout.pause == INCONCLUSIVE_PAUSE
            )
            again = (f"mlops retry {place}",) if inconclusive else ()
            steer = (f"mlops promote {place}", f"mlops abort {place} --reason TEXT")
            return (*again, *steer)
        case Stage.ABORTED:
            return (*(merge or (f"mlops rollback {place}",)), f"mlops retry {place}")
        case Stage.DEGRADED:
            return merge or (f"mlops rollback {place}",)
        case _:
            return merge
