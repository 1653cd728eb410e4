"""Conditions as kfp compiles them, judged as CEL judges them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.dev.kubeflow.condition import BadCondition, holds

GIVEN: dict[str, Any] = {
    "n": 5,
    "x": 0.75,
    "t": "it's",
    "b": True,
    "pipelinechannel--gate-Output": False,
    "list": [1],
}


def of(name: str) -> str:
    return f"inputs.parameter_values['{name}']"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (f"{of('b')} == true", True),
        (f"{of('pipelinechannel--gate-Output')} == true", False),
        (f"{of('b')} != true", False),
        (f"int({of('n')}) == 5", True),
        (f"int({of('n')}) > 5", False),
        (f"int({of('n')}) >= 5", True),
        (f"int({of('n')}) < 6", True),
        (f"double({of('x')}) <= 0.75", True),
        (f"{of('x')} == 0.75", True),
        (f"{of('n')} == -5", False),
        (f"{of('t')} == 'it\\'s'", True),
        (f'{of("t")} == "it\'s"', True),
        (f"{of('t')} != 'other'", True),
        (f"{of('t')} < 'z'", True),
        (f"!({of('b')} == true)", False),
        (f"!({of('b')} == true) || int({of('n')}) == 5", True),
        (f"!({of('b')} == true) && int({of('n')}) == 5", False),
        (f"({of('b')} == true) && !(int({of('n')}) == 6)", True),
        (f"string({of('n')}) == '5'", True),
        (f"{of('t')} == 5", False),
        (f"{of('b')} == 1", False),
        (of("b"), True),
    ],
)
def test_it_holds_or_not(condition: str, *, expected: bool) -> None:
    assert holds(condition, GIVEN) is expected


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (f"{of('nobody')} == 1", "no such key: nobody"),
        (f"{of('t')} > 5", "cannot compare"),
        (f"{of('b')} < true", "cannot compare"),
        ("-'' == 1", "cannot negate"),
        ("-true == 1", "cannot negate"),
        (f"int({of('t')}) == 5", "is not possible"),
        ("", "ends too early"),
        (f"({of('b')} == true", "a bracket is open"),
        (f"{of('b')} == true true", "no condition"),
        (f"{of('n')}", "no condition"),
        (f"size({of('list')}) == 1", "cannot read 'size'"),
        (f"{of('b')} === true", "cannot read"),
        (f"!{of('n')}", "neither true nor false"),
    ],
)
def test_what_cannot_be_judged_is_an_error(condition: str, words: str) -> None:
    with pytest.raises(BadCondition, match=words):
        holds(condition, GIVEN)


@given(st.text())
def test_any_text_can_be_compared(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    assert holds(f"{of('t')} == '{quoted}'", {"t": text})


@given(st.text(alphabet="()!&|=<>'\"\\ 1ab.-[]int", max_size=30))
def test_nothing_but_its_own_error_comes_of_noise(noise: str) -> None:
    try:
        holds(noise, GIVEN)
    except BadCondition:
        return
