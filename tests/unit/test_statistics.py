"""Metrics agree with scikit-learn and fairlearn; intervals keep their promise."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import fairlearn.metrics
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.core.evaluation import table_from_columns as typed_table_from_columns
from mlops_nb.core.gate import EvaluationTable, Gate, Outcome, Reduction
from mlops_nb.core.judgement import Baseline, judge
from mlops_nb.statistics import Bootstrap, computable_metrics

if TYPE_CHECKING:
    from collections.abc import Callable


def table_from_columns(columns: Any) -> EvaluationTable:
    """Take arrays too, which no annotation calls a sequence."""
    return typed_table_from_columns(columns)


POINT = Bootstrap(resamples=2)


def classified(
    n: int = 400, *, seed: int = 1, accuracy: float = 0.8, classes: int = 2, noise: float = 1.0
) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, n)
    wrong = random.random(n) > accuracy
    prediction = np.where(wrong, (label + random.integers(1, classes, n)) % classes, label)
    columns = {
        "label": label,
        "prediction": prediction,
        "sex": random.choice(["female", "male"], n),
        "region": random.choice(["north", "south", "east"], n, p=[0.5, 0.3, 0.2]),
    }
    if classes == 2:
        raw = (prediction - 0.5) * 2 + random.normal(0, noise, n)
        # Rounded, so that there are ties.
        columns["score"] = np.round(1 / (1 + np.exp(-raw)), 2)
    return columns


def measured(metric: str, columns: dict[str, Any]) -> float:
    return POINT.estimate(metric, table_from_columns(columns)).value


BINARY: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": sklearn.metrics.accuracy_score,
    "error_rate": sklearn.metrics.zero_one_loss,
    "balanced_accuracy": sklearn.metrics.balanced_accuracy_score,
    "precision": sklearn.metrics.precision_score,
    "recall": sklearn.metrics.recall_score,
    "f1": sklearn.metrics.f1_score,
    "selection_rate": fairlearn.metrics.selection_rate,
    "false_positive_rate": fairlearn.metrics.false_positive_rate,
    "false_negative_rate": fairlearn.metrics.false_negative_rate,
}
SCORED: dict[str, Callable[[Any, Any], float]] = {
    "auc": sklearn.metrics.roc_auc_score,
    "brier": sklearn.metrics.brier_score_loss,
    "log_loss": sklearn.metrics.log_loss,
}
NUMBERS: dict[str, Callable[[Any, Any], float]] = {
    "mae": sklearn.metrics.mean_absolute_error,
    "mse": sklearn.metrics.mean_squared_error,
    "rmse": sklearn.metrics.root_mean_squared_error,
    "r2": sklearn.metrics.r2_score,
}


@pytest.mark.parametrize("metric", BINARY)
@pytest.mark.parametrize("seed", range(5))
def test_class_metrics_are_scikit_learns(metric: str, seed: int) -> None:
    columns = classified(seed=seed)
    expected = BINARY[metric](columns["label"], columns["prediction"])
    assert measured(metric, columns) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", SCORED)
@pytest.mark.parametrize("seed", range(5))
def test_score_metrics_are_scikit_learns_with_ties(metric: str, seed: int) -> None:
    columns = classified(seed=seed)
    expected = SCORED[metric](columns["label"], columns["score"])
    assert measured(metric, columns) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["precision", "recall", "f1"])
def test_several_classes_are_the_macro_mean(metric: str) -> None:
    columns = classified(classes=4)
    columns["prediction"] = np.where(columns["prediction"] == 3, 0, columns["prediction"])
    with warnings.catch_warnings():
        # A class that is never predicted; its precision counts 0.
        warnings.simplefilter("ignore")
        score = getattr(sklearn.metrics, f"{metric}_score")
        expected = score(columns["label"], columns["prediction"], average="macro")
    assert measured(metric, columns) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["accuracy", "error_rate", "balanced_accuracy"])
def test_several_classes_need_no_positive_one(metric: str) -> None:
    columns = classified(classes=4)
    expected = BINARY[metric](columns["label"], columns["prediction"])
    assert measured(metric, columns) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", NUMBERS)
@pytest.mark.parametrize("mean", [0.0, 1e6])
def test_number_metrics_are_scikit_learns(metric: str, mean: float) -> None:
    random = np.random.default_rng(3)
    label = random.normal(mean, 10, 300)
    columns = {"label": label, "prediction": label + random.normal(1, 4, 300)}
    expected = NUMBERS[metric](columns["label"], columns["prediction"])
    # Beside a mean of a million a float keeps ten digits after the point.
    tolerance = 1e-12 if mean == 0 else 1e-9
    assert measured(metric, columns) == pytest.approx(expected, rel=tolerance)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 4)),
        min_size=4,
        max_size=40,
    ).filter(lambda rows: len({label for label, _, _ in rows}) == 2)
)
def test_any_small_table_agrees(rows: list[tuple[int, int, int]]) -> None:
    label, prediction, fifths = (np.array(column) for column in zip(*rows, strict=True))
    columns = {"label": label, "prediction": prediction, "score": fifths / 5}
    for metric in ("auc", "brier"):
        expected = SCORED[metric](label, columns["score"])
        assert measured(metric, columns) == pytest.approx(expected, abs=1e-12)
    for metric, score in (
        ("precision", sklearn.metrics.precision_score),
        ("recall", sklearn.metrics.recall_score),
        ("f1", sklearn.metrics.f1_score),
    ):
        expected = score(label, prediction, zero_division=np.nan)
        assert measured(metric, columns) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", [*BINARY, "auc"])
@pytest.mark.parametrize("by", ["sex", "region"])
def test_groups_are_fairlearns(metric: str, by: str) -> None:
    columns = classified(600)
    table = table_from_columns(columns)
    scored = metric == "auc"
    frame = fairlearn.metrics.MetricFrame(
        metrics=SCORED[metric] if scored else BINARY[metric],
        y_true=columns["label"],
        y_pred=columns["score" if scored else "prediction"],
        sensitive_features=columns[by],
    )
    for over, expected in (
        (Reduction.GAP, frame.difference(method="between_groups")),
        (Reduction.MIN, frame.group_min()),
        (Reduction.MAX, frame.group_max()),
    ):
        estimate = POINT.estimate(metric, table, over=over, by=by)
        assert estimate.value == pytest.approx(expected, abs=1e-12)
    for group in POINT.estimate(metric, table, over=Reduction.GAP, by=by).groups:
        assert group.value == pytest.approx(frame.by_group[group.group], abs=1e-12)
        assert group.n == (columns[by] == group.group).sum()


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        ((0, 1), 1),
        ((False, True), True),
        ((-1, 1), 1),
        (("9", "10"), "10"),
        (("no", "yes"), "yes"),
    ],
)
def test_the_larger_label_is_the_positive_one(labels: tuple[Any, Any], positive: Any) -> None:
    columns = {"label": [*labels, *labels], "prediction": [positive] * 3 + [labels[0]]}
    assert measured("selection_rate", columns) == 0.75


def test_a_label_is_itself_whatever_its_type() -> None:
    columns = {"label": [1, 0, 1, 1], "prediction": np.array([1.0, 0.0, 0.0, 1.0])}
    assert measured("accuracy", columns) == 0.75
    assert measured("recall", columns) == pytest.approx(2 / 3)


def test_rates_of_nothing_are_not_defined() -> None:
    columns = {"label": [0, 0, 1], "prediction": [0, 0, 0]}
    assert np.isnan(measured("precision", columns))
    assert measured("recall", columns) == 0
    columns = {"label": [0, 0, 0], "prediction": [0, 1, 0]}
    assert np.isnan(measured("recall", columns))


def test_computable_follows_the_columns() -> None:
    def names(**columns: Any) -> set[str]:
        return set(computable_metrics(table_from_columns(columns)))

    binary = names(label=["a", "b"], prediction=["a", "a"])
    assert {"accuracy", "recall", "selection_rate"} <= binary
    assert not binary & {"auc", "brier", "rmse"}
    assert "auc" in names(label=[0, 1], prediction=[0, 0], score=[-3.0, 4.0])
    assert "log_loss" not in names(label=[0, 1], prediction=[0, 0], score=[-3.0, 4.0])
    assert "log_loss" in names(label=[0, 1], prediction=[0, 0], score=[0.3, 0.4])
    assert "auc" not in names(label=[0, 1, 2], prediction=[0, 0, 1], score=[0.1, 0.2, 0.3])
    assert "rmse" in names(label=[0.5, 1.5, 2.0], prediction=[0.4, 1.5, 2.5])


def test_equal_seeds_give_equal_intervals() -> None:
    table = table_from_columns(classified())
    first, again = (Bootstrap(seed=4).estimate("auc", table) for _ in range(2))
    assert first == again
    assert first != Bootstrap(seed=5).estimate("auc", table)


def test_auc_interval_is_that_of_a_plain_bootstrap() -> None:
    columns = classified(300, noise=2.0)
    estimate = Bootstrap(resamples=2000).estimate("auc", table_from_columns(columns))
    random = np.random.default_rng(9)
    drawn = [random.integers(0, 300, 300) for _ in range(500)]
    plain = [
        sklearn.metrics.roc_auc_score(columns["label"][rows], columns["score"][rows])
        for rows in drawn
    ]
    low, high = np.quantile(plain, [0.025, 0.975])
    assert estimate.low == pytest.approx(low, abs=0.008)
    assert estimate.high == pytest.approx(high, abs=0.008)


def test_many_distinct_rows_are_drawn_like_few() -> None:
    random = np.random.default_rng(2)
    label = random.normal(0, 1, 1500)
    columns = {"label": label, "prediction": label + random.normal(0, 1, 1500)}
    estimate = Bootstrap().estimate("mae", table_from_columns(columns))
    error = np.abs(columns["label"] - columns["prediction"])
    half = 1.96 * error.std() / np.sqrt(1500)
    assert estimate.low == pytest.approx(error.mean() - half, rel=0.02)
    assert estimate.high == pytest.approx(error.mean() + half, rel=0.02)


def test_a_flawless_small_slice_does_not_prove_flawlessness() -> None:
    columns = {"label": [0, 1] * 20, "prediction": [0, 1] * 20, "score": [0.2, 0.8] * 20}
    table = table_from_columns(columns)
    # 40 of 40 right leaves room for one in eleven wrong (Wilson, 95 %).
    assert Bootstrap().estimate("accuracy", table).low == pytest.approx(0.912, abs=0.001)
    assert Bootstrap().estimate("auc", table).low < 0.9


def test_interval_is_paired_with_the_champion() -> None:
    columns = classified(1000)
    other = columns["prediction"].copy()
    right = np.flatnonzero(other == columns["label"])[:20]
    other[right] = 1 - other[right]
    champion = table_from_columns(columns)
    candidate = table_from_columns({**columns, "prediction": other})
    estimate = Bootstrap().estimate("accuracy", candidate, champion=champion)
    alone = Bootstrap().estimate("accuracy", candidate)
    assert estimate.reference is not None
    assert estimate.reference == pytest.approx(measured("accuracy", columns))
    assert estimate.high - estimate.low < (alone.high - alone.low) / 2
    # 20 of 1000 rows turned wrong: the difference is -0.02, give or take 0.009.
    assert estimate.low == pytest.approx(estimate.reference - 0.029, abs=0.003)
    assert estimate.high < estimate.reference


def test_the_champion_itself_differs_by_nothing() -> None:
    table = table_from_columns(classified())
    for metric in ("accuracy", "auc", "f1"):
        estimate = Bootstrap().estimate(metric, table, champion=table)
        assert estimate.low == estimate.high == estimate.reference == estimate.value


def test_a_share_of_the_champion_scales_its_value() -> None:
    random = np.random.default_rng(5)
    label = random.normal(0, 3, 500)
    champion = table_from_columns(
        {"label": label, "prediction": label + random.normal(0, 1, 500)}
    )
    estimate = Bootstrap().estimate("rmse", champion, champion=champion, factor=1.02)
    assert estimate.reference is not None
    assert estimate.reference == pytest.approx(1.02 * estimate.value)
    assert estimate.low < estimate.value < estimate.high < estimate.reference


# --- does a gate keep its promise? --------------------------------------------------------


def simulated(
    random: np.random.Generator, n: int, accuracy: float, *, given_label: Any = None
) -> EvaluationTable:
    label = random.integers(0, 2, n) if given_label is None else given_label
    return table_from_columns(
        {"label": label, "prediction": np.where(random.random(n) < accuracy, label, 1 - label)}
    )


def predictions(table: EvaluationTable) -> Any:
    return np.asarray(table.prediction)


def passed(gate: str, table: EvaluationTable, champion: EvaluationTable | None = None) -> bool:
    verdict = judge(
        [Gate.parse(gate)],
        metrics={},
        table=table,
        champion=Baseline(name="m/1", table=champion) if champion else None,
        estimator=Bootstrap(resamples=200),
    )
    return verdict.checks[0].outcome is Outcome.PASSED


def share(trials: int, once: Callable[[np.random.Generator], bool]) -> float:
    return sum(once(np.random.default_rng(seed)) for seed in range(trials)) / trials


@pytest.mark.parametrize(("n", "accuracy"), [(40, 0.94), (400, 0.849)])
def test_a_floor_lets_a_model_below_it_through_rarely(n: int, accuracy: float) -> None:
    floor = round(accuracy + 0.001, 3)
    rate = share(
        300, lambda random: passed(f"accuracy >= {floor}", simulated(random, n, accuracy))
    )
    assert rate <= 0.05


def test_a_floor_lets_a_good_model_through() -> None:
    rate = share(150, lambda random: passed("accuracy >= 0.85", simulated(random, 400, 0.91)))
    assert rate >= 0.9


@pytest.mark.parametrize(
    ("worse_by", "at_least", "at_most"), [(0.05, 0.0, 0.0), (0.02, 0.0, 0.06), (0.0, 0.6, 1.0)]
)
def test_non_inferiority_tells_a_worse_model(
    worse_by: float, at_least: float, at_most: float
) -> None:
    def once(random: np.random.Generator) -> bool:
        champion = simulated(random, 1500, 0.85)
        label = np.asarray(champion.label)
        # Three rows in four the two decide alike, as successive models do.
        own = simulated(random, 1500, 0.85 - 4 * worse_by, given_label=label)
        alike = random.random(1500) < 0.75
        prediction = np.where(alike, predictions(champion), predictions(own))
        candidate = table_from_columns({"label": label, "prediction": prediction})
        return passed("accuracy >= champion - 0.02", candidate, champion)

    assert at_least <= share(100, once) <= at_most


def test_a_gap_gate_lets_an_unfair_model_through_rarely() -> None:
    def once(random: np.random.Generator) -> bool:
        label = random.integers(0, 2, 800)
        sex = random.choice(["f", "m"], 800)
        right = random.random(800) < np.where(sex == "f", 0.8, 0.9)
        columns = {"label": label, "prediction": np.where(right, label, 1 - label), "sex": sex}
        return passed("gap(accuracy, by=sex) <= 0.1", table_from_columns(columns))

    assert share(200, once) <= 0.05
