"""When a recurring run is due: cron and periods, with and without catching up."""

from __future__ import annotations

import importlib
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from mlops_nb.dev.kubeflow.clock import parse
from mlops_nb.dev.kubeflow.refusal import invalid

if TYPE_CHECKING:
    from mlops_nb.dev.kubeflow.options import Json

_NEVER = float("inf")
_PLACEHOLDER = re.compile(r"\[\[(ScheduledTime|CurrentTime|Index|RunUUID)\]\]")


def _croniter() -> Any:
    """Load the cron library, which is there only where schedules are rehearsed."""
    try:
        return importlib.import_module("croniter").croniter
    except ImportError:
        raise invalid("cron schedules need the package croniter, which is not there") from None


def check(trigger: Json) -> None:
    """Refuse a trigger that would never run, or that could not be read."""
    kinds = [kind for kind in ("cron_schedule", "periodic_schedule") if kind in trigger]
    if len(kinds) != 1:
        raise invalid("a trigger needs one of cron_schedule and periodic_schedule")
    schedule = trigger[kinds[0]]
    for name in ("start_time", "end_time"):
        if name in schedule:
            parse(schedule[name], name)
    if kinds == ["periodic_schedule"]:
        interval = str(schedule.get("interval_second", ""))
        if not interval.isdigit() or int(interval) < 1:
            text = "Set at interval to least 1 second"
            raise invalid(f"Found invalid period schedule interval {interval}. {text}")
        return
    expression = _expression(schedule.get("cron", ""))
    if not _croniter().is_valid(expression, second_at_beginning=True):
        raise invalid(f"Schedule cron is not supported: {schedule.get('cron', '')!r}")


def _expression(cron: str) -> str:
    """Read cron as robfig/cron 1 does: six fields, seconds first; the last may be missing.

    Five fields are therefore seconds, minutes, hours, days and months, not the usual crontab.
    """
    words = cron.split()
    if len(words) == 1 and cron.startswith("@") and not cron.startswith("@every"):
        return cron
    if len(words) not in (5, 6):
        text = f"Expected 5 to 6 fields, found {len(words)}: {cron}"
        raise invalid(f"Schedule cron is not supported: {text}")
    return " ".join([*words, "*"][:6])


def due(trigger: Json, last: float, now: float, zone: str, *, catchup: bool) -> float:
    """Give the time of the next run; infinity if there is none.

    Args:
        trigger: when to run.
        last: the time of the last run, or when the schedule was made.
        now: the present.
        zone: the time zone that cron means.
        catchup: whether every missed run is made up for, or the latest one alone.
    """
    schedule = trigger.get("cron_schedule") or trigger["periodic_schedule"]
    start = parse(schedule["start_time"], "start_time") if "start_time" in schedule else 0.0
    end = parse(schedule["end_time"], "end_time") if "end_time" in schedule else _NEVER
    moment = _after(schedule, max(last, start), zone)
    if moment > end:
        return _NEVER
    while not catchup:
        following = _after(schedule, moment, zone)
        if following > min(now, end):
            break
        moment = following
    return moment


def _after(schedule: Json, moment: float, zone: str) -> float:
    if "interval_second" in schedule:
        return moment + int(schedule["interval_second"])
    begin = datetime.fromtimestamp(int(moment), ZoneInfo(zone))
    times = _croniter()(_expression(schedule["cron"]), begin, second_at_beginning=True)
    return float(times.get_next(float))


def filled(parameters: Json, moment: float, now: float, index: int, run_id: str) -> Json:
    """Put the time of a scheduled run in place of the placeholders for it."""
    known = {
        "ScheduledTime": datetime.fromtimestamp(moment, ZoneInfo("UTC")).strftime(
            "%Y%m%d%H%M%S"
        ),
        "CurrentTime": datetime.fromtimestamp(now, ZoneInfo("UTC")).strftime("%Y%m%d%H%M%S"),
        "Index": str(index),
        "RunUUID": run_id,
    }
    return {
        name: _PLACEHOLDER.sub(lambda found: known[found[1]], value)
        if isinstance(value, str)
        else value
        for name, value in parameters.items()
    }
