"""Run a notebook again and again, and look after that."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from mlops_nb.core.data import DataSource
from mlops_nb.core.events import Note
from mlops_nb.core.recurring import Schedule, Scheduled, ScheduleList, ScheduleState
from mlops_nb.core.schedule import Cron
from mlops_nb.core.settings import Settings
from mlops_nb.core.verbs import Job
from mlops_nb.errors import NotFound, UserError
from mlops_nb.ports import Executor
from mlops_nb.preparation import prepare, read_notebook, slug

if TYPE_CHECKING:
    from mlops_nb.core.notebook import Notebook
    from mlops_nb.core.recurring import UpdateSchedule
    from mlops_nb.core.run import RunSpec
    from mlops_nb.ports import Listener, Scheduler

_SHOWN = 3
_FLAGS = {
    "parameters": "-p",
    "parameter_file": "-f",
    "data": "--data",
    "gates": "--gate",
    "register": "--register",
    "deploy": "--deploy",
    "timeout": "--timeout",
    "cell_timeout": "--cell-timeout",
    "memory": "--memory",
    "retries": "--retries",
    "kernel": "--kernel",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What making a schedule needs of the outside world.

    Args:
        executor: what runs notebooks.
        settings: the project's settings.
        read_parameters: reads a parameter file.
        find_credential: tells what kind of credential a parameter's literal looks like.
        look_up: finds a secret by reference, or raises UserError.
        locate: finds local data, or raises UserError.
        upcoming: gives the next times of a crontab line in a time zone.
        folder: the project's folder.
        requested_by: who asks.
        program: path of the `mlops` that cron would start.
        now: the time of asking.
    """

    executor: Executor
    settings: Settings
    read_parameters: Callable[[str], Mapping[str, object]]
    find_credential: Callable[[str, str], str]
    look_up: Callable[[str], object]
    locate: Callable[[DataSource], DataSource]
    upcoming: Callable[[str, str, datetime, int], tuple[datetime, ...]]
    folder: Path
    requested_by: str
    program: str
    now: datetime

    @property
    def scheduler(self) -> Scheduler:
        """What keeps schedules.

        Raises:
            UserError: if nothing does.
        """
        found = self.executor.scheduler()
        if found is None:
            raise UserError(
                "no Kubeflow is configured, which would keep schedules",
                hint='set url = "https://…" in [kubeflow] of mlops.toml',
            )
        return found

    def shown(self, scheduled: Scheduled) -> Scheduled:
        """Give a schedule with its times in words, and the next ones unless it is paused."""
        request = scheduled.request
        is_paused = scheduled.state is ScheduleState.PAUSED
        return replace(
            scheduled,
            when=f"{Cron.parse(request.cron)} {request.timezone}",
            next=()
            if is_paused
            else self.upcoming(request.cron, request.timezone, self.now, _SHOWN),
        )


def schedule(verb: Schedule, *, desk: Desk, tell: Listener) -> Scheduled:
    """Make a schedule; the same line again changes nothing, another one its words.

    Raises:
        UserError: before anything is written, if the request is wrong, or runs go on on this
            machine, where cron starts them: the hint is its line.
    """
    desk.upcoming(verb.cron, verb.timezone, desk.now, 1)
    where = verb.on or desk.settings.executor
    if where == "local":
        _spec(verb, desk, read_notebook(verb.notebook)[0])
        raise UserError(
            "on this machine cron starts what is to run at set times, in the machine's own "
            "time zone",
            hint=f"`crontab -e`, and add the line\n{crontab_line(verb, desk.program)}\n"
            "    for a cluster, add --on kubeflow",
        )
    name = _name(verb)
    wanted, job, content, fingerprint = _prepared(replace(verb, name=name), desk)
    known = desk.scheduler.find(name)
    changes = _changes(known.request, wanted) if known else ()
    if known and not changes:
        if known.fingerprint != fingerprint:
            tell(
                Note(
                    text=f"{PurePath(verb.notebook).name} was changed since; the schedule runs "
                    f"it as it was. To take it as it is now: mlops schedule update {name}"
                )
            )
        return desk.shown(known)
    put = desk.scheduler.put(wanted, job, content, fingerprint)
    return desk.shown(replace(put, changes=changes, is_new=known is None))


def update_schedule(verb: UpdateSchedule, *, desk: Desk) -> Scheduled:
    """Take the notebook as it is now into a schedule, and the words that are given.

    Raises:
        NotFound: if there is no such schedule, or its notebook is gone.
        UserError: before anything is changed, if the request is wrong.
    """
    known = _known(verb.name, desk.scheduler)
    given = verb.of(known.request)
    if given.parameter_file:
        read = desk.read_parameters(given.parameter_file)
        parameters = {**known.request.parameters, **read, **verb.parameters}
        given = replace(given, parameters=parameters, parameter_file="")
    desk.upcoming(given.cron, given.timezone, desk.now, 1)
    here = replace(given, notebook=str(desk.folder / given.notebook))
    wanted, job, content, fingerprint = _prepared(here, desk)
    changes = [*_changes(known.request, wanted)]
    if known.fingerprint != fingerprint:
        changes.append("notebook: as it is now")
    put = desk.scheduler.put(wanted, job, content, fingerprint)
    return desk.shown(replace(put, changes=tuple(changes)))


def switch_schedule(name: str, *, active: bool, desk: Desk, tell: Listener) -> Scheduled:
    """Let a schedule start runs, or keep it from it.

    Raises:
        NotFound: if there is no such schedule.
    """
    known = _known(name, desk.scheduler)
    state = ScheduleState.ACTIVE if active else ScheduleState.PAUSED
    if known.state is state:
        tell(Note(text=f"{name} is {state} already"))
        return desk.shown(known)
    desk.scheduler.switch(name, active=active)
    changes = (f"state: {known.state} → {state}",)
    return desk.shown(replace(known, state=state, changes=changes))


def delete_schedule(name: str, *, desk: Desk) -> Scheduled:
    """Delete a schedule, give it as it was; its runs stay.

    Raises:
        NotFound: if there is no such schedule.
    """
    known = _known(name, desk.scheduler)
    desk.scheduler.delete(name)
    return replace(desk.shown(known), next=(), changes=("deleted; its runs stay",))


def schedules(*, desk: Desk) -> ScheduleList:
    """List schedules by name."""
    if desk.executor.scheduler() is None:
        return ScheduleList(schedules=())
    return ScheduleList(
        schedules=tuple(desk.shown(scheduled) for scheduled in desk.scheduler.schedules())
    )


def crontab_line(verb: Schedule, program: str) -> str:
    """Give the line with which cron does on this machine what a schedule asks for."""
    words = [program, "train", verb.notebook]
    for name, flag in _FLAGS.items():
        value = getattr(verb, name)
        if isinstance(value, tuple):
            given = list(value)
        elif hasattr(value, "items"):
            given = [f"{key}={item}" for key, item in value.items()]
        else:
            given = [f"{value:g}" if isinstance(value, float) else str(value)]
            given = given if value else []
        words += [word for item in given for word in (flag, item)]
    # An unescaped % is a new line to cron.
    line = f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(words)}".replace("%", "\\%")
    return f"{' '.join(verb.cron.split())} {line}"


def _known(name: str, scheduler: Scheduler) -> Scheduled:
    if found := scheduler.find(name):
        return found
    names = [scheduled.name for scheduled in scheduler.schedules()]
    raise NotFound(
        f"there is no schedule {name!r}",
        hint=f"there are: {', '.join(names)}"
        if names
        else "make one: mlops schedule NOTEBOOK --cron '0 3 * * 1'",
    )


def _name(verb: Schedule) -> str:
    name = slug(verb.name or PurePath(verb.notebook).stem)
    if verb.name and name != verb.name:
        raise UserError(
            f"{verb.name!r} cannot name a schedule: ids of runs begin with it",
            hint=f"take small letters, digits and single hyphens: {name or 'nightly'}",
        )
    return name or "notebook"


def _spec(verb: Schedule, desk: Desk, notebook: Notebook) -> RunSpec:
    return prepare(
        verb,
        notebook,
        settings=desk.settings,
        file_parameters=desk.read_parameters(verb.parameter_file)
        if verb.parameter_file
        else {},
        find_credential=desk.find_credential,
        look_up=desk.look_up,
        locate=desk.locate,
    )


def _prepared(verb: Schedule, desk: Desk) -> tuple[Schedule, Job, bytes, str]:
    """Check a request; give it complete, with the job of each run and the notebook."""
    notebook, content = read_notebook(verb.notebook)
    spec = _spec(verb, desk, notebook)
    path, folder = Path(spec.notebook), desk.folder.resolve()
    secrets = {name: f"secret:{reference}" for name, reference in spec.secrets.items()}
    complete = replace(
        verb,
        # The same on every machine that has the project.
        notebook=str(path.relative_to(folder) if path.is_relative_to(folder) else path),
        cron=" ".join(verb.cron.split()),
        parameters={**spec.parameters, **secrets},
        parameter_file="",
        data={source.name: source.uri for source in spec.data},
        on="",
    )
    job = Job(
        id=verb.name,
        spec=spec,
        project=str(desk.folder),
        gates=verb.gates,
        register=verb.register,
        deploy=verb.deploy,
        retries=verb.retries,
        requested_by=desk.requested_by,
        placement=replace(verb.placement, on=""),
    )
    return complete, job, content, notebook.fingerprint


def _changes(before: Schedule, after: Schedule) -> tuple[str, ...]:
    """Tell which words differ."""
    return tuple(
        f"{own.name.replace('_', ' ')}: {_told(old)} → {_told(new)}"
        for own in fields(before)
        if (old := getattr(before, own.name)) != (new := getattr(after, own.name))
    )


def _told(value: object) -> str:
    if hasattr(value, "items"):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "none"
    if isinstance(value, tuple):
        return "; ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
