"""The one door: settings read once, adapters on first use, `run(verb)`."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import entry_points
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from mlops_nb.core import verbs
from mlops_nb.core.events import Note, unheard
from mlops_nb.core.model import ModelRef
from mlops_nb.core.results import DeploymentHistory, Rendered
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.settings import FILE_NAME, LOCAL_STORE, Settings, parse_settings
from mlops_nb.errors import BadSettings, UserError
from mlops_nb.executors import Executors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from mlops_nb.core.data import DataSource
    from mlops_nb.core.delivery import Deployment, Merged
    from mlops_nb.core.gate import Verdict
    from mlops_nb.core.lineage import CodeState
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.results import Ejected, SweepResult
    from mlops_nb.flows.schedule import Desk
    from mlops_nb.ports import Executor, Forge, Listener, Registry

# Set by the runner in a kernel's environment: a notebook that starts runs must not recurse.
INSIDE_RUN = "MLOPS_NB_RUN"


class Project:
    """A folder with its settings, its runs and its ways to the outside.

    Args:
        folder: the project's folder.
        settings: what mlops.toml says.
        environment: the process' environment variables.
    """

    def __init__(
        self, folder: Path, settings: Settings, environment: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.environment = environment

    @classmethod
    def open(cls, start: Path | None = None) -> Project:
        """Open the project that `start`, or the working folder, lies in.

        That is the nearest folder upwards with an mlops.toml; without one, the folder itself.

        Raises:
            BadSettings: if mlops.toml cannot be read.
        """
        start = (start or Path.cwd()).resolve()
        environment = dict(os.environ)
        for folder in (start, *start.parents):
            path = folder / FILE_NAME
            if path.is_file():
                try:
                    text = path.read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError) as error:
                    raise BadSettings(f"{path} cannot be read: {error}") from None
                settings = parse_settings(text, path=str(path), default_name=folder.name)
                return cls(folder, settings, environment)
        return cls(start, Settings(name=start.name or "mlops"), environment)

    @classmethod
    def open_for(cls, verb: verbs.Verb) -> Project:
        """Open the project of the working folder or, if that lies in none, the notebook's.

        Raises:
            BadSettings: if mlops.toml cannot be read.
        """
        here = cls.open()
        notebook = getattr(verb, "notebook", "")
        if here.is_initialized or not notebook:
            return here
        there = cls.open(Path(notebook).absolute().parent)
        return there if there.is_initialized else here

    @property
    def is_initialized(self) -> bool:
        """Whether the folder has an mlops.toml."""
        return (self.folder / FILE_NAME).is_file()

    def run(self, verb: verbs.Verb, tell: Listener = unheard) -> Any:
        """Do what the verb says.

        Args:
            verb: one of `mlops_nb.core.verbs`.
            tell: told of events meanwhile.

        Returns:
            what `mlops_nb.core.results.DOCUMENTS` says of the verb; the lines of a log.

        Raises:
            MlopsError: of the class that tells what is wrong.
        """
        starts_run = isinstance(verb, verbs.Train | verbs.Sweep | verbs.Retry | verbs.Schedule)
        if starts_run and (outer := self.outer_run()):
            tell(Note(text=f"inside run {outer.id}: `{verb.verb}` does nothing here"))
            return outer
        return self._flow(verb, tell)

    def _flow(self, verb: verbs.Verb, tell: Listener) -> Any:  # noqa: C901, PLR0911, PLR0912  # one arm a verb
        match verb:
            case verbs.Init():
                return self._init(verb)
            case verbs.Doctor():
                return self._doctor(verb)
            case verbs.Inspect():
                from mlops_nb.preparation import read_notebook

                return read_notebook(verb.notebook)[0]
            case verbs.Train():
                return self._train(verb, tell)
            case verbs.Sweep():
                return self._sweep(verb, tell)
            case verbs.Schedule():
                from mlops_nb.flows.schedule import schedule

                if verb.deploy and verb.register:
                    self.forge  # noqa: B018
                return schedule(verb, desk=self._desk(), tell=tell)
            case verbs.UpdateSchedule():
                from mlops_nb.flows.schedule import update_schedule

                return update_schedule(verb, desk=self._desk())
            case verbs.PauseSchedule() | verbs.ResumeSchedule():
                from mlops_nb.flows.schedule import switch_schedule

                active = isinstance(verb, verbs.ResumeSchedule)
                return switch_schedule(verb.name, active=active, desk=self._desk(), tell=tell)
            case verbs.DeleteSchedule():
                from mlops_nb.flows.schedule import delete_schedule

                return delete_schedule(verb.name, desk=self._desk())
            case verbs.Schedules():
                from mlops_nb.flows.schedule import schedules

                return schedules(desk=self._desk())
            case verbs.Runs():
                from mlops_nb.flows.runs import runs

                return runs(verb, executor=self.executor, registry=self.registry, tell=tell)
            case verbs.Show():
                from mlops_nb.flows.runs import show

                return show(verb.run, executor=self.executor, registry=self.registry)
            case verbs.Logs():
                from mlops_nb.flows.runs import logs

                return logs(verb, executor=self.executor, registry=self.registry)
            case verbs.Cancel():
                run = self._find(verb.run)
                if run.state.is_final:
                    tell(Note(text=f"{run.id} had ended already"))
                return self.executor.cancel(run.id)
            case verbs.Retry():
                return self._retry(verb, tell)
            case verbs.Compare():
                from mlops_nb.flows.runs import compare

                return compare(verb, executor=self.executor, registry=self.registry)
            case verbs.Register():
                return self.register(self._find(verb.run), verb.name, verb.gates)
            case verbs.Models():
                from mlops_nb.flows.models import models

                return models(verb, registry=self.registry)
            case verbs.Deploy():
                return self._deploy(verb, tell)
            case verbs.Merge():
                return self._merge(verb)
            case verbs.History():
                return self._history(verb)
            case verbs.Rollback():
                return self._rollback(verb)
            case verbs.Eject():
                return self._eject(verb, tell)
            case _:
                assert_never(verb)

    def judge(self, run: Run, gates: Sequence[str], model: str) -> Verdict:
        """Judge a run by gates and record the verdict with it."""
        from mlops_nb import wire
        from mlops_nb.flows.judge import judge_run

        verdict = judge_run(run.tracking_id, gates, model=model, registry=self.registry)
        self.registry.attach(
            run.tracking_id, "mlops_nb/verdict.json", wire.dumps(verdict, indent=1).encode()
        )
        return verdict

    def register(self, run: Run, name: str, gates: Sequence[str]) -> ModelVersion:
        """Register a run's model under a name, if it passes these gates and the model's own.

        Raises:
            GateFailed: if a gate does not pass; nothing is registered.
        """
        from mlops_nb.flows.register import register

        every = (*gates, *self.settings.gates.get(name, ()))
        return register(run, name, every, registry=self.registry, judge=self.judge)

    def secret(self, reference: str) -> str:
        """Look a secret up: an environment variable, else an entry of the keyring.

        Raises:
            UserError: if there is none of this name.
        """
        from mlops_nb.adapters.secrets import look_up

        return look_up(reference, self.environment)

    @property
    def tracking_uri(self) -> str:
        """The tracking server or store, as an absolute address."""
        told = self.environment.get("MLFLOW_TRACKING_URI", "")
        uri = self.settings.tracking_uri or told or LOCAL_STORE
        scheme, _, path = uri.partition(":///")
        if scheme == "sqlite" and not path.startswith("/"):
            return f"sqlite:///{self.folder / path}"
        return uri

    @property
    def _state_folder(self) -> Path:
        """The project's own folder for runs and local stores."""
        return self.folder / ".mlops"

    @property
    def runs_folder(self) -> Path:
        """Where runs of this machine have their directories."""
        return self._state_folder / "runs"

    @property
    def tool(self) -> str:
        """Name and version of this tool."""
        return f"mlops_nb/{distribution_version('mlops-nb')}"

    def code(self, notebook: str) -> CodeState:
        """Give the state of the Git repository that a notebook lies in."""
        from mlops_nb.adapters.lineage import code_state

        return code_state(Path(notebook), str)

    def _make_state_folder(self) -> None:
        """Make the project's own folder one that Git ignores."""
        ignore = self._state_folder / ".gitignore"
        try:
            self._state_folder.mkdir(parents=True, exist_ok=True)
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise UserError(
                f"{self._state_folder} cannot be made: {error.strerror}",
                hint="go to a folder you may write to, or one below an mlops.toml",
            ) from None

    @cached_property
    def executor(self) -> Executor:
        """The executors of the settings, behind the port of one."""

        def load(name: str) -> Executor:
            adapter: Executor = _adapter("executor", name).open(self)
            return adapter

        configured = ["kubeflow"] if self.settings.kubeflow.url else []
        return Executors(self.settings.executor, configured, load)

    @cached_property
    def registry(self) -> Registry:
        """The tracking server and model registry of the settings."""
        self._make_state_folder()
        adapter: Registry = _adapter("registry", "mlflow")(
            self.tracking_uri,
            self.settings.experiment or self.settings.name,
            str(self.folder / self.settings.artifacts),
        )
        return adapter

    @cached_property
    def forge(self) -> Forge:
        """The GitOps repository of the settings.

        Raises:
            UserError: if none is configured or it is not there.
        """
        path = self.folder / self.settings.repository
        if not self.settings.repository or not path.exists():
            raise UserError(
                f"there is no GitOps repository at {path}"
                if self.settings.repository
                else "no GitOps repository is configured",
                hint="run `mlops init`",
            )
        adapter: Forge = _adapter("forge", "local")(path, self.settings.branch, self.person)
        return adapter

    @cached_property
    def person(self) -> str:
        """Who is asking, `Name <mail>` or a user name."""
        from mlops_nb.adapters.identity import who_asks

        return who_asks(self.folder)

    def outer_run(self) -> Run | None:
        """Give the run that this process, a notebook's kernel, belongs to; None outside one."""
        run_id = self.environment.get(INSIDE_RUN)
        if not run_id:
            return None
        return self.executor.run(run_id) or Run(id=run_id, notebook="", state=RunState.RUNNING)

    def _init(self, verb: verbs.Init) -> Any:
        from mlops_nb.flows.init import init

        forge = _adapter("forge", "local")
        self._make_state_folder()
        return init(
            verb,
            folder=self.folder,
            name=self.settings.name,
            create_repository=forge.create,
        )

    def _doctor(self, verb: verbs.Doctor) -> Any:
        from mlops_nb.flows.doctor import doctor

        def git_ops() -> str:
            forge = self.forge
            forge.pull_requests()
            return f"{self.folder / self.settings.repository} can be read"

        parts: dict[str, Callable[[], str]] = {}
        if self.settings.kubeflow.url:
            parts["kubeflow"] = lambda: _adapter("executor", "kubeflow").open(self).check("")
        return doctor(
            {
                "settings": lambda: (
                    f"{self.folder / FILE_NAME}"
                    if self.is_initialized
                    else f"no {FILE_NAME} in {self.folder}: defaults are used"
                ),
                "kernel": lambda: self.executor.check(self.settings.kernel or "python3"),
                "tracking": self.registry.check,
                "gitops": git_ops,
                **parts,
            },
            timeout=verb.timeout,
        )

    def _train(self, verb: verbs.Train, tell: Listener) -> Run | Rendered:
        from mlops_nb.flows.train import train
        from mlops_nb.preparation import read_parameter_file
        from mlops_nb.redaction import find_credential

        if verb.deploy and verb.register:
            # What is missing for the last step is said before the first.
            self.forge  # noqa: B018
        where = self._unchosen_place()
        run_id = _new_id(verb.notebook, verb.key)
        try:
            run = train(
                verb,
                run_id=run_id,
                executor=self.executor,
                settings=self.settings,
                file_parameters=read_parameter_file(verb.parameter_file)
                if verb.parameter_file
                else {},
                find_credential=find_credential,
                look_up=self.secret,
                locate=self._locate,
                project=str(self.folder),
                requested_by=self.person,
                tell=tell,
            )
            if isinstance(run, Rendered):
                return run
            if where:
                tell(Note(text=where))
            if not verb.wait:
                return run
            return self._watch(run, tell)
        except KeyboardInterrupt as interrupt:
            return self._cancel_unseen(run_id, interrupt)

    def _sweep(self, verb: verbs.Sweep, tell: Listener) -> Any:
        from mlops_nb.flows.runs import show
        from mlops_nb.flows.sweep import sweep
        from mlops_nb.redaction import find_credential

        where = self._unchosen_place()
        run_id = _new_id(verb.notebook)
        try:
            run = sweep(
                verb,
                run_id=run_id,
                executor=self.executor,
                settings=self.settings,
                find_credential=find_credential,
                look_up=self.secret,
                locate=self._locate,
                project=str(self.folder),
                requested_by=self.person,
                tell=tell,
            )
            if where:
                tell(Note(text=where))
            if not verb.wait:
                return run
            self._watch(run, tell)
        except KeyboardInterrupt as interrupt:
            self._cancel_unseen(run_id, interrupt)
        return show(run_id, executor=self.executor, registry=self.registry)

    def _unchosen_place(self) -> str:
        """Say where runs will be kept, if it is the first time and nobody chose the place."""
        if self.is_initialized or self._state_folder.exists():
            return ""
        return (
            f"there is no {FILE_NAME} in {self.folder} or above: runs are kept in "
            f"{self._state_folder}; `mlops init` makes the folder a project"
        )

    def _locate(self, source: DataSource) -> DataSource:
        from mlops_nb.adapters.data import locate

        return locate(source, Path.cwd(), self.folder)

    def _cancel_unseen(self, run_id: str, interrupt: KeyboardInterrupt) -> Run:
        """Cancel a run that was interrupted before anybody stayed with it."""
        if self.executor.run(run_id) is None:
            raise interrupt
        return self.executor.cancel(run_id)

    def _retry(self, verb: verbs.Retry, tell: Listener) -> Run | SweepResult:
        from mlops_nb.flows.retry import retry
        from mlops_nb.flows.runs import show

        run = retry(self._find(verb.run), executor=self.executor, tell=tell)
        if not verb.wait:
            return run
        self._watch(run, tell)
        return show(run.id, executor=self.executor, registry=self.registry)

    def _watch(self, run: Run, tell: Listener) -> Run:
        from mlops_nb.flows.watch import watch

        return watch(run.id, executor=self.executor, tell=tell)

    def _find(self, ref: str) -> Run:
        from mlops_nb.flows.runs import find

        return find(ref, executor=self.executor, registry=self.registry)

    def _judge_version(self, version: ModelVersion, gates: Sequence[str]) -> Verdict:
        run = Run(
            id=version.run,
            notebook="",
            state=RunState.SUCCEEDED,
            tracking_id=version.tracking_id,
        )
        return self.judge(run, gates, version.name)

    def _deploy(self, verb: verbs.Deploy, tell: Listener) -> Deployment:
        from mlops_nb.flows.deploy import deploy

        environment = self.settings.environment(verb.to)
        model = ModelRef.parse(verb.model).name
        return deploy(
            verb,
            registry=self.registry,
            forge=self.forge,
            environment=environment,
            gates=self.settings.gates.get(model, ()),
            judge=self._judge_version,
            tracking_uri=self.tracking_uri,
            requested_by=self.person,
            tool=self.tool,
            now=datetime.now(UTC),
            tell=tell,
        )

    def _merge(self, verb: verbs.Merge) -> Merged:
        from mlops_nb.flows.merge import merge

        return merge(
            verb,
            forge=self.forge,
            registry=self.registry,
            environments=self.settings.environments,
        )

    def _history(self, verb: verbs.History) -> DeploymentHistory:
        from mlops_nb.flows.history import history

        return DeploymentHistory(deployments=tuple(history(verb, forge=self.forge)))

    def _rollback(self, verb: verbs.Rollback) -> Deployment:
        from mlops_nb.flows.rollback import rollback

        return rollback(
            verb,
            forge=self.forge,
            environment=self.settings.environment(verb.env),
            requested_by=self.person,
            tool=self.tool,
        )

    def _desk(self) -> Desk:
        from mlops_nb.adapters.crontab import upcoming
        from mlops_nb.flows.schedule import Desk
        from mlops_nb.preparation import read_parameter_file
        from mlops_nb.redaction import find_credential

        return Desk(
            executor=self.executor,
            settings=self.settings,
            read_parameters=read_parameter_file,
            find_credential=find_credential,
            look_up=self.secret,
            locate=self._locate,
            upcoming=upcoming,
            folder=self.folder,
            requested_by=self.person,
            program=str(Path(sys.executable).with_name("mlops")),
            now=datetime.now(UTC),
        )

    def _eject(self, verb: verbs.Eject, tell: Listener) -> Ejected:
        from mlops_nb.flows.eject import eject
        from mlops_nb.preparation import read_parameter_file
        from mlops_nb.redaction import find_credential

        deployment = None
        if verb.model:
            wanted = verbs.Deploy(model=verb.model, to=verb.env, dry_run=True)
            deployment = self._deploy(wanted, tell)
        return eject(
            verb,
            executor=self.executor,
            settings=self.settings,
            file_parameters=read_parameter_file(verb.parameter_file)
            if verb.parameter_file
            else {},
            find_credential=find_credential,
            look_up=self.secret,
            locate=self._locate,
            project=str(self.folder),
            requested_by=self.person,
            tracking_uri=self.tracking_uri,
            deployment=deployment,
        )


def _new_id(notebook: str, key: str = "") -> str:
    """Give an id that people can read, type and tell apart: `churn-3fa9c1`.

    The same key gives the same one, wherever it is asked for.
    """
    from mlops_nb.preparation import slug

    mark = hashlib.sha256(key.encode()).hexdigest()[:10] if key else secrets.token_hex(3)
    return f"{slug(Path(notebook).stem) or 'run'}-{mark}"


def _adapter(port: str, name: str) -> Any:
    """Load an adapter by entry point; built-in and foreign ones alike."""
    found = entry_points(group=f"mlops_nb.{port}")
    for point in found:
        if point.name == name:
            return point.load()
    raise BadSettings(
        f"there is no {port} {name!r}; installed: {', '.join(sorted(found.names))}",
        hint=f"mend it in {FILE_NAME}, or install the package that brings it",
    )
