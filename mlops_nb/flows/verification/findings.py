"""Findings, and the words that several of them share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

from mlops_nb.core.verification import Finding

if TYPE_CHECKING:
    from collections.abc import Collection

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.evidence import Evidence, Measured
    from mlops_nb.core.model import ModelVersion

T = TypeVar("T", "LockFile", "Evidence")


def passed(check: str, detail: str) -> Finding:
    """Give a finding that is as it should be."""
    return Finding(check=check, passed=True, detail=detail)


def failed(check: str, detail: str, hint: str) -> Finding:
    """Give a finding for which the change is refused."""
    return Finding(check=check, passed=False, detail=detail, hint=hint)


def same_digest(lock: LockFile, version: ModelVersion) -> Finding:
    """Hold a record's digest against the registry's."""
    if version.digest == lock.digest:
        return passed("registry", f"{version} has {lock.digest[:19]}…, as the record names it")
    return failed(
        "registry",
        f"{version} has {version.digest or 'no digest'}, the record names {lock.digest}",
        "register the model again, and deploy that version",
    )


def differing(told: T, found: T, *, without: Collection[str] = ()) -> str:
    """Name the first field of two values that is another; empty if there is none."""
    for name in [f.name for f in fields(told) if f.name not in without]:
        mine, theirs = getattr(told, name), getattr(found, name)
        if _plain(mine) != _plain(theirs):
            return f"{name} is {theirs!r}, not {mine!r}"
    return ""


def is_same_record(one: LockFile | None, other: LockFile | None) -> bool:
    """Tell whether two records say the same."""
    if one is None or other is None:
        return one is other
    return not differing(one, other)


def _plain(value: object) -> str:
    """Give a text that equal values share; NaN, which a run may log, does not equal itself."""
    return repr(sorted(value.items()) if isinstance(value, Mapping) else value)


def other_metric(told: Mapping[str, Measured], found: Mapping[str, Measured]) -> str:
    """Name the first metric that is another; empty if there is none."""
    for name in sorted({*told, *found}):
        mine, theirs = told.get(name), found.get(name)
        values = tuple(each.value if each else None for each in (theirs, mine))
        if not is_same(*values):
            return f"{name} is {_shown(values[0])}, not {_shown(values[1])}"
    return ""


def is_same(one: float | None, other: float | None) -> bool:
    """Tell whether two values are one but for rounding."""
    if one is None or other is None:
        return one is other
    are_undefined = math.isnan(one) and math.isnan(other)
    return are_undefined or math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def named(lock: LockFile | None) -> str:
    """Give `name/version` of a record."""
    return f"{lock.model}/{lock.version}" if lock else "nothing"


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:.6g}"
