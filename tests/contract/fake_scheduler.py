"""A scheduler in memory: nothing starts by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.core.recurring import Schedule, Scheduled, ScheduleState
from mlops_nb.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.core.verbs import Job


class FakeScheduler:
    """Keeps the schedules; `jobs` are by name, `puts` counts what was really written."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.puts = 0
        self._kept: dict[str, Scheduled] = {}

    def put(self, schedule: Schedule, job: Job, notebook: bytes, fingerprint: str) -> Scheduled:
        before = self._kept.get(schedule.name)
        if before and (before.request, before.fingerprint) == (schedule, fingerprint):
            return before
        self.puts += 1
        self.jobs[schedule.name] = job
        self._kept[schedule.name] = Scheduled(
            name=schedule.name,
            request=schedule,
            fingerprint=fingerprint,
            address=f"a-{self.puts}",
            state=before.state if before else ScheduleState.ACTIVE,
        )
        return self._kept[schedule.name]

    def schedules(self) -> Sequence[Scheduled]:
        return [self._kept[name] for name in sorted(self._kept)]

    def find(self, name: str) -> Scheduled | None:
        return self._kept.get(name)

    def switch(self, name: str, *, active: bool) -> None:
        state = ScheduleState.ACTIVE if active else ScheduleState.PAUSED
        self._kept[name] = replace(self._known(name), state=state)

    def delete(self, name: str) -> None:
        self._known(name)
        del self._kept[name]

    def _known(self, name: str) -> Scheduled:
        if name not in self._kept:
            raise NotFound(f"there is no schedule {name!r}")
        return self._kept[name]
