"""Gates held against what a model showed."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlops_nb.core.estimate import Estimate, Estimator, GroupValue
from mlops_nb.core.gate import Check, EvaluationTable, Gate, Operator, Outcome, Verdict

MIN_GROUP = 30
_HOW_TO_LOG = (
    "log an evaluation table with the columns label, prediction and one for each grouping"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The champion a model is compared with.

    Args:
        name: `name/version`.
        metrics: what its run logged.
        table: its evaluation table; None if it logged none.
    """

    name: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    table: EvaluationTable | None = None


def judge(
    gates: Sequence[Gate],
    *,
    metrics: Mapping[str, float],
    table: EvaluationTable | None,
    champion: Baseline | None,
    estimator: Estimator,
    min_group: int = MIN_GROUP,
) -> Verdict:
    """Hold each gate against what the model showed.

    A metric that can be computed from the evaluation table is judged there: the unfavourable
    end of its 95 % interval must keep to the threshold. Against the champion that is the
    interval of the paired difference, and both tables must be of the same evaluation set. Any
    other metric is judged by its logged value. Without a champion a gate against it passes, if
    the metric is there. What cannot be judged does not pass.

    Args:
        gates: the gates.
        metrics: what the run logged.
        table: its evaluation table; None if it logged none.
        champion: what gates against the champion compare with; None if there is none yet.
        estimator: measures metrics on tables.
        min_group: rows a group needs for a gate over groups to be judged at all.
    """
    judging = _Judging(
        metrics=metrics,
        table=table,
        champion=champion,
        estimator=estimator,
        min_group=min_group,
    )
    return Verdict(checks=tuple(judging.check(gate) for gate in gates))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judging:
    metrics: Mapping[str, float]
    table: EvaluationTable | None
    champion: Baseline | None
    estimator: Estimator
    min_group: int

    def check(self, gate: Gate) -> Check:
        if gate.over and (trouble := self._groups_trouble(gate)):
            return trouble
        computable = self._computable(self.table)
        if self.table and gate.metric in computable:
            return self._check_table(gate, self.table)
        if gate.over:
            reason = f"{gate.metric} cannot be computed from the evaluation table"
            return _failed(gate, reason + _suggestion(gate.metric, computable, "computable"))
        return self._check_logged(gate)

    def _computable(self, table: EvaluationTable | None) -> Sequence[str]:
        return self.estimator.computable(table) if table else ()

    def _groups_trouble(self, gate: Gate) -> Check | None:
        if not self.table:
            return _failed(gate, f"the run logged no evaluation table; {_HOW_TO_LOG}")
        if gate.by not in self.table.groups:
            reason = f"the evaluation table has no group column {gate.by!r}"
            return _failed(gate, reason + _suggestion(gate.by, self.table.groups, "it has"))
        sizes = Counter(self.table.groups[gate.by])
        small = {group: n for group, n in sorted(sizes.items()) if n < self.min_group}
        if not small:
            return None
        named = ", ".join(f"{gate.by}={group} (n={n})" for group, n in small.items())
        return Check(
            gate=_text(gate),
            outcome=Outcome.SKIPPED,
            n=min(small.values()),
            reason=f"too few rows to judge {named}; a group needs {self.min_group}",
        )

    def _check_table(self, gate: Gate, table: EvaluationTable) -> Check:
        if not gate.uses_champion:
            return _conclude(gate, self._estimate(gate, table))
        if not self.champion:
            return _first(gate, self._estimate(gate, table))
        other = self.champion.table
        if not other or gate.metric not in self._computable(other):
            trouble = f"champion {self.champion.name} has no evaluation table to compare with"
        elif not table.digest or table.digest != other.digest:
            trouble = f"champion {self.champion.name} was evaluated on other rows"
        else:
            estimate = self._estimate(gate, table, other)
            return _conclude(gate, estimate, self.champion.name)
        estimate = self._estimate(gate, table)
        return Check(
            gate=_text(gate),
            outcome=Outcome.FAILED,
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            n=estimate.n(estimate.of_value()),
            baseline=self.champion.name,
            reason=f"{trouble}; run the champion's notebook again on this evaluation set, "
            "or gate on a number",
        )

    def _estimate(
        self, gate: Gate, table: EvaluationTable, champion: EvaluationTable | None = None
    ) -> Estimate:
        return self.estimator.estimate(
            gate.metric,
            table,
            over=gate.over,
            by=gate.by,
            champion=champion,
            factor=gate.factor,
        )

    def _check_logged(self, gate: Gate) -> Check:
        value = self.metrics.get(gate.metric)
        if value is None:
            known = [*self.metrics, *self._computable(self.table)]
            reason = f"{gate.metric} was never logged"
            return _failed(gate, reason + _suggestion(gate.metric, known, "known"))
        if not math.isfinite(value):
            return _failed(gate, f"{gate.metric} was logged as {value}", value)
        if not gate.uses_champion:
            return _compare_logged(gate, value, gate.offset)
        if not self.champion:
            return Check(
                gate=_text(gate), outcome=Outcome.PASSED, value=value, reason=_NO_CHAMPION
            )
        name, reference = self.champion.name, self.champion.metrics.get(gate.metric)
        if gate.metric in self._computable(self.champion.table):
            reason = (
                f"champion {name} was measured on an evaluation table, this model only logged "
                f"{gate.metric}; {_HOW_TO_LOG}"
            )
            return _failed(gate, reason, value, name)
        if reference is None or not math.isfinite(reference):
            logged = "never" if reference is None else f"as {reference}"
            reason = f"champion {name} logged {gate.metric} {logged}: nothing to compare with"
            return _failed(gate, reason, value, name)
        return _compare_logged(gate, value, gate.factor * reference + gate.offset, name)


_NO_CHAMPION = "there is no champion to compare with yet"


def _conclude(gate: Gate, estimate: Estimate, baseline: str = "") -> Check:
    reference = estimate.reference
    threshold = gate.offset if reference is None else reference + gate.offset
    bound = estimate.bound(floor=gate.operator.is_floor)
    deciding = estimate.deciding(floor=gate.operator.is_floor)
    kept = _keeps(gate.operator, bound, threshold)
    if math.isnan(estimate.value) or math.isnan(threshold):
        kept, reason = False, f"{_measure(gate, estimate)} is not defined on these rows"
    elif reference is None and estimate.is_share and not 0 <= threshold <= 1:
        kept = False
        reason = (
            f"{gate.metric} lies between 0 and 1, where {_show(threshold)} says nothing; "
            f"a percentage has its sign: {_show(threshold)}%"
        )
    else:
        end = "lower" if gate.operator.is_floor else "upper"
        verb = {True: "reaches", False: "does not reach"}
        if not gate.operator.is_floor:
            verb = {True: "stays within", False: "exceeds"}
        of = "" if deciding == estimate.of_value() else f" of {_named(gate, deciding[0])}"
        reason = (
            f"{_measure(gate, estimate)}; the {end} end of the 95 % interval{of}, "
            f"{_show(bound)}, {verb[kept]} {_show(threshold)}"
        )
        if baseline:
            reason += f", which follows from champion {baseline} on the same rows"
        if not kept and _keeps(gate.operator, estimate.value, threshold):
            reason += f"; {estimate.n(deciding)} rows are too few to be sure"
    return Check(
        gate=_text(gate),
        outcome=Outcome.PASSED if kept else Outcome.FAILED,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        threshold=threshold,
        baseline=baseline,
        n=estimate.n(deciding),
        reason=reason,
    )


def _first(gate: Gate, estimate: Estimate) -> Check:
    defined = not math.isnan(estimate.value)
    undefined = f"{_measure(gate, estimate)} is not defined on these rows"
    return Check(
        gate=_text(gate),
        outcome=Outcome.PASSED if defined else Outcome.FAILED,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n(estimate.of_value()),
        reason=_NO_CHAMPION if defined else undefined,
    )


def _compare_logged(gate: Gate, value: float, threshold: float, baseline: str = "") -> Check:
    kept = _keeps(gate.operator, value, threshold)
    where = f"champion {baseline}, both as logged" if baseline else "as logged"
    return Check(
        gate=_text(gate),
        outcome=Outcome.PASSED if kept else Outcome.FAILED,
        value=value,
        threshold=threshold,
        baseline=baseline,
        reason=f"{gate.metric} is {_show(value)}, {'' if kept else 'not '}{gate.operator} "
        f"{_show(threshold)} ({where}, without an interval)",
    )


def _failed(gate: Gate, reason: str, value: float | None = None, baseline: str = "") -> Check:
    return Check(
        gate=_text(gate), outcome=Outcome.FAILED, value=value, baseline=baseline, reason=reason
    )


def _keeps(operator: Operator, value: float, threshold: float) -> bool:
    # 0.9 - 0.005 is not 0.895 in binary: what is written as equal must count as equal.
    equal = math.isclose(value, threshold, rel_tol=1e-12, abs_tol=1e-12)
    match operator:
        case Operator.AT_LEAST:
            return equal or value > threshold
        case Operator.ABOVE:
            return not equal and value > threshold
        case Operator.AT_MOST:
            return equal or value < threshold
        case Operator.BELOW:
            return not equal and value < threshold


def _measure(gate: Gate, estimate: Estimate) -> str:
    value = "" if math.isnan(estimate.value) else f" is {_show(estimate.value)}"
    if not gate.over:
        return f"{gate.metric}{value}" + (f" on {estimate.rows} rows" if value else "")
    of_value = estimate.of_value()
    if math.isnan(estimate.value):
        return f"{gate.metric} of {_named(gate, of_value[0])}"
    values = " to ".join(f"{_show(g.value)} for {_named(gate, g)}" for g in of_value)
    return f"{gate.over}({gate.metric}){value}: {values}"


def _named(gate: Gate, group: GroupValue) -> str:
    return f"{gate.by}={group.group} (n={group.n})"


def _suggestion(name: str, known: Sequence[str] | Mapping[str, object], are: str) -> str:
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1)
    listed = f"; {are}: {', '.join(names) or 'nothing'}"
    return f"{listed}; did you mean {close[0]}?" if close else listed


def _text(gate: Gate) -> str:
    return gate.text or str(gate)


def _show(value: float) -> str:
    return f"{value:.4g}"


__all__ = ["MIN_GROUP", "Baseline", "judge"]
