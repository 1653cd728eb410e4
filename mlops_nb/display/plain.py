"""Domain values as plain text."""

from __future__ import annotations

import json
from datetime import datetime
from functools import singledispatch
from typing import TYPE_CHECKING

from mlops_nb.core.events import (
    Doing,
    Judged,
    MetricLogged,
    Note,
    Progress,
    Proposed,
    Registered,
    RolloutMoved,
    RunMoved,
)
from mlops_nb.core.gate import Outcome, Verdict
from mlops_nb.core.notebook import Notebook
from mlops_nb.core.quantity import format_duration, format_size
from mlops_nb.core.results import (
    Diagnosis,
    Initialized,
)
from mlops_nb.core.rollout import Stage
from mlops_nb.core.run import Run, RunState
from mlops_nb.display.tables import table, wrap

if TYPE_CHECKING:
    from mlops_nb.core.events import Event
    from mlops_nb.core.rollout import Status

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


def valued(run: Run, name: str) -> str:
    """Give a run's value of a parameter, marked where it is the notebook's own."""
    if name in run.parameters:
        return cell(run.parameters[name])
    return f"{cell(run.defaults[name])} (default)" if name in run.defaults else ""


def code(run: Run) -> str:
    """Give the commit a run was made from, or why there is none."""
    commit, mark, _ = run.code_commit.partition("-dirty")
    said = [commit[:12] + (", with changes that were not committed" if mark else "")]
    if run.code_note:
        said.append(run.code_note if commit else f"none: {run.code_note}")
    return "; ".join(filter(None, said))


def parts(run: Run) -> str:
    """Give the word for what a run consists of."""
    return "run" if run.children else "cell"


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
        case Doing() | Note():
            return f"  {event.text}"
        case MetricLogged():
            return f"  {event.name} = {number(event.value)}"
        case Judged():
            checks = event.verdict.checks
            passed = sum(check.outcome is Outcome.PASSED for check in checks)
            return f"  {passed} of {len(checks)} gates passed"
        case Registered():
            return f"✔ registered {event.model}"
        case Proposed():
            where = f" → {event.environment}" if event.environment else ""
            return f"✔ pull request #{event.pull_request}: {event.model}{where}"
        case RolloutMoved():
            return moved(event.status)


STAGE_MARKS = {
    Stage.UNDEPLOYED: "–",
    Stage.UNSEEN: "–",
    Stage.SYNCING: "…",
    Stage.STARTING: "…",
    Stage.CANARY: "▶",
    Stage.PAUSED: "■",
    Stage.ABORTED: "✘",
    Stage.DEGRADED: "✘",
    Stage.HEALTHY: "✔",
}


def moved(status: Status) -> str:
    """Give where a deployment stands as one line."""
    return f"{STAGE_MARKS[status.stage]} {status.where} {status.stage}: {status.summary}"


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


def gates(verdict: Verdict, indent: str = "") -> str:
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
    return gates(value)


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
