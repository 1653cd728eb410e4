from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.core.quantity import format_duration, format_size, parse_duration, parse_size
from mlops_nb.errors import UserError

# A busy machine is no failure.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("1.5", 1.5), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400),
        ("2d", 172800), ("1d2h3m4s", 93784), (" 2H ", 7200), ("0.1s", 0.1),
    ],
)  # fmt: skip
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "0m", "-5", "-5m", "m", "5x", "30m1h", "1h1h", "1h 30m", "1h30", "1e3", "nan",
     "inf", "9" * 400, "\uff19\uff10", "soon"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match="is not a duration") as caught:
        parse_duration(text)

    assert repr(text) in caught.value.message
    assert "1h30m" in caught.value.hint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (-3, "0s"), (0.04, "0s"), (0.44, "0.4s"), (4, "4s"), (9.94, "9.9s"),
        (9.96, "10s"), (59.6, "1m"), (185, "3m5s"), (5400, "1h30m"), (90061, "1d1h1m1s"),
    ],
)  # fmt: skip
def test_durations_are_written(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(1, 10**9))
def test_whole_seconds_survive_writing_and_reading(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.floats(0.1, 1e9))
def test_any_duration_is_read_back_to_the_second(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=0.51)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1), ("512MB", 512 * 10**6), ("512mb", 512 * 10**6), ("2GiB", 2 * 2**30),
        ("24Gi", 24 * 2**30), ("1.5 GiB", 3 * 2**29), ("1G", 10**9), ("64k", 64000),
        ("64Ki", 65536), ("100B", 100), ("1TiB", 2**40), ("0.1GB", 10**8),
    ],
)  # fmt: skip
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "0", "0GB", "-1GB", "GB", "5i", "5iB", "5XB", "1e9", "0.2B", "lots", "1 GB 2 MB"],
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match="is not a size") as caught:
        parse_size(text)

    assert repr(text) in caught.value.message
    assert "2GiB" in caught.value.hint


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (3 * 2**29, "1.5 GiB"),
        (2**30 - 1, "1024 MiB"), (2**50 * 20000, "20000 PiB"),
    ],
)  # fmt: skip
def test_sizes_are_written(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(1, 2**60))
def test_a_size_is_read_back_to_four_digits(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=6e-4, abs=1)


@given(st.text())
def test_any_other_text_is_a_user_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            assert parse(text) > 0
        except UserError as error:
            assert error.hint  # noqa: PT017  # either outcome is right; no other one is
