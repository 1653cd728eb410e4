"""An executor in memory: its runs end when the test says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb.core.events import RunMoved, advance, known_key, unheard
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fake_scheduler import FakeScheduler

    from mlops_nb.core.events import Event
    from mlops_nb.core.verbs import Job
    from mlops_nb.ports import Listener


class FakeExecutor:
    """Plays a script instead of a notebook.

    Args:
        script: gives the events of a job's nth try (counted from 0), the last one final.
    """

    def __init__(self, script: Callable[[Job, int], Iterator[Event]]) -> None:
        self._script = script
        self.jobs: dict[str, Job] = {}
        self.schedules: FakeScheduler | None = None
        self._tries: dict[str, int] = {}
        self._runs: dict[str, Run] = {}
        self._events: dict[str, list[Event]] = {}
        self._waiting: dict[str, Iterator[Event]] = {}
        self._logs: dict[str, list[str]] = {}

    def submit(self, job: Job, notebook: bytes, tell: Listener = unheard) -> Run:
        for earlier in self.jobs.values():
            if job.key and earlier.key == job.key:
                if replace(earlier, id=job.id, requested_by=job.requested_by) != job:
                    raise Conflict(f"key {job.key!r} belongs to {earlier.id}")
                tell(known_key(job.key, earlier.id))
                return self._runs[earlier.id]
        self.jobs[job.id] = job
        self._runs[job.id] = Run(
            id=job.id,
            notebook=job.spec.notebook,
            state=RunState.QUEUED,
            parent=job.parent,
            best=job.best,
            children=len(job.children),
            directory=f"memory:{job.id}",
            parameters={
                **job.spec.parameters,
                **{name: f"secret:{ref}" for name, ref in job.spec.secrets.items()},
            },
        )
        self._events[job.id] = []
        self._logs[job.id] = []
        self._play(job.id)
        return self._runs[job.id]

    def render(
        self, job: Job, notebook: bytes, *, kubernetes: bool = False
    ) -> Mapping[str, bytes]:
        files = {"pipeline.yaml": job.id.encode(), "bundle-1.tar.gz": notebook}
        return {**files, "kubernetes.yaml": b"kind: Pipeline"} if kubernetes else files

    def scheduler(self) -> FakeScheduler | None:
        return self.schedules

    def resume(self, run_id: str) -> Run:
        run = self._known(run_id)
        if not run.state.is_final:
            raise Conflict(f"run {run_id} is not finished", hint="wait for it")
        self._play(run_id)
        self._runs[run_id] = replace(run, state=RunState.QUEUED, failure=None, ended=None)
        return self._runs[run_id]

    def watch(self, run_id: str) -> Iterator[Event]:
        self._known(run_id)
        yield from list(self._events[run_id])
        for event in self._waiting[run_id]:
            self._take(run_id, event)
            yield event

    def run(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def runs(self) -> Sequence[Run]:
        return list(reversed(self._runs.values()))

    def children(self, run_id: str) -> Sequence[Run]:
        begun = {run.id: run for run in self._runs.values() if run_id and run.parent == run_id}
        sweep = self._runs.get(run_id)
        if sweep is None or sweep.state.is_final:
            return list(begun.values())
        planned = {child.id: child.queued("") for child in self.jobs[run_id].children}
        return list({**planned, **begun}.values())

    def log(self, run_id: str, *, follow: bool) -> Iterator[str]:
        self._known(run_id)
        if follow:
            for _ in self.watch(run_id):
                pass
        yield from self._logs[run_id]

    def delete(self, run_id: str) -> None:
        if not self._known(run_id).state.is_final:
            raise Conflict(f"run {run_id} is not finished", hint="cancel it")
        del self._runs[run_id]

    def cancel(self, run_id: str) -> Run:
        run = self._known(run_id)
        if not run.state.is_final:
            self._waiting[run_id] = iter(())
            self._take(
                run_id,
                RunMoved(
                    run=run_id,
                    state=RunState.CANCELLED,
                    time=datetime.now(UTC),
                    failure=Failure(reason="cancelled"),
                ),
            )
        return self._runs[run_id]

    def check(self, kernel: str) -> str:
        return f"kernel {kernel}"

    def _play(self, run_id: str) -> None:
        self._waiting[run_id] = self._script(self.jobs[run_id], self._tries.get(run_id, 0))
        self._tries[run_id] = self._tries.get(run_id, 0) + 1

    def _take(self, run_id: str, event: Event) -> None:
        self._events[run_id].append(event)
        self._runs[run_id] = replace(advance(self._runs[run_id], event))
        line = getattr(event, "last_line", "")
        if line:
            self._logs[run_id].append(f"{line}\n")

    def _known(self, run_id: str) -> Run:
        if run_id not in self._runs:
            raise NotFound(f"no run {run_id!r}", hint="see `mlops runs`")
        return self._runs[run_id]
