"""Domain values as JSON and back; the only module that knows the JSON edge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from mlops_nb.core.results import Log
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


# Building an adapter costs milliseconds; a run's events come many times a second.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def dumps(value: object, *, indent: int | None = None) -> str:
    """Give a domain value, or a log's lines, as JSON text.

    NaN and infinities are texts: JSON has no such numbers, and `loads` reads these again.
    """
    if isinstance(value, Iterator):
        value = Log(lines=tuple(line.rstrip("\n") for line in value))
    return to_json(value, indent=indent, inf_nan_mode="strings", fallback=str).decode()


def canonical(value: object) -> bytes:
    """Give a domain value as the one JSON file that equal values have."""
    document = json.loads(dumps(value))
    return f"{json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)}\n".encode()


def loads(type_: type[T], text: str | bytes) -> T:
    """Read JSON text as a domain value.

    Args:
        type_: dataclass or union of them.
        text: the JSON.

    Raises:
        UserError: if the text is not such a value; the message names the field.
    """
    try:
        value: T = _adapter(type_).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise UserError(
            f"{where}: {first['msg']}", hint="docs/json.md describes the documents"
        ) from error
    return value


def schema(types: Mapping[str, Any]) -> dict[str, Any]:
    """Give the JSON schema of documents by name, with the types they share in `$defs`."""
    by_name, shared = TypeAdapter.json_schemas(
        [(name, "serialization", _adapter(type_)) for name, type_ in types.items()]
    )
    return {
        "properties": {str(name): document for (name, _), document in by_name.items()},
        **shared,
    }
