"""Tell where deployments stand, once or until they have settled."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from mlops_nb.core.events import Note, RolloutMoved
from mlops_nb.core.results import StatusList
from mlops_nb.errors import BackendUnavailable, UserError
from mlops_nb.flows.cluster.sight import look, places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlops_nb.core.rollout import Status
    from mlops_nb.core.verbs import Status as Verb
    from mlops_nb.flows.cluster.sight import Place
    from mlops_nb.ports import Cluster, Forge, Listener

_PATIENCE = 30  # looks in a row that may go unanswered


def status(
    verb: Verb,
    *,
    forge: Forge,
    cluster_of: Callable[[str], Cluster | None],
    environments: Sequence[str],
    sleep: Callable[[float], None],
    clock: Callable[[], float],
    tell: Listener,
) -> StatusList:
    """Look at every deployment asked for.

    Args:
        verb: the request.
        forge: the GitOps repository.
        cluster_of: gives an environment's cluster; None where none is configured.
        environments: names of those configured.
        sleep: waits some seconds.
        clock: seconds that only grow.
        tell: told of each move while watching.

    Raises:
        NotFound: if what is asked for by name is neither deployed nor proposed.
        UserError: if it is to be watched and no cluster is configured.
        BackendError: if it is watched, and the cluster refuses or stays silent.
    """
    wanted = places(verb.model, verb.env, forge=forge, environments=environments)

    def look_once(*, strict: bool) -> tuple[Status, ...]:
        return tuple(
            look(model, env, forge=forge, cluster=cluster_of(env), strict=strict)
            for model, env in wanted
        )

    if not verb.watch:
        return StatusList(statuses=look_once(strict=False))
    _check_watchable(wanted, cluster_of)
    deadline = None if verb.timeout is None else clock() + verb.timeout
    told: dict[Place, object] = {}
    looks = _looks(partial(look_once, strict=True), tell)
    for found in looks:
        for each in found:
            _tell_if_new(each, told, tell)
        if found and all(each.stage.is_settled for each in found):
            return StatusList(statuses=found)
        if deadline is not None and clock() >= deadline:
            return StatusList(statuses=found or look_once(strict=False), timed_out=True)
        sleep(verb.interval)
    raise AssertionError("one looks until it is settled, or raises")


def _looks(
    look_once: Callable[[], tuple[Status, ...]], tell: Listener
) -> Iterator[tuple[Status, ...]]:
    """Look again and again; give nothing seen while the cluster is silent for a while."""
    silent = 0
    while True:
        try:
            found = look_once()
        except BackendUnavailable as error:
            silent += 1
            if silent >= _PATIENCE:
                raise
            if silent == 1:
                tell(Note(text=f"{error.message}; looking on"))
            yield ()
        else:
            silent = 0
            yield found


def _check_watchable(
    wanted: Sequence[Place], cluster_of: Callable[[str], Cluster | None]
) -> None:
    for _, env in wanted:
        if cluster_of(env) is None:
            raise UserError(
                f"environment {env} names no cluster to watch",
                hint=f"set argocd or kubeconfig below [environments.{env}] in mlops.toml, or "
                "rehearse one: mlops dev cluster",
            )


def _tell_if_new(status: Status, told: dict[Place, object], tell: Listener) -> None:
    rollout = status.rollout
    seen = (status.stage, status.summary, rollout and (rollout.step, rollout.weight))
    place = (status.model, status.environment)
    if told.get(place) != seen:
        told[place] = seen
        tell(RolloutMoved(status=status, time=datetime.now(UTC)))
