"""The one door: settings read once, adapters on first use, `run(verb)`."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.core import verbs
from mlops_nb.core.events import Note, unheard
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.settings import FILE_NAME, LOCAL_STORE, Kubeflow, Settings, parse_settings
from mlops_nb.errors import BadSettings, UserError
from mlops_nb.executors import Executors
from mlops_nb.loading import adapter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from mlops_nb.core.gate import Verdict
    from mlops_nb.core.lineage import CodeState
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.ports import Cluster, Executor, Forge, Images, Listener, Registry

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
        # Whoever asks may stand in any other folder.
        self.settings = replace(settings, kubeflow=_from_anywhere(settings.kubeflow, folder))
        self.environment = environment
        self._clusters: dict[str, Cluster | None] = {}

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
        starts_run = isinstance(verb, verbs.Train | verbs.Sweep | verbs.Schedule) or (
            isinstance(verb, verbs.Retry) and not verb.env
        )
        if starts_run and (outer := self.outer_run()):
            tell(Note(text=f"inside run {outer.id}: `{verb.verb}` does nothing here"))
            return outer
        from mlops_nb.dispatch import do

        return do(self, verb, tell)

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
    def state_folder(self) -> Path:
        """The project's own folder for runs and local stores."""
        return self.folder / ".mlops"

    @property
    def runs_folder(self) -> Path:
        """Where runs of this machine have their directories."""
        return self.state_folder / "runs"

    @property
    def tool(self) -> str:
        """Name and version of this tool."""
        return f"mlops_nb/{distribution_version('mlops-nb')}"

    def code(self, notebook: str) -> CodeState:
        """Give the state of the Git repository that a notebook lies in."""
        from mlops_nb.adapters.lineage import code_state

        return code_state(Path(notebook), str)

    def make_state_folder(self) -> None:
        """Make the project's own folder one that Git ignores."""
        ignore = self.state_folder / ".gitignore"
        try:
            self.state_folder.mkdir(parents=True, exist_ok=True)
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise UserError(
                f"{self.state_folder} cannot be made: {error.strerror}",
                hint="go to a folder you may write to, or one below an mlops.toml",
            ) from None

    @cached_property
    def executor(self) -> Executor:
        """The executors of the settings, behind the port of one."""

        def load(name: str) -> Executor:
            made: Executor = adapter("executor", name).open(self)
            return made

        configured = ["kubeflow"] if self.settings.kubeflow.is_configured else []
        return Executors(self.settings.executor, configured, load)

    @cached_property
    def registry(self) -> Registry:
        """The tracking server and model registry of the settings."""
        self.make_state_folder()
        made: Registry = adapter("registry", "mlflow")(
            self.tracking_uri,
            self.settings.experiment or self.settings.name,
            str(self.folder / self.settings.artifacts),
        )
        return made

    @cached_property
    def images(self) -> Images:
        """The registries that images come from."""
        made: Images = adapter("images", "oci")()
        return made

    @property
    def has_forge(self) -> bool:
        """Whether a GitOps repository is configured, and there if it is on this machine."""
        gitops = self.settings.gitops
        if gitops.is_remote or not gitops.repository:
            return gitops.is_remote
        return (self.folder / gitops.repository).exists()

    @cached_property
    def forge(self) -> Forge:
        """The GitOps repository of the settings.

        Raises:
            UserError: if none is configured or it is not there.
        """
        gitops = self.settings.gitops
        if not self.has_forge:
            raise UserError(
                f"there is no GitOps repository at {self.folder / gitops.repository}"
                if gitops.repository
                else "no GitOps repository is configured",
                hint="run `mlops init`",
            )
        made: Forge = adapter("forge", gitops.kind).open(
            gitops,
            folder=self.folder,
            cache=self.state_folder / "gitops-cache",
            author=self.person,
            environment=self.environment,
            secret=self.secret,
        )
        return made

    def cluster(self, name: str) -> Cluster | None:
        """Give what runs an environment; None where mlops.toml names none."""
        if name not in self._clusters:
            environment = self.settings.environments.get(name)
            self._clusters[name] = None
            if environment is not None and environment.access is not None:
                kind = "argocd" if environment.access.argocd else "kubernetes"
                self._clusters[name] = adapter("cluster", kind).open(
                    environment,
                    environment.access,
                    look_up=self.secret,
                    variables=self.environment,
                    folder=self.folder,
                )
        return self._clusters[name]

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


def _from_anywhere(kubeflow: Kubeflow, folder: Path) -> Kubeflow:
    """Give the settings with paths that do not depend on where they are read."""
    paths: dict[str, Any] = {
        key: str(folder / Path(named).expanduser())
        for key in ("ca", "token_file", "kubeconfig")
        if (named := getattr(kubeflow, key))
    }
    return replace(kubeflow, **paths)
