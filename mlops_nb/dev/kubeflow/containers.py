"""Tasks that are containers: from the cache, or in a pod and again if it fails."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow.cache import Cache, fingerprint
from mlops_nb.dev.kubeflow.inputs import Result
from mlops_nb.dev.kubeflow.pods import Launch, Pods
from mlops_nb.dev.kubeflow.records import Pod, driver_pod, node_id
from mlops_nb.dev.kubeflow.values import BadValue, fill, plain, value_of, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.dev.kubeflow.execution import Execution
    from mlops_nb.dev.kubeflow.options import Json, Options
    from mlops_nb.dev.kubeflow.plugin import MlflowPlugin
    from mlops_nb.dev.kubeflow.records import Run


# Nothing can be mounted at an absolute path without a container.
_NOT_PLAYED = frozenset({"secretAsVolume", "configMapAsVolume", "pvcMount", "emptyDirMounts"})


class Containers:
    """Does the tasks that are containers, and importers."""

    def __init__(
        self, options: Options, cache: Cache, pods: Pods, plugin: MlflowPlugin
    ) -> None:
        self._options = options
        self._cache = cache
        self._pods = pods
        self._plugin = plugin

    def stop(self, run_id: str) -> None:
        """Tell the pods of a run to end."""
        self._pods.stop_run(run_id)

    def explain(self, run: Run, node: str, text: str) -> None:
        """Write into the log of a driver why its task cannot be done."""
        name = driver_pod(run.workflow, node_id(run.workflow, node))
        folder = self._options.folder / "runs" / run.id / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").write_text(f"{text}\n")

    async def do(
        self, execution: Execution, name: str, key: str, task: Json, inputs: Json
    ) -> Result:
        """Do one task; its node is already there."""
        run, pipeline = execution.run, execution.pipeline
        component = pipeline.component(task)
        executor = pipeline.executor(component)
        if "importer" in executor:
            return _imported(execution, name, executor["importer"], component, inputs)
        container = executor["container"]
        caching = bool(task.get("cachingOptions", {}).get("enableCache"))
        print_ = fingerprint(task, component, container, inputs) if caching else ""
        found = self._cache.find(run.namespace, pipeline.name, print_) if caching else None
        if found is not None:
            execution.tree.open(f"{name}.executor", "executor", parent=name, state="SKIPPED")
            execution.keep(name, found)
            return Result("SUCCEEDED", found)
        told = execution.facts(key, task)["pipeline_task_name"]
        given = await asyncio.to_thread(self._plugin.begin_task, run, told)
        outputs = await self._attempts(execution, name, key, task, inputs, given)
        well = outputs is not None
        await asyncio.to_thread(self._plugin.end_task, given, well=well)
        if outputs is None:
            return Result("FAILED", error=f"task {key} failed")
        if caching:
            self._cache.keep(run.namespace, pipeline.name, print_, outputs)
        execution.keep(name, outputs)
        return Result("SUCCEEDED", outputs)

    async def _attempts(
        self,
        execution: Execution,
        name: str,
        key: str,
        task: Json,
        inputs: Json,
        given: Mapping[str, str],
    ) -> Json | None:
        """Run pods until one goes well; give its outputs, or None when all failed."""
        policy = task.get("retryPolicy", {})
        more = int(policy.get("maxRetryCount", 0))
        tree = execution.tree
        node = f"{name}.executor"
        tree.open(node, "executor", parent=name, state="RUNNING" if more else "PENDING")
        for number in range(more + 1):
            if number:
                await asyncio.sleep(_backoff(policy, number, self._options.backoff))
            if execution.stopping:
                break
            attempt = f"{node}({number})" if more else node
            if more:
                display = f"executor({number})"
                tree.open(attempt, display, parent=node, state="PENDING")
            outputs = await self._pod(execution, attempt, key, task, inputs, given)
            tree.move(attempt, "FAILED" if outputs is None else "SUCCEEDED")
            if outputs is not None:
                tree.move(node, "SUCCEEDED")
                return outputs
        tree.move(node, "FAILED")
        return None

    async def _pod(
        self,
        execution: Execution,
        node: str,
        key: str,
        task: Json,
        inputs: Json,
        given: Mapping[str, str],
    ) -> Json | None:
        """Run one pod; give its outputs, or None when it failed."""
        run, pipeline = execution.run, execution.pipeline
        component = pipeline.component(task)
        container = pipeline.executor(component)["container"]
        kubernetes = pipeline.on_kubernetes(component)
        pod = _pod(run, node, key, container, kubernetes)
        folder = self._options.folder / "runs" / run.id / pod.name
        home = self._options.folder / "artifacts" / run.id / pod.name
        wanted = _wanted(component, folder, home)
        known = _known(execution.facts(key, task), inputs, wanted, pod.uid)
        pod.image = fill(pod.image, known)
        outputs: Json = {}

        def collect() -> None:
            outputs.update(_collected(component, wanted))

        launch = Launch(
            pod=pod,
            line=[
                *words(container.get("command", []), inputs["parameters"], known),
                *words(container.get("args", []), inputs["parameters"], known),
            ],
            folder=folder,
            container=_filled_environment(container, known, given),
            kubernetes=kubernetes,
            deadline=float(kubernetes.get("activeDeadlineSeconds", 0)),
            asks=_accelerators(container, known),
            collect=collect,
        )
        self._pods.save(pod)
        watching = asyncio.ensure_future(_mirror(execution, node, pod))
        try:
            fine = await self._pods.run(launch)
        finally:
            watching.cancel()
        return outputs if fine else None


async def _mirror(execution: Execution, node: str, pod: Pod) -> None:
    """Let the node be running once its pod is."""
    while pod.phase == "Pending":
        await asyncio.sleep(0.05)
    if pod.phase == "Running":
        execution.tree.move(node, "RUNNING")


def _backoff(policy: Json, number: int, most: float) -> float:
    """Give the seconds before an attempt: what the policy says, but no more than `most`."""
    first = float(str(policy.get("backoffDuration", "0s")).rstrip("s") or 0)
    wait = first * float(policy.get("backoffFactor", 1) or 1) ** (number - 1)
    limit = float(str(policy.get("backoffMaxDuration", "")).rstrip("s") or wait)
    return min(wait, limit, most)


def _pod(run: Run, node: str, key: str, container: Json, kubernetes: Json) -> Pod:
    """Describe the pod of a node; that of the same node in a retry has the same name."""
    digits = node_id(run.workflow, node).rpartition("-")[2]
    metadata = kubernetes.get("podMetadata", {})
    pod = Pod(
        name=f"{run.workflow}-system-container-impl-{digits}",
        uid=str(uuid.uuid4()),
        namespace=run.namespace,
        run_id=run.id,
        node_id=node_id(run.workflow, node),
        node_name=node,
        task=key,
        image=container.get("image", ""),
        created=time.time(),
        labels={
            "pipeline/runid": run.id,
            "pipelines.kubeflow.org/v2_component": "true",
            "workflows.argoproj.io/workflow": run.workflow,
            "workflows.argoproj.io/completed": "false",
            **metadata.get("labels", {}),
        },
        annotations={
            "workflows.argoproj.io/node-name": node,
            "workflows.argoproj.io/node-id": node_id(run.workflow, node),
            **metadata.get("annotations", {}),
        },
        spec={
            "nodeSelector": kubernetes.get("nodeSelector", {}).get("labels", {}),
            "tolerations": kubernetes.get("tolerations", []),
            "limits": {**_accelerators(container, {}), **_resources(container, "Limit")},
            "requests": _resources(container, "Request"),
        },
        service_account=run.body.get("service_account", ""),
    )
    ignored = sorted(_NOT_PLAYED & set(kubernetes))
    if ignored:
        text = f"{', '.join(ignored)}: not played by this stand-in"
        pod.tell(pod.created, "NotPlayed", text, warning=True)
    return pod


def _accelerators(container: Json, known: Json) -> dict[str, int]:
    """Give how many of which accelerators a container asks for."""
    asked = container.get("resources", {}).get("accelerator", {})
    kind = fill(str(asked.get("resourceType") or asked.get("type") or ""), known)
    count = fill(str(asked.get("resourceCount") or asked.get("count") or "0"), known)
    return {kind: int(count)} if kind and count.isdigit() and int(count) else {}


def _resources(container: Json, kind: str) -> dict[str, str]:
    """Give the CPU and memory that a container may use or is promised."""
    asked = container.get("resources", {})
    found = {word: asked.get(f"resource{word.title()}{kind}") for word in ("cpu", "memory")}
    return {word: str(amount) for word, amount in found.items() if amount}


def _filled_environment(container: Json, known: Json, given: Mapping[str, str]) -> Json:
    """Give the container with its variables' values, and with those the plugin gives it."""
    env = [
        {**variable, "value": fill(str(variable.get("value", "")), known)}
        for variable in container.get("env", [])
    ]
    env += [{"name": name, "value": value} for name, value in given.items()]
    return {**container, "env": env}


def _wanted(component: Json, folder: Path, home: Path) -> Json:
    """Lay out where a pod writes its outputs; the folders are there, as in the launcher."""
    declared = component.get("outputDefinitions", {})
    parameters = {}
    for name in declared.get("parameters", {}):
        path = folder / "outputs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        parameters[name] = {"output_file": str(path)}
    artifacts = {}
    for name, definition in declared.get("artifacts", {}).items():
        home.mkdir(parents=True, exist_ok=True)
        artifacts[name] = {
            "name": name,
            "uri": str(home / name),
            "path": str(home / name),
            "type": definition.get("artifactType", {}),
            "metadata": {},
        }
    output_file = folder / "executor" / "output_metadata.json"
    output_file.unlink(missing_ok=True)
    return {
        "parameters": parameters,
        "artifacts": artifacts,
        "output_file": str(output_file),
    }


def _known(facts: Json, inputs: Json, wanted: Json, uid: str) -> Json:
    """Make the tree that placeholders lead into."""
    first = {
        name: {**artifacts[0], "path": artifacts[0]["uri"]}
        for name, artifacts in inputs["artifacts"].items()
        if artifacts
    }
    executor_input = {
        "inputs": {
            "parameterValues": inputs["parameters"],
            "artifacts": {
                name: {"artifacts": artifacts}
                for name, artifacts in inputs["artifacts"].items()
            },
        },
        "outputs": {
            "parameters": {
                name: {"outputFile": where["output_file"]}
                for name, where in wanted["parameters"].items()
            },
            "artifacts": {
                name: {"artifacts": [{k: v for k, v in made.items() if k != "path"}]}
                for name, made in wanted["artifacts"].items()
            },
            "outputFile": wanted["output_file"],
        },
    }
    return {
        **facts,
        "pipeline_task_uuid": uid,
        "inputs": {"parameters": inputs["parameters"], "artifacts": first},
        "outputs": wanted,
        "": executor_input,
    }


def _collected(component: Json, wanted: Json) -> Json:
    """Read what a pod gave; what the executor output names wins over a file."""
    told = _executor_output(Path(wanted["output_file"]))
    parameters: Json = {}
    for name, definition in (
        component.get("outputDefinitions", {}).get("parameters", {}).items()
    ):
        if name in told.get("parameterValues", {}):
            parameters[name] = plain(told["parameterValues"][name])
            continue
        path = Path(wanted["parameters"][name]["output_file"])
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadValue(f"failed to read output parameter {name}: {error}") from None
        parameters[name] = plain(value_of(text, definition.get("parameterType", "")))
    artifacts = {}
    for name, made in wanted["artifacts"].items():
        artifact = {key: value for key, value in made.items() if key != "path"}
        for given in told.get("artifacts", {}).get(name, {}).get("artifacts", [])[:1]:
            artifact["metadata"] = given.get("metadata") or {}
            artifact["uri"] = given.get("uri") or artifact["uri"]
        artifacts[name] = [artifact]
    return {"parameters": parameters, "artifacts": artifacts}


def _executor_output(path: Path) -> Json:
    try:
        told = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadValue(f"failed to read the executor output: {error}") from None
    if not isinstance(told, dict):
        raise BadValue("the executor output is no JSON object")
    return told


def _imported(
    execution: Execution, name: str, importer: Json, component: Json, inputs: Json
) -> Result:
    """Bring in an artifact that is already somewhere."""
    where = importer.get("artifactUri", {})
    uri = where.get("constant") or inputs["parameters"].get(where.get("runtimeParameter", ""))
    if not uri:
        raise BadValue("the importer has no artifact URI")
    artifact = {
        "name": "artifact",
        "uri": fill(str(uri), {"inputs": inputs}),
        "type": importer.get("typeSchema", {}),
        "metadata": importer.get("metadata", {}),
    }
    names = component.get("outputDefinitions", {}).get("artifacts", {"artifact": {}})
    outputs = {"parameters": {}, "artifacts": {key: [artifact] for key in names}}
    execution.keep(name, outputs)
    return Result("SUCCEEDED", outputs)
