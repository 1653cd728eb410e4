"""Propose the return to an earlier version: the git revert of what brought the later ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlops_nb.availability import image_kept, model_kept
from mlops_nb.core.change import (
    ChangeSet,
    Commit,
    LockFile,
    branch_of,
    evidence_path,
    lock_path,
    lock_trailers,
    overlay_path,
    read_lock_path,
)
from mlops_nb.core.delivery import Deployment, did_you_mean
from mlops_nb.core.events import Note
from mlops_nb.core.model import ModelVersion
from mlops_nb.errors import BackendError, MlopsError, NotFound, UserError
from mlops_nb.manifests.evidence import Meets, read_marker, rollback_body, unified_diff
from mlops_nb.manifests.lock import live_lock, read_lock
from mlops_nb.manifests.render import render
from mlops_nb.manifests.returning import commits_path, way_of_return

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.core.delivery import Environment, Kept
    from mlops_nb.core.rollout import Rollout
    from mlops_nb.core.verbs import Rollback
    from mlops_nb.ports import Cluster, Forge, Images, Listener, Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A commit on base that replaced one version by another."""

    commit: Commit
    before: LockFile | None
    after: LockFile


def rollback(
    verb: Rollback,
    *,
    forge: Forge,
    environment: Environment,
    registry: Registry,
    images: Images,
    tracking_uri: str,
    requested_by: str,
    tool: str,
    tell: Listener,
    cluster: Cluster | None = None,
    because: Rollout | None = None,
) -> Deployment:
    """Propose the revert as a pull request on the deployments' own branch.

    The tree is what `git revert -m 1` of the merges gives. Where files were edited since, so
    that git would stop with a conflict, the earlier record is rendered into them instead.

    Args:
        verb: the request.
        forge: the GitOps repository.
        environment: the environment named by the request.
        registry: asked whether the earlier version is still there.
        images: asked whether its image is.
        tracking_uri: tracking server of that registry.
        requested_by: who asks.
        tool: name and version of this tool.
        tell: told what could not be found out.
        cluster: what runs the environment, asked whether steps would run again; None where
            none is configured.
        because: the rollout whose abort it answers; what it showed becomes evidence.

    Raises:
        NotFound: if the model was never deployed there, or never with the version asked for,
            or if that version's files are gone: pods would have nothing to fetch.
        UserError: if there is no earlier version.
        Conflict: if the branch holds other people's commits that conflict.
    """
    live = _live(verb, forge)
    if verb.to == live.version:
        raise UserError(
            f"{verb.model}/{verb.to} is what {verb.env} has now",
            hint=f"see what it had before: mlops history {verb.model} --env {verb.env}",
        )
    steps, target = _way_back(verb, live, forge)
    current = _current(forge, steps, verb.model)
    kept = _kept(verb, target, registry, tracking_uri, tell)
    files = _reverted(current, steps)
    is_rendered = files is None
    if files is None:
        at_the_time = replace(environment, image=target.image)
        files = dict(render(_version(target), target, at_the_time, current))
        files |= _evidence_of_then(steps[-1], verb, current)
    restored = _version(target)
    verb = replace(
        verb, reason=" ".join(verb.reason.split()) or _reason_before(verb, target, forge)
    )
    diff = unified_diff(current, files)
    body = rollback_body(
        live,
        target,
        [f"{step.commit.sha[:12]} {step.commit.title}" for step in steps],
        meets=Meets(
            traffic=way_of_return(
                verb.model,
                environment,
                before=current,
                after=files,
                commits=forge.log(commits_path(verb.model)),
                rollout=_running(verb, cluster, tell),
            ),
            model=kept,
            image=_pulled(target, images, tell),
            is_rendered=is_rendered,
        ),
        requested_by=requested_by,
        reason=verb.reason,
        diff=diff,
        because=because,
    )
    deployment = Deployment(
        version=restored,
        environment=environment,
        previous=live.version,
        files=files,
        body=body,
        diff=diff,
        action="rollback",
    )
    if verb.dry_run:
        return deployment
    pull = forge.propose(
        ChangeSet(
            branch=branch_of(verb.model, verb.env),
            title=f"Roll back {verb.model} in {verb.env} to {target.version}",
            body=body,
            trailers=_trailers(verb, live, target, steps, requested_by, tool),
            files=files,
        )
    )
    return replace(deployment, pull_request=pull)


def _kept(
    verb: Rollback, target: LockFile, registry: Registry, tracking_uri: str, tell: Listener
) -> Kept:
    """Tell whether pods can still fetch the version; refuse one that they cannot.

    Where that cannot be told, the way back stays open: it is needed most when things are down.
    """
    kept = model_kept(target, registry=registry, tracking_uri=tracking_uri)
    if kept.is_there is None:
        said = f"whether {_version(target)} can still be fetched could not be told"
        tell(Note(text=f"{said}: {kept.why}"))
    elif not kept.is_there:
        if not verb.dry_run:
            raise NotFound(
                f"{kept.why}: pods that return to it could not fetch it; nothing was written",
                hint=f"see what is there: mlops models {verb.model}; deploy another: mlops "
                f"deploy {verb.model}/N --to {verb.env}; or go further back: --to VERSION",
            )
        tell(Note(text=f"{kept.why}: without --dry-run this return is refused"))
    return kept


def _pulled(target: LockFile, images: Images, tell: Listener) -> Kept:
    """Tell whether pods can still pull the image.

    It refuses nothing: a registry says no to whom it does not show an image, too.
    """
    kept = image_kept(target, images)
    if kept.is_there is False:
        tell(Note(text=f"{kept.why}: new pods could not pull it"))
    return kept


def _running(verb: Rollback, cluster: Cluster | None, tell: Listener) -> Rollout | None:
    if cluster is None:
        return None
    try:
        return cluster.rollout(verb.model)
    except (BackendError, UserError) as error:
        tell(Note(text=f"whether a canary is running could not be told: {error.message}"))
        return None


def _live(verb: Rollback, forge: Forge) -> LockFile:
    path = lock_path(verb.model, verb.env)
    recorded = forge.read(overlay_path(verb.model, verb.env)).get(path)
    if recorded is not None:
        return live_lock(recorded, path)
    known = set()
    for commit in forge.log(lock_path("*", "*")):
        known |= {about for path in commit.files if (about := read_lock_path(path))}
    places = {place for model, place in known if model == verb.model}
    if places:
        raise NotFound(
            f"{verb.model} is not deployed to {verb.env}",
            hint=did_you_mean(verb.env, places, otherwise=f"it is in {', '.join(places)}"),
        )
    raise NotFound(
        f"there is no deployed model {verb.model!r}",
        hint=did_you_mean(verb.model, {m for m, _ in known}, otherwise="see: mlops history"),
    )


def _way_back(verb: Rollback, live: LockFile, forge: Forge) -> tuple[Sequence[_Step], LockFile]:
    """Find the commits to revert, newest first, and the record that stood before them."""
    steps: list[_Step] = []
    wanted: LockFile | None = live
    earlier: list[int] = []
    left: dict[int, None] = {}
    for step in _steps(verb, forge):
        if wanted is None:
            break
        came_from = step.before.version if step.before else 0
        if (step.after.version, came_from) != (wanted.version, wanted.previous):
            # What came and was reverted since.
            left.setdefault(step.after.version)
            continue
        steps.append(step)
        wanted = step.before
        if wanted and (not verb.to or wanted.version == verb.to):
            return steps, wanted
        if wanted:
            earlier.append(wanted.version)
    gone = [version for version in left if version not in {live.version, *earlier}]
    raise _no_way_back(verb, live, earlier, gone, is_first=wanted is None)


def _no_way_back(
    verb: Rollback,
    live: LockFile,
    earlier: Sequence[int],
    gone: Sequence[int],
    *,
    is_first: bool,
) -> MlopsError:
    """Say why there is nothing to return to; `gone` came later and was rolled back."""
    name, place = f"{verb.model}/{live.version}", verb.env
    if verb.to:
        known = ", ".join(map(str, earlier)) or "none"
        why = "it came later and was rolled back" if verb.to in gone else f"earlier: {known}"
        return NotFound(
            f"{verb.model}/{verb.to} is no earlier version in {place} than {name}: {why}",
            hint=f"deploy it: mlops deploy {verb.model}/{verb.to} --to {place}",
        )
    if is_first:
        since = f" (version {gone[0]} came later and was rolled back)" if gone else ""
        return UserError(
            f"{name} is the first version that came to {place}{since}: there is nothing to "
            "roll back to",
            hint=f"deploy another: mlops deploy {verb.model}/{gone[0] if gone else 'N'} "
            f"--to {place}",
        )
    return UserError(
        f"how {name} came to {place} is not in the history: it cannot be told what was there "
        "before",
        hint=f"deploy the version you want: mlops deploy {verb.model}/N --to {place}",
    )


def _reason_before(verb: Rollback, target: LockFile, forge: Forge) -> str:
    """Give the reason of the open pull request for the same return: repeating keeps it."""
    waiting = forge.find(branch_of(verb.model, verb.env))
    asked = read_marker(waiting.body) if waiting else {}
    same = (asked.get("action"), asked.get("version")) == ("rollback", target.version)
    return str(asked.get("reason", "")) if same else ""


def _steps(verb: Rollback, forge: Forge) -> Iterator[_Step]:
    path = lock_path(verb.model, verb.env)
    for commit in forge.log(path):
        try:
            before, after = (
                read_lock(content, path) if content is not None else None
                for content in commit.files[path]
            )
        except UserError:
            # A record that was broken by hand, and mended since, is no version to return to.
            continue
        if after is not None:
            yield _Step(commit=commit, before=before, after=after)


def _current(forge: Forge, steps: Sequence[_Step], model: str) -> dict[str, bytes]:
    touched = {path.rpartition("/")[0] for step in steps for path in step.commit.files}
    folders = {f"models/{model}"} | {t for t in touched if not t.startswith(f"models/{model}/")}
    found: dict[str, bytes] = {}
    for folder in sorted(folders):
        found.update(forge.read(folder))
    return found


def _reverted(
    current: Mapping[str, bytes], steps: Sequence[_Step]
) -> dict[str, bytes | None] | None:
    """Revert the commits, newest first; None where a file was changed since."""
    state: dict[str, bytes | None] = {}
    for step in steps:
        for path, (before, after) in step.commit.files.items():
            now = state.get(path, current.get(path))
            if now not in {before, after}:
                return None
            state[path] = before
    return {path: content for path, content in state.items() if current.get(path) != content}


def _evidence_of_then(
    oldest: _Step, verb: Rollback, current: Mapping[str, bytes]
) -> dict[str, bytes | None]:
    """Give the evidence that stood beside the record returned to, if that is another."""
    path = evidence_path(verb.model, verb.env)
    now = current.get(path)
    then = oldest.commit.files[path][0] if path in oldest.commit.files else now
    return {} if then == now else {path: then}


def _version(lock: LockFile) -> ModelVersion:
    return ModelVersion(
        name=lock.model,
        version=lock.version,
        source=lock.source,
        digest=lock.digest,
        run=lock.run,
        tracking_id=lock.tracking_id,
    )


def _trailers(
    verb: Rollback,
    live: LockFile,
    target: LockFile,
    steps: Sequence[_Step],
    requested_by: str,
    tool: str,
) -> tuple[tuple[str, str], ...]:
    told = lock_trailers(
        target,
        action="rollback",
        previous=live.version,
        requested_by=requested_by,
        tool=tool,
    )
    reverts = tuple(("Mlops-Reverts", step.commit.sha) for step in steps)
    reason = (("Mlops-Reason", verb.reason),) if verb.reason else ()
    return (*told, *reverts, *reason)
