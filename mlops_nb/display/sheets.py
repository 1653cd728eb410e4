"""The audit record as CSV, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_nb.core.delivery import Deployed
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


def sheet(history: DeploymentHistory) -> str:
    r"""Give deployments as CSV (RFC 4180, but lines end in \n): a header, then a line each.

    Times are ISO 8601 with their zone, data is `name=digest` joined by spaces; what is not
    known is empty.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    # Nothing of what people wrote may begin another line: one is one deployment.
    writer.writerows([" ".join(cell.split()) for cell in _row(d)] for d in history.deployments)
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
