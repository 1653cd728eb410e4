"""What can be asked of schedules, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

from mlops_nb.core.request import Request, above_zero, at_least
from mlops_nb.core.run import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(Request):
    """Run a notebook again and again, at the times that a crontab line says.

    Args:
        notebook: path of the notebook.
        cron: minute, hour, day of month, month and day of week, or a name such as `@daily`.
        timezone: time zone of these times.
        catchup: whether times that were missed are made up for.
        latest: whether each run takes the notebook of the last update, uploaded as a pipeline,
            instead of the one pinned in the schedule.
        name: name of the schedule; empty takes the notebook's.
        parameters: values by name, as of a single run.
        parameter_file: YAML or JSON file with more of them; `parameters` win.
        data: uri by parameter name.
        gates: expressions to judge each run by.
        register: name to register each model under; empty registers none.
        deploy: environment to propose each model to; empty proposes none.
        timeout: seconds for a whole run.
        cell_timeout: seconds for any one cell.
        memory: bytes the kernel may use.
        retries: how often a run that failed for no fault of the notebook's is started again.
        kernel: kernelspec name.
        on: executor: `kubeflow`; empty takes the project's.
        profile: named resources of mlops.toml.
        gpu: accelerators instead of the profile's.
        cpu: CPU request instead of the profile's.
        image: container image instead of the profile's.
        verb: the word for it.
    """

    cron: str
    timezone: str = "UTC"
    catchup: bool = False
    latest: bool = False
    name: str = ""
    verb: Literal["schedule"] = "schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSchedule:
    """Take the notebook as it is now into a schedule, and change the words that are given.

    Args:
        name: name of the schedule.
        cron: other times.
        timezone: another time zone.
        catchup: whether times that were missed are made up for; None leaves it.
        latest: whether the notebook is a pipeline of its own; None leaves it.
        parameters: other values by name; the rest stays.
        parameter_file: YAML or JSON file with more of them.
        data: other uris by parameter name; the rest stays.
        gates: other gates, instead of all of them.
        register: another name to register under.
        deploy: another environment to propose to.
        timeout: other seconds for a whole run.
        cell_timeout: other seconds for any one cell.
        memory: other bytes the kernel may use.
        retries: how often a run is started again; None leaves it.
        kernel: another kernelspec.
        profile: another profile.
        gpu: other accelerators.
        cpu: another CPU request.
        image: another container image.
    """

    name: str
    cron: str = ""
    timezone: str = ""
    catchup: bool | None = None
    latest: bool | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    parameter_file: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    register: str = ""
    deploy: str = ""
    timeout: float | None = None
    cell_timeout: float | None = None
    memory: int | None = None
    retries: int | None = None
    kernel: str = ""
    profile: str = ""
    gpu: int | None = None
    cpu: str = ""
    image: str = ""
    verb: Literal["schedule update"] = "schedule update"

    def __post_init__(self) -> None:
        """Refuse limits under which nothing runs."""
        above_zero(timeout=self.timeout, cell_timeout=self.cell_timeout, memory=self.memory)
        at_least(0, retries=self.retries, gpu=self.gpu)

    def of(self, before: Schedule) -> Schedule:
        """Give the schedule with the words that are given here."""
        given = {
            own.name: value
            for own in fields(self)
            if own.name != "verb" and (value := getattr(self, own.name)) not in (None, "", ())
        }
        parameters = {**before.parameters, **self.parameters}
        data = {**before.data, **self.data}
        return replace(before, **{**given, "parameters": parameters, "data": data})


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseSchedule:
    """Keep a schedule from starting runs."""

    name: str
    verb: Literal["schedule pause"] = "schedule pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeSchedule:
    """Let a schedule start runs again."""

    name: str
    verb: Literal["schedule resume"] = "schedule resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSchedule:
    """Delete a schedule; its runs stay."""

    name: str
    verb: Literal["schedule delete"] = "schedule delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedules:
    """List schedules."""

    verb: Literal["schedules"] = "schedules"


class ScheduleState(StrEnum):
    """Whether a schedule starts runs."""

    ACTIVE = "active"
    PAUSED = "paused"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A notebook that is run again and again.

    Args:
        name: name of the schedule; ids of its runs begin with it.
        request: its words as they stand; parameters are values, the notebook's path is as seen
            from the project's folder.
        state: whether it starts runs.
        when: its times in words, with their zone.
        next: the next times; empty while it is paused.
        fingerprint: 64 hex digits over the cells of the notebook that its runs have.
        tracking_id: MLflow id of its record, which holds the notebook and its files.
        address: the executor's own id of it.
        last_run: id of its newest run; empty if there is none.
        last_state: where that stands; null if there is none.
        changes: what this call changed; empty if everything was so already.
        is_new: whether this call made it.
    """

    name: str
    request: Schedule
    state: ScheduleState = ScheduleState.ACTIVE
    when: str = ""
    next: tuple[datetime, ...] = ()
    fingerprint: str = ""
    tracking_id: str = ""
    address: str = ""
    last_run: str = ""
    last_state: RunState | None = None
    changes: tuple[str, ...] = ()
    is_new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleList:
    """Schedules, by name."""

    schedules: tuple[Scheduled, ...]
