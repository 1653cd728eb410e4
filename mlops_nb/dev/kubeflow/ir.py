"""Reading compiled pipelines: packages, what they hold, and whether they can be run."""

from __future__ import annotations

import graphlib
import io
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import yaml

from mlops_nb.dev.kubeflow.options import Json
from mlops_nb.dev.kubeflow.refusal import invalid
from mlops_nb.dev.kubeflow.values import fits, plain

_EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"
_RUNNABLE = ("container", "importer")
_LARGEST = 32 * 1024 * 1024
_UNREADABLE = (
    yaml.YAMLError,
    UnicodeDecodeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
)


def read_package(content: bytes) -> Json:
    """Read an uploaded package: YAML or JSON, bare, zipped or in a tar.gz."""
    try:
        text = _unpacked(content).decode()
        if len(text) > _LARGEST:
            raise invalid("the package is larger than 32 MiB")
        documents = list(yaml.safe_load_all(text))
    except _UNREADABLE as error:
        raise invalid(f"the package is no pipeline: {error}") from None
    found = [document for document in documents if document]
    if not found or not all(isinstance(document, dict) for document in found):
        raise invalid("the package holds no pipeline")
    manifest = {"pipeline_spec": found[0], "platform_spec": found[1] if found[1:] else {}}
    check(manifest)
    return manifest


def _unpacked(content: bytes) -> bytes:
    """Give the one YAML file of an archive, or the content itself."""
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.open(_chosen(archive.namelist())).read(_LARGEST + 1)
    if content.startswith(b"\x1f\x8b"):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            names = [member.name for member in archive if member.isfile()]
            member = archive.extractfile(_chosen(names))
            return member.read(_LARGEST + 1) if member else b""
    return content


def _chosen(names: list[str]) -> str:
    files = [name for name in names if name.endswith((".yaml", ".yml", ".json"))]
    if len(files) != 1:
        raise invalid(f"the archive holds {len(files)} pipelines instead of one")
    return files[0]


def manifest_of(given: Any) -> Json:
    """Read `pipeline_spec` of a request: the bare spec, or that with `platform_spec`."""
    if not isinstance(given, dict):
        raise invalid("pipeline_spec is not an object")
    inner = given.get("pipeline_spec", given)
    manifest = {"pipeline_spec": inner, "platform_spec": given.get("platform_spec") or {}}
    check(manifest)
    return manifest


def spec_field(manifest: Json) -> Json:
    """Write a manifest as the API does: the bare spec where there is nothing else."""
    if manifest["platform_spec"]:
        return dict(manifest)
    return dict(manifest["pipeline_spec"])


def check(manifest: Json) -> None:
    """Refuse a pipeline that the server could not run."""
    try:
        _check(manifest)
    except (AttributeError, KeyError, TypeError) as error:
        raise invalid(f"pipeline spec is invalid: {error!r}") from None


def _check(manifest: Json) -> None:
    spec = manifest["pipeline_spec"]
    if not isinstance(spec, dict) or not isinstance(spec.get("root"), dict):
        raise invalid("unknown template format: pipeline spec is invalid")
    if not spec.get("pipelineInfo", {}).get("name"):
        raise invalid("pipelineInfo.name is missing")
    version = str(spec.get("schemaVersion", ""))
    if not version.startswith("2."):
        raise invalid(f"unexpected schema version: {version!r}")
    pipeline = Pipeline(manifest)
    for name, component in [("root", spec["root"]), *spec.get("components", {}).items()]:
        if "dag" in component:
            _check_dag(pipeline, name, component["dag"])
        elif not any(kind in pipeline.executor(component) for kind in _RUNNABLE):
            raise invalid(f"component {name} has an executor that is not supported")


def _check_dag(pipeline: Pipeline, name: str, dag: Json) -> None:
    tasks = dag.get("tasks", {})
    for key, task in tasks.items():
        pipeline.component(task)
        if "artifactIterator" in task:
            raise invalid(f"task {key}: artifact iterator not implemented yet")
        missing = dependencies(task) - set(tasks)
        if missing:
            raise invalid(f"task {key} of {name} depends on unknown {min(missing)}")
    if all(is_exit(task) for task in tasks.values()):
        raise invalid(f"DAG {name} must contain one or more non-exit tasks")
    order = graphlib.TopologicalSorter({key: dependencies(tasks[key]) for key in tasks})
    try:
        order.prepare()
    except graphlib.CycleError:
        raise invalid(f"the tasks of {name} wait for each other") from None


def dependencies(task: Json) -> set[str]:
    """Give the tasks that a task waits for: those named, and those whose output it takes."""
    inputs = task.get("inputs", {})
    found = set(task.get("dependentTasks", []))
    for source in inputs.get("parameters", {}).values():
        found |= {
            _producer(source, "taskOutputParameter"),
            _producer(source, "taskFinalStatus"),
        }
    for source in inputs.get("artifacts", {}).values():
        found.add(_producer(source, "taskOutputArtifact"))
    return found - {""}


def _producer(source: Json, key: str) -> str:
    return str(source.get(key, {}).get("producerTask", ""))


def is_exit(task: Json) -> bool:
    """Tell whether a task runs whatever becomes of those before it."""
    return bool(task.get("triggerPolicy", {}).get("strategy") == _EXIT)


@dataclass(frozen=True)
class Pipeline:
    """A manifest, and the way from its tasks to what they run."""

    manifest: Json

    @property
    def spec(self) -> Json:
        """Give the pipeline spec."""
        return dict(self.manifest["pipeline_spec"])

    @property
    def name(self) -> str:
        """Give the name of the pipeline."""
        return str(self.spec["pipelineInfo"]["name"])

    def component(self, task: Json) -> Json:
        """Give the component that a task runs."""
        name = task.get("componentRef", {}).get("name", "")
        component = self.spec.get("components", {}).get(name)
        if component is None:
            raise invalid(f'component spec for "{name}" not found')
        return dict(component)

    def executor(self, component: Json) -> Json:
        """Give the executor of a component that is no DAG."""
        label = component.get("executorLabel", "")
        executors = self.spec.get("deploymentSpec", {}).get("executors", {})
        if label not in executors:
            raise invalid(f'executor with label "{label}" not found')
        return dict(executors[label])

    def on_kubernetes(self, component: Json) -> Json:
        """Give what the second document says of a component's pod."""
        kubernetes = self.manifest["platform_spec"].get("platforms", {}).get("kubernetes", {})
        executors = kubernetes.get("deploymentSpec", {}).get("executors", {})
        return dict(executors.get(component.get("executorLabel", ""), {}))


def arguments(manifest: Json, given: Json) -> Json:
    """Complete a run's parameters with the pipeline's defaults; refuse wrong ones."""
    spec = manifest["pipeline_spec"]
    if not isinstance(given, dict):
        raise invalid("runtime_config.parameters is not an object")
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise invalid(f"parameters {unknown} are not declared by the pipeline")
    complete: Json = {}
    for name, definition in declared.items():
        if name in given:
            _check_type(name, given[name], definition.get("parameterType", ""))
            complete[name] = plain(given[name])
        elif "defaultValue" in definition:
            complete[name] = plain(definition["defaultValue"])
        elif not definition.get("isOptional"):
            text = "is not optional, yet has neither default value nor user provided value"
            raise invalid(f"parameter {name} {text}")
    return complete


def _check_type(name: str, value: Any, kind: str) -> None:
    if not fits(value, kind):
        article = f"input parameter {name} requires type {kind}"
        raise invalid(f"{article}, but the parameter value is not of that type: {value!r}")
