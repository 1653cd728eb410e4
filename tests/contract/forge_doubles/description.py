"""GitHub's official OpenAPI description, as its own clients are made from it."""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge_doubles.server import Answer, Request

_FOLDER = Path(sys.prefix) / "descriptions"
_HERE = "urn:description"


def description_file(name: str) -> Path:
    """Say where the test set-up puts a description."""
    return _FOLDER / name


@cache
def read_description(name: str) -> Description:
    return Description(json.loads(description_file(f"{name}.json").read_text()))


class Description:
    """Holds requests and answers against an OpenAPI 3.0 description.

    Args:
        document: the description.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        resource = Resource.from_contents(document, default_specification=DRAFT4)
        self._registry = Registry().with_resource(_HERE, resource)

    def faults(self, request: Request, answer: Answer, path: str) -> Iterator[str]:
        """Yield what the description does not allow."""
        template, operation = self._operation(request.method, path)
        for fault in (
            *self._query_faults(request, operation),
            *self._body_faults(request, operation),
            *self._answer_faults(answer, operation),
        ):
            yield f"{request.method} {template}: {fault}"

    def _query_faults(self, request: Request, operation: dict[str, Any]) -> Iterator[str]:
        known = {p["name"]: p for p in map(self._resolved, operation.get("parameters", []))}
        for name, value in request.query.items():
            if known.get(name, {}).get("in") != "query":
                yield f"no such query parameter: {name}"
            elif value not in known[name]["schema"].get("enum", [value]):
                yield f"{name} = {value} is not allowed"

    def _body_faults(self, request: Request, operation: dict[str, Any]) -> Iterator[str]:
        if request.body is None:
            return
        content = self._resolved(operation["requestBody"])["content"]["application/json"]
        yield from self._wrong(content["schema"], request.body)
        # A misspelt field is passed over by GitHub, so it must be caught here.
        schema = self._resolved(content["schema"])
        parts = (schema, *schema.get("oneOf", ()))
        names = {name for part in parts for name in part.get("properties", ())}
        yield from (f"no such field: {name}" for name in set(request.body) - names)

    def _answer_faults(self, answer: Answer, operation: dict[str, Any]) -> Iterator[str]:
        if str(answer.status) not in operation["responses"]:
            yield f"does not answer {answer.status}"
            return
        response = self._resolved(operation["responses"][str(answer.status)])
        content = response.get("content", {}).get("application/json")
        if content is not None:
            yield from self._wrong(content["schema"], answer.body)
        elif answer.body is not None:
            yield f"{answer.status} has no content"

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any]]:
        found = []
        for template, operations in self._document["paths"].items():
            # Of all parameters, only a ref's name spans slashes.
            pattern = "".join(
                {"{ref}": ".+"}.get(part, "[^/]+") if part[:1] == "{" else re.escape(part)
                for part in re.split(r"(\{\w+\})", template)
            )
            if re.fullmatch(pattern, path) and method.lower() in operations:
                found.append((template, operations[method.lower()]))
        assert found, f"{method} {path} is described nowhere"
        return min(found, key=lambda pair: pair[0].count("{"))

    def _resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        while ref := part.get("$ref"):
            part = self._document
            for key in ref.removeprefix("#/").split("/"):
                part = part[key]
        return part

    def _wrong(self, schema: dict[str, Any], value: object) -> list[str]:
        if "$ref" in schema:
            schema = {"$ref": _HERE + schema["$ref"]}
        else:
            schema = json.loads(json.dumps(schema).replace('"#/', f'"{_HERE}#/'))
        validator = OAS30Validator(schema, registry=self._registry)
        return [f"{e.json_path}: {e.message}" for e in validator.iter_errors(value)]
