"""Live resources as real controllers write them, read into what they mean."""

from __future__ import annotations

from typing import Any

from mlops_nb.core.analysis import Phase
from mlops_nb.core.rollout import RolloutPhase
from mlops_nb.manifests.live import read_application, read_rollout

STEPS = [{"setWeight": 5}, {"pause": {}}, {"setWeight": 25}, {"analysis": {}}]


def rollout(**status: Any) -> dict[str, Any]:
    pod = {
        "initContainers": [
            {
                "name": "download",
                "env": [
                    {"name": "MODEL_URI", "value": "models:/churn/8"},
                    {"name": "MODEL_DIGEST", "value": "sha256:8"},
                    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
            }
        ]
    }
    told = {"currentPodHash": "bb", "stableRS": "aa", "observedGeneration": "4", **status}
    return {
        "metadata": {
            "name": "churn",
            "generation": 4,
            "annotations": {"rollout.argoproj.io/revision": "2"},
        },
        "spec": {"template": {"spec": pod}, "strategy": {"canary": {"steps": STEPS}}},
        "status": told,
    }


def replica_set(template: str, version: int) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"churn-{template}",
            "labels": {"rollouts-pod-template-hash": template},
            "annotations": {"mlops-nb.io/model-uri": f"models:/churn/{version}"},
        },
        "spec": {"template": {"spec": {"containers": [{"name": "server"}]}}},
    }


def analysis_run(name: str, created: str, *, revision: str = "2", **status: Any) -> Any:
    """Give a run as Argo Rollouts 1.9 leaves it: arguments not filled in, but for the query."""
    known = "len(result) > 0 && !isNaN(result[0]) && result[0]"
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "annotations": {"rollout.argoproj.io/revision": revision},
            "labels": {
                "rollout-type": "Step",
                "rollouts-pod-template-hash": "bb",
                "step-index": name.rpartition("-")[2].partition(".")[0],
            },
        },
        "spec": {
            "args": [{"name": "limit", "value": "1.20"}, {"name": "token", "valueFrom": {}}],
            "metrics": [
                {
                    "name": "p95",
                    "count": 5,
                    "interval": "75s",
                    "successCondition": f"{known} <= {{{{args.limit}}}}",
                    "failureCondition": f"{known} > {{{{args.limit}}}}",
                    "provider": {"prometheus": {"query": "q {{args.limit}} {{args.token}}"}},
                }
            ],
        },
        "status": status,
    }


def result(phase: str, *values: str, **more: Any) -> dict[str, Any]:
    measurements = [{"phase": phase, "value": value} for value in values]
    return {"name": "p95", "phase": phase, "measurements": measurements, **more}


def test_a_rollout_that_routes_tells_its_real_share() -> None:
    found = read_rollout(
        rollout(
            phase="Progressing",
            currentStepIndex=3,
            canary={"weights": {"canary": {"weight": 25}, "stable": {"weight": 75}}},
        ),
        [replica_set("aa", 7)],
        [],
    )
    assert (found.phase, found.step, found.steps, found.weight) == (
        RolloutPhase.PROGRESSING, 3, 4, 25,
    )  # fmt: skip
    assert (found.wanted.version, found.wanted.digest) == (8, "sha256:8")
    assert found.stable is not None
    assert found.stable.version == 7


def test_without_a_router_the_share_is_that_of_the_last_step_that_set_one() -> None:
    assert read_rollout(rollout(currentStepIndex=1), [], []).weight == 5
    assert read_rollout(rollout(currentStepIndex=3), [], []).weight == 25
    assert read_rollout(rollout(stableRS="bb", currentStepIndex=4), [], []).weight == 0


def test_a_manifest_that_the_controller_has_not_seen_is_not_taken_for_done() -> None:
    assert not read_rollout(
        rollout(phase="Healthy", observedGeneration="3"), [], []
    ).is_observed


def test_the_share_at_an_abort_is_that_of_its_newest_analysis() -> None:
    # An abort sets step and weight to 0; a run tried again bears its number behind a dot.
    failed = result(
        "Failed", "[3.5]", "[3.79]", metadata={"ResolvedPrometheusQuery": 'q{hash="bb"}'}
    )
    found = read_rollout(
        rollout(
            abort=True,
            abortedAt="2026-07-02T18:59:02Z",
            phase="Degraded",
            message='RolloutAborted: Rollout aborted update to revision 2: Metric "p95" '
            "assessed Failed due to failed (2) > failureLimit (1)",
        ),
        [],
        [
            analysis_run("churn-bb-2-3.1", "2026-07-02T18:57:42Z", phase="Failed",
                         metricResults=[failed]),
            analysis_run("churn-bb-2-3", "2026-07-02T18:30:00Z", phase="Successful"),
            analysis_run("churn-bb-1-3", "2026-07-01T00:00:00Z", revision="1", phase="Error"),
        ],
    )  # fmt: skip
    assert found.aborted_weight == 25
    assert [a.name for a in found.analyses] == ["churn-bb-2-3", "churn-bb-2-3.1"]
    [failing] = found.failing
    assert (failing.value, failing.judged, failing.query) == (
        3.79, "3.79 > 1.2", 'q{hash="bb"}',
    )  # fmt: skip
    assert found.identity == "bb 2026-07-02T18:59:02+00:00"


def test_measurements_without_samples_and_not_yet_taken() -> None:
    name, when = "churn-bb-2-3", "2026-07-02T18:57:42Z"
    for value in ("[]", "[NaN]"):
        results = [result("Inconclusive", value)]
        run = analysis_run(name, when, phase="Inconclusive", metricResults=results)
        undecided = [{"reason": "InconclusiveAnalysis"}]
        [measured] = read_rollout(rollout(pauseConditions=undecided), [], [run]).failing
        assert measured.words == "p95: no data, or too few requests"
    run = analysis_run(name, when, phase="Running", metricResults=[result("Running", "[1]")])
    [analysis] = read_rollout(rollout(), [], [run]).analyses
    assert analysis.metrics[0].judged == "1, limit: <= 1.2"
    [analysis] = read_rollout(rollout(), [], [analysis_run(name, when)]).analyses
    assert (analysis.phase, analysis.metrics[0].value) == (Phase.RUNNING, None)
    assert analysis.metrics[0].query == "q 1.20 …"


def test_an_application_tells_what_was_applied_not_what_it_was_compared_with() -> None:
    found = read_application(
        {
            "metadata": {"name": "churn-prod"},
            "status": {
                "sync": {"status": "OutOfSync", "revision": "new"},
                "health": {"status": "Degraded"},
                "history": [{"revision": "older"}, {"revision": "old"}],
                "operationState": {"phase": "Failed", "message": "one\n or more failed"},
                "conditions": [{"type": "ComparisonError", "message": "no kustomization"}],
            },
        },
        {"assignedWindows": [{"kind": "deny", "schedule": "* * * * *", "duration": "1h"}],
         "activeWindows": [{"kind": "deny", "schedule": "* * * * *", "duration": "1h"}]},
    )  # fmt: skip
    assert (found.sync, found.revision) == ("OutOfSync", "old")
    assert found.message == "no kustomization; one or more failed"
    assert not found.can_sync
    assert found.windows[0].is_active
