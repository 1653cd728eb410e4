"""Where deployments stand as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.analysis import Phase
from mlops_nb.core.results import Followed, StatusList
from mlops_nb.core.rollout import Rollout, Status
from mlops_nb.display.plain import STAGE_MARKS, moved, text, when
from mlops_nb.display.tables import table, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

_OUTCOMES = {
    Phase.SUCCESSFUL: "✔ held",
    Phase.RUNNING: "▶ running",
    Phase.INCONCLUSIVE: "■ no verdict",
    Phase.ERROR: "✘ no answer",
    Phase.FAILED: "✘ failed",
}
STATUS_HEADINGS = ("model", "env", "stage", "Git", "runs", "canary", "PR", "where it stands")
ANALYSIS_HEADINGS = ("share", "metric", "outcome", "measured", "times")


def status_rows(statuses: Sequence[Status]) -> list[tuple[str, ...]]:
    """Give one row a deployment."""
    return [
        (
            status.model,
            status.environment,
            f"{STAGE_MARKS[status.stage]} {status.stage}",
            str(status.version or "–"),
            str(rollout.stable or "–") if (rollout := status.rollout) else "–",
            f"{rollout.wanted} at {rollout.weight} %" if rollout and rollout.is_moving else "–",
            f"#{status.pull_request.number}" if status.pull_request else "",
            status.drift or status.summary,
        )
        for status in statuses
    ]


def facts(status: Status) -> list[tuple[str, str]]:
    """Give what is known of one deployment, name by name."""
    application, rollout, pull = status.application, status.rollout, status.pull_request
    told = [
        ("Git says", f"{status.model}/{status.version}" if status.version else "nothing"),
        ("cluster runs", _runs(rollout)),
        ("canary", _canary(rollout)),
        ("pull request", f"#{pull.number} {pull.title}" if pull else ""),
    ]
    if application:
        at = f" at {application.revision[:8]}" if application.revision else ""
        since = f", {when(application.synced)}" if application.synced else ""
        told += [
            ("Argo CD", f"{application.sync}{at}{since}; {application.health}"),
            ("", application.message),
            ("sync windows", "" if application.can_sync else "deny syncing now"),
            ("page", application.url),
        ]
    told.append(("trouble", status.trouble))
    return [(name, said) for name, said in told if said]


def analysis_rows(rollout: Rollout | None) -> list[tuple[str, ...]]:
    """Give one row a metric of every analysis of the version wanted."""
    return [
        (
            "–" if analysis.weight is None else f"{analysis.weight} %",
            measured.metric + (" (observed)" if measured.is_dry_run else ""),
            _OUTCOMES[measured.phase],
            measured.judged or measured.message or ("no data" if measured.count else "–"),
            str(measured.count),
        )
        for analysis in (rollout.analyses if rollout else ())
        for measured in analysis.metrics
    ]


def _runs(rollout: Rollout | None) -> str:
    if rollout is None:
        return ""
    stable = rollout.stable
    if stable is None:
        return "nothing yet"
    return f"{stable}" + (f" ({stable.digest[:19]}…)" if stable.digest else "")


def _canary(rollout: Rollout | None) -> str:
    if rollout is None or not rollout.has_canary:
        return ""
    if rollout.is_aborted:
        at = f" at {when(rollout.aborted)}" if rollout.aborted else ""
        return f"{rollout.wanted}, aborted{at}"
    step = f"step {min(rollout.step + 1, rollout.steps)} of {rollout.steps}"
    return f"{rollout.wanted} with {rollout.weight} % of the traffic, {step}"


@text.register(Status)
def _(value: Status) -> str:
    said = [wrap(value.drift or value.summary, first=f"{headline(value)}: ", indent="  ")]
    said += [f"  {name:<13} {told}" for name, told in facts(value)]
    if rows := analysis_rows(value.rollout):
        said += ["", table(ANALYSIS_HEADINGS, rows, indent="  ")]
    if value.next:
        said += ["", f"next: {' | '.join(value.next)}"]
    return "\n".join(said)


def headline(status: Status) -> str:
    """Give what a deployment is and its stage."""
    return f"{STAGE_MARKS[status.stage]} {status.where} {status.stage}"


@text.register(StatusList)
def _(value: StatusList) -> str:
    late = "\nit was watched as long as asked, and had not settled" if value.timed_out else ""
    if not value.statuses:
        return "nothing is deployed or proposed: mlops deploy MODEL --to ENV"
    if len(value.statuses) == 1:
        return text(value.statuses[0]) + late
    return table(STATUS_HEADINGS, status_rows(value.statuses)) + late


@text.register(Followed)
def _(value: Followed) -> str:
    lines = [moved(status) for status in value.statuses]
    lines += [f"next: mlops merge {number}" for number in value.pull_requests]
    if not value.done:
        lines.append("nothing was to do")
    return "\n".join(lines)
