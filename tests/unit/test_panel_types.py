"""The panel's TypeScript types are rendered from ours; `--update-golden` writes them anew."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mlops_nb import wire
from mlops_nb.core.events import Event
from mlops_nb.core.results import DOCUMENTS, Refused
from mlops_nb.core.verbs import BY_NAME, Verb
from mlops_nb.server.documents import LogPart, Numbered, Overview, Resource

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
PATH = ROOT / "labextension" / "src" / "generated" / "documents.ts"

BEGINNING = """\
// Made from the Python types: see tests/unit/test_panel_types.py. Not to be edited by hand.

/** A number; what JSON does not know is a text. `Number(value)` reads both. */
export type Float = number | 'NaN' | 'Infinity' | '-Infinity';

/** An ISO 8601 time with its zone. */
export type Time = string;
"""


def name_of(name: str) -> str:
    """Give a type's name; two of one name are told apart by their modules."""
    if found := re.fullmatch(r"mlops_nb__(?:\w+__)?(\w+)__(\w+)", name):
        return found[1].capitalize() + found[2]
    return name


class Types:
    """The types of one JSON schema as TypeScript.

    `number` is what a float is called; `suffix` ends the names of what is no shared value.
    """

    def __init__(self, shared: dict[str, Any], number: str, suffix: dict[str, str]) -> None:
        self.shared = shared
        self.number = number
        self.suffix = suffix

    def name(self, name: str) -> str:
        return self.suffix.get(name, name_of(name))

    def kind(self, about: dict[str, Any]) -> str:
        if "$ref" in about:
            return self.name(about["$ref"].rpartition("/")[2])
        if "const" in about:
            return literal(about["const"])
        if "anyOf" in about:
            return " | ".join(dict.fromkeys(self.kind(part) for part in about["anyOf"]))
        if about.get("type") in {"array", "object"}:
            return self.collection(about)
        if about.get("format") == "date-time":
            return "Time"
        kinds = {
            "string": "string", "integer": "number", "number": self.number,
            "boolean": "boolean", "null": "null",
        }  # fmt: skip
        return kinds.get(about.get("type", ""), "unknown")

    def collection(self, about: dict[str, Any]) -> str:
        if "prefixItems" in about:
            return f"[{', '.join(self.kind(part) for part in about['prefixItems'])}]"
        if about["type"] == "array":
            inner = self.kind(about["items"])
            return f"({inner})[]" if "|" in inner else f"{inner}[]"
        values = about.get("additionalProperties")
        return f"Record<string, {self.kind(values) if isinstance(values, dict) else 'unknown'}>"

    def one(self, name: str, optional: frozenset[str] = frozenset()) -> str:
        about = self.shared[name]
        sentence = about.get("description", "").partition("\n\n")[0].replace("\n", " ")
        head = f"/** {sentence} */\n" if sentence else ""
        if "enum" in about:
            return f"{head}export type {self.name(name)} =\n" + (
                "\n".join(f"  | {literal(value)}" for value in about["enum"]) + ";\n"
            )
        fields = [
            f"  {field}{'?' if field in optional else ''}: {self.kind(kind)};"
            for field, kind in about["properties"].items()
        ]
        return "\n".join([f"{head}export interface {self.name(name)} {{", *fields, "}", ""])


def literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)


def documents() -> list[str]:
    """Render what the server says: every field is always there."""
    own = {"Overview": Overview, "Resource": Resource, "Numbered": Numbered, "LogPart": LogPart,
           "Refused": Refused}  # fmt: skip
    every = {f"verb {word}": about for word, about in DOCUMENTS.items()} | own
    schema = wire.schema(every)
    types = Types(schema["$defs"], "Float", {})
    text = [types.one(name) for name in sorted(schema["$defs"])]
    events = " | ".join(class_.__name__ for class_ in get_args(Event))
    text.append(f"/** What happens while a verb runs. */\nexport type MlopsEvent = {events};\n")
    given = [f"  {key(word)}: {types.kind(schema['properties'][f'verb {word}'])};"
             for word in DOCUMENTS]  # fmt: skip
    text.append("\n".join([
        "/** What each verb gives. */", "export interface Documents {", *given, "}", "",
    ]))  # fmt: skip
    return text


def requests() -> list[str]:
    """Render what may be asked: what has a default may be left out."""
    schema = wire.schema({"verb": Verb})
    verbs = {class_.__name__: f"{class_.__name__}Verb" for class_ in get_args(Verb)}
    types = Types(schema["$defs"], "number", verbs)
    text = []
    for name in verbs:
        about = schema["$defs"][name]
        optional = set(about["properties"]) - set(about.get("required", ()))
        optional |= {"parameters", "data"} & set(about["properties"])
        text.append(types.one(name, frozenset(optional - {"verb"})))
    asked = [f"  {key(word)}: {class_.__name__}Verb;" for word, class_ in words()]
    text.append("\n".join([
        "/** What each verb may be told. */", "export interface Verbs {", *asked, "}", "",
    ]))  # fmt: skip
    text.append("export type Verb = Verbs[keyof Verbs];\n")
    return text


def words() -> list[tuple[str, Any]]:
    return list(BY_NAME.items())


def key(word: str) -> str:
    return word if word.isidentifier() else f"'{word}'"


def render() -> str:
    return "\n".join([BEGINNING, *documents(), *requests()])


def test_the_panel_has_the_types_that_we_have(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        PATH.parent.mkdir(parents=True, exist_ok=True)
        PATH.write_text(render(), encoding="utf-8")
    assert PATH.exists(), f"{PATH} is missing: run with --update-golden, read the diff"
    assert PATH.read_text(encoding="utf-8") == render()


def test_no_two_types_have_one_name() -> None:
    names = re.findall(r"^export (?:type|interface) (\w+)", render(), re.MULTILINE)
    assert len(names) == len(set(names))


def test_package_and_panel_have_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    panel = json.loads((ROOT / "labextension" / "package.json").read_text())
    assert (panel["version"], panel["name"]) == (project["version"], project["name"])
