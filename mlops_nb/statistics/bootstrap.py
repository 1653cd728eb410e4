"""Intervals of metrics from a seeded bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlops_nb.core.estimate import Estimate, GroupValue
from mlops_nb.core.gate import EvaluationTable, Reduction
from mlops_nb.statistics.measures import (
    UNBOUNDED,
    Codes,
    Floats,
    Samples,
    computable_metrics,
    ratio,
    sample,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_Z = 1.959963984540054
_TAIL = 0.025
_FEW = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """Measures metrics on evaluation tables, with 95 % intervals.

    Rows are drawn with replacement, for a model and its champion the same ones. The interval is
    the middle 95 % of the resamples, so that at most about one model in forty passes whose true
    value just misses the threshold. For a share of rows Wilson's interval widens it, because a
    few rows without an error would otherwise seem to prove that there are none. The gap between
    groups tends to come out too large where groups are small, which makes its gate stricter.

    Args:
        resamples: how many.
        seed: equal seeds give equal intervals.
    """

    resamples: int = 1000
    seed: int = 0

    def computable(self, table: EvaluationTable) -> tuple[str, ...]:
        """Give the names of the metrics that can be computed from the table."""
        return computable_metrics(table)

    def estimate(
        self,
        metric: str,
        table: EvaluationTable,
        *,
        over: Reduction | None = None,
        by: str = "",
        champion: EvaluationTable | None = None,
        factor: float = 1.0,
    ) -> Estimate:
        """Measure a computable metric, as `Estimator` says."""
        names, group = _encode(table.groups[by] if over else ("",) * len(table.label))
        tables = [table] if champion is None else [table, champion]
        samples = sample(metric, tables, group, len(names))
        values, *others = [measure(samples.counts) for measure in samples.measures]
        draws, *other_draws = _resample(samples, self.resamples, self.seed)
        reference = None
        if others:
            reference = factor * float(_reduce(others[0], over))
            difference = _reduce(draws, over) - factor * _reduce(other_draws[0], over)
            low, high = (reference + end for end in _interval(difference))
            ends = np.full((2, len(names)), np.nan)
        else:
            ends = np.array(_widened(samples, values, *_interval(draws)))
            low, high = _reduced_interval(values, draws, ends, over)
        columns = (names, values.tolist(), np.bincount(group).tolist(), *ends.tolist())
        return Estimate(
            value=float(_reduce(values, over)),
            low=float(low),
            high=float(high),
            rows=len(table.label),
            is_share=metric not in UNBOUNDED,
            over=over,
            groups=tuple(
                GroupValue(group=name, value=value, n=n, low=from_, high=to)
                for name, value, n, from_, to in zip(*columns, strict=True)
                if over
            ),
            reference=reference,
        )


def _encode(names: Sequence[str]) -> tuple[list[str], Codes]:
    distinct = sorted(set(names))
    codes = {name: code for code, name in enumerate(distinct)}
    return distinct, np.array([codes[name] for name in names], dtype=np.int64)


def _resample(samples: Samples, resamples: int, seed: int) -> list[Floats]:
    """Give, for each measure, its values by resample and group."""
    random = np.random.default_rng(seed)
    counts = samples.counts.astype(np.int64)
    rows, distinct = int(counts.sum()), len(counts)
    row = np.repeat(np.arange(distinct), counts)
    draws: list[list[Floats]] = [[] for _ in samples.measures]
    for _ in range(resamples):
        # Both draw rows uniformly; the first is quick for few distinct rows, however many rows.
        if distinct <= _FEW:
            weights = random.multinomial(rows, counts / rows)
        else:
            drawn = random.integers(0, rows, rows, dtype=np.int32)
            weights = np.bincount(row[drawn] if distinct < rows else drawn, minlength=distinct)
        for values, measure in zip(draws, samples.measures, strict=True):
            values.append(measure(weights.astype(np.float64)))
    return [np.array(values) for values in draws]


def _reduce(values: Floats, over: Reduction | None) -> Floats:
    reduced: Floats
    match over:
        case None:
            reduced = values[..., 0]
        case Reduction.MIN:
            reduced = values.min(axis=-1)
        case Reduction.MAX:
            reduced = values.max(axis=-1)
        case Reduction.GAP:
            reduced = values.max(axis=-1) - values.min(axis=-1)
    return reduced


def _reduced_interval(
    values: Floats, draws: Floats, ends: Floats, over: Reduction | None
) -> tuple[Floats, Floats]:
    """Give the interval of a reduction, from both ends of each group's.

    A minimum reaches a threshold if every group does, so the smallest lower end decides, with
    no loss of confidence; likewise for a maximum. A gap has the interval of its resamples,
    widened to Newcombe's of the difference between the best and the worst group.
    """
    low, high = ends
    if over is not Reduction.GAP:
        return _reduce(low, over), _reduce(high, over)
    from_, to = _interval(_reduce(draws, over))
    best, worst = values.argmax(), values.argmin()
    gap = values[best] - values[worst]
    down = np.hypot(values[best] - low[best], high[worst] - values[worst])
    up = np.hypot(high[best] - values[best], values[worst] - low[worst])
    return np.clip(np.minimum(from_, gap - down), 0, None), np.maximum(to, gap + up)


def _interval(draws: Floats) -> tuple[Floats, Floats]:
    """Give the middle 95 %; a resample without a value counts as the worst, at either end."""
    lowest = np.where(np.isnan(draws), -np.inf, draws)
    highest = np.where(np.isnan(draws), np.inf, draws)
    return (
        np.quantile(lowest, _TAIL, axis=0, method="lower"),
        np.quantile(highest, 1 - _TAIL, axis=0, method="higher"),
    )


def _widened(
    samples: Samples, values: Floats, low: Floats, high: Floats
) -> tuple[Floats, Floats]:
    """Widen the interval of a rate to Wilson's.

    Of other shares only at 0 and 1, where no resample may differ from the value.
    """
    n = samples.support
    at_end = (values == 0) | (values == 1)
    applies = np.isfinite(n) & (at_end | samples.is_rate)
    spread = 1 + ratio(np.full_like(n, _Z**2), n)
    middle = values + ratio(np.full_like(n, _Z**2 / 2), n)
    half = _Z * np.sqrt(
        ratio(values * (1 - values), n) + np.square(ratio(np.full_like(n, _Z / 2), n))
    )
    return (
        np.where(applies, np.minimum(low, (middle - half) / spread), low),
        np.where(applies, np.maximum(high, (middle + half) / spread), high),
    )


__all__ = ["Bootstrap"]
