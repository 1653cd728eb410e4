"""What happens to runs and canaries, told on Jupyter's event bus."""

from __future__ import annotations

import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops_nb.core.events import MetricLogged, Note, RolloutMoved
from mlops_nb.core.results import RunList, StatusList, SweepResult
from mlops_nb.core.run import Run
from mlops_nb.core.verbs import Status
from mlops_nb.errors import MlopsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mlops_nb.core.events import Event
    from mlops_nb.project import Project

SCHEMA_ID = "https://mlops-nb.dev/schemas/event/v1"
SCHEMA = {
    "$id": SCHEMA_ID,
    "version": "1",
    "title": "What happens to a run or a canary",
    "description": "See docs/server.md.",
    "type": "object",
    "properties": {
        "boot": {"type": "string", "description": "the server process"},
        "number": {"type": "integer", "description": "counted from 1 in this process"},
        "project": {"type": "string", "description": "folder of the project"},
        "event": {
            "type": "object",
            "description": "what happened",
            "properties": {"kind": {"type": "string"}},
            "required": ["kind"],
        },
    },
    "required": ["boot", "number", "project", "event"],
    "additionalProperties": False,
}
_WATCHED_AT_MOST = 64
_METRIC_SECONDS = 0.2
_LOOK_SECONDS = 60.0
_ASKED_SECONDS = 1800.0


class Bus:
    """Numbers events and sends them.

    Args:
        send: takes a numbered event as JSON data; called from any thread.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self.boot = uuid.uuid4().hex
        self._send = send
        self._lock = threading.Lock()
        self._number = 0

    @property
    def number(self) -> int:
        """Number of the last event sent."""
        return self._number

    def tell(self, project: Project, event: Event) -> None:
        """Send an event of a project."""
        from mlops_nb import wire

        with self._lock:
            # Numbered and sent as one: who listens takes a number out of turn for a gap.
            self._number += 1
            self._send(
                {
                    "boot": self.boot,
                    "number": self._number,
                    "project": str(project.folder),
                    "event": json.loads(wire.dumps(event)),
                }
            )


@dataclass(slots=True)
class _Canary:
    """Who watches what a cluster does, and until when somebody wants to know."""

    wanted_until: float
    seen: dict[tuple[str, str], object] = field(default_factory=dict)


class Watchers:
    """One thread for each run that goes on, and for each canary that somebody looks at.

    Args:
        bus: where what they see is told.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._runs: set[tuple[str, str]] = set()
        self._canaries: dict[tuple[str, str, str], _Canary] = {}
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Tell no more; the threads end with the process."""
        self._stopped.set()

    def see(self, project: Project, result: object, since: datetime) -> None:
        """Watch the runs of a verb's result that go on.

        Args:
            project: whose they are.
            result: what the verb gave.
            since: when it was asked for: what happened before is in the result.
        """
        for run in _runs_in(result):
            if not run.state.is_final and run.is_at_hand and not run.is_schedule:
                self._watch_run(project, run, since)

    def look(self, project: Project, verb: Status) -> None:
        """Watch what a cluster does, until it has settled or nobody asks any more."""
        if not any(
            one.has_cluster
            for one in project.settings.environments.values()
            if verb.env in {"", one.name}
        ):
            return
        key = (str(project.folder), verb.model, verb.env)
        until = time.monotonic() + _ASKED_SECONDS
        with self._lock:
            if key in self._canaries:
                self._canaries[key].wanted_until = until
                return
            if len(self._canaries) >= _WATCHED_AT_MOST:
                return
            canary = self._canaries[key] = _Canary(until)
        _start(self._follow_canary, project, verb, canary, key)

    def _watch_run(self, project: Project, run: Run, since: datetime) -> None:
        key = (str(project.folder), run.id)
        with self._lock:
            if key in self._runs or len(self._runs) >= _WATCHED_AT_MOST:
                return
            self._runs.add(key)
        _start(self._follow_run, project, run, since, key)

    def _follow_run(
        self, project: Project, run: Run, since: datetime, key: tuple[str, str]
    ) -> None:
        try:
            events: Iterable[Event] = project.executor.watch(run.id)
            if run.executor == "local":
                # A pod's clock may go wrong; its events are few.
                events = (event for event in events if _is_after(event, since))
            for event in _thinned(events):
                if self._stopped.is_set():
                    return
                self._bus.tell(project, event)
        except MlopsError as error:
            self._bus.tell(
                project, Note(text=f"{run.id} is watched no longer: {error.message}")
            )
        finally:
            with self._lock:
                self._runs.discard(key)

    def _follow_canary(
        self, project: Project, verb: Status, canary: _Canary, key: tuple[str, str, str]
    ) -> None:
        def tell(event: Event) -> None:
            if isinstance(event, RolloutMoved):
                which = (event.status.model, event.status.environment)
                if canary.seen.get(which) == event.status:
                    return
                canary.seen[which] = event.status
            if not self._stopped.is_set():
                self._bus.tell(project, event)

        looking = Status(
            model=verb.model, env=verb.env, watch=True, interval=verb.interval,
            timeout=_LOOK_SECONDS,
        )  # fmt: skip
        try:
            while not self._stopped.is_set() and time.monotonic() < canary.wanted_until:
                seen = project.run(looking, tell)
                if isinstance(seen, StatusList) and not seen.timed_out:
                    return
        except MlopsError as error:
            self._bus.tell(
                project, Note(text=f"deployments are watched no longer: {error.message}")
            )
        finally:
            with self._lock:
                self._canaries.pop(key, None)


def _start(target: Callable[..., None], *arguments: object) -> None:
    # A thread that waits for a run must not keep the server from ending.
    threading.Thread(target=target, args=arguments, daemon=True, name="mlops-nb").start()


def _runs_in(result: object) -> Iterator[Run]:
    match result:
        case Run():
            yield result
        case SweepResult():
            yield result.run
            # Kubeflow runs a sweep as one.
            yield from (child for child in result.children if child.directory)
        case RunList():
            yield from result.runs
        case _:
            return


def _is_after(event: Event, since: datetime) -> bool:
    time_ = getattr(event, "time", None)
    return time_ is None or time_ >= since


def _thinned(events: Iterable[Event]) -> Iterator[Event]:
    """Yield events; of a metric that is logged again and again, its last value now and then."""
    told: dict[str, datetime] = {}
    waiting: dict[str, MetricLogged] = {}
    for event in events:
        if isinstance(event, MetricLogged):
            before = told.get(event.name, datetime.min.replace(tzinfo=UTC))
            if (event.time - before).total_seconds() < _METRIC_SECONDS:
                waiting[event.name] = event
                continue
            told[event.name] = event.time
            waiting.pop(event.name, None)
        else:
            yield from waiting.values()
            waiting.clear()
        yield event
    yield from waiting.values()
