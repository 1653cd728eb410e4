from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.core.annotation import NONE, Type, parse_type, split_commas, union
from mlops_nb.core.notebook import Notebook
from mlops_nb.errors import BadParameter, NotANotebook, UnknownParameter, UserError

# A busy machine is no failure.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


def cell(source: str | list[str], *tags: str, kind: str = "code") -> dict[str, Any]:
    return {
        "cell_type": kind,
        "metadata": {"tags": list(tags)},
        "source": source,
        "outputs": [],
    }


def document(*cells: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}


def parse(content: object, path: str = "nb.ipynb") -> Notebook:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Notebook.parse(path, raw)


def tagged(source: str) -> Notebook:
    return parse(document(cell(source, "parameters")))


def table(notebook: Notebook) -> list[tuple[object, ...]]:
    return [(p.name, p.type, p.default, p.help) for p in notebook.parameters]


def test_a_parameters_cell_is_read() -> None:
    notebook = parse(
        document(
            cell("# Title", kind="markdown"),
            cell("import pandas as pd\nseed = 3"),
            cell(
                '''"""Settings"""
from typing import Literal
# how fast
# it learns
lr: float = 0.1
epochs = 10  # rounds
kind: Literal["a", 'b'] = "a"
depth: int | None = None
name = "it's # no comment"  # the name
layers = [
    64,  # wide
    32,
]  # neurons
low, high = -1, 2.5
a = b = True
batch = 2 ** 5
data: str
frame: pd.DataFrame = None
__version__ = "1"
epochs = 20
''',
                "parameters",
            ),
            kernelspec={"name": "python3", "language": "Python"},
        )
    )

    assert table(notebook) == [
        ("lr", "float", 0.1, "how fast it learns"),
        ("epochs", "int", 20, ""),
        ("kind", "Literal['a', 'b']", "a", ""),
        ("depth", "int | None", None, ""),
        ("name", "str", "it's # no comment", "the name"),
        ("layers", "list", [64, 32], "neurons"),
        ("low", "int", -1, ""),
        ("high", "float", 2.5, ""),
        ("a", "bool", True, ""),
        ("b", "bool", True, ""),
        ("batch", "", None, ""),
        ("data", "str", None, ""),
        ("frame", "", None, ""),
    ]
    assert (notebook.parameters_cell, notebook.is_tagged, notebook.cells) == (2, True, 2)
    assert (notebook.language, notebook.kernel) == ("python", "python3")
    by_name = {p.name: p for p in notebook.parameters}
    assert by_name["kind"].choices == ("a", "b")
    assert by_name["batch"].default_text == "2 ** 5"
    assert by_name["batch"].has_default
    assert not by_name["data"].has_default
    assert by_name["epochs"].is_inferred
    assert not by_name["lr"].is_inferred


@pytest.mark.parametrize(
    ("written", "type_"),
    [
        ("int", "int"), ("Optional[int]", "int | None"), ("typing.Optional[str]", "str | None"),
        ("Union[int, str, None]", "int | str | None"), ("'float'", "float"),
        ("List[int]", "list[int]"), ("t.Dict[str, float]", "dict[str, float]"),
        ("dict[str, list[int]]", "dict[str, list[int]]"), ("tuple[int, ...]",
        "tuple[int, ...]"),
        ("Tuple[int, str]", "tuple[int, str]"), ("pathlib.Path", "Path"),
        ("Literal[1, 'a', None]", "Literal[1, 'a', None]"), ("Annotated[int, 'x']", "int"),
        ("Sequence[str]", "list[str]"), ("np.ndarray", ""), ("int | Foo", ""), ("Any", ""),
        ("set[int]", ""), ("Final[int]", "int"), ("list[Foo]", "list[Any]"),
    ],
)  # fmt: skip
def test_annotations_are_read(written: str, type_: str) -> None:
    [parameter] = tagged(f"x: {written}").parameters

    assert parameter.type == type_


def test_a_default_of_none_may_be_given_whatever_the_annotation_says() -> None:
    notebook = tagged("depth: int = None")

    assert notebook.parameters[0].type == "int | None"
    assert notebook.bind({"depth": "none"}) == {"depth": None}


def test_what_is_not_given_has_the_notebooks_own_value() -> None:
    notebook = tagged(
        "lr = 5e-3\nname: str = 'a b'\nnone = None\nneeded: int\n"
        "when = datetime(\n    2026, 1, 1)"
    )
    assert notebook.defaults(["lr"]) == {
        "name": "a b", "none": None, "when": "datetime( 2026, 1, 1)"
    }  # fmt: skip


def test_a_type_may_stand_in_a_comment() -> None:
    assert table(tagged("x = 1  # type: float  # how much")) == [("x", "float", 1, "how much")]


@pytest.mark.parametrize(
    "foreign",
    ["%matplotlib inline", "!pip install \\\n  nothing", "%%time", "files = !ls",
     "x = %pwd", "len?",
     "if True:\n    !ls"],
)  # fmt: skip
def test_ipython_syntax_in_the_cell_does_no_harm(foreign: str) -> None:
    notebook = tagged(f"{foreign}\nlr = 0.1  # speed\n")

    assert table(notebook) == [("lr", "float", 0.1, "speed")]


def test_a_text_that_looks_like_a_magic_is_kept() -> None:
    [parameter] = tagged('query = """\n%like%\n!x\n"""').parameters

    assert parameter.default == "\n%like%\n!x\n"


def test_a_cell_that_is_no_python_is_named_with_its_line() -> None:
    with pytest.raises(UserError, match=r"nb\.ipynb: cell 2, .*line 3: .*syntax"):
        parse(document(cell("x"), cell("a = 1\n\nb = = 2", "parameters")))


@pytest.mark.parametrize(
    ("first", "names"),
    [
        ("# settings\nlr = 0.1\nname: str = 'x'", ["lr", "name"]),
        ("'''Settings'''\nlr = 0.1", ["lr"]),
        ("import os\nlr = 0.1", []),
        ("lr = f(1)", []),
        ("%matplotlib inline\nlr = 0.1", []),
        ("print(1)", []),
        ("# nothing", []),
    ],
)
def test_without_a_tag_a_first_cell_of_assignments_will_do(
    first: str, names: list[str]
) -> None:
    notebook = parse(document(cell(""), cell("x", kind="raw"), cell(first), cell("z = 1")))

    assert [p.name for p in notebook.parameters] == names
    assert notebook.parameters_cell == (2 if names else None)
    assert not notebook.is_tagged


def test_format_3_is_read() -> None:
    notebook = parse(
        {
            "nbformat": 3,
            "metadata": {"name": ""},
            "worksheets": [
                {
                    "cells": [
                        {"cell_type": "heading", "level": 1, "source": ["T"]},
                        {"cell_type": "code", "input": ["lr = 0.1\n", "n = 2"], "outputs": []},
                    ]
                }
            ],
        }
    )

    assert [p.name for p in notebook.parameters] == ["lr", "n"]
    assert notebook.kernel is None


@pytest.mark.parametrize("minor", range(6))
def test_every_format_4_is_read(minor: int) -> None:
    content = document(cell(["lr = 0.1\n", "n = 2"], "parameters")) | {"nbformat_minor": minor}

    assert [p.name for p in parse(content).parameters] == ["lr", "n"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "nb.py is empty"),
        (b'{"cells": "\xff"}', "byte 11 is 0xff"),
        (b'\xef\xbb\xbf{"cells": "\xff"}', "byte 14 is 0xff"),
        (b'{\n  "cells": [,]}', "line 2, column 13"),
        (b"import os\n", "line 1, column 1"),
        (b"[1]", "holds a JSON list"),
        (b'{"a": 1}', "has no cells"),
        (b'{"nbformat": 3, "cells": []}', "has no cells"),
        (b'{"nbformat": 3, "worksheets": [1]}', "has no cells"),
        (b'{"nbformat": 5, "cells": []}', "format 5"),
        (b'{"cells": [{"cell_type": "code", "source": 5}]}', "source of cell 1"),
        (b'{"cells": [5]}', "cell 1 is not a cell"),
        (b"[" * 100_000, "nb.py"),
    ],
)
def test_what_is_no_notebook_is_told_with_the_place(content: bytes, said: str) -> None:
    with pytest.raises(NotANotebook, match=said) as caught:
        parse(content, "nb.py")

    assert "nb.py" in caught.value.message


def test_a_script_and_a_merge_conflict_are_told_as_such() -> None:
    with pytest.raises(NotANotebook) as script:
        parse(b"import os\n", "train.py")
    with pytest.raises(NotANotebook) as conflict:
        parse(b'{\n<<<<<<< HEAD\n"cells": []\n=======\n>>>>>>> x\n}')

    assert "jupytext --to ipynb train.py" in script.value.hint
    assert "merge conflict" in conflict.value.hint


def test_a_byte_order_mark_is_no_harm() -> None:
    raw = b"\xef\xbb\xbf" + json.dumps(document(cell("x = 1", "parameters"))).encode()

    assert parse(raw).cells == 1


def test_the_fingerprint_is_of_the_sources_alone() -> None:
    plain = document(cell(["a = 1\n", "b = 2"]), cell("# T", kind="markdown"))
    run = document(cell("a = 1\nb = 2", "x"), cell("# T", kind="markdown"), kernelspec={})
    run["cells"][0]["outputs"] = [{"output_type": "stream", "text": "hello"}]
    edited = document(cell("a = 1\nb = 3"), cell("# T", kind="markdown"))
    moved = document(cell("a = 1\nb = 2"), cell("# T"))

    assert len(parse(plain).fingerprint) == 64
    assert parse(plain).fingerprint == parse(run).fingerprint
    assert len({parse(d).fingerprint for d in (plain, edited, moved)}) == 3


@pytest.mark.parametrize(
    ("type_", "given_", "bound"),
    [
        ("float", "0.1", 0.1), ("float", "1e-3", 0.001), ("float", 1, 1.0), ("float",
        "-inf", -math.inf),
        ("int", "-3", -3), ("int", 3, 3), ("bool", "yes", True), ("bool", "0", False),
        ("bool", "True", True), ("str", "0.1", "0.1"), ("str", "", ""),
        ("Path", Path("a/b"), "a/b"),
        ("list[int]", "[1, 2]", [1, 2]), ("list[int]", "(1, 2)", [1, 2]), ("list[int]",
        "1,2", [1, 2]),
        ("list[str]", "[a, b]", ["a", "b"]), ("list[float]", "[1, 2.5]", [1.0, 2.5]),
        ("list", "[1, 'a']", [1, "a"]), ("tuple[int, str]", [1, "a"], [1, "a"]),
        ("tuple[int, ...]", (1, 2, 3), [1, 2, 3]),
        ("dict[str, float]", '{"a": 1}', {"a": 1.0}), ("dict", "{'a': None}", {"a": None}),
        ("int | None", "none", None), ("int | None", "null", None), ("int | None", "3", 3),
        ("str | None", "x", "x"), ("str | None", None, None), ("int | str", "3", 3),
        ("int | str", "3x", "3x"), ("float | int", "3", 3), ("bool | int", "1", 1),
        ("Literal['a', 'b']", "b", "b"), ("Literal[1, 2]", "2", 2), ("Literal[1, None]",
        "none", None),
        ("Literal['1', 2]", "1", "1"), ("int", np.int64(3), 3), ("float", np.float32(0.5), 0.5),
        ("float", np.float64(0.5), 0.5), ("bool", np.bool_(True), True),
        ("list[int]", np.array([1, 2]), [1, 2]), ("list[int]", range(2), [0, 1]),
        ("Any", "3", 3), ("Any", "[1]", [1]), ("Any", "{'a': 1}", {"a": 1}), ("Any", "007",
        "007"),
        ("Any", "a,b", "a,b"), ("Any", "1,2", "1,2"), ("Any", "nan", "nan"), ("Any", "NaN",
        "NaN"),
        ("Any", "null", None), ("Any", "hello", "hello"), ("Any", "{1, 2}", "{1, 2}"),
        ("Any", "__import__('os')", "__import__('os')"),
    ],
)  # fmt: skip
def test_values_are_bound(type_: str, given_: object, bound: object) -> None:
    [value] = tagged(f"x: {type_}").bind({"x": given_}).values()

    assert value == bound
    assert type(value) is type(bound)
    assert json.loads(json.dumps(value)) == bound


def test_not_a_number_is_a_float() -> None:
    value = tagged("x: float").bind({"x": "nan"})["x"]

    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("type_", "given_"),
    [
        ("int", "0.5"), ("int", 0.5), ("int", True), ("float", True), ("float", "fast"),
        ("bool", "maybe"), ("bool", 1), ("bool", ""), ("str", 3), ("int", None),
        ("list[int]", "[1, 'a']"), ("list[int]", "3"), ("list[int]", [True]), ("list", "[1"),
        ("tuple[int, int]", "[1]"), ("dict", "[1]"), ("dict[str, int]", '{"a": "b"}'),
        ("dict", {1: 2}), ("Literal['a', 'b']", "c"), ("Literal[1]", True), ("int | None", "x"),
        ("Any", object()), ("Any", {1, 2}), ("Any", 1j), ("str", "\udc80"), ("Any", [b"x"]),
        ("int", "9" * 5000), ("float", 10**400),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named_with_an_example(type_: str, given_: object) -> None:
    with pytest.raises(BadParameter, match=r"^x = ") as caught:
        tagged(f"x: {type_}").bind({"x": given_})

    assert str(parse_type(type_)) in caught.value.message
    assert "x=" in caught.value.hint or "choose one of" in caught.value.hint


def test_a_value_that_holds_itself_is_refused() -> None:
    circle: list[object] = []
    circle.append(circle)

    with pytest.raises(BadParameter, match="nested too deeply"):
        tagged("x = []").bind({"x": circle})


@pytest.mark.parametrize(
    "type_",
    ["int", "float", "bool", "list", "list[str]", "dict", "tuple", "Path", "int | None", "str",
     "Literal['a', 'b']"],
)  # fmt: skip
def test_the_example_of_an_error_can_be_given(type_: str) -> None:
    assert tagged(f"x: {type_}").bind({"x": parse_type(type_).example})


def test_a_type_told_by_the_default_says_so() -> None:
    with pytest.raises(BadParameter) as caught:
        tagged("size = 1").bind({"size": "0.5"})

    assert caught.value.message == "size = '0.5' is not int"
    assert "its default 1 tells the type" in caught.value.hint


def test_all_that_is_wrong_is_told_at_once() -> None:
    notebook = tagged("lr: float = 0.1\nepochs: int = 3\nkind = 'a'")

    with pytest.raises(BadParameter) as caught:
        notebook.bind({"lr": "fast", "epochs": "many", "kind": "b"})
    with pytest.raises(UnknownParameter) as unknown:
        notebook.bind({"learning": 1, "LR": 2, "epochs": "many"})

    assert "lr = 'fast' is not float" in caught.value.message
    assert "epochs = 'many' is not int" in caught.value.message
    assert "'learning'" in unknown.value.message
    assert "did you mean lr?" in unknown.value.hint
    assert "it has: lr, epochs, kind" in unknown.value.hint


def test_names_are_checked_before_a_run() -> None:
    notebook = tagged("data: str\nlr = 0.1")
    notebook.check_names(["data", "lr"])

    with pytest.raises(UnknownParameter, match="no parameter 'date'") as unknown:
        notebook.check_names(["date"])
    with pytest.raises(BadParameter, match="needs a value for data"):
        notebook.check_names(["lr"])

    assert "did you mean data?" in unknown.value.hint


def test_a_notebook_without_parameters_tells_how_to_declare_them() -> None:
    notebook = parse(document(cell("print(1)")))
    assert notebook.bind({}) == {}

    with pytest.raises(UnknownParameter) as caught:
        notebook.bind({"lr": "0.1"})

    assert "tag the cell that sets its values `parameters`" in caught.value.hint


@pytest.mark.parametrize("name", ["class", "__name__", "a b", "x;y", ""])
def test_some_names_cannot_be_parameters(name: str) -> None:
    with pytest.raises(UnknownParameter) as caught:
        tagged("lr = 0.1").bind({name: 1})

    assert "cannot be the name of a parameter" in caught.value.hint


def test_another_language_takes_any_name() -> None:
    notebook = parse(
        document(cell("lr <- 0.1", "parameters"), kernelspec={"name": "ir", "language": "R"})
    )

    assert notebook.parameters == ()
    assert notebook.language == "r"
    assert notebook.bind({"lr": "0.2", "n.trees": "x"}) == {"lr": 0.2, "n.trees": "x"}
    with pytest.raises(UnknownParameter):
        notebook.bind({"x; system('rm')": 1})


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=8
)
types = st.recursive(
    st.sampled_from([Type(name) for name in ("int", "float", "str", "bool", "Path", "None")])
    | st.lists(
        st.none() | st.booleans() | st.integers() | st.text(), min_size=1, max_size=3
    ).map(lambda choices: Type("Literal", choices=tuple(choices))),
    lambda inner: (
        inner.map(lambda t: Type("list", (t,)))
        | inner.map(lambda t: Type("dict", (Type("str"), t)))
        | st.lists(inner, min_size=1, max_size=3).map(lambda t: Type("tuple", tuple(t)))
        | st.lists(inner, min_size=1, max_size=3).map(lambda t: union(*t))
        | inner.map(lambda t: union(t, NONE))
    ),
    max_leaves=5,
)


@given(values)
def test_a_default_is_read_as_what_python_makes_of_it(value: object) -> None:
    [parameter] = tagged(f"x = {value!r}  # help").parameters

    assert parameter.default == value
    assert parameter.default_text == repr(value)
    assert parameter.help == "help"


@given(values)
def test_json_text_is_bound_as_its_value(value: object) -> None:
    bound = tagged("x = f()").bind({"x": json.dumps(value)})

    assert bound == {"x": value}


@given(types)
def test_a_type_is_read_as_it_was_written(type_: Type) -> None:
    assert parse_type(str(type_)) == type_


@given(types, values)
def test_whatever_is_bound_is_json_and_fits_again(type_: Type, value: object) -> None:
    notebook = tagged(f"x: {type_}")
    try:
        bound = notebook.bind({"x": value})
    except BadParameter as error:
        assert error.hint  # noqa: PT017  # either outcome is right; no other one is
        return
    assert json.loads(json.dumps(bound)) == bound


@given(st.text())
def test_any_text_in_a_parameters_cell_is_parameters_or_a_user_error(source: str) -> None:
    try:
        assert tagged(source).is_tagged
    except UserError as error:
        assert "cell 1" in error.message  # noqa: PT017  # likewise


@given(st.binary())
def test_any_bytes_are_a_notebook_or_a_user_error(content: bytes) -> None:
    with pytest.raises(NotANotebook, match=r"nb\.ipynb"):
        parse(content)


@given(st.lists(st.lists(st.integers() | st.text()) | st.integers(), min_size=1))
def test_commas_in_brackets_and_quotes_do_not_part(parts: list[object]) -> None:
    pieces = [json.dumps(part) for part in parts]

    assert split_commas(",".join(pieces)) == pieces
