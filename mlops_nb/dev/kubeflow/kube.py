"""The sliver of Kubernetes' own API that tells what becomes of pods."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow.clock import stamp
from mlops_nb.dev.kubeflow.records import Node, Pod, Run, driver_pod

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.dev.kubeflow.options import Json
    from mlops_nb.dev.kubeflow.state import Store

_DRIVER_IMAGE = "ghcr.io/kubeflow/kfp-driver:2.17.0"
_SET = re.compile(r"^\s*(\S+)\s+(in|notin)\s*\(([^)]*)\)\s*$")
_PARTS = re.compile(r",(?![^(]*\))")
_LOG_OPTIONS = frozenset({"container", "follow", "tailLines", "pretty"})


class KubeRefusal(Exception):
    """A request that Kubernetes answers with a Status of failure.

    Args:
        status: the HTTP status.
        reason: the word for programs.
        message: the words for people.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    def body(self) -> Json:
        """Write the refusal as Kubernetes does."""
        return failure(self.status, self.reason, self.message)


def failure(status: int, reason: str, message: str) -> Json:
    """Write a Status of failure as Kubernetes does."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status,
    }


class Kube:
    """The pods of all runs, as Kubernetes shows them."""

    def __init__(self, store: Store, runs: Callable[[], list[Run]]) -> None:
        self._store = store
        self._runs = runs

    def _pods(self, namespace: str) -> list[Pod]:
        drivers = [
            _driver(run, node)
            for run in self._runs()
            for node in run.nodes.values()
            if node.display.endswith("-driver") and node.state in {"SUCCEEDED", "FAILED"}
        ]
        pods = [*drivers, *(Pod(**body) for body in self._store.all("pods"))]
        return [pod for pod in pods if pod.namespace == namespace]

    def list(self, namespace: str, query: Mapping[str, str]) -> Json:
        """List the pods that fit a label selector."""
        if query.get("watch") in {"true", "1"}:
            raise KubeRefusal(400, "BadRequest", "watch is not played by this stand-in")
        labels = label_selector(query.get("labelSelector", ""))
        fields = label_selector(query.get("fieldSelector", ""))
        items = [
            _pod_json(pod)
            for pod in self._pods(namespace)
            if labels(pod.labels)
            and fields({"metadata.name": pod.name, "status.phase": pod.phase})
        ]
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}

    def find(self, namespace: str, name: str) -> Pod:
        """Give what is known of a pod."""
        for pod in self._pods(namespace):
            if pod.name == name:
                return pod
        raise KubeRefusal(404, "NotFound", f'pods "{name}" not found')

    def get(self, namespace: str, name: str) -> Json:
        """Show a pod."""
        return _pod_json(self.find(namespace, name))

    def events(self, namespace: str, query: Mapping[str, str]) -> Json:
        """List the events that fit a field selector."""
        fields = label_selector(query.get("fieldSelector", ""))
        items = [
            item
            for pod in self._pods(namespace)
            for number, event in enumerate(pod.events)
            for item in [_event_json(pod, number, event)]
            if fields(
                {
                    "involvedObject.name": pod.name,
                    "involvedObject.uid": pod.uid,
                    "involvedObject.kind": "Pod",
                    "reason": item["reason"],
                    "type": item["type"],
                }
            )
        ]
        return {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": items}

    def pod_of_node(self, run: Run, node: str) -> Pod | None:
        """Give the pod of a run by its own name or by that of its Argo node."""
        for body in self._store.all("pods"):
            if body["run_id"] == run.id and node in {body["name"], body["node_id"]}:
                return Pod(**body)
        for known in run.nodes.values():
            names = {known.id, driver_pod(run.workflow, known.id)}
            if known.display.endswith("-driver") and node in names:
                return _driver(run, known)
        return None

    def check_log(self, namespace: str, name: str, query: Mapping[str, str]) -> Pod:
        """Give the pod of a log request, or say why there is no log."""
        pod = self.find(namespace, name)
        unknown = sorted(set(query) - _LOG_OPTIONS)
        if unknown:
            text = f"{unknown[0]} is not played by this stand-in"
            raise KubeRefusal(400, "BadRequest", text)
        container = query.get("container", "")
        if not container:
            text = f"a container name must be specified for pod {name}"
            raise KubeRefusal(400, "BadRequest", f"{text}, choose one of: [wait main]")
        if container not in {"main", "wait"}:
            text = f"container {container} is not valid for pod {name}"
            raise KubeRefusal(400, "BadRequest", text)
        if not query.get("tailLines", "0").isdigit():
            raise KubeRefusal(400, "BadRequest", "tailLines is no number")
        if pod.phase == "Pending":
            text = f'container "{container}" in pod "{name}" is waiting to start'
            raise KubeRefusal(400, "BadRequest", f"{text}: {pod.waiting or 'PodInitializing'}")
        return pod


def _driver(run: Run, node: Node) -> Pod:
    """Describe the pod of a driver: it does nothing here, and is done at once."""
    fine = node.state == "SUCCEEDED"
    pod = Pod(
        name=driver_pod(run.workflow, node.id),
        uid=node.task_id,
        namespace=run.namespace,
        run_id=run.id,
        node_id=node.id,
        node_name=node.name,
        task=node.display,
        image=_DRIVER_IMAGE,
        created=node.created,
        labels={
            "pipeline/runid": run.id,
            "pipelines.kubeflow.org/v2_component": "true",
            "workflows.argoproj.io/workflow": run.workflow,
            "workflows.argoproj.io/completed": "true",
        },
        annotations={
            "workflows.argoproj.io/node-name": node.name,
            "workflows.argoproj.io/node-id": node.id,
        },
    )
    pod.phase = "Succeeded" if fine else "Failed"
    pod.exit_code, pod.exit_reason = (0, "Completed") if fine else (1, "Error")
    pod.waiting = ""
    pod.scheduled = pod.started = node.created
    pod.finished = node.finished
    return pod


def _pod_json(pod: Pod) -> Json:
    limits = {name: str(count) for name, count in pod.spec.get("limits", {}).items()}
    requests = {**limits, **pod.spec.get("requests", {})}
    main: Json = {"name": "main", "image": pod.image}
    if requests:
        main["resources"] = {"limits": limits, "requests": requests}
    status: Json = {"phase": pod.phase, "conditions": _conditions(pod)}
    for name, value in (("reason", pod.reason), ("message", pod.message)):
        if value:
            status[name] = value
    if pod.scheduled:
        status["startTime"] = stamp(pod.scheduled)
        status["hostIP"] = status["podIP"] = "127.0.0.1"
        status["containerStatuses"] = [_container_status(pod)]
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.uid,
            "creationTimestamp": stamp(pod.created),
            "labels": pod.labels,
            "annotations": pod.annotations,
        },
        "spec": {
            "containers": [main, {"name": "wait", "image": "quay.io/argoproj/argoexec"}],
            "nodeSelector": pod.spec.get("nodeSelector", {}),
            "tolerations": pod.spec.get("tolerations", []),
            "restartPolicy": "Never",
            "serviceAccountName": pod.service_account,
            **({"nodeName": "laptop"} if pod.scheduled else {}),
        },
        "status": status,
    }


def _conditions(pod: Pod) -> list[Json]:
    if pod.unschedulable:
        found = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": pod.unschedulable,
            }
        ]
    elif pod.scheduled:
        ready = "True" if pod.phase == "Running" else "False"
        found = [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": ready},
        ]
    else:
        found = []
    if pod.disruption:
        found.append(
            {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": pod.disruption,
                "message": pod.message,
            }
        )
    return found


def _container_status(pod: Pod) -> Json:
    state: Json = {}
    if pod.waiting:
        state["waiting"] = {"reason": pod.waiting}
        if pod.waiting_message:
            state["waiting"]["message"] = pod.waiting_message
    elif pod.finished:
        state["terminated"] = {
            "exitCode": pod.exit_code,
            "reason": pod.exit_reason,
            "startedAt": stamp(pod.started),
            "finishedAt": stamp(pod.finished),
        }
    else:
        state["running"] = {"startedAt": stamp(pod.started)}
    return {
        "name": "main",
        "image": pod.image,
        "imageID": "",
        "ready": pod.phase == "Running",
        "restartCount": 0,
        "state": state,
    }


def _event_json(pod: Pod, number: int, event: Json) -> Json:
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": f"{pod.name}.{number}",
            "namespace": pod.namespace,
            "creationTimestamp": stamp(event["first"]),
        },
        "involvedObject": {
            "kind": "Pod",
            "apiVersion": "v1",
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.uid,
        },
        "type": event["type"],
        "reason": event["reason"],
        "message": event["message"],
        "count": event["count"],
        "firstTimestamp": stamp(event["first"]),
        "lastTimestamp": stamp(event["last"]),
        "source": {"component": "kubelet"},
    }


def label_selector(text: str) -> Callable[[Mapping[str, str]], bool]:
    """Read a label or field selector."""
    tests = [_requirement(part) for part in _PARTS.split(text) if part.strip()]
    return lambda have: all(test(have) for test in tests)


def _requirement(part: str) -> Callable[[Mapping[str, str]], bool]:
    inside = _SET.match(part)
    if inside:
        key, verb, listed = inside.groups()
        wanted = {word.strip() for word in listed.split(",")}
        return lambda have: (have.get(key) in wanted) is (verb == "in")
    for sign in ("!=", "==", "="):
        key, found, value = (word.strip() for word in part.partition(sign))
        if found:
            return lambda have: (have.get(key) == value) is (sign != "!=")
    key = part.strip()
    if key.startswith("!"):
        return lambda have: key[1:] not in have
    return lambda have: key in have
