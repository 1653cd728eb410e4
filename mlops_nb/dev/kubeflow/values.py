"""Parameter values: their types, their text, and the placeholders that stand for them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.dev.kubeflow.options import Json

_PLACEHOLDER = re.compile(r"\{\{\$(?P<path>(?:\.[A-Za-z_]+|\[(['\"]).*?\2\])*)\}\}")
_STEP = re.compile(r"\.([A-Za-z_]+)|\[(['\"])(.*?)\2\]")
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class BadValue(Exception):
    """A value that does not fit its parameter."""


def plain(value: Any) -> Any:
    """Give whole floats as integers, all the way down: protobuf knows one kind of number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def text_of(value: Any) -> str:
    """Write a value as it reaches a command line."""
    value = plain(value)
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def value_of(text: str, kind: str) -> Any:
    """Read a value from an output file; a string is taken as it is, to its last newline."""
    try:
        match kind:
            case "NUMBER_INTEGER":
                return int(text.strip())
            case "NUMBER_DOUBLE":
                return float(text.strip())
            case "BOOLEAN":
                return _truth(text.strip())
            case "LIST" | "STRUCT":
                value = json.loads(text)
            case _:
                return text
    except ValueError:
        raise BadValue(f"{text!r} is not of type {kind}") from None
    if not fits(value, kind):
        raise BadValue(f"{text!r} is not of type {kind}")
    return value


def _truth(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ValueError(text)
    return text in _TRUE


def fits(value: Any, kind: str) -> bool:
    """Tell whether a JSON value is of a parameter type."""
    match kind:
        case "STRING":
            return isinstance(value, str)
        case "BOOLEAN":
            return isinstance(value, bool)
        case "NUMBER_INTEGER":
            return not isinstance(value, bool) and isinstance(plain(value), int)
        case "NUMBER_DOUBLE":
            return not isinstance(value, bool) and isinstance(value, int | float)
        case "LIST":
            return isinstance(value, list)
        case "STRUCT":
            return isinstance(value, dict)
        case _:
            return True


def fill(text: str, known: Mapping[str, Any]) -> str:
    """Put values in place of placeholders; what is not known stays, as in the real launcher.

    Args:
        text: with placeholders such as `{{$.inputs.parameters['x']}}`.
        known: the tree that the paths lead into; its key "" stands for `{{$}}`.
    """

    def found(match: re.Match[str]) -> str:
        steps = [step[1] or step[3] for step in _STEP.finditer(match["path"])]
        value: Any = known
        for step in steps or [""]:
            if not isinstance(value, dict) or step not in value:
                return match[0]
            value = value[step]
        return text_of(value)

    return _PLACEHOLDER.sub(found, text)


def words(parts: list[str], given: Json, known: Mapping[str, Any]) -> list[str]:
    """Make a command line of a container's command or args.

    Args:
        parts: as in the IR, with placeholders and with IfPresent and Concat as JSON.
        given: the inputs that are there, for IfPresent.
        known: as for `fill`.
    """
    line: list[str] = []
    for part in parts:
        structure = _structure(part)
        line += [part] if structure is None else _unfold(structure, given)
    return [fill(word, known) for word in line]


def _structure(part: str) -> Json | None:
    if not part.startswith(('{"Concat"', '{"IfPresent"')):
        return None
    try:
        structure = json.loads(part)
    except ValueError:
        return None
    return structure if isinstance(structure, dict) else None


def _unfold(part: Any, given: Json) -> list[str]:
    if isinstance(part, list):
        return [word for item in part for word in _unfold(item, given)]
    if not isinstance(part, dict):
        return [str(part)]
    if "Concat" in part:
        return ["".join(_unfold(part["Concat"], given))]
    choice = part["IfPresent"]
    taken = choice.get("Then" if choice["InputName"] in given else "Else", [])
    return _unfold(taken, given)
