"""Pods played by child processes: waiting for room, running, being stopped, ending."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow.environment import MissingConfig, variables
from mlops_nb.dev.kubeflow.options import Json
from mlops_nb.dev.kubeflow.records import Pod
from mlops_nb.dev.kubeflow.values import BadValue

if TYPE_CHECKING:
    from mlops_nb.dev.kubeflow.faults import Faults
    from mlops_nb.dev.kubeflow.options import Options
    from mlops_nb.dev.kubeflow.state import Store

_POLL = 0.05
_RECHECK = 0.5
_HURRY = 2.0
_KIND = "pods"
_TOO_LATE = "Pod was active on the node longer than the specified deadline"


@dataclass(frozen=True)
class Launch:
    """What a pod is to do.

    Args:
        pod: the pod.
        line: the command and its arguments, placeholders filled.
        folder: where its working directory, log and outputs are.
        container: the container as the IR has it.
        kubernetes: what the IR's second document says of the pod.
        deadline: seconds after which it is stopped; 0 for never.
        asks: how many of which accelerators it needs.
        collect: reads the outputs once the command went well.
    """

    pod: Pod
    line: list[str]
    folder: Path
    container: Json
    kubernetes: Json
    deadline: float
    asks: dict[str, int]
    collect: Callable[[], None]

    @property
    def log(self) -> Path:
        """Give the file that the pod's output goes to."""
        return self.folder / "log.txt"


@dataclass
class _Live:
    """A pod under way: the wish to stop it, and its process once there is one."""

    launch: Launch
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None


class Pods:
    """All pods of the server, those under way and those that ended."""

    def __init__(self, options: Options, store: Store, faults: Faults) -> None:
        self._options = options
        self._store = store
        self._faults = faults
        self._live: dict[str, _Live] = {}
        self._taken: dict[str, int] = {}
        self._running = 0
        self._hurry = False

    def save(self, pod: Pod) -> None:
        """Write what is known of a pod."""
        self._store.put(_KIND, pod.name, pod.to_json())

    async def run(self, launch: Launch) -> bool:
        """Take a pod to its end; tell whether it went well."""
        live = _Live(launch)
        pod = launch.pod
        self._live[pod.name] = live
        launch.folder.mkdir(parents=True, exist_ok=True)
        launch.log.write_bytes(b"")
        admitted = False
        try:
            admitted = await self._admit(live)
            if admitted and await self._configured(live):
                await self._execute(live)
            elif not live.stop.is_set():
                self._end(pod, 143, "Error", _TOO_LATE, pod_reason="DeadlineExceeded")
            else:
                self._end(pod, 143, "Error", "the pod was deleted before it started")
        finally:
            if admitted:
                self._release(launch)
            del self._live[pod.name]
            self.save(pod)
        return pod.phase == "Succeeded"

    def stop_run(self, run_id: str) -> None:
        """Tell the pods of a run to end; they have the grace period for it."""
        for live in self._live.values():
            if live.launch.pod.run_id == run_id:
                live.stop.set()

    def stop_all(self) -> None:
        """Tell all pods to end within two seconds."""
        self._hurry = True
        for live in self._live.values():
            live.stop.set()

    async def _admit(self, live: _Live) -> bool:
        """Wait for the accelerators and for a place; tell whether the pod may still go on."""
        pod, asks = live.launch.pod, live.launch.asks
        while not live.stop.is_set():
            short = self._short(asks)
            if short:
                pod.unschedulable = f"0/1 nodes are available: 1 Insufficient {short}."
                pod.tell(time.time(), "FailedScheduling", pod.unschedulable, warning=True)
                self.save(pod)
            elif self._running < self._options.parallel:
                self._running += 1
                for name, count in asks.items():
                    self._taken[name] = self._taken.get(name, 0) + count
                self._schedule(pod)
                return True
            await _pause(live.stop, _RECHECK if short else _POLL)
        return False

    def _short(self, asks: dict[str, int]) -> str:
        """Name the accelerator of which there are too few."""
        there = self._options.accelerators
        if there is None:
            return ""
        short = [
            name for name, count in asks.items() if count + self._taken.get(name, 0) > there
        ]
        return min(short, default="")

    def _schedule(self, pod: Pod) -> None:
        pod.unschedulable = ""
        pod.scheduled = time.time()
        text = f"Successfully assigned {pod.namespace}/{pod.name} to laptop"
        pod.tell(pod.scheduled, "Scheduled", text)
        self.save(pod)

    def _release(self, launch: Launch) -> None:
        self._running -= 1
        for name, count in launch.asks.items():
            self._taken[name] -= count

    async def _configured(self, live: _Live) -> bool:
        """Wait for what keeps the container from starting; tell whether it may start."""
        launch = live.launch
        while not live.stop.is_set() and not self._late(launch):
            waiting, message = self._obstacle(launch)
            if not waiting:
                return True
            launch.pod.waiting, launch.pod.waiting_message = waiting, message
            reason = "BackOff" if "Image" in waiting else "Failed"
            launch.pod.tell(time.time(), reason, message, warning=True)
            self.save(launch.pod)
            await _pause(live.stop, _RECHECK)
        return False

    def _late(self, launch: Launch) -> bool:
        return 0 < launch.deadline < time.time() - launch.pod.scheduled

    def _obstacle(self, launch: Launch) -> tuple[str, str]:
        """Give the reason why the container cannot start, and its message."""
        fault = self._faults.pod(launch.pod, "waiting")
        if fault:
            image = f'Back-off pulling image "{launch.pod.image}"'
            return str(fault["waiting"]), str(fault.get("message") or image)
        try:
            variables(launch.container, launch.kubernetes, launch.pod, self._options)
        except MissingConfig as error:
            return "CreateContainerConfigError", str(error)
        return "", ""

    async def _execute(self, live: _Live) -> None:
        """Start the command and see it end."""
        launch, pod = live.launch, live.launch.pod
        work = launch.folder / "work"
        work.mkdir(exist_ok=True)
        environment = variables(launch.container, launch.kubernetes, pod, self._options)
        try:
            with launch.log.open("ab") as log:
                live.process = await asyncio.create_subprocess_exec(
                    *self._command(launch.line),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=asyncio.subprocess.STDOUT,
                    cwd=work,
                    env=environment,
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:
            _write(launch.log, f"failed to execute component: {error}")
            self._end(pod, 1, "Error", "")
            return
        pod.phase, pod.waiting, pod.waiting_message = "Running", "", ""
        pod.started, pod.process = time.time(), live.process.pid
        pod.tell(pod.started, "Started", "Started container main")
        self.save(pod)
        await self._watch(live, live.process)

    def _command(self, line: list[str]) -> list[str]:
        """Run a bare `python` with the interpreter of this server."""
        if line and line[0] in {"python", "python3"}:
            return [self._options.python, *line[1:]]
        return line

    async def _watch(self, live: _Live, process: asyncio.subprocess.Process) -> None:
        """Wait for the end, or bring it about: a wish to stop, a deadline, a fault."""
        pod = live.launch.pod
        ended = asyncio.ensure_future(process.wait())
        wished = asyncio.ensure_future(live.stop.wait())
        reason, blow = "", self._faults.blow(pod)
        try:
            while not ended.done():
                if wished.done():
                    reason = "stopped"
                elif self._late(live.launch):
                    reason = "DeadlineExceeded"
                elif blow and time.time() - pod.started >= float(blow.get("after", 0.3)):
                    reason = next(
                        kind for kind in ("oom", "evict", "preempt") if blow.get(kind)
                    )
                if reason:
                    pod.tell(time.time(), "Killing", "Stopping container main")
                    await self._kill(process, ended, at_once=reason == "oom")
                    break
                await asyncio.wait(
                    {ended, wished}, timeout=_POLL, return_when="FIRST_COMPLETED"
                )
        finally:
            wished.cancel()
            _signal(process.pid, signal.SIGKILL)
        await ended
        self._judge(live.launch, process.returncode or 0, reason)

    async def _kill(
        self, process: asyncio.subprocess.Process, ended: asyncio.Future[int], *, at_once: bool
    ) -> None:
        """End a pod's processes: SIGTERM, the grace period, SIGKILL."""
        if not at_once:
            _signal(process.pid, signal.SIGTERM)
            told = time.monotonic()
            while not ended.done():
                grace = self._options.grace
                if time.monotonic() - told > (min(_HURRY, grace) if self._hurry else grace):
                    break
                await asyncio.wait({ended}, timeout=_POLL)
        _signal(process.pid, signal.SIGKILL)

    def _judge(self, launch: Launch, code: int, reason: str) -> None:
        """Record how the pod ended."""
        code = 128 - code if code < 0 else code
        pod = launch.pod
        if reason in {"evict", "preempt"}:
            self._disrupted(pod, reason)
        if reason == "oom":
            self._end(pod, 137, "OOMKilled", "")
        elif reason == "evict":
            self._end(pod, code, "Error", pod.message, pod_reason="Evicted")
        elif reason == "DeadlineExceeded":
            self._end(pod, code, "Error", _TOO_LATE, pod_reason=reason)
        elif reason or code:
            self._end(pod, code or 143, "Error", pod.message)
        else:
            try:
                launch.collect()
            except BadValue as error:
                _write(launch.log, f"failed to execute component: {error}")
                code = 1
            self._end(pod, code, "Error" if code else "Completed", "")

    def _disrupted(self, pod: Pod, reason: str) -> None:
        pod.disruption = {
            "evict": "TerminationByKubelet",
            "preempt": "PreemptionByScheduler",
        }[reason]
        pod.message = {
            "evict": "The node was low on resource: memory.",
            "preempt": "preempted by a pod of higher priority on node laptop",
        }[reason]
        pod.tell(
            time.time(),
            "Evicted" if reason == "evict" else "Preempted",
            pod.message,
            warning=True,
        )

    def _end(
        self, pod: Pod, code: int, reason: str, message: str, *, pod_reason: str = ""
    ) -> None:
        pod.phase = "Failed" if code else "Succeeded"
        pod.exit_code, pod.exit_reason = code, reason
        pod.message, pod.reason = message, pod_reason
        pod.finished = time.time()
        pod.waiting = pod.waiting_message = ""
        self.save(pod)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but not longer than until the wish to stop."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _write(log: Path, text: str) -> None:
    with log.open("ab") as file:
        file.write(text.encode() + b"\n")


def reap(pod: Pod) -> None:
    """Kill what an earlier server left running for a pod, where it is surely still that."""
    try:
        environment = Path(f"/proc/{pod.process}/environ").read_bytes()
    except OSError:
        return
    if pod.process and f"KFP_POD_UID={pod.uid}".encode() in environment.split(b"\0"):
        _signal(pod.process, signal.SIGKILL)
