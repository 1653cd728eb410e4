"""A canary judged with real parts, by the very queries and conditions of the manifests.

MLServer serves a small scikit-learn model, Traefik splits the requests, Prometheus and
VictoriaMetrics scrape what MLServer tells.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import canary_parts
import pytest
import yaml
from canary_parts import ModelServer, Processes, Requests, query, start_metrics, start_proxy

from mlops_nb.core.analysis import (
    Metric,
    Phase,
    assess_metric,
    assess_run,
    evaluate,
    read_metrics,
    read_samples,
)
from mlops_nb.manifests.base import base_files
from mlops_nb.manifests.servers import SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(canary_parts.missing()),
        reason=f"not to be had here: {canary_parts.missing()} (.ci/setup test brings them)",
    ),
]
BASE = base_files("churn", SERVERS["mlserver"])
STABLE = ModelServer("stable")
GOOD, SLOW, FAILING = (
    ModelServer("good"),
    ModelServer("slow", seconds=0.48),
    ModelServer("failing", fails=True),
)
WINDOW, INTERVAL = 6, 1.0


@dataclass
class Judged:
    """What the two templates come to for one canary, asked of one metrics server."""

    template: str
    canary: str
    url: str
    metrics: tuple[Metric, ...]
    values: dict[str, list[list[float]]] = field(default_factory=dict)
    phases: dict[str, list[Phase]] = field(default_factory=dict)

    def measure(self) -> None:
        for metric in self.metrics:
            values = read_samples(query(self.url, metric.query))
            phase = evaluate(values, success=metric.success, failure=metric.failure)
            self.values.setdefault(metric.name, []).append(values)
            self.phases.setdefault(metric.name, []).append(phase)

    @property
    def outcomes(self) -> dict[str, Phase]:
        return {m.name: assess_metric(m, self.phases.get(m.name, ())) for m in self.metrics}

    @property
    def outcome(self) -> Phase:
        return assess_run(self.outcomes)


def judges(canary: str, urls: Mapping[str, str]) -> list[Judged]:
    documents = yaml.safe_load_all(BASE["models/churn/base/analysis.yaml"])
    specs = {document["metadata"]["name"]: document["spec"] for document in documents}
    args = {
        "canary-hash": canary,
        "stable-hash": "stable",
        "window": f"{WINDOW}s",
        "interval": f"{INTERVAL:g}s",
        "min-requests": "15",
        "max-latency-seconds": "0.4",
    }
    return [
        Judged(template, canary, url, read_metrics(specs[f"churn-{template}"], args))
        for template in ("canary", "guard")
        for url in urls.values()
    ]


def measure(all_of_them: list[Judged], times: int) -> None:
    for _ in range(times):
        start = time.monotonic()
        for judged in all_of_them:
            judged.measure()
        time.sleep(max(0.0, INTERVAL - (time.monotonic() - start)))


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Judged]]]:
    """Each canary's verdicts: first without a single request, then with a share of many."""
    processes = Processes(tmp_path_factory.mktemp("canary"))
    canaries = [GOOD, SLOW, FAILING]
    rollout = yaml.safe_load(BASE["models/churn/base/rollout.yaml"])
    [container] = rollout["spec"]["template"]["spec"]["containers"]
    try:
        for server in (STABLE, *canaries):
            server.start(processes, container)
        for server in (STABLE, *canaries):
            ready = container["readinessProbe"]["httpGet"]["path"]
            processes.wait(f"http://127.0.0.1:{server.http}{ready}", server.name)
        urls = start_metrics(processes, [STABLE, *canaries])
        port = start_proxy(processes, STABLE, canaries, weight=25)
        idle = judges("good", urls) + judges("nobody", urls)
        measure(idle, 3)
        found = {canary.name: judges(canary.name, urls) for canary in canaries}
        with Requests(port, [f"{canary.name}.test" for canary in canaries], people=5):
            time.sleep(WINDOW + 2)
            measure([judged for each in found.values() for judged in each], 5)
        yield {"idle": idle, **found}
    finally:
        processes.stop()


def outcomes(judged: list[Judged], template: str) -> set[Phase]:
    return {each.outcome for each in judged if each.template == template}


def told(judged: list[Judged]) -> str:
    return "\n".join(f"{j.template} {j.canary} {j.url}: {j.values}" for j in judged)


def test_a_good_canary_passes(verdicts: dict[str, list[Judged]]) -> None:
    good = verdicts["good"]
    assert outcomes(good, "canary") == {Phase.SUCCESSFUL}, told(good)
    assert outcomes(good, "guard") == {Phase.RUNNING}, told(good)


def test_one_that_is_four_times_slower_fails(verdicts: dict[str, list[Judged]]) -> None:
    slow = verdicts["slow"]
    assert outcomes(slow, "canary") == {Phase.FAILED}, told(slow)
    for judged in slow:
        failed = {name for name, phase in judged.outcomes.items() if phase is Phase.FAILED}
        assert failed in ({"p95-latency-ratio"}, {"p95-latency-seconds"})
    [ratio] = [j.values["p95-latency-ratio"][-1] for j in slow[:1]]
    assert 2 < ratio[0] < 6


def test_one_that_fails_one_request_in_ten_fails(verdicts: dict[str, list[Judged]]) -> None:
    failing = verdicts["failing"]
    assert outcomes(failing, "canary") == {Phase.FAILED}, told(failing)
    assert outcomes(failing, "guard") == {Phase.FAILED}, told(failing)
    for judged in failing:
        failed = {name for name, phase in judged.outcomes.items() if phase is Phase.FAILED}
        assert failed & {"error-rate-delta", "error-share"}


def test_one_without_requests_or_without_pods_is_not_judged_but_pauses(
    verdicts: dict[str, list[Judged]],
) -> None:
    idle = verdicts["idle"]
    assert {judged.canary for judged in idle} == {"good", "nobody"}
    assert outcomes(idle, "canary") == {Phase.INCONCLUSIVE}, told(idle)
    assert outcomes(idle, "guard") == {Phase.RUNNING}, told(idle)
