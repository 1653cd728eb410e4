"""Schedules, and what was ejected, as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.recurring import Scheduled, ScheduleList, ScheduleState
from mlops_nb.core.results import Ejected
from mlops_nb.display.plain import MARKS, text
from mlops_nb.display.tables import table, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


SCHEDULE_HEADINGS = ("schedule", "state", "notebook", "runs", "next", "last run", "takes")
_MARKS = {
    ScheduleState.ACTIVE: "▶",
    ScheduleState.PAUSED: "■",
    ScheduleState.DELETED: "✔",
}


def schedule_rows(schedules: Sequence[Scheduled]) -> list[tuple[str, ...]]:
    """Give one row a schedule."""
    return [
        (
            s.name,
            f"{_MARKS[s.state]} {s.state}",
            s.request.notebook,
            s.when,
            clock(s.next[0]) if s.next else "–",
            f"{MARKS[s.last_state]} {s.last_run} {s.last_state}" if s.last_state else "–",
            takes(s),
        )
        for s in schedules
    ]


def clock(time: datetime) -> str:
    """Give a time in its own zone, to the minute."""
    return time.strftime("%a %Y-%m-%d %H:%M")


def takes(scheduled: Scheduled) -> str:
    """Say which state of the notebook a schedule's runs take."""
    return "latest" if scheduled.request.latest else "pinned"


def facts(scheduled: Scheduled) -> list[tuple[str, str]]:
    """Give what is to be told of a schedule."""
    request = scheduled.request
    given = {
        "parameters": ", ".join(f"{key}={value}" for key, value in request.parameters.items()),
        "data": ", ".join(f"{key}={uri}" for key, uri in request.data.items()),
        "gates": "; ".join(request.gates),
        "register": request.register,
        "deploy": request.deploy,
        "last run": f"{scheduled.last_run} {scheduled.last_state or ''}".strip(),
    }
    return [
        ("notebook", f"{request.notebook}, {takes(scheduled)}"),
        ("runs", scheduled.when + (", missed times too" if request.catchup else "")),
        ("next", ", ".join(clock(time) for time in scheduled.next)),
        *((name, value) for name, value in given.items() if value),
    ]


def headline(scheduled: Scheduled) -> str:
    """Say in one line what became of a schedule."""
    if scheduled.state is ScheduleState.DELETED:
        how = "deleted; its runs stay"
    elif scheduled.is_new:
        how = "made"
    elif scheduled.changes:
        how = "changed: " + "; ".join(scheduled.changes)
    else:
        how = f"is {scheduled.state}"
    return f"{_MARKS[scheduled.state]} schedule {scheduled.name} {how}"


@text.register(Scheduled)
def _(value: Scheduled) -> str:
    lines = [wrap(headline(value), first="", indent="    ")]
    lines += [f"  {name:<12} {said}" for name, said in facts(value) if said]
    return "\n".join(lines)


@text.register(ScheduleList)
def _(value: ScheduleList) -> str:
    if not value.schedules:
        return "no schedules; make one: mlops schedule NOTEBOOK --cron '0 3 * * 1'"
    return table(SCHEDULE_HEADINGS, schedule_rows(value.schedules))


@text.register(Ejected)
def _(value: Ejected) -> str:
    typed = "\n".join(f"  {command}" for command in value.commands)
    files = "\n".join(f"  {path}" for path in value.files)
    return f"✔ {value.folder}\n{files}\nnext, in that folder:\n{typed}"
