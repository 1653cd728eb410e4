"""Merge a pull request, and tell the registry what runs now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.core.change import (
    PullRequestState,
    branch_of,
    lock_path,
    overlay_path,
    read_branch,
    read_lock_path,
)
from mlops_nb.core.delivery import Merged
from mlops_nb.core.events import Note
from mlops_nb.core.rollout import deployed_tag
from mlops_nb.errors import UserError
from mlops_nb.manifests.lock import read_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mlops_nb.core.delivery import Environment
    from mlops_nb.core.model import ModelVersion
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

    Where a cluster is named, the alias waits until that version has all of its traffic:
    what reads models by their alias would have no canary before it.

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
    environment = environments.get(place)
    merged = Merged(pull_request=pull, model=model, environment=place, version=version)
    if environment is None:
        return merged
    if environment.has_cluster:
        registry.mark(model, version, {deployed_tag(place): "merged"})
        return replace(merged, later_alias=environment.alias, has_cluster=True)
    if environment.alias:
        registry.point(model, environment.alias, version)
    return replace(merged, alias=environment.alias)


def left_behind(
    versions: Iterable[ModelVersion], *, forge: Forge, environments: Mapping[str, Environment]
) -> Iterator[Note]:
    """Say which aliases are not where the environments are: people merge by Git alone, too.

    Args:
        versions: registered versions, with their aliases.
        forge: the GitOps repository.
        environments: known environments, by name.
    """
    every = list(versions)
    aliased = {(v.name, alias): v.version for v in every for alias in v.aliases}
    names = {version.name for version in every}
    live: dict[tuple[str, str], dict[int, str]] = {}
    # Of a large repository, what one model has is read much sooner than what all have.
    folder = f"models/{next(iter(names))}" if len(names) == 1 else "models"
    for path, content in sorted(forge.read(folder).items()):
        model, place = read_lock_path(path) or ("", "")
        if model not in names or place not in environments or environments[place].has_cluster:
            # Where there is a cluster, `follow` moves it when a version has the traffic.
            continue
        if alias := environments[place].alias:
            try:
                version = read_lock(content, path).version
            except UserError:
                # One broken by hand is told of by who deploys there.
                continue
            live.setdefault((model, alias), {})[version] = place
    for (model, alias), places in live.items():
        now = aliased.get((model, alias))
        if now not in places:
            version, place = max(places.items())
            said = f"{model}@{alias} is " + (f"version {now}" if now else "not there")
            yield Note(
                text=f"{model} in {place} is version {version}, but {said}: a merge by Git "
                f"alone moves no alias{_catch_up(model, place, forge)}"
            )


def _catch_up(model: str, place: str, forge: Forge) -> str:
    branch = branch_of(model, place)
    numbers = [
        pull.number
        for pull in forge.pull_requests()
        if pull.branch == branch and pull.state is PullRequestState.MERGED
    ]
    return f"; `mlops merge {numbers[0]}` does" if numbers else ""
