"""Lists as the API gives them: filtered, sorted, in pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_nb.dev.kubeflow.refusal import invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.dev.kubeflow.options import Json

_DEFAULT_SIZE = 20
_LARGEST_SIZE = 200
_NUMBERS = {
    1: "EQUALS",
    2: "NOT_EQUALS",
    3: "GREATER_THAN",
    5: "GREATER_THAN_EQUALS",
    6: "LESS_THAN",
    7: "LESS_THAN_EQUALS",
    8: "IN",
    9: "IS_SUBSTRING",
}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "EQUALS": lambda have, want: have == want,
    "NOT_EQUALS": lambda have, want: have != want,
    "GREATER_THAN": lambda have, want: have > want,
    "GREATER_THAN_EQUALS": lambda have, want: have >= want,
    "LESS_THAN": lambda have, want: have < want,
    "LESS_THAN_EQUALS": lambda have, want: have <= want,
    "IN": lambda have, want: have in want,
    "IS_SUBSTRING": lambda have, want: want.lower() in have.lower(),
}
_VALUES = {
    "string_value": "stringValue",
    "int_value": "intValue",
    "long_value": "longValue",
    "timestamp_value": "timestampValue",
    "string_values": "stringValues",
    "int_values": "intValues",
    "long_values": "longValues",
}


@dataclass(frozen=True)
class Shape:
    """What a kind of thing can be sorted and filtered by.

    Args:
        plural: the name of the list in the answer.
        key: the field with the id.
        fields: what sorting and filtering may name, and the field that each stands for.
    """

    plural: str
    key: str
    fields: Mapping[str, str]


def page(shape: Shape, items: list[Json], query: Mapping[str, str]) -> Json:
    """Give one page of a list.

    Args:
        shape: what is listed.
        items: everything that there is, oldest first.
        query: page_size, page_token, sort_by and filter of the request.
    """
    token = _read_token(query.get("page_token", ""))
    size = _size(query.get("page_size", ""))
    sort_by = token.get("sort_by", query.get("sort_by", ""))
    filter_ = token.get("filter", query.get("filter", ""))
    found = _filtered(shape, items, filter_)
    found = _sorted(shape, found, sort_by)
    start = int(token.get("start", 0))
    answer: Json = {}
    if found[start : start + size]:
        answer[shape.plural] = found[start : start + size]
    if found:
        answer["total_size"] = len(found)
    if found[start + size :]:
        following = {"start": start + size, "sort_by": sort_by, "filter": filter_}
        answer["next_page_token"] = base64.urlsafe_b64encode(
            json.dumps(following).encode()
        ).decode()
    return answer


def _read_token(text: str) -> Json:
    if not text:
        return {}
    try:
        return dict(json.loads(base64.urlsafe_b64decode(text)))
    except (ValueError, TypeError):
        raise invalid(f"Invalid page token: {text}") from None


def _size(text: str) -> int:
    try:
        size = int(text or 0)
    except ValueError:
        raise invalid(f"page_size is no number: {text}") from None
    if size < 0:
        raise invalid(f"The page size should be greater than 0. Got {size}")
    return min(size or _DEFAULT_SIZE, _LARGEST_SIZE)


def _sorted(shape: Shape, items: list[Json], sort_by: str) -> list[Json]:
    words = sort_by.split()
    if not words:
        return items
    if len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):
        raise invalid(f'Invalid sort_by: "{sort_by}"')
    if words[0] not in shape.fields:
        raise invalid(f'Invalid sorting field: "{words[0]}"')
    field = shape.fields[words[0]]
    down = words[1:] == ["desc"]
    # Of those made in the same second the newest comes first when sorting down.
    ordered = list(reversed(items)) if down else items
    return sorted(ordered, key=lambda item: str(item.get(field, "")), reverse=down)


def _filtered(shape: Shape, items: list[Json], text: str) -> list[Json]:
    if not text:
        return items
    try:
        filter_ = json.loads(text)
        predicates = list(filter_.get("predicates", []))
    except (ValueError, AttributeError, TypeError):
        raise invalid(f"failed to parse valid filter: {text}") from None
    if not isinstance(filter_, dict) or set(filter_) - {"predicates"}:
        raise invalid(f"failed to parse valid filter: {text}")
    for predicate in predicates:
        field, test, wanted = _predicate(shape, predicate)
        items = [item for item in items if test(str(item.get(field, "")), wanted)]
    return items


def _predicate(shape: Shape, predicate: Any) -> tuple[str, Callable[[Any, Any], bool], Any]:
    if not isinstance(predicate, dict):
        raise invalid(f"no predicate: {predicate!r}")
    values = {snake: predicate[camel] for snake, camel in _VALUES.items() if camel in predicate}
    values |= {snake: predicate[snake] for snake in _VALUES if snake in predicate}
    unknown = set(predicate) - {"operation", "key"} - set(_VALUES) - set(_VALUES.values())
    if unknown:
        raise invalid(f'unknown field "{min(unknown)}" in a predicate')
    operation = predicate.get("operation", "")
    operation = _NUMBERS.get(operation, "") if isinstance(operation, int) else operation
    if operation not in _TESTS or len(values) != 1:
        raise invalid(f"invalid predicate: {predicate!r}")
    key = str(predicate.get("key", ""))
    if key not in shape.fields:
        raise invalid(f'no support for filtering on unrecognized field "{key}"')
    wanted = next(iter(values.values()))
    if operation == "IN":
        given = wanted.get("values", []) if isinstance(wanted, dict) else []
        wanted = [str(value) for value in given]
    else:
        wanted = str(wanted)
    return shape.fields[key], _TESTS[operation], wanted
