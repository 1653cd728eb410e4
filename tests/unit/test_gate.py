"""Gate expressions, evaluation tables, and what a verdict makes of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlops_nb.core.evaluation import table_from_columns
from mlops_nb.core.gate import Check, EvaluationTable, Gate, Operator, Outcome, Reduction
from mlops_nb.core.judgement import Baseline, judge
from mlops_nb.errors import BadGate, UserError
from mlops_nb.statistics import Bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping

ESTIMATOR = Bootstrap(resamples=300)


# --- expressions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("accuracy >= 0.95", Gate(metric="accuracy", operator=Operator.AT_LEAST, offset=0.95)),
        (" accuracy>=95% ", Gate(metric="accuracy", operator=Operator.AT_LEAST, offset=0.95)),
        ("r2 > -.5", Gate(metric="r2", operator=Operator.ABOVE, offset=-0.5)),
        ("loss ≤ 1e-3", Gate(metric="loss", operator=Operator.AT_MOST, offset=0.001)),
        ("val/f1-score < 7", Gate(metric="val/f1-score", operator=Operator.BELOW, offset=7)),
        ("'val acc' >= 0", Gate(metric="val acc", operator=Operator.AT_LEAST)),
        (
            "auc >= champion-0.005",
            Gate(metric="auc", operator=Operator.AT_LEAST, uses_champion=True, offset=-0.005),
        ),
        (
            "rmse <= champion * 1.02",
            Gate(metric="rmse", operator=Operator.AT_MOST, uses_champion=True, factor=1.02),
        ),
        (
            "rmse <= champion * 102% + 3",
            Gate(
                metric="rmse",
                operator=Operator.AT_MOST,
                uses_champion=True,
                factor=1.02,
                offset=3,
            ),
        ),
        (
            "gap(accuracy, by=sex) <= 0.05",
            Gate(
                metric="accuracy",
                operator=Operator.AT_MOST,
                offset=0.05,
                over=Reduction.GAP,
                by="sex",
            ),
        ),
        (
            'min( recall ,by = "age group" ) >= champion',
            Gate(
                metric="recall",
                operator=Operator.AT_LEAST,
                over=Reduction.MIN,
                by="age group",
                uses_champion=True,
            ),
        ),
    ],
)
def test_expressions_mean_what_they_say(text: str, gate: Gate) -> None:
    assert Gate.parse(text) == gate
    assert Gate.parse(text).text == text.strip()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("accuracy => 0.9", "(at character 10: '=> 0.9')", "accuracy >= 0.95"),
        ("accuracy == 0.9", "one of >=, >, <=, < was expected", "accuracy >= 0.95"),
        ("auc", "one of >=, >, <=, < was expected (at the end)", "champion"),
        ("", "the name of a metric was expected", "the metric stands on the left"),
        ("0.9 <= accuracy", "(at character 1: '0.9 <= accuracy')", "stands on the left"),
        ("champion >= 0.9", "the name of a metric was expected", "stands on the left"),
        ("gpa(auc, by=sex) <= 1", "no function 'gpa'", "did you mean gap(…)?"),
        ("minimum(auc, by=sex) >= 1", "no function 'minimum'", "did you mean min(…)?"),
        ("min(auc, sex) >= 1", "'by' was expected (at character 10", "min(auc, by=COLUMN)"),
        ("min(auc) >= 1", "',' was expected", "min(auc, by=COLUMN)"),
        ("min(auc, by=sex >= 1", "')' was expected", "min(auc, by=COLUMN)"),
        ("auc >= champoin - 1", "a number or champion was expected", "did you mean champion?"),
        ("auc >= champion - 5%", "not clear what the percentage is of", "champion * 0.95"),
        ("auc >= champion * 0", "more than 0", "e.g."),
        ("auc >= 1e999", "too large", "e.g."),
        ("auc >= nan", "a number or champion was expected", "e.g."),
        ("auc >= 0.9 and f1 >= 0.8", "nothing more was expected (at character 12", "e.g."),
        ("auc >= 0,9", "nothing more was expected (at character 9: ',9')", "e.g."),
    ],
)
def test_bad_expressions_say_where_and_what_instead(text: str, message: str, hint: str) -> None:
    with pytest.raises(BadGate) as raised:
        Gate.parse(text)
    assert repr(text) in raised.value.message
    assert message in raised.value.message
    assert hint in raised.value.hint


names = st.one_of(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_./:-]{0,12}", fullmatch=True),
    st.text(st.characters(exclude_characters="'\"\r\n", codec="utf-8"), min_size=1, max_size=8),
    st.sampled_from(["champion", "by", "min", "gap(x", "it's", 'a "b"', "é", "日本"]),
)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    over = draw(st.none() | st.sampled_from(Reduction))
    uses_champion = draw(st.booleans())
    return Gate(
        metric=draw(names),
        operator=draw(st.sampled_from(Operator)),
        offset=draw(numbers),
        over=over,
        by=draw(names) if over else "",
        uses_champion=uses_champion,
        factor=draw(numbers.filter(lambda x: x > 0)) if uses_champion else 1.0,
    )


@example(Gate(metric="auc", operator=Operator.AT_LEAST, offset=-0.0))
@given(gates())
def test_canonical_text_reads_back_as_the_same_gate(gate: Gate) -> None:
    again = Gate.parse(str(gate))
    assert again == gate
    assert str(again) == str(gate)


pieces = st.sampled_from(
    ["accuracy", "champion", "min", "gap", "(", ")", ",", "by", "=", ">=", "<", "≥", "%",  "-",
     "*", "+", " ", "0.5", "1e5", "9" * 400, ".", "e", '"', "'", "\n", "\0", "é", "²", "٣"]
)  # fmt: skip


@given(st.text() | st.lists(pieces, max_size=12).map("".join))
@example("accuracy >= 1e9999999999999999999999%")
@example("auc >= ٣")
def test_any_text_is_a_gate_or_a_bad_gate(text: str) -> None:
    try:
        gate = Gate.parse(text)
    except BadGate:
        return
    assert Gate.parse(str(gate)) == gate
    assert math.isfinite(gate.offset)


# --- evaluation tables --------------------------------------------------------------------


def test_digest_is_that_of_the_evaluation_set() -> None:
    columns: dict[str, Any] = {
        "label": [1, 0, 1],
        "prediction": [1, 1, 1],
        "sex": ["f", "m", None],
        "age": [20, 30, 40],
    }
    digest = table_from_columns(columns).digest
    assert digest.startswith("sha256:")
    assert len(digest) == 71
    alike: list[dict[str, Any]] = [
        {"prediction": [0, 0, 0], "score": [0.1, 0.2, 0.3]},
        {"label": [1.0, 0.0, 1.0]},
        {"label": np.array([1, 0, 1], dtype=np.int8)},
        {"label": [True, False, True]},
        {"label": [np.True_, np.int64(0), np.float32(1)]},
        {"label": pd.Series([1, 0, 1], index=[7, 8, 9])},
        {"age": pd.Series([20.0, 30.0, 40.0]), "sex": pd.Series(["f", "m", None])},
        {"sex": ["f", "m", math.nan]},
    ]
    for change in alike:
        assert table_from_columns({**columns, **change}).digest == digest
    assert table_from_columns(dict(reversed(columns.items()))).digest == digest
    others: list[dict[str, Any]] = [
        {"label": [1, 1, 0]},
        {"label": [1, 0, 0]},
        {"age": [20, 30, 41]},
        {"sex": ["f", "mm", ""]},
        {"region": ["n", "n", "n"]},
    ]
    for change in others:
        assert table_from_columns({**columns, **change}).digest != digest


def test_every_other_column_is_a_group_column() -> None:
    table = table_from_columns(
        {"label": [1], "prediction": [0], "score": [1], "sex": [None], "age": [np.float64(30)]}
    )
    assert table.groups == {"sex": ("missing",), "age": ("30",)}
    assert table.score == (1.0,)


@pytest.mark.parametrize(
    ("columns", "message", "hint"),
    [
        ({"labels": [1], "prediction": [1]}, "no column 'label'", "rename 'labels' to 'label'"),
        ({"label": [1]}, "no column 'prediction'", "log the columns label, prediction"),
        ({}, "no column 'label'; it has: none", "log the columns"),
        ({"label": [], "prediction": []}, "no rows", "log the columns"),
        (
            {"label": [1, 0], "prediction": [1, 0], "sex": ["f"]},
            "column 'sex' of the evaluation table has 1 rows, column 'label' has 2",
            "one value a row",
        ),
        (
            {"label": [1, math.nan], "prediction": [1, 1]},
            "row 2 of the evaluation table",
            "leave",
        ),
        ({"label": [1], "prediction": [None]}, "has no prediction", "leave"),
        ({"label": [1], "prediction": [[0, 1]]}, "the prediction [0, 1], not one value", "one"),
        (
            {"label": [1], "prediction": [1], "score": np.array([[0.1, 0.9]])},
            "the score [0.1, 0.9], not a number",
            "score of the positive class",
        ),
        ({"label": [1], "prediction": [1], "score": [math.nan]}, "the score nan", "positive"),
    ],
)
def test_unfit_columns_are_refused(columns: Mapping[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UserError) as raised:
        table_from_columns(columns)
    assert message in raised.value.message
    assert hint in raised.value.hint


# --- verdicts -----------------------------------------------------------------------------


def rows(n: int, right: int, *, sex: str = "f", **more: Any) -> list[dict[str, Any]]:
    return [
        {"label": i % 2, "prediction": i % 2 if i < right else 1 - i % 2, "sex": sex, **more}
        for i in range(n)
    ]


def table(*parts: list[dict[str, Any]]) -> EvaluationTable:
    every = [row for part in parts for row in part]
    return table_from_columns({name: [row[name] for row in every] for name in every[0]})


def check(
    gate: str,
    table: EvaluationTable | None = None,
    champion: Baseline | None = None,
    **metrics: float,
) -> Check:
    verdict = judge(
        [Gate.parse(gate)], metrics=metrics, table=table, champion=champion, estimator=ESTIMATOR
    )
    assert verdict.passed == (verdict.checks[0].outcome is Outcome.PASSED)
    return verdict.checks[0]


@pytest.mark.parametrize(
    ("gate", "value", "outcome"),
    [
        ("accuracy >= 0.9", 0.9, Outcome.PASSED),
        ("accuracy >= 0.9", 0.89, Outcome.FAILED),
        ("accuracy > 0.9", 0.9, Outcome.FAILED),
        ("accuracy > 90%", 0.91, Outcome.PASSED),
        ("accuracy <= 0.9", 0.9, Outcome.PASSED),
        ("accuracy <= 0.9", 0.91, Outcome.FAILED),
        ("accuracy < 0.9", 0.9, Outcome.FAILED),
        ("accuracy >= -inf.9", 0.9, None),
        ("accuracy >= 0", math.nan, Outcome.FAILED),
        ("accuracy <= 0", math.nan, Outcome.FAILED),
        ("accuracy >= 0", math.inf, Outcome.FAILED),
    ],
)
def test_logged_metrics(gate: str, value: float, outcome: Outcome | None) -> None:
    if outcome is None:
        with pytest.raises(BadGate):
            check(gate, accuracy=value)
        return
    result = check(gate, accuracy=value)
    assert result.outcome is outcome
    assert (result.low, result.high, result.n, result.gate) == (None, None, 0, gate)


def test_a_metric_never_logged_does_not_pass() -> None:
    for champion in (None, Baseline(name="m/1", metrics={"auc": 0.5})):
        result = check("acuracy >= champion - 1", champion=champion, accuracy=0.9, f1=0.8)
        assert result.outcome is Outcome.FAILED
        assert result.reason == (
            "acuracy was never logged; known: accuracy, f1; did you mean accuracy?"
        )
    assert "known: nothing" in check("auc >= 0").reason


def test_no_gates_do_not_pass() -> None:
    assert not judge([], metrics={}, table=None, champion=None, estimator=ESTIMATOR).passed


def test_the_table_is_believed_rather_than_the_logged_value() -> None:
    result = check("accuracy >= 0.9", table(rows(400, 320)), accuracy=0.99)
    assert result.outcome is Outcome.FAILED
    assert (result.value, result.n, result.threshold) == (0.8, 400, 0.9)


def test_a_floor_wants_the_lower_bound() -> None:
    passes = check("accuracy >= 0.75", table(rows(400, 320)))
    assert passes.outcome is Outcome.PASSED
    unsure = check("accuracy >= 0.78", table(rows(400, 320)))
    assert unsure.outcome is Outcome.FAILED
    assert unsure.low is not None
    assert 0.75 < unsure.low < 0.78
    assert unsure.reason == (
        f"accuracy is 0.8 on 400 rows; the lower end of the 95 % interval, {unsure.low:.4g}, "
        "does not reach 0.78; 400 rows are too few to be sure"
    )
    assert check("accuracy >= 0.78", table(rows(40_000, 32_000))).outcome is Outcome.PASSED


def test_a_ceiling_wants_the_upper_bound() -> None:
    assert check("error_rate <= 0.25", table(rows(400, 320))).outcome is Outcome.PASSED
    unsure = check("error_rate <= 0.21", table(rows(400, 320)))
    assert unsure.outcome is Outcome.FAILED
    assert "the upper end of the 95 % interval" in unsure.reason


def test_a_percentage_without_its_sign_does_not_pass() -> None:
    result = check("error_rate <= 25", table(rows(400, 320)))
    assert result.outcome is Outcome.FAILED
    assert "a percentage has its sign: 25%" in result.reason


def test_a_metric_the_table_lacks_is_taken_as_logged() -> None:
    result = check("latency <= 20", table(rows(400, 320)), latency=12)
    assert result.outcome is Outcome.PASSED
    assert (result.low, result.n) == (None, 0)


def test_gates_over_groups_name_the_worst() -> None:
    both = table(rows(300, 270, sex="m"), rows(100, 70, sex="f"))
    result = check("min(accuracy, by=sex) >= 0.75", both)
    assert result.outcome is Outcome.FAILED
    assert (result.value, result.threshold, result.n) == (0.7, 0.75, 100)
    assert "0.7 for sex=f (n=100)" in result.reason
    result = check("max(error_rate, by=sex) <= 0.2", both)
    assert result.outcome is Outcome.FAILED
    assert "0.3 for sex=f (n=100)" in result.reason
    result = check("gap(accuracy, by=sex) <= 0.05", both)
    assert result.outcome is Outcome.FAILED
    assert result.value == pytest.approx(0.2)
    assert "0.7 for sex=f (n=100) to 0.9 for sex=m (n=300)" in result.reason
    assert check("gap(accuracy, by=sex) <= 0.35", both).outcome is Outcome.PASSED
    assert check("min(accuracy, by=sex) >= 0.55", both).outcome is Outcome.PASSED


def test_a_gap_is_measured_on_its_two_groups_alone() -> None:
    three = table(
        rows(300, 270, group="a"), rows(200, 160, group="b"), rows(100, 70, group="c")
    )
    assert check("gap(accuracy, by=group) <= 0.5", three).n == 400


def test_the_group_whose_interval_reaches_furthest_decides_and_is_named() -> None:
    """Not always the one with the lowest value: of fewer rows less is sure."""
    both = table(rows(1000, 800, sex="m"), rows(40, 33, sex="f"))
    result = check("min(accuracy, by=sex) >= 0.75", both)
    assert (result.outcome, result.value, result.n) == (Outcome.FAILED, 0.8, 40)
    assert "0.8 for sex=m (n=1000); the lower end of the 95 % interval of sex=f (n=40), 0." in (
        result.reason
    )
    assert result.reason.endswith("40 rows are too few to be sure")
    first = check("min(accuracy, by=sex) >= champion", both)
    assert (first.outcome, first.value, first.n) == (Outcome.PASSED, 0.8, 1000)


def test_a_small_slice_is_skipped_and_does_not_pass() -> None:
    small = table(rows(300, 300, sex="m"), rows(29, 29, sex="x"))
    result = check("min(accuracy, by=sex) >= 0.1", small)
    assert result.outcome is Outcome.SKIPPED
    assert result.n == 29
    assert result.reason == "too few rows to judge sex=x (n=29); a group needs 30"
    enough = table(rows(300, 300, sex="m"), rows(30, 30, sex="x"))
    assert check("min(accuracy, by=sex) >= 0.1", enough).outcome is Outcome.PASSED


def test_groups_need_a_table_with_their_column() -> None:
    result = check("gap(accuracy, by=sex) <= 1", accuracy=0.9)
    assert result.outcome is Outcome.FAILED
    assert "log an evaluation table with the columns label, prediction" in result.reason
    result = check("gap(accuracy, by=sexe) <= 1", table(rows(100, 90)), accuracy=0.9)
    assert result.outcome is Outcome.FAILED
    assert result.reason == (
        "the evaluation table has no group column 'sexe'; it has: sex; did you mean sex?"
    )
    result = check("gap(auc, by=sex) <= 1", table(rows(100, 90)), auc=0.9)
    assert result.outcome is Outcome.FAILED
    assert (
        "auc cannot be computed from the evaluation table; computable: accuracy"
        in result.reason
    )


def test_what_is_not_defined_does_not_pass() -> None:
    never = table([{"label": i % 2, "prediction": 0, "sex": "fm"[i % 2]} for i in range(100)])
    for gate in ("precision >= 0", "precision <= 1", "precision >= champion"):
        result = check(gate, never)
        assert result.outcome is Outcome.FAILED
        assert "precision is not defined on these rows" in result.reason
    result = check("max(false_positive_rate, by=sex) <= 1", never)
    assert result.outcome is Outcome.FAILED
    assert "false_positive_rate of sex=m (n=50) is not defined" in result.reason


def test_the_first_version_has_no_champion_to_beat() -> None:
    for result in (
        check("accuracy >= champion - 0.01", table(rows(100, 80))),
        check("accuracy >= champion - 0.01", accuracy=0.8),
        check("gap(accuracy, by=sex) <= champion", table(rows(100, 80))),
    ):
        assert result.outcome is Outcome.PASSED
        assert result.threshold is None
        assert result.reason == "there is no champion to compare with yet"
    assert check("accuracy >= champion", accuracy=math.nan).outcome is Outcome.FAILED


def test_the_champion_on_the_same_rows() -> None:
    champion = Baseline(name="churn/7", table=table(rows(2000, 1700)))
    same = check("accuracy >= champion", table(rows(2000, 1700)), champion)
    assert same.outcome is Outcome.PASSED
    assert (same.baseline, same.threshold) == ("churn/7", 0.85)
    worse = check("accuracy >= champion - 0.005", table(rows(2000, 1660)), champion)
    assert worse.outcome is Outcome.FAILED
    assert worse.threshold == pytest.approx(0.845)
    assert "champion churn/7 on the same rows" in worse.reason
    barely = check("accuracy >= champion - 0.005", table(rows(2000, 1692)), champion)
    assert barely.outcome is Outcome.FAILED
    assert "too few to be sure" in barely.reason
    better = check("accuracy > champion", table(rows(2000, 1740)), champion)
    assert better.outcome is Outcome.PASSED
    relative = check("error_rate <= champion * 1.02", table(rows(2000, 1700)), champion)
    assert relative.outcome is Outcome.PASSED
    assert relative.threshold == pytest.approx(0.153)
    over = check("min(accuracy, by=sex) >= champion - 0.01", table(rows(2000, 1600)), champion)
    assert over.outcome is Outcome.FAILED


def test_a_champion_that_cannot_be_compared_is_not_beaten() -> None:
    logged = {"accuracy": 0.1}
    mine = table(rows(400, 390))
    other_rows = Baseline(name="m/1", metrics=logged, table=table(rows(402, 100)))
    undigested = Baseline(name="m/1", metrics=logged, table=replace(mine, digest=""))
    no_table = Baseline(name="m/1", metrics=logged)
    for champion, reason in (
        (other_rows, "champion m/1 was evaluated on other rows"),
        (undigested, "champion m/1 was evaluated on other rows"),
        (no_table, "champion m/1 has no evaluation table"),
    ):
        result = check("accuracy >= champion - 0.5", mine, champion, accuracy=0.99)
        assert result.outcome is Outcome.FAILED
        assert reason in result.reason
        assert "run the champion's notebook again" in result.reason
        assert result.value == 0.975
    result = check("accuracy >= champion - 0.5", replace(mine, digest=""), undigested)
    assert result.outcome is Outcome.FAILED
    result = check("accuracy >= champion - 0.5", None, other_rows, accuracy=0.99)
    assert result.outcome is Outcome.FAILED
    assert "log an evaluation table" in result.reason


def test_the_champion_as_logged_where_neither_has_a_table() -> None:
    champion = Baseline(name="m/1", metrics={"auc": 0.9, "rmse": math.nan})
    # 0.9 - 0.005 is a little more than 0.895 in binary.
    result = check("auc >= champion - 0.005", None, champion, auc=0.895)
    assert result.outcome is Outcome.PASSED
    assert result.baseline == "m/1"
    assert result.threshold == pytest.approx(0.895)
    assert "both as logged" in result.reason
    assert check("auc >= champion * 1.1", None, champion, auc=0.98).outcome is Outcome.FAILED
    assert check("f1 >= champion", None, champion, f1=1.0).outcome is Outcome.FAILED
    assert check("rmse <= champion", None, champion, rmse=1.0).outcome is Outcome.FAILED
