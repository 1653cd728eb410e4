"""Parameter values and the placeholders that stand for them."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_nb.dev.kubeflow.values import BadValue, fill, fits, plain, text_of, value_of, words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        (2.0, "2"),
        (0.5, "0.5"),
        (True, "true"),
        ({"b": 1.0, "a": [2.0, "ü"]}, '{"a":[2,"ü"],"b":1}'),
        (None, "null"),
    ],
)
def test_a_value_as_text(value: Any, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3\n", "NUMBER_INTEGER", 3),
        (" 0.5 ", "NUMBER_DOUBLE", 0.5),
        ("True\n", "BOOLEAN", True),
        ("f", "BOOLEAN", False),
        ("line\n", "STRING", "line\n"),
        ("[1, 2]", "LIST", [1, 2]),
        ('{"a": 1}', "STRUCT", {"a": 1}),
    ],
)
def test_a_value_from_an_output_file(text: str, kind: str, value: Any) -> None:
    assert value_of(text, kind) == value


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("3.5", "NUMBER_INTEGER"),
        ("many", "NUMBER_DOUBLE"),
        ("yes", "BOOLEAN"),
        ("{}", "LIST"),
        ("[", "LIST"),
        ("[]", "STRUCT"),
    ],
)
def test_a_file_of_another_type_is_an_error(text: str, kind: str) -> None:
    with pytest.raises(BadValue, match=kind):
        value_of(text, kind)


def test_whole_floats_become_integers() -> None:
    assert repr(plain({"a": [1.0, 1.5], "b": 2.0})) == "{'a': [1, 1.5], 'b': 2}"


def test_types() -> None:
    assert fits(2.0, "NUMBER_INTEGER")
    assert not fits(2.5, "NUMBER_INTEGER")
    assert not fits(True, "NUMBER_INTEGER")
    assert fits(1, "NUMBER_DOUBLE")
    assert not fits("1", "NUMBER_DOUBLE")
    assert fits("anything", "TASK_FINAL_STATUS")


def test_placeholders_are_filled_and_unknown_ones_stay() -> None:
    known = {
        "": {"all": 1},
        "pipeline_job_uuid": "u",
        "inputs": {"parameters": {"x": 2.0, "it's": 1}},
    }
    text = "{{$.inputs.parameters['x']}}-{{$.pipeline_job_uuid}}-{{$}}"
    assert fill(text, known) == '2-u-{"all":1}'
    assert fill('{{$.inputs.parameters["it\'s"]}}', known) == "1"
    unknown = "{{$.inputs.parameters['y']}} {{workflow.name}} {{$.pipeline_root}}"
    assert fill(unknown, known) == unknown


def test_what_a_value_holds_is_not_filled_again() -> None:
    known = {"inputs": {"parameters": {"x": "{{$.inputs.parameters['y']}}", "y": "no"}}}
    assert fill("{{$.inputs.parameters['x']}}", known) == "{{$.inputs.parameters['y']}}"


def test_words_are_built() -> None:
    known = {"inputs": {"parameters": {"x": "1", "y": "2"}}}
    concat = '{"Concat": ["--x=", "{{$.inputs.parameters[\'x\']}}"]}'
    present = (
        '{"IfPresent": {"InputName": "y", "Then": ["--y", "{{$.inputs.parameters[\'y\']}}"]}}'
    )
    assert words(["go", concat, present], {"x": "1"}, known) == ["go", "--x=1"]
    assert words([present], {"y": "2"}, known) == ["--y", "2"]
    assert words(['{"a": 1}', '{"Concat" broken'], {}, {}) == ['{"a": 1}', '{"Concat" broken']
