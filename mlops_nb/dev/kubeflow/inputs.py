"""What flows between tasks: inputs taken from where the IR says, outputs handed up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_nb.dev.kubeflow.options import Json
from mlops_nb.dev.kubeflow.values import BadValue, fill, plain, value_of

_SELECTOR = re.compile(r"^parseJson\(string_value\)((?:\[(['\"]).*?\2\])+)$")
_KEY = re.compile(r"\[(['\"])(.*?)\1\]")


@dataclass(frozen=True)
class Result:
    """How a task ended, and what it gave."""

    state: str
    outputs: Json = field(default_factory=lambda: {"parameters": {}, "artifacts": {}})
    error: str = ""


@dataclass(frozen=True)
class Surroundings:
    """What a task can take its inputs from.

    Args:
        given: the inputs of the DAG that it belongs to.
        results: how the tasks before it ended.
        facts: the placeholders that are the same for the whole run, such as pipeline_job_name.
    """

    given: Json
    results: Mapping[str, Result]
    facts: Json


def resolve(task: Json, component: Json, around: Surroundings) -> Json:
    """Give a task's inputs, defaults included."""
    sources = task.get("inputs", {})
    parameters: Json = {}
    constants: Json = {}
    for name, source in sources.get("parameters", {}).items():
        if "runtimeValue" in source:
            constants[name] = source["runtimeValue"].get("constant")
            continue
        found, value = _parameter(source, around)
        if found:
            parameters[name] = plain(_select(source, value))
    known = {**around.facts, "inputs": {"parameters": parameters}}
    for name, value in constants.items():
        parameters[name] = fill(value, known) if isinstance(value, str) else plain(value)
    declared = component.get("inputDefinitions", {}).get("parameters", {})
    for name, definition in declared.items():
        if name not in parameters and "defaultValue" in definition:
            parameters[name] = plain(definition["defaultValue"])
    artifacts = {}
    for name, source in sources.get("artifacts", {}).items():
        value = _artifact(source, around)
        if value is not None:
            artifacts[name] = value
    return {"parameters": parameters, "artifacts": artifacts}


def missing(component: Json, inputs: Json) -> list[str]:
    """Name the inputs that a container needs and does not get."""
    declared = component.get("inputDefinitions", {})
    return [
        name
        for kind in ("parameters", "artifacts")
        for name, definition in declared.get(kind, {}).items()
        if name not in inputs[kind] and not definition.get("isOptional")
    ]


def _parameter(source: Json, around: Surroundings) -> tuple[bool, Any]:
    """Find a parameter's value; the first of the pair tells whether there is one."""
    if "componentInputParameter" in source:
        key = source["componentInputParameter"]
        return key in around.given["parameters"], around.given["parameters"].get(key)
    if "taskOutputParameter" in source:
        wanted = source["taskOutputParameter"]
        outputs = around.results[wanted["producerTask"]].outputs["parameters"]
        key = wanted["outputParameterKey"]
        return key in outputs, outputs.get(key)
    if "taskFinalStatus" in source:
        producer = source["taskFinalStatus"]["producerTask"]
        return True, _final_status(producer, around)
    raise BadValue(f"an input of a kind that is not supported: {sorted(source)}")


def _final_status(producer: str, around: Surroundings) -> Json:
    result = around.results[producer]
    status = {
        "state": result.state,
        "pipelineJobResourceName": around.facts["pipeline_job_resource_name"],
        "pipelineTaskName": producer,
    }
    return {**status, "error": {"message": result.error}} if result.error else status


def _select(source: Json, value: Any) -> Any:
    """Take the part of a value that a loop's sub-variable stands for."""
    expression = source.get("parameterExpressionSelector", "")
    if not expression:
        return value
    match = _SELECTOR.match(expression)
    if not match:
        raise BadValue(f"cannot read the selector {expression}")
    part = json.loads(value) if isinstance(value, str) else value
    for step in _KEY.finditer(match[1]):
        if not isinstance(part, dict) or step[2] not in part:
            raise BadValue(f"{expression} finds nothing in {value!r}")
        part = part[step[2]]
    return part


def _artifact(source: Json, around: Surroundings) -> list[Json] | None:
    if "componentInputArtifact" in source:
        found = around.given["artifacts"].get(source["componentInputArtifact"])
    else:
        wanted = source["taskOutputArtifact"]
        outputs = around.results[wanted["producerTask"]].outputs["artifacts"]
        found = outputs.get(wanted["outputArtifactKey"])
    return None if found is None else list(found)


def items_of(iterator: Json, inputs: Json) -> list[Any]:
    """Give what a loop goes through."""
    items = iterator.get("items", {})
    if "raw" in items:
        value = json.loads(items["raw"])
    else:
        value = inputs["parameters"].get(items.get("inputParameter", ""))
    if isinstance(value, str):
        value = value_of(value, "LIST")
    if not isinstance(value, list):
        raise BadValue(f"a loop needs a list, and got {value!r}")
    return list(value)


def handed_up(component: Json, results: Mapping[str, Result]) -> Json:
    """Give the outputs of a DAG from those of its tasks."""
    declared = component.get("dag", {}).get("outputs", {})
    parameters: Json = {}
    for name, source in declared.get("parameters", {}).items():
        selectors = source.get("valueFromOneof", {}).get("parameterSelectors", [])
        for selector in [*selectors, source.get("valueFromParameter")]:
            found = selector and results[selector["producerSubtask"]].outputs["parameters"]
            if found and selector["outputParameterKey"] in found:
                parameters[name] = found[selector["outputParameterKey"]]
                break
    artifacts: Json = {}
    for name, source in declared.get("artifacts", {}).items():
        for selector in source.get("artifactSelectors", []):
            made = results[selector["producerSubtask"]].outputs["artifacts"]
            artifacts.setdefault(name, []).extend(made.get(selector["outputArtifactKey"], []))
    return {"parameters": parameters, "artifacts": artifacts}


def gathered(component: Json, rounds: list[Result]) -> Json:
    """Give the outputs of a loop: of each, the list over its rounds."""
    declared = component.get("dag", {}).get("outputs", {})
    parameters = {
        name: [
            result.outputs["parameters"][name]
            for result in rounds
            if name in result.outputs["parameters"]
        ]
        for name in declared.get("parameters", {})
    }
    artifacts = {
        name: [
            artifact
            for result in rounds
            for artifact in result.outputs["artifacts"].get(name, [])
        ]
        for name in declared.get("artifacts", {})
    }
    return {"parameters": parameters, "artifacts": artifacts}
