"""docs/json.md is rendered from the types; `--update-golden` writes it anew."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fake_registry import FakeRegistry

from mlops_nb import errors, wire
from mlops_nb.core.change import PullRequest, PullRequestState
from mlops_nb.core.delivery import Deployment, Environment
from mlops_nb.core.gate import Check, Outcome, Verdict
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.notebook import Notebook
from mlops_nb.core.results import DOCUMENTS, Refused, RunList, SweepResult
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.verbs import Verb
from mlops_nb.flows.register import register

PATH = Path(__file__).parents[2] / "docs" / "json.md"
SCHEMA = wire.schema(DOCUMENTS)
BEGAN = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)

PASSED = Check(
    gate="accuracy >= 0.65",
    outcome=Outcome.PASSED,
    value=0.74,
    low=0.6949,
    high=0.7825,
    threshold=0.65,
    n=400,
    reason="accuracy is 0.74 on 400 rows; the lower end of the 95 % interval, 0.6949, reaches "
    "0.65",
)
TRAINED = Run(
    id="credit-8103a3",
    notebook="/home/ann/credit.ipynb",
    state=RunState.SUCCEEDED,
    tracking_id="a0fb249a24f648cfa0211a5a98669ce9",
    directory="/home/ann/.mlops/runs/credit-8103a3",
    parameters={"n_estimators": 200},
    metrics={"accuracy": 0.74, "auc": 0.7588},
    started=BEGAN,
    ended=BEGAN + timedelta(seconds=15),
    cells_done=8,
    cells=8,
    last_line="accuracy 0.74",
    peak_memory=430_650_368,
    verdict=Verdict(checks=(PASSED,)),
    model="credit/2",
)
SWEPT = replace(
    TRAINED, id="credit-5d21f0", parameters={}, metrics={}, cells_done=2, cells=2,
    verdict=None, model="", best="max:auc", last_line="credit-5d21f0.2 succeeded",
)  # fmt: skip
CHILD = replace(
    TRAINED, id="credit-5d21f0.1", parent=SWEPT.id, parameters={"max_depth": 2}, verdict=None,
    model="",
)  # fmt: skip
PROPOSED = Deployment(
    version=ModelVersion(
        name="credit", version=2, source="file:///home/ann/.mlops/artifacts/models/m-89c2",
        digest="sha256:" + "c8f0" * 16, flavor="onnx", run=TRAINED.id,
        tracking_id=TRAINED.tracking_id, aliases=("candidate",), created=BEGAN,
    ),
    environment=Environment(name="prod", alias="champion"),
    previous=1,
    pull_request=PullRequest(
        number=2, state=PullRequestState.OPEN, title="Deploy credit/2 to prod",
        body="## credit: 1 → 2 in prod …", branch="mlops-nb/prod/credit",
        head="2017560" + "0" * 33,
        url="git -C /home/ann/.mlops/gitops.git log -p main..mlops-nb/prod/credit",
        author="Ann Lee <ann@example.com>", created=BEGAN, is_new=True, is_changed=True,
    ),
    files={"models/credit/overlays/prod/model.lock.yaml": b"model: credit\nversion: 2\n"},
    body="## credit: 1 → 2 in prod …",
    diff="--- a/models/credit/overlays/prod/model.lock.yaml …",
)  # fmt: skip
EXAMPLES = {
    "mlops train credit.ipynb -p n_estimators=200 --register credit --json": TRAINED,
    "mlops runs --limit 1 --json": RunList(runs=(TRAINED,)),
    "mlops show credit-5d21f0 --json": SweepResult(run=SWEPT, children=(CHILD,), best=CHILD.id),
    "mlops deploy credit --to prod --json": PROPOSED,
}

INTRODUCTION = """\
# The JSON documents

`mlops VERB --json` prints one document on stdout; messages and progress go to stderr.
`%mlops VERB --json` prints the same document in a cell. Every field is always there. Times are
ISO 8601 with their zone; sizes are bytes, durations seconds. A number JSON does not know is
the text `"NaN"`, `"Infinity"` or `"-Infinity"`.

What speaks for a deployment is a document, too: `evidence.json` in an overlay of the GitOps
repository is an [Evidence](#evidence), and equal evidence gives equal bytes. Its SHA-256 stands
in `model.lock.yaml` beside it.

This page is made from the types. A program that wants JSON schema asks for it:

```python
from mlops_nb import wire
from mlops_nb.core.notebook import Notebook
from mlops_nb.core.results import DOCUMENTS

wire.schema(DOCUMENTS)
```
"""

ERRORS = """\
## When a verb fails

The document is `{"error": …}`, and the shell's exit code is that of the error. A run that was
waited for and failed is no such error: its document is printed as ever, with `failure` or a
`verdict` that did not pass, and the exit code says so.

| field | | |
|---|---|---|
| type | text | class of `mlops_nb.errors`, as below |
| message | text | what is wrong, with the value |
| hint | text | the one thing to do next; empty where there is none |
| exit_code | whole number | exit code of the shell |
| verdict | [Verdict](#verdict) or null | every gate, judged, where one refused; else null |

"""


def kind(schema: dict[str, Any]) -> str:
    """Say in words what a value is."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(kind(part) for part in schema["anyOf"])
    if "prefixItems" in schema:
        return f"({', '.join(kind(part) for part in schema['prefixItems'])})"
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"{kind(values)} by name" if isinstance(values, dict) else "any value by name"
    if schema.get("format") == "date-time":
        return "time"
    names = {
        "string": "text", "integer": "whole number", "number": "number",
        "boolean": "true or false", "null": "null",
    }  # fmt: skip
    return names.get(schema.get("type", ""), "any value")


def told(name: str) -> tuple[str, dict[str, str]]:
    """Give a type's one sentence, and its fields' meanings, from its docstring."""
    text = SCHEMA["$defs"][name].get("description", "")
    sentence, _, rest = inspect.cleandoc(text).partition("\n\nArgs:\n")
    fields: dict[str, str] = {}
    for paragraph in re.split(r"\n(?=    \w)", "\n" + rest)[1:]:
        field, _, meaning = paragraph.strip().partition(": ")
        words = " ".join(meaning.split()).split("`")
        # Code in backticks is Python and stays so.
        words[::2] = [re.sub(r"\bNone\b", "null", word) for word in words[::2]]
        fields[field] = "`".join(words)
    return sentence.partition("\n\n")[0].replace("\n", " "), fields


def section(name: str) -> str:
    schema = SCHEMA["$defs"][name]
    sentence, meanings = told(name)
    lines = [f"### {name}", "", sentence, ""]
    if "enum" in schema:
        return "\n".join(
            [*lines, "One of " + ", ".join(f'`"{v}"`' for v in schema["enum"]), ""]
        )
    lines += ["| field | | |", "|---|---|---|"]
    for field, about in schema["properties"].items():
        meaning = meanings.get(field, "").replace("|", "\\|")
        lines.append(f"| {field} | {kind(about)} | {meaning} |")
    return "\n".join([*lines, ""])


def an_error() -> str:
    source = "n_estimators: int = 100"
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}
    content = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [cell]}
    notebook = Notebook.parse("credit.ipynb", json.dumps(content).encode())
    with pytest.raises(errors.UnknownParameter) as error:
        notebook.check_names(["n_estimator"])
    return wire.dumps(Refused.of(error.value), indent=2)


def a_refusal() -> str:
    check = replace(
        PASSED,
        gate="accuracy >= 0.9", outcome=Outcome.FAILED, threshold=0.9,
        reason="accuracy is 0.74 on 400 rows; the lower end of the 95 % interval, 0.6949, does "
        "not reach 0.9",
    )  # fmt: skip
    with pytest.raises(errors.GateFailed) as error:
        register(
            replace(TRAINED, verdict=None),
            "credit",
            [check.gate],
            registry=FakeRegistry(),
            judge=lambda *_: Verdict(checks=(check,)),
        )
    return wire.dumps(Refused.of(error.value), indent=2)


def render() -> str:
    verbs = ["## What each verb gives", "", "| verb | document |", "|---|---|"]
    verbs += [f"| {verb} | {kind(about)} |" for verb, about in SCHEMA["properties"].items()]
    verbs += ["", "A sweep that is not waited for is the Run of the sweep itself.", ""]
    classes = ["| type | exit code | |", "|---|---|---|"]
    classes += [
        f"| {class_.__name__} | {class_.exit_code} | {first_line(class_)} |"
        for class_ in every_error()
    ]
    examples = ["## Examples", ""]
    for line, document in EXAMPLES.items():
        examples += [f"`{line}`", "", "```json", wire.dumps(document, indent=2), "```", ""]
    types = ["## Types", "", *(section(name) for name in sorted(SCHEMA["$defs"]))]
    error = [
        "`mlops train credit.ipynb -p n_estimator=9 --json`",
        "",
        "```json",
        an_error(),
        "```",
        "",
        "`mlops register credit-8103a3 --name credit --gate 'accuracy >= 0.9' --json`",
        "",
        "```json",
        a_refusal(),
        "```",
    ]
    parts = [INTRODUCTION, *verbs, ERRORS, *error, "", *classes, "", *examples, *types]
    return "\n".join(parts).rstrip() + "\n"


def every_error() -> list[type[errors.MlopsError]]:
    return [
        class_
        for class_ in vars(errors).values()
        if isinstance(class_, type) and issubclass(class_, errors.MlopsError)
    ]


def first_line(class_: type) -> str:
    return (class_.__doc__ or "").partition("\n")[0]


def test_the_page_tells_what_the_types_are(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        PATH.parent.mkdir(exist_ok=True)
        PATH.write_text(render(), encoding="utf-8")
    assert PATH.exists(), f"{PATH} is missing: run with --update-golden, read the diff"
    assert PATH.read_text(encoding="utf-8") == render()


def test_every_verb_has_a_document() -> None:
    assert set(DOCUMENTS) == {
        verb.__dataclass_fields__["verb"].default for verb in Verb.__args__
    }


@pytest.mark.parametrize("name", sorted(SCHEMA["$defs"]))
def test_every_field_of_a_document_has_its_meaning_told(name: str) -> None:
    fields = set(SCHEMA["$defs"][name].get("properties", {}))
    sentence, meanings = told(name)
    assert sentence
    if len(fields) > 1:
        assert fields <= set(meanings)


@pytest.mark.parametrize("document", EXAMPLES.values(), ids=EXAMPLES)
def test_examples_fit_the_schema(document: object) -> None:
    name = type(document).__name__
    schema = {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    jsonschema.validate(json.loads(wire.dumps(document)), schema)


def test_a_refusal_tells_its_verdict_as_a_run_does() -> None:
    schema = {"$ref": "#/$defs/Verdict", "$defs": SCHEMA["$defs"]}
    jsonschema.validate(json.loads(a_refusal())["error"]["verdict"], schema)
