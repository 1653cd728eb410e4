"""What is measured on an evaluation table, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mlops_nb.core.gate import Reduction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.core.gate import EvaluationTable


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupValue:
    """A metric in one group.

    Args:
        group: the group.
        value: the metric there; NaN where it is not defined.
        n: rows of the group.
        low: lower end of its own 95 % interval; NaN against a champion, where only the
            difference has one.
        high: upper end.
    """

    group: str
    value: float
    n: int
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric measured on an evaluation table.

    Args:
        value: the metric, or its reduction over groups; NaN where it is not defined.
        low: lower end of its 95 % interval. Against a champion, the interval is that of the
            paired difference, moved to the metric's scale: the model is as much better than
            `reference` as the ends of the interval say.
        high: upper end.
        rows: rows of the table.
        is_share: whether the metric always lies between 0 and 1.
        over: how the groups' values became one; None where it is of the whole table.
        groups: the groups it was reduced over.
        reference: the champion's value times the factor; None without a champion.
    """

    value: float
    low: float
    high: float
    rows: int
    is_share: bool
    over: Reduction | None = None
    groups: tuple[GroupValue, ...] = ()
    reference: float | None = None

    def bound(self, *, floor: bool) -> float:
        """Give the end of the interval that a floor, or a ceiling, is held against."""
        return self.low if floor else self.high

    def of_value(self) -> tuple[GroupValue, ...]:
        """Give the groups that the value is of; one where it is not defined, if there is."""
        if undefined := [group for group in self.groups if math.isnan(group.value)]:
            return tuple(undefined[:1])
        ordered = sorted(self.groups, key=lambda group: group.value)
        match self.over:
            case None:
                return ()
            case Reduction.MIN:
                return tuple(ordered[:1])
            case Reduction.MAX:
                return tuple(ordered[-1:])
            case Reduction.GAP:
                return (ordered[0], ordered[-1])

    def deciding(self, *, floor: bool) -> tuple[GroupValue, ...]:
        """Give the groups whose end of the interval a floor, or a ceiling, is held against.

        Of a small group it may lie further out than of the one with the lowest value.
        """
        of_value = self.of_value()
        ends = [group.low if floor else group.high for group in self.groups]
        bound = self.bound(floor=floor)
        reaching = [g for g, end in zip(self.groups, ends, strict=True) if end == bound]
        if self.over is Reduction.GAP or not reaching or of_value[0] in reaching:
            return of_value
        return tuple(reaching[:1])

    def n(self, groups: Sequence[GroupValue]) -> int:
        """Give the rows of some of its groups; of none, those of the table."""
        return sum(group.n for group in groups) if groups else self.rows


class Estimator(Protocol):
    """Measures metrics on evaluation tables, with their uncertainty."""

    def computable(self, table: EvaluationTable) -> Sequence[str]:
        """Give the names of the metrics that can be computed from the table."""

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
        """Measure a computable metric.

        Args:
            metric: its name.
            table: what it is measured on.
            over: how groups' values become one; None takes the whole table.
            by: group column of the table.
            champion: table on the same evaluation set, to compare with row by row.
            factor: what the champion's value is multiplied by.
        """


__all__ = ["Estimate", "Estimator", "GroupValue"]
