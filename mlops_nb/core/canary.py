"""A canary: its steps, its limits, the shares of traffic it really gets, the pods it takes.

Source of the pod counts: utils/replicaset/canary.go of Argo Rollouts v1.9, functions
approximateWeightedCanaryStableReplicaCounts and CalculateReplicaCountsForTrafficRoutedCanary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

# How often a share is measured before the next.
MEASUREMENTS = 5
# What a Rollout that does not say its maxSurge may add.
_MAX_SURGE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPlan:
    """Shares of traffic a new version is given, one after the other.

    Args:
        weights: rising percentages, 1 to 100, ending at 100.
        minutes: how long each share is analysed before the next; 0 waits for a person.
    """

    weights: tuple[int, ...] = (5, 25, 50, 100)
    minutes: int = 10

    def __post_init__(self) -> None:
        """Refuse a plan that does not rise to 100 %.

        Raises:
            UserError: if the weights do not rise from 1 or more to 100, or time is negative.
        """
        if self.minutes < 0:
            raise UserError(
                f"canary minutes {self.minutes} are negative",
                hint="give minutes for each share, or 0 to wait for a person",
            )
        rising = all(a < b for a, b in zip(self.weights, self.weights[1:], strict=False))
        if not self.weights or not rising or self.weights[0] < 1 or self.weights[-1] != 100:
            raise UserError(
                f"canary weights {list(self.weights)} do not rise to 100 %",
                hint="give rising percentages that end at 100, e.g. --canary 5,25,50,100",
            )

    @property
    def window(self) -> int:
        """Seconds of traffic each measurement looks back on: four scrapes at the least."""
        return max(60, 30 * self.minutes)

    @property
    def interval(self) -> int:
        """Seconds between measurements."""
        return max(15, (60 * self.minutes - self.window) // (MEASUREMENTS - 1))

    @property
    def share_seconds(self) -> int:
        """Seconds one share is really analysed; 0 waits for a person."""
        if not self.minutes:
            return 0
        return self.window + (MEASUREMENTS - 1) * self.interval

    @classmethod
    def parse(cls, text: str, minutes: int = 10) -> CanaryPlan:
        """Read `5,25,50,100`.

        Raises:
            UserError: if a weight is not a whole number, or the weights do not rise to 100.
        """
        try:
            weights = tuple(int(w) for w in text.split(","))
        except ValueError:
            raise UserError(
                f"canary {text!r} is not a list of whole percentages",
                hint="e.g. --canary 5,25,50,100",
            ) from None
        return cls(weights=weights, minutes=minutes)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryLimits:
    """What ends a canary, as `[environments.NAME.limits]` of mlops.toml says.

    Args:
        p95_ratio: most that the 95th percentile of its latency may be of the stable one's.
        error_difference: most that its share of failed requests may be above the stable one's.
        error_share: most that its share of failed requests may be, whatever the stable one's.
        p95_seconds: most that the 95th percentile of its latency may be; 0 only observes it.
        ttft_ratio: like p95_ratio, of an LLM's time to the first token.
        tpot_ratio: like p95_ratio, of an LLM's time for each further token.
        quality: least score that the quality job must find; 0 only observes it.
        min_requests: requests to the canary below which a window judges nothing.
    """

    p95_ratio: float = 1.2
    error_difference: float = 0.01
    error_share: float = 0.05
    p95_seconds: float = 0.0
    ttft_ratio: float = 1.2
    tpot_ratio: float = 1.2
    quality: float = 0.0
    min_requests: int = 100

    def __post_init__(self) -> None:
        """Refuse limits that no canary could keep, or that say nothing.

        Raises:
            UserError: if a ratio is not above 0, a share not between 0 and 1, or a number
                negative.
        """
        for name in ("p95_ratio", "ttft_ratio", "tpot_ratio"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"limits.{name} = {getattr(self, name)} is not above 0",
                    hint="1.2 allows a fifth more than the stable version has",
                )
        for name in ("error_difference", "error_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"limits.{name} = {getattr(self, name)} is no share from 0 to 1",
                    hint="0.01 is one request in a hundred",
                )
        for name in ("p95_seconds", "quality", "min_requests"):
            if not getattr(self, name) >= 0:
                raise UserError(
                    f"limits.{name} = {getattr(self, name)} is negative",
                    hint="give 0 or more",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One step of a canary.

    Args:
        weight: percentage that was asked for.
        real: percentage that the new version really gets.
        canary: its pods.
        stable: pods of the version before.
    """

    weight: int
    real: float
    canary: int
    stable: int


def shares(
    weights: Sequence[int], replicas: int, *, is_routed: bool, follows: bool = False
) -> tuple[Share, ...]:
    """Give the steps of a canary as they will really be.

    Args:
        weights: percentages that are asked for, the last 100.
        replicas: pods that serve the stable version.
        is_routed: whether something splits the traffic by request; otherwise it is split by
            the number of pods.
        follows: whether the stable version's pods are removed as its traffic shrinks.
    """
    found = []
    for weight in weights:
        if is_routed:
            canary, real = _part(weight, replicas), float(weight)
            stable = _part(100 - weight, replicas) if follows else replicas
        else:
            canary, stable = split_by_pods(replicas, weight)
            real = 100 * canary / (canary + stable)
        found.append(Share(weight=weight, real=real, canary=canary, stable=stable))
    return tuple(found)


def peak_pods(steps: Sequence[Share], replicas: int, *, is_routed: bool) -> int:
    """Count the most pods there are at one time while the canary goes through its steps."""
    if not is_routed:
        return replicas + math.ceil(_MAX_SURGE * replicas)
    before = [replicas, *(step.stable for step in steps)]
    # The new pods are there before the traffic moves, and with it the old ones go.
    return max(step.canary + stable for step, stable in zip(steps, before, strict=False))


def split_by_pods(replicas: int, weight: int) -> tuple[int, int]:
    """Come as near to a share of traffic as a split by the number of pods can.

    Pods may be one more than `replicas`, and neither version is left without a pod. Of equal
    distances, the candidate named first in the source wins.

    Returns:
        Pods of the canary, pods of the stable version.
    """
    upper, lower = math.ceil(replicas * weight / 100), replicas * weight // 100
    may_be_none = weight in {0, 100}
    candidates = []
    for total in (replicas, replicas + 1):
        if total > replicas or upper < replicas or may_be_none:
            candidates.append((upper, total))
        is_tied = math.modf(total * (weight / 100))[0] == 0.5
        if not is_tied and (lower or may_be_none):
            candidates.append((lower, total))
    canary, total = min(candidates, key=lambda c: abs(100 * c[0] / c[1] - weight))
    return canary, total - canary


def _part(weight: int, replicas: int) -> int:
    return math.ceil(weight * replicas / 100)
