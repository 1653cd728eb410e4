"""Quality gates: what a model must show before it is registered or deployed."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from mlops_nb.errors import BadGate


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
        n: rows that decided: of the table; over groups, of the group whose end of the interval
            was held against the threshold, for a gap of its two groups, and where groups are
            too small of the smallest; 0 for a logged metric.
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
    def refused(self) -> tuple[Check, ...]:
        """The gates that did not pass."""
        return tuple(check for check in self.checks if check.outcome is not Outcome.PASSED)

    @property
    def refusal(self) -> str:
        """Which gates did not pass, in a few words; why is told by each of them."""
        gates = "; ".join(check.gate for check in self.refused)
        return f"{len(self.refused)} of {len(self.checks)} gates did not pass: {gates}"

    @property
    def passed(self) -> bool:
        """Whether every gate passed; false where there is none."""
        return bool(self.checks) and all(c.outcome is Outcome.PASSED for c in self.checks)


class Operator(StrEnum):
    """How a value is held against its threshold."""

    AT_LEAST = ">="
    ABOVE = ">"
    AT_MOST = "<="
    BELOW = "<"

    @property
    def is_floor(self) -> bool:
        """Whether the value must lie above the threshold."""
        return self in {Operator.AT_LEAST, Operator.ABOVE}


class Reduction(StrEnum):
    """How the values of groups become one."""

    MIN = "min"
    MAX = "max"
    GAP = "gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One condition on a model: `accuracy >= 0.95`.

    Args:
        metric: name of the metric.
        operator: how it is held against the threshold.
        over: how the groups' values become one; None takes the whole table. GAP is the largest
            value minus the smallest.
        by: group column; empty without `over`.
        uses_champion: whether the threshold is relative to the champion's value.
        factor: what the champion's value is multiplied by.
        offset: the threshold; against the champion, what is added to its value.
        text: the expression as written; of no weight when gates are compared.
    """

    metric: str
    operator: Operator
    offset: float = 0.0
    over: Reduction | None = None
    by: str = ""
    uses_champion: bool = False
    factor: float = 1.0
    text: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read an expression.

        One of `METRIC`, `min(METRIC, by=COLUMN)`, `max(…)`, `gap(…)`; then `>=`, `>`, `<=` or
        `<`; then a number such as `0.95` or `95%`, or `champion`, `champion - 0.005`,
        `champion * 1.02`. Names with blanks or signs stand in quotes.

        Raises:
            BadGate: if the text is not such an expression; the message points at the place.
        """
        return _Parser(text).gate()

    def __str__(self) -> str:
        """Give the expression in its one canonical form; it parses to an equal gate."""
        measure = _quoted(self.metric)
        if self.over:
            measure = f"{self.over}({measure}, by={_quoted(self.by)})"
        return f"{measure} {self.operator} {self._bound()}"

    def _bound(self) -> str:
        if not self.uses_champion:
            return _number(self.offset)
        factor = "" if self.factor == 1 else f" * {_number(self.factor)}"
        if self.offset == 0:
            return f"champion{factor}"
        sign = "-" if self.offset < 0 else "+"
        return f"champion{factor} {sign} {_number(abs(self.offset))}"


_WORD = re.compile(r"\w+")
_NAME = re.compile(r"[^\W\d][\w./:-]*")
_QUOTED = re.compile(r"""(["'])(?P<name>(?:(?!\1)[^\r\n])+)\1""")
_NUMBER = re.compile(
    r"(?P<digits>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*(?P<percent>%?)"
)
_OPERATORS = {"≥": ">=", "≤": "<=", ">=": ">=", "<=": "<=", ">": ">", "<": "<"}
_EXAMPLE = "e.g. accuracy >= 0.95, auc >= champion - 0.005 or gap(accuracy, by=sex) <= 0.05"


def _number(value: float) -> str:
    # Adding 0 makes zero of a minus zero: both are one threshold and have one text.
    return repr(value + 0.0).removesuffix(".0")


def _quoted(name: str) -> str:
    if _NAME.fullmatch(name) and name != "champion":
        return name
    return f"'{name}'" if '"' in name else f'"{name}"'


class _Parser:
    """Reads one expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def gate(self) -> Gate:
        metric, over, by = self._measure()
        operator = self._operator()
        if uses_champion := self._take("champion"):
            factor, offset = self._relation()
        else:
            factor, offset = 1.0, self._threshold()
        if self._rest():
            raise self._wrong("nothing more was expected")
        return Gate(
            metric=metric,
            operator=operator,
            offset=offset,
            over=over,
            by=by,
            uses_champion=uses_champion,
            factor=factor,
            text=self._text.strip(),
        )

    def _measure(self) -> tuple[str, Reduction | None, str]:
        start = self._at
        name = self._name("the name of a metric")
        if not self._take("("):
            return name, None, ""
        try:
            over = Reduction(name)
        except ValueError:
            self._at = start
            close = difflib.get_close_matches(name, list(Reduction), n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}(…)?" if close else ""
            raise self._wrong(
                f"there is no function {name!r}, only min, max and gap", hint
            ) from None
        metric = self._name("the name of a metric")
        example = f"write {over}({_quoted(metric)}, by=COLUMN)"
        for word in (",", "by", "="):
            if not self._take(word):
                raise self._wrong(f"{word!r} was expected", example)
        by = self._name("the name of a group column")
        if not self._take(")"):
            raise self._wrong("')' was expected", example)
        return metric, over, by

    def _name(self, what: str) -> str:
        rest = self._rest()
        if found := _QUOTED.match(rest):
            self._at += found.end()
            return found["name"]
        found = _NAME.match(rest)
        if not found or found[0] == "champion":
            hint = "the metric stands on the left: accuracy >= 0.95" if self._at == 0 else ""
            raise self._wrong(f"{what} was expected", hint)
        self._at += found.end()
        return found[0]

    def _operator(self) -> Operator:
        for sign, operator in _OPERATORS.items():
            if self._take(sign):
                return Operator(operator)
        raise self._wrong("one of >=, >, <=, < was expected")

    def _relation(self) -> tuple[float, float]:
        factor, offset = 1.0, 0.0
        if self._take("*"):
            factor = self._literal()
            if factor <= 0:
                raise self._wrong("the champion's value must be multiplied by more than 0")
        for sign, direction in (("-", -1.0), ("+", 1.0)):
            if self._take(sign):
                return factor, direction * self._literal(percent_is_clear=False) + 0.0
        return factor, offset

    def _threshold(self) -> float:
        sign = -1.0 if self._take("-") else 1.0
        if sign > 0:
            self._take("+")
        return sign * self._literal() + 0.0

    def _literal(self, *, percent_is_clear: bool = True) -> float:
        found = _NUMBER.match(self._rest())
        if not found:
            word = _WORD.match(self._rest())
            close = word and difflib.get_close_matches(word[0], ["champion"])
            hint = "did you mean champion?" if close else ""
            raise self._wrong("a number or champion was expected", hint)
        value = float(found["digits"])
        if not math.isfinite(value):
            raise self._wrong("the number is too large")
        if found["percent"]:
            if not percent_is_clear:
                raise self._wrong(
                    "it is not clear what the percentage is of",
                    "write champion * 0.95 for a share, champion - 0.05 for points",
                )
            value = float(Decimal(repr(value)) / 100)
        self._at += found.end()
        return value

    def _rest(self) -> str:
        rest = self._text[self._at :].lstrip()
        self._at = len(self._text) - len(rest)
        return rest

    def _take(self, word: str) -> bool:
        rest = self._rest()
        if not rest.startswith(word):
            return False
        if (found := _WORD.match(rest)) and found[0] != word:
            return False
        self._at += len(word)
        return True

    def _wrong(self, what: str, hint: str = "") -> BadGate:
        rest = self._rest()
        place = f"at character {self._at + 1}: {rest!r}" if rest else "at the end"
        return BadGate(f"gate {self._text!r}: {what} ({place})", hint=hint or _EXAMPLE)
