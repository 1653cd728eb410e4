"""Run a notebook again and again, and look after that."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from mlops_nb.core.events import Note
from mlops_nb.core.recurring import Schedule, Scheduled, ScheduleList, ScheduleState
from mlops_nb.core.schedule import Cron
from mlops_nb.errors import NotFound, UserError
from mlops_nb.ports import Executor
from mlops_nb.preparation import Desk, prepare, read_notebook, slug

if TYPE_CHECKING:
    from mlops_nb.core.recurring import UpdateSchedule
    from mlops_nb.core.verbs import Job
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
class Planning:
    """What making a schedule needs of the outside world.

    Args:
        desk: checks requests.
        executor: what runs notebooks.
        upcoming: gives the next times of a crontab line in a time zone.
        program: path of the `mlops` that cron would start.
        now: the time of asking.
    """

    desk: Desk
    executor: Executor
    upcoming: Callable[[str, str, datetime, int], tuple[datetime, ...]]
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


def schedule(verb: Schedule, *, planning: Planning, tell: Listener) -> Scheduled:
    """Make a schedule; the same line again changes nothing, another one its words.

    Raises:
        UserError: before anything is written, if the request is wrong, or runs go on on this
            machine, where cron starts them: the hint is its line.
    """
    planning.upcoming(verb.cron, verb.timezone, planning.now, 1)
    where = verb.on or planning.desk.settings.executor
    if where == "local":
        prepare(verb, read_notebook(verb.notebook)[0], planning.desk)
        raise UserError(
            "on this machine cron starts what is to run at set times, in the machine's own "
            "time zone",
            hint=f"`crontab -e`, and add the line\n{crontab_line(verb, planning.program)}\n"
            "    for a cluster, add --on kubeflow",
        )
    name = _name(verb)
    wanted, job, content, fingerprint = _prepared(replace(verb, name=name), planning)
    known = planning.scheduler.find(name)
    changes = _changes(known.request, wanted) if known else ()
    if known and not changes:
        if known.fingerprint != fingerprint:
            tell(
                Note(
                    text=f"{PurePath(verb.notebook).name} was changed since; the schedule runs "
                    f"it as it was. To take it as it is now: mlops schedule update {name}"
                )
            )
        return planning.shown(known)
    put = planning.scheduler.put(wanted, job, content, fingerprint)
    return planning.shown(replace(put, changes=changes, is_new=known is None))


def update_schedule(verb: UpdateSchedule, *, planning: Planning) -> Scheduled:
    """Take the notebook as it is now into a schedule, and the words that are given.

    Raises:
        NotFound: if there is no such schedule, or its notebook is gone.
        UserError: before anything is changed, if the request is wrong.
    """
    known = _known(verb.name, planning.scheduler)
    given = verb.of(known.request)
    if given.parameter_file:
        read = planning.desk.read_parameters(given.parameter_file)
        parameters = {**known.request.parameters, **read, **verb.parameters}
        given = replace(given, parameters=parameters, parameter_file="")
    planning.upcoming(given.cron, given.timezone, planning.now, 1)
    here = replace(given, notebook=str(planning.desk.folder / given.notebook))
    wanted, job, content, fingerprint = _prepared(here, planning)
    changes = [*_changes(known.request, wanted)]
    if known.fingerprint != fingerprint:
        changes.append("notebook: as it is now")
    put = planning.scheduler.put(wanted, job, content, fingerprint)
    return planning.shown(replace(put, changes=tuple(changes)))


def show_schedule(name: str, *, planning: Planning) -> Scheduled:
    """Give a schedule with its newest run.

    Raises:
        NotFound: if there is no such schedule.
    """
    for scheduled in planning.scheduler.schedules():
        if scheduled.name == name:
            return planning.shown(scheduled)
    return planning.shown(_known(name, planning.scheduler))


def switch_schedule(
    name: str, *, active: bool, planning: Planning, tell: Listener
) -> Scheduled:
    """Let a schedule start runs, or keep it from it.

    Raises:
        NotFound: if there is no such schedule.
    """
    known = _known(name, planning.scheduler)
    state = ScheduleState.ACTIVE if active else ScheduleState.PAUSED
    if known.state is state:
        tell(Note(text=f"{name} is {state} already"))
        return planning.shown(known)
    planning.scheduler.switch(name, active=active)
    changes = (f"state: {known.state} → {state}",)
    return planning.shown(replace(known, state=state, changes=changes))


def delete_schedule(name: str, *, planning: Planning) -> Scheduled:
    """Delete a schedule, give what it was; its runs stay.

    Raises:
        NotFound: if there is no such schedule.
    """
    known = _known(name, planning.scheduler)
    planning.scheduler.delete(name)
    return replace(planning.shown(known), next=(), state=ScheduleState.DELETED)


def schedules(*, planning: Planning) -> ScheduleList:
    """List schedules by name."""
    if planning.executor.scheduler() is None:
        return ScheduleList(schedules=())
    return ScheduleList(
        schedules=tuple(
            planning.shown(scheduled) for scheduled in planning.scheduler.schedules()
        )
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


def _prepared(verb: Schedule, planning: Planning) -> tuple[Schedule, Job, bytes, str]:
    """Check a request; give it complete, with the job of each run and the notebook."""
    notebook, content = read_notebook(verb.notebook)
    spec = prepare(verb, notebook, planning.desk)
    path, folder = Path(spec.notebook), planning.desk.folder.resolve()
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
    job = planning.desk.job(verb, spec, id=verb.name, placement=replace(verb.placement, on=""))
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
