"""Promote, abort and retry a running rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.events import Note
from mlops_nb.core.rollout import Action, abort_tag, operation
from mlops_nb.errors import BackendError, NotFound, UserError
from mlops_nb.flows.cluster.sight import look, places

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.core.rollout import Status
    from mlops_nb.ports import Cluster, Forge, Listener, Registry

_LOOKS = 20
_SECONDS_BETWEEN = 0.25


def steer(
    model: str,
    env: str,
    action: Action,
    *,
    forge: Forge,
    cluster: Cluster | None,
    sleep: Callable[[float], None],
) -> Status:
    """Tell a rollout what to do, and give how it stands once that is seen.

    Args:
        model: the model.
        env: its environment.
        action: what it is to do.
        forge: the GitOps repository.
        cluster: the environment's; None if none is configured.
        sleep: waits some seconds.

    Raises:
        NotFound: if the model is not deployed there, or has no rollout.
        UserError: if the rollout cannot do that now, or no cluster is configured.
        NotAllowed: if the person may not do that.
        BackendError: if the cluster does not answer or refuses otherwise.
    """
    if cluster is None:
        raise UserError(
            f"environment {env} names no cluster",
            hint=f"set argocd or kubeconfig below [environments.{env}] in mlops.toml",
        )
    places(model, env, forge=forge, environments=[env])
    before = look(model, env, forge=forge, cluster=cluster, strict=True)
    if before.rollout is None:
        raise NotFound(
            f"{before.where} has no rollout: {before.summary}",
            hint=f"see where it stands: mlops status {model} --env {env}",
        )
    told = operation(before.rollout, action, before.where)
    cluster.act(model, told)
    after = before
    for _ in range(_LOOKS):
        after = look(model, env, forge=forge, cluster=cluster, strict=True)
        if after.rollout != before.rollout:
            break
        sleep(_SECONDS_BETWEEN)
    return after


def record_abort(
    status: Status, reason: str, requested_by: str, *, registry: Registry, tell: Listener
) -> None:
    """Keep why a person aborted a canary with its version, for the revert that follows."""
    version = status.rollout.wanted.version if status.rollout else 0
    if not (reason and version):
        return
    tag = {abort_tag(status.environment): f"{reason} ({requested_by})"}
    try:
        registry.mark(status.model, version, tag)
    except (NotFound, BackendError) as error:
        tell(Note(text=f"it is aborted, but the reason is not recorded: {error.message}"))
