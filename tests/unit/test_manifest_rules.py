"""What controllers refuse is found before it reaches them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from test_manifests import rendered

from mlops_nb.manifests.rules import breaches
from mlops_nb.manifests.yaml import parse_all

IMAGE = "reg.example.com/server@sha256:" + "a" * 64
ROLLOUT: dict[str, Any] = {
    "kind": "Rollout",
    "spec": {
        "minReadySeconds": 15,
        "progressDeadlineSeconds": 600,
        "revisionHistoryLimit": 5,
        "rollbackWindow": {"revisions": 3},
        "selector": {"matchLabels": {"app": "churn"}},
        "template": {
            "metadata": {"labels": {"app": "churn"}},
            "spec": {"containers": [{"name": "server", "image": IMAGE}]},
        },
        "strategy": {
            "canary": {
                "stableService": "stable",
                "canaryService": "canary",
                "trafficRouting": {"istio": {"virtualService": {"name": "churn"}}},
                "steps": [
                    {"setWeight": 5},
                    {"analysis": {"templates": [{"templateName": "judge"}]}},
                    {"setWeight": 100},
                ],
            }
        },
    },
}
METRIC: dict[str, Any] = {
    "name": "p95",
    "interval": "1m",
    "count": 5,
    "failureLimit": 1,
    "provider": {"prometheus": {"query": "{{args.hash}}"}},
}
TEMPLATE: dict[str, Any] = {
    "kind": "AnalysisTemplate",
    "spec": {"args": [{"name": "hash"}], "metrics": [METRIC]},
}
PREDICTOR: dict[str, Any] = {"name": "v8", "minReplicas": 1, "model": {"name": "main"}}
SERVICE: dict[str, Any] = {
    "kind": "InferenceService",
    "metadata": {"annotations": {"serving.kserve.io/deploymentMode": "Standard"}},
    "spec": {
        "predictor": {"name": "v7", "minReplicas": 2},
        "canary": [{"trafficPercent": 25, "predictor": PREDICTOR}],
    },
}
CANARY = ("spec", "strategy", "canary")
GONE = object()


def changed(document: dict[str, Any], place: tuple[Any, ...], value: object) -> dict[str, Any]:
    found = copy.deepcopy(document)
    inner: Any = found
    for step in place[:-1]:
        inner = inner[step]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return found


@pytest.mark.parametrize("document", [ROLLOUT, TEMPLATE, SERVICE, {"kind": "Service"}])
def test_what_is_right_has_nothing_wrong(document: dict[str, Any]) -> None:
    assert breaches(document, templates=["judge"]) == []


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ((*CANARY, "canaryService"), "stable", "stableService and canaryService are both"),
        ((*CANARY, "canaryService"), GONE, "trafficRouting needs a stableService"),
        ((*CANARY, "trafficRouting", "maxTrafficWeight"), 10, "known to nginx and plugins"),
        ((*CANARY, "steps", 0, "setWeight"), 101, "setWeight 101 is not between 0 and 100"),
        ((*CANARY, "steps", 2, "setWeight"), 5, "setWeight 5 does not rise above 5"),
        ((*CANARY, "steps", 0), {}, "steps[0] must have exactly one of"),
        ((*CANARY, "steps", 0, "pause"), {}, "steps[0] must have exactly one of"),
        ((*CANARY, "steps", 0), {"setWieght": 5}, "steps[0] must have exactly one of"),
        ((*CANARY, "steps", 1, "analysis", "templates", 0, "templateName"), "x",
         "there is no AnalysisTemplate x"),
        ((*CANARY, "steps", 1, "analysis", "args"),
         [{"name": "h", "valueFrom": {"podTemplateHashValue": "Canary"}}],
         "podTemplateHashValue 'Canary' of h is neither Latest nor Stable"),
        ((*CANARY, "steps", 0), {"setHeaderRoute": {"name": "x"}}, "not in managedRoutes"),
        ((*CANARY, "analysis"), {"startingStep": 3}, "startingStep 3 is after the last step"),
        (("spec", "progressDeadlineSeconds"), 15, "15 is not above minReadySeconds 15"),
        (("spec", "revisionHistoryLimit"), 2, "rollbackWindow 3 reaches back beyond"),
        (("spec", "selector", "matchLabels", "app"), "x", "does not choose the pods"),
        (("spec", "template", "spec", "containers", 0, "image"), "server:1.0",
         "image 'server:1.0' is not named by its digest"),
        (("spec", "strategy"), {"blueGreen": {}}, "spec.strategy.canary is missing"),
    ],
)  # fmt: skip
def test_a_rollout_that_would_be_refused(
    place: tuple[Any, ...], value: object, said: str
) -> None:
    found = breaches(changed(ROLLOUT, place, value), templates=["judge"])
    assert said in "; ".join(found)


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ({"dynamicStableScale": True}, "dynamicStableScale needs trafficRouting"),
        ({"scaleDownDelaySeconds": 30}, "scaleDownDelaySeconds needs trafficRouting"),
        ({"maxSurge": "0%", "maxUnavailable": 0}, "are both 0"),
        ({"steps": [{"setCanaryScale": {"weight": 5}}]}, "setCanaryScale needs trafficRouting"),
    ],
)
def test_what_needs_a_router_is_refused_without_one(added: dict[str, Any], said: str) -> None:
    plain = changed(ROLLOUT, (*CANARY, "trafficRouting"), GONE)
    canary = {**plain["spec"]["strategy"]["canary"], **added}
    [found] = breaches(changed(plain, CANARY, canary))
    assert said in found


def test_two_ways_of_keeping_the_stable_pods_exclude_each_other() -> None:
    canary = ROLLOUT["spec"]["strategy"]["canary"]
    both = {**canary, "dynamicStableScale": True, "scaleDownDelaySeconds": 30}
    [found] = breaches(changed(ROLLOUT, CANARY, both))
    assert "exclude each other" in found


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("spec", "metrics"), [METRIC, METRIC], "two metrics are named p95"),
        (("spec", "args"), [], "uses argument hash, which is not declared"),
        (("spec", "metrics", 0, "provider"), {}, "needs exactly one provider"),
        (("spec", "metrics", 0, "failureLimit"), 5, "failureLimit 5 is never exceeded"),
        (("spec", "metrics", 0, "interval"), GONE, "count 5 needs an interval"),
        (("spec", "dryRun"), [{"metricName": "p99"}], "no metric is named p99"),
    ],
)
def test_a_template_that_would_end_in_error(
    place: tuple[Any, ...], value: object, said: str
) -> None:
    [found] = breaches(changed(TEMPLATE, place, value))
    assert said in found


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("metadata", "annotations"), {}, "needs deploymentMode Standard"),
        (("spec", "canary", 0, "predictor", "name"), "v7", "is named v7, too"),
        (("spec", "canary", 0, "predictor", "name"), GONE, "the predictor has no name"),
        (("spec", "canary", 0, "predictor", "model"), {}, "predictor.model has no name"),
        (("spec", "canary", 0, "predictor", "minReplicas"), 3, "above the stable predictor's"),
        (("spec", "canary", 0, "predictor", "autoScaling"), {}, "autoScaling is not allowed"),
        (("spec", "canary", 0, "trafficPercent"), 101, "canaries get 101 %"),
        (("spec", "predictor", "canaryTrafficPercent"), 5, "does nothing in Standard mode"),
    ],
)
def test_an_inference_service_that_would_be_refused(
    place: tuple[Any, ...], value: object, said: str
) -> None:
    [found] = breaches(changed(SERVICE, place, value))
    assert said in found


def test_the_templates_written_have_nothing_wrong() -> None:
    content = rendered()["models/churn/base/analysis.yaml"]
    for document in parse_all(content, "analysis.yaml"):
        assert breaches(document) == []
