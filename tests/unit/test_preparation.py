"""What is wrong with a request is said before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from desk import write_notebook

from mlops_nb.core.quantity import parse_size
from mlops_nb.core.settings import Settings, parse_settings
from mlops_nb.core.verbs import Train
from mlops_nb.errors import (
    BadGate,
    BadParameter,
    NotANotebook,
    NotFound,
    PlainSecret,
    UnknownParameter,
    UserError,
)
from mlops_nb.preparation import Desk, prepare, read_notebook, read_parameter_file
from mlops_nb.redaction import find_credential

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.core.run import RunSpec

DECLARED = "lr: float = 0.1\ndepth: int = 3\nname: str = 'a'\ntrain: str = ''"
SETTINGS = """
[run]
timeout = "2h"
memory = "1GiB"
kernel = "conda"
[models.churn]
gates = ["auc >= champion"]
[environments.prod]
[environments.bare]
"""


def settings(text: str = SETTINGS) -> Settings:
    return parse_settings(text, path="mlops.toml", default_name="p")


def look_up(reference: str) -> str:
    if reference != "TOKEN":
        raise UserError(f"there is no secret {reference}")
    return "s3cr3t-value"


def ask(tmp_path: Path, file: dict[str, object] | None = None, **words: object) -> RunSpec:
    path = write_notebook(tmp_path / "nb.ipynb", DECLARED)
    verb = Train(notebook=str(path), **words)  # type: ignore[arg-type]  # the test says what fits
    desk = Desk(
        settings=settings(),
        read_parameters=lambda _path: file or {},
        find_credential=find_credential,
        look_up=look_up,
        locate=lambda source: source,
        folder=tmp_path,
        requested_by="Ann",
    )
    return prepare(replace(verb, parameter_file="p.yaml"), read_notebook(str(path))[0], desk)


def test_words_win_over_the_file_and_texts_are_read_by_type(tmp_path: Path) -> None:
    spec = ask(tmp_path, {"lr": 0.5, "depth": 2}, parameters={"lr": "0.25", "name": "007"})
    assert spec.parameters == {"lr": 0.25, "depth": 2, "name": "007"}


def test_settings_fill_in_what_the_request_leaves_out(tmp_path: Path) -> None:
    assert ask(tmp_path).kernel == "conda"
    assert ask(tmp_path, kernel="r").kernel == "r"
    limits = ask(tmp_path, timeout=60.0).limits
    assert (limits.timeout, limits.memory) == (60.0, parse_size("1GiB"))


def test_a_secret_travels_by_reference_only(tmp_path: Path) -> None:
    spec = ask(tmp_path, parameters={"name": "secret:TOKEN"})
    assert spec.secrets == {"name": "TOKEN"}
    assert "s3cr3t" not in repr(spec)


def test_data_becomes_the_parameter_of_its_name(tmp_path: Path) -> None:
    (source,) = ask(tmp_path, data={"train": "s3://bucket/t.csv"}).data
    assert (source.name, source.uri) == ("train", "s3://bucket/t.csv")


@pytest.mark.parametrize(
    ("words", "class_", "message", "hint"),
    [
        ({"parameters": {"lrr": "1"}}, UnknownParameter, "lrr", "did you mean"),
        ({"parameters": {"lr": "quick"}}, BadParameter, "quick", ""),
        ({"parameters": {"lr": "nan"}}, BadParameter, "lr = nan", "finite"),
        ({"parameters": {"name": "secret:NO"}}, UserError, "NO", ""),
        (
            {"parameters": {"name": "ghp_0123456789abcdefghijklmnopqrstuvwxyzAB"}},
            PlainSecret,
            "looks like a credential",
            "secret:VARIABLE",
        ),
        ({"data": {"trian": "t.csv"}}, UnknownParameter, "trian", "did you mean"),
        (
            {"data": {"train": "t.csv"}, "parameters": {"train": "u.csv"}},
            BadParameter,
            "train is given both",
            "keep one",
        ),
        ({"data": {"train": "http://a:b@h/t"}}, PlainSecret, "data train holds", "netrc"),
        ({"gates": ("score >>= 1",)}, BadGate, "score >>= 1", ""),
        ({"gates": ("auc >= champion",)}, UserError, "of which model?", "--register"),
        ({"register": "My Model"}, UserError, "My Model", "my-model"),
        ({"deploy": "prod"}, UserError, "--deploy prod", "--register"),
        ({"register": "churn", "deploy": "prd"}, NotFound, "prd", "did you mean 'prod'?"),
    ],
    ids=str,
)
def test_a_wrong_request_is_told_with_the_next_step(
    tmp_path: Path, words: dict[str, object], class_: type[UserError], message: str, hint: str
) -> None:
    with pytest.raises(class_) as error:
        ask(tmp_path, None, **words)
    assert message in error.value.message
    assert hint in error.value.hint
    assert "ghp_0123" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"timeout": 0}, "timeout is 0"),
        ({"cell_timeout": -1}, "cell-timeout is -1"),
        ({"memory": 0}, "memory is 0"),
        ({"retries": -1}, "retries is -1"),
    ],
)
def test_a_limit_under_which_nothing_runs_is_refused(
    words: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Train(notebook="nb.ipynb", **words)  # type: ignore[arg-type]


def test_a_missing_notebook_is_told_with_those_beside_it(tmp_path: Path) -> None:
    write_notebook(tmp_path / "churn.ipynb")
    with pytest.raises(NotANotebook, match=r"there is no notebook .*chrn.ipynb") as error:
        read_notebook(str(tmp_path / "chrn.ipynb"))
    assert "churn.ipynb" in error.value.hint
    with pytest.raises(NotANotebook, match="cannot be read: Is a directory"):
        read_notebook(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content"),
    [("p.yaml", "lr: 0.5\nname: on\n"), ("p.json", '{"lr": 0.5, "name": "on"}')],
)
def test_a_parameter_file_is_yaml_or_json(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_parameter_file(str(tmp_path / name)) == {"lr": 0.5, "name": "on"}


@pytest.mark.parametrize(
    ("content", "message"),
    [("- 1\n- 2\n", "by name"), ("1: x\n", "by name"), ("a: [1\n", "is not YAML or JSON")],
)
def test_a_parameter_file_that_holds_something_else_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        read_parameter_file(str(tmp_path / "p.yaml"))
    with pytest.raises(UserError, match="cannot be read"):
        read_parameter_file(str(tmp_path / "none.yaml"))
