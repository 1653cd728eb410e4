"""The audit record, and the figures of it, as CSV for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from mlops_nb.core.dora import DoraReport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_nb.core.delivery import Deployed
    from mlops_nb.core.dora import Dora
    from mlops_nb.core.results import DeploymentHistory

COLUMNS = (
    "when",
    "environment",
    "action",
    "model",
    "version",
    "previous",
    "digest",
    "requested_by",
    "merged_by",
    "reason",
    "run",
    "data",
    "pull_request",
    "commit",
)


def sheet(value: DeploymentHistory | DoraReport) -> str:
    r"""Give a table as CSV (RFC 4180, but lines end in \n): a header, then a line each.

    Times are ISO 8601 with their zone, durations seconds, data is `name=digest` joined by
    spaces; what is not known is empty.
    """
    if isinstance(value, DoraReport):
        return _written(_DORA_COLUMNS, map(_dora_row, value.rows))
    return _written(COLUMNS, map(_row, value.deployments))


def _written(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    # Nothing of what people wrote may begin another line.
    writer.writerows([" ".join(cell.split()) for cell in row] for row in rows)
    return out.getvalue()


def _row(deployed: Deployed) -> Iterable[str]:
    lock = deployed.lock
    return (
        deployed.when.isoformat(),
        deployed.environment,
        deployed.action,
        deployed.model,
        str(deployed.version or ""),
        str(deployed.previous or ""),
        lock.digest if lock else "",
        deployed.requested_by,
        deployed.merged_by,
        deployed.reason,
        lock.run if lock else "",
        " ".join(f"{name}={digest}" for name, digest, _ in lock.datasets) if lock else "",
        str(deployed.pull_request or ""),
        deployed.commit,
    )


_DORA_COLUMNS = (
    "model",
    "environment",
    "deployments",
    "per_week",
    "lead_times",
    "lead_time",
    "failed",
    "fail_rate",
    "recoveries",
    "recovery",
    "unrecovered",
)


def _dora_row(row: Dora) -> Iterable[str]:
    return (
        row.model,
        row.environment,
        str(row.deployments),
        _number(row.per_week),
        str(row.lead_time.count),
        _number(row.lead_time.median),
        str(row.failed),
        _number(row.fail_rate),
        str(row.recovery.count),
        _number(row.recovery.median),
        str(row.unrecovered),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
