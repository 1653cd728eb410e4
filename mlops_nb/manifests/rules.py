"""What controllers refuse, or do wrongly without a word, that no schema tells.

Sources: pkg/apis/rollouts/validation/validation.go of Argo Rollouts v1.9, utils/analysis of the
same, and the admission of InferenceService in KServe v0.20.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

RULED = ("Rollout", "AnalysisTemplate", "InferenceService")
_DIGEST = re.compile(r"\S+@sha256:[0-9a-f]{64}")
_STEPS = {
    "setWeight", "pause", "setCanaryScale", "analysis", "experiment", "setHeaderRoute",
    "setMirrorRoute", "plugin", "replicaProgressThreshold",
}  # fmt: skip


def breaches(document: Mapping[str, Any], *, templates: Iterable[str] = ()) -> list[str]:
    """Tell what is wrong with a manifest, a sentence each; nothing for a kind without rules.

    Args:
        document: the manifest as it is applied.
        templates: names of the AnalysisTemplates that are applied with it; empty if they are
            not known.
    """
    spec = document.get("spec") or {}
    match document.get("kind"):
        case "Rollout":
            return [*_rollout(spec), *_pod(spec), *_analyses(spec, set(templates))]
        case "AnalysisTemplate":
            return list(_template(spec))
        case "InferenceService":
            return list(_inference_service(document, spec))
        case _:
            return []


def _rollout(spec: Mapping[str, Any]) -> Iterator[str]:
    canary = (spec.get("strategy") or {}).get("canary")
    if not canary:
        yield "spec.strategy.canary is missing"
        return
    yield from _strategy(canary)
    yield from _steps(canary)
    deadline, ready = spec.get("progressDeadlineSeconds", 600), spec.get("minReadySeconds", 0)
    if deadline <= ready:
        yield f"progressDeadlineSeconds {deadline} is not above minReadySeconds {ready}"
    window = (spec.get("rollbackWindow") or {}).get("revisions", 0)
    history = spec.get("revisionHistoryLimit", 10)
    if window > history:
        yield f"rollbackWindow {window} reaches back beyond revisionHistoryLimit {history}"
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    chosen = (spec.get("selector") or {}).get("matchLabels") or {}
    if not chosen or any(labels.get(name) != value for name, value in chosen.items()):
        yield "spec.selector does not choose the pods of spec.template"


def _strategy(canary: Mapping[str, Any]) -> Iterator[str]:
    stable, other = canary.get("stableService"), canary.get("canaryService")
    if stable and stable == other:
        yield f"stableService and canaryService are both {stable}"
    routing = canary.get("trafficRouting")
    if routing is not None and not (stable and other):
        yield "trafficRouting needs a stableService and a canaryService"
    if routing is None:
        for name in ("scaleDownDelaySeconds", "dynamicStableScale"):
            if canary.get(name):
                yield f"{name} needs trafficRouting"
    if canary.get("dynamicStableScale") and "scaleDownDelaySeconds" in canary:
        yield "dynamicStableScale and scaleDownDelaySeconds exclude each other"
    if routing and "maxTrafficWeight" in routing and not {"nginx", "plugins"} & set(routing):
        yield "maxTrafficWeight is known to nginx and plugins only"
    if all(_amount(canary.get(name, "25%")) == 0 for name in ("maxSurge", "maxUnavailable")):
        yield "maxSurge and maxUnavailable are both 0"


def _steps(canary: Mapping[str, Any]) -> Iterator[str]:
    routing = canary.get("trafficRouting")
    most = (routing or {}).get("maxTrafficWeight", 100)
    before = 0
    for i, step in enumerate(canary.get("steps") or []):
        place = f"steps[{i}]"
        if len(_STEPS & set(step)) != 1:
            yield f"{place} must have exactly one of {', '.join(sorted(_STEPS))}"
        if (weight := step.get("setWeight")) is not None:
            if not 0 <= weight <= most:
                yield f"{place}: setWeight {weight} is not between 0 and {most}"
            elif weight <= before:
                yield f"{place}: setWeight {weight} does not rise above {before}"
            before = weight
        if "setCanaryScale" in step and routing is None:
            yield f"{place}: setCanaryScale needs trafficRouting"
        if "setMirrorRoute" in step and "istio" not in (routing or {}):
            yield f"{place}: setMirrorRoute needs Istio"
        managed = {route.get("name") for route in (routing or {}).get("managedRoutes") or []}
        for name in ("setHeaderRoute", "setMirrorRoute"):
            if name in step and step[name].get("name") not in managed:
                yield f"{place}: {name} names a route that is not in managedRoutes"


def _pod(spec: Mapping[str, Any]) -> Iterator[str]:
    pod = (spec.get("template") or {}).get("spec") or {}
    for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
        image = container.get("image", "")
        if not _DIGEST.fullmatch(image):
            name = container.get("name")
            yield f"container {name}: image {image!r} is not named by its digest"


def _analyses(spec: Mapping[str, Any], templates: set[str]) -> Iterator[str]:
    canary = (spec.get("strategy") or {}).get("canary") or {}
    steps = canary.get("steps") or []
    found = [("analysis", canary["analysis"])] if canary.get("analysis") else []
    found += [
        (f"steps[{i}].analysis", step["analysis"])
        for i, step in enumerate(steps)
        if step.get("analysis")
    ]
    for place, analysis in found:
        for used in analysis.get("templates") or []:
            name = used.get("templateName")
            if templates and not used.get("clusterScope") and name not in templates:
                yield f"{place}: there is no AnalysisTemplate {name}"
        for argument in analysis.get("args") or []:
            which = (argument.get("valueFrom") or {}).get("podTemplateHashValue")
            if which not in {None, "Latest", "Stable"}:
                yield (
                    f"{place}: podTemplateHashValue {which!r} of {argument.get('name')} is "
                    "neither Latest nor Stable"
                )
    starting = (canary.get("analysis") or {}).get("startingStep", 0)
    if steps and starting >= len(steps):
        yield f"analysis: startingStep {starting} is after the last step"


def _template(spec: Mapping[str, Any]) -> Iterator[str]:
    metrics = spec.get("metrics") or []
    names = [metric.get("name") for metric in metrics]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two metrics are named {name}"
    known = {argument.get("name") for argument in spec.get("args") or []}
    for metric in metrics:
        for name in sorted(set(re.findall(r"{{\s*args\.([\w-]+)\s*}}", str(metric))) - known):
            yield f"metric {metric.get('name')} uses argument {name}, which is not declared"
        providers = metric.get("provider") or {}
        if len(providers) != 1:
            yield f"metric {metric.get('name')} needs exactly one provider"
        count, failures = metric.get("count"), metric.get("failureLimit", 0)
        if _is_number(count, failures) and count and failures >= count:
            yield f"metric {metric.get('name')}: failureLimit {failures} is never exceeded"
        if _is_number(count) and count > 1 and not metric.get("interval"):
            yield f"metric {metric.get('name')}: count {count} needs an interval"
    for rule in spec.get("dryRun") or []:
        if not any(re.search(rule["metricName"], str(name)) for name in names):
            yield f"dryRun: no metric is named {rule['metricName']}"


def _inference_service(document: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    annotations = (document.get("metadata") or {}).get("annotations") or {}
    mode = annotations.get("serving.kserve.io/deploymentMode")
    stable, canaries = spec.get("predictor") or {}, spec.get("canary") or []
    if "canaryTrafficPercent" in stable and mode == "Standard":
        yield "predictor.canaryTrafficPercent does nothing in Standard mode"
    if not canaries:
        return
    if mode != "Standard":
        yield f"spec.canary needs deploymentMode Standard, not {mode}"
    named = [stable.get("name")]
    for i, canary in enumerate(canaries):
        predictor = canary.get("predictor") or {}
        yield from _canary_predictor(f"canary[{i}]", predictor, stable, named)
        named.append(predictor.get("name"))
    total = sum(canary.get("trafficPercent", 0) for canary in canaries)
    if total > 100:
        yield f"canaries get {total} % of the traffic"


def _canary_predictor(
    place: str,
    predictor: Mapping[str, Any],
    stable: Mapping[str, Any],
    named: Sequence[object],
) -> Iterator[str]:
    if not predictor.get("name"):
        yield f"{place}: the predictor has no name"
    elif predictor["name"] in named:
        yield f"{place}: another predictor is named {predictor['name']}, too"
    if not (predictor.get("model") or {}).get("name"):
        yield f"{place}: predictor.model has no name"
    if predictor.get("minReplicas", 1) > stable.get("minReplicas", 1):
        yield f"{place}: minReplicas is above the stable predictor's"
    for name in ("scaleMetric", "autoScaling", "workerSpec"):
        if name in predictor:
            yield f"{place}: {name} is not allowed in a canary"


def _amount(value: object) -> int:
    return int(str(value).removesuffix("%") or 0)


def _is_number(*values: object) -> bool:
    return all(isinstance(value, int) for value in values)
