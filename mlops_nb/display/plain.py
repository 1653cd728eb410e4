"""Domain values as plain text."""

from __future__ import annotations

import json
from datetime import datetime
from functools import singledispatch
from typing import TYPE_CHECKING

from mlops_nb.core.delivery import Deployed, Deployment, Merged
from mlops_nb.core.events import (
    Judged,
    MetricLogged,
    Note,
    Progress,
    Proposed,
    Registered,
    RunMoved,
)
from mlops_nb.core.gate import Outcome, Verdict
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.notebook import Notebook
from mlops_nb.core.quantity import format_duration, format_size
from mlops_nb.core.results import (
    Comparison,
    DeploymentHistory,
    Diagnosis,
    Initialized,
    ModelList,
    RunList,
    SweepResult,
)
from mlops_nb.core.run import Run, RunState
from mlops_nb.display.tables import table, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.core.events import Event

MARKS = {
    RunState.QUEUED: "…",
    RunState.RUNNING: "▶",
    RunState.SUCCEEDED: "✔",
    RunState.FAILED: "✘",
    RunState.CANCELLED: "■",
}
OUTCOMES = {
    Outcome.PASSED: "✔ passed",
    Outcome.FAILED: "✘ failed",
    Outcome.SKIPPED: "– skipped",
}


def number(value: float | None) -> str:
    """Give a measured number with four significant digits; a dash for none."""
    return "–" if value is None else f"{value:.4g}"


def when(time: datetime | None) -> str:
    """Give a time in the reader's own zone, to the minute."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M") if time else "–"


def took(run: Run) -> str:
    """Give how long a run took, or has been going on."""
    if run.started is None:
        return "–"
    end = run.ended or datetime.now(run.started.tzinfo)
    return format_duration((end - run.started).total_seconds())


def cell(value: object) -> str:
    """Give a parameter's value as a person would write it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def line(event: Event) -> str:
    """Give an event as one line of text."""
    match event:
        case RunMoved():
            why = f": {event.failure.reason}" if event.failure else ""
            return f"{MARKS[event.state]} {event.run} {event.state}{why}"
        case Progress():
            last = f"  {event.last_line[:60]}" if event.last_line else ""
            memory = f"  {format_size(event.memory)}" if event.memory else ""
            return (
                f"▶ {event.run} {event.done}/{event.cells} "
                f"{format_duration(event.elapsed)}{memory}{last}"
            )
        case MetricLogged():
            return f"  {event.name} = {number(event.value)}"
        case Judged():
            checks = event.verdict.checks
            passed = sum(check.outcome is Outcome.PASSED for check in checks)
            return f"  {passed} of {len(checks)} gates passed"
        case Registered():
            return f"✔ registered {event.model}"
        case Proposed():
            return f"✔ pull request #{event.pull_request}: {event.model} → {event.environment}"
        case Note():
            return f"  {event.text}"


@singledispatch
def text(value: object) -> str:
    """Give a verb's result as plain text."""
    return str(value)


GATE_HEADINGS = ("gate", "value", "95 % interval", "threshold", "n", "result", "why")


def gate_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """Give one row a gate."""
    return [
        (
            check.gate,
            number(check.value),
            "–" if check.low is None else f"{number(check.low)} … {number(check.high)}",
            number(check.threshold) + (f" ({check.baseline})" if check.baseline else ""),
            str(check.n) if check.n else "–",
            OUTCOMES[check.outcome],
            ""
            if check.outcome is Outcome.PASSED and check.threshold is not None
            else check.reason,
        )
        for check in verdict.checks
    ]


def _gates(verdict: Verdict, indent: str = "") -> str:
    """Give the gates as a table, and below it why those that did not pass did not."""
    rows = gate_rows(verdict)
    said = [table(GATE_HEADINGS[:-1], [row[:-1] for row in rows], indent=indent)]
    for check, row in zip(verdict.checks, rows, strict=True):
        if why := row[-1]:
            mark = OUTCOMES[check.outcome][0]
            first = f"{indent}{mark} {check.gate}: "
            said.append(wrap(why, first=first, indent=f"{indent}    "))
    return "\n".join(said)


@text.register
def _(value: Verdict) -> str:
    return _gates(value)


def _facts(run: Run, parts: str) -> list[tuple[str, str]]:
    cells = f"{run.cells_done}/{run.cells}" if run.cells else ""
    datasets = "; ".join(f"{d.name} = {d.uri} ({d.digest[:19]}…)" for d in run.datasets)
    facts = [
        ("notebook", run.notebook),
        ("started", f"{when(run.started)}, took {took(run)}" if run.started else ""),
        (parts, cells),
        ("peak memory", format_size(run.peak_memory) if run.peak_memory else ""),
        ("parameters", ", ".join(f"{k}={cell(v)}" for k, v in run.parameters.items())),
        ("data", datasets),
        ("metrics", ", ".join(f"{k} {number(v)}" for k, v in sorted(run.metrics.items()))),
        ("model", run.model),
        ("pull request", f"#{run.pull_request}" if run.pull_request else ""),
        ("last line", "" if run.state.is_final else run.last_line),
        ("page", run.url),
        ("folder", run.directory),
        ("MLflow run", run.tracking_id),
    ]
    return [(name, value) for name, value in facts if value]


@text.register
def _(value: Run) -> str:
    return _told(value, "cells")


def _told(value: Run, parts: str) -> str:
    """Tell of a run, whose parts are cells, or runs if it is a sweep."""
    lines = [f"{MARKS[value.state]} {value.id} {value.state}"]
    if value.failure:
        lines.append(f"  {value.failure.reason}")
        if value.failure.hint:
            lines.append(f"  → {value.failure.hint}")
    for name, fact in _facts(value, parts):
        first = f"  {name:<12} "
        may_fold = name in {"parameters", "data", "metrics"}
        lines.append(wrap(fact, first=first, indent=" " * 15) if may_fold else first + fact)
    if value.verdict:
        lines += ["", _gates(value.verdict, "  ")]
    return "\n".join(lines)


RUN_HEADINGS = ("run", "state", "notebook", "started", "took", "metrics", "gates", "model")


def run_row(run: Run) -> tuple[str, ...]:
    """Give a run as a row of a list."""
    gates = "" if run.verdict is None else ("passed" if run.verdict.passed else "refused")
    metrics = ", ".join(f"{k} {number(v)}" for k, v in sorted(run.metrics.items())[:3])
    return (
        run.id,
        standing(run),
        run.notebook.rpartition("/")[2],
        when(run.started),
        took(run),
        metrics,
        gates,
        run.model,
    )


@text.register
def _(value: RunList) -> str:
    if not value.runs:
        return "no runs; start one: mlops train NOTEBOOK"
    rows = [run_row(run) for run in value.runs]
    if all(row[0].startswith(row[2].removesuffix(".ipynb").lower()) for row in rows):
        # The ids tell the notebooks.
        rows = [(*row[:2], "", *row[3:]) for row in rows]
    return table(RUN_HEADINGS, rows)


def standing(run: Run) -> str:
    """Give a run's state, and how many of its cells are done while it runs."""
    cells = f" {run.cells_done}/{run.cells}" if run.cells and not run.state.is_final else ""
    return f"{MARKS[run.state]} {run.state}{cells}"


def side_by_side(runs: Sequence[Run], best: str = "") -> tuple[list[str], list[list[str]]]:
    """Give one row a run: parameters that differ, then metrics."""
    names = list(dict.fromkeys(name for run in runs for name in run.parameters))
    differing = [
        n for n in names if len({cell(run.parameters.get(n)) for run in runs}) > 1
    ] or (names if len(runs) == 1 else [])
    metrics = sorted({name for run in runs for name in run.metrics})
    notebooks = {run.notebook for run in runs}
    rows = [
        [
            run.id + (" ★" if run.id == best else ""),
            standing(run),
            *([run.notebook.rpartition("/")[2]] if len(notebooks) > 1 else []),
            *(cell(run.parameters[n]) if n in run.parameters else "" for n in differing),
            *(number(run.metrics.get(m)) for m in metrics),
        ]
        for run in runs
    ]
    notebook = ["notebook"] if len(notebooks) > 1 else []
    return ["run", "state", *notebook, *differing, *metrics], rows


@text.register
def _(value: Comparison) -> str:
    return table(*side_by_side(value.runs))


@text.register
def _(value: SweepResult) -> str:
    lines = [_told(value.run, "runs"), "", table(*side_by_side(value.children, value.best))]
    lines += [
        wrap(child.failure.reason, first=f"✘ {child.id}: ", indent="    ")
        for child in value.children
        if child.failure
    ]
    if value.best:
        lines.append(f"★ best: {value.best}")
    return "\n".join(lines)


PARAMETER_HEADINGS = ("parameter", "type", "default", "choices", "help")


def parameter_rows(notebook: Notebook) -> list[tuple[str, ...]]:
    """Give one row a parameter."""
    return [
        (
            p.name,
            "one of" if p.choices else p.type or "?",
            p.default_text,
            ", ".join(cell(choice) for choice in p.choices),
            p.help,
        )
        for p in notebook.parameters
    ]


def source_of_parameters(notebook: Notebook) -> str:
    """Say which cell a notebook's parameters are from."""
    if notebook.parameters_cell is None:
        return "no parameters: tag the cell that sets them `parameters`"
    tagged = (
        "tagged `parameters`" if notebook.is_tagged else "not tagged; it only assigns values"
    )
    return f"from cell {notebook.parameters_cell + 1} ({tagged})"


@text.register
def _(value: Notebook) -> str:
    head = f"{value.path}: {value.cells} code cells, {source_of_parameters(value)}"
    if not value.parameters:
        return head
    return f"{head}\n\n{table(PARAMETER_HEADINGS, parameter_rows(value))}"


PROBE_HEADINGS = ("", "part", "what was found", "took")


def probe_rows(diagnosis: Diagnosis) -> list[tuple[str, ...]]:
    """Give one row a part that was tried."""
    return [
        (
            "✔" if probe.ok else "✘",
            probe.name,
            probe.detail + (f"\n→ {probe.hint}" if probe.hint else ""),
            f"{probe.seconds:.1f} s",
        )
        for probe in diagnosis.probes
    ]


@text.register
def _(value: Diagnosis) -> str:
    return table(PROBE_HEADINGS, probe_rows(value))


@text.register
def _(value: Initialized) -> str:
    made = (
        f"made {', '.join(value.created)}" if value.created else "everything was there already"
    )
    return "\n".join(
        [
            f"{value.folder} is a project: {made}",
            f"  settings      {value.settings}",
            f"  GitOps        {value.repository}",
            "next: mlops inspect NOTEBOOK, mlops train NOTEBOOK, mlops doctor",
        ]
    )


MODEL_HEADINGS = ("model", "aliases", "flavor", "run", "registered", "digest")


def model_rows(versions: Sequence[ModelVersion]) -> list[tuple[str, ...]]:
    """Give one row a version."""
    return [
        (
            str(v),
            " ".join(f"@{alias}" for alias in v.aliases),
            v.flavor + (" (pickle)" if v.uses_pickle else ""),
            v.run,
            when(v.created),
            v.digest[:19],
        )
        for v in versions
    ]


@text.register
def _(value: ModelVersion) -> str:
    return table(MODEL_HEADINGS, model_rows([value]))


@text.register
def _(value: ModelList) -> str:
    if not value.versions:
        return "no models; register one: mlops register RUN --name NAME"
    return table(MODEL_HEADINGS, model_rows(value.versions))


@text.register
def _(value: DeploymentHistory) -> str:
    if not value.deployments:
        return "nothing was deployed yet; propose something: mlops deploy MODEL --to ENV"
    rows = deployed_rows(value.deployments)
    said = [table(DEPLOYED_HEADINGS[:-1], [row[:-1] for row in rows])]
    for deployed, row in zip(value.deployments, rows, strict=True):
        if why := row[-1]:
            said.append(wrap(why, first=f"{deployed.commit[:8]} {row[2]}: ", indent="    "))
    return "\n".join(said)


DEPLOYED_HEADINGS = (
    "when",
    "env",
    "what",
    "asked by",
    "merged by",
    "run",
    "data",
    "PR",
    "commit",
    "why",
)


def deployed_rows(deployed: Sequence[Deployed]) -> list[tuple[str, ...]]:
    """Give one row a deployment."""
    return [
        (
            when(d.when),
            d.environment,
            f"{d.action} {d.model} {d.previous or '–'} → {d.version or '–'}",
            _name(d.requested_by),
            _name(d.merged_by),
            d.lock.run if d.lock else "",
            "; ".join(f"{name} {digest[:14]}" for name, digest, _uri in d.lock.datasets)
            if d.lock
            else "",
            f"#{d.pull_request}" if d.pull_request else "",
            d.commit[:8],
            d.reason,
        )
        for d in deployed
    ]


def _name(person: str) -> str:
    """Give the name of `Name <mail>`; the mail is in Git and in the JSON."""
    return person.partition(" <")[0]


@text.register
def _(value: Merged) -> str:
    said = f"✔ merged #{value.pull_request.number}: {value.pull_request.title}"
    if value.version:
        said += f"\n  {value.model} in {value.environment} is now version {value.version}"
    if value.alias:
        said += f"\n  {value.model}@{value.alias} → {value.model}/{value.version}"
    return said


@text.register
def _(value: Deployment) -> str:
    where = f"{value.version} → {value.environment.name}"
    if value.is_noop:
        return f"{where}: nothing to change, it is what Git says already"
    if value.pull_request is None:
        return f"{where}: dry run, nothing was written\n\n{value.body}"
    pull = value.pull_request
    how = "opened" if pull.is_new else ("updated" if pull.is_changed else "is open already")
    return (
        f"✔ pull request #{pull.number} {how}: {pull.title}\n  {pull.url}\n\n{value.body}\n\n"
        f"next: mlops merge {pull.number}"
    )
