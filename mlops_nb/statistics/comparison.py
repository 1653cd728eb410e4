"""How a version did on its evaluation set, beside the versions it is compared with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlops_nb.core.evidence import Beside, Measured, Showing
from mlops_nb.core.gate import Gate
from mlops_nb.core.model import ModelRef
from mlops_nb.errors import NotFound, UserError
from mlops_nb.statistics.bootstrap import Bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.gate import EvaluationTable, Verdict
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.ports import Registry

LIVE, CHAMPION = "live now", "champion"


def shown(
    version: ModelVersion,
    verdict: Verdict,
    *,
    registry: Registry,
    live: LockFile | None,
    champion: str | None = None,
) -> Showing:
    """Measure a version, what is live where it is to go, and the champion.

    A metric that the run logged, or a gate names, is measured on the evaluation table where it
    can be, as gates do; of two versions that were evaluated on the same rows, the difference
    has the interval of paired resamples.

    Args:
        version: what is to be deployed.
        verdict: its gates, judged.
        registry: where runs and their evaluation tables are.
        live: record of the version it would replace; None for the first.
        champion: `name/version` that was the champion at the time; empty if none was; None
            takes the one there is now.

    Raises:
        UserError: if the version's own evaluation table cannot be read as such.
    """
    logged = registry.metrics(version.tracking_id)
    table = registry.table(version.tracking_id)
    gates = [Gate.parse(check.gate).metric for check in verdict.checks]
    names = sorted({*logged, *gates})
    own = _Evaluated(logged, table, names)
    others = _roles(version, registry, live, champion)
    return Showing(
        metrics=own.metrics,
        has_rows=table is not None,
        beside=tuple(
            _beside(name, role, own, names, registry, live) for name, role in others.items()
        ),
    )


class _Evaluated:
    """What a run logged, and what its evaluation table gives of it."""

    def __init__(
        self, logged: Mapping[str, float], table: EvaluationTable | None, names: Sequence[str]
    ) -> None:
        self.table = table
        self.computable = Bootstrap().computable(table) if table else ()
        self.metrics = dict(self._measured(logged, names))

    def _measured(
        self, logged: Mapping[str, float], names: Sequence[str]
    ) -> Iterator[tuple[str, Measured]]:
        for name in names:
            if self.table and name in self.computable:
                found = Bootstrap().estimate(name, self.table)
                yield name, _finite(found.value, found.low, found.high, found.rows)
            elif name in logged:
                yield name, Measured(value=logged[name])

    def differences(self, other: _Evaluated) -> Iterator[tuple[str, Measured]]:
        """Give by how much this one has more than another, by metric."""
        is_paired = bool(self.digest) and self.digest == other.digest
        for name, mine in self.metrics.items():
            if name not in other.metrics:
                continue
            both = name in self.computable and name in other.computable
            if self.table and is_paired and both:
                found = Bootstrap().estimate(name, self.table, champion=other.table)
                reference = found.reference or 0.0
                yield (
                    name,
                    _finite(
                        found.value - reference,
                        found.low - reference,
                        found.high - reference,
                        found.rows,
                    ),
                )
            else:
                yield name, Measured(value=mine.value - other.metrics[name].value)

    @property
    def digest(self) -> str:
        """The digest of the rows it was evaluated on; empty if it is not known."""
        return self.table.digest if self.table else ""


def _finite(value: float, low: float, high: float, rows: int) -> Measured:
    """Give a measurement; an end that is not known is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return Measured(value=value, rows=rows)
    return Measured(value=value, low=low, high=high, rows=rows)


def _roles(
    version: ModelVersion, registry: Registry, live: LockFile | None, champion: str | None
) -> dict[str, str]:
    """Give the versions to compare with, and what each is."""
    if champion is None:
        try:
            champion = str(registry.resolve(ModelRef(name=version.name, alias="champion")))
        except NotFound:
            champion = ""
    roles = {f"{live.model}/{live.version}": LIVE} if live else {}
    if champion:
        roles[champion] = f"{LIVE} and {CHAMPION}" if champion in roles else CHAMPION
    # To be as good as itself says nothing.
    roles.pop(str(version), None)
    return roles


def _beside(
    name: str,
    role: str,
    own: _Evaluated,
    names: Sequence[str],
    registry: Registry,
    live: LockFile | None,
) -> Beside:
    logged: Mapping[str, float] = {}
    table, note = None, ""
    try:
        tracking_id = registry.resolve(ModelRef.parse(name)).tracking_id
        logged, table = registry.metrics(tracking_id), registry.table(tracking_id)
    except NotFound:
        note = "its run is no longer there"
        if live and name == f"{live.model}/{live.version}":
            logged, note = live.metrics, f"{note}: as its record has it"
    except UserError as error:
        note = error.message
    other = _Evaluated(logged, table, names)
    return Beside(
        version=name,
        role=role,
        metrics=other.metrics,
        differences=dict(own.differences(other)),
        has_rows=table is not None,
        note=note,
    )


__all__ = ["CHAMPION", "LIVE", "shown"]
