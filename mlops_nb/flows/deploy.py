"""Propose a model version to an environment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.availability import image_kept, model_kept
from mlops_nb.core.canary import CanaryPlan
from mlops_nb.core.change import (
    ChangeSet,
    LockFile,
    branch_of,
    evidence_path,
    lock_path,
    lock_trailers,
)
from mlops_nb.core.delivery import Deployment, Environment
from mlops_nb.core.events import Note
from mlops_nb.core.evidence import Change, Evidence, evidence_of
from mlops_nb.core.gate import Verdict
from mlops_nb.core.model import ModelRef
from mlops_nb.errors import BackendError, Conflict, GateFailed, UserError
from mlops_nb.manifests.evidence import pull_request_body, read_marker, unified_diff
from mlops_nb.manifests.lock import broken_seal, live_lock, record_of, sealed
from mlops_nb.manifests.render import render
from mlops_nb.manifests.security import ways_out
from mlops_nb.manifests.servers import fitted
from mlops_nb.redaction import strip_userinfo
from mlops_nb.statistics.comparison import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from mlops_nb.core.change import PullRequest
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.run import Run
    from mlops_nb.core.verbs import Deploy
    from mlops_nb.ports import Cluster, Forge, Images, Listener, Registry


def deploy(  # what the composition root knows and this must be told
    verb: Deploy,
    *,
    registry: Registry,
    forge: Forge,
    images: Images,
    environment: Environment,
    gates: Sequence[str],
    judge: Callable[[ModelVersion, tuple[str, ...]], Verdict],
    write: Callable[[Evidence], bytes],
    tracking_uri: str,
    requested_by: str,
    tool: str,
    now: datetime,
    tell: Listener,
    cluster: Cluster | None = None,
) -> Deployment:
    """Propose the version as one pull request; ask twice, and it is the same one.

    Args:
        verb: the request.
        registry: where models and runs are kept.
        forge: the GitOps repository.
        images: asked whether the image of the version before is still there.
        environment: the environment named by the request.
        gates: the model's own gates; the environment's, and those the run was judged by
            before, are added.
        judge: judges the version's run by gates.
        write: gives the file of the evidence; equal evidence gives equal bytes.
        tracking_uri: tracking server that pods download the model from.
        requested_by: who asks.
        tool: name and version of this tool.
        now: the time of asking.
        tell: told what else is proposed for the model there.
        cluster: what runs the environment, asked whether a canary is on its way; None where
            none is configured.

    Raises:
        NotFound: if there is no such model, version or alias.
        GateFailed: if a gate does not pass; nothing was written.
        UserError: if the version may not run there, or files were broken by hand.
        Conflict: if the branch holds other people's commits that conflict, or a canary of
            another version is on its way.
    """
    version = registry.resolve(ModelRef.parse(verb.model))
    name, place = version.name, environment.name
    current = {**forge.read(f"models/{name}"), **forge.read(f"clusters/{place}")}
    recorded = current.get(lock_path(name, place))
    live = live_lock(recorded, lock_path(name, place)) if recorded is not None else None
    _check_seal(live, current)
    canary = verb.canary or ""
    if live and live.version == version.version:
        # What is live came by a plan of its own; to name it once more changes nothing.
        canary = canary or live.canary
    if canary:
        plan = CanaryPlan.parse(canary, environment.canary.minutes)
        environment = replace(environment, canary=plan)
    _check_allowed(version, environment)
    environment = fitted(environment, version, current)
    run = registry.find(version.tracking_id)
    verdict = _judge(version, run, place, (*gates, *environment.gates), judge)
    branch = branch_of(name, place)
    lock = replace(
        record_of(version, run, environment, verdict),
        tracking_uri=strip_userinfo(tracking_uri),
        requested_by=requested_by,
        previous=live.version if live else 0,
    )
    waiting = forge.find(branch)
    lock = _as_asked_before(lock, live, waiting)
    # What is live has the evidence that it came with: a new one would make a change of it.
    known = replace(lock, evidence=live.evidence if live else "")
    files = render(version, known, environment, current)
    deployment = Deployment(version=version, environment=environment, previous=lock.previous)
    if not files:
        if waiting is not None:
            tell(Note(text=_left_open(waiting, lock)))
        return deployment
    if cluster is not None and live is not None:
        _check_no_canary(version, place, cluster, tell, only_tell=verb.dry_run)
    now_out = ways_out(name, environment, {**current, **files})
    evidence = evidence_of(
        version,
        run,
        lock=lock,
        previous=live,
        environment=environment,
        verdict=verdict,
        showing=shown(version, verdict, registry=registry, live=live),
        change=Change(
            files=files,
            ways_out=now_out,
            ways_out_before=ways_out(name, environment, current) if live else (),
        ),
    )
    files = sealed(files, lock, write(evidence))
    diff = unified_diff(current, dict(files))
    body = pull_request_body(
        evidence,
        requested=now,
        diff=diff,
        model=model_kept(live, registry=registry, tracking_uri=tracking_uri) if live else None,
        image=image_kept(live, images) if live else None,
    )
    deployment = replace(deployment, files=files, body=body, diff=diff)
    if verb.dry_run:
        return deployment
    pull = forge.propose(
        ChangeSet(
            branch=branch,
            title=f"Deploy {version} to {place}",
            body=body,
            trailers=lock_trailers(
                lock,
                action="deploy",
                previous=live.version if live else 0,
                requested_by=requested_by,
                tool=tool,
            ),
            files=files,
        )
    )
    if waiting is not None and waiting.title != pull.title:
        tell(Note(text=f"pull request #{pull.number} was: {waiting.title}; this replaces it"))
    return replace(deployment, pull_request=pull)


def _check_no_canary(
    version: ModelVersion, place: str, cluster: Cluster, tell: Listener, *, only_tell: bool
) -> None:
    """Refuse a version that would take the place of a canary before it is judged."""
    try:
        rollout = cluster.rollout(version.name)
    except (BackendError, UserError) as error:
        # Who may propose need not be let into the cluster, which reviewers look at anyway.
        tell(Note(text=f"whether a canary is running could not be told: {error.message}"))
        return
    if rollout is None or not rollout.is_moving:
        return
    way = f"{version.name} --env {place}"
    said = (
        f"a canary of {version.name}/{rollout.wanted} is in {place} at {rollout.weight} %: "
        f"{version} would take its place before it is judged"
    )
    if only_tell:
        tell(Note(text=said))
        return
    raise Conflict(
        said, hint=f"wait for it: mlops status {way} --watch; or end it: mlops abort {way}"
    )


def _check_seal(live: LockFile | None, current: Mapping[str, bytes]) -> None:
    """Refuse to build on evidence that is not what the record beside it names."""
    if live is None:
        return
    where = (live.model, live.environment)
    if wrong := broken_seal(live, current.get(evidence_path(*where))):
        raise UserError(
            f"{wrong}: one of them was edited by hand",
            hint="restore both files from the commit that deployed the version",
        )


def _left_open(waiting: PullRequest, lock: LockFile) -> str:
    """Say what a pull request still asks for where the environment has what was asked for."""
    asked = read_marker(waiting.body)
    if (asked.get("action"), asked.get("digest")) == ("deploy", lock.digest):
        return (
            f"pull request #{waiting.number} is open for what is there already, brought by "
            f"somebody's own commit: close it: {waiting.url or waiting.title}"
        )
    # What is live is what was asked for, but not what will be once this is merged.
    return f"pull request #{waiting.number} is open and says otherwise: {waiting.title}"


def _check_allowed(version: ModelVersion, environment: Environment) -> None:
    if version.uses_pickle and not environment.allow_pickle:
        raise UserError(
            f"{version} ({version.flavor or 'unknown format'}) runs pickled code when it is "
            f"loaded; environment {environment.name} does not allow that",
            hint="log it as ONNX or skops, or set allow_pickle = true in "
            f"[environments.{environment.name}]",
        )
    environment.check_image()


def _judge(
    version: ModelVersion,
    run: Run,
    environment: str,
    gates: Sequence[str],
    judge: Callable[[ModelVersion, tuple[str, ...]], Verdict],
) -> Verdict:
    before = [check.gate for check in run.verdict.checks] if run.verdict else []
    every = tuple(dict.fromkeys([*before, *gates]))
    if not every:
        return Verdict(checks=())
    verdict = judge(version, every)
    if not verdict.passed:
        raise GateFailed(
            f"{version} is not proposed to {environment}: {verdict.refusal}",
            verdict=verdict,
            hint="train a better one; nothing was written",
        )
    return verdict


def _as_asked_before(
    lock: LockFile, live: LockFile | None, pull: PullRequest | None
) -> LockFile:
    """Keep who asked first and what was replaced, so that asking again changes nothing."""
    if live and (live.version, live.digest) == (lock.version, lock.digest):
        return replace(lock, requested_by=live.requested_by, previous=live.previous)
    asked = read_marker(pull.body) if pull else {}
    if (asked.get("version"), asked.get("digest"), asked.get("action")) == (
        lock.version,
        lock.digest,
        "deploy",
    ):
        return replace(lock, requested_by=str(asked.get("requested_by", lock.requested_by)))
    return lock
