"""A run's own record in its run directory: events as they come, the result at the end."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb import wire
from mlops_nb.core.events import Event, RunMoved, advance
from mlops_nb.core.run import Run
from mlops_nb.errors import MlopsError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlops_nb.core.run import Failure, RunState
    from mlops_nb.core.verbs import Job
    from mlops_nb.ports import Registry

EVENTS = "events.jsonl"

_log = logging.getLogger("mlops_nb.runner")
_PROGRESS_SECONDS = 3.0


class Record:
    """Appends events to `events.jsonl` and keeps the run that they add up to.

    Args:
        run: the run so far.
        directory: the run directory.
        redact: takes known secrets out of what is written.
    """

    def __init__(self, run: Run, directory: Path, redact: Callable[[str], str]) -> None:
        self.run = run
        self._directory = directory
        self.redact = redact
        self._lock = threading.Lock()
        events = directory / EVENTS
        said = events.read_bytes() if events.exists() else b""
        is_torn = bool(said) and not said.endswith(b"\n")
        self._file = events.open("a", encoding="utf-8")
        if is_torn:
            # An earlier runner was stopped within a line, or the disk was full.
            self._file.write("\n")

    def tell(self, event: Event) -> None:
        """Write an event; threads may call this at once."""
        with self._lock:
            self.run = advance(self.run, event)
            # One write a line: a reader never sees half of two events.
            self._file.write(self.redact(wire.dumps(event)) + "\n")
            self._file.flush()

    def move(
        self, state: RunState, failure: Failure | None = None, *, time: datetime | None = None
    ) -> None:
        """Write that the run came to a state, now if no time is given."""
        self.tell(
            RunMoved(
                run=self.run.id,
                state=state,
                time=time or datetime.now(UTC),
                tracking_id=self.run.tracking_id,
                url=self.run.url,
                failure=failure,
            )
        )

    def close(self) -> None:
        """Write the result; from here on the run is final for everybody."""
        self._file.close()
        part = self._directory / "result.json.part"
        part.write_text(self.redact(wire.dumps(self.run, indent=1)), encoding="utf-8")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self._directory / "result.json")


def first_run(job: Job, directory: Path) -> Run:
    """Give the run of a job before anything happened, or as an earlier try left it."""
    before = directory / "result.before.json"
    if before.exists():
        # What a full disk left of it tells nothing: then it is a first try.
        with suppress(UserError):
            run = wire.loads(Run, before.read_bytes())
            # The time between two tries was nobody's work.
            return replace(run, started=None)
    return job.queued(str(directory))


class SharedRecord(Record):
    """A run's record that others see in the tracking server, every few seconds."""

    def __init__(
        self, run: Run, directory: Path, redact: Callable[[str], str], registry: Registry
    ) -> None:
        super().__init__(run, directory, redact)
        self._registry = registry
        self._shared_at = datetime.min.replace(tzinfo=UTC)

    def tell(self, event: Event) -> None:
        """Write an event, and share how far the run is."""
        super().tell(event)
        if event.kind != "progress":
            return
        since = (event.time - self._shared_at).total_seconds()
        if since < _PROGRESS_SECONDS and event.done < event.cells:
            return
        self._shared_at = event.time
        try:
            shared = replace(event, last_line=self.redact(event.last_line))
            self._registry.progress(self.run.tracking_id, shared)
        except MlopsError as error:
            # Progress is a convenience; the run does not fail for it.
            _log.warning("progress: %s", error.message)
