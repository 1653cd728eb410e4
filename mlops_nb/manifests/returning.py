"""Whether a return goes at once or through a canary's steps, as Git and the cluster tell."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlops_nb.core.change import overlay_path
from mlops_nb.core.rollout import state_of
from mlops_nb.errors import UserError
from mlops_nb.manifests.live import served
from mlops_nb.manifests.markdown import prose
from mlops_nb.manifests.render import built_rollout
from mlops_nb.manifests.servers import base_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mlops_nb.core.change import Commit
    from mlops_nb.core.delivery import Environment
    from mlops_nb.core.rollout import Rollout, Served

# Whoever reads further finds pods that no revisionHistoryLimit keeps.
_LOOKED_BACK = 20
_KEPT = 10  # Argo Rollouts' own revisionHistoryLimit


def commits_path(model: str) -> str:
    """Name the files that say what a model's pods are, as a pattern for `Forge.log`."""
    return f"models/{model}/**/rollout.yaml"


def way_of_return(
    model: str,
    environment: Environment,
    *,
    before: Mapping[str, bytes],
    after: Mapping[str, bytes | None],
    commits: Iterable[Commit],
    rollout: Rollout | None,
) -> str:
    """Say whether the pods of an earlier version come back at once, and why.

    The rule is that of Argo Rollouts 1.9 (rollout/canary.go, rollout/sync.go): no step is taken
    where the pods asked for are the stable ones, nor where their ReplicaSet was made before the
    stable one and fewer than `rollbackWindow.revisions` were made in between.

    Args:
        model: the model.
        environment: where.
        before: files of the model on base, by path.
        after: the return's change, by path; None is deleted.
        commits: commits on base that touched `commits_path`, newest first.
        rollout: the live rollout; None where it is not known.
    """
    if environment.target == "kserve":
        return (
            "**no steps**: KServe gives the earlier version all of the traffic as its pods "
            "become ready."
        )
    files = {**before, **{path: content or b"" for path, content in after.items()}}
    try:
        wanted = built_rollout(model, environment, files)
    except UserError as error:
        return f"**not known**: {prose(error.message)}."
    if wanted is None:
        return "**not known**: there is no Rollout with pods of its own in the base."
    made = _made(model, environment, before, commits)
    stable = _stable(made, rollout)
    sees = f" Now {state_of(rollout)}." if rollout is not None else ""
    why, is_at_once = _judged(wanted, list(made), stable)
    if is_at_once:
        return f"**at once, without steps**: {why}.{sees}"
    unless = "" if rollout else " Were its pods still the stable ones, it would go at once."
    return f"**through the canary's steps again**{_weights(wanted)}: {why}.{sees}{unless}"


def _judged(wanted: Mapping[str, Any], made: list[str], stable: str) -> tuple[str, bool]:
    """Say why no step is taken, or why each is, and which of the two it is."""
    spec = wanted["spec"]
    window = (spec.get("rollbackWindow") or {}).get("revisions", 0)
    kept = spec.get("revisionHistoryLimit", _KEPT)
    pods = _pods(wanted)
    if pods == stable:
        return "its pods are those that have the traffic now", True
    if not window:
        return "the rollout has no rollbackWindow", False
    if pods not in made:
        return f"its pods are none of the last {len(made)}, as far as Git tells", False
    if stable not in made:
        return "what has the traffic now is none of the last versions in Git", False
    between = made.index(pods) - made.index(stable) - 1
    if between < 0:
        return "its pods were made after those that have the traffic now", False
    told = f"ReplicaSets made in between: {between} (rollbackWindow: {window} revisions)"
    if made.index(pods) > kept:
        return f"its pods are kept no longer: revisionHistoryLimit {kept}", False
    return told, between < window


def _made(
    model: str,
    environment: Environment,
    current: Mapping[str, bytes],
    commits: Iterable[Commit],
) -> dict[str, Served]:
    """Give the pods there were, the last made first: the same ones again are not made anew."""
    found: dict[str, Served] = {}
    for files in _states(model, environment, current, commits):
        try:
            built = built_rollout(model, environment, files)
        except UserError:
            # Broken by hand and mended since: it made no pods.
            continue
        if built is not None:
            pods = _pods(built)
            found.pop(pods, None)
            found[pods] = served(built, "")
    return found


def _states(
    model: str,
    environment: Environment,
    current: Mapping[str, bytes],
    commits: Iterable[Commit],
) -> Iterator[dict[str, bytes]]:
    """Yield the files that say what pods are: as they are now, and before each commit."""
    base = f"{base_path(model, environment.target)}/rollout.yaml"
    overlay = f"{overlay_path(model, environment.name)}/rollout.yaml"
    files = {path: current[path] for path in (base, overlay) if path in current}
    yield dict(files)
    for commit in islice(commits, _LOOKED_BACK):
        touched = [path for path in (base, overlay) if path in commit.files]
        for path in touched:
            content = commit.files[path][0]
            if content is None:
                files.pop(path, None)
            else:
                files[path] = content
        if touched and overlay in files:
            yield dict(files)


def _stable(made: Mapping[str, Served], rollout: Rollout | None) -> str:
    """Find the pods that have the traffic: those that the cluster tells, else those in Git."""
    stable = rollout.stable if rollout else None
    if stable is None or not stable.version:
        return next(iter(made), "")
    told = (stable.version, stable.digest)
    fit = (pods for pods, each in made.items() if (each.version, each.digest) == told)
    return next(fit, "")


def _pods(rollout: Mapping[str, Any]) -> str:
    return json.dumps(rollout["spec"]["template"], sort_keys=True, default=str)


def _weights(rollout: Mapping[str, Any]) -> str:
    steps = ((rollout["spec"].get("strategy") or {}).get("canary") or {}).get("steps") or []
    weights = [str(step["setWeight"]) for step in steps if "setWeight" in step]
    return f" ({', '.join(weights)} %)" if weights else ""
