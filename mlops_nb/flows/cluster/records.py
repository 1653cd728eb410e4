"""What the registry is told of what a cluster runs: an alias, and a tag for each version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.model import ModelRef
from mlops_nb.core.rollout import Stage, deployed_tag
from mlops_nb.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.rollout import Status
    from mlops_nb.ports import Registry

_LIVE, _CANARY, _MERGED, _REPLACED = "live", "canary", "merged", "replaced"


def deployed_tags(status: Status, versions: Sequence[ModelVersion]) -> Mapping[int, str]:
    """Give the tags that must change, by version.

    A version is `merged` before the cluster takes it over, then a `canary`, then `live` until
    it is `replaced`; or it is `aborted`, with what it was judged by.
    """
    wanted = _wanted(status)
    tag = deployed_tag(status.environment)
    changed: dict[int, str] = {}
    for version in versions:
        old = version.tags.get(tag, "")
        new = wanted.get(version.version, "")
        if not new and old in {_LIVE, _CANARY, _MERGED}:
            new = _REPLACED
        if new and new != old:
            changed[version.version] = new
    return changed


def running_version(status: Status) -> int:
    """Give the version that has the traffic of all but a canary; 0 if that is not known."""
    if status.rollout is not None:
        return status.rollout.stable.version if status.rollout.stable else 0
    # Resources without a rollout have no stable version beside the one that Git says.
    return status.version if status.stage is Stage.HEALTHY else 0


def _wanted(status: Status) -> dict[int, str]:
    found: dict[int, str] = {}
    rollout = status.rollout
    if status.stage is Stage.SYNCING:
        found[status.version] = _MERGED
    if rollout is not None and rollout.has_canary and rollout.wanted.version:
        told = f"aborted: {rollout.why}" if rollout.is_aborted else _CANARY
        if status.stage is not Stage.SYNCING:
            found[rollout.wanted.version] = told
    if running := running_version(status):
        found[running] = _LIVE
    return found


def record(
    status: Status, alias: str, versions: Sequence[ModelVersion], *, registry: Registry
) -> Iterator[str]:
    """Bring alias and tags to what the cluster runs; yield what was changed, in words.

    Args:
        status: where the deployment stands.
        alias: alias of the environment; empty for none.
        versions: the model's versions as the registry holds them.
        registry: where they are.
    """
    tag = deployed_tag(status.environment)
    for version, word in sorted(deployed_tags(status, versions).items()):
        registry.mark(status.model, version, {tag: word})
        yield f"{status.model}/{version} is tagged {tag} = {word}"
    running = running_version(status)
    if not alias or not running:
        return
    holder = next((v.version for v in versions if alias in v.aliases), 0)
    if holder == running:
        return
    try:
        registry.resolve(ModelRef(name=status.model, version=running))
    except NotFound as error:
        yield f"{status.model}@{alias} stays where it is: {error.message}"
        return
    registry.point(status.model, alias, running)
    yield f"{status.model}@{alias} → {status.model}/{running}"
