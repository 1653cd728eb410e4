"""What the record tells as plain text: where a model came from and went, how well that goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.dora import DoraReport
from mlops_nb.core.quantity import format_duration
from mlops_nb.core.tracing import Trace
from mlops_nb.display.delivery import person
from mlops_nb.display.plain import text, when
from mlops_nb.display.runs import RUN_HEADINGS, run_row
from mlops_nb.display.tables import table, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.core.delivery import Deployed
    from mlops_nb.core.dora import Dora, Times
    from mlops_nb.core.run import Run
    from mlops_nb.core.tracing import Chain

_MARGIN = 12
_DIGEST = 19
_DAY = 86_400.0


@text.register(Trace)
def _(value: Trace) -> str:
    said = [meaning(value)]
    for chain in value.chains:
        said += ["", chain_title(chain)]
        indent = " " * (_MARGIN + 2)
        said += [
            wrap(fact, first=f"  {name:<{_MARGIN}}", indent=indent)
            for name, fact in chain_facts(chain)
        ]
    if alone := runs_without_model(value):
        said += ["", table(RUN_HEADINGS, [run_row(run) for run in alone])]
    said += [wrap(f"note: {note}", indent="  ", first="") for note in value.notes]
    return "\n".join(said)


def meaning(trace: Trace) -> str:
    """Say as what the reference was found."""
    return f"{trace.ref}: {', '.join(trace.meant)}"


def chain_title(chain: Chain) -> str:
    """Give a version and what points at it."""
    return " ".join([str(chain), *(f"@{alias}" for alias in chain.aliases)])


def chain_facts(chain: Chain) -> Iterator[tuple[str, str]]:
    """Give the parts of a version's way in their order, those that are known."""
    yield from _origin(chain)
    for image in chain.images:
        yield "image", image
    for deployed in reversed(chain.deployments):
        yield deployed.environment, _brought(deployed, chain.version)
    for pull in chain.open_pulls:
        where = f": {pull.url}" if pull.url else ""
        yield pull.environment, f"proposed by #{pull.number}{where}"
    for serving in chain.serving:
        pods = f", pods {serving.template}" if serving.template else ""
        yield serving.environment, f"serves {serving.weight} % of the traffic now{pods}"


def _origin(chain: Chain) -> Iterator[tuple[str, str]]:
    if chain.notebook:
        yield "notebook", f"{chain.notebook} {_short(chain.notebook_digest)}".rstrip()
    if chain.code_commit:
        commit, mark, _ = chain.code_commit.partition("-dirty")
        changed = ", with changes that were not committed" if mark else ""
        where = f" of {chain.code_repository}" if chain.code_repository else ""
        yield "code", f"commit {commit[:12]}{where}{changed}"
    if not chain.datasets:
        yield "data", "none was recorded"
    for name, digest, uri in chain.datasets:
        yield "data", f"{name} {_short(digest)} {uri}"
    if chain.run:
        yield "run", f"{chain.run} (MLflow {chain.tracking_id})"
    if chain.digest:
        told = f", registered {when(chain.registered)}" if chain.registered else ""
        yield "model", f"{_short(chain.digest)}{told}"


def runs_without_model(trace: Trace) -> Sequence[Run]:
    """Give the runs that no version shown was made by."""
    shown = {chain.run for chain in trace.chains}
    return [run for run in trace.runs if run.id not in shown]


def _brought(deployed: Deployed, version: int) -> str:
    if deployed.version == version:
        what = {"deploy": "deployed", "rollback": "back again"}.get(
            deployed.action, f"{deployed.action}:"
        )
    else:
        what = f"rolled back to {deployed.version}"
    pull = f" by #{deployed.pull_request}" if deployed.pull_request else ""
    asked = f", asked by {person(deployed.requested_by)}"
    merged = f", merged by {person(deployed.merged_by)}" if deployed.merged_by else ""
    why = f": {deployed.reason}" if deployed.reason else ""
    return f"{when(deployed.when)} {what}{pull}, {deployed.commit[:8]}{asked}{merged}{why}"


def _short(digest: str) -> str:
    return digest[:_DIGEST]


DORA_HEADINGS = (
    "model",
    "env",
    "deployments",
    "per week",
    "lead time",
    "failed",
    "fail rate",
    "recovery",
)


@text.register(DoraReport)
def _(value: DoraReport) -> str:
    said = [dora_title(value)]
    if value.rows:
        said.append(table(DORA_HEADINGS, dora_rows(value)))
        said.append(wrap(DORA_WORDS))
    said += [wrap(f"note: {note}") for note in value.notes]
    return "\n".join(said)


DORA_WORDS = (
    "Medians, of so many as stand in brackets. Lead time: from a version's registration to the "
    "merge that brought it. Failed: rolled back, or its canary aborted. Recovery: from that "
    "merge to the one that took it back or replaced it."
)


def dora_title(report: DoraReport) -> str:
    """Say what the figures are of."""
    days = (report.until - report.since).total_seconds() / _DAY
    merged = report.total.deployments
    count = f"{merged} deployment{'' if merged == 1 else 's'}" if merged else "no deployment"
    return f"{count} since {when(report.since)} ({days:.3g} days)"


def dora_rows(report: DoraReport) -> list[tuple[str, ...]]:
    """Give one row a model and environment, and one of all where there are several."""
    several = len(report.rows) > 1
    return [_dora_row(row) for row in (*report.rows, *((report.total,) if several else ()))]


def _dora_row(row: Dora) -> tuple[str, ...]:
    still = f", {row.unrecovered} not yet" if row.unrecovered else ""
    return (
        row.model or "all",
        row.environment,
        str(row.deployments),
        f"{row.per_week:.2g}",
        _times(row.lead_time),
        str(row.failed),
        "–" if row.fail_rate is None else f"{row.fail_rate:.0%}".replace("%", " %"),
        f"{_times(row.recovery)}{still}",
    )


def _times(times: Times) -> str:
    return "–" if times.median is None else f"{format_duration(times.median)} ({times.count})"
