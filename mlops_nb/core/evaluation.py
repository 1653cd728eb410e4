"""Evaluation tables, made from the columns that a notebook logged."""

from __future__ import annotations

import difflib
import hashlib
import math
from typing import TYPE_CHECKING

from mlops_nb.core.gate import EvaluationTable
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LABEL, PREDICTION, SCORE = "label", "prediction", "score"
MISSING = "missing"

_PLAIN = frozenset({bool, int, float, str})
_HINT = "log the columns label, prediction, score (optional) and one for each grouping"


def table_from_columns(columns: Mapping[str, Sequence[object]]) -> EvaluationTable:
    """Make an evaluation table.

    Args:
        columns: `label`, `prediction` and, where there is one, `score`, the score of the
            positive class; every other column is a group column. Lists, arrays and series
            will do. A row without a group value belongs to the group `missing`.

    Raises:
        UserError: if `label` or `prediction` is not there, columns differ in length, there is
            no row, or a row lacks its label, prediction or score.
    """
    for name in (LABEL, PREDICTION):
        if name not in columns:
            close = difflib.get_close_matches(name, columns, n=1)
            raise UserError(
                f"the evaluation table has no column {name!r}; it has: "
                f"{', '.join(map(str, columns)) or 'none'}",
                hint=f"rename {close[0]!r} to {name!r}" if close else _HINT,
            )
    rows = len(columns[LABEL])
    if not rows:
        raise UserError("the evaluation table has no rows", hint=_HINT)
    for name, column in columns.items():
        if len(column) != rows:
            raise UserError(
                f"column {name!r} of the evaluation table has {len(column)} rows, "
                f"column {LABEL!r} has {rows}",
                hint="log one value a row in every column",
            )
    label = _present(LABEL, columns[LABEL])
    groups = {
        str(name): canonical_texts(_values(column))
        for name, column in columns.items()
        if name not in {LABEL, PREDICTION, SCORE}
    }
    return EvaluationTable(
        label=label,
        prediction=_present(PREDICTION, columns[PREDICTION]),
        score=_scores(columns[SCORE]) if SCORE in columns else None,
        groups=groups,
        digest=_digest(label, groups),
    )


def canonical_texts(values: Iterable[object]) -> tuple[str, ...]:
    """Give each value's text, alike for equal values: 1, 1.0, True and numpy's own are "1".

    A value that is not there (None, NaN, NaT) is "missing"; a text stays as it is.
    """
    texts: dict[object, str] = {}
    result = []
    for value in values:
        text = texts.get(value) if type(value) in _PLAIN else None
        if text is None:
            text = _canonical(_scalar(value))
            if type(value) in _PLAIN:
                texts[value] = text
        result.append(text)
    return tuple(result)


def _values(column: Sequence[object]) -> Sequence[object]:
    """Give the rows of a list, array or series, arrays' and series' as Python values."""
    tolist = getattr(column, "tolist", None)
    return tolist() if callable(tolist) else column


def _canonical(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return MISSING if _is_missing(value) else str(value)


def _scalar(value: object) -> object:
    """Give the Python value of a numpy scalar, without knowing numpy."""
    if type(value) in _PLAIN:
        return value
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "size", 0) == 1 else value


def _is_missing(value: object) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return not isinstance(value, str) and str(value) in {"None", "NaT", "<NA>", "NaN", "nan"}


def _present(name: str, column: Sequence[object]) -> tuple[object, ...]:
    values = tuple(_scalar(value) for value in _values(column))
    for row, value in enumerate(values, start=1):
        if _is_missing(value):
            raise UserError(
                f"row {row} of the evaluation table has no {name}",
                hint="leave such rows out of the evaluation table",
            )
        if type(value).__hash__ is None:
            raise UserError(
                f"row {row} of the evaluation table has the {name} {value!r}, not one value",
                hint=f"log one {name} a row",
            )
    return values


def _scores(column: Sequence[object]) -> tuple[float, ...]:
    values = tuple(_scalar(value) for value in _values(column))
    scores = []
    for row, value in enumerate(values, start=1):
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(
                f"row {row} of the evaluation table has the score {value!r}, not a number",
                hint="log the score of the positive class, or no column 'score'",
            )
        scores.append(float(value))
    return tuple(scores)


def _digest(label: Sequence[object], groups: Mapping[str, Sequence[str]]) -> str:
    """Digest labels, then group columns by name; lengths keep neighbours apart."""
    digest = hashlib.sha256()
    for name, texts in ((LABEL, canonical_texts(label)), *sorted(groups.items())):
        for text in (name, *texts):
            encoded = text.encode(errors="surrogatepass")
            digest.update(f"{len(encoded)}:".encode() + encoded)
    return f"sha256:{digest.hexdigest()}"


__all__ = ["canonical_texts", "table_from_columns"]
