"""Quality gates: what a model must show before it is registered or deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """Result of one gate; only PASSED passes."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTable:
    """Predictions of a model on its evaluation set, row by row.

    Args:
        label: true class of each row.
        prediction: predicted class of each row.
        score: score of the positive class of each row; None if not logged.
        groups: group of each row, by group column.
        digest: `sha256:` and 64 hex digits over labels and group columns, in order: two tables
            with equal digests hold predictions on the same evaluation set.
    """

    label: Sequence[object]
    prediction: Sequence[object]
    score: Sequence[float] | None = None
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One gate, judged.

    Args:
        gate: the expression as written.
        outcome: its result.
        value: what was measured; None if nothing was.
        low: lower end of the 95 % interval; None without an evaluation table.
        high: upper end.
        threshold: what the value was held against; None if there was nothing.
        baseline: `name/version` of the champion it was compared with; empty if none.
        n: rows it was measured on; 0 for a logged metric.
        reason: one sentence, in words.
    """

    gate: str
    outcome: Outcome
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    baseline: str = ""
    n: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All gates of a run, judged."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate passed; false where there is none."""
        return bool(self.checks) and all(c.outcome is Outcome.PASSED for c in self.checks)
