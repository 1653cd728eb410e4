"""Answer what a cluster did: revert what it aborted, tell the registry what it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.events import Note, RolloutMoved
from mlops_nb.core.results import Followed
from mlops_nb.core.rollout import Stage, abort_tag
from mlops_nb.core.verbs import Rollback
from mlops_nb.errors import BackendUnavailable, NotFound, UserError
from mlops_nb.flows.cluster.records import record
from mlops_nb.flows.cluster.sight import look, places
from mlops_nb.manifests.evidence import read_marker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from mlops_nb.core.delivery import Deployment, Environment
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.rollout import Rollout, Status
    from mlops_nb.core.verbs import Follow
    from mlops_nb.ports import Cluster, Forge, Listener, Registry


class Follower:
    """Looks at deployments and does what is left to do; to repeat it changes nothing.

    Args:
        forge: the GitOps repository.
        registry: where aliases and tags are.
        cluster_of: gives an environment's cluster; None where none is configured.
        environments: those configured, by name.
        revert: proposes the return to an earlier version, because of what a rollout showed.
        tell: told what is done, and what is not, and why.
    """

    def __init__(
        self,
        *,
        forge: Forge,
        registry: Registry,
        cluster_of: Callable[[str], Cluster | None],
        environments: Mapping[str, Environment],
        revert: Callable[[Rollback, Rollout], Deployment],
        tell: Listener,
    ) -> None:
        self._forge = forge
        self._registry = registry
        self._cluster_of = cluster_of
        self._environments = environments
        self._revert = revert
        self._tell = tell
        self._told: set[str] = set()

    def follow(
        self,
        verb: Follow,
        *,
        sleep: Callable[[float], None],
        now: Callable[[], datetime],
    ) -> Followed:
        """Look once, or again and again until interrupted.

        Raises:
            UserError: if no environment asked for names a cluster.
            NotFound: if what is asked for by name is neither deployed nor proposed.
            BackendError: if the cluster refuses, or does not answer and one look was asked for.
        """
        asked = [verb.env] if verb.env else list(self._environments)
        if not any(self._cluster_of(env) for env in asked):
            raise UserError(
                f"{', '.join(asked) or 'no environment'} names no cluster to follow",
                hint="set argocd or kubeconfig below [environments.NAME] in mlops.toml",
            )
        stages: dict[tuple[str, str], Stage] = {}
        followed = Followed(statuses=())
        try:
            while True:
                try:
                    followed = self._once(verb)
                except BackendUnavailable as error:
                    if verb.once:
                        raise
                    self._say(f"{error.message}; looking on")
                if verb.once:
                    return followed
                for status in followed.statuses:
                    place = (status.model, status.environment)
                    if stages.get(place) != status.stage:
                        stages[place] = status.stage
                        self._tell(RolloutMoved(status=status, time=now()))
                sleep(verb.interval)
        except KeyboardInterrupt:
            return followed

    def _once(self, verb: Follow) -> Followed:
        statuses: list[Status] = []
        done: list[str] = []
        numbers: list[int] = []
        wanted = places(
            verb.model, verb.env, forge=self._forge, environments=self._environments
        )
        for model, env in wanted:
            cluster = self._cluster_of(env) if env in self._environments else None
            if cluster is None:
                continue
            status = look(model, env, forge=self._forge, cluster=cluster, strict=True)
            versions = self._registry.versions(model)
            alias = self._environments[env].alias
            done += record(status, alias, versions, registry=self._registry)
            if status.stage is Stage.ABORTED and status.rollout:
                pull = self._reverted(status, status.rollout, versions)
                if pull:
                    numbers.append(pull)
                    done.append(f"pull request #{pull} reverts {model}/{status.version}")
                    status = look(model, env, forge=self._forge, cluster=cluster, strict=True)
            statuses.append(status)
        for each in done:
            self._tell(Note(text=each))
        return Followed(
            statuses=tuple(statuses), done=tuple(done), pull_requests=tuple(numbers)
        )

    def _reverted(
        self, status: Status, rollout: Rollout, versions: Sequence[ModelVersion]
    ) -> int:
        """Propose the revert of an aborted version, once; give its number, 0 if none is due."""
        waiting = status.pull_request
        if waiting is not None:
            if read_marker(waiting.body).get("action") != "rollback":
                self._say(
                    f"{status.where} was aborted; pull request #{waiting.number} is open and "
                    f"would answer that, so nothing is reverted: {waiting.title}"
                )
            return 0
        for pull in self._forge.pull_requests():
            if read_marker(pull.body).get("abort") == rollout.identity:
                self._say(
                    f"{status.where} was aborted; its revert, pull request #{pull.number}, is "
                    f"{pull.state}, so none is opened again"
                )
                return 0
        stable = rollout.stable.version if rollout.stable else 0
        request = Rollback(
            model=status.model,
            env=status.environment,
            to=stable if stable != status.version else 0,
            reason=_reason(status, rollout, versions),
        )
        try:
            proposed = self._revert(request, rollout).pull_request
        except (UserError, NotFound) as error:
            self._say(f"{status.where} was aborted, and cannot be reverted: {error.message}")
            return 0
        return proposed.number if proposed and proposed.is_new else 0

    def _say(self, text: str) -> None:
        """Tell something once."""
        if text not in self._told:
            self._told.add(text)
            self._tell(Note(text=text))


def _reason(status: Status, rollout: Rollout, versions: Sequence[ModelVersion]) -> str:
    share = "" if rollout.aborted_weight is None else f" at {rollout.aborted_weight} %"
    why = rollout.why
    if not rollout.failing:
        # Nothing measured it to be bad: a person said so.
        tag = abort_tag(status.environment)
        own = [v.tags[tag] for v in versions if v.version == status.version and tag in v.tags]
        why = own[0] if own else why
    return f"the canary of {status.model}/{status.version} was aborted{share}: {why}"
