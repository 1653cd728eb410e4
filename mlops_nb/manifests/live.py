"""Live resources of a cluster, as its API gives them, read into what they mean."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlops_nb.core.analysis import Metric, Phase, read_metrics
from mlops_nb.core.rollout import (
    Analysis,
    Application,
    Measured,
    Rollout,
    RolloutPhase,
    Served,
    SyncWindow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TEMPLATE_LABEL = "rollouts-pod-template-hash"
REVISION = "rollout.argoproj.io/revision"
_URI = "mlops-nb.io/model-uri"
_LIMIT = re.compile(r"result\[0\]\s*(<=|>=|==|!=|<|>)\s*(-?[\d.]+(?:[eE][-+]?\d+)?)")
_NUMBER = re.compile(r"NaN|[-+]?(?:Inf|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)")


def read_rollout(
    rollout: Mapping[str, Any],
    replica_sets: Iterable[Mapping[str, Any]],
    runs: Iterable[Mapping[str, Any]],
) -> Rollout:
    """Read an Argo Rollouts Rollout with what belongs to it.

    Field names are those of pkg/apis/rollouts/v1alpha1/types.go of Argo Rollouts v1.9.

    Args:
        rollout: the Rollout.
        replica_sets: its ReplicaSets, as far as they are at hand.
        runs: its AnalysisRuns, as far as they are at hand.
    """
    spec, status = rollout["spec"], rollout.get("status", {})
    by_template = {_label(each, TEMPLATE_LABEL): each for each in replica_sets}
    current, stable = status.get("currentPodHash", ""), status.get("stableRS", "")
    steps = spec.get("strategy", {}).get("canary", {}).get("steps", [])
    revision = _annotation(rollout, REVISION)
    analyses = _analyses(steps, runs, current, revision)
    pauses = status.get("pauseConditions") or []
    is_aborted = bool(status.get("abort"))
    return Rollout(
        phase=_phase(status.get("phase", "")),
        message=str(status.get("message", "")),
        wanted=served(rollout, current),
        stable=_served_by(by_template, stable, rollout, current) if stable else None,
        step=int(status.get("currentStepIndex") or 0),
        steps=len(steps),
        weight=_weight(status, steps),
        is_observed=_is_observed(rollout),
        pause=str(pauses[0]["reason"])
        if pauses
        else ("paused by hand" if spec.get("paused") else ""),
        is_aborted=is_aborted,
        aborted=_time(status.get("abortedAt")),
        aborted_weight=_last_weight(analyses) if is_aborted else None,
        analyses=analyses,
    )


def read_application(
    application: Mapping[str, Any], windows: Mapping[str, Any], url: str = ""
) -> Application:
    """Read an Argo CD Application and the answer of its `syncwindows`.

    Args:
        application: the Application.
        windows: `activeWindows`, `assignedWindows` and `canSync`; empty where nobody said.
        url: page for people.
    """
    status = application.get("status", {})
    # What `sync` names is the commit it was compared with; history tells what was applied.
    applied = [str(each.get("revision", "")) for each in status.get("history") or []]
    sync, operation = status.get("sync", {}), status.get("operationState", {})
    active = windows.get("activeWindows") or []
    troubles = [c.get("message", "") for c in status.get("conditions") or []]
    if operation.get("phase") in {"Failed", "Error"}:
        troubles.append(operation.get("message", ""))
    return Application(
        name=application["metadata"]["name"],
        sync=sync.get("status", "Unknown"),
        health=status.get("health", {}).get("status", "Unknown"),
        revision=applied[-1] if applied else "",
        message="; ".join(" ".join(t.split()) for t in troubles if t),
        url=url,
        can_sync=bool(windows.get("canSync", not windows)),
        windows=tuple(
            SyncWindow(
                kind=window.get("kind", ""),
                schedule=window.get("schedule", ""),
                duration=window.get("duration", ""),
                is_active=window in active,
            )
            for window in windows.get("assignedWindows") or active
        ),
        synced=_time(operation.get("finishedAt")),
    )


def _phase(text: str) -> RolloutPhase:
    known = set(map(str, RolloutPhase))
    return RolloutPhase(text) if text in known else RolloutPhase.UNKNOWN


def _is_observed(rollout: Mapping[str, Any]) -> bool:
    observed = rollout.get("status", {}).get("observedGeneration")
    return str(observed) == str(rollout["metadata"].get("generation", observed))


def _served_by(
    by_template: Mapping[str, Mapping[str, Any]],
    template: str,
    rollout: Mapping[str, Any],
    current: str,
) -> Served:
    if template in by_template:
        return served(by_template[template], template)
    return served(rollout, template) if template == current else Served(template=template)


def served(owner: Mapping[str, Any], template: str) -> Served:
    """Read which version the pods of a Rollout or ReplicaSet carry."""
    spec = owner.get("spec", {}).get("template", {}).get("spec", {})
    containers = [*spec.get("initContainers", []), *spec.get("containers", [])]
    told = {
        variable["name"]: str(variable.get("value", ""))
        for container in containers
        for variable in container.get("env", [])
    }
    uri = told.get("MODEL_URI", "") or _annotation(owner, _URI)
    number = re.fullmatch(r"models:/[^/]+/(\d+)", uri)
    return Served(
        version=int(number[1]) if number else 0,
        digest=told.get("MODEL_DIGEST", ""),
        template=template,
    )


def _weight(status: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> int:
    if status.get("stableRS") == status.get("currentPodHash"):
        return 0
    routed = (status.get("canary") or {}).get("weights") or {}
    if "canary" in routed:
        return int(routed["canary"].get("weight") or 0)
    return 0 if status.get("abort") else _weight_at(steps, status.get("currentStepIndex") or 0)


def _weight_at(steps: Sequence[Mapping[str, Any]], index: int) -> int:
    """Give the share of the traffic at a step: what the last `setWeight` up to it set."""
    set_ = [step["setWeight"] for step in steps[: index + 1] if "setWeight" in step]
    return int(set_[-1]) if set_ else 0


def _last_weight(analyses: Sequence[Analysis]) -> int | None:
    """Give the last share an analysis judged: an abort itself sets step and weight to 0."""
    return next((a.weight for a in reversed(analyses) if a.weight is not None), None)


def _analyses(
    steps: Sequence[Mapping[str, Any]],
    runs: Iterable[Mapping[str, Any]],
    template: str,
    revision: str,
) -> tuple[Analysis, ...]:
    own = [
        run
        for run in runs
        if _label(run, TEMPLATE_LABEL) == template
        and (not revision or _annotation(run, REVISION) in {"", revision})
    ]
    own.sort(key=lambda run: (run["metadata"].get("creationTimestamp", ""), _name(run)))
    return tuple(_analysis(steps, run) for run in own)


def _analysis(steps: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> Analysis:
    status, index = run.get("status", {}), _label(run, "step-index")
    results = {result["name"]: result for result in status.get("metricResults") or []}
    told = {arg["name"]: str(arg.get("value", "…")) for arg in run["spec"].get("args") or []}
    metrics = read_metrics(run["spec"], told)
    return Analysis(
        name=_name(run),
        phase=_analysis_phase(status.get("phase", "")),
        weight=_weight_at(steps, int(index)) if index.isdigit() else None,
        message=str(status.get("message", "")),
        created=_time(run["metadata"].get("creationTimestamp")),
        metrics=tuple(_measured(metric, results.get(metric.name, {})) for metric in metrics),
    )


def _analysis_phase(text: str) -> Phase:
    return Phase(text) if text in set(map(str, Phase)) else Phase.RUNNING


def _measured(metric: Metric, result: Mapping[str, Any]) -> Measured:
    phase = _analysis_phase(result.get("phase", ""))
    measurements = result.get("measurements") or []
    deciding = [m for m in measurements if m.get("phase") == phase] or measurements
    value = _sample(deciding[-1].get("value", "")) if deciding else None
    condition = metric.failure if phase is Phase.FAILED and metric.failure else metric.success
    message = result.get("message", "") or (deciding[-1].get("message", "") if deciding else "")
    return Measured(
        metric=metric.name,
        phase=phase,
        value=value,
        judged=_judged(value, condition, holds=condition == metric.failure, phase=phase),
        query=str((result.get("metadata") or {}).get("ResolvedPrometheusQuery", metric.query)),
        condition=condition,
        count=len(measurements),
        message=str(message),
        is_dry_run=metric.is_dry_run or bool(result.get("dryRun")),
    )


def _judged(value: float | None, condition: str, *, holds: bool, phase: Phase) -> str:
    """Say how a value stands to its limit; empty where either is not known."""
    limits = _LIMIT.findall(condition)
    if value is None or not limits or phase is Phase.ERROR:
        return ""
    sign, limit = limits[-1][0], f"{float(limits[-1][1]):.4g}"
    if phase is Phase.SUCCESSFUL or (phase is Phase.FAILED and holds):
        return f"{value:.4g} {sign} {limit}"
    told = "is not" if phase is Phase.FAILED else "limit:"
    return f"{value:.4g}, {told} {sign} {limit}"


def _sample(text: str) -> float | None:
    """Read the first sample of a measurement, as `[3.79]`; None where there was none."""
    found = _NUMBER.search(text)
    number = float(found[0]) if found else math.nan
    return None if math.isnan(number) else number


def _name(resource: Mapping[str, Any]) -> str:
    return str(resource["metadata"]["name"])


def _label(resource: Mapping[str, Any], name: str) -> str:
    return str((resource["metadata"].get("labels") or {}).get(name, ""))


def _annotation(resource: Mapping[str, Any], name: str) -> str:
    return str((resource["metadata"].get("annotations") or {}).get(name, ""))


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(str(text)) if text else None
