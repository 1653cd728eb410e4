"""The conditions that kfp compiles from dsl.If, in CEL: read and judged."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.\d+(?:[eE][-+]?\d+)?|\d+)
    |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<parameter>inputs\.parameter_values\[\s*(?P<quote>['"])(?P<key>.*?)(?P=quote)\s*\])
    |(?P<word>[A-Za-z_]\w*)
    |(?P<sign>&&|\|\||==|!=|<=|>=|<|>|!|-|\(|\)))""",
    re.VERBOSE,
)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class BadCondition(Exception):
    """A condition that cannot be read, or that compares what cannot be compared."""


def holds(condition: str, parameters: Mapping[str, Any]) -> bool:
    """Judge a condition on a task's input parameters."""
    judge = _Judge(condition, parameters)
    value = judge.either()
    if judge.sign or not isinstance(value, bool):
        raise BadCondition(f"no condition: {condition}")
    return value


class _Judge:
    """Reads one expression from left to right, judging as it goes."""

    def __init__(self, text: str, parameters: Mapping[str, Any]) -> None:
        self._text = text
        self._parameters = parameters
        self._at = 0
        self._token: re.Match[str] | None = None
        self._next()

    @property
    def sign(self) -> str:
        """Give the text of the token at hand; empty at the end."""
        return self._token[0].strip() if self._token else ""

    def _next(self) -> None:
        rest = self._text[self._at :]
        self._token = _TOKEN.match(rest) if rest.strip() else None
        if rest.strip() and not self._token:
            raise BadCondition(f"cannot read {rest.strip()!r} of the condition {self._text}")
        self._at += self._token.end() if self._token else 0

    def _take(self, *signs: str) -> str:
        """Step over the token if it is one of the signs; give it, or nothing."""
        found = self.sign if self.sign in signs else ""
        if found:
            self._next()
        return found

    def either(self) -> Any:
        """Judge alternatives."""
        value = self._both()
        while self._take("||"):
            right = self._both()
            value = self._truth(value) or self._truth(right)
        return value

    def _both(self) -> Any:
        value = self._comparison()
        while self._take("&&"):
            right = self._comparison()
            value = self._truth(value) and self._truth(right)
        return value

    def _comparison(self) -> Any:
        left = self._unary()
        sign = self._take("==", "!=", *_ORDER)
        if not sign:
            return left
        right = self._unary()
        if sign in {"==", "!="}:
            same = isinstance(left, bool) is isinstance(right, bool) and left == right
            return same is (sign == "==")
        kinds = {_kind(left), _kind(right)}
        if len(kinds) > 1 or kinds <= {"bool", "other"}:
            raise BadCondition(f"cannot compare {left!r} {sign} {right!r}: {self._text}")
        return _ORDER[sign](left, right)

    def _unary(self) -> Any:
        if self._take("!"):
            return not self._truth(self._unary())
        if self._take("-"):
            value = self._unary()
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadCondition(f"cannot negate {value!r}: {self._text}")
            return -value
        if self._take("("):
            value = self.either()
            if not self._take(")"):
                raise BadCondition(f"a bracket is open in the condition {self._text}")
            return value
        return self._primary()

    def _primary(self) -> Any:
        token = self._token
        if token is None:
            raise BadCondition(f"the condition ends too early: {self._text}")
        self._next()
        if token["number"]:
            return float(token["number"]) if "." in token["number"] else int(token["number"])
        if token["text"]:
            return _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), token["text"][1:-1])
        if token["key"] is not None:
            return self._parameter(token["key"])
        if token["word"] in {"true", "false"}:
            return token["word"] == "true"
        return self._call(token[0].strip())

    def _parameter(self, key: str) -> Any:
        if key not in self._parameters:
            raise BadCondition(f"no such key: {key}")
        return self._parameters[key]

    def _call(self, word: str) -> Any:
        casts: dict[str, Callable[[Any], Any]] = {"int": int, "double": float, "string": str}
        if word not in casts or not self._take("("):
            raise BadCondition(f"cannot read {word!r} of the condition {self._text}")
        value = self.either()
        if not self._take(")"):
            raise BadCondition(f"a bracket is open in the condition {self._text}")
        try:
            return casts[word](value)
        except (TypeError, ValueError):
            raise BadCondition(f"{word}({value!r}) is not possible") from None

    def _truth(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise BadCondition(f"{value!r} is neither true nor false: {self._text}")
        return value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"
