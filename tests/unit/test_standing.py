"""Where a deployment stands, in words, from what Git, Argo CD and the rollout each say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlops_nb.core.analysis import Phase
from mlops_nb.core.change import LockFile, PullRequest, PullRequestState
from mlops_nb.core.rollout import (
    Action,
    Analysis,
    Application,
    Measured,
    Operation,
    Rollout,
    RolloutPhase,
    Served,
    Stage,
    Status,
    SyncWindow,
    operation,
)
from mlops_nb.core.standing import Sight, status_of
from mlops_nb.errors import UserError

LOCK = LockFile(
    model="churn", version=8, environment="prod", uri="models:/churn/8", source="s3://m/8",
    digest="sha256:8", image="i", run="r", tracking_id="t", tracking_uri="u",
)  # fmt: skip
OLD, NEW = (
    Served(version=7, digest="sha256:7", template="aa"),
    Served(version=8, digest="sha256:8", template="bb"),
)
PULL = PullRequest(
    number=3, state=PullRequestState.OPEN, title="t", body="", branch="mlops-nb/prod/churn",
    head="h",
)  # fmt: skip
HEALTHY = Rollout(phase=RolloutPhase.HEALTHY, wanted=NEW, stable=NEW, step=7, steps=7)
CANARY = Rollout(
    phase=RolloutPhase.PROGRESSING, wanted=NEW, stable=OLD, step=3, steps=7, weight=25
)
PAUSED = replace(CANARY, phase=RolloutPhase.PAUSED, pause="CanaryPauseStep")
FAILED = Analysis(
    name="a", phase=Phase.FAILED, weight=25,
    metrics=(
        Measured(metric="p95 ratio", phase=Phase.FAILED, value=3.8, judged="3.8 > 1.2"),
        Measured(metric="errors", phase=Phase.SUCCESSFUL, value=0.0, judged="0 <= 0.01"),
    ),
)  # fmt: skip
ABORTED = replace(
    CANARY, phase=RolloutPhase.DEGRADED, weight=0, step=0, is_aborted=True, aborted_weight=25,
    analyses=(FAILED,),
    message='RolloutAborted: Rollout aborted update to revision 2: Metric "p95 ratio" assessed '
    "Failed due to failed (2) > failureLimit (1)",
)  # fmt: skip
NO_DATA = Analysis(
    name="b",
    phase=Phase.INCONCLUSIVE,
    weight=25,
    metrics=(Measured(metric="p95 ratio", phase=Phase.INCONCLUSIVE),),
)
UNDECIDED = replace(PAUSED, pause="InconclusiveAnalysis", analyses=(NO_DATA,))
SYNCED = Application(name="churn-prod", sync="Synced", health="Healthy", revision="c" * 40)


def status(**seen: object) -> Status:
    told = {"lock": LOCK, "application": SYNCED, **seen}
    return status_of(Sight(model="churn", environment="prod", **told))  # type: ignore[arg-type]  # the test says what fits


@pytest.mark.parametrize(
    ("seen", "stage", "drift"),
    [
        ({"rollout": HEALTHY}, Stage.HEALTHY, ""),
        (
            {"rollout": ABORTED},
            Stage.ABORTED,
            (
                "Git says 8, the cluster runs 7, because the canary was aborted at 25 %: p95 "
                "ratio 3.8 > 1.2"
            ),
        ),
        (
            # By hand: an analysis that failed before is not to blame.
            {
                "rollout": replace(
                    ABORTED,
                    aborted_weight=None,
                    message="RolloutAborted: Rollout aborted update to revision 2",
                )
            },
            Stage.ABORTED,
            (
                "Git says 8, the cluster runs 7, because the canary was aborted: Rollout "
                "aborted update to revision 2"
            ),
        ),
        (
            {"rollout": CANARY},
            Stage.CANARY,
            "Git says 8, the cluster runs 7 and gives 8 25 % of the traffic",
        ),
        (
            {"rollout": PAUSED},
            Stage.PAUSED,
            "Git says 8, the cluster runs 7 and gives 8 25 % of the traffic",
        ),
        (
            {"rollout": replace(HEALTHY, wanted=OLD, stable=OLD)},
            Stage.SYNCING,
            "Git says 8, the cluster runs 7: Argo CD has not synced it yet, it is at cccccccc",
        ),
        (
            {
                "rollout": replace(HEALTHY, wanted=OLD, stable=OLD),
                "application": replace(
                    SYNCED,
                    can_sync=False,
                    windows=(
                        SyncWindow(
                            kind="deny", schedule="0 18 * * 5", duration="60h", is_active=True
                        ),
                    ),
                ),
            },
            Stage.SYNCING,
            "Git says 8, the cluster runs 7: a sync window denies it (0 18 * * 5 for 60h)",
        ),
        (
            {"rollout": replace(HEALTHY, is_observed=False)},
            Stage.SYNCING,
            (
                "Git says 8, the cluster runs 8 as well, but not all that Git says of it: "
                "Argo CD has not synced it yet, it is at cccccccc"
            ),
        ),
        (
            {"rollout": None, "application": None},
            Stage.SYNCING,
            "Git says 8, nothing runs yet: it was not synced yet",
        ),
        (
            {"rollout": replace(HEALTHY, stable=None, phase=RolloutPhase.PROGRESSING)},
            Stage.STARTING,
            "Git says 8, nothing runs yet: pods are starting",
        ),
        ({"trouble": "Argo CD does not answer"}, Stage.UNSEEN, ""),
        ({"has_cluster": False}, Stage.UNSEEN, ""),
        ({"lock": None}, Stage.UNDEPLOYED, ""),
        # KServe's own resources have no rollout: Argo CD's word is all there is.
        ({"rollout": None}, Stage.HEALTHY, ""),
        ({"application": replace(SYNCED, health="Degraded")}, Stage.DEGRADED, ""),
    ],
)
def test_where_it_stands_and_how_the_cluster_differs_from_git(
    seen: dict[str, object], stage: Stage, drift: str
) -> None:
    found = status(**seen)
    assert (found.stage, found.drift) == (stage, drift)
    assert found.summary


@pytest.mark.parametrize(
    ("seen", "lines"),
    [
        ({"rollout": HEALTHY}, ()),
        ({"rollout": HEALTHY, "pull_request": PULL}, ("mlops merge 3",)),
        ({"lock": None}, ("mlops deploy churn --to prod",)),
        (
            {"rollout": ABORTED},
            ("mlops rollback churn --env prod", "mlops retry churn --env prod"),
        ),
        (
            {"rollout": ABORTED, "pull_request": PULL},
            ("mlops merge 3", "mlops retry churn --env prod"),
        ),
        (
            {"rollout": UNDECIDED},
            (
                "mlops retry churn --env prod",
                "mlops promote churn --env prod",
                "mlops abort churn --env prod --reason TEXT",
            ),
        ),
    ],
)
def test_what_may_be_typed_next(seen: dict[str, object], lines: tuple[str, ...]) -> None:
    assert status(**seen).next == lines


def test_no_verdict_says_what_was_missing() -> None:
    assert status(rollout=UNDECIDED).summary == (
        "step 4 of 7, paused: 25 % of the traffic goes to 8; the analysis could not tell: p95 "
        "ratio: no data, or too few requests"
    )


@pytest.mark.parametrize(
    ("rollout", "action", "told"),
    [
        # A pause that a step asked for is taken away; the controller goes on by itself.
        (PAUSED, Action.PROMOTE, Operation.RESUME),
        # Resumed, an undecided analysis would be measured again.
        (UNDECIDED, Action.PROMOTE, Operation.SKIP_STEP),
        (UNDECIDED, Action.RETRY, Operation.RESUME),
        # One in the background has no step to skip.
        (
            replace(UNDECIDED, analyses=(replace(NO_DATA, weight=None),)),
            Action.PROMOTE,
            Operation.RESUME,
        ),
        (CANARY, Action.PROMOTE, Operation.SKIP_STEP),
        (CANARY, Action.PROMOTE_FULL, Operation.PROMOTE_FULL),
        (CANARY, Action.ABORT, Operation.ABORT),
        (ABORTED, Action.RETRY, Operation.RETRY),
    ],
)
def test_what_a_rollout_is_told(rollout: Rollout, action: Action, told: Operation) -> None:
    assert operation(rollout, action, "churn in prod") is told


@pytest.mark.parametrize(
    ("rollout", "action", "said"),
    [
        (HEALTHY, Action.ABORT, "8 has all of the traffic and no canary is running"),
        (ABORTED, Action.PROMOTE, "its canary 8 was aborted"),
        (CANARY, Action.RETRY, "the canary 8 is running at 25 %"),
    ],
)
def test_what_cannot_be_done_says_why(rollout: Rollout, action: Action, said: str) -> None:
    with pytest.raises(UserError) as error:
        operation(rollout, action, "churn in prod")
    assert error.value.message == f"churn in prod cannot do that now: {said}"
    assert error.value.hint
