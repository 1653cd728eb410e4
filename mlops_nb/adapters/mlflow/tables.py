"""Evaluation tables in the formats notebooks log them in."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from mlops_nb.core.evaluation import table_from_columns
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.core.gate import EvaluationTable

NAMES = ("evaluation.json", "evaluation.csv", "evaluation.parquet")


def read_table(name: str, content: bytes) -> EvaluationTable:
    """Read an evaluation table.

    Args:
        name: one of NAMES.
        content: the file, as `mlflow.log_table(frame, "evaluation.json")`, `DataFrame.to_csv`
            or `DataFrame.to_parquet` write it.

    Raises:
        UserError: if it cannot be read, or is no evaluation table.
    """
    try:
        columns = _READERS[name](content)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{name} cannot be read as a table: {error}",
            hint='log it with mlflow.log_table(frame, "evaluation.json")',
        ) from error
    return table_from_columns(columns)


def _json(content: bytes) -> Mapping[str, Sequence[object]]:
    document = json.loads(content)
    names, rows = document["columns"], document["data"]
    if any(len(row) != len(names) for row in rows):
        raise ValueError(f"a row has not as many values as there are columns, {len(names)}")
    return {str(name): [row[n] for row in rows] for n, name in enumerate(names)}


def _csv(content: bytes) -> Mapping[str, Sequence[object]]:
    header, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig")))
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"a line has not as many values as the first, {len(header)}")
    columns = {name: _typed([row[n] for row in rows]) for n, name in enumerate(header)}
    columns.pop("", None)  # the index, as DataFrame.to_csv writes it
    return columns


def _typed(texts: list[str]) -> Sequence[object]:
    """Read a column as whole numbers, numbers or truth values, where every value is one."""
    for read in (int, float, _truth):
        try:
            return [read(text) if text else None for text in texts]
        except ValueError:
            continue
    return [text or None for text in texts]


def _truth(text: str) -> bool:
    if text not in {"True", "False"}:
        raise ValueError(text)
    return text == "True"


def _parquet(content: bytes) -> Mapping[str, Sequence[object]]:
    try:
        import pandas as pd

        frame = pd.read_parquet(io.BytesIO(content))
    except ImportError as error:
        raise UserError(
            f"evaluation.parquet cannot be read here: {error}",
            hint='install pandas and pyarrow, or log "evaluation.json"',
        ) from error
    return {str(name): list(frame[name]) for name in frame.columns}


_READERS = {"evaluation.json": _json, "evaluation.csv": _csv, "evaluation.parquet": _parquet}
