"""Runs, sweeps and comparisons as plain text."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from mlops_nb.core.quantity import format_size
from mlops_nb.core.results import (
    Comparison,
    Rendered,
    RunList,
    SweepResult,
)
from mlops_nb.core.run import Run
from mlops_nb.core.sweep import parse_best
from mlops_nb.display.plain import MARKS, cell, gates, number, text, took, when
from mlops_nb.display.tables import table, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence


def _facts(run: Run, parts: str) -> list[tuple[str, str]]:
    cells = f"{run.cells_done}/{run.cells}" if run.cells else ""
    datasets = "; ".join(f"{d.name} = {d.uri} ({d.digest[:19]}…)" for d in run.datasets)
    facts = [
        ("notebook", run.notebook),
        ("started", f"{when(run.started)}, took {took(run)}" if run.started else ""),
        (parts, cells),
        ("cached", f"the result of {run.cached_from}" if run.cached_from else ""),
        ("doing", run.doing),
        ("peak memory", format_size(run.peak_memory) if run.peak_memory else ""),
        ("resources", resources(run)),
        ("parameters", ", ".join(f"{k}={cell(v)}" for k, v in run.parameters.items())),
        ("data", datasets),
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


@text.register(Run)
def _(value: Run) -> str:
    return _told(value, "cells")


def resources(run: Run) -> str:
    """Give what a run was given of a cluster, and what it used of it."""
    given = run.placement
    if not given.on:
        return ""
    said = [f"profile {given.profile}" if given.profile else ""]
    if given.memory:
        said.append(format_size(given.memory))
    if given.gpu:
        hours = 0.0
        if run.started and run.ended:
            hours = given.gpu * (run.ended - run.started).total_seconds() / 3600
        said.append(f"{given.gpu} GPU" + (f" ({hours:.2g} GPU-hours)" if hours else ""))
    return ", ".join(filter(None, said))


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
        lines += ["", gates(value.verdict, "  ")]
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


@text.register(RunList)
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


def shared(runs: Sequence[Run]) -> str:
    """Give the parameters that are the same in all of several runs, as `lr=0.1, depth=3`."""
    if len(runs) < 2:
        return ""
    first, *rest = runs
    same = {
        name: value
        for name, value in first.parameters.items()
        if all(cell(run.parameters.get(name)) == cell(value) for run in rest)
    }
    return ", ".join(f"{name}={cell(value)}" for name, value in same.items())


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
    lines = [_told(value.run, "runs"), "", table(*side_by_side(value.children, value.best))]
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
