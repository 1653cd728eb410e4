"""Domain values as HTML for notebooks.

It uses only what notebooks keep when they are not trusted, no scripts and no style sheets, and
colours that can be read on white and on black.
"""

from __future__ import annotations

import re
from functools import singledispatch
from html import escape
from itertools import islice
from typing import TYPE_CHECKING

from mlops_nb.core.delivery import Deployment, Merged
from mlops_nb.core.dora import DoraReport
from mlops_nb.core.gate import Outcome, Verdict
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.notebook import Notebook
from mlops_nb.core.quantity import format_size
from mlops_nb.core.recurring import Scheduled, ScheduleList
from mlops_nb.core.results import (
    Comparison,
    DeploymentHistory,
    Diagnosis,
    Initialized,
    ModelList,
    RunList,
    StatusList,
    SweepResult,
)
from mlops_nb.core.rollout import Stage, Status
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.core.tracing import Trace
from mlops_nb.core.verification import Verification
from mlops_nb.display import audit, delivery, plain, rollouts, runs, schedules, verification
from mlops_nb.display.evidence import readable
from mlops_nb.display.plain import text
from mlops_nb.display.tables import filled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_GREEN, _RED, _AMBER, _BLUE, _GREY = "#25883d", "#d93843", "#a06a00", "#2174dd", "#787878"
_COLOURS = {
    RunState.QUEUED: _GREY,
    RunState.RUNNING: _BLUE,
    RunState.SUCCEEDED: _GREEN,
    RunState.FAILED: _RED,
    RunState.CANCELLED: _AMBER,
}
_STAGES = {
    Stage.HEALTHY: _GREEN,
    Stage.CANARY: _BLUE,
    Stage.PAUSED: _AMBER,
    Stage.ABORTED: _RED,
    Stage.DEGRADED: _RED,
}
# A view is sent again and again: a run that logs thousands of metrics must not fill the page.
_MOST_NAMES = 24
_LONGEST_LINE = 160
_LONGEST_UNWRAPPED = 24
_LONGEST_TRACEBACK = 6_000
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@singledispatch
def html(value: object) -> str:
    """Give a verb's result as HTML; without a better form, its plain text."""
    return _pre(text(value))


def _marked(colour: str, said: str) -> str:
    """Colour the mark at the beginning: no colour can be read as text on white and on black."""
    return f"<span style='color:{colour}'>{escape(said[:1])}</span>{escape(said[1:])}"


def _pre(said: str) -> str:
    style = "white-space:pre;overflow:auto;font-family:monospace"
    return f"<pre style='{style}'>{escape(said)}</pre>"


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table; headings and cells are text."""
    headings, rows = filled(headings, list(rows))
    style = "text-align:left;white-space:nowrap"
    head = "".join(f"<th style='{style}'>{escape(h)}</th>" for h in headings)
    # A table wider than the page is scrolled; a page cuts it off, or squeezes its columns.
    return (
        f"<div style='overflow-x:auto'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(_row(map(_cell, row)) for row in rows)}</tbody></table></div>"
    )


def _fact_table(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(_row((_cell(name), _cell(value))) for name, value in facts if value)
    return f"<table><tbody>{rows}</tbody></table>"


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _cell(said: str) -> str:
    """Give a cell; a mark at its beginning gives it the mark's colour."""
    colours = {"✔": _GREEN, "✘": _RED, "■": _AMBER, "▶": _BLUE, "–": _GREY, "…": _GREY}
    colour = colours.get(said[:1])
    shown = escape(said).replace("\n", "<br>")
    if colour:
        shown = f"<span style='color:{colour}'>{shown[:1]}</span>{shown[1:]}"
    # Numbers and states stay whole; reasons and lists are wrapped.
    is_short = len(said) <= _LONGEST_UNWRAPPED
    wrap = "nowrap" if is_short else "normal;min-width:12em;max-width:32em"
    return f"<td style='text-align:left;vertical-align:top;white-space:{wrap}'>{shown}</td>"


def _link(address: str, label: str = "") -> str:
    shown = escape(label or address)
    if address.startswith(("http://", "https://")):
        return f"<a href='{escape(address)}' target='_blank'>{shown}</a>"
    return shown


@html.register
def _(value: Verdict) -> str:
    passed = sum(check.outcome is Outcome.PASSED for check in value.checks)
    if value.passed:
        said = _marked(_GREEN, f"✔ all {passed} gates passed" if passed > 1 else "✔ passed")
    else:
        refused = len(value.refused)
        said = _marked(_RED, f"✘ {refused} of {len(value.checks)} gates did not pass")
    return f"<div><b>{said}</b></div>{_table(plain.GATE_HEADINGS, plain.gate_rows(value))}"


@html.register
def _(value: Run) -> str:
    return _card(value)


def _card(run: Run) -> str:
    parts = [_title(run)]
    if not run.state.is_final:
        parts += [_progress(run), _last_line(run)]
    if run.failure:
        parts.append(_failure(run.failure))
    parts += [_parameters(run.parameters), _defaults(run), _metrics(run.metrics)]
    if run.judged_last:
        parts.append(html(run.judged_last))
    parts.append(_outcome(run))
    # Drawn again it would close under the reader's hand, so a run in progress has no such part.
    if run.state.is_final:
        parts.append(_details(run))
    return f"<div>{''.join(parts)}</div>"


def _title(run: Run) -> str:
    mark = f"{plain.MARKS[run.state]} {run.state}"
    about = [run.notebook.rpartition("/")[2], plain.took(run) if run.started else ""]
    more = escape("".join(f" · {word}" for word in about if word))
    state = f"<b>{_marked(_COLOURS[run.state], mark)}</b>"
    if run.verdict is not None and not run.verdict.passed:
        state += f", <b>{_marked(_RED, '✘ refused by its gates')}</b>"
    return f"<div>{state} <b>{_link(run.url, run.id)}</b>{more}</div>"


def _progress(run: Run) -> str:
    if not run.cells:
        # Without a value the bar moves to and fro: nobody knows yet how long it takes.
        bar = "<progress style='width:20em'></progress>"
        return f"<div>{bar} starting</div>"
    now = min(run.cells_done + 1, run.cells)
    memory = f" · {format_size(run.peak_memory)}" if run.peak_memory else ""
    bar = f"<progress style='width:20em' value='{run.cells_done}' max='{run.cells}'></progress>"
    return f"<div>{bar} {plain.parts(run)} {now} of {run.cells}{memory}</div>"


def _last_line(run: Run) -> str:
    line = run.last_line.strip() or run.doing
    if not line:
        return ""
    shown = line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"
    return f"<div><code>{escape(shown)}</code></div>"


def _failure(failure: Failure) -> str:
    reason = f"<div>{_marked(_RED, f'✘ {failure.reason}')}</div>"
    hint = f"<div>→ {escape(failure.hint)}</div>" if failure.hint else ""
    return reason + hint


def _names(pairs: Iterable[tuple[str, str]], count: int, before: str = "") -> str:
    shown = " &nbsp; ".join(
        f"{escape(name)} {value}" for name, value in islice(pairs, _MOST_NAMES)
    )
    more = f" and {count - _MOST_NAMES} more"
    said = f"{before}{shown}{more if count > _MOST_NAMES else ''}"
    return f"<div>{said}</div>" if shown else ""


def _parameters(parameters: Mapping[str, object], before: str = "") -> str:
    pairs = ((name, plain.cell(value)) for name, value in parameters.items())
    return _names(
        ((name, escape(value[:_LONGEST_LINE])) for name, value in pairs),
        len(parameters),
        before,
    )


def _defaults(run: Run) -> str:
    return _parameters(run.defaults, "defaults: ")


def _metrics(metrics: Mapping[str, float]) -> str:
    pairs = ((name, f"<b>{plain.number(value)}</b>") for name, value in sorted(metrics.items()))
    return _names(pairs, len(metrics))


def _outcome(run: Run) -> str:
    said = []
    if run.model:
        said.append(f"model <b>{escape(run.model)}</b>")
    if run.pull_request:
        merge = f"%mlops merge {run.pull_request}"
        said.append(f"pull request <b>#{run.pull_request}</b> → <code>{merge}</code>")
    elif run.model:
        said.append(f"→ <code>%mlops deploy {escape(run.model)} --to ENV</code>")
    return f"<div>{' &nbsp; '.join(said)}</div>" if said else ""


def _details(run: Run) -> str:
    facts = [
        ("notebook", run.notebook),
        ("started", plain.when(run.started)),
        ("cached", f"the result of {run.cached_from}" if run.cached_from else ""),
        (f"{plain.parts(run)}s", f"{run.cells_done} of {run.cells}" if run.cells else ""),
        ("peak memory", format_size(run.peak_memory) if run.peak_memory else ""),
        *((f"data {d.name}", f"{d.uri} ({d.digest})") for d in run.datasets),
        ("commit", plain.code(run)),
        ("MLflow run", run.tracking_id),
        ("folder", run.directory),
    ]
    content = _fact_table(facts)
    if run.failure and run.failure.traceback:
        traceback = _ANSI.sub("", run.failure.traceback)
        content += _pre(traceback[-_LONGEST_TRACEBACK:])
    return _folded("details", content)


@html.register
def _(value: SweepResult) -> str:
    best = f"<div>★ best: <b>{escape(value.best)}</b></div>" if value.best else ""
    rows = runs.side_by_side(value.children, value.best)
    lacking = f"<div>{escape(said)}</div>" if (said := runs.lacking(value)) else ""
    return f"<div>{_card(value.run)}{best}{lacking}{_table(*rows)}</div>"


@html.register
def _(value: Comparison) -> str:
    same = runs.shared(value.runs)
    below = f"<div>the same in all: {escape(same)}</div>" if same else ""
    return f"<div>{_table(*runs.side_by_side(value.runs))}{below}</div>"


@html.register
def _(value: RunList) -> str:
    if not value.runs:
        return "<div>no runs; start one: <code>%mlops train NOTEBOOK</code></div>"
    rows = _table(runs.RUN_HEADINGS, [runs.run_row(run) for run in value.runs])
    if not value.next:
        return rows
    return f"<div>{rows}<div>older ones: <code>--after {escape(value.next)}</code></div></div>"


@html.register
def _(value: Notebook) -> str:
    head = f"{value.path}: {value.cells} code cells, {plain.source_of_parameters(value)}"
    if not value.parameters:
        return f"<div>{escape(head)}</div>"
    rows = plain.parameter_rows(value)
    return f"<div>{escape(head)}</div>{_table(plain.PARAMETER_HEADINGS, rows)}"


@html.register
def _(value: Diagnosis) -> str:
    return _table(plain.PROBE_HEADINGS, plain.probe_rows(value))


@html.register
def _(value: ModelVersion) -> str:
    return _table(delivery.MODEL_HEADINGS, delivery.model_rows([value]))


@html.register
def _(value: ModelList) -> str:
    if not value.versions:
        return (
            "<div>no models; register one: <code>%mlops register RUN --name NAME</code></div>"
        )
    return _table(delivery.MODEL_HEADINGS, delivery.model_rows(value.versions))


@html.register
def _(value: DeploymentHistory) -> str:
    if not value.deployments:
        return (
            "<div>nothing was deployed yet; propose something: "
            "<code>%mlops deploy MODEL --to ENV</code></div>"
        )
    return _table(delivery.DEPLOYED_HEADINGS, delivery.deployed_rows(value.deployments))


@html.register
def _(value: Trace) -> str:
    parts = [f"<div>{escape(audit.meaning(value))}</div>"]
    for chain in value.chains:
        parts.append(f"<div><b>{escape(audit.chain_title(chain))}</b></div>")
        parts.append(_fact_table(audit.chain_facts(chain)))
    if alone := audit.runs_without_model(value):
        parts.append(_table(runs.RUN_HEADINGS, [runs.run_row(run) for run in alone]))
    parts += [f"<div>note: {escape(note)}</div>" for note in value.notes]
    return "".join(parts)


@html.register
def _(value: DoraReport) -> str:
    parts = [f"<div>{escape(audit.dora_title(value))}</div>"]
    if value.rows:
        parts.append(_table(audit.DORA_HEADINGS, audit.dora_rows(value)))
        parts.append(f"<div>{escape(audit.DORA_WORDS)}</div>")
    parts += [f"<div>note: {escape(note)}</div>" for note in value.notes]
    return "".join(parts)


@html.register
def _(value: Deployment) -> str:
    pull = value.pull_request
    if value.is_noop or pull is None:
        return _pre(text(value))
    how = "opened" if pull.is_new else ("updated" if pull.is_changed else "is open already")
    title = _marked(_GREEN, f"✔ pull request #{pull.number} {how}")
    return (
        f"<div><b>{title}</b> {_link(pull.url, pull.title)}</div>"
        f"{''.join(f'<div>note: {escape(note)}</div>' for note in pull.notes)}"
        f"{_folded('what reviewers read', _pre(readable(value.body)))}"
        f"{_folded('what changes in Git', _pre(value.diff))}"
        f"<div>→ <code>{escape(delivery.after_merge(value))}</code></div>"
    )


@html.register
def _(value: Status) -> str:
    colour = _STAGES.get(value.stage, _GREY)
    head = f"<b>{_marked(colour, rollouts.headline(value))}</b>"
    rows = "".join(_row((_cell(name), _cell(said))) for name, said in rollouts.facts(value))
    measured = rollouts.analysis_rows(value.rollout)
    lines = "".join(f"<div>→ <code>{escape(line)}</code></div>" for line in value.next)
    return (
        f"<div>{head}: {escape(value.drift or value.summary)}</div>"
        f"<table><tbody>{rows}</tbody></table>"
        f"{_table(rollouts.ANALYSIS_HEADINGS, measured) if measured else ''}{lines}"
    )


@html.register
def _(value: StatusList) -> str:
    if len(value.statuses) == 1:
        return html(value.statuses[0])
    if not value.statuses:
        return _pre(text(value))
    return _table(rollouts.STATUS_HEADINGS, rollouts.status_rows(value.statuses))


@html.register
def _(value: Scheduled) -> str:
    head = escape(schedules.headline(value))
    return f"<div><b>{head}</b></div>{_fact_table(schedules.facts(value))}"


@html.register
def _(value: Initialized) -> str:
    head = f"<b>{_marked(_GREEN, '✔ project')}</b> {escape(value.folder)}"
    facts = [
        ("settings", value.settings),
        ("GitOps", value.repository),
        ("made", ", ".join(value.created) or "nothing: everything was there already"),
    ]
    next_ = ("%mlops inspect NOTEBOOK", "%mlops train NOTEBOOK", "%mlops doctor")
    lines = ", ".join(f"<code>{line}</code>" for line in next_)
    return f"<div>{head}</div>{_fact_table(facts)}<div>→ {lines}</div>"


@html.register
def _(value: Merged) -> str:
    head = _marked(_GREEN, f"✔ {delivery.merged_how(value)}")
    pull = value.pull_request
    what = "".join(f"<div>{escape(said)}</div>" for said in delivery.merged_what(value))
    after = escape(delivery.watch_line(value.model, value.environment))
    what += f"<div>→ <code>{after}</code></div>" if value.has_cluster else ""
    return f"<div><b>{head}</b> {_link(pull.url, pull.title)}</div>{what}"


@html.register
def _(value: Verification) -> str:
    colour = _GREEN if value.passed else _RED
    head = f"<div><b>{_marked(colour, verification.headline(value))}</b></div>"
    parts = [
        f"<div>{escape(verification.subject(d))}</div>"
        f"{_table(verification.FINDING_HEADINGS, verification.finding_rows(d.findings))}"
        for d in value.deployments
    ]
    if value.findings:
        rows = verification.finding_rows(value.findings)
        parts.append(_table(verification.FINDING_HEADINGS, rows))
    return head + "".join(parts)


@html.register
def _(value: ScheduleList) -> str:
    if not value.schedules:
        return _pre(text(value))
    return _table(schedules.SCHEDULE_HEADINGS, schedules.schedule_rows(value.schedules))
