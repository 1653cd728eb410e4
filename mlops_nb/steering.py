"""Verbs about what a cluster runs, and the way back: gives each what it asks of the project."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from mlops_nb.core import verbs
from mlops_nb.core.rollout import Action

if TYPE_CHECKING:
    from mlops_nb.core.delivery import Deployment
    from mlops_nb.core.results import Followed, StatusList
    from mlops_nb.core.rollout import Rollout, Status
    from mlops_nb.ports import Listener
    from mlops_nb.project import Project


def do(
    project: Project,
    verb: verbs.Status | verbs.Promote | verbs.Abort | verbs.Follow,
    tell: Listener,
) -> StatusList | Status | Followed:
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
        environment=project.settings.environment(verb.env),
        tracking_uri=project.tracking_uri,
        requested_by=project.person,
        tool=project.tool,
        tell=tell,
        cluster=project.cluster(verb.env),
        because=because,
    )
