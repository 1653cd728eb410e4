"""What a canary really gets, and what it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlops_nb.core.canary import CanaryLimits, CanaryPlan, shares, split_by_pods
from mlops_nb.core.delivery import Environment
from mlops_nb.core.settings import parse_settings
from mlops_nb.errors import BadSettings, UserError

WEIGHTS = (5, 25, 50, 100)
PROD = Environment(name="prod", image="reg.example.com/s@sha256:" + "b" * 64)


# Computed by the controller's own function, with its default maxSurge.
@pytest.mark.parametrize(
    ("replicas", "real"),
    [
        (1, (50, 50, 50, 100)),
        (2, (33, 33, 50, 100)),
        (3, (25, 25, 50, 100)),
        (4, (20, 25, 50, 100)),
        (10, (9, 27, 50, 100)),
        (20, (5, 25, 50, 100)),
    ],
)
def test_without_a_router_a_share_is_that_of_the_pods(
    replicas: int, real: tuple[int, ...]
) -> None:
    steps = shares(WEIGHTS, replicas, is_routed=False)
    assert tuple(round(step.real) for step in steps) == real
    assert all(step.canary and step.stable for step in steps[:-1])
    assert split_by_pods(replicas, 0) == (0, replicas)


@pytest.mark.parametrize(
    ("more", "pods", "peak"),
    [
        ({}, [(1, 4), (1, 4), (2, 4), (4, 4)], 8),
        ({"dynamic_stable_scale": True}, [(1, 4), (1, 3), (2, 2), (4, 0)], 6),
        ({"router": "none"}, [(1, 4), (1, 3), (2, 2), (4, 0)], 5),
    ],
)
def test_pods_at_each_step_and_at_the_peak(
    more: dict[str, Any], pods: list[tuple[int, int]], peak: int
) -> None:
    environment = replace(PROD, replicas=4, **more)
    assert [(step.canary, step.stable) for step in environment.shares] == pods
    assert environment.peak_pods == peak


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"router": "nginx"}, "no router 'nginx'"),
        ({"target": "knative"}, "no target 'knative'"),
        ({"server": "tgi"}, "no server 'tgi'"),
        ({"images": {"vlm": "x"}}, "images names 'vlm'"),
        ({"gpu": -1}, "-1 accelerators"),
        ({"router": "none", "dynamic_stable_scale": True}, "needs a router"),
        ({"kserve_version": "new"}, "kserve_version = 'new'"),
    ],
)
def test_an_environment_that_cannot_be_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        replace(PROD, **more)


@pytest.mark.parametrize(
    "more",
    [
        {"image": "reg.example.com/s:1.2"},
        {"image": "reg.example.com/s@sha256:abc"},
        {"images": {"vllm": "vllm:latest"}},
        {"download_image": "mlflow:3"},
        {"quality_job": "judge"},
    ],
)
def test_an_image_by_a_name_that_can_move_is_refused(more: dict[str, Any]) -> None:
    environment = replace(PROD, **more)
    with pytest.raises(UserError, match="is no image by its digest") as caught:
        environment.check_image()
    assert "@sha256:" in caught.value.hint


@pytest.mark.parametrize(
    "more",
    [{"p95_ratio": 0}, {"error_share": 1.5}, {"error_difference": -0.1}, {"min_requests": -1}],
)
def test_limits_that_no_canary_could_keep_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"limits.{next(iter(more))} = "):
        CanaryLimits(**more)


def test_limits_are_read_from_the_settings_and_errors_name_the_key() -> None:
    def read(text: str) -> Environment:
        settings = parse_settings(text, path="mlops.toml", default_name="x")
        return settings.environment("prod")

    found = read(
        "[environments.prod]\nrouter = 'istio'\n[environments.prod.limits]\np95_ratio = 2\n"
    )
    assert (found.router, found.limits) == ("istio", CanaryLimits(p95_ratio=2.0))
    for key, said in (("p95 = 1", "unknown key environments.prod.limits.p95"),
                      ("p95_ratio = 0", r"environments.prod.limits.p95_ratio = 0"),
                      ("p95_ratio = 'x'", "not float")):  # fmt: skip
        with pytest.raises(BadSettings, match=said):
            read(f"[environments.prod.limits]\n{key}\n")


def test_every_share_is_measured_long_enough() -> None:
    assert CanaryPlan(minutes=10).share_seconds == 600
