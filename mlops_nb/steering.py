"""Verbs about what a cluster runs or is to run, and the way back: what each asks."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.core import verbs
from mlops_nb.core.rollout import Action
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.core.delivery import Deployment
    from mlops_nb.core.gate import Verdict
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.results import Followed, StatusList
    from mlops_nb.core.rollout import Rollout, Status
    from mlops_nb.core.verification import Verification, Workflow
    from mlops_nb.ports import Listener, Registry
    from mlops_nb.project import Project


def do(
    project: Project,
    verb: verbs.Status | verbs.Promote | verbs.Abort | verbs.Follow | verbs.VerifyPr,
    tell: Listener,
) -> StatusList | Status | Followed | Verification | Workflow:
    """Do one of these verbs in a project.

    Raises:
        MlopsError: of the class that tells what is wrong.
    """
    match verb:
        case verbs.Status():
            return _status(project, verb, tell)
        case verbs.Promote():
            action = Action.PROMOTE_FULL if verb.full else Action.PROMOTE
            return _steer(project, verb.model, verb.env, action)
        case verbs.Abort():
            return _abort(project, verb, tell)
        case verbs.Follow():
            return _follow(project, verb, tell)
        case verbs.VerifyPr():
            return _verify(project, verb)


def retry(project: Project, model: str, env: str) -> Status:
    """Try a canary again: an aborted one from its beginning, an undecided one's analysis."""
    return _steer(project, model, env, Action.RETRY)


def _status(project: Project, verb: verbs.Status, tell: Listener) -> StatusList:
    from mlops_nb.flows.cluster.status import status

    return status(
        verb,
        forge=project.forge,
        cluster_of=project.cluster,
        environments=list(project.settings.environments),
        sleep=time.sleep,
        clock=time.monotonic,
        tell=tell,
    )


def _steer(project: Project, model: str, env: str, action: Action) -> Status:
    from mlops_nb.flows.cluster.steer import steer

    project.settings.environment(env)
    return steer(
        model,
        env,
        action,
        forge=project.forge,
        cluster=project.cluster(env),
        sleep=time.sleep,
    )


def _abort(project: Project, verb: verbs.Abort, tell: Listener) -> Status:
    from mlops_nb.flows.cluster.steer import record_abort

    done = _steer(project, verb.model, verb.env, Action.ABORT)
    record_abort(done, verb.reason, project.person, registry=project.registry, tell=tell)
    return done


def _follow(project: Project, verb: verbs.Follow, tell: Listener) -> Followed:
    from mlops_nb.flows.cluster.follow import Follower

    if verb.env:
        project.settings.environment(verb.env)
    follower = Follower(
        forge=project.forge,
        registry=project.registry,
        cluster_of=project.cluster,
        environments=project.settings.environments,
        revert=partial(rollback, project, tell=tell),
        tell=tell,
    )
    return follower.follow(verb, sleep=time.sleep, now=partial(datetime.now, UTC))


def rollback(
    project: Project, verb: verbs.Rollback, because: Rollout | None = None, *, tell: Listener
) -> Deployment:
    """Propose the return to an earlier version; `because` of what a rollout showed, if so."""
    from mlops_nb.flows import rollback as flow

    return flow.rollback(
        verb,
        forge=project.forge,
        registry=project.registry,
        images=project.images,
        environment=project.settings.environment(verb.env),
        tracking_uri=project.tracking_uri,
        requested_by=project.person,
        tool=project.tool,
        tell=tell,
        cluster=project.cluster(verb.env),
        because=because,
    )


def _verify(project: Project, verb: verbs.VerifyPr) -> Verification | Workflow:
    """Hold a pull request against its evidence and the registry, or give the file for CI."""
    from mlops_nb import wire
    from mlops_nb.core.evidence import Evidence
    from mlops_nb.manifests.workflow import workflow

    if verb.workflow:
        return workflow(verb.workflow, project.tool.partition("/")[2])
    from mlops_nb.adapters.git import Checkout
    from mlops_nb.flows.judge import judge_run
    from mlops_nb.flows.verification.verify import verify

    def judge(version: ModelVersion, gates: Sequence[str]) -> Verdict:
        # Not recorded with the run: whoever verifies need not have the right to write there.
        return judge_run(
            version.tracking_id, gates, model=version.name, registry=project.registry
        )

    return verify(
        verb,
        proposal=Checkout(
            Path(verb.repo), verb.base, verb.head, project.settings.gitops.branch
        ),
        registry=partial(_registry, project),
        judge=judge,
        read=partial(wire.loads, Evidence),
        settings=project.settings,
        tracking_uri=project.tracking_uri,
    )


def _registry(project: Project) -> Registry:
    """Give the registry; refuse one that nobody named, which would be a new and empty one."""
    if not (project.settings.tracking_uri or project.environment.get("MLFLOW_TRACKING_URI")):
        store = project.tracking_uri.removeprefix("sqlite:///")
        if not Path(store).exists():
            raise UserError(
                "no tracking server is named: gates are judged by what runs logged there",
                hint="set MLFLOW_TRACKING_URI, and MLFLOW_TRACKING_TOKEN where it wants one",
            )
    return project.registry
