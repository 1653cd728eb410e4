"""What every cluster promises: Argo CD's REST API and the Kubernetes API, played here."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from played import BY_HAND, JUDGED, TOKEN, World, played

from mlops_nb.adapters.argocd import ArgoCd
from mlops_nb.adapters.rollouts import Rollouts
from mlops_nb.core.access import ClusterAccess
from mlops_nb.core.analysis import Phase
from mlops_nb.core.rollout import Action, Operation, RolloutPhase, operation
from mlops_nb.errors import BackendUnavailable, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlops_nb.core.rollout import Analysis, Rollout
    from mlops_nb.ports import Cluster

_CONFORMS: tuple[type[Cluster], ...] = (ArgoCd, Rollouts)


def reach(
    kind: str, world: World, folder: Path, *, url: str = "", token: str = TOKEN
) -> Cluster:
    """Give the played cluster through one of the adapters."""
    url = url or world.server.url
    if kind == "argocd":
        return ArgoCd(world.environment, ClusterAccess(argocd=url), lambda: token)
    path = folder / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": token}}],
            }
        )
    )
    return Rollouts(world.environment, str(path))


@pytest.fixture(params=["argocd", "kubernetes"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(kind: str, tmp_path: Path) -> Iterator[World]:
    with played() as world:
        world.cluster = reach(kind, world, tmp_path)
        yield world


def act(world: World, action: Action) -> None:
    rollout = world.cluster.rollout("churn")
    assert rollout
    world.cluster.act("churn", operation(rollout, action, "churn in prod"))


def of_steps(rollout: Rollout) -> list[Analysis]:
    """Give the analyses of single steps, without those in the background of all."""
    return [a for a in rollout.analyses if a.weight is not None]


def test_what_is_not_there_is_none(world: World) -> None:
    assert world.cluster.application("churn") is None
    assert world.cluster.rollout("churn") is None
    with pytest.raises(NotFound):
        world.cluster.act("churn", Operation.ABORT)


def test_the_first_deployment_is_no_canary(world: World) -> None:
    world.live(1)
    rollout = world.until(lambda r: r.phase is RolloutPhase.HEALTHY)
    assert (rollout.wanted.version, rollout.wanted.digest) == (1, f"sha256:{1:064x}")
    assert (rollout.has_canary, rollout.weight, rollout.actions) == (False, 0, ())
    application = world.cluster.application("churn")
    assert application is not None
    assert (application.name, application.sync) == ("churn-prod", "Synced")
    assert (application.health, application.can_sync) == ("Healthy", True)
    assert application.revision == world.forge.commits[-1].sha
    assert application.synced is not None


def test_a_canary_waits_for_a_person_and_goes_on_step_by_step(world: World) -> None:
    world.live(1)
    world.merge(2, BY_HAND)
    rollout = world.until(lambda r: r.phase is RolloutPhase.PAUSED)
    assert (rollout.weight, rollout.step, rollout.steps) == (5, 1, 5)
    assert (str(rollout.stable), str(rollout.wanted)) == ("1", "2")
    assert rollout.actions == (Action.PROMOTE, Action.PROMOTE_FULL, Action.ABORT)
    act(world, Action.PROMOTE)
    world.until(lambda r: r.phase is RolloutPhase.PAUSED and r.weight == 25)
    act(world, Action.PROMOTE)
    rollout = world.until(lambda r: r.phase is RolloutPhase.HEALTHY)
    assert (str(rollout.stable), rollout.has_canary) == ("2", False)


def test_a_canary_is_given_all_at_once(world: World) -> None:
    world.live(1)
    world.merge(2, BY_HAND)
    world.until(lambda r: r.phase is RolloutPhase.PAUSED)
    act(world, Action.PROMOTE_FULL)
    world.until(lambda r: str(r.stable) == "2" and not r.has_canary)


def test_an_aborted_canary_leaves_the_stable_version_and_may_be_tried_again(
    world: World,
) -> None:
    world.live(1)
    world.merge(2, BY_HAND)
    world.until(lambda r: r.phase is RolloutPhase.PAUSED)
    act(world, Action.ABORT)
    rollout = world.until(lambda r: r.is_aborted)
    assert (rollout.phase, rollout.weight) == (RolloutPhase.DEGRADED, 0)
    assert (str(rollout.stable), str(rollout.wanted)) == ("1", "2")
    assert rollout.aborted is not None
    assert rollout.actions == (Action.RETRY,)
    act(world, Action.RETRY)
    rollout = world.until(lambda r: r.phase is RolloutPhase.PAUSED)
    assert (rollout.weight, rollout.is_aborted) == (5, False)


def test_a_failed_analysis_tells_share_query_value_and_limit(world: World) -> None:
    world.live(1)
    world.measure("slow")
    world.merge(2, JUDGED)
    rollout = world.until(lambda r: r.is_aborted)
    assert rollout.aborted_weight == 5
    assert rollout.why == "p95-latency-ratio 3.79 > 1.2"
    [analysis] = of_steps(rollout)
    assert (analysis.phase, analysis.weight) == (Phase.FAILED, 5)
    [failed] = rollout.failing
    assert failed.value == pytest.approx(3.79, abs=0.01)
    assert failed.count == 2
    assert f'rollouts_pod_template_hash="{rollout.wanted.template}"' in failed.query
    assert "{{" not in failed.query + failed.condition


def test_no_data_is_no_verdict_and_is_measured_again_or_passed_over(world: World) -> None:
    world.live(1)
    world.measure("none")
    world.merge(2, JUDGED)
    rollout = world.until(lambda r: r.phase is RolloutPhase.PAUSED)
    assert rollout.pause == "InconclusiveAnalysis"
    assert "no data, or too few requests" in rollout.why
    act(world, Action.RETRY)
    world.until(lambda r: len(of_steps(r)) == 2 and r.phase is RolloutPhase.PAUSED)
    act(world, Action.PROMOTE)
    rollout = world.until(lambda r: r.weight == 25 and r.phase is RolloutPhase.PAUSED)
    world.measure("good")
    act(world, Action.RETRY)
    world.until(lambda r: str(r.stable) == "2")


def test_a_revert_of_an_aborted_canary_is_back_at_once(world: World) -> None:
    world.live(1)
    world.measure("errors")
    world.merge(2, JUDGED)
    world.until(lambda r: r.is_aborted)
    world.merge(1, JUDGED)
    rollout = world.until(lambda r: r.wanted.version == 1)
    assert (rollout.phase, rollout.is_aborted) == (RolloutPhase.HEALTHY, False)
    assert not rollout.analyses


def test_it_says_who_is_let_in_and_refuses_others(
    kind: str, world: World, tmp_path: Path
) -> None:
    assert world.server.url in world.cluster.check()
    stranger = reach(kind, world, tmp_path, token="somebody-elses-token")
    with pytest.raises(NotAllowed) as error:
        stranger.check()
    assert "somebody-elses-token" not in str(error.value)
    with pytest.raises(NotAllowed):
        stranger.rollout("churn")


def test_silence_is_told_as_such(kind: str, world: World, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(BackendUnavailable, match="does not answer"):
        reach(kind, world, tmp_path, url=url).rollout("churn")
