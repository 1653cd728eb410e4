"""Failures on demand: of requests, and of pods."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from mlops_nb.dev.kubeflow.refusal import invalid

if TYPE_CHECKING:
    from mlops_nb.dev.kubeflow.options import Json
    from mlops_nb.dev.kubeflow.records import Pod

_REQUEST = {"match", "status", "times", "slow", "drop", "after", "state"}
_POD = {"task", "waiting", "message", "oom", "evict", "preempt", "after", "times"}
_BLOWS = ("oom", "evict", "preempt")


class Faults:
    """What is to go wrong: each fault happens `times` times, once unless told otherwise."""

    def __init__(self) -> None:
        self._requests: list[Json] = []
        self._pods: list[Json] = []
        self._held: dict[str, Json] = {}

    def add(self, fault: Any) -> None:
        """Ask for a request to fail."""
        self._requests.append(_checked(fault, _REQUEST, "match"))
        if not set(fault) & {"status", "slow", "drop", "state"}:
            raise invalid("a fault needs one of status, slow, drop, state")

    def add_pod(self, fault: Any) -> None:
        """Ask for a pod to fail."""
        checked = _checked(fault, _POD, "task")
        if not set(fault) & {"waiting", *_BLOWS}:
            raise invalid("a fault of a pod needs one of waiting, oom, evict, preempt")
        self._pods.append(checked)

    def clear(self) -> None:
        """Let everything go well again, and pods that are held go on."""
        self._requests.clear()
        self._pods.clear()
        self._held.clear()

    def listed(self) -> Json:
        """Give what is still to go wrong."""
        return {"requests": self._requests, "pods": self._pods}

    def take(self, method: str, path: str) -> Json:
        """Give the fault that a request meets; it counts as having happened."""
        for fault in self._requests:
            verb, _, pattern = fault["match"].partition(" ")
            if verb in {method, "*"} and _below(path, pattern):
                _count(fault, self._requests)
                return fault
        return {}

    def pod(self, pod: Pod, kind: str) -> Json:
        """Give the fault that keeps a pod from starting, for as long as it is not cleared."""
        if pod.name not in self._held:
            found = self._for_task(pod.task, (kind,))
            if found:
                self._held[pod.name] = found
        return self._held.get(pod.name, {})

    def blow(self, pod: Pod) -> Json:
        """Give what ends a pod early."""
        return self._for_task(pod.task, _BLOWS)

    def _for_task(self, task: str, kinds: tuple[str, ...]) -> Json:
        for fault in self._pods:
            if any(fault.get(kind) for kind in kinds) and fnmatch.fnmatch(task, fault["task"]):
                _count(fault, self._pods)
                return fault
        return {}


def _checked(fault: Any, known: set[str], needed: str) -> Json:
    if not isinstance(fault, dict) or not isinstance(fault.get(needed), str):
        raise invalid(f"a fault is an object with {needed}")
    unknown = sorted(set(fault) - known)
    if unknown:
        raise invalid(f"a fault has no {unknown[0]}; it has {', '.join(sorted(known))}")
    times = fault.get("times", 1)
    if not isinstance(times, int) or times < 1:
        raise invalid(f"times is {times!r}; it must be a whole number from 1")
    status = fault.get("status", 500)
    if not isinstance(status, int) or not 400 <= status < 600:
        raise invalid(f"status is {status!r}; it must be from 400 to 599")
    for name in ("slow", "after"):
        if not isinstance(fault.get(name, 0), int | float):
            raise invalid(f"{name} is {fault[name]!r}; it must be a number")
    return {**fault, "times": times}


def _count(fault: Json, among: list[Json]) -> None:
    fault["times"] -= 1
    if not fault["times"]:
        among.remove(fault)


def _below(path: str, pattern: str) -> bool:
    """Tell whether a path is the one of a fault, lies below it, or fits its wildcards."""
    if "*" in pattern or "?" in pattern:
        return fnmatch.fnmatchcase(path, pattern)
    return path == pattern or path.startswith((f"{pattern}/", f"{pattern}:"))
