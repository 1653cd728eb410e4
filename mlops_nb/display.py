"""Domain values as text for terminals and as HTML for notebooks.

The HTML uses only what notebooks keep when they are not trusted: no scripts, no style sheets.
"""

from __future__ import annotations

import io
import json
import shutil
from datetime import datetime
from functools import singledispatch
from html import escape
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlops_nb.core.events import Event

_NARROWEST = 100
_MARKS = {
    RunState.QUEUED: "…",
    RunState.RUNNING: "▶",
    RunState.SUCCEEDED: "✔",
    RunState.FAILED: "✘",
    RunState.CANCELLED: "■",
}
_OUTCOMES = {
    Outcome.PASSED: "✔ passed",
    Outcome.FAILED: "✘ failed",
    Outcome.SKIPPED: "– skipped",
}
_COLOURS = {
    RunState.SUCCEEDED: "#1a7f37",
    RunState.FAILED: "#cf222e",
    RunState.CANCELLED: "#9a6700",
}


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a plain-text table; cells that are too long are folded, never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    out = io.StringIO()
    Console(
        file=out,
        width=max(_NARROWEST, shutil.get_terminal_size((_NARROWEST, 24)).columns),
        color_system=None,
        emoji=False,
        markup=False,
    ).print(drawn)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def html_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give an HTML table; headings and cells are text."""
    head = "".join(f"<th style='text-align:left'>{escape(h)}</th>" for h in headings)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(c)}</td>" for c in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def number(value: float | None) -> str:
    """Give a measured number with four significant digits; a dash for none."""
    return "–" if value is None else f"{value:.4g}"


def when(time: datetime | None) -> str:
    """Give a time in the reader's own zone, to the minute."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M") if time else "–"


def _took(run: Run) -> str:
    if run.started is None:
        return "–"
    end = run.ended or datetime.now(run.started.tzinfo)
    return format_duration((end - run.started).total_seconds())


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def line(event: Event) -> str:
    """Give an event as one line of text."""
    match event:
        case RunMoved():
            why = f": {event.failure.reason}" if event.failure else ""
            return f"{_MARKS[event.state]} {event.run} {event.state}{why}"
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


@singledispatch
def html(value: object) -> str:
    """Give a verb's result as HTML; without a better form, its plain text."""
    return f"<pre>{escape(text(value))}</pre>"


_GATE_HEADINGS = ("gate", "value", "95 % interval", "threshold", "n", "result", "why")


def _gate_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    return [
        (
            check.gate,
            number(check.value),
            "–" if check.low is None else f"{number(check.low)} … {number(check.high)}",
            number(check.threshold) + (f" ({check.baseline})" if check.baseline else ""),
            str(check.n) if check.n else "–",
            _OUTCOMES[check.outcome],
            ""
            if check.outcome is Outcome.PASSED and check.threshold is not None
            else check.reason,
        )
        for check in verdict.checks
    ]


@text.register
def _(value: Verdict) -> str:
    return table(_GATE_HEADINGS, _gate_rows(value))


@html.register
def _(value: Verdict) -> str:
    return html_table(_GATE_HEADINGS, _gate_rows(value))


def _facts(run: Run) -> list[tuple[str, str]]:
    cells = f"{run.cells_done}/{run.cells}" if run.cells else ""
    datasets = "; ".join(f"{d.name} = {d.uri} ({d.digest[:19]}…)" for d in run.datasets)
    facts = [
        ("notebook", run.notebook),
        ("started", f"{when(run.started)}, took {_took(run)}" if run.started else ""),
        ("cells", cells),
        ("peak memory", format_size(run.peak_memory) if run.peak_memory else ""),
        ("parameters", ", ".join(f"{k}={_cell(v)}" for k, v in run.parameters.items())),
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
    lines = [f"{_MARKS[value.state]} {value.id} {value.state}"]
    if value.failure:
        lines.append(f"  {value.failure.reason}")
        if value.failure.hint:
            lines.append(f"  → {value.failure.hint}")
    lines += [f"  {name:<12} {fact}" for name, fact in _facts(value)]
    if value.verdict:
        lines += ["", *(f"  {row}" for row in text(value.verdict).splitlines())]
    return "\n".join(lines)


@html.register
def _(value: Run) -> str:
    colour = _COLOURS.get(value.state, "inherit")
    state = f"<b style='color:{colour}'>{_MARKS[value.state]} {value.state}</b>"
    parts = [f"<div>{state} <b>{escape(value.id)}</b></div>"]
    if not value.state.is_final and value.cells:
        now = min(value.cells_done + 1, value.cells)
        bar = f"<progress value='{value.cells_done}' max='{value.cells}'></progress>"
        parts.append(f"<div>{bar} cell {now} of {value.cells}, {_took(value)}</div>")
    if value.failure:
        hint = f"<div>→ {escape(value.failure.hint)}</div>" if value.failure.hint else ""
        parts.append(f"<div style='color:#cf222e'>{escape(value.failure.reason)}</div>{hint}")
    rows = "".join(
        f"<tr><td style='text-align:left'>{escape(name)}</td>"
        f"<td style='text-align:left'>{_link(fact)}</td></tr>"
        for name, fact in _facts(value)
    )
    parts.append(f"<table><tbody>{rows}</tbody></table>")
    if value.verdict:
        parts.append(html(value.verdict))
    return "".join(parts)


def _link(fact: str) -> str:
    if fact.startswith(("http://", "https://")):
        return f"<a href='{escape(fact, quote=True)}'>{escape(fact)}</a>"
    return escape(fact)


_RUN_HEADINGS = ("run", "state", "notebook", "started", "took", "metrics", "gates", "model")


def _run_row(run: Run) -> tuple[str, ...]:
    gates = "" if run.verdict is None else ("passed" if run.verdict.passed else "refused")
    metrics = " ".join(f"{k}={number(v)}" for k, v in sorted(run.metrics.items())[:3])
    return (
        run.id,
        f"{_MARKS[run.state]} {run.state}",
        run.notebook.rpartition("/")[2],
        when(run.started),
        _took(run),
        metrics,
        gates,
        run.model,
    )


@text.register
def _(value: RunList) -> str:
    if not value.runs:
        return "no runs; start one: mlops train NOTEBOOK"
    return table(_RUN_HEADINGS, [_run_row(run) for run in value.runs])


@html.register
def _(value: RunList) -> str:
    if not value.runs:
        return "<div>no runs; start one: <code>%mlops train NOTEBOOK</code></div>"
    return html_table(_RUN_HEADINGS, [_run_row(run) for run in value.runs])


def _side_by_side(runs: Sequence[Run], best: str = "") -> tuple[list[str], list[list[str]]]:
    """Give one row a run: parameters that differ, then metrics."""
    names = list(dict.fromkeys(name for run in runs for name in run.parameters))
    differing = [
        n for n in names if len({_cell(run.parameters.get(n)) for run in runs}) > 1
    ] or (names if len(runs) == 1 else [])
    metrics = sorted({name for run in runs for name in run.metrics})
    rows = [
        [
            run.id + (" ★" if run.id == best else ""),
            f"{_MARKS[run.state]} {run.state}",
            *(_cell(run.parameters[n]) if n in run.parameters else "" for n in differing),
            *(number(run.metrics.get(m)) for m in metrics),
        ]
        for run in runs
    ]
    return ["run", "state", *differing, *metrics], rows


@text.register
def _(value: Comparison) -> str:
    return table(*_side_by_side(value.runs))


@html.register
def _(value: Comparison) -> str:
    return html_table(*_side_by_side(value.runs))


@text.register
def _(value: SweepResult) -> str:
    shown = table(*_side_by_side(value.children, value.best))
    return f"{text(value.run)}\n\n{shown}" + (f"\n★ best: {value.best}" if value.best else "")


@html.register
def _(value: SweepResult) -> str:
    return html(value.run) + html_table(*_side_by_side(value.children, value.best))


_PARAMETER_HEADINGS = ("parameter", "type", "default", "choices", "help")


def _parameter_rows(notebook: Notebook) -> list[tuple[str, ...]]:
    return [
        (
            p.name,
            p.type or "?",
            p.default_text,
            ", ".join(_cell(choice) for choice in p.choices),
            p.help,
        )
        for p in notebook.parameters
    ]


def _source(notebook: Notebook) -> str:
    if notebook.parameters_cell is None:
        return "no parameters: tag the cell that sets them `parameters`"
    tagged = (
        "tagged `parameters`" if notebook.is_tagged else "not tagged; it only assigns values"
    )
    return f"from cell {notebook.parameters_cell + 1} ({tagged})"


@text.register
def _(value: Notebook) -> str:
    head = f"{value.path}: {value.cells} code cells, {_source(value)}"
    if not value.parameters:
        return head
    return f"{head}\n\n{table(_PARAMETER_HEADINGS, _parameter_rows(value))}"


@html.register
def _(value: Notebook) -> str:
    head = (
        f"<div>{escape(value.path)}: {value.cells} code cells, {escape(_source(value))}</div>"
    )
    if not value.parameters:
        return head
    return head + html_table(_PARAMETER_HEADINGS, _parameter_rows(value))


@text.register
def _(value: Diagnosis) -> str:
    rows = [
        (
            "✔" if probe.ok else "✘",
            probe.name,
            probe.detail + (f"\n→ {probe.hint}" if probe.hint else ""),
            f"{probe.seconds:.1f} s",
        )
        for probe in value.probes
    ]
    return table(("", "part", "what was found", "took"), rows)


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


_MODEL_HEADINGS = ("model", "aliases", "flavor", "run", "registered", "digest")


def _model_rows(versions: Sequence[ModelVersion]) -> list[tuple[str, ...]]:
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
    return table(_MODEL_HEADINGS, _model_rows([value]))


@html.register
def _(value: ModelVersion) -> str:
    return html_table(_MODEL_HEADINGS, _model_rows([value]))


@text.register
def _(value: ModelList) -> str:
    if not value.versions:
        return "no models; register one: mlops register RUN --name NAME"
    return table(_MODEL_HEADINGS, _model_rows(value.versions))


@html.register
def _(value: ModelList) -> str:
    return html_table(_MODEL_HEADINGS, _model_rows(value.versions))


@text.register
def _(value: DeploymentHistory) -> str:
    if not value.deployments:
        return "nothing was deployed yet; propose something: mlops deploy MODEL --to ENV"
    return table(_DEPLOYED_HEADINGS, _deployed_rows(value.deployments))


@html.register
def _(value: DeploymentHistory) -> str:
    return html_table(_DEPLOYED_HEADINGS, _deployed_rows(value.deployments))


_DEPLOYED_HEADINGS = (
    "when",
    "env",
    "what",
    "asked by",
    "merged by",
    "run",
    "data",
    "PR",
    "commit",
)


def _deployed_rows(deployed: Sequence[Deployed]) -> list[tuple[str, ...]]:
    return [
        (
            when(d.when),
            d.environment,
            f"{d.action} {d.model} {d.previous or '–'} → {d.version or '–'}"
            + (f" ({d.reason})" if d.reason else ""),
            d.requested_by,
            d.merged_by,
            d.lock.run if d.lock else "",
            "; ".join(f"{name} {digest[:14]}" for name, digest, _uri in d.lock.datasets)
            if d.lock
            else "",
            f"#{d.pull_request}" if d.pull_request else "",
            d.commit[:10],
        )
        for d in deployed
    ]


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
