"""Runs, sweeps and comparisons as plain text."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from mlops_nb.core.quantity import format_size
from mlops_nb.core.results import (
    Comparison,
    Deleted,
    Rendered,
    RunList,
    SweepResult,
)
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.sweep import parse_best
from mlops_nb.display.plain import (
    MARKS,
    cell,
    code,
    gates,
    number,
    parts,
    text,
    took,
    valued,
    when,
)
from mlops_nb.display.tables import table, wrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def _facts(run: Run) -> list[tuple[str, str]]:
    cells = f"{run.cells_done}/{run.cells}" if run.cells else ""
    datasets = "; ".join(f"{d.name} = {d.uri} ({d.digest[:19]}…)" for d in run.datasets)
    facts = [
        ("notebook", run.notebook),
        ("started", f"{when(run.started)}, took {took(run)}" if run.started else ""),
        (f"{parts(run)}s", cells),
        ("cached", f"the result of {run.cached_from}" if run.cached_from else ""),
        ("doing", run.doing),
        ("peak memory", format_size(run.peak_memory) if run.peak_memory else ""),
        ("resources", resources(run)),
        ("parameters", _given(run.parameters)),
        ("defaults", _given(run.defaults)),
        ("data", datasets),
        ("commit", code(run)),
        ("metrics", ", ".join(f"{k} {number(v)}" for k, v in sorted(run.metrics.items()))),
        ("model", run.model),
        ("pull request", f"#{run.pull_request}" if run.pull_request else ""),
        ("output", f"mlops logs {run.id}" if run.failure and run.failure.cell else ""),
        ("last line", "" if run.state.is_final else run.last_line),
        ("page", run.url),
        ("folder", run.directory),
        ("MLflow run", run.tracking_id),
    ]
    return [(name, value) for name, value in facts if value]


def _given(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={cell(value)}" for name, value in values.items())


@text.register(Run)
def _(value: Run) -> str:
    return _told(value)


def resources(run: Run) -> str:
    """Give what a run was given of a cluster, and what it used of it."""
    given = run.placement
    if not given.on:
        return ""
    said = [f"profile {given.profile}" if given.profile else ""]
    if given.memory:
        said.append(format_size(given.memory))
    if given.gpu:
        hours = given.gpu * run.pod_seconds / 3600
        said.append(f"{given.gpu} GPU" + (f" ({hours:.2g} GPU-hours)" if hours else ""))
    return ", ".join(filter(None, said))


def _told(value: Run) -> str:
    lines = [f"{MARKS[value.state]} {value.id} {value.state}"]
    if value.failure:
        lines.append(f"  {value.failure.reason}")
        if value.failure.hint:
            lines.append(f"  → {value.failure.hint}")
    for name, fact in _facts(value):
        first = f"  {name:<12} "
        may_fold = name in {"parameters", "defaults", "data", "metrics"}
        lines.append(wrap(fact, first=first, indent=" " * 15) if may_fold else first + fact)
    if value.judged_last:
        lines += ["", gates(value.judged_last, "  ")]
    return "\n".join(lines)


RUN_HEADINGS = ("run", "state", "notebook", "started", "took", "metrics", "gates", "model")


def run_row(run: Run) -> tuple[str, ...]:
    """Give a run as a row of a list."""
    verdict = run.judged_last
    gates = "" if verdict is None else ("passed" if verdict.passed else "refused")
    metrics = ", ".join(f"{k} {number(v)}" for k, v in sorted(run.metrics.items())[:3])
    return (
        run.id,
        standing(run),
        _notebook(run),
        when(run.started),
        took(run),
        metrics,
        gates,
        run.model,
    )


def _notebook(run: Run) -> str:
    name = run.notebook.rpartition("/")[2]
    return f"sweep of {run.children}: {name}" if run.children else name


@text.register(RunList)
def _(value: RunList) -> str:
    if not value.runs:
        return "no runs; start one: mlops train NOTEBOOK"
    rows = [run_row(run) for run in value.runs]
    names = [run.notebook.rpartition("/")[2].removesuffix(".ipynb") for run in value.runs]
    if all(row[0].startswith(name.lower()) for row, name in zip(rows, names, strict=True)):
        # The ids tell the notebooks.
        rows = [
            (*row[:2], row[2].partition(": ")[0] if run.children else "", *row[3:])
            for row, run in zip(rows, value.runs, strict=True)
        ]
    older = f"\nolder ones: --after {value.next}" if value.next else ""
    return table(RUN_HEADINGS, rows) + older


@text.register(Deleted)
def _(value: Deleted) -> str:
    count = f"{len(value.runs)} runs: " if len(value.runs) > 1 else ""
    ids = " ".join(value.runs)
    if value.is_restored:
        return f"brought back {count}{ids}; directories on this machine stay deleted"
    said = [f"deleted {count}{ids}"]
    if kept := [run for run in value.runs if run not in value.lost]:
        said.append(f"bring back: mlops delete --restore {' '.join(kept)}")
    if value.lost:
        said.append(f"nothing was recorded of {' '.join(value.lost)}: gone for good")
    return "\n".join(said)


def standing(run: Run) -> str:
    """Give a run's state, and how many of its cells are done while it runs."""
    cells = f" {run.cells_done}/{run.cells}" if run.cells and not run.state.is_final else ""
    state = "waiting" if run.parent and run.state is RunState.QUEUED else run.state
    return f"{MARKS[run.state]} {state}{cells}"


def side_by_side(runs: Sequence[Run], best: str = "") -> tuple[list[str], list[list[str]]]:
    """Give one row a run: parameters that differ, defaults marked, then metrics."""
    names = _names(runs)
    differing = [n for n in names if len(_values(runs, n)) > 1 or len(runs) == 1]
    metrics = sorted({name for run in runs for name in run.metrics})
    notebooks = {run.notebook for run in runs}
    rows = [
        [
            run.id + (" ★" if run.id == best else ""),
            standing(run),
            *([run.notebook.rpartition("/")[2]] if len(notebooks) > 1 else []),
            *(valued(run, n) for n in differing),
            *(number(run.metrics.get(m)) for m in metrics),
        ]
        for run in runs
    ]
    notebook = ["notebook"] if len(notebooks) > 1 else []
    return ["run", "state", *notebook, *differing, *metrics], rows


def shared(runs: Sequence[Run]) -> str:
    """Give the parameters that are the same in all of several runs, as `lr=0.1, depth=3`."""
    if len(runs) < 2:
        return ""
    same = [name for name in _names(runs) if len(_values(runs, name)) == 1]
    # Where one was given what is the others' default, the value is all there is to say.
    said = {name: min((valued(run, name) for run in runs), key=len) for name in same}
    return ", ".join(f"{name}={value}" for name, value in said.items())


def _names(runs: Sequence[Run]) -> list[str]:
    """Give the parameters of several runs, those that were given first."""
    given = [name for run in runs for name in run.parameters]
    return list(dict.fromkeys([*given, *(name for run in runs for name in run.defaults)]))


def _values(runs: Sequence[Run], name: str) -> set[str | None]:
    """Give the values that runs have of a parameter; None stands for those that have none."""
    every = [
        {**run.defaults, **run.parameters}
        for run in runs
        if name in run.parameters or name in run.defaults or run.state.is_final
    ]
    return {cell(values[name]) if name in values else None for values in every}


def lacking(value: SweepResult) -> str:
    """Say that no child logged the metric by which the best was to be told; else nothing."""
    if not value.run.best or value.best or not value.run.state.is_final:
        return ""
    metric = parse_best(value.run.best).metric
    logged = sorted({name for child in value.children for name in child.metrics})
    close = difflib.get_close_matches(metric, logged, n=1)
    said = f"did you mean {close[0]}?" if close else f"logged: {', '.join(logged) or 'none'}"
    return f"no best child: none that succeeded logged {metric!r}; {said}"


@text.register(Rendered)
def _(value: Rendered) -> str:
    return "\n".join(f"# {name}\n{content}" for name, content in value.files.items())


@text.register(Comparison)
def _(value: Comparison) -> str:
    same = shared(value.runs)
    rows = table(*side_by_side(value.runs))
    return f"{rows}\n{wrap(same, first='the same in all: ', indent='    ')}" if same else rows


@text.register(SweepResult)
def _(value: SweepResult) -> str:
    lines = [_told(value.run), "", table(*side_by_side(value.children, value.best))]
    lines += [
        wrap(child.failure.reason, first=f"✘ {child.id}: ", indent="    ")
        for child in value.children
        if child.failure
    ]
    if value.best:
        lines.append(f"★ best: {value.best}")
    if said := lacking(value):
        lines.append(said)
    return "\n".join(lines)
