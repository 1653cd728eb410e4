"""What holds a run's pods up or ended them, from the Kubernetes API and in words."""

from __future__ import annotations

import re
import time
from contextlib import closing, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from mlops_nb.core.quantity import format_size, parse_size
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kubernetes.client import (
        Configuration,
        CoreV1Api,
        CoreV1Event,
        V1ContainerState,
        V1ContainerStatus,
        V1Pod,
    )

MAIN = "main"
OUT_OF_MEMORY = "out of memory"
HOME_NAMESPACE = "kubeflow"
_RUN_LABEL = "pipeline/runid"
_LIMITS = (3, 10)  # seconds to connect, and to answer
_FRESH = 60  # seconds until the kubeconfig is read again
_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError"})
_FREE = re.compile(r"[Ii]nsufficient ([\w./-]+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Place(Protocol):
    """What [kubeflow] of mlops.toml says of where pods are."""

    @property
    def namespace(self) -> str:
        """Namespace of the runs; empty for a server of one user."""

    @property
    def kubeconfig(self) -> str:
        """Path of the kubeconfig; empty takes the usual one, or the pod's own account."""

    @property
    def context(self) -> str:
        """Context of the kubeconfig; empty takes its current one."""


def trouble(settings: Place, run_id: str, only: str = "") -> str:
    """Say what holds a run's pods up or ended them; empty if nothing, or if nobody can look.

    Args:
        settings: where its pods are.
        run_id: the pipeline run's id.
        only: name of the one pod that counts; empty looks at all of them.
    """

    def look(api: CoreV1Api, namespace: str) -> str:
        from kubernetes.client import ApiException

        pods = api.list_namespaced_pod(
            namespace, label_selector=f"{_RUN_LABEL}={run_id}", _request_timeout=_LIMITS
        ).items
        for pod in _telling([pod for pod in pods if only in {"", pod.metadata.name}]):
            events: Sequence[CoreV1Event] = []
            # A person who may see pods may not see events; the pod tells most of it.
            with suppress(ApiException):
                events = api.list_namespaced_event(
                    namespace,
                    field_selector=f"involvedObject.name={pod.metadata.name}",
                    _request_timeout=_LIMITS,
                ).items
            if said := words(pod, events):
                return said
        return ""

    return _if_allowed(settings, look)


def printed(settings: Place, pod: str) -> str:
    """Give what a pod printed so far; empty if nothing, or if nobody can look."""

    def look(api: CoreV1Api, namespace: str) -> str:
        answer = api.read_namespaced_pod_log(
            pod, namespace, container=MAIN, _preload_content=False, _request_timeout=_LIMITS
        )
        with closing(answer):
            # The client's own decoding would give a text such as "b'…'".
            return bytes(answer.data).decode(errors="replace")

    return _if_allowed(settings, look)


def _if_allowed(settings: Place, look: Callable[[CoreV1Api, str], str]) -> str:
    """Give what `look` sees through the Kubernetes API; empty if nobody can look."""
    namespace = settings.namespace or HOME_NAMESPACE
    minute = int(time.monotonic() // _FRESH)
    api = _api(namespace, settings.kubeconfig, settings.context, minute)
    if api is None:
        return ""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return look(api, namespace)
    except (ApiException, HTTPError):
        return ""


def _telling(pods: Sequence[V1Pod]) -> Sequence[V1Pod]:
    """Give the pods that go on; where none does, the others: newest first.

    A pod that failed tells nothing of a run while its next try goes on.
    """
    newest = sorted(pods, key=lambda pod: str(pod.metadata.creation_timestamp), reverse=True)
    going = [pod for pod in newest if pod.status and pod.status.phase in {"Pending", "Running"}]
    return going or newest


def words(pod: V1Pod, events: Sequence[CoreV1Event]) -> str:
    """Say what holds a pod up or ended it; empty if nothing does.

    Args:
        pod: as the API gives it.
        events: those about it.
    """
    status = pod.status
    if status is None or status.phase == "Succeeded":
        return ""
    return (
        _of_pod(pod)
        or _of_containers(pod, events)
        or (_unscheduled(pod, events) if status.phase == "Pending" else "")
    )


def _of_pod(pod: V1Pod) -> str:
    """Say what happened to the pod as a whole."""
    said = str(pod.status.message or "").rstrip(".")
    for condition in pod.status.conditions or []:
        if condition.type == "DisruptionTarget" and condition.status == "True":
            why = _DISRUPTIONS.get(condition.reason, f"taken away ({condition.reason})")
            return _with(why, said or str(condition.message or "").rstrip("."))
    match pod.status.reason:
        case "Evicted":
            return _with("evicted from its node", said)
        case "Preempting" | "Preempted":
            return _with(_DISRUPTIONS["PreemptionByScheduler"], said)
        case "DeadlineExceeded":
            limit = pod.spec.active_deadline_seconds if pod.spec else None
            return f"stopped at its time limit{f' of {limit} s' if limit else ''}"
        case "NodeLost" | "NodeShutdown" | "Terminated" | "NodeAffinity":
            return _with("lost with its node", said)
        case _:
            return ""


def _of_containers(pod: V1Pod, events: Sequence[CoreV1Event]) -> str:
    status = pod.status
    found = [
        *(status.init_container_statuses or []),
        # What the notebook runs in says more than Argo's own containers.
        *sorted(status.container_statuses or [], key=lambda each: each.name != MAIN),
    ]
    for container in found:
        waiting = container.state.waiting if container.state else None
        if waiting is not None and waiting.reason in _PULL:
            return _pull(pod, container, str(waiting.message or ""), events)
        if waiting is not None and waiting.reason in _CONFIG:
            return _config(str(waiting.message or ""), events)
    for container in found:
        for state in (container.state, container.last_state):
            if said := _ended(pod, container, state):
                return said
    return ""


def _ended(pod: V1Pod, container: V1ContainerStatus, state: V1ContainerState | None) -> str:
    ended = state.terminated if state else None
    if ended is None or ended.exit_code == 0:
        return ""
    limit = _limit(pod, container.name)
    if ended.reason == "OOMKilled":
        most = f", its limit was {limit}" if limit else ""
        return f"{OUT_OF_MEMORY}: killed by its node{most} (exit code 137)"
    if ended.exit_code == 137:
        most = f"; its memory limit is {limit}" if limit else ""
        return f"killed from outside (exit code 137){most}"
    if container.name != MAIN:
        return ""
    return _with(f"ended with exit code {ended.exit_code}", str(ended.message or "").strip())


def _limit(pod: V1Pod, container: str) -> str:
    for each in (pod.spec.containers if pod.spec else None) or []:
        if each.name == container and each.resources and each.resources.limits:
            limit = str(each.resources.limits.get("memory", ""))
            with suppress(UserError):
                return format_size(parse_size(limit))
            return limit
    return ""


def _pull(
    pod: V1Pod, container: V1ContainerStatus, message: str, events: Sequence[CoreV1Event]
) -> str:
    # The back-off says nothing; the failure before it says why.
    said = message if "Back-off" not in message else ""
    said = said or next(
        (str(e.message) for e in _newest(events) if "Failed to pull" in str(e.message)), message
    )
    secrets = [each.name for each in (pod.spec.image_pull_secrets if pod.spec else None) or []]
    with_what = f"with pull secret {', '.join(secrets)}" if secrets else "without a pull secret"
    return _with(f"cannot pull image {container.image} {with_what}", _why_not_pulled(said))


def _why_not_pulled(said: str) -> str:
    for sign, why in _PULL_REASONS.items():
        if re.search(sign, said, re.IGNORECASE):
            return why
    return _short(said)


def _config(message: str, events: Sequence[CoreV1Event]) -> str:
    said = message or next(
        (str(e.message) for e in _newest(events) if e.reason == "Failed"), ""
    )
    if key := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (?:\S+/)?(\S+)", said):
        return f"{key[2]} {key[3]} has no key {key[1]}"
    if missing := re.search(r"(secret|configmap) \"([^\"]+)\" not found", said, re.IGNORECASE):
        kind = {"secret": "Secret", "configmap": "ConfigMap"}[missing[1].lower()]
        return f"there is no {kind} {missing[2]}"
    return _with("its container cannot be made", _short(said))


def _unscheduled(pod: V1Pod, events: Sequence[CoreV1Event]) -> str:
    for event in _newest(events):
        if event.reason == "FailedMount":
            missing = re.search(
                r"(secret|configmap) \"([^\"]+)\" not found", str(event.message)
            )
            if missing:
                return f"there is no {missing[1]} {missing[2]} to mount"
            return _with("a volume cannot be mounted", _short(str(event.message)))
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            if condition.reason == "SchedulingGated":
                return "waits in a queue for its turn"
            return _no_node(str(condition.message or ""))
    for event in _newest(events):
        if event.reason == "FailedScheduling":
            return _no_node(str(event.message or ""))
    return ""


def _no_node(said: str) -> str:
    said = re.sub(r"\s*preemption: .*$", "", said).rstrip(". ")
    lacking = list(dict.fromkeys(_FREE.findall(said)))
    if lacking:
        return _with(f"no node has a free {' and '.join(lacking)}", said)
    if "persistentvolumeclaim" in said:
        return _with("its volume is not there", said)
    if "affinity/selector" in said or "untolerated taint" in said:
        return _with("no node fits its selector and tolerations", said)
    return _with("waits for a node", said)


def _newest(events: Sequence[CoreV1Event]) -> Sequence[CoreV1Event]:
    def when(event: CoreV1Event) -> str:
        return str(event.last_timestamp or event.event_time or "")

    return sorted(events, key=when, reverse=True)


def _with(what: str, detail: str) -> str:
    return f"{what}: {_short(detail)}" if detail else what


def _short(text: str) -> str:
    text = " ".join(_ANSI.sub("", text).split())
    return text if len(text) <= 300 else f"{text[:300]}…"


@lru_cache(maxsize=8)
def _api(namespace: str, kubeconfig: str, context: str, _minute: int) -> CoreV1Api | None:
    """Give the way to the pods; None where nobody knows one, or may go it.

    Who polls a run each second must not log in, or wait for a cluster out of reach, each time.
    """
    from kubernetes.client import ApiClient, ApiException, Configuration, CoreV1Api
    from kubernetes.config import ConfigException
    from urllib3.exceptions import HTTPError
    from yaml import YAMLError

    config = Configuration()
    config.retries = False
    try:
        _configure(config, kubeconfig, context)
    except (ConfigException, OSError, YAMLError, ValueError, TypeError, KeyError):
        return None
    api = CoreV1Api(ApiClient(config))
    try:
        api.list_namespaced_pod(namespace, limit=1, _request_timeout=_LIMITS)
    except (ApiException, HTTPError):
        return None
    return api


def _configure(config: Configuration, kubeconfig: str, context: str) -> None:
    """Have a client go where is told; where nothing is, as the pod it is in, or as kubectl."""
    from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

    if not (kubeconfig or context):
        with suppress(ConfigException):
            load_incluster_config(client_configuration=config)
            return
    load_kube_config(
        kubeconfig or None,
        context=context or None,
        client_configuration=config,
        persist_config=False,
    )


_DISRUPTIONS: Mapping[str, str] = {
    "PreemptionByScheduler": "pre-empted: its node was given to a pod of higher priority",
    "DeletionByTaintManager": "evicted: its node was taken out of service",
    "EvictionByEvictionAPI": "evicted: its node is being emptied",
    "DeletionByPodGC": "lost: its node is gone",
    "TerminationByKubelet": "evicted: its node shut down or ran short",
}
_PULL_REASONS: Mapping[str, str] = {
    r"unauthorized|authentication required|denied|403|401": "the registry refuses it",
    r"manifest unknown|not found|NotFound": "there is no such image or tag",
    r"no such host|timeout|connection refused|dial tcp": "the registry cannot be reached",
    r"invalid reference|couldn't parse image": "that is no name of an image",
    r"x509|certificate": "the registry's certificate is not trusted",
    r"toomanyrequests|rate limit": "the registry's pull limit is reached",
}
