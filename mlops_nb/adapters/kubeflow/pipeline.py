"""A planned pipeline as what Kubeflow Pipelines runs."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import logging
import math
import threading
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mlops_nb.core.pipeline import (
    RUN_VARIABLE,
    Item,
    Output,
    Parameter,
    Plan,
    Result,
    Step,
    Word,
)
from mlops_nb.core.profile import SHARED_MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from mlops_nb.core.profile import Profile

COMMAND = ("python", "-m", "mlops_nb.runner.pod")

_RUN_LABEL = "metadata.labels['pipeline/runid']"
_UNITS = ((2**40, "Ti"), (2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki"))

# kfp knows one pipeline at a time in a process, and warnings are kept for all threads.
_ONE_AT_A_TIME = threading.Lock()


def compile_plan(plan: Plan) -> str:
    """Give the pipeline as YAML: its specification and, after `---`, that of its pods.

    The same plan is the same text, byte by byte.
    """
    return _compiled(plan)


def document(plan: Plan) -> Mapping[str, object]:
    """Give the pipeline as the API takes it: one document, with the platform's part."""
    from ruamel.yaml import YAML

    spec, *platform = YAML(typ="safe", pure=True).load_all(compile_plan(plan))
    return {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec


def manifests(plan: Plan, namespace: str) -> str:
    """Give the pipeline as manifests for a server that keeps pipelines in Kubernetes.

    Args:
        plan: the pipeline.
        namespace: where its resources stand; empty leaves that to who applies them.
    """
    # A version never changes, so that its name tells what is in it.
    digest = hashlib.sha256(compile_plan(plan).encode()).hexdigest()
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    options = KubernetesManifestOptions(
        pipeline_name=plan.name,
        pipeline_version_name=f"{plan.name}-{digest[:12]}",
        namespace=namespace or None,
        include_pipeline_manifest=True,
    )
    return _compiled(plan, kubernetes_manifest_format=True, kubernetes_manifest_options=options)


def _compiled(plan: Plan, **options: Any) -> str:
    with _ONE_AT_A_TIME, _undisturbed(), TemporaryDirectory() as folder:
        from kfp.compiler import Compiler

        path = Path(folder) / "pipeline.yaml"
        Compiler().compile(_pipeline(plan), str(path), **options)
        return path.read_text(encoding="utf-8")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep warnings and the root logger as they are; loading kfp changes them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with warnings.catch_warnings():
        try:
            yield
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)


def _pipeline(plan: Plan) -> Any:
    from kfp import dsl

    def steps(run_id: str = "", bundle_run: str = "") -> None:
        parameters = {"run_id": run_id, "bundle_run": bundle_run}
        tasks: dict[str, Any] = {}
        for place, group in itertools.groupby(plan.steps, key=lambda step: step.place):
            with _group(place, plan, tasks) as item:
                for step in group:
                    tasks[step.name] = _task(step, parameters, tasks, item)

    # kfp reads annotations as objects; here they are texts.
    steps.__annotations__ = {"run_id": str, "bundle_run": str, "return": None}
    return dsl.pipeline(name=plan.name, description=plan.description)(steps)


def _group(place: str, plan: Plan, tasks: Mapping[str, Any]) -> AbstractContextManager[Any]:
    from kfp import dsl

    group: AbstractContextManager[Any]
    match place:
        case "each":
            group = dsl.ParallelFor(
                items=list(plan.items), name="children", parallelism=plan.parallel
            )
        case "passed":
            passed = tasks["validate"].outputs["passed"]
            group = dsl.If(passed == "true", name="passed")
        case _:
            group = nullcontext()
    return group


def _task(
    step: Step, parameters: Mapping[str, object], tasks: Mapping[str, Any], item: object
) -> Any:
    given: dict[str, object] = {}
    for word in step.words:
        match word:
            case Parameter(name=name):
                given[name] = parameters[name]
            case Result(step=earlier, name=name):
                given[name] = tasks[earlier].outputs[name]
            case Item(name=name):
                given[name] = item
            case _:
                pass
    task = _component(step)(**given)
    task.set_caching_options(step.is_cached)
    _set_resources(task, step)
    _set_variables(task, step.pod)
    _set_storage(task, step.pod)
    _set_placement(task, step.pod)
    return task


def _component(step: Step) -> Any:
    """Make the component of a step: a function whose signature says what goes in and out."""
    from kfp import dsl

    kinds: dict[str, Any] = {}
    for word in step.words:
        match word:
            case Parameter(name=name) | Result(name=name) | Item(name=name):
                kinds[name] = str
            case Output(name=name):
                kinds[name] = dsl.OutputPath(str)
            case _:
                pass

    def container(**placeholders: object) -> Any:
        def filled(word: Word) -> object:
            return word if isinstance(word, str) else placeholders[word.name]

        first, *rest = step.words
        return dsl.ContainerSpec(
            image=step.pod.image,
            command=[*COMMAND, filled(first)],
            args=[filled(word) for word in rest],
        )

    def by_place(*placeholders: object) -> Any:
        return container(**dict(zip(kinds, placeholders, strict=True)))

    return dsl.container_component(_signed(by_place, step.name, kinds))


def _signed(
    function: Callable[..., Any], name: str, kinds: Mapping[str, Any]
) -> Callable[..., Any]:
    function.__name__ = name
    function.__annotations__ = dict(kinds)
    parameters = [
        inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
        for key, kind in kinds.items()
    ]
    # inspect.signature, by which kfp learns of inputs, asks for this first.
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


def _set_resources(task: Any, step: Step) -> None:
    pod = step.pod
    if pod.cpu:
        task.set_cpu_request(pod.cpu)
    if pod.memory is not None:
        task.set_memory_request(_quantity(pod.memory))
        if step.is_bounded:
            task.set_memory_limit(_quantity(pod.memory))
    if pod.gpu:
        task.set_accelerator_type(pod.gpu_resource).set_accelerator_limit(pod.gpu)
    if pod.retries:
        task.set_retry(
            pod.retries,
            backoff_duration=f"{math.ceil(pod.backoff)}s",
            backoff_factor=2.0,
            backoff_max_duration="3600s",
        )


def _set_variables(task: Any, pod: Profile) -> None:
    from kfp import kubernetes

    kubernetes.use_field_path_as_env(task, RUN_VARIABLE, _RUN_LABEL)
    for variable, value in pod.env.items():
        task.set_env_variable(variable, value)
    for variable, reference in pod.secrets.items():
        secret, _, key = reference.partition("/")
        kubernetes.use_secret_as_env(task, secret, {key: variable})
    if pod.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(pod.pull_secrets))


def _set_storage(task: Any, pod: Profile) -> None:
    from kfp import kubernetes

    if pod.shm is not None:
        size = _quantity(pod.shm)
        kubernetes.empty_dir_mount(task, "shm", SHARED_MEMORY, medium="Memory", size_limit=size)
    for claim, path in pod.volumes.items():
        kubernetes.mount_pvc(task, claim, path)


def _set_placement(task: Any, pod: Profile) -> None:
    from kfp import kubernetes

    for key, value in pod.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in pod.tolerations:
        kubernetes.add_toleration(
            task,
            key=toleration.key or None,
            operator=toleration.operator,
            value=toleration.value or None,
            effect=toleration.effect or None,
        )
    for key, value in pod.labels.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in pod.annotations.items():
        kubernetes.add_pod_annotation(task, key, value)
    if pod.timeout is not None:
        kubernetes.set_timeout(task, math.ceil(pod.timeout))


def _quantity(size: int) -> str:
    """Write bytes as Kubernetes does, exactly."""
    for unit, name in _UNITS:
        if size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)
