"""Bring models to environments, from a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core import verbs
from mlops_nb.sdk.asking import Paths, Texts, ask, many, seconds

if TYPE_CHECKING:
    from mlops_nb.core.delivery import Deployment, Merged
    from mlops_nb.core.dora import DoraReport
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.results import (
        DeploymentHistory,
        Followed,
        ModelList,
        StatusList,
    )
    from mlops_nb.core.rollout import Status
    from mlops_nb.core.tracing import Trace
    from mlops_nb.core.verification import Verification, Workflow


def register(run: str, name: str, *, gate: Texts = ()) -> ModelVersion:
    """Register a run's model.

    Raises:
        GateFailed: if a gate does not pass; nothing is registered.
    """
    result: ModelVersion = ask(verbs.Register(run=run, name=name, gates=many(gate)))
    return result


def models(name: str = "") -> ModelList:
    """List versions of a model, or of all."""
    result: ModelList = ask(verbs.Models(name=name))
    return result


def deploy(
    model: str, to: str, *, canary: str | None = None, dry_run: bool = False
) -> Deployment:
    """Propose a model version to an environment, as a pull request.

    Raises:
        GateFailed: if a gate of the environment does not pass; nothing is written.
    """
    verb = verbs.Deploy(model=model, to=to, canary=canary, dry_run=dry_run)
    result: Deployment = ask(verb)
    return result


def merge(number: int) -> Merged:
    """Merge a pull request of the GitOps repository."""
    result: Merged = ask(verbs.Merge(number=number))
    return result


def status(
    model: str = "",
    *,
    env: str = "",
    watch: bool = False,
    interval: str | float = 2.0,
    timeout: str | float | None = None,
) -> StatusList:
    """Tell where deployments stand: proposed, merged, synced, canary, healthy.

    Args:
        model: registered model; empty for every one.
        env: environment; empty for every one.
        watch: stay until each is healthy or was aborted.
        interval: seconds, or `30s`, between two looks.
        timeout: seconds, or `30m`, after which watching ends.
    """
    verb = verbs.Status(
        model=model,
        env=env,
        watch=watch,
        interval=seconds(interval) or 0.0,
        timeout=seconds(timeout),
    )
    result: StatusList = ask(verb)
    return result


def promote(model: str, env: str, *, full: bool = False) -> Status:
    """Let a canary go on to its next step, or give it all of the traffic at once."""
    result: Status = ask(verbs.Promote(model=model, env=env, full=full))
    return result


def abort(model: str, env: str, *, reason: str = "") -> Status:
    """End a canary: the stable version gets all traffic back."""
    result: Status = ask(verbs.Abort(model=model, env=env, reason=reason))
    return result


def follow(
    model: str = "", *, env: str = "", once: bool = False, interval: str | float = 30.0
) -> Followed:
    """Open the revert of what the cluster aborted, point aliases at what it runs.

    Args:
        model: registered model; empty for every one.
        env: environment; empty for every one.
        once: look once instead of until interrupted.
        interval: seconds, or `30s`, between two looks.
    """
    verb = verbs.Follow(model=model, env=env, once=once, interval=seconds(interval) or 0.0)
    result: Followed = ask(verb)
    return result


def history(model: str = "", *, env: str = "", limit: int = 50) -> DeploymentHistory:
    """Tell who deployed which model when, and with what data, from Git alone."""
    verb = verbs.History(model=model, env=env, limit=limit)
    result: DeploymentHistory = ask(verb)
    return result


def rollback(
    model: str, env: str, *, to: int = 0, reason: str = "", dry_run: bool = False
) -> Deployment:
    """Propose the return to an earlier version, as a pull request.

    Raises:
        NotFound: if there is no such version to return to, or its files are gone; nothing is
            written.
    """
    verb = verbs.Rollback(model=model, env=env, to=to, reason=reason, dry_run=dry_run)
    result: Deployment = ask(verb)
    return result


def trace(ref: Paths) -> Trace:
    """Tell what belongs together: notebook, run, version, commit, pull request, image, pods.

    Args:
        ref: any of them; of commits, digests and MLflow runs at least 7 digits; of pods a label
            as `key=value`.

    Raises:
        NotFound: if nothing of the kind is known.
    """
    result: Trace = ask(verbs.Trace(ref=str(ref)))
    return result


def dora(model: str = "", *, env: str = "", since: str | float = "90d") -> DoraReport:
    """Give deployment frequency, lead time, change fail rate and recovery time.

    Args:
        model: registered model; empty for every one.
        env: environment; empty for every one.
        since: seconds, or `30d`, to look back.
    """
    result: DoraReport = ask(verbs.Dora(model=model, env=env, since=seconds(since) or 0.0))
    return result


def verify_pr(
    repo: Paths = ".",
    *,
    base: str = "",
    head: str = "HEAD",
    gate: Texts = (),
    workflow: str = "",
) -> Verification | Workflow:
    """Verify a pull request of the GitOps repository; `passed` tells whether it holds.

    Args:
        repo: a clone of the repository.
        base: branch that the cluster follows, or a commit of it; empty takes origin's.
        head: what is proposed.
        gate: gates the versions must pass, besides those they were proposed with.
        workflow: `github` or `gitlab` gives the file that has its CI do this.
    """
    verb = verbs.VerifyPr(
        repo=str(repo), base=base, head=head, gates=many(gate), workflow=workflow
    )
    result: Verification | Workflow = ask(verb)
    return result
