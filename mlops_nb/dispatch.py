"""One verb, one flow: gives each flow what it asks of the project."""

from __future__ import annotations

import hashlib
import secrets
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from mlops_nb import auditing, steering, wire
from mlops_nb.core import verbs
from mlops_nb.core.events import Note
from mlops_nb.core.model import ModelRef
from mlops_nb.core.results import Rendered
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.settings import FILE_NAME
from mlops_nb.loading import adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from mlops_nb.core.data import DataSource
    from mlops_nb.core.delivery import Deployment, Merged
    from mlops_nb.core.gate import Verdict
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.request import Request
    from mlops_nb.core.results import Deleted, Ejected, ModelList, SweepResult
    from mlops_nb.core.rollout import Status
    from mlops_nb.flows.schedule import Planning
    from mlops_nb.ports import Listener
    from mlops_nb.preparation import Desk
    from mlops_nb.project import Project

_INSIDE_SECONDS = 180.0


def do(project: Project, verb: verbs.Verb, tell: Listener) -> Any:  # noqa: C901, PLR0911, PLR0912  # one arm a verb
    """Do a verb in a project; give what `mlops_nb.core.results.DOCUMENTS` says of it.

    Raises:
        MlopsError: of the class that tells what is wrong.
    """
    match verb:
        case verbs.Init():
            return _init(project, verb)
        case verbs.Doctor():
            return _doctor(project, verb)
        case verbs.Inspect():
            from mlops_nb.preparation import read_notebook

            return read_notebook(verb.notebook)[0]
        case verbs.Train():
            return _train(project, verb, tell)
        case verbs.Sweep():
            return _sweep(project, verb, tell)
        case verbs.Schedule():
            from mlops_nb.flows.schedule import schedule

            _check_deployable(project, verb)
            return schedule(verb, planning=_planning(project), tell=tell)
        case verbs.UpdateSchedule():
            from mlops_nb.flows.schedule import update_schedule

            return update_schedule(verb, planning=_planning(project))
        case verbs.PauseSchedule() | verbs.ResumeSchedule():
            from mlops_nb.flows.schedule import switch_schedule

            active = isinstance(verb, verbs.ResumeSchedule)
            return switch_schedule(
                verb.name, active=active, planning=_planning(project), tell=tell
            )
        case verbs.DeleteSchedule():
            from mlops_nb.flows.schedule import delete_schedule

            return delete_schedule(verb.name, planning=_planning(project))
        case verbs.Schedules():
            from mlops_nb.flows.schedule import schedules

            return schedules(planning=_planning(project))
        case verbs.Runs():
            from mlops_nb.flows.runs import runs

            return runs(verb, executor=project.executor, registry=project.registry, tell=tell)
        case verbs.Show():
            found = _show(project, verb.run)
            if isinstance(found, Run) and found.is_schedule:
                from mlops_nb.flows.schedule import show_schedule

                return show_schedule(found.id, planning=_planning(project))
            return found
        case verbs.Logs():
            return _logs(project, verb)
        case verbs.Cancel():
            run = _find(project, verb.run)
            if run.state.is_final:
                tell(Note(text=f"{run.id} had ended already"))
            return project.executor.cancel(run.id)
        case verbs.Delete():
            return _delete(project, verb)
        case verbs.Retry():
            return _retry(project, verb, tell)
        case verbs.Compare():
            from mlops_nb.flows.runs import compare

            return compare(verb, executor=project.executor, registry=project.registry)
        case verbs.Register():
            return project.register(_find(project, verb.run), verb.name, verb.gates)
        case verbs.Models():
            return _models(project, verb, tell)
        case verbs.Deploy():
            return _deploy(project, verb, tell)
        case verbs.Merge():
            return _merge(project, verb)
        case (
            verbs.Status() | verbs.Promote() | verbs.Abort() | verbs.Follow() | verbs.VerifyPr()
        ):
            return steering.do(project, verb, tell)
        case verbs.History() | verbs.Trace() | verbs.Dora():
            return auditing.do(project, verb)
        case verbs.Rollback():
            return steering.rollback(project, verb, tell=tell)
        case verbs.Eject():
            return _eject(project, verb, tell)
        case _:
            assert_never(verb)


def _init(project: Project, verb: verbs.Init) -> Any:
    from mlops_nb.flows.init import init

    forge = adapter("forge", "local")
    project.make_state_folder()
    return init(
        verb,
        folder=project.folder,
        name=project.settings.name,
        create_repository=forge.create,
    )


def _doctor(project: Project, verb: verbs.Doctor) -> Any:
    from mlops_nb.flows.doctor import doctor

    parts: dict[str, Callable[[], str]] = {}
    if project.settings.kubeflow.is_configured:
        parts["kubeflow"] = lambda: adapter("executor", "kubeflow").open(project).check("")
    for name in project.settings.environments:
        if cluster := project.cluster(name):
            parts[f"cluster {name}"] = cluster.check
    patience = {}
    if verb.inside:
        seconds = max(verb.timeout, _INSIDE_SECONDS)
        # Its own limit comes first: it tells what a pod waits for, and takes it away.
        patience["inside a pod"] = 2 * seconds
        parts["inside a pod"] = lambda: (
            adapter("executor", "kubeflow").open(project).check_inside(seconds)
        )
    return doctor(
        {
            "settings": lambda: (
                f"{project.folder / FILE_NAME}"
                if project.is_initialized
                else f"no {FILE_NAME} in {project.folder}: defaults are used"
            ),
            "kernel": lambda: project.executor.check(project.settings.kernel or "python3"),
            "tracking": project.registry.check,
            "gitops": partial(_check_forge, project),
            **parts,
        },
        timeout=verb.timeout,
        patience=patience,
    )


def _check_forge(project: Project) -> str:
    return project.forge.check()


def _train(project: Project, verb: verbs.Train, tell: Listener) -> Run | Rendered:
    from mlops_nb.flows.train import train

    _check_deployable(project, verb)
    run: Run | Rendered = _start(project, verb, train, tell, key=verb.key)
    return run


def _sweep(project: Project, verb: verbs.Sweep, tell: Listener) -> Run | SweepResult:
    from mlops_nb.flows.sweep import sweep

    run: Run = _start(project, verb, sweep, tell)
    return _show(project, run.id) if verb.wait else run


def _start(
    project: Project,
    verb: verbs.Train | verbs.Sweep,
    flow: Callable[..., Run | Rendered],
    tell: Listener,
    *,
    key: str = "",
) -> Any:
    """Have a flow start a run, and stay with it if asked to."""
    where = _unchosen_place(project)
    run_id = _new_id(verb.notebook, key)
    try:
        run = flow(
            verb, run_id=run_id, desk=_desk(project), executor=project.executor, tell=tell
        )
        if isinstance(run, Rendered):
            return run
        if where:
            tell(Note(text=where))
        return _watch(project, run, tell) if verb.wait else run
    except KeyboardInterrupt as interrupt:
        return _cancel_unseen(project, run_id, interrupt)


def _check_deployable(project: Project, verb: Request) -> None:
    """Say what is missing for the last step before the first."""
    if verb.deploy and verb.register:
        project.forge  # noqa: B018


def _unchosen_place(project: Project) -> str:
    """Say where runs will be kept, if it is the first time and nobody chose the place."""
    if project.is_initialized or project.state_folder.exists():
        return ""
    return (
        f"there is no {FILE_NAME} in {project.folder} or above: runs are kept in "
        f"{project.state_folder}; `mlops init` makes the folder a project"
    )


def _locate(project: Project, source: DataSource) -> DataSource:
    from mlops_nb.adapters.data import locate

    return locate(source, Path.cwd(), project.folder)


def _cancel_unseen(project: Project, run_id: str, interrupt: KeyboardInterrupt) -> Run:
    """Cancel a run that was interrupted before anybody stayed with it."""
    if project.executor.run(run_id) is None:
        raise interrupt
    return project.executor.cancel(run_id)


def _retry(project: Project, verb: verbs.Retry, tell: Listener) -> Run | SweepResult | Status:
    if verb.env:
        return steering.retry(project, verb.run, verb.env)
    from mlops_nb.flows.retry import retry

    run = retry(_find(project, verb.run), executor=project.executor, tell=tell)
    if not verb.wait:
        return run
    _watch(project, run, tell)
    return _show(project, run.id)


def _watch(project: Project, run: Run, tell: Listener) -> Run:
    from mlops_nb.flows.watch import watch

    return watch(run.id, executor=project.executor, tell=tell)


def _find(project: Project, ref: str) -> Run:
    from mlops_nb.flows.runs import find

    return find(ref, executor=project.executor, registry=project.registry)


def _show(project: Project, ref: str) -> Run | SweepResult:
    from mlops_nb.flows.runs import show

    return show(ref, executor=project.executor, registry=project.registry)


def _logs(project: Project, verb: verbs.Logs) -> Iterator[str]:
    from mlops_nb.flows.runs import logs

    return logs(verb, executor=project.executor, registry=project.registry)


def _delete(project: Project, verb: verbs.Delete) -> Deleted:
    from mlops_nb.flows.delete import delete

    return delete(
        verb,
        find=partial(_deletable, project),
        executor=project.executor,
        registry=project.registry,
    )


def _deletable(project: Project, ref: str) -> Run | SweepResult:
    """Give a run, a sweep with its children, but no schedule: that has a verb of its own."""
    return _show(project, _find(project, ref).id)


def _judge_version(project: Project, version: ModelVersion, gates: Sequence[str]) -> Verdict:
    run = Run(
        id=version.run,
        notebook="",
        state=RunState.SUCCEEDED,
        tracking_id=version.tracking_id,
    )
    return project.judge(run, gates, version.name)


def _models(project: Project, verb: verbs.Models, tell: Listener) -> ModelList:
    from mlops_nb.flows.models import models

    found = models(verb, registry=project.registry)
    # One elsewhere may be slow or away, which is no reason not to list models.
    if project.has_forge and not project.settings.gitops.is_remote:
        _tell_left_behind(project, found.versions, tell)
    return found


def _tell_left_behind(
    project: Project, versions: Sequence[ModelVersion], tell: Listener
) -> None:
    from mlops_nb.flows.merge import left_behind

    environments = project.settings.environments
    for note in left_behind(versions, forge=project.forge, environments=environments):
        tell(note)


def _deploy(project: Project, verb: verbs.Deploy, tell: Listener) -> Deployment:
    from mlops_nb.flows.deploy import deploy

    environment = project.settings.environment(verb.to)
    model = ModelRef.parse(verb.model).name
    # A gate that compares with the champion would compare with the wrong one.
    _tell_left_behind(project, project.registry.versions(model), tell)
    return deploy(
        verb,
        registry=project.registry,
        forge=project.forge,
        images=project.images,
        environment=environment,
        gates=project.settings.gates.get(model, ()),
        judge=partial(_judge_version, project),
        write=wire.canonical,
        tracking_uri=project.tracking_uri,
        requested_by=project.person,
        tool=project.tool,
        now=datetime.now(UTC),
        tell=tell,
        cluster=project.cluster(verb.to),
    )


def _merge(project: Project, verb: verbs.Merge) -> Merged:
    from mlops_nb.flows.merge import merge

    return merge(
        verb,
        forge=project.forge,
        registry=project.registry,
        environments=project.settings.environments,
    )


def _desk(project: Project) -> Desk:
    from mlops_nb.preparation import Desk, read_parameter_file
    from mlops_nb.redaction import find_credential

    return Desk(
        settings=project.settings,
        read_parameters=read_parameter_file,
        find_credential=find_credential,
        look_up=project.secret,
        locate=partial(_locate, project),
        folder=project.folder,
        requested_by=project.person,
    )


def _planning(project: Project) -> Planning:
    from mlops_nb.adapters.crontab import upcoming
    from mlops_nb.flows.schedule import Planning

    return Planning(
        desk=_desk(project),
        executor=project.executor,
        upcoming=upcoming,
        program=str(Path(sys.executable).with_name("mlops")),
        now=datetime.now(UTC),
    )


def _eject(project: Project, verb: verbs.Eject, tell: Listener) -> Ejected:
    from mlops_nb.flows.eject import eject

    deployment = None
    if verb.model:
        wanted = verbs.Deploy(model=verb.model, to=verb.env, dry_run=True)
        deployment = _deploy(project, wanted, tell)
    return eject(
        verb,
        desk=_desk(project),
        executor=project.executor,
        tracking_uri=project.tracking_uri,
        deployment=deployment,
    )


def _new_id(notebook: str, key: str = "") -> str:
    """Give an id that people can read, type and tell apart: `churn-3fa9c1`.

    The same key gives the same one, wherever it is asked for.
    """
    from mlops_nb.preparation import slug

    mark = hashlib.sha256(key.encode()).hexdigest()[:10] if key else secrets.token_hex(3)
    return f"{slug(Path(notebook).stem) or 'run'}-{mark}"
