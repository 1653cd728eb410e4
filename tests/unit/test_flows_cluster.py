"""Watching, steering and following deployments, on a played cluster."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from played import ANN, BY_HAND, JUDGED, World, played

from mlops_nb.core.change import PullRequestState, lock_path
from mlops_nb.core.events import Note, RolloutMoved
from mlops_nb.core.rollout import Action, RolloutPhase, Stage
from mlops_nb.core.verbs import Follow, Merge, Rollback, Status
from mlops_nb.display import html, text
from mlops_nb.errors import BackendUnavailable, Conflict, NotFound, UserError
from mlops_nb.flows.cluster.follow import Follower
from mlops_nb.flows.cluster.status import status
from mlops_nb.flows.cluster.steer import record_abort, steer
from mlops_nb.flows.merge import left_behind, merge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.core.results import Followed, StatusList
    from mlops_nb.core.rollout import Application, Operation, Rollout


@pytest.fixture
def world() -> Iterator[World]:
    with played() as world:
        yield world


def look(world: World, **words: Any) -> StatusList:
    return status(
        Status(**{"interval": 0.05, **words}),
        forge=world.forge,
        cluster_of=lambda env: world.cluster if env == "prod" else None,
        environments=["prod"],
        sleep=time.sleep,
        clock=lambda: datetime.now(UTC).timestamp(),
        tell=world.events.append,
    )


def stage(world: World) -> Stage:
    [found] = look(world, model="churn", env="prod").statuses
    return found.stage


def follow(world: World, **words: Any) -> Followed:
    follower = Follower(
        forge=world.forge,
        registry=world.registry,
        cluster_of=lambda env: world.cluster if env == "prod" else None,
        environments={"prod": world.environment},
        revert=world.revert,
        tell=world.events.append,
    )
    return follower.follow(
        Follow(once=True, **words), sleep=lambda _: None, now=lambda: datetime.now(UTC)
    )


def told(world: World) -> list[str]:
    return [event.text for event in world.events if isinstance(event, Note)]


def tags(world: World, number: int) -> str:
    [version] = [v for v in world.registry.versions("churn") if v.version == number]
    return version.tags.get("mlops_nb.deployed.prod", "")


def aborted(world: World) -> Rollout:
    """Have version 1 serve and version 2 aborted by its own analysis."""
    world.live(1)
    world.measure("slow")
    world.merge(2, JUDGED)
    return world.until(lambda r: r.is_aborted)


def test_watching_ends_when_a_canary_is_through_and_tells_each_share(world: World) -> None:
    world.server.cluster.clock._speed = 2_000
    world.live(1)
    world.merge(2, JUDGED)
    found = look(world, model="churn", watch=True)
    assert [s.stage for s in found.statuses] == [Stage.HEALTHY]
    assert not found.is_bad
    shares = [
        e.status.rollout.weight
        for e in world.events
        if isinstance(e, RolloutMoved) and e.status.rollout
    ]
    assert {5, 25} <= set(shares)
    assert shares[-1] == 0


def test_watching_ends_when_a_canary_was_aborted(world: World) -> None:
    aborted(world)
    found = look(world, model="churn", env="prod", watch=True)
    assert found.is_bad
    said = " ".join(text(found).split())
    assert "Git says 2, the cluster runs 1, because the canary was aborted at 5 %" in said
    assert "✘ failed 3.79 > 1.2" in said
    assert "next: mlops rollback churn --env prod | mlops retry churn --env prod" in said
    assert "p95-latency-ratio" in html(found)


def test_watching_lasts_no_longer_than_asked_and_bears_some_silence(world: World) -> None:
    world.live(1)
    world.merge(2, BY_HAND)
    found = look(world, model="churn", watch=True, timeout=0.3)
    assert found.timed_out
    assert found.statuses[0].stage is Stage.PAUSED

    class Silent:
        asked = 0

        def application(self, model: str) -> Application | None:
            self.asked += 1
            if self.asked < 3:
                raise BackendUnavailable("Argo CD does not answer")
            return real.application(model)

        def rollout(self, model: str) -> Rollout | None:
            return real.rollout(model)

        def act(self, model: str, operation: Operation) -> None:
            real.act(model, operation)

        def check(self) -> str:
            return ""

    real, world.cluster = world.cluster, Silent()
    assert look(world, model="churn", watch=True, timeout=0.3).statuses
    assert "Argo CD does not answer; looking on" in told(world)


def test_status_without_a_cluster_says_what_git_says_and_is_not_watched(world: World) -> None:
    world.live(1)
    real, world.cluster = world.cluster, None  # type: ignore[assignment]  # none is configured
    assert stage(world) is Stage.UNSEEN
    with pytest.raises(UserError, match="names no cluster to watch"):
        look(world, model="churn", watch=True)
    world.cluster = real
    with pytest.raises(NotFound) as error:
        look(world, model="chrun")
    assert error.value.hint == "did you mean 'churn'?"


def test_a_deployment_is_refused_while_a_canary_is_judged(world: World) -> None:
    world.live(1)
    world.merge(2, BY_HAND)
    world.until(lambda r: r.is_moving and r.weight == 5)
    with pytest.raises(Conflict) as error:
        world.propose(3, cluster=world.cluster)
    assert error.value.message == (
        "a canary of churn/2 is in prod at 5 %: churn/3 would take its place before it is "
        "judged"
    )
    assert "mlops status churn --env prod --watch" in error.value.hint
    assert "mlops abort churn --env prod" in error.value.hint
    assert world.forge.find("mlops-nb/prod/churn") is None
    world.propose(3, cluster=world.cluster, dry_run=True)
    assert error.value.message in told(world)
    # What changes nothing is no harm, and an aborted canary stands in nobody's way.
    assert world.propose(2, BY_HAND, cluster=world.cluster).is_noop
    steer_(world, Action.ABORT)
    assert world.propose(3, cluster=world.cluster).pull_request


def steer_(world: World, action: Action) -> Any:
    return steer(
        "churn", "prod", action, forge=world.forge, cluster=world.cluster,
        sleep=time.sleep,
    )  # fmt: skip


def test_steering_gives_the_rollout_as_it_is_afterwards(world: World) -> None:
    world.live(1)
    with pytest.raises(UserError, match="1 has all of the traffic and no canary is running"):
        steer_(world, Action.ABORT)
    world.merge(2, BY_HAND)
    world.until(lambda r: r.pause != "")
    done = steer_(world, Action.ABORT)
    assert done.stage is Stage.ABORTED
    record_abort(done, "wrong prices", ANN, registry=world.registry, tell=world.events.append)
    assert steer_(world, Action.RETRY).stage in {Stage.CANARY, Stage.PAUSED}


def test_an_aborted_version_is_reverted_once_with_what_the_canary_showed(world: World) -> None:
    rollout = aborted(world)
    done = follow(world)
    [number] = done.pull_requests
    pull = world.forge.pull_request(number)
    assert pull.title == "Roll back churn in prod to 1"
    words = " ".join(pull.body.replace("`", "").split())
    why = "the canary of churn/2 was aborted at 5 %: p95-latency-ratio 3.79"
    assert f"Reason: {why}" in words
    assert "| p95-latency-ratio | Failed | 3.79 > 1.2 | 2 |" in words.replace("\\", "")
    assert f'rollouts_pod_template_hash="{rollout.wanted.template}"' in pull.body
    trailers = dict(world.forge.changes[number][0].trailers)
    assert trailers["Mlops-Action"] == "rollback"
    assert trailers["Mlops-Reason"].endswith("aborted at 5 %: p95-latency-ratio 3.79 > 1.2")
    assert tags(world, 2) == "aborted: p95-latency-ratio 3.79 > 1.2"
    assert follow(world).done == ()
    world.forge.merge(number)
    world.until(lambda r: r.wanted.version == 1)
    assert stage(world) is Stage.HEALTHY
    assert follow(world).pull_requests == ()


def test_a_dry_run_of_a_rollback_tells_whether_the_canary_would_step_again(
    world: World,
) -> None:
    world.merge(1, BY_HAND)
    world.until(lambda r: r.stable is not None)
    world.merge(2, BY_HAND)
    world.until(lambda r: r.pause != "")
    asked = Rollback(model="churn", env="prod", dry_run=True)
    told = " ".join(world.revert(asked, None).body.split())
    assert "its pods are those that have the traffic now" in told
    assert "Now the canary 2 is paused at 5 %." in told
    assert world.forge.find("mlops-nb/prod/churn") is None
    steer_(world, Action.PROMOTE_FULL)
    world.until(lambda r: not r.has_canary)
    told = " ".join(world.revert(asked, None).body.split())
    assert "**at once, without steps**: ReplicaSets made in between: 0" in told
    pull = world.revert(replace(asked, dry_run=False), None).pull_request
    assert pull is not None
    world.forge.merge(pull.number)
    # Its steps would wait for a person.
    done = world.until(lambda r: r.wanted.version == 1 and not r.has_canary)
    assert done.phase is RolloutPhase.HEALTHY


def test_two_who_follow_at_once_open_one_pull_request(world: World) -> None:
    aborted(world)
    threads = [threading.Thread(target=follow, args=(world,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    open_ = [p for p in world.forge.pull_requests() if p.state is PullRequestState.OPEN]
    assert len(open_) == 1


def test_a_revert_that_people_closed_is_not_opened_again(world: World) -> None:
    aborted(world)
    [number] = follow(world).pull_requests
    closed = replace(world.forge.pulls[number], state=PullRequestState.CLOSED)
    world.forge.pulls[number] = closed
    assert follow(world).pull_requests == ()
    assert f"its revert, pull request #{number}, is closed" in " ".join(told(world))


def test_a_deployment_that_waits_is_left_to_people(world: World) -> None:
    aborted(world)
    pull = world.propose(3).pull_request
    assert pull is not None
    assert follow(world).pull_requests == ()
    assert world.forge.pull_request(pull.number).title == "Deploy churn/3 to prod"
    assert f"pull request #{pull.number} is open" in " ".join(told(world))


def test_what_a_person_aborted_is_reverted_for_their_reason(world: World) -> None:
    world.live(1)
    world.merge(2, BY_HAND)
    world.until(lambda r: r.pause != "")
    done = steer_(world, Action.ABORT)
    record_abort(done, "wrong prices", ANN, registry=world.registry, tell=world.events.append)
    [number] = follow(world).pull_requests
    assert "wrong prices (Ann" in world.forge.pull_request(number).body


def test_alias_and_tags_follow_what_the_cluster_runs_not_what_was_merged(world: World) -> None:
    pull = world.propose(1).pull_request
    assert pull is not None
    merged = merge(
        Merge(number=pull.number),
        forge=world.forge,
        registry=world.registry,
        environments={"prod": world.environment},
    )
    assert (merged.alias, merged.later_alias) == ("", "champion")
    assert "next: mlops status churn --env prod --watch" in text(merged)
    assert "<code>mlops status churn --env prod --watch</code>" in html(merged)
    assert tags(world, 1) == "merged"
    # An alias that waits for the cluster was not left behind by a merge made by Git alone.
    environments = {"prod": world.environment}
    versions = world.registry.versions("churn")
    assert not [*left_behind(versions, forge=world.forge, environments=environments)]
    world.until(lambda r: r.stable is not None)
    assert follow(world).done == (
        "churn/1 is tagged mlops_nb.deployed.prod = live",
        "churn@champion → churn/1",
    )
    world.merge(2, BY_HAND)
    world.until(lambda r: r.pause != "")
    follow(world)
    assert (tags(world, 1), tags(world, 2)) == ("live", "canary")
    assert world.registry.aliases["churn", "champion"] == 1
    steer_(world, Action.PROMOTE_FULL)
    world.until(lambda r: not r.has_canary)
    follow(world)
    assert (tags(world, 1), tags(world, 2)) == ("replaced", "live")
    assert world.registry.aliases["churn", "champion"] == 2
    assert follow(world).done == ()


def test_to_follow_nothing_is_an_error(world: World) -> None:
    world.cluster = None  # type: ignore[assignment]  # none is configured
    with pytest.raises(UserError, match="prod names no cluster to follow"):
        follow(world)


def test_a_sync_window_that_denies_is_told(world: World) -> None:
    world.live(1)
    path = "clusters/prod/appproject.yaml"
    window = {"kind": "deny", "schedule": "* * * * *", "duration": "1h"}
    windows = json.dumps([{**window, "applications": ["*"]}])
    project = world.forge.trees[-1][path] + f"  syncWindows: {windows}\n".encode()
    world.forge.trees.append({**world.forge.trees[-1], path: project})
    world.merge(2, BY_HAND)
    assert drift_with(world, "window") == (
        "Git says 2, the cluster runs 1: a sync window denies it (* * * * * for 1h)"
    )


def test_an_overlay_that_cannot_be_built_is_told_as_argo_cd_tells_it(world: World) -> None:
    world.live(1)
    pull = world.propose(2, BY_HAND).pull_request
    assert pull is not None
    change, base = world.forge.changes[pull.number]
    broken = lock_path("churn", "prod").replace("model.lock", "kustomization")
    files = {**change.files, broken: b"kind: Kustomization\nhelmCharts: []\n"}
    world.forge.changes[pull.number] = (replace(change, files=files), base)
    world.forge.merge(pull.number)
    assert "helmCharts is not known to `mlops dev cluster`" in drift_with(world, "helmCharts")


def drift_with(world: World, word: str) -> str:
    """Wait until a deployment's drift is about something; give it."""
    deadline = time.monotonic() + 5
    while True:
        [found] = look(world, model="churn").statuses
        assert found.stage is Stage.SYNCING
        if word in found.drift:
            return found.drift
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
