"""Merge a pull request, and tell the registry what runs now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.change import lock_path, overlay_path, read_branch
from mlops_nb.core.delivery import Merged
from mlops_nb.manifests.lock import read_lock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.core.delivery import Environment
    from mlops_nb.core.verbs import Merge
    from mlops_nb.ports import Forge, Registry


def merge(
    verb: Merge,
    *,
    forge: Forge,
    registry: Registry,
    environments: Mapping[str, Environment],
) -> Merged:
    """Merge into base and point the environment's alias at the version base has now.

    Repeating it after an interruption does what was left to do.

    Args:
        verb: the request.
        forge: the GitOps repository.
        registry: where the alias is.
        environments: known environments, by name.

    Raises:
        NotFound: if there is no such pull request.
        Conflict: if base changed the same files since, or the pull request is closed.
    """
    pull = forge.merge(verb.number)
    about = read_branch(pull.branch)
    if about is None:
        return Merged(pull_request=pull)
    model, place = about
    path = lock_path(model, place)
    recorded = forge.read(overlay_path(model, place)).get(path)
    if recorded is None:
        return Merged(pull_request=pull, model=model, environment=place)
    version = read_lock(recorded, path).version
    alias = environments[place].alias if place in environments else ""
    if alias:
        registry.point(model, alias, version)
    return Merged(
        pull_request=pull, model=model, environment=place, version=version, alias=alias
    )
