"""What mlops.toml may say, and its defaults."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mlops_nb.core.access import ClusterAccess
from mlops_nb.core.canary import CanaryLimits, CanaryPlan
from mlops_nb.core.delivery import Environment, did_you_mean
from mlops_nb.core.gate import Gate
from mlops_nb.core.gitops import Gitops
from mlops_nb.core.profile import Profile, Toleration
from mlops_nb.core.quantity import parse_duration, parse_size
from mlops_nb.core.run import Limits
from mlops_nb.core.settings_file import Reader
from mlops_nb.errors import BadSettings, NotFound, UserError

FILE_NAME = "mlops.toml"
LOCAL_STORE = "sqlite:///.mlops/mlflow.db"
AUTHS = ("none", "token", "service-account", "dex", "kubeconfig")
_PARSERS: Mapping[str, Callable[[str], float]] = {
    "timeout": parse_duration,
    "cell_timeout": parse_duration,
    "max_wait": parse_duration,
    "backoff": parse_duration,
    "memory": parse_size,
    "shm": parse_size,
    "bundle_limit": parse_size,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubeflow:
    """The Kubeflow Pipelines server, as [kubeflow] of mlops.toml says.

    Args:
        url: address of its API; empty while there is none.
        ui: address for links that people open; empty takes url.
        namespace: namespace of the runs; empty for a server of one user.
        experiment: its experiment; empty takes the project's.
        tracking_uri: MLflow tracking server as pods reach it; empty takes [tracking].
        profile: profile of a run that names none.
        image: image of a profile that names none.
        auth: how to log in, one of AUTHS.
        token: `secret:NAME` of a bearer token.
        token_file: file with the token, read again when it changes.
        username: user name for Dex.
        password: `secret:NAME` of the password for Dex.
        ca: file with the certificates of a private authority.
        verify: whether the server's certificate is checked.
        include: patterns of files that travel with the notebook.
        bundle_limit: bytes that the notebook and its files may have together.
        shares_machine: whether pods are processes on this machine, as of `mlops dev kubeflow`.
        check_imports: whether the image is tried for the notebook's imports before training.
        service_account: service account of a profile that names none.
        timezone: time zone in which its controller reads cron: its CRON_SCHEDULE_TIMEZONE.
        kubeconfig: kubeconfig by which pods are looked at, and with auth = "kubeconfig" the
            way in; empty takes KUBECONFIG or ~/.kube/config.
        context: context of the kubeconfig; empty takes its current one.
    """

    url: str = ""
    ui: str = ""
    namespace: str = ""
    experiment: str = ""
    tracking_uri: str = ""
    profile: str = ""
    image: str = ""
    auth: str = "none"
    token: str = ""
    token_file: str = ""
    username: str = ""
    password: str = ""
    ca: str = ""
    verify: bool = True
    include: tuple[str, ...] = ()
    bundle_limit: int = 32 * 2**20
    shares_machine: bool = False
    check_imports: bool = True
    service_account: str = ""
    timezone: str = "UTC"
    kubeconfig: str = ""
    context: str = ""

    def __post_init__(self) -> None:
        """Refuse an unknown login and credentials that stand there themselves.

        Raises:
            UserError: if so; the message names the key, but no credential.
        """
        if self.auth not in AUTHS:
            raise UserError(
                f"kubeflow.auth = {self.auth!r}: no such login",
                hint=did_you_mean(self.auth, AUTHS, otherwise=f"known: {', '.join(AUTHS)}"),
            )
        for key, value in (("token", self.token), ("password", self.password)):
            if value and not re.fullmatch(r"secret:\S+", value):
                raise UserError(
                    f"kubeflow.{key} is no reference to a secret",
                    hint=f'keep the {key} out of this file: {key} = "secret:NAME"',
                )
        for key in ("url", "ui", "tracking_uri"):
            address = getattr(self, key)
            if re.search(r"://[^/]*@", address):
                raise UserError(
                    f"kubeflow.{key} holds a user name or password",
                    hint="name the server alone; credentials are passed as secrets",
                )
            if key != "tracking_uri" and address and not re.match(r"https?://\S", address):
                raise UserError(
                    f"kubeflow.{key} = {address!r}: not an address",
                    hint="give e.g. https://kubeflow.example.com/pipeline",
                )

    @property
    def is_configured(self) -> bool:
        """Whether it is known where the server is: by its address, or by the kubeconfig."""
        return bool(self.url) or self.auth == "kubeconfig"


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
        gitops: the GitOps repository and its forge.
        kernel: kernelspec for notebooks; empty takes each notebook's own.
        limits: what a run may use unless it says otherwise.
        gates: gates of every version of a model, by model name.
        environments: where models are deployed, by name.
        profiles: resources of pods, by name.
        kubeflow: the Kubeflow Pipelines server.
    """

    name: str = "mlops"
    tracking_uri: str = ""
    experiment: str = ""
    artifacts: str = ".mlops/artifacts"
    executor: str = "local"
    gitops: Gitops = field(default_factory=Gitops)
    kernel: str = ""
    limits: Limits = Limits()
    gates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    kubeflow: Kubeflow = field(default_factory=Kubeflow)

    def environment(self, name: str) -> Environment:
        """Give an environment.

        Raises:
            NotFound: if mlops.toml has none of this name.
        """
        if found := self.environments.get(name):
            return found
        raise _not_found("environment", name, self.environments, ", or run `mlops init`")

    def profile(self, name: str) -> Profile:
        """Give a profile.

        Raises:
            NotFound: if mlops.toml has none of this name.
        """
        if found := self.profiles.get(name):
            return found
        raise _not_found("profile", name, self.profiles, "")


def _not_found(kind: str, name: str, known: Mapping[str, object], or_else: str) -> NotFound:
    return NotFound(
        f"there is no {kind} {name!r}; configured: {', '.join(known) or 'none'}",
        hint=did_you_mean(
            name, known, otherwise=f"add [{kind}s.{name}] to {FILE_NAME}{or_else}"
        ),
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
    return _File(path).settings(document, default_name)


class _File:
    """Reads the tables of one mlops.toml."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._reader = Reader(path)

    def settings(self, document: Mapping[str, Any], default_name: str) -> Settings:
        known = (
            "project", "tracking", "gitops", "run", "models", "environments", "profiles",
            "kubeflow",
        )  # fmt: skip
        read = self._reader
        read.no_others(document, known, "")
        project = read.table(document, "project", ("name",))
        tracking = read.table(document, "tracking", ("uri", "experiment", "artifacts"))
        gitops = self._gitops(document)
        run = read.table(document, "run", ("executor", "kernel", *_names(Limits)))
        models = read.open_table(document, "models")
        environments = read.open_table(document, "environments")
        profiles = read.open_table(document, "profiles")
        defaults = Settings()
        return Settings(
            name=read.text(project, "project.name", default_name),
            tracking_uri=read.text(tracking, "tracking.uri", defaults.tracking_uri),
            experiment=read.text(tracking, "tracking.experiment", ""),
            artifacts=read.text(tracking, "tracking.artifacts", defaults.artifacts),
            executor=read.text(run, "run.executor", defaults.executor),
            gitops=gitops,
            kernel=read.text(run, "run.kernel", ""),
            limits=self._limits(run),
            gates={
                name: self._gates(
                    read.table(models, name, ("gates",), "models."), "models", name
                )
                for name in models
            },
            environments={
                name: self._environment(name, environments, gitops) for name in environments
            },
            profiles={name: self._profile(name, profiles) for name in profiles},
            kubeflow=self._kubeflow(document),
        )

    def _gitops(self, document: Mapping[str, Any]) -> Gitops:
        table = self._reader.table(document, "gitops", _names(Gitops))
        values = self._reader.values(table, "gitops.", Gitops(), {})
        try:
            return Gitops(**values)
        except UserError as error:
            raise BadSettings(f"{self._path}: {error.message}", hint=error.hint) from None

    def _limits(self, run: Mapping[str, Any]) -> Limits:
        told = {key: value for key, value in run.items() if key in _names(Limits)}
        return Limits(**self._reader.values(told, "run.", Limits(), _PARSERS))

    def _environment(
        self, name: str, environments: Mapping[str, Any], gitops: Gitops
    ) -> Environment:
        prefix = f"environments.{name}"
        own = (n for n in _names(Environment) if n not in {"name", "access"})
        ways = _names(ClusterAccess)
        keys = (*own, *ways, "canary_minutes")
        table = self._reader.table(environments, name, keys, "environments.")
        values: dict[str, Any] = {"name": name}
        if gitops.is_remote:
            values["repository"] = gitops.repository
        apart = {"gates", "canary", "canary_minutes", "limits", *ways}
        plain = {k: v for k, v in table.items() if k not in apart}
        values |= self._reader.values(plain, f"{prefix}.", Environment(name=name), {})
        values["limits"] = self._canary_limits(table, prefix)
        values["access"] = self._access(table, prefix)
        minutes = table.get("canary_minutes", CanaryPlan().minutes)
        weights = table.get("canary", list(CanaryPlan().weights))
        try:
            values["canary"] = CanaryPlan(weights=tuple(weights), minutes=minutes)
        except (UserError, TypeError) as error:
            raise self._reader.wrong(f"{prefix}.canary", weights, str(error)) from None
        return Environment(gates=self._gates(table, "environments", name), **values)

    def _access(self, table: Mapping[str, Any], prefix: str) -> ClusterAccess | None:
        told = {k: v for k, v in table.items() if k in _names(ClusterAccess)}
        values = self._reader.values(told, f"{prefix}.", ClusterAccess(), {})
        try:
            access = ClusterAccess(**values)
        except UserError as error:
            message = f"{self._path}: {prefix}.{error.message}"
            raise BadSettings(message, hint=error.hint) from None
        return access if access.leads_to else None

    def _canary_limits(self, table: Mapping[str, Any], prefix: str) -> CanaryLimits:
        told = self._reader.table(table, "limits", _names(CanaryLimits), f"{prefix}.")
        values = self._reader.values(told, f"{prefix}.limits.", CanaryLimits(), {})
        try:
            return CanaryLimits(**values)
        except UserError as error:
            message = f"{self._path}: {prefix}.{error.message}"
            raise BadSettings(message, hint=error.hint) from None

    def _gates(self, table: Mapping[str, Any], section: str, name: str) -> tuple[str, ...]:
        key = f"{section}.{name}.gates"
        gates = table.get("gates", [])
        if not isinstance(gates, list) or not all(isinstance(g, str) for g in gates):
            raise self._reader.wrong(key, gates, "not a list of gate expressions")
        for gate in gates:
            try:
                Gate.parse(gate)
            except UserError as error:
                raise BadSettings(
                    f"{self._path}: {key}: {error.message}", hint=error.hint
                ) from None
        return tuple(gates)

    def _profile(self, name: str, profiles: Mapping[str, Any]) -> Profile:
        prefix = f"profiles.{name}."
        known = tuple(n for n in _names(Profile) if n != "name")
        table = dict(self._reader.table(profiles, name, known, "profiles."))
        tolerations = self._tolerations(table.pop("tolerations", []), f"{prefix}tolerations")
        values = self._reader.values(table, prefix, Profile(name=name), _PARSERS)
        try:
            return Profile(name=name, tolerations=tolerations, **values)
        except UserError as error:
            # What the profile says of itself, with the key as it stands in the file.
            told = error.message.removeprefix(f"profile {name}: ")
            raise BadSettings(f"{self._path}: {prefix}{told}", hint=error.hint) from None

    def _tolerations(self, value: object, key: str) -> tuple[Toleration, ...]:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._reader.wrong(key, value, "not a list of tables")
        for item in value:
            self._reader.no_others(item, _names(Toleration), f"{key}.")
        return tuple(Toleration(**self._reader.texts_by_name(item, key)) for item in value)

    def _kubeflow(self, document: Mapping[str, Any]) -> Kubeflow:
        table = self._reader.table(document, "kubeflow", _names(Kubeflow))
        values = self._reader.values(table, "kubeflow.", Kubeflow(), _PARSERS)
        try:
            return Kubeflow(**values)
        except UserError as error:
            raise BadSettings(f"{self._path}: {error.message}", hint=error.hint) from None


def _names(type_: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(type_))


def template(name: str, repository: str, image: str) -> str:
    """Give the text of a new mlops.toml, each choice with a comment.

    Args:
        name: the project.
        repository: the GitOps repository: a path, or a URL.
        image: model server, by digest.
    """
    gitops = Gitops(repository=repository)
    reached = "# " if gitops.is_remote else ""
    cluster = repository if gitops.is_remote else Environment(name="").repository
    return f"""\
# Settings of this project. Paths are relative to this file. Every key has the default shown
# here, but for those of gitops and environments; delete what you do not change.

[project]
name = "{name}"                 # also the MLflow experiment

[tracking]
# uri = "https://mlflow.example.com"   # else MLFLOW_TRACKING_URI, else {LOCAL_STORE}
artifacts = ".mlops/artifacts"       # where a local store keeps files

[gitops]
repository = "{repository}"     # what should run in production
branch = "main"                 # the branch the cluster follows
{gitops.choices}
[run]
# kernel = "python3"            # else each notebook's own
# timeout = "2h"                # for the whole run
# cell_timeout = "30m"          # for any one cell
# memory = "8GiB"               # the kernel is stopped above it, with a message

# Gates of every version of a model, besides those given with --gate.
# [models.churn]
# gates = ["accuracy >= 0.9", "auc >= champion - 0.005", "min(accuracy, by=sex) >= 0.8"]

# Where `--on kubeflow` runs notebooks, and what a pod there may ask for.
# [kubeflow]
# url = "https://kubeflow.example.com/pipeline"
# namespace = "ml-team"
# auth = "token"                # none, token, service-account, dex or kubeconfig
# token = "secret:KUBEFLOW_TOKEN"      # a reference; the token itself never stands here
# tracking_uri = "http://mlflow.mlflow:5000"   # [tracking] as pods reach it
# image = "registry.example.com/ml/train@sha256:{"0" * 64}"
# timezone = "UTC"              # that it reads cron in: its CRON_SCHEDULE_TIMEZONE
# context = "ml"                # of the kubeconfig, by which is told what pods wait for
# profile = "gpu-small"         # of a run that names none
#
# [profiles.gpu-small]
# gpu = 1
# gpu_resource = "nvidia.com/gpu"      # or a MIG slice, or amd.com/gpu
# cpu = "4"
# memory = "24Gi"
# shm = "8Gi"                   # /dev/shm, part of the memory
# tolerations = [{{ key = "nvidia.com/gpu", operator = "Exists", effect = "NoSchedule" }}]
# secrets = {{ MLFLOW_TRACKING_TOKEN = "mlflow/token" }}   # variable = "secret-name/key"
# labels = {{ "kueue.x-k8s.io/queue-name" = "gpu" }}
# price = 1.2                   # of an hour
# timeout = "6h"

[environments.prod]
namespace = "models"
replicas = 3
canary = [5, 25, 50, 100]       # percent of the traffic a new version is given
canary_minutes = 10             # how long each step is analysed
alias = "champion"              # moves when a pull request is merged; without it none does.
                                # Where a cluster is named, when it gives a version all traffic
host = "{{model}}.models.example.com"
gateway = "gateway-system/models"
metrics_url = "http://vmsingle.monitoring:8428"
{reached}repository = "{cluster}"   # [gitops] as the cluster reaches it
image = "{image}"  # needed
# images = {{ vllm = "…", triton = "…" }}   # where one image does not do for every server
# server = "mlserver"           # or triton, vllm, kserve; else by how the model was saved
# target = "rollout"            # Argo Rollouts, or kserve: no analysis, you move the shares
# router = "gateway"            # Gateway API, istio, or none: shares by the number of pods
# monitor = "vmpodscrape"       # or podmonitor
allow_pickle = false            # models that run pickled code when they are loaded
# gpu = 1                       # and gpu_resource, shm; a canary takes twice as many at its
# dynamic_stable_scale = true   # end, or fewer with this
# quality_job = "…@sha256:…"    # scores a canary's answers; its exit code is its verdict
# pull_secret = "registry"      # secrets by name: to pull images,
# model_secret = "store"        # and to download the model
# secret_store = "vault"        # the ClusterSecretStore that both come from
# gates = ["accuracy >= 0.95"]  # stricter here than for registration
# What runs there is asked of Argo CD, or by a kubeconfig where Argo CD cannot be reached.
# argocd = "https://argocd.example.com"
# argocd_token = "secret:ARGOCD_TOKEN"   # a reference; else ARGOCD_AUTH_TOKEN
# argocd_project = "models-prod"
# argocd_ca = "company-ca.pem"
# kubeconfig = "~/.kube/config"
# context = "prod"
# What ends a canary:
limits.p95_ratio = 1.2          # its latency against the stable version's
limits.error_difference = 0.01  # its share of failed requests above the stable version's
limits.error_share = 0.05       # its share of failed requests, whatever the stable version's
limits.p95_seconds = 0.0        # its latency; 0 only observes it
limits.min_requests = 100       # fewer in a window judge nothing: the canary pauses
# limits.ttft_ratio = 1.2       # of an LLM: time to the first token,
# limits.tpot_ratio = 1.2       # and for each further one
# limits.quality = 0.8          # least score that quality_job must find; 0 only observes it
"""
