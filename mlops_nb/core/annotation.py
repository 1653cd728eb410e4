"""Types of notebook parameters, as written in Python, and values read as they say."""

from __future__ import annotations

import ast
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

_NAMES = {
    **{name: name for name in ("bool", "int", "float", "str", "list", "dict", "tuple")},
    **dict.fromkeys(("List", "Sequence", "MutableSequence", "Iterable", "Collection"), "list"),
    **dict.fromkeys(("Dict", "Mapping", "MutableMapping"), "dict"),
    **dict.fromkeys(("Path", "PurePath", "PosixPath", "PathLike"), "Path"),
    "Tuple": "tuple",
    "None": "None",
    "NoneType": "None",
}
_WRAPPERS = {"Annotated", "Final", "ClassVar"}
_EXAMPLES = {
    "bool": "true",
    "int": "3",
    "float": "0.1",
    "str": "text",
    "list": "[1, 2]",
    "dict": '{"a": 1}',
    "tuple": "[1, 2]",
    "Path": "data/train.csv",
    "None": "none",
    "Any": "1",
}
# A text that fits several members of a union is read as the first of these.
_RANKS = (
    "None",
    "Literal",
    "int",
    "float",
    "bool",
    "list",
    "tuple",
    "dict",
    "Any",
    "Path",
    "str",
)
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


@dataclass(frozen=True, slots=True)
class Type:
    """A parameter's type.

    Args:
        name: bool, int, float, str, list, dict, tuple, Path, None, Literal, Union, Any, or
            `...` as the last argument of a tuple of any length.
        args: types of its elements, or members of a union.
        choices: values of a Literal.
    """

    name: str
    args: tuple[Type, ...] = ()
    choices: tuple[object, ...] = ()

    def __str__(self) -> str:
        """Write it as in Python; nothing for a type that is not known."""
        if self.name == "Any" or (self.name == "Union" and not self.args):
            return ""
        return self._text()

    def _text(self) -> str:
        if self.name == "Union":
            return " | ".join(arg._text() for arg in self.args)  # noqa: SLF001  # its own kind
        inner = [repr(choice) for choice in self.choices]
        inner += [arg._text() for arg in self.args]  # noqa: SLF001  # its own kind
        return f"{self.name}[{', '.join(inner)}]" if inner else self.name

    @property
    def members(self) -> tuple[Type, ...]:
        """The members of a union; of any other type, itself."""
        return self.args if self.name == "Union" else (self,)

    @property
    def example(self) -> str:
        """Text that can be read as this type."""
        first = min(self.members, key=lambda t: t.name == "None")
        if first.name == "Literal":
            return str(first.choices[0])
        if first.name == "list" and first.args and first.args[0].name == "str":
            return '["a", "b"]'
        return _EXAMPLES[first.name]


ANY = Type("Any")
NONE = Type("None")


@cache
def parse_type(text: str) -> Type:
    """Read a type as written in Python; what is not known is `Any`."""
    try:
        return type_of(ast.parse(text.strip(), mode="eval").body)
    except _UNREADABLE:
        return ANY


def type_of(node: ast.expr) -> Type:
    """Read an annotation; what is not known is `Any`."""
    match node:
        case ast.Constant(value=None):
            return NONE
        case ast.Constant(value=str(text)):
            return parse_type(text)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return union(type_of(left), type_of(right))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return Type(_NAMES[name]) if name in _NAMES else ANY
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _generic(name, inner.elts if isinstance(inner, ast.Tuple) else [inner])
        case _:
            return ANY


def union(*types: Type) -> Type:
    """Give the type of values that fit any of these."""
    members = tuple(dict.fromkeys(member for type_ in types for member in type_.members))
    if ANY in members:
        return ANY
    return members[0] if len(members) == 1 else Type("Union", members)


def type_of_value(value: object) -> Type:
    """Give the type that a literal default tells; None tells nothing."""
    name = type(value).__name__
    known = {"bool", "int", "float", "str", "list", "dict", "tuple"}
    return Type(name) if name in known else ANY


def _generic(name: str, inner: list[ast.expr]) -> Type:
    if name in _WRAPPERS:
        return type_of(inner[0])
    if name == "Optional":
        return union(type_of(inner[0]), NONE)
    if name == "Union":
        return union(*(type_of(node) for node in inner))
    if name == "Literal":
        return _literal(inner)
    kind = _NAMES.get(name)
    if kind not in {"list", "dict", "tuple"}:
        return ANY if kind is None else Type(kind)
    if kind == "list":
        inner = inner[:1]
    args = tuple(
        Type("...") if isinstance(n, ast.Constant) and n.value is ... else type_of(n)
        for n in inner
    )
    return Type(kind, args)


def _literal(inner: list[ast.expr]) -> Type:
    try:
        choices = tuple(ast.literal_eval(node) for node in inner)
    except _UNREADABLE:
        return ANY
    if not choices or not all(c is None or isinstance(c, bool | int | str) for c in choices):
        return ANY
    return Type("Literal", choices=choices)


def plain(value: object) -> object:
    """Give a value as JSON knows it; numpy's and pandas' own numbers and arrays too.

    Raises:
        ValueError: if JSON has nothing for it.
    """
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return _text(value) if isinstance(value, str) else kind(value)
    if isinstance(value, os.PathLike):
        return (
            plain(os.fspath(value)) if not isinstance(os.fspath(value), bytes) else _no(value)
        )
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the keys of a mapping must be text")
        return {_text(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    for name in ("tolist", "item"):
        method = getattr(value, name, None)
        if callable(method):
            return plain(method())
    return _no(value)


def read(type_: Type, value: object) -> object:
    """Read text as a type says, or check a value that has a type already.

    Raises:
        ValueError: if it does not fit; the text says why where that is not plain.
    """
    if isinstance(value, str):
        return _from_text(type_, _text(value))
    return _checked(type_, plain(value))


def split_commas(text: str) -> list[str]:
    """Split at the commas that are in no brackets and no quoted text.

    Quotes count within brackets and where they begin a piece: `it's, mine` are two.

    Raises:
        ValueError: if a bracket or a quoted text is not closed.
    """
    pieces, start, depth, quote, skip = [], 0, 0, "", False
    for place, char in enumerate(text):
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char in "\"'" and (depth or not text[start:place].strip()):
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and not depth:
            pieces.append(text[start:place].strip())
            start = place + 1
        if depth < 0:
            break
    if depth or quote:
        raise ValueError("a bracket or a quote is not closed")
    return [*pieces, text[start:].strip()]


def _no(value: object) -> object:
    raise ValueError(f"a {type(value).__name__} cannot be passed to a notebook")


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("not valid Unicode text") from None
    return str(value)


def _from_text(type_: Type, text: str) -> object:
    if type_.name == "Union":
        return _first_that_fits(type_, lambda member: _from_text(member, text))
    readers: dict[str, Callable[[], object]] = {
        "str": lambda: text,
        "Path": lambda: text,
        "None": lambda: _none(text),
        "bool": lambda: _bool(text),
        "int": lambda: int(text),
        "float": lambda: float(text),
        "Literal": lambda: _choice(type_, text),
        "Any": lambda: _guess(text),
    }
    if type_.name in readers:
        return readers[type_.name]()
    try:
        return _checked(type_, plain(_parsed(text)))
    except _UNREADABLE:
        return _unquoted(type_, text)


def _checked(type_: Type, value: object) -> object:
    match type_.name:
        case "Union":
            return _first_that_fits(type_, lambda member: _checked(member, value))
        case "Literal":
            return _chosen(type_, value)
        case "list" | "tuple" | "dict":
            return _filled(type_, value)
        case _:
            return _scalar(type_.name, value)


def _scalar(name: str, value: object) -> object:
    match name, value:
        case ("int" | "float", bool()):
            raise ValueError
        case ("Any", _) | ("None", None) | ("bool", bool()) | ("str" | "Path", str()):
            return value
        case ("int", int()) | ("float", float()):
            return value
        case "float", int():
            return _float(value)
        case _:
            raise ValueError


def _filled(type_: Type, value: object) -> object:
    if isinstance(value, dict) and type_.name == "dict":
        inner = type_.args[1] if len(type_.args) > 1 else ANY
        return {key: _checked(inner, item) for key, item in value.items()}
    if isinstance(value, list) and type_.name != "dict":
        types = _items(type_, value)
        return [_checked(t, item) for t, item in zip(types, value, strict=True)]
    raise ValueError


def _chosen(type_: Type, value: object) -> object:
    for choice in type_.choices:
        if choice == value and type(choice) is type(value):
            return value
    raise ValueError


def _first_that_fits(type_: Type, fit: Callable[[Type], object]) -> object:
    for member in sorted(type_.members, key=lambda t: _RANKS.index(t.name)):
        try:
            return fit(member)
        except ValueError:
            continue
    raise ValueError


def _items(type_: Type, value: list[object]) -> list[Type]:
    if not type_.args:
        return [ANY] * len(value)
    if type_.name == "list" or type_.args[-1].name == "...":
        return [type_.args[0]] * len(value)
    if len(type_.args) != len(value):
        raise ValueError(f"it has {len(value)} elements, not {len(type_.args)}")
    return list(type_.args)


def _unquoted(type_: Type, text: str) -> object:
    """Read `[a, b]`: the quotes of a list's texts get lost in a shell."""
    stripped = text.strip()
    if type_.name not in {"list", "tuple"} or stripped[:1] + stripped[-1:] != "[]":
        raise ValueError
    pieces = split_commas(stripped[1:-1])
    types = _items(type_, list(pieces))
    return [_from_text(t, piece) for t, piece in zip(types, pieces, strict=True)]


def _none(text: str) -> None:
    if text.strip().lower() not in {"none", "null"}:
        raise ValueError


def _bool(text: str) -> bool:
    found = _BOOLS.get(text.strip().lower())
    if found is None:
        raise ValueError
    return found


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError("too large for a float") from None


def _choice(type_: Type, text: str) -> object:
    for choice in type_.choices:
        if str(choice) == text:
            return choice
    for choice in type_.choices:
        if not isinstance(choice, str) and str(choice).lower() == text.strip().lower():
            return choice
    raise ValueError


def _guess(text: str) -> object:
    """Read JSON or a Python literal; anything else is the text it is."""
    try:
        value = _parsed(text)
        bare = isinstance(value, tuple) and not text.strip().startswith("(")
        return text if bare else plain(value)
    except _UNREADABLE:
        return text


def _parsed(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except ValueError:
        return ast.literal_eval(text.strip())


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")
