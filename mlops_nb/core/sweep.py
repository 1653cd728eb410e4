"""Sets of parameters for a sweep."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
import random
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from mlops_nb.core.annotation import parse_type, split_commas
from mlops_nb.errors import BadParameter, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.core.notebook import Notebook

LIMIT = 10_000
"""Most sets that a sweep may have."""

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:\.\.({_NUMBER}))?")
_NUMERIC = {"int", "float", "Any"}
_BEST = re.compile(r"(max|min):(\S(?:.*\S)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """By what a sweep's children are compared.

    Args:
        metric: its name.
        is_max: whether more is better.
    """

    metric: str
    is_max: bool


def expand(notebook: Notebook, axes: Mapping[str, object]) -> list[dict[str, object]]:
    """Give every combination of values, the last axis changing fastest.

    Text lists values with commas, `2..8` counts, `0.1..0.5..0.1` counts in steps; commas in
    brackets and quotes do not part. A Python list is an axis, too, unless the parameter takes
    a list and only the whole of it fits. A value that comes twice in an axis counts once.

    Args:
        notebook: what the values are for.
        axes: values by parameter name.

    Raises:
        UnknownParameter: if the notebook does not declare one.
        BadParameter: if a value does not fit.
        UserError: if there are more than `LIMIT` sets.
    """
    listed = {name: _values(notebook, name, axis) for name, axis in axes.items()}
    count = math.prod(len(values) for values in listed.values())
    if count > LIMIT:
        raise _too_many(str(count))
    # The first values together, so that every parameter that is wrong is told of at once.
    notebook.bind({name: values[0] for name, values in listed.items()})
    bound = [
        _distinct([notebook.bind({name: value})[name] for value in values])
        for name, values in listed.items()
    ]
    return [dict(zip(listed, values, strict=True)) for values in itertools.product(*bound)]


def draw(sets: Sequence[dict[str, object]], n: int, seed: int) -> list[dict[str, object]]:
    """Draw `n` of the sets, none twice, in their order; the same seed draws the same.

    Raises:
        UserError: if `n` is less than 1.
    """
    if n < 1:
        raise UserError(f"--random {n} draws nothing", hint="give 1 or more")
    generator = random.Random(seed)  # noqa: S311  # to be repeatable, not to be secret
    return [sets[i] for i in sorted(generator.sample(range(len(sets)), min(n, len(sets))))]


def read_csv(text: str) -> list[dict[str, str]]:
    """Read sets of parameters, one a row, from CSV with a heading.

    An empty cell is left out: the notebook's default counts. Semicolons and tabs part, too.

    Raises:
        UserError: if the heading or a row is wrong; the message names the row.
    """
    first = text.lstrip("\ufeff").partition("\n")[0]
    delimiter = next((mark for mark in (",", ";", "\t") if mark in first), ",")
    reader = csv.reader(text.lstrip("\ufeff").splitlines(keepends=True), delimiter=delimiter)
    try:
        rows = [(reader.line_num, row) for row in reader if any(c.strip() for c in row)]
    except csv.Error as error:
        raise UserError(
            f"row {reader.line_num} cannot be read as CSV: {error}", hint="mend the row"
        ) from None
    names = [name.strip() for name in rows[0][1]] if rows else []
    if len(rows) < 2:
        raise UserError(
            "the CSV file has no set of parameters",
            hint="write the parameters' names in the first row, one set in each row below",
        )
    if "" in names or len(set(names)) < len(names):
        raise UserError(
            f"the heading {', '.join(names)!r} has an empty or repeated name",
            hint="name each parameter once",
        )
    for number, row in rows[1:]:
        if len(row) != len(names):
            raise UserError(
                f"row {number} has {len(row)} cells, the heading has {len(names)}",
                hint='mend the row; put a value with commas in quotes: "[64,32]"',
            )
    return [
        {name: cell.strip() for name, cell in zip(names, row, strict=True) if cell.strip()}
        for _, row in rows[1:]
    ]


def parse_best(text: str) -> Best:
    """Read `max:METRIC` or `min:METRIC`.

    Raises:
        UserError: if it is neither.
    """
    match = _BEST.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f"{text!r} does not say what is best", hint="give e.g. max:accuracy or min:loss"
        )
    return Best(metric=match[2], is_max=match[1] == "max")


def set_key(values: Mapping[str, object]) -> str:
    """Give 16 hex digits that are the same for equal sets of JSON values, in any order."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _values(notebook: Notebook, name: str, axis: object) -> list[object]:
    if isinstance(axis, str):
        return _from_text(notebook, name, axis)
    if not isinstance(axis, list | tuple | range) and callable(
        to := getattr(axis, "tolist", None)
    ):
        axis = to()
    if not isinstance(axis, list | tuple | range):
        return [axis]
    if not axis:
        raise BadParameter(f"{name} has no value", hint=f"leave {name} out, or list some")
    if _takes_list(notebook, name) and not _fits_each(notebook, name, axis):
        return [axis]
    return list(axis)


def _from_text(notebook: Notebook, name: str, text: str) -> list[object]:
    kinds = {member.name for member in parse_type(notebook.parameter(name).type).members}
    try:
        pieces = split_commas(text)
    except ValueError as error:
        raise BadParameter(
            f"{name} = {text!r}: {error}", hint=f'e.g. {name}=0.1,0.2 or {name}="a,b",c'
        ) from None
    values: list[object] = []
    for piece in pieces:
        match = _RANGE.fullmatch(piece) if kinds & _NUMERIC else None
        if match:
            values += _counted(name, piece, match)
        else:
            quoted = len(piece) > 1 and piece[0] == piece[-1] and piece[0] in "\"'"
            values.append(piece[1:-1] if quoted else piece)
        if len(values) > LIMIT:
            raise _too_many(f"more than {LIMIT}")
    return values


def _counted(name: str, piece: str, match: re.Match[str]) -> list[str]:
    low, high = Decimal(match[1]), Decimal(match[2])
    if match[3] is None and (low % 1 or high % 1):
        raise BadParameter(
            f"{name} = {piece} does not say in which steps to count",
            hint=f"give the step: {name}={piece}..{(high - low) / 4 or 1}",
        )
    step = abs(Decimal(match[3] or 1))
    if not step:
        raise BadParameter(
            f"{name} = {piece} counts in steps of 0", hint=f"give e.g. {name}={low}..{high}..1"
        )
    steps = abs(high - low) / step
    if steps >= LIMIT:
        raise _too_many(f"more than {LIMIT}")
    step = step if high >= low else -step
    return [_plain(low + step * i) for i in range(int(steps) + 1)]


def _plain(number: Decimal) -> str:
    """Write 2 as `2`, not as `2.0` or `2E+0`: an int must be read from it."""
    return str(int(number)) if number == int(number) else str(number)


def _takes_list(notebook: Notebook, name: str) -> bool:
    members = parse_type(notebook.parameter(name).type).members
    return any(member.name in {"list", "tuple"} for member in members)


def _fits_each(notebook: Notebook, name: str, axis: Sequence[object]) -> bool:
    try:
        for value in axis:
            notebook.bind({name: value})
    except BadParameter:
        return False
    return True


def _distinct(values: list[object]) -> list[object]:
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())


def _too_many(count: str) -> UserError:
    return UserError(
        f"the sweep has {count} sets of parameters; {LIMIT} is the most",
        hint="list fewer values, or count in larger steps",
    )
