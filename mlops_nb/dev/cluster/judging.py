"""An AnalysisRun: takes measurements at their times and says what they come to.

What they come to is told by mlops_nb.core.analysis; names and messages are those of Argo
Rollouts v1.9: utils/analysis/helpers.go and analysis/analysis.go.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_nb.core.analysis import (
    ERROR_RETRY_SECONDS,
    Metric,
    Phase,
    assess_metric,
    assess_run,
    evaluate,
    read_metrics,
)
from mlops_nb.dev.cluster.clock import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.dev.cluster.metrics import Source

Json = dict[str, Any]


@dataclass
class _Series:
    """A metric's measurements.

    Args:
        metric: the metric.
        due: cluster time of the next one.
        phase: where it stands.
        phases: what each came to.
        taken: each as the API shows it.
    """

    metric: Metric
    due: float
    phase: Phase = Phase.RUNNING
    phases: list[Phase] = field(default_factory=list)
    taken: list[Json] = field(default_factory=list)


class AnalysisRun:
    """One run of an AnalysisTemplate.

    Args:
        metadata: as the API shows it, name and labels included.
        spec: metrics and arguments, of all templates together.
        model: whose canary is judged.
        now: cluster time of its beginning.

    Raises:
        UserError: if an argument has no value, or a duration cannot be read.
    """

    def __init__(self, metadata: Json, spec: Json, model: str, now: float) -> None:
        self.metadata = metadata
        self._spec = spec
        self._model = model
        self.phase = Phase.RUNNING
        self.message = ""
        self._started = stamp()
        values = {arg["name"]: arg["value"] for arg in spec["args"] if "value" in arg}
        self._series = [
            _Series(metric, now + metric.initial_delay) for metric in read_metrics(spec, values)
        ]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.metadata["name"])

    def tick(self, now: float, source: Source) -> None:
        """Take every measurement that is due."""
        for series in self._series:
            while (
                self.phase is Phase.RUNNING
                and series.phase is Phase.RUNNING
                and series.due <= now
            ):
                self._measure(series, source)
                self._assess()

    def terminate(self) -> None:
        """End it without a verdict, as where its rollout went on or was aborted.

        What did not fail until then counts as successful: assessMetricStatus says so there.
        """
        if self.phase is Phase.RUNNING:
            self.phase, self.message = Phase.SUCCESSFUL, "Run Terminated"
        for series in self._series:
            if series.phase is Phase.RUNNING:
                series.phase = Phase.SUCCESSFUL

    def json(self) -> Json:
        """Give it as the Kubernetes API does."""
        status: Json = {"phase": str(self.phase), "startedAt": self._started}
        if self.message:
            status["message"] = self.message
        status["metricResults"] = [_result(s) for s in self._series if s.taken]
        status["runSummary"] = self._summary()
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AnalysisRun",
            "metadata": self.metadata,
            "spec": self._spec,
            "status": status,
        }

    def _measure(self, series: _Series, source: Source) -> None:
        metric, began = series.metric, stamp()
        told: Json
        try:
            samples = source.measure(self._model, metric)
        except ValueError as error:
            phase, told = Phase.ERROR, {"message": str(error)}
        else:
            phase = evaluate(samples, success=metric.success, failure=metric.failure)
            told = {"value": _value(samples)} if metric.query else {}
        series.phases.append(phase)
        series.taken.append(
            {"phase": str(phase), "startedAt": began, "finishedAt": stamp(), **told}
        )
        pause = ERROR_RETRY_SECONDS if phase is Phase.ERROR else metric.interval
        series.due += max(1.0, pause)
        series.phase = assess_metric(metric, series.phases)

    def _assess(self) -> None:
        self.phase = assess_run(
            {s.metric.name: s.phase for s in self._series},
            dry_run=[s.metric.name for s in self._series if s.metric.is_dry_run],
        )
        worst = [s for s in self._series if s.phase is self.phase and not s.metric.is_dry_run]
        if worst and self.phase not in {Phase.RUNNING, Phase.SUCCESSFUL}:
            self.message = _message(worst[0])

    def _summary(self) -> Json:
        judged = [s for s in self._series if not s.metric.is_dry_run]
        summary: Json = {"count": len(judged)}
        for phase in (Phase.SUCCESSFUL, Phase.FAILED, Phase.INCONCLUSIVE, Phase.ERROR):
            if found := sum(s.phase is phase for s in judged):
                summary[phase.lower()] = found
        return summary


def _value(samples: Sequence[float]) -> str:
    return f"[{','.join(f'{sample:g}' for sample in samples)}]"


def _message(series: _Series) -> str:
    metric, phases = series.metric, series.phases
    word, limit, bound = {
        Phase.FAILED: ("failed", "failureLimit", metric.failure_limit),
        Phase.INCONCLUSIVE: ("inconclusive", "inconclusiveLimit", metric.inconclusive_limit),
        Phase.ERROR: (
            "consecutiveErrors",
            "consecutiveErrorLimit",
            metric.consecutive_error_limit,
        ),
    }[series.phase]
    count = sum(phase is series.phase for phase in phases)
    return f'Metric "{metric.name}" assessed {series.phase} due to {word} ({count}) > {limit} ({bound})'  # noqa: E501  # as it is worded there


def _result(series: _Series) -> Json:
    counts = {
        phase.lower(): number
        for phase in (Phase.SUCCESSFUL, Phase.FAILED, Phase.INCONCLUSIVE, Phase.ERROR)
        if (number := sum(p is phase for p in series.phases))
    }
    result: Json = {
        "name": series.metric.name,
        "phase": str(series.phase),
        "count": len(series.phases) - counts.get("error", 0),
        **counts,
        "measurements": series.taken[-10:],
    }
    if series.metric.query:
        result["metadata"] = {"ResolvedPrometheusQuery": series.metric.query}
    if series.metric.is_dry_run:
        result["dryRun"] = True
    return result


def merged_spec(
    templates: Sequence[Mapping[str, Any]], args: Sequence[Json], analysis: Json
) -> Json:
    """Give the spec of a run of several templates.

    Args:
        templates: the specs of the templates.
        args: arguments of the rollout's analysis; they win over the templates' own.
        analysis: the rollout's analysis, whose own `dryRun` counts, too.
    """
    own = {arg["name"]: arg for template in templates for arg in template.get("args") or []}
    own.update({arg["name"]: arg for arg in args})
    spec: Json = {
        "args": list(own.values()),
        "metrics": [metric for template in templates for metric in template["metrics"]],
    }
    for key in ("dryRun", "measurementRetention"):
        if found := [each for part in (*templates, analysis) for each in part.get(key) or []]:
            spec[key] = found
    return json.loads(json.dumps(spec))  # type: ignore[no-any-return]  # a copy of its own
