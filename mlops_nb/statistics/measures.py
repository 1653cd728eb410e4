"""Metrics of every group of an evaluation table, for any weights of its rows.

Classes are told apart by their canonical text. Up to two classes are a binary task; the
positive class is the larger one as a number or, where they are no numbers, as a text. With
more classes precision, recall and f1 are the unweighted mean over the classes that occur, and
metrics that need a positive class cannot be computed. Values are those of scikit-learn and
fairlearn, but for one thing: a binary rate that has no row to divide by is NaN, not 0, so that
it passes no gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlops_nb.core.evaluation import canonical_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.core.gate import EvaluationTable

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Measure = Callable[[Floats], Floats]

_CLASS = ("accuracy", "error_rate", "balanced_accuracy", "precision", "recall", "f1")
_BINARY = ("selection_rate", "false_positive_rate", "false_negative_rate")
_PROBABILITY = ("brier", "log_loss")
_NUMBER = ("mae", "mse", "rmse", "r2")
UNBOUNDED = frozenset({"log_loss", *_NUMBER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Rows to draw from.

    Args:
        counts: how often each distinct row is in the table.
        measures: gives the metric by group from the weight of each distinct row; one for each
            table.
        support: rows the first table's metric rests on, by group; NaN where that is no matter.
        is_rate: whether the metric is a share of `support` rows.
    """

    counts: Floats
    measures: tuple[Measure, ...]
    support: Floats
    is_rate: bool = False


def computable_metrics(table: EvaluationTable) -> tuple[str, ...]:
    """Give the names of the metrics that can be computed from the table."""
    names: tuple[str, ...] = _CLASS
    if len(_classes([table])) == 2:
        names = (*names, *_BINARY)
        if table.score is not None:
            names = (*names, "auc")
            if all(0 <= score <= 1 for score in table.score):
                names = (*names, *_PROBABILITY)
    if _are_numbers(table.label) and _are_numbers(table.prediction):
        names = (*names, *_NUMBER)
    return names


def sample(
    metric: str, tables: Sequence[EvaluationTable], group: Codes, groups: int
) -> Samples:
    """Prepare a computable metric for drawing rows.

    Args:
        metric: its name.
        tables: of the same evaluation set; with the model's own first.
        group: group of each row, from 0.
        groups: how many groups there are.
    """
    if metric in _CLASS + _BINARY:
        return _class_samples(metric, tables, group, groups)
    if metric in _NUMBER:
        measures = [
            _number_measure(metric, _floats(t.label), _floats(t.prediction), group, groups)
            for t in tables
        ]
        return _row_samples(measures, group, groups)
    positive = _class_codes(tables[0].label, _classes(tables)).astype(np.float64)
    scores = [_floats(t.score or ()) for t in tables]
    if metric in _PROBABILITY:
        losses = [_probability_loss(metric, positive, score) for score in scores]
        return _row_samples([_mean_measure(x, group, groups) for x in losses], group, groups)
    return Samples(
        counts=np.ones(len(group)),
        measures=tuple(_auc_measure(positive, score, group) for score in scores),
        support=np.minimum(_sums(group, positive, groups), _sums(group, 1 - positive, groups)),
    )


def _row_samples(measures: Sequence[Measure], group: Codes, groups: int) -> Samples:
    return Samples(
        counts=np.ones(len(group)), measures=tuple(measures), support=np.full(groups, np.nan)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tally:
    """Rows by group and class: of that label, of that prediction, of both."""

    label: Floats
    prediction: Floats
    hit: Floats

    @property
    def rows(self) -> Floats:
        return _total(self.label)


_FRACTIONS: Mapping[str, Callable[[_Tally], tuple[Floats, Floats]]] = {
    "accuracy": lambda t: (_total(t.hit), t.rows),
    "error_rate": lambda t: (t.rows - _total(t.hit), t.rows),
    "precision": lambda t: (t.hit, t.prediction),
    "recall": lambda t: (t.hit, t.label),
    "f1": lambda t: (2 * t.hit, t.label + t.prediction),
    "selection_rate": lambda t: (t.prediction, np.broadcast_to(t.rows[:, None], t.hit.shape)),
    "false_positive_rate": lambda t: (t.prediction - t.hit, t.rows[:, None] - t.label),
    "false_negative_rate": lambda t: (t.label - t.hit, t.label),
}


def _class_samples(
    metric: str, tables: Sequence[EvaluationTable], group: Codes, groups: int
) -> Samples:
    classes = _classes(tables)
    size = len(classes)
    columns = [tables[0].label, *(t.prediction for t in tables)]
    coded = [_class_codes(column, classes) for column in columns]
    key = group
    for codes in coded:
        key = key * size + codes
    _, first, counts = np.unique(key, return_index=True, return_counts=True)
    weights = counts.astype(np.float64)
    label, *predictions = (codes[first] for codes in coded)
    tallies = [_tally_of(label, p, group[first], groups, size) for p in predictions]

    def measure_of(tally: Callable[[Floats], _Tally]) -> Measure:
        return lambda weights: _class_metric(metric, tally(weights))

    support, is_rate = _class_support(metric, tallies[0](weights))
    return Samples(
        counts=weights,
        measures=tuple(measure_of(tally) for tally in tallies),
        support=support,
        is_rate=is_rate,
    )


def _tally_of(
    label: Codes, prediction: Codes, group: Codes, groups: int, size: int
) -> Callable[[Floats], _Tally]:
    at_label, at_prediction = group * size + label, group * size + prediction
    right = label == prediction
    at_hit = at_label[right]

    def count(at: Codes, weights: Floats) -> Floats:
        return _sums(at, weights, groups * size).reshape(groups, size)

    return lambda weights: _Tally(
        label=count(at_label, weights),
        prediction=count(at_prediction, weights),
        hit=count(at_hit, weights[right]),
    )


def _class_metric(metric: str, tally: _Tally) -> Floats:
    if metric == "balanced_accuracy":
        return _mean_over(ratio(tally.hit, tally.label), tally.label > 0)
    part, whole = _FRACTIONS[metric](tally)
    values = ratio(part, whole)
    if values.ndim == 1:
        return values
    if values.shape[1] == 2:
        return values[:, 1]
    return _mean_over(np.nan_to_num(values), tally.label + tally.prediction > 0)


def _class_support(metric: str, tally: _Tally) -> tuple[Floats, bool]:
    is_binary = tally.label.shape[1] == 2
    if metric in {"accuracy", "error_rate"}:
        return tally.rows, True
    if is_binary and metric not in {"balanced_accuracy", "f1"}:
        return _FRACTIONS[metric](tally)[1][:, 1], True
    return np.where(tally.label > 0, tally.label, np.inf).min(axis=1), False


def _classes(tables: Sequence[EvaluationTable]) -> list[str]:
    """Give the classes, ascending; both of 0 and 1 even if only one of them occurs."""
    columns = [tables[0].label, *(t.prediction for t in tables)]
    found = {text for column in columns for text in canonical_texts(set(column))}
    if found <= {"0", "1"}:
        return ["0", "1"]
    if len(found) == 1:
        return [*found, ""]
    try:
        return sorted(found, key=float)
    except ValueError:
        return sorted(found)


def _class_codes(column: Sequence[object], classes: Sequence[str]) -> Codes:
    codes = {name: code for code, name in enumerate(classes)}
    texts = canonical_texts(column)
    return np.fromiter((codes[text] for text in texts), dtype=np.int64, count=len(texts))


def _auc_measure(positive: Floats, score: Floats, group: Codes) -> Measure:
    order = np.lexsort((score, group))
    positive, score, group = positive[order], score[order], group[order]
    negative = 1 - positive
    tie = np.flatnonzero(_differs(group) | _differs(score))
    of_group = np.flatnonzero(_differs(group[tie]))
    has_ties = len(tie) < len(score)

    def measure(weights: Floats) -> Floats:
        weights = weights[order]
        winners, losers = weights * positive, weights * negative
        if has_ties:
            winners, losers = np.add.reduceat(winners, tie), np.add.reduceat(losers, tie)
        beaten = np.cumsum(losers)
        before = beaten[of_group] - losers[of_group]
        won = np.add.reduceat(winners * (beaten - losers / 2), of_group)
        positives = np.add.reduceat(winners, of_group)
        negatives = np.add.reduceat(losers, of_group)
        return ratio(won - before * positives, positives * negatives)

    return measure


def _differs(values: Floats | Codes) -> npt.NDArray[np.bool_]:
    """Tell which values differ from the one before; the first does."""
    return np.concatenate(([True], values[1:] != values[:-1]))


def _probability_loss(metric: str, positive: Floats, score: Floats) -> Floats:
    if metric == "brier":
        return np.square(score - positive)
    tiny = float(np.finfo(np.float64).eps)
    likelihood = np.where(positive == 1, score, 1 - score)
    loss: Floats = -np.log(np.clip(likelihood, tiny, 1 - tiny))
    return loss


def _number_measure(
    metric: str, label: Floats, prediction: Floats, group: Codes, groups: int
) -> Measure:
    if metric == "mae":
        return _mean_measure(np.abs(label - prediction), group, groups)
    squared = _mean_measure(np.square(label - prediction), group, groups)
    if metric == "mse":
        return squared
    if metric == "rmse":
        return lambda weights: np.sqrt(squared(weights))
    # Centred first, so that the variance does not drown in a large mean.
    every = np.ones(len(label))
    centred = label - _mean_measure(label, group, groups)(every)[group]
    mean = _mean_measure(centred, group, groups)
    square = _mean_measure(np.square(centred), group, groups)

    def r2(weights: Floats) -> Floats:
        variance = square(weights) - np.square(mean(weights))
        return 1 - ratio(squared(weights), np.where(variance > 0, variance, np.nan))

    return r2


def _mean_measure(values: Floats, group: Codes, groups: int) -> Measure:
    return lambda weights: ratio(
        _sums(group, weights * values, groups), _sums(group, weights, groups)
    )


def _are_numbers(column: Sequence[object]) -> bool:
    try:
        return bool(np.isfinite(_floats(column)).all())
    except (TypeError, ValueError):
        return False


def _floats(column: Sequence[object]) -> Floats:
    return np.asarray(column, dtype=np.float64)


def _sums(at: Codes, weights: Floats, size: int) -> Floats:
    sums: Floats = np.bincount(at, weights, size).astype(np.float64, copy=False)
    return sums


def _total(counts: Floats) -> Floats:
    total: Floats = counts.sum(axis=1)
    return total


def _mean_over(values: Floats, counted: npt.NDArray[np.bool_]) -> Floats:
    return ratio(_total(np.where(counted, values, 0.0)), _total(counted.astype(np.float64)))


def ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; nothing by nothing is NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return part / whole


__all__ = ["UNBOUNDED", "Codes", "Floats", "Samples", "computable_metrics", "ratio", "sample"]
