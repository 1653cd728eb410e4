from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.core.notebook import Notebook
from mlops_nb.core.sweep import Best, draw, expand, parse_best, read_csv, set_key
from mlops_nb.errors import BadParameter, UnknownParameter, UserError

# A busy machine is no failure.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

SOURCE = """
lr: float = 0.1
depth: int = 3
kind: str = "a"
layers: list[int] = [8]
steps: list = []
maybe: int | None = 1
other = f()
"""


def notebook() -> Notebook:
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": SOURCE}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    return Notebook.parse("nb.ipynb", json.dumps(content).encode())


def values(name: str, axis: object) -> list[object]:
    return [each[name] for each in expand(notebook(), {name: axis})]


@pytest.mark.parametrize(
    ("name", "axis", "listed"),
    [
        ("lr", "0.1,0.01", [0.1, 0.01]), ("lr", "0.5", [0.5]), ("lr", "1..3", [1.0, 2.0, 3.0]),
        ("lr", "0.1..0.5..0.1", [0.1, 0.2, 0.3, 0.4, 0.5]), ("lr",
        "1e-1..0.3..1e-1", [0.1, 0.2, 0.3]),
        ("depth", "2..8", [2, 3, 4, 5, 6, 7, 8]), ("depth", "2..9..3", [2, 5, 8]),
        ("depth", "3..1", [3, 2, 1]), ("depth", "-1..1", [-1, 0, 1]), ("depth",
        "1,4..6,9", [1, 4, 5, 6, 9]),
        ("depth", "3, 3,3", [3]), ("depth", [1, 2], [1, 2]), ("depth", range(2), [0, 1]),
        ("depth", np.arange(2), [0, 1]), ("depth", 4, [4]), ("depth", np.int64(4), [4]),
        ("depth", "10..20..10", [10, 20]), ("depth", "100", [100]),
        ("kind", "a,b", ["a", "b"]), ("kind", '"a,b",c', ["a,b", "c"]), ("kind",
        "../x", ["../x"]),
        ("kind", "1..3", ["1..3"]), ("kind", "", [""]), ("kind", "it's,mine", ["it's", "mine"]),
        ("layers", "[64,32],[32]", [[64, 32], [32]]), ("layers", "[64,32]", [[64, 32]]),
        ("layers", [64, 32], [[64, 32]]), ("layers", [[64, 32], [32]], [[64, 32], [32]]),
        ("layers", ["[64,32]"], [[64, 32]]), ("steps", [1, 2], [[1, 2]]),
        ("maybe", "none,1..2", [None, 1, 2]), ("other", "1..2,x", [1, 2, "x"]),
        ("other", "{'a': [1,2]},3", [{"a": [1, 2]}, 3]),
    ],
)  # fmt: skip
def test_an_axis_is_read(name: str, axis: object, listed: list[object]) -> None:
    assert values(name, axis) == listed


def test_the_last_axis_changes_fastest() -> None:
    sets = expand(notebook(), {"depth": "1,2", "kind": "a,b", "lr": "0.5"})

    assert [(s["depth"], s["kind"], s["lr"]) for s in sets] == [
        (1, "a", 0.5), (1, "b", 0.5), (2, "a", 0.5), (2, "b", 0.5),
    ]  # fmt: skip
    assert list(sets[0]) == ["depth", "kind", "lr"]
    assert expand(notebook(), {}) == [{}]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"depth": "1,x"}, "depth = 'x' is not int"),
        ({"depth": "1..3..0"}, "steps of 0"),
        ({"depth": "0.5..2"}, "in which steps"),
        ({"depth": "0.5..2..0.5"}, "depth = '0.5' is not int"),
        ({"depth": []}, "has no value"),
        ({"layers": "[1,2"}, "not closed"),
        ({"depth": "1,"}, "depth = '' is not int"),
        ({"depth": "x", "lr": "y"}, r"depth = 'x' is not int\nlr = 'y' is not float"),
    ],
)
def test_an_axis_that_does_not_fit_is_told(axes: dict[str, object], said: str) -> None:
    with pytest.raises(BadParameter, match=said) as caught:
        expand(notebook(), axes)

    assert caught.value.hint


def test_an_unknown_axis_is_told() -> None:
    with pytest.raises(UnknownParameter, match="no parameter 'dept'"):
        expand(notebook(), {"dept": "1,2"})


@pytest.mark.parametrize(
    "axes",
    [
        {"depth": "1..1000000000"},
        {"lr": "0..1..1e-999"},
        {"depth": "1..200", "lr": "1..200"},
        {"depth": list(range(10_001))},
    ],
)
def test_too_many_sets_are_refused(axes: dict[str, object]) -> None:
    with pytest.raises(UserError, match="10000 is the most"):
        expand(notebook(), axes)


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(1, 50))
def test_a_range_counts_as_python_does_with_its_end(low: int, high: int, step: int) -> None:
    sign = 1 if high >= low else -1

    counted = values("depth", f"{low}..{high}..{step}")

    assert counted == list(range(low, high + sign, sign * step))


@given(
    st.lists(st.integers(), min_size=1, max_size=5, unique=True),
    st.lists(
        st.text(st.characters(codec="utf-8"), max_size=5), min_size=1, max_size=5, unique=True
    ),
)
def test_lists_are_crossed_as_they_are(depths: list[int], kinds: list[str]) -> None:
    sets = expand(notebook(), {"depth": depths, "kind": kinds})

    assert sets == [{"depth": d, "kind": k} for d in depths for k in kinds]


@given(st.integers(1, 60), st.integers(1, 60), st.integers())
def test_drawing_is_repeatable_keeps_the_order_and_repeats_none(
    count: int, n: int, seed: int
) -> None:
    sets: list[dict[str, object]] = [{"x": i} for i in range(count)]

    drawn = draw(sets, n, seed)

    assert len(drawn) == min(n, count)
    assert drawn == [each for each in sets if each in drawn]
    assert drawn == draw(sets, n, seed)


def test_another_seed_draws_others() -> None:
    sets: list[dict[str, object]] = [{"x": i} for i in range(100)]

    assert draw(sets, 10, 1) != draw(sets, 10, 2)
    with pytest.raises(UserError, match="draws nothing"):
        draw(sets, -1, 0)


@pytest.mark.parametrize(
    "text",
    [
        'lr,layers\n0.1,"[64,32]"\n,\n\n0.2,\n',
        "\ufefflr;layers\r\n0.1;[64,32]\r\n0.2;\r\n",
        "lr\tlayers\n 0.1 \t[64,32]\n0.2\t",
    ],
)
def test_csv_rows_are_sets(text: str) -> None:
    assert read_csv(text) == [{"lr": "0.1", "layers": "[64,32]"}, {"lr": "0.2"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no set"), ("lr,depth\n", "no set"), ("lr,\n1,2\n", "empty or repeated"),
        ("lr,lr\n1,2\n", "empty or repeated"), ("lr,depth\n1,2\n\n3\n", "row 4 has 1 cells"),
        ("lr,layers\n1,[64,32]\n", "row 2 has 3 cells"),
    ],
)  # fmt: skip
def test_a_wrong_csv_row_is_named(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_csv(text)

    assert caught.value.hint


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"])).map(str.strip)))
def test_csv_cells_come_back_as_written(cells: list[str]) -> None:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerows([["a", "b"], *(["x", each] for each in cells)])
    if not cells:
        return

    assert read_csv(file.getvalue()) == [
        {"a": "x", "b": each} if each else {"a": "x"} for each in cells
    ]


def test_best_is_read() -> None:
    assert parse_best("max:accuracy") == Best(metric="accuracy", is_max=True)
    assert parse_best("min:val/log loss") == Best(metric="val/log loss", is_max=False)


@pytest.mark.parametrize("text", ["accuracy", "max:", "best:x", "", "max accuracy"])
def test_what_does_not_say_what_is_best_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_best(text)

    assert "max:accuracy" in caught.value.hint


def test_equal_sets_have_equal_keys() -> None:
    assert set_key({"a": 1, "b": [2]}) == set_key({"b": [2], "a": 1})
    assert set_key({"a": 1}) != set_key({"a": "1"})
    assert set_key({}) != set_key({"a": None})
