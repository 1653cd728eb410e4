"""AnalysisTemplates: the queries and conditions that judge a canary."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from string import Template
from typing import TYPE_CHECKING

from mlops_nb.core.canary import MEASUREMENTS
from mlops_nb.manifests.servers import SERVERS
from mlops_nb.manifests.yaml import flow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.core.delivery import Environment
    from mlops_nb.manifests.servers import Counter, Server

QUALITY = "quality"
_TEMPLATES = """\
# No data, NaN or too little traffic is neither success nor failure: the rollout pauses.
# An error of the metrics server is asked again every 10 s: eighteen let it be away for two
# minutes, whenever they begin. This template judges each step by comparing the canary with the
# stable version.
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata:
  name: $model-canary
spec:
  args:
  - name: canary-hash
  - name: stable-hash
$common$step_args  metrics:
$step_metrics---
# This one watches from the first step to the last, and knows absolute limits only. Silence is
# for the steps to judge: here it neither ends nor pauses the rollout.
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata:
  name: $model-guard
spec:
  args:
  - name: canary-hash
$common$guard_args  metrics:
$guard_metrics"""
_COMMON = """\
  - name: metrics-url
    value: http://vmsingle.monitoring:8428
  - name: window
    value: 300s
  - name: interval
    value: 75s
  - name: min-requests
    value: "100"
"""
_ARGUMENT = """\
  - name: $name
    value: "$value"
"""
# Both conditions need data: without any, neither holds.
_METRIC = """\
  - name: $name
    initialDelay: "{{args.window}}"
    interval: "{{args.interval}}"
$bears    consecutiveErrorLimit: 18
    successCondition: $known && result[0] <= {{args.$limit}}
    failureCondition: $known && result[0] > {{args.$limit}}
    provider:
      prometheus:
        address: "{{args.metrics-url}}"
        timeout: 20
        query: |
          ($query)
          and on() ($requests >= {{args.min-requests}})
"""
_KNOWN = "len(result) > 0 && !isNaN(result[0])"
_STEP_BEARS = f"""\
    count: {MEASUREMENTS}
    failureLimit: 1
    inconclusiveLimit: 2
"""
_GUARD_BEARS = """\
    failureLimit: 1
    inconclusiveLimit: 100000
"""
_BREAK = "\n          "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    name: str
    limit: str
    default: str
    query: str


def analysis_templates(model: str, server: Server) -> str:
    """Write a model's two AnalysisTemplates as YAML documents."""
    step, guard = list(_compared(server)), list(_absolute(server))
    tpot = {"tpot-metric": "vllm:inter_token_latency_seconds"} if server.is_llm else {}
    words = {
        "model": model,
        "common": _COMMON,
        "step_args": _arguments({**tpot, **{m.limit: m.default for m in step}}),
        "guard_args": _arguments({m.limit: m.default for m in guard}),
        "step_metrics": "".join(_metric(m, server, _STEP_BEARS) for m in step),
        "guard_metrics": "".join(_metric(m, server, _GUARD_BEARS) for m in guard),
    }
    return Template(_TEMPLATES).substitute(words)


def step_analysis(model: str, environment: Environment) -> Mapping[str, object]:
    """Give the `analysis` of a canary's step."""
    limits = environment.limits
    names = [f"{model}-canary"]
    extra = {"max-error-delta": limits.error_difference}
    if environment.server == "vllm":
        extra |= {"max-ttft-ratio": limits.ttft_ratio, "max-tpot-ratio": limits.tpot_ratio}
    else:
        extra |= {"max-latency-ratio": limits.p95_ratio}
    found: dict[str, object] = {}
    if environment.quality_job:
        names.append(f"{model}-quality")
        if not limits.quality:
            found["dryRun"] = [flow({"metricName": QUALITY})]
    return {
        "templates": [flow({"templateName": name}) for name in names],
        **found,
        "args": [_hash("canary", "Latest"), _hash("stable", "Stable")]
        + [flow(argument) for argument in _given(environment, extra)],
    }


def guard_analysis(model: str, environment: Environment) -> Mapping[str, object] | None:
    """Give the `analysis` that watches a canary from its first step on; None without steps."""
    limits = environment.limits
    if len(environment.canary.weights) == 1:
        return None
    extra = {"max-error-share": limits.error_share}
    found: dict[str, object] = {}
    if limits.p95_seconds:
        extra["max-latency-seconds"] = limits.p95_seconds
    else:
        latency = _latency_name(SERVERS[environment.server])
        found["dryRun"] = [flow({"metricName": latency})]
    return {
        "templates": [flow({"templateName": f"{model}-guard"})],
        "startingStep": 1,
        **found,
        "args": [_hash("canary", "Latest")]
        + [flow(argument) for argument in _given(environment, extra)],
    }


def _given(
    environment: Environment, limits: Mapping[str, float]
) -> Iterator[Mapping[str, object]]:
    plan = environment.canary
    values = {
        "metrics-url": environment.metrics_url,
        "window": f"{plan.window}s",
        "interval": f"{plan.interval}s",
        "min-requests": str(environment.limits.min_requests),
        # Digits alone: not every reader of conditions knows 1e-05.
        **{name: format(Decimal(repr(value)), "f") for name, value in limits.items()},
    }
    for name, value in values.items():
        yield {"name": name, "value": value}


def _hash(pods: str, which: str) -> object:
    origin = flow({"podTemplateHashValue": which})
    return flow({"name": f"{pods}-hash", "valueFrom": origin})


def _arguments(values: Mapping[str, str]) -> str:
    return "".join(
        Template(_ARGUMENT).substitute(name=name, value=value) for name, value in values.items()
    )


def _metric(measured: _Measured, server: Server, bears: str) -> str:
    return Template(_METRIC).substitute(
        name=measured.name,
        limit=measured.limit,
        query=measured.query,
        bears=bears,
        known=_KNOWN,
        requests=_sum("increase", server.requests, "canary"),
    )


def _compared(server: Server) -> Iterator[_Measured]:
    names = {
        "p95": ("p95-latency-ratio", "max-latency-ratio"),
        "ttft": ("ttft-p95-ratio", "max-ttft-ratio"),
        "tpot": ("tpot-p95-ratio", "max-tpot-ratio"),
    }
    # How long a whole answer of an LLM takes is above all a matter of its length.
    measured = ("ttft", "tpot") if server.is_llm else ("p95",)
    for what in measured:
        name, limit = names[what] if not server.mean else ("mean-latency-ratio", names[what][1])
        canary, stable = (_latency(server, what, pods) for pods in ("canary", "stable"))
        yield _Measured(
            name=name, limit=limit, default="1.20", query=f"{canary}{_BREAK}/ {stable}"
        )
    canary, stable = (_failed_share(server, pods) for pods in ("canary", "stable"))
    yield _Measured(
        name="error-rate-delta",
        limit="max-error-delta",
        default="0.01",
        query=f"{canary}{_BREAK}- {stable}",
    )


def _absolute(server: Server) -> Iterator[_Measured]:
    yield _Measured(
        name=_latency_name(server),
        limit="max-latency-seconds",
        default="2.0",
        query=_latency(server, "p95", "canary"),
    )
    yield _Measured(
        name="error-share",
        limit="max-error-share",
        default="0.05",
        query=_failed_share(server, "canary"),
    )


def _latency_name(server: Server) -> str:
    return "mean-latency-seconds" if server.mean else "p95-latency-seconds"


def _latency(server: Server, what: str, pods: str) -> str:
    if server.mean:
        # It has no histogram, so this is the mean, in seconds.
        spent = f"sum(rate({server.mean}{_window(pods)})) / 1e6"
        return f"({spent} / sum(rate({_series(server.requests[0], pods)})))"
    histogram = server.histograms[what]
    buckets = f"{histogram.name}_bucket{_window(pods, histogram.labels)}"
    return f"histogram_quantile(0.95, sum by (le) (rate({buckets})))"


def _failed_share(server: Server, pods: str) -> str:
    every = _sum("rate", server.requests, pods)
    # A counter that never counted has no series; a share of no requests has no value.
    outcomes = f"(sum(rate({_series(server.outcomes, pods)})) or vector(0))"
    share = f"{outcomes} / {every}"
    return f"(1 - {share})" if server.counts_served else f"({share})"


def _sum(function: str, counters: Sequence[Counter], pods: str) -> str:
    parts = [f"sum({function}({_series(counter, pods)}))" for counter in counters]
    if len(parts) == 1:
        return parts[0]
    return "(" + " + ".join(f"({part} or vector(0))" for part in parts) + ")"


def _series(counter: Counter, pods: str) -> str:
    return f"{counter.name}{_window(pods, counter.labels)}"


def _window(pods: str, labels: str = "") -> str:
    chosen = f'rollouts_pod_template_hash="{{{{args.{pods}-hash}}}}"'
    return "{" + ",".join(filter(None, (chosen, labels))) + "}[{{args.window}}]"
