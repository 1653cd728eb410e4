"""Changes: their identity, messages, trailers and paths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlops_nb.core.change import ChangeSet, branch_of, matches, parse_trailers, read_branch

CHANGE = ChangeSet(
    branch="mlops-nb/prod/churn",
    title="Deploy churn/2 to prod",
    body="evidence",
    trailers=(("Mlops-Action", "deploy"), ("Mlops-Reason", "two\n\nlines: really")),
    files={"a": b"1", "b": None},
)


def test_an_id_tells_what_is_done_and_not_how_it_is_told() -> None:
    assert replace(CHANGE, title="t", body="b").id == CHANGE.id
    asker = ("Mlops-Requested-By", "Bob")
    assert replace(CHANGE, trailers=(*CHANGE.trailers, asker)).id == CHANGE.id
    assert replace(CHANGE, trailers=()).id != CHANGE.id
    assert replace(CHANGE, files={"b": None, "a": b"1"}).id == CHANGE.id
    for other in (
        {"a": b"1"},
        {"a": b"1", "b": b""},
        {"a": b"2", "b": None},
        {"a": None, "b": b"1"},
    ):
        assert replace(CHANGE, files=other).id != CHANGE.id
    assert replace(CHANGE, branch="mlops-nb/stage/churn").id != CHANGE.id


def test_trailers_read_back_from_the_message() -> None:
    assert parse_trailers(CHANGE.message) == {
        "Mlops-Action": "deploy",
        "Mlops-Reason": "two lines: really",
    }


@pytest.mark.parametrize(
    "message",
    [
        "Title: with a colon",
        "Title\n\nProse: yes\nbut this is prose",
        "Title\n\nKey: v\n\nlast words",
        "",
    ],
)
def test_prose_is_no_trailer(message: str) -> None:
    assert parse_trailers(message) == {}


def test_only_the_last_paragraph_counts_and_keys_repeat() -> None:
    message = "Title\r\n\r\nEarlier: no\r\n\r\nA: 1\r\nB: 2\r\nA: 3\r\n"
    assert parse_trailers(message) == {"A": "1\n3", "B": "2"}


@pytest.mark.parametrize(
    ("path", "glob", "fits"),
    [
        ("models/churn/a", "models/*/a", True),
        ("models/churn/x/a", "models/*/a", False),
        ("models/churn/x/a", "models/**/a", True),
        ("models/a", "models/**/a", True),
        ("models/churn/x/a", "models/**", True),
        ("models.churn", "models?churn", True),
        ("models/churn", "models?churn", False),
        ("aXb", "a.b", False),
    ],
)
def test_globs(path: str, glob: str, fits: bool) -> None:
    assert matches(path, glob) is fits


def test_a_branch_names_model_and_environment() -> None:
    assert read_branch(branch_of("churn", "prod")) == ("churn", "prod")
    assert read_branch("feature/x") is None
    assert read_branch("mlops-nb/prod") is None
