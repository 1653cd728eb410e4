"""What mlops.toml may say, and its defaults."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mlops_nb.core.delivery import CanaryPlan, Environment
from mlops_nb.core.gate import Gate
from mlops_nb.core.quantity import parse_duration, parse_size
from mlops_nb.core.run import Limits
from mlops_nb.errors import BadSettings, NotFound, UserError

FILE_NAME = "mlops.toml"
LOCAL_STORE = "sqlite:///.mlops/mlflow.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A project's settings; paths are relative to the folder of mlops.toml.

    Args:
        name: the project; also the MLflow experiment unless one is named.
        tracking_uri: MLflow tracking server or store; empty takes MLFLOW_TRACKING_URI, and
            where that is not set, LOCAL_STORE.
        experiment: MLflow experiment.
        artifacts: artifact location of a new experiment in a local store.
        executor: name of the executor adapter.
        repository: path of the GitOps repository; empty while there is none.
        branch: branch of it that the cluster follows.
        kernel: kernelspec for notebooks; empty takes each notebook's own.
        limits: what a run may use unless it says otherwise.
        gates: gates of every version of a model, by model name.
        environments: where models are deployed, by name.
    """

    name: str = "mlops"
    tracking_uri: str = ""
    experiment: str = ""
    artifacts: str = ".mlops/artifacts"
    executor: str = "local"
    repository: str = ""
    branch: str = "main"
    kernel: str = ""
    limits: Limits = Limits()
    gates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)

    def environment(self, name: str) -> Environment:
        """Give an environment.

        Raises:
            NotFound: if mlops.toml has none of this name.
        """
        if found := self.environments.get(name):
            return found
        close = difflib.get_close_matches(name, self.environments, n=1)
        raise NotFound(
            f"there is no environment {name!r}; configured: "
            f"{', '.join(self.environments) or 'none'}",
            hint=f"did you mean {close[0]!r}?"
            if close
            else f"add [environments.{name}] to {FILE_NAME}, or run `mlops init`",
        )


def parse_settings(text: str, *, path: str, default_name: str) -> Settings:
    """Read the text of mlops.toml.

    Args:
        text: the TOML.
        path: where it was read, for errors.
        default_name: the project's name where the file gives none.

    Raises:
        BadSettings: if a key is unknown or a value is wrong; the message names the key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{path}: {error}", hint="mend the line; TOML v1.0 is read") from None
    return _Reader(path).settings(document, default_name)


class _Reader:
    """Reads one file; every error names the file and the dotted key."""

    def __init__(self, path: str) -> None:
        self._path = path

    def settings(self, document: Mapping[str, Any], default_name: str) -> Settings:
        known = ("project", "tracking", "gitops", "run", "models", "environments")
        self._no_others(document, known, "")
        project = self._table(document, "project", ("name",))
        tracking = self._table(document, "tracking", ("uri", "experiment", "artifacts"))
        gitops = self._table(document, "gitops", ("repository", "branch"))
        run = self._table(document, "run", ("executor", "kernel", *_names(Limits)))
        defaults = Settings()
        return Settings(
            name=self._text(project, "project.name", default_name),
            tracking_uri=self._text(tracking, "tracking.uri", defaults.tracking_uri),
            experiment=self._text(tracking, "tracking.experiment", ""),
            artifacts=self._text(tracking, "tracking.artifacts", defaults.artifacts),
            executor=self._text(run, "run.executor", defaults.executor),
            repository=self._text(gitops, "gitops.repository", ""),
            branch=self._text(gitops, "gitops.branch", defaults.branch),
            kernel=self._text(run, "run.kernel", ""),
            limits=self._limits(run),
            gates={
                name: self._gates(
                    self._table(models, name, ("gates",), "models."), "models", name
                )
                for models in [self._open_table(document, "models")]
                for name in models
            },
            environments={
                name: self._environment(name, environments)
                for environments in [self._open_table(document, "environments")]
                for name in environments
            },
        )

    def _limits(self, run: Mapping[str, Any]) -> Limits:
        def read(key: str, parse: Any) -> Any:
            value = run.get(key)
            if value is None:
                return None
            try:
                return parse(str(value))
            except UserError as error:
                raise self._wrong(f"run.{key}", value, error.message) from None

        return Limits(
            timeout=read("timeout", parse_duration),
            cell_timeout=read("cell_timeout", parse_duration),
            memory=read("memory", parse_size),
        )

    def _environment(self, name: str, environments: Mapping[str, Any]) -> Environment:
        prefix = f"environments.{name}"
        keys = (*(n for n in _names(Environment) if n != "name"), "canary_minutes")
        table = self._table(environments, name, keys, "environments.")
        values: dict[str, Any] = {"name": name}
        for key, value in table.items():
            if key in {"gates", "canary", "canary_minutes"}:
                continue
            expected = type(getattr(Environment(name=name), key))
            if type(value) is not expected:
                raise self._wrong(f"{prefix}.{key}", value, f"not {expected.__name__}")
            values[key] = value
        minutes = table.get("canary_minutes", CanaryPlan().minutes)
        weights = table.get("canary", list(CanaryPlan().weights))
        try:
            values["canary"] = CanaryPlan(weights=tuple(weights), minutes=minutes)
        except (UserError, TypeError) as error:
            raise self._wrong(f"{prefix}.canary", weights, str(error)) from None
        return Environment(gates=self._gates(table, "environments", name), **values)

    def _gates(self, table: Mapping[str, Any], section: str, name: str) -> tuple[str, ...]:
        key = f"{section}.{name}.gates"
        gates = table.get("gates", [])
        if not isinstance(gates, list) or not all(isinstance(g, str) for g in gates):
            raise self._wrong(key, gates, "not a list of gate expressions")
        for gate in gates:
            try:
                Gate.parse(gate)
            except UserError as error:
                raise BadSettings(
                    f"{self._path}: {key}: {error.message}", hint=error.hint
                ) from None
        return tuple(gates)

    def _open_table(self, document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        table = document.get(key, {})
        if not isinstance(table, dict):
            raise self._wrong(key, table, "not a table")
        return table

    def _table(
        self, document: Mapping[str, Any], key: str, known: tuple[str, ...], prefix: str = ""
    ) -> Mapping[str, Any]:
        table = self._open_table(document, key)
        self._no_others(table, known, f"{prefix}{key}.")
        return table

    def _no_others(self, table: Mapping[str, Any], known: tuple[str, ...], prefix: str) -> None:
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                raise BadSettings(
                    f"{self._path}: unknown key {prefix}{key}",
                    hint=f"did you mean {prefix}{close[0]}?"
                    if close
                    else f"known here: {', '.join(known)}",
                )

    def _text(self, table: Mapping[str, Any], key: str, default: str) -> str:
        value = table.get(key.rpartition(".")[2], default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "not a text")
        return value

    def _wrong(self, key: str, value: object, why: str) -> BadSettings:
        return BadSettings(f"{self._path}: {key} = {value!r}: {why}", hint=f"mend {key}")


def _names(type_: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(type_))


def template(name: str, repository: str, image: str) -> str:
    """Give the text of a new mlops.toml, each choice with a comment.

    Args:
        name: the project.
        repository: path of the GitOps repository.
        image: model server, by digest.
    """
    return f"""\
# Settings of this project. Paths are relative to this file. Every key but [gitops] has the
# default shown here; delete what you do not change.

[project]
name = "{name}"                 # also the MLflow experiment

[tracking]
# uri = "https://mlflow.example.com"   # else MLFLOW_TRACKING_URI, else {LOCAL_STORE}
artifacts = ".mlops/artifacts"       # where a local store keeps files

[gitops]
repository = "{repository}"     # what should run in production
branch = "main"                 # the branch the cluster follows

[run]
# kernel = "python3"            # else each notebook's own
# timeout = "2h"                # for the whole run
# cell_timeout = "30m"          # for any one cell
# memory = "8GiB"               # the kernel is stopped above it, with a message

# Gates of every version of a model, besides those given with --gate.
# [models.churn]
# gates = ["accuracy >= 0.9", "auc >= champion - 0.005", "min(accuracy, by=sex) >= 0.8"]

[environments.prod]
namespace = "models"
replicas = 3
canary = [5, 25, 50, 100]       # percent of the traffic a new version is given
canary_minutes = 10             # how long each step is analysed
alias = "champion"              # registry alias that moves when a pull request is merged
host = "{{model}}.models.example.com"
gateway = "gateway-system/models"
metrics_url = "http://vmsingle.monitoring:8428"
repository = "https://git.example.com/mlops/deploy.git"   # [gitops] as the cluster reaches it
image = "{image}"
allow_pickle = false            # models that run pickled code when they are loaded
# gates = ["accuracy >= 0.95"]  # stricter here than for registration
"""
