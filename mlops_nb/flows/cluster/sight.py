"""Look at a deployment from every side: repository, pull requests, cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.change import branch_of, lock_path, overlay_path, read_branch, read_lock_path
from mlops_nb.core.delivery import did_you_mean
from mlops_nb.core.standing import Sight, status_of
from mlops_nb.errors import BackendError, NotFound
from mlops_nb.manifests.lock import read_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlops_nb.core.rollout import Status
    from mlops_nb.ports import Cluster, Forge

Place = tuple[str, str]
"""A model and an environment."""


def look(
    model: str, environment: str, *, forge: Forge, cluster: Cluster | None, strict: bool = False
) -> Status:
    """Tell where a model stands in an environment.

    Args:
        model: the model.
        environment: the environment.
        forge: the GitOps repository.
        cluster: the environment's; None if none is configured.
        strict: raise where the cluster does not answer, instead of telling that.
    """
    path = lock_path(model, environment)
    recorded = forge.read(overlay_path(model, environment)).get(path)
    application = rollout = None
    trouble = ""
    try:
        if cluster is not None and recorded is not None:
            application = cluster.application(model)
            rollout = cluster.rollout(model)
    except BackendError as error:
        if strict:
            raise
        trouble = error.message
    return status_of(
        Sight(
            model=model,
            environment=environment,
            lock=read_lock(recorded, path) if recorded is not None else None,
            pull_request=forge.find(branch_of(model, environment)),
            has_cluster=cluster is not None,
            application=application,
            rollout=rollout,
            trouble=trouble,
        )
    )


def places(
    model: str, env: str, *, forge: Forge, environments: Iterable[str]
) -> Sequence[Place]:
    """Give every model and environment that is deployed or proposed, of those asked for.

    Raises:
        NotFound: if something was asked for by name and is neither.
    """
    found = {
        about
        for path in forge.read(f"models/{model}" if model else "models")
        if (about := read_lock_path(path))
    }
    found |= {
        about
        for pull in forge.pull_requests()
        if pull.state == "open" and (about := read_branch(pull.branch))
    }
    wanted = sorted(p for p in found if model in {"", p[0]} and env in {"", p[1]})
    if not wanted and model:
        known = {m for m, _ in found} or _deployed(forge)
        raise NotFound(
            f"{model} is neither deployed nor proposed{f' to {env}' if env else ''}",
            hint=did_you_mean(model, known - {model}, otherwise="see all: mlops status"),
        )
    if not wanted and env and env not in set(environments):
        raise NotFound(
            f"there is no environment {env!r}",
            hint=did_you_mean(env, environments, otherwise="see mlops.toml"),
        )
    return wanted


def _deployed(forge: Forge) -> set[str]:
    return {about[0] for path in forge.read("models") if (about := read_lock_path(path))}
