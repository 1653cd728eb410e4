"""Crontab lines: read, told in words, moved to another time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from croniter import croniter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlops_nb.adapters.crontab import upcoming
from mlops_nb.core.schedule import Cron, convert, run_id, zone
from mlops_nb.errors import UserError

NOW = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
TIMES = 20


def field(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    # croniter takes 0-0 for the whole week; cron itself for Sunday.
    ends = st.sets(number, min_size=2, max_size=2).map(sorted)
    span = ends.map(lambda both: f"{both[0]}-{both[1]}")
    step = st.integers(1, most)
    stepped = st.tuples(span, step).map(lambda pair: f"{pair[0]}/{pair[1]}")
    items = st.lists(st.one_of(number.map(str), span, stepped), min_size=1, max_size=3)
    return st.one_of(
        st.just("*"), step.map(lambda n: f"*/{n}"), number.map(str), items.map(",".join)
    )


LINES = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)).map(
    " ".join
)


def read(line: str) -> Cron:
    """Read a line; one on which crons differ is none for these tests."""
    try:
        return Cron.parse(line)
    except UserError as error:
        assert "crons differ" in error.message  # noqa: PT017  # any other refusal is a failure
        assume(False)
        raise


def times(line: str, begin: datetime, *, seconds: bool = False) -> list[datetime]:
    found = croniter(line, begin, second_at_beginning=seconds)
    try:
        return [found.get_next(datetime).astimezone(UTC) for _ in range(TIMES)]
    except ValueError:
        # Such as 31 February.
        assume(False)
        raise


@given(LINES)
@settings(deadline=None)
def test_six_fields_mean_the_same_times_as_the_line(line: str) -> None:
    cron = read(line)
    assert len(cron.six_fields.split()) == 6
    assert times(cron.six_fields, NOW, seconds=True) == times(line, NOW)


@given(LINES, st.integers(-14 * 4, 14 * 4))
@settings(deadline=None)
def test_a_line_moved_to_utc_means_the_same_times(line: str, quarters: int) -> None:
    clock = timezone(timedelta(minutes=15 * quarters))
    name = f"UTC{'-' if quarters < 0 else '+'}{abs(quarters) // 4}:{abs(quarters) % 4 * 15:02}"
    try:
        moved = convert(read(line), name, "UTC", NOW)
    except UserError:
        assume(False)
        raise
    assert times(moved.six_fields, NOW, seconds=True) == times(line, NOW.astimezone(clock))


@pytest.mark.parametrize(
    ("line", "here", "there"),
    [
        ("0 3 * * *", "UTC+1", "0 2 * * *"),
        ("30 0 * * *", "UTC+1", "30 23 * * *"),
        ("30 0 * * 1", "UTC+1", "30 23 * * 0"),
        ("0 23 * * 0", "UTC-3", "0 2 * * 1"),
        ("0 3 * * mon", "Asia/Kolkata", "30 21 * * 0"),
        ("15 * * * *", "Europe/Berlin", "15 * * * *"),
        ("*/30 * * * *", "Asia/Kolkata", "0,30 * * * *"),
        ("0 12 1 * *", "UTC+1", "0 11 1 * *"),
        ("@weekly", "UTC", "0 0 * * 0"),
    ],
)
def test_a_line_in_another_zone_becomes_one_in_utc(line: str, here: str, there: str) -> None:
    assert convert(Cron.parse(line), here, "UTC", NOW).five_fields == there


@pytest.mark.parametrize(
    ("line", "here", "words"),
    [
        ("0 0 1 * *", "UTC+1", "would fall on other days"),
        ("0 0 * 6 *", "UTC+1", "would fall on other days"),
        ("0 0,12 * * 1", "UTC+1", "would fall on other days"),
        ("10,50 9-10 * * *", "UTC+5:30", "would need several lines"),
        ("0 3 * * *", "Europe/Berlin", "is now ahead of it by 1:00, in other months by 2:00"),
        ("0 3 * * *", "America/New_York", "ahead of it by -5:00, in other months by -4:00"),
    ],
)
def test_what_no_line_in_utc_means_is_refused_in_words(
    line: str, here: str, words: str
) -> None:
    with pytest.raises(UserError, match=words) as error:
        convert(Cron.parse(line), here, "UTC", NOW)
    assert "--timezone UTC" in error.value.hint


def test_a_changing_zone_is_told_what_to_type_instead() -> None:
    with pytest.raises(UserError) as error:
        convert(Cron.parse("0 3 * * 1"), "Europe/Berlin", "UTC", NOW)
    assert "'0 2 * * 1' or '0 1 * * 1'" in error.value.hint
    assert 'timezone = "Europe/Berlin" in [kubeflow]' in error.value.hint


def test_zones_that_change_together_need_no_conversion() -> None:
    line = Cron.parse("0 3 1 * *")
    assert convert(line, "Europe/Berlin", "Europe/Paris", NOW) == line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 3 * * 1", "at 03:00 on Mondays"),
        ("0 3 * * *", "at 03:00 daily"),
        ("30 8,20 * * mon-fri", "at 08:30 and 20:30 on weekdays"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/15 * * * 7", "every 15 minutes on Sundays"),
        ("5 * * * *", "every hour at :05"),
        ("* * * * *", "every minute"),
        ("0 */2 * * *", "every 2 hours"),
        ("0 9-17 * * *", "at :00 of hours 9-17 daily"),
        ("0 3 1 1,7 *", "at 03:00 on day 1 of the month in January and July"),
        ("0 3 13 * 5", "at 03:00 on day 13 of the month or on Fridays"),
        ("@hourly", "every hour at :00"),
        ("@daily", "at 00:00 daily"),
    ],
)
def test_a_line_in_words(line: str, words: str) -> None:
    assert str(Cron.parse(line)) == words


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("0 0 3 * * 1", "has six fields", "--cron '0 3 * * 1'"),
        ("0 3 * *", "has 4 fields, not five", "03:00 on Mondays"),
        ("", "has 0 fields", "minute, hour"),
        ("@reboot", "there is no such name", "@daily"),
        ("@every 5m", "there is no such name", "@daily"),
        ("60 3 * * *", "minute cannot be 60", "from 0 to 59"),
        ("0 3 * * mun", "day of week cannot be mun", "from 0 to 7"),
        ("0 3 * * 5-1", "day of week cannot be 5-1", "from the lower to the higher"),
        ("5/15 * * * *", "minute cannot be 5/15", "5-59/15"),
        ("*/0 * * * *", "minute cannot be */0", "above 0"),
        ("*,5 * * * *", "minute cannot be *,5", "* stands alone"),
        ("0 3 L * *", "day of month cannot be L", "from 1 to 31"),
        ("0 3 1, * *", "day of month cannot be nothing", "from 1 to 31"),
        ("0 3 */2 * 1", "crons differ", "write the days out"),
        ("0 3 1 * */2", "crons differ", "write the days out"),
    ],
)
def test_a_wrong_line_is_refused_in_words(line: str, message: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        Cron.parse(line)
    assert message in error.value.message
    assert hint in error.value.hint


def test_zones_by_name_and_by_offset() -> None:
    assert NOW.astimezone(zone("utc")).hour == 14
    assert NOW.astimezone(zone("UTC+5:30")).hour == 20
    assert NOW.astimezone(zone("UTC-3")).hour == 11
    assert NOW.astimezone(zone("Europe/Berlin")).hour == 15
    for wrong in ("Europe/Berln", "UTC+15"):
        with pytest.raises(UserError, match="there is no time zone"):
            zone(wrong)


def test_the_next_times_are_in_the_zone_and_keep_to_its_clock() -> None:
    before = datetime(2026, 3, 27, 12, tzinfo=UTC)
    found = upcoming("0 3 * * *", "Europe/Berlin", before, 3)
    assert [time.isoformat() for time in found] == [
        "2026-03-28T03:00:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T03:00:00+02:00",
    ]


def test_a_line_that_never_comes_true_is_refused() -> None:
    with pytest.raises(UserError, match="'0 0 30 2 \\*' never comes true"):
        upcoming("0 0 30 2 *", "UTC", NOW, 1)


def test_runs_of_a_schedule_bear_its_name() -> None:
    address = "0b51a3c2-77aa-4d0e-8f3b-1d2c3b4a5f60"
    assert run_id("nightly", address) == "nightly-0b51a3c2"
