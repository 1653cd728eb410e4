"""DORA's four figures, held to cases reckoned by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.core.delivery import Deployed
from mlops_nb.core.dora import Dora, DoraReport, Times, figures
from mlops_nb.display import html, sheet, text
from mlops_nb.errors import UserError
from mlops_nb.grammar import parse

DAY = 86_400.0
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def moved(action: str, days: float, version: int, previous: int, model: str = "m") -> Deployed:
    return Deployed(
        when=ago(days),
        action=action,
        environment="prod",
        model=model,
        version=version,
        previous=previous,
        requested_by="Ann",
        merged_by="Bob",
    )


def reckon(*story: Deployed, days: float = 28, aborted: tuple[int, ...] = ()) -> DoraReport:
    return figures(
        sorted(story, key=lambda each: each.when, reverse=True),
        since=ago(days),
        until=NOW,
        registered={("m", 1): ago(21), ("m", 2): ago(12), ("m", 3): ago(6)},
        aborted={("m", "prod", version) for version in aborted},
    )


def test_a_month_with_one_version_taken_back() -> None:
    report = reckon(
        moved("deploy", 20, 1, 0),
        moved("deploy", 10, 2, 1),
        moved("rollback", 9.5, 1, 2),
        moved("deploy", 5, 3, 1),
        moved("edit", 4, 3, 3),
    )
    assert report.rows == (
        Dora(
            model="m",
            environment="prod",
            deployments=3,
            per_week=0.75,
            lead_time=Times(count=3, median=DAY),
            failed=1,
            fail_rate=1 / 3,
            recovery=Times(count=1, median=DAY / 2),
            unrecovered=0,
        ),
    )
    assert report.total.failed == 1


def test_an_aborted_canary_failed_and_what_replaced_it_ended_that() -> None:
    first, bad = moved("deploy", 20, 1, 0), moved("deploy", 10, 2, 1)
    (row,) = reckon(first, bad, aborted=(2,)).rows
    assert (row.failed, row.unrecovered, row.recovery.median) == (1, 1, None)
    (row,) = reckon(first, bad, moved("deploy", 8, 3, 2), aborted=(2,)).rows
    assert (row.failed, row.unrecovered, row.recovery.median) == (1, 0, 2 * DAY)
    (row,) = reckon(first, bad, moved("rollback", 9, 1, 2), aborted=(2,)).rows
    assert (row.failed, row.recovery) == (1, Times(count=1, median=DAY))


def test_a_rollback_over_two_versions_took_back_the_newer_and_a_later_one_the_older() -> None:
    (row,) = reckon(
        moved("deploy", 20, 1, 0),
        moved("deploy", 10, 2, 1),
        moved("deploy", 8, 3, 2),
        moved("rollback", 7, 2, 3),
        moved("rollback", 6, 1, 2),
    ).rows
    assert (row.deployments, row.failed) == (3, 2)
    assert row.recovery == Times(count=2, median=2.5 * DAY)


def test_a_version_that_came_again_is_a_deployment_without_a_lead_time() -> None:
    (row,) = reckon(
        moved("deploy", 10, 2, 1), moved("rollback", 9, 1, 2), moved("deploy", 8, 2, 1)
    ).rows
    assert (row.deployments, row.lead_time.count, row.failed) == (2, 1, 1)


def test_what_came_before_counts_only_for_what_came_after() -> None:
    report = reckon(moved("deploy", 40, 2, 1), moved("rollback", 5, 1, 2))
    assert report.rows == ()
    assert report.total == Dora()
    assert text(report).startswith("no deployment since")


def test_models_are_told_apart_and_together() -> None:
    report = reckon(
        moved("deploy", 10, 1, 0), moved("deploy", 9, 1, 0, "n"), moved("deploy", 8, 2, 1, "n")
    )
    assert [(row.model, row.deployments) for row in report.rows] == [("m", 1), ("n", 2)]
    assert report.total.deployments == 3
    shown = text(report)
    assert shown.startswith("3 deployments since ")
    assert "all" in shown.split("\n")[-4]
    assert "<td" in html(report)
    lines = sheet(report).splitlines()
    assert lines[0].startswith("model,environment,deployments,per_week,lead_times,lead_time,")
    assert lines[2] == "n,prod,2,0.5,0,,0,0,0,,0"


STORY = st.lists(
    st.tuples(
        st.sampled_from(["deploy", "rollback", "edit", "remove", "unreadable"]),
        st.floats(0, 60),
        st.integers(0, 4),
        st.integers(0, 4),
    ),
    max_size=12,
)


@given(STORY)
def test_figures_of_any_story_are_figures(story: list[tuple[str, float, int, int]]) -> None:
    total = reckon(*(moved(*each) for each in story)).total
    assert total.deployments == sum(a == "deploy" and d <= 28 for a, d, _, _ in story)
    assert 0 <= total.failed <= total.deployments
    assert total.recovery.count + total.unrecovered == total.failed
    assert total.recovery.median is None or total.recovery.median >= 0


def test_a_time_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="is not a duration"):
        parse("dora --since 0")
