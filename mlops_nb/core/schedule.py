"""When a schedule starts runs: a crontab line, in words and in another time zone."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from datetime import UTC, timedelta, timezone
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, available_timezones

from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, tzinfo

_EVERY = "*"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS_IN_WORDS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_DAYS_IN_WORDS = (
    "Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays",
)  # fmt: skip
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_OFFSET = re.compile(r"(?i)UTC(?:(?P<sign>[+-])(?P<hours>\d{1,2})(?::(?P<minutes>\d\d))?)?")
# Offsets are compared once a week: no zone changes its clocks back and forth within one.
_COMPARED_WEEKS = 160
_MANY_TIMES = 4
_WEEK = 7
_MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    first_name: int = 0


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS, 1),
    _Field("day of week", 0, 7, _DAYS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """The times that a crontab line means.

    Args:
        text: the line as it was typed.
        minutes: minutes of the hour.
        hours: hours of the day.
        days: days of the month; None for every one.
        months: months of the year.
        weekdays: days of the week, 0 is Sunday; None for every one. A day need only be one of
            `days` or of `weekdays` where both are given.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...] | None
    months: tuple[int, ...]
    weekdays: tuple[int, ...] | None

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Read five fields, or a name such as `@daily`.

        Raises:
            UserError: if it cannot be read, or cron and its relatives read it differently.
        """
        text = " ".join(text.split())
        words = _ALIASES.get(text.lower(), text).split()
        if text.startswith("@") and len(words) != len(_FIELDS):
            raise UserError(
                f"cron {text!r}: there is no such name", hint=f"one of {', '.join(_ALIASES)}"
            )
        if len(words) != len(_FIELDS):
            raise _of_other_length(text, words)
        _check_days(text, words[2], words[4])
        minutes, hours, days, months, weekdays = (
            _values(text, field, word) for field, word in zip(_FIELDS, words, strict=True)
        )
        return cls(
            text=text,
            minutes=minutes,
            hours=hours,
            days=None if words[2] in {_EVERY, "*/1"} else days,
            months=months,
            weekdays=None
            if words[4] in {_EVERY, "*/1"}
            else tuple(sorted({d % _WEEK for d in weekdays})),
        )

    @property
    def six_fields(self) -> str:
        """The same times as Kubeflow writes them: seconds first, lists instead of names."""
        return " ".join(["0", *self.five_fields.split()])

    @property
    def five_fields(self) -> str:
        """The same times, every value written out."""
        return " ".join(
            (
                _written(self.minutes, 60),
                _written(self.hours, 24),
                _EVERY if self.days is None else _written(self.days),
                _written(self.months, 12),
                _EVERY if self.weekdays is None else _written(self.weekdays),
            )
        )

    def earlier(self, by: timedelta) -> Cron:
        """Give the line that means the same moments on clocks that are `by` behind.

        Raises:
            UserError: if no one line means them.
        """
        shift = int(by.total_seconds() // 60)
        if shift == 0:
            return self
        moved = [
            divmod(hour * 60 + minute - shift, _MINUTES_A_DAY)
            for hour in self.hours
            for minute in self.minutes
        ]
        times = {time for _, time in moved}
        hours = tuple(sorted({time // 60 for time in times}))
        minutes = tuple(sorted({time % 60 for time in times}))
        if len(hours) * len(minutes) != len(times):
            raise UserError(f"cron {self.text!r} would need several lines")
        there = replace(self, hours=hours, minutes=minutes)
        is_daily = self.days is None and self.weekdays is None and len(self.months) == 12
        shifted_days = {day for day, _ in moved}
        if is_daily or shifted_days == {0}:
            return there
        if len(shifted_days) > 1 or self.days is not None or len(self.months) < 12:
            raise UserError(f"cron {self.text!r} would fall on other days")
        (day,) = shifted_days
        weekdays = self.weekdays or ()
        return replace(there, weekdays=tuple(sorted((d + day) % _WEEK for d in weekdays)))

    def __str__(self) -> str:
        """Give the times in words: `at 03:00 on Mondays`."""
        return " ".join(filter(None, (self._time(), self._day(), self._month())))

    def _time(self) -> str:
        every_hour, every_minute = len(self.hours) == 24, len(self.minutes) == 60
        if every_hour and every_minute:
            return "every minute"
        if every_hour:
            step = _step(self.minutes, 60)
            if step:
                return f"every {step} minutes"
            return f"every hour at {_and([f':{m:02}' for m in self.minutes])}"
        hours, minutes = len(self.hours), len(self.minutes)
        if hours * minutes <= _MANY_TIMES:
            return f"at {_and([f'{h:02}:{m:02}' for h in self.hours for m in self.minutes])}"
        within = "every minute" if every_minute else f"at minutes {_ranges(self.minutes)}"
        if minutes == 1:
            step = _step(self.hours, 24)
            past = f" at :{self.minutes[0]:02}"
            if step:
                return f"every {step} hours{past if self.minutes[0] else ''}"
            within = f"at :{self.minutes[0]:02}"
        return f"{within} of hours {_ranges(self.hours)}"

    def _day(self) -> str:
        said = []
        if self.days is not None:
            said.append(f"on day {_ranges(self.days)} of the month")
        if self.weekdays == (1, 2, 3, 4, 5):
            said.append("on weekdays")
        elif self.weekdays is not None:
            said.append(f"on {_and([_DAYS_IN_WORDS[day] for day in self.weekdays])}")
        if not said:
            # "every 6 hours" is every day's already.
            return "daily" if len(self.hours) < 24 and not _step(self.hours, 24) else ""
        return " or ".join(said)

    def _month(self) -> str:
        if len(self.months) == 12:
            return ""
        return f"in {_and([_MONTHS_IN_WORDS[month - 1] for month in self.months])}"


def zone(name: str) -> tzinfo:
    """Give a time zone by name: `Europe/Berlin`, `UTC`, `UTC+1`, `UTC-03:30`.

    Raises:
        UserError: if there is none of this name.
    """
    if found := _OFFSET.fullmatch(name):
        sign = -1 if found["sign"] == "-" else 1
        minutes = int(found["hours"] or 0) * 60 + int(found["minutes"] or 0)
        if minutes <= 14 * 60:
            return timezone(sign * timedelta(minutes=minutes)) if minutes else UTC
    known = available_timezones()
    if name in known:
        return ZoneInfo(name)
    close = difflib.get_close_matches(name, known, n=1)
    raise UserError(
        f"there is no time zone {name!r}",
        hint=f"did you mean {close[0]}?" if close else "e.g. UTC, UTC+1 or Europe/Berlin",
    )


def convert(cron: Cron, here: str, there: str, now: datetime) -> Cron:
    """Give a line for a clock in zone `there` that means the same moments as `cron` in `here`.

    Args:
        cron: the times.
        here: time zone they are meant in.
        there: time zone of the clock that will read the line.
        now: the present; offsets are compared over the next three years.

    Raises:
        UserError: if no line means just these moments.
    """
    offsets = list(dict.fromkeys(_offsets(zone(here), zone(there), now)))
    try:
        lines = [cron.earlier(by) for by in offsets]
    except UserError as error:
        raise UserError(
            f"Kubeflow starts runs by a clock in {there}, and {cron.text!r} in {here} has no "
            f"equal there: {error.message}",
            hint=f"give the times in {there}: --timezone {there}; or in several schedules",
        ) from None
    if len({line.five_fields for line in lines}) == 1:
        return lines[0]
    said = " or ".join(f"{line.five_fields!r}" for line in lines)
    raise UserError(
        f"Kubeflow starts runs by a clock in {there}; {here} is now ahead of it by "
        f"{_told(offsets[0])}, in other months by {_told(offsets[1])}",
        hint=f"give the time in {there}, which does not change: --timezone {there} with --cron "
        f"{said}; or, where Kubeflow's CRON_SCHEDULE_TIMEZONE is {here}, set timezone = "
        f'"{here}" in [kubeflow]',
    )


def run_id(schedule: str, address: str) -> str:
    """Give the id, for people, of a run that a schedule started.

    Args:
        schedule: its name.
        address: the executor's id of the run.
    """
    return f"{schedule}-{address.replace('-', '')[:8]}"


def _offsets(one: tzinfo, other: tzinfo, now: datetime) -> Iterator[timedelta]:
    for week in range(_COMPARED_WEEKS):
        moment = now + timedelta(weeks=week)
        mine, yours = (moment.astimezone(clock).utcoffset() for clock in (one, other))
        yield (mine or timedelta()) - (yours or timedelta())


def _told(by: timedelta) -> str:
    minutes = int(by.total_seconds() // 60)
    sign = "-" if minutes < 0 else ""
    return f"{sign}{abs(minutes) // 60}:{abs(minutes) % 60:02}"


def _of_other_length(text: str, words: Sequence[str]) -> UserError:
    if len(words) == 6:
        return UserError(
            f"cron {text!r} has six fields",
            hint="the first of six are seconds, which schedules do not have; give five: "
            f"--cron '{' '.join(words[1:])}'",
        )
    return UserError(
        f"cron {text!r} has {len(words)} fields, not five",
        hint="minute, hour, day of month, month, day of week: '0 3 * * 1' is 03:00 on Mondays",
    )


def _check_days(text: str, days: str, weekdays: str) -> None:
    """Refuse what some crons read as `and`, others as `or`."""
    both = (days, weekdays)
    if any(word.startswith("*/") for word in both) and _EVERY not in both:
        raise UserError(
            f"cron {text!r}: crons differ on a step of days beside days of the other kind",
            hint="write the days out, e.g. 1,8,15,22,29, or leave one of the two fields *",
        )


def _values(text: str, field: _Field, word: str) -> tuple[int, ...]:
    found: set[int] = set()
    for item in word.split(","):
        span, slash, step = item.partition("/")
        low, dash, high = span.partition("-")
        if span == _EVERY:
            most = 6 if field.name == "day of week" else field.most
            first, last = field.least, most
        else:
            first = _value(text, field, low)
            last = _value(text, field, high) if dash else first
        if span == _EVERY and word != item:
            raise _wrong(text, field, word, "* stands alone")
        if slash and not dash and span != _EVERY:
            raise _wrong(text, field, word, f"a step needs a range: {low}-{field.most}/{step}")
        if slash and not (step.isdecimal() and int(step)):
            raise _wrong(text, field, word, "a step is a number above 0")
        if first > last:
            raise _wrong(text, field, word, "a range goes from the lower to the higher")
        found |= set(range(first, last + 1, int(step) if slash else 1))
    return tuple(sorted(found))


def _value(text: str, field: _Field, word: str) -> int:
    if word.lower() in field.names:
        return field.names.index(word.lower()) + field.first_name
    if not word.isdecimal() or not field.least <= int(word) <= field.most:
        raise _wrong(
            text, field, word or "nothing", f"it goes from {field.least} to {field.most}"
        )
    return int(word)


def _wrong(text: str, field: _Field, word: str, hint: str) -> UserError:
    return UserError(f"cron {text!r}: {field.name} cannot be {word}", hint=hint)


def _written(values: Sequence[int], every: int = 0) -> str:
    return _EVERY if len(values) == every else ",".join(map(str, values))


def _step(values: Sequence[int], of: int) -> int:
    """Give n if the values are every nth from 0 on; 0 if they are not."""
    step = values[1] if len(values) > 1 else 0
    return step if step > 1 and tuple(values) == tuple(range(0, of, step)) else 0


def _and(words: Sequence[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last


def _ranges(values: Sequence[int]) -> str:
    """Give numbers with runs of them folded: `1-5, 9`."""
    folded: list[list[int]] = []
    for value in values:
        if folded and value == folded[-1][-1] + 1:
            folded[-1].append(value)
        else:
            folded.append([value])
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in folded
    )
