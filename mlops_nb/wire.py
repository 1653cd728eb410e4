"""Domain values as JSON and back; the only module that knows the JSON edge."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


# Building an adapter costs milliseconds; a run's events come many times a second.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def dumps(value: object, *, indent: int | None = None) -> str:
    """Give a domain value as JSON text; NaN and infinities become null."""
    adapter = _adapter(type(value))
    return adapter.dump_json(value, indent=indent, fallback=str).decode()


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
        raise UserError(f"{where}: {first['msg']}", hint="see the documented JSON") from error
    return value
