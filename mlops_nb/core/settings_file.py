"""Typed values out of a TOML document; every error names the file and the dotted key."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import BadSettings, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Reader:
    """Reads one file.

    Args:
        path: where the text was read, for errors.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def open_table(self, document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """Give a table of any keys; a missing one is empty."""
        table = document.get(key, {})
        if not isinstance(table, dict):
            raise self.wrong(key, table, "not a table")
        return table

    def table(
        self, document: Mapping[str, Any], key: str, known: tuple[str, ...], prefix: str = ""
    ) -> Mapping[str, Any]:
        """Give a table that may have the known keys and no others."""
        table = document.get(key, {})
        if not isinstance(table, dict):
            raise self.wrong(f"{prefix}{key}", table, "not a table")
        self.no_others(table, known, f"{prefix}{key}.")
        return table

    def no_others(self, table: Mapping[str, Any], known: tuple[str, ...], prefix: str) -> None:
        """Refuse keys that are not known."""
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                raise BadSettings(
                    f"{self._path}: unknown key {prefix}{key}",
                    hint=f"did you mean {prefix}{close[0]}?"
                    if close
                    else f"known here: {', '.join(known)}",
                )

    def text(self, table: Mapping[str, Any], key: str, default: str) -> str:
        """Give a text, or the default where the key is missing."""
        value = table.get(key.rpartition(".")[2], default)
        if not isinstance(value, str):
            raise self.wrong(key, value, "not a text")
        return value

    def texts(self, value: object, key: str) -> tuple[str, ...]:
        """Give a list of texts."""
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, value, "not a list of texts")
        return tuple(value)

    def texts_by_name(self, value: object, key: str) -> dict[str, str]:
        """Give a table of texts."""
        if not isinstance(value, dict):
            raise self.wrong(key, value, "not a table")
        for name, text in value.items():
            if not isinstance(text, str):
                raise self.wrong(f"{key}.{name}", text, "not a text")
        return dict(value)

    def values(
        self,
        table: Mapping[str, Any],
        prefix: str,
        defaults: object,
        parsers: Mapping[str, Callable[[str], Any]],
    ) -> dict[str, Any]:
        """Give a dataclass' values by name, each of the kind that its default is of.

        Args:
            table: keys that are all names of fields.
            prefix: what stands before a key, for errors.
            defaults: the dataclass with its defaults.
            parsers: reads sizes and durations, written as text or number, by key.
        """
        return {
            key: self._parsed(value, f"{prefix}{key}", parsers[key])
            if key in parsers
            else self._value(value, f"{prefix}{key}", getattr(defaults, key))
            for key, value in table.items()
        }

    def _value(self, value: object, key: str, default: object) -> object:
        match default:
            case tuple():
                return self.texts(value, key)
            case dict():
                return self.texts_by_name(value, key)
            case float() if type(value) is int:
                return float(value)
            # 4 processors are as well written without quotes.
            case str() if key.endswith(".cpu") and type(value) in {int, float}:
                return str(value)
        if type(value) is not type(default):
            raise self.wrong(key, value, f"not {type(default).__name__}")
        return value

    def _parsed(self, value: object, key: str, parse: Callable[[str], Any]) -> object:
        try:
            return parse(str(value))
        except UserError as error:
            raise self.wrong(key, value, error.message) from None

    def wrong(self, key: str, value: object, why: str) -> BadSettings:
        """Make the error that tells what is wrong with a value."""
        return BadSettings(f"{self._path}: {key} = {value!r}: {why}", hint=f"mend {key}")
