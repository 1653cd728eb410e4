"""Measurements are judged as Argo Rollouts judges them."""

from __future__ import annotations

import math

import pytest

from mlops_nb.core.analysis import (
    Metric,
    Phase,
    assess_metric,
    assess_run,
    evaluate,
    read_metrics,
    read_samples,
)
from mlops_nb.errors import UserError

OK, BAD, UNKNOWN, ERROR, RUNNING = (
    Phase.SUCCESSFUL,
    Phase.FAILED,
    Phase.INCONCLUSIVE,
    Phase.ERROR,
    Phase.RUNNING,
)
KNOWN = "len(result) > 0 && !isNaN(result[0]) && result[0]"
RESULTS: tuple[list[float], ...] = ([1.1], [2.0], [], [math.nan], [math.inf])


# Found with the expr library that Argo Rollouts itself evaluates conditions with.
@pytest.mark.parametrize(
    ("success", "failure", "expected"),
    [
        ("result[0] <= 1.2", "", (OK, BAD, ERROR, BAD, BAD)),
        ("", "result[0] > 1.2", (OK, BAD, ERROR, OK, BAD)),
        ("isNaN(result) || result[0] <= 1.2", "", (ERROR,) * 5),
        ("default(result, 0) <= 1.2", "", (ERROR,) * 5),
        ("len(result) == 0 || result[0] <= 1.2", "", (OK, BAD, OK, BAD, BAD)),
        (f"{KNOWN} <= 1.2", f"{KNOWN} > 1.2", (OK, BAD, UNKNOWN, UNKNOWN, BAD)),
        ("", "", (OK,) * 5),
    ],
)
def test_a_measurement_is_judged_as_the_controller_does(
    success: str, failure: str, expected: tuple[Phase, ...]
) -> None:
    judged = tuple(evaluate(result, success=success, failure=failure) for result in RESULTS)
    assert judged == expected


@pytest.mark.parametrize(
    "broken", ["", "result[0] <=", "result[0] 1", "(result[0] < 1", "result[0] <= 1 ; true"]
)
def test_a_condition_that_cannot_be_read_is_an_error_and_never_a_success(broken: str) -> None:
    assert evaluate([1.0], success=broken or "result") is Phase.ERROR
    assert evaluate([0.5], success="!(result[0] > 1e0) && -1 < result[0]") is Phase.SUCCESSFUL


METRIC = Metric(
    name="p95",
    count=5,
    failure_limit=1,
    inconclusive_limit=2,
    consecutive_error_limit=12,
    interval=15,
)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([], RUNNING),
        ([OK] * 4, RUNNING),
        ([OK] * 5, OK),
        ([OK, BAD, OK, OK, OK], OK),
        ([BAD, OK, BAD], BAD),
        ([BAD, OK, BAD, OK, OK], BAD),
        ([UNKNOWN, UNKNOWN, OK, OK, OK], OK),
        ([UNKNOWN] * 3, UNKNOWN),
        ([OK, *[ERROR] * 12], RUNNING),
        ([OK, *[ERROR] * 12, OK, *[ERROR] * 12, OK, OK, OK], OK),
        ([OK, *[ERROR] * 13], ERROR),
    ],
)
def test_a_metric_bears_as_much_as_its_limits_say(
    measured: list[Phase], expected: Phase
) -> None:
    assert assess_metric(METRIC, measured) is expected


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ({"a": OK, "b": OK}, OK),
        ({"a": OK, "b": RUNNING}, RUNNING),
        ({"a": BAD, "b": RUNNING}, BAD),
        ({"a": UNKNOWN, "b": BAD}, BAD),
        ({"a": UNKNOWN, "b": ERROR}, ERROR),
        ({"a": UNKNOWN, "b": OK}, UNKNOWN),
        ({"a": OK, "dry": BAD}, OK),
        ({"a": OK, "dry": RUNNING}, RUNNING),
        ({"dry": BAD}, OK),
    ],
)
def test_the_worst_metric_decides_and_one_that_is_observed_never_does(
    phases: dict[str, Phase], expected: Phase
) -> None:
    assert assess_run(phases, dry_run=["dry"]) is expected


def test_a_template_is_read_with_its_arguments_in_place() -> None:
    spec = {
        "args": [{"name": "limit", "value": "1.2"}, {"name": "hash"}],
        "dryRun": [{"metricName": "^p95$"}],
        "metrics": [
            {
                "name": "p95",
                "interval": "1m30s",
                "initialDelay": "{{args.limit}}s",
                "successCondition": "result[0] <= {{args.limit}}",
                "provider": {"prometheus": {"query": 'up{hash="{{ args.hash }}"}\n'}},
            },
            {"name": "once", "provider": {"job": {}}},
        ],
    }
    first, once = read_metrics(spec, {"hash": 'a"b'})
    assert first == Metric(
        name="p95",
        query='up{hash="a"b"}',
        success="result[0] <= 1.2",
        count=None,
        initial_delay=1.2,
        interval=90,
        is_dry_run=True,
    )
    assert once.count == 1
    with pytest.raises(UserError, match="'hash' of the analysis has no value"):
        read_metrics(spec, {})


def test_samples_are_read_and_an_error_is_not_taken_for_no_data() -> None:
    sample = {"metric": {}, "value": [1700000000, "NaN"]}
    answer = {"status": "success", "data": {"resultType": "vector", "result": [sample]}}
    assert math.isnan(read_samples(answer)[0])
    for broken in (
        {"status": "error", "error": "bad query"},
        {"status": "success", "data": {"resultType": "matrix", "result": []}},
    ):
        with pytest.raises(ValueError, match=r"bad query|no vector"):
            read_samples(broken)
