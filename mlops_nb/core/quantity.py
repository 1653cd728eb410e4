"""Durations and sizes as people write them: `1h30m`, `2GiB`."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from itertools import pairwise

from mlops_nb.errors import UserError

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PART = re.compile(rf"({_NUMBER})([dhms])")
_PLAIN = re.compile(_NUMBER)
_SIZE = re.compile(rf"({_NUMBER}) ?(?:([kmgtp]?)(i?)b?)", re.IGNORECASE)
_PREFIXES = " kmgtp"


def parse_duration(text: str) -> float:
    """Read a duration as seconds: `30m`, `1h30m`, `2d`, `90`.

    Raises:
        UserError: if it is no duration longer than nothing.
    """
    written = text.strip().lower()
    parts = _PART.findall(written)
    units = [unit for _, unit in parts]
    if _PLAIN.fullmatch(written):
        seconds = float(written)
    elif parts and "".join(n + u for n, u in parts) == written and _descends(units):
        seconds = float(sum(Decimal(number) * _SECONDS[unit] for number, unit in parts))
    else:
        seconds = 0.0
    if not seconds or not math.isfinite(seconds):
        raise UserError(
            f"{text!r} is not a duration", hint="give e.g. 90 (seconds), 30m, 1h30m or 2d"
        )
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds as `4.2s`, `42s`, `3m5s`, `1h30m`; `parse_duration` reads it back.

    Whole seconds are kept exactly, fractions only below ten seconds; less than nothing is `0s`.
    """
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}".removesuffix(".0") + "s"
    left, parts = round(seconds), []
    for unit, size in _SECONDS.items():
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_size(text: str) -> int:
    """Read a size as bytes: `2GiB` and `2Gi` count in 1024, `2GB` and `2G` in 1000.

    Raises:
        UserError: if it is no size of at least one byte.
    """
    match = _SIZE.fullmatch(text.strip())
    size = 0
    # An `i` belongs to a prefix: `5i` is nothing.
    if match and not (match[3] and not match[2]):
        base = 1024 if match[3] else 1000
        power = _PREFIXES.index(match[2].lower() or " ")
        size = round(Decimal(match[1]) * base**power)
    if not size:
        raise UserError(f"{text!r} is not a size", hint="give e.g. 512MB, 2GiB or 24Gi")
    return size


def format_size(size: int) -> str:
    """Write bytes as `1.5 GiB`, with four significant digits; `parse_size` reads it back."""
    value, power = float(max(size, 0)), 0
    while value >= 1024 and power < len(_PREFIXES) - 1:
        value, power = value / 1024, power + 1
    if not power:
        return f"{max(size, 0)} B"
    digits = f"{value:.4g}" if value < 9999.5 else f"{value:.0f}"
    return f"{digits} {_PREFIXES[power].upper()}iB"


def _descends(units: list[str]) -> bool:
    order = [*_SECONDS]
    places = [order.index(unit) for unit in units]
    return all(a < b for a, b in pairwise(places))
