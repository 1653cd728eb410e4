"""What Argo Rollouts concludes from the measurements of an AnalysisTemplate.

The rules are those of Argo Rollouts v1.9: one measurement is judged as by
utils/evaluate/evaluate.go, a metric as by assessMetricStatus and a run of several metrics as by
assessRunStatus of analysis/analysis.go. A failed run and one that ended in error both abort the
rollout; an inconclusive one pauses it.
"""

from __future__ import annotations

import json
import math
import operator
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

# After an error Argo Rollouts asks again this much later, whatever the metric's interval.
ERROR_RETRY_SECONDS = 10


class Phase(StrEnum):
    """What a measurement, a metric or a whole run came to, as Argo Rollouts words it."""

    SUCCESSFUL = "Successful"
    RUNNING = "Running"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"
    FAILED = "Failed"


_BEST_TO_WORST = tuple(Phase)
_ENDS_THE_RUN = {Phase.FAILED, Phase.ERROR, Phase.INCONCLUSIVE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric of an AnalysisTemplate, its arguments filled in.

    Args:
        name: its name.
        query: Prometheus query; empty where something else measures it, such as a job.
        success: condition in which a measurement is successful; empty for none.
        failure: condition in which it has failed; empty for none.
        count: measurements to take; None goes on until the run is ended.
        failure_limit: failed measurements that are borne.
        inconclusive_limit: inconclusive measurements that are borne.
        consecutive_error_limit: errors in a row that are borne.
        initial_delay: seconds before the first measurement.
        interval: seconds between measurements.
        is_dry_run: whether it is observed and not judged.
    """

    name: str
    query: str = ""
    success: str = ""
    failure: str = ""
    count: int | None = 1
    failure_limit: int = 0
    inconclusive_limit: int = 0
    consecutive_error_limit: int = 4
    initial_delay: float = 0.0
    interval: float = 0.0
    is_dry_run: bool = False


def evaluate(result: Sequence[float], *, success: str = "", failure: str = "") -> Phase:
    """Judge one measurement.

    Args:
        result: values of the samples that the query gave; none where it gave no series.
        success: condition in which it is successful; empty for none.
        failure: condition in which it has failed; empty for none.

    Returns:
        SUCCESSFUL, FAILED, INCONCLUSIVE where both conditions are given and neither holds, or
        ERROR where a condition cannot be evaluated, such as `result[0]` of no samples.
    """
    try:
        succeeded = bool(success) and _holds(success, result)
        failed = bool(failure) and _holds(failure, result)
    except ConditionError:
        return Phase.ERROR
    if failed or (success and not failure and not succeeded):
        return Phase.FAILED
    if success and failure and not succeeded:
        return Phase.INCONCLUSIVE
    return Phase.SUCCESSFUL


def assess_metric(metric: Metric, measured: Iterable[Phase]) -> Phase:
    """Tell where a metric stands after its measurements so far, oldest first.

    Measurements after the one that decided are not looked at: none would have been taken.
    """
    failed = inconclusive = errors = taken = 0
    for phase in measured:
        errors = errors + 1 if phase is Phase.ERROR else 0
        failed += phase is Phase.FAILED
        inconclusive += phase is Phase.INCONCLUSIVE
        taken += phase is not Phase.ERROR  # an error is repeated; it does not count
        if failed > metric.failure_limit:
            return Phase.FAILED
        if inconclusive > metric.inconclusive_limit:
            return Phase.INCONCLUSIVE
        if errors > metric.consecutive_error_limit:
            return Phase.ERROR
        if metric.count is not None and taken >= metric.count:
            return Phase.SUCCESSFUL
    return Phase.RUNNING


def assess_run(phases: Mapping[str, Phase], *, dry_run: Iterable[str] = ()) -> Phase:
    """Tell where a run of several metrics stands.

    Args:
        phases: where each metric stands, by name.
        dry_run: names of those that are observed and not judged.

    Returns:
        The worst as soon as one metric has failed, ended in error or been inconclusive; that
        ends the run. Otherwise RUNNING until all are done.
    """
    observed = set(dry_run)
    judged = [phase for name, phase in phases.items() if name not in observed]
    if not _ENDS_THE_RUN.intersection(judged) and Phase.RUNNING in phases.values():
        return Phase.RUNNING
    return max(
        (phase for phase in judged if phase is not Phase.RUNNING),
        key=_BEST_TO_WORST.index,
        default=Phase.SUCCESSFUL,
    )


def read_metrics(spec: Mapping[str, Any], args: Mapping[str, str]) -> tuple[Metric, ...]:
    """Read the metrics of an AnalysisTemplate's `spec`.

    Args:
        spec: the `spec` of the template.
        args: values of its arguments; those of the template itself stand in for missing ones.

    Raises:
        UserError: if an argument has no value, or a duration cannot be read.
    """
    defaults = {arg["name"]: arg["value"] for arg in spec.get("args", []) if "value" in arg}
    values = {**defaults, **args}
    patterns = [entry["metricName"] for entry in spec.get("dryRun", [])]
    return tuple(_read_metric(metric, values, patterns) for metric in spec["metrics"])


def read_samples(answer: Mapping[str, Any]) -> list[float]:
    """Give the values of a Prometheus instant query's answer, one for each series.

    Raises:
        ValueError: if the answer is an error or no vector.
    """
    data = answer.get("data") or {}
    if answer.get("status") != "success" or data.get("resultType") != "vector":
        raise ValueError(str(answer.get("error") or f"no vector: {answer!r:.200}"))
    return [float(sample["value"][1]) for sample in data["result"]]


def _read_metric(
    metric: Mapping[str, Any], args: Mapping[str, str], dry_run: Iterable[str]
) -> Metric:
    # Argo Rollouts fills in arguments everywhere in a metric, its conditions included.
    metric = json.loads(_filled(json.dumps(metric), args))
    interval = _seconds(metric.get("interval", ""))
    count = metric.get("count")
    if count is None and not interval:
        count = 1
    prometheus = metric["provider"].get("prometheus", {})
    return Metric(
        name=metric["name"],
        query=prometheus.get("query", "").strip(),
        success=metric.get("successCondition", ""),
        failure=metric.get("failureCondition", ""),
        count=None if count is None else int(count),
        failure_limit=int(metric.get("failureLimit", 0)),
        inconclusive_limit=int(metric.get("inconclusiveLimit", 0)),
        consecutive_error_limit=int(metric.get("consecutiveErrorLimit", 4)),
        initial_delay=_seconds(metric.get("initialDelay", "")),
        interval=interval,
        is_dry_run=any(re.search(pattern, metric["name"]) for pattern in dry_run),
    )


def _filled(text: str, args: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in args:
            raise UserError(
                f"argument {match[1]!r} of the analysis has no value",
                hint="give it one in the rollout's analysis step, or in the AnalysisTemplate",
            )
        return json.dumps(args[match[1]])[1:-1]

    return re.sub(r"\{\{\s*args\.([\w.-]+)\s*\}\}", value, text)


def _seconds(duration: str) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"([\d.]+)(ms|s|m|h)", duration)
    if "".join(a + b for a, b in parts) != duration:
        raise UserError(f"{duration!r} is no duration", hint="write it like 90s, 5m or 1h30m")
    return sum(float(number) * units[unit] for number, unit in parts)


# --- conditions: the part of the expr language that AnalysisTemplates need -------------------


class ConditionError(ValueError):
    """A condition that cannot be read, or not be evaluated on this result."""


_TOKEN = re.compile(r"\s*(&&|\|\||[<>=!]=|[<>!()\[\]]|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|-|\w+)")
_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_TESTS: Mapping[str, Callable[[float], bool]] = {"isNaN": math.isnan, "isInf": math.isinf}


def _holds(condition: str, result: Sequence[float]) -> bool:
    return _Condition(condition, result).value()


class _Condition:
    """Reads and evaluates at once; what `&&` or `||` passes over is read but not evaluated."""

    def __init__(self, text: str, result: Sequence[float]) -> None:
        self._text, self._result = text, result
        self._tokens: list[str] = []
        end = 0
        while match := _TOKEN.match(text, end):
            self._tokens.append(match[1])
            end = match.end()
        if text[end:].strip():
            raise self._unreadable()

    def value(self) -> bool:
        found = self._either(evaluated=True)
        if self._tokens:
            raise self._unreadable()
        return found

    def _either(self, *, evaluated: bool) -> bool:
        found = self._both(evaluated=evaluated)
        while self._next("||"):
            other = self._both(evaluated=evaluated and not found)
            found = found or other
        return found

    def _both(self, *, evaluated: bool) -> bool:
        found = self._one(evaluated=evaluated)
        while self._next("&&"):
            other = self._one(evaluated=evaluated and found)
            found = found and other
        return found

    def _one(self, *, evaluated: bool) -> bool:
        if self._next("!"):
            return not self._one(evaluated=evaluated)
        if self._next("("):
            found = self._either(evaluated=evaluated)
            self._expect(")")
            return found
        if self._tokens and self._tokens[0] in _TESTS:
            test = _TESTS[self._tokens.pop(0)]
            self._expect("(")
            number = self._number(evaluated=evaluated)
            self._expect(")")
            return test(number)
        left = self._number(evaluated=evaluated)
        if not self._tokens or self._tokens[0] not in _COMPARED:
            raise self._unreadable()
        compared = _COMPARED[self._tokens.pop(0)]
        return compared(left, self._number(evaluated=evaluated))

    def _number(self, *, evaluated: bool) -> float:
        if self._next("-"):
            return -self._number(evaluated=evaluated)
        if self._next("len"):
            for token in ("(", "result", ")"):
                self._expect(token)
            return float(len(self._result))
        if self._next("result"):
            self._expect("[")
            index = int(self._literal())
            self._expect("]")
            if not evaluated:
                return 0.0
            if index >= len(self._result):
                raise ConditionError(f"{self._text!r}: there are {len(self._result)} samples")
            return self._result[index]
        return self._literal()

    def _literal(self) -> float:
        try:
            return float(self._tokens.pop(0))
        except (IndexError, ValueError):
            raise self._unreadable() from None

    def _next(self, token: str) -> bool:
        if self._tokens and self._tokens[0] == token:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._next(token):
            raise self._unreadable()

    def _unreadable(self) -> ConditionError:
        return ConditionError(f"{self._text!r} is no condition over `result`")
