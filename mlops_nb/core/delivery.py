"""Where models are deployed and how they get their traffic."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mlops_nb.core.change import LockFile, PullRequest
from mlops_nb.core.gate import Verdict
from mlops_nb.core.model import ModelVersion
from mlops_nb.errors import UserError

_MEASUREMENTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPlan:
    """Shares of traffic a new version is given, one after the other.

    Args:
        weights: rising percentages, 1 to 100, ending at 100.
        minutes: how long each share is analysed before the next; 0 waits for a person.
    """

    weights: tuple[int, ...] = (5, 25, 50, 100)
    minutes: int = 10

    def __post_init__(self) -> None:
        """Refuse a plan that does not rise to 100 %.

        Raises:
            UserError: if the weights do not rise from 1 or more to 100, or time is negative.
        """
        if self.minutes < 0:
            raise UserError(
                f"canary minutes {self.minutes} are negative",
                hint="give minutes for each share, or 0 to wait for a person",
            )
        rising = all(a < b for a, b in zip(self.weights, self.weights[1:], strict=False))
        if not self.weights or not rising or self.weights[0] < 1 or self.weights[-1] != 100:
            raise UserError(
                f"canary weights {list(self.weights)} do not rise to 100 %",
                hint="give rising percentages that end at 100, e.g. --canary 5,25,50,100",
            )

    @property
    def window(self) -> int:
        """Seconds of traffic each measurement looks back on: four scrapes at the least."""
        return max(60, 30 * self.minutes)

    @property
    def interval(self) -> int:
        """Seconds between measurements."""
        return max(15, (60 * self.minutes - self.window) // (_MEASUREMENTS - 1))

    @property
    def share_seconds(self) -> int:
        """Seconds one share is really analysed; 0 waits for a person."""
        if not self.minutes:
            return 0
        return self.window + (_MEASUREMENTS - 1) * self.interval

    def pods(self, weight: int, replicas: int) -> int:
        """Count the canary's pods at a share of traffic; the stable version keeps its own."""
        return math.ceil(weight * replicas / 100)

    @classmethod
    def parse(cls, text: str, minutes: int = 10) -> CanaryPlan:
        """Read `5,25,50,100`.

        Raises:
            UserError: if a weight is not a whole number, or the weights do not rise to 100.
        """
        try:
            weights = tuple(int(w) for w in text.split(","))
        except ValueError:
            raise UserError(
                f"canary {text!r} is not a list of whole percentages",
                hint="e.g. --canary 5,25,50,100",
            ) from None
        return cls(weights=weights, minutes=minutes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A place models are deployed to, as `[environments.NAME]` of mlops.toml says.

    Args:
        name: folder name in the GitOps repository: models/<model>/overlays/<name>.
        namespace: Kubernetes namespace of the models.
        gates: gates a version must pass to be deployed here, besides its model's own.
        canary: shares of traffic for a new version.
        replicas: pods that serve the stable version.
        image: model server, pinned by digest.
        host: host name of the route; `{model}` stands for the model's name.
        gateway: Gateway API gateway as `namespace/name`.
        metrics_url: Prometheus-compatible query address of the canary analysis.
        alias: registry alias that moves to a version when its pull request is merged; empty
            moves none.
        allow_pickle: whether models that run pickled code when loaded may be deployed.
        cpu: CPU request of a pod, as a Kubernetes quantity.
        memory: memory request and limit of a pod, as a Kubernetes quantity.
        repository: GitOps repository as the cluster reaches it.
    """

    name: str
    namespace: str = "models"
    gates: tuple[str, ...] = ()
    canary: CanaryPlan = CanaryPlan()
    replicas: int = 3
    image: str = ""
    host: str = "{model}.models.example.com"
    gateway: str = "gateway-system/models"
    metrics_url: str = "http://vmsingle.monitoring:8428"
    alias: str = ""
    allow_pickle: bool = False
    cpu: str = "500m"
    memory: str = "1Gi"
    repository: str = "https://git.example.com/mlops/deploy.git"

    def __post_init__(self) -> None:
        """Refuse what could not become a manifest.

        Raises:
            UserError: if the gateway is no `namespace/name`, or there are no replicas.
        """
        namespace, slash, name = self.gateway.partition("/")
        if not (namespace and slash and name) or "/" in name:
            raise UserError(
                f"environment {self.name}: gateway {self.gateway!r} is not namespace/name",
                hint='write it like gateway = "gateway-system/models"',
            )
        if self.replicas < 1:
            raise UserError(
                f"environment {self.name}: {self.replicas} replicas serve nobody",
                hint="give 1 or more",
            )

    def check_image(self) -> None:
        """Refuse to deploy where nobody said with which server.

        Raises:
            UserError: if no image is named.
        """
        if not self.image:
            raise UserError(
                f"environment {self.name} names no model server image",
                hint=f'set image = "registry/name@sha256:…" in [environments.{self.name}]',
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a reviewer of a deployment pull request is shown.

    Args:
        lock: record of the version proposed.
        previous: record of the version it replaces; None for the first.
        environment: where to, with the canary plan of this deployment.
        verdict: its gates, judged.
        flavor: how the model was saved.
        uses_pickle: whether loading it runs pickled code.
        code_note: what could not be told of the notebook's repository; empty if nothing.
        reason: why, in the words of who asked; empty if they gave none.
        requested: when it was asked for.
        before: files of the change as they are on base, by path.
        after: the same files as proposed; None is deleted.
    """

    lock: LockFile
    previous: LockFile | None
    environment: Environment
    verdict: Verdict
    flavor: str = ""
    uses_pickle: bool = False
    code_note: str = ""
    reason: str = ""
    requested: datetime | None = None
    before: Mapping[str, bytes] = field(default_factory=dict)
    after: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A version on its way to an environment.

    Args:
        version: what is deployed.
        environment: where to, with the canary plan of this deployment.
        previous: version it replaces; 0 for the first.
        pull_request: what carries it; None for a dry run or where nothing changes.
        files: the change, by path; empty where the environment has it already.
        body: text of the pull request, Markdown; empty where there is none.
        diff: the change as a unified diff.
        action: deploy or rollback.
    """

    version: ModelVersion
    environment: Environment
    previous: int = 0
    pull_request: PullRequest | None = None
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    body: str = ""
    diff: str = ""
    action: str = "deploy"

    @property
    def is_noop(self) -> bool:
        """Whether the environment has exactly this already."""
        return not self.files


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A pull request that became part of what the cluster follows.

    Args:
        pull_request: the pull request, merged.
        model: the model it was about; empty for a change that is no deployment.
        environment: the environment it was about.
        version: version the environment has now; 0 if none.
        alias: registry alias that points at that version now; empty if none was moved.
    """

    pull_request: PullRequest
    model: str = ""
    environment: str = ""
    version: int = 0
    alias: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """One line of the audit trail: a version came to an environment.

    Args:
        when: when it came onto base.
        action: deploy, rollback, remove, edit of the record by hand, or unreadable where it was
            broken by hand.
        environment: where.
        model: what.
        version: the version the environment has since; 0 after a removal or if unreadable.
        previous: the one before; 0 if there was none.
        requested_by: who asked for it.
        merged_by: who brought it onto base.
        reason: why, of a rollback.
        lock: the full record; None after a removal or if unreadable.
        pull_request: number; 0 if there was none.
        commit: commit on base.
    """

    when: datetime
    action: str
    environment: str
    model: str
    version: int
    previous: int
    requested_by: str
    merged_by: str
    reason: str = ""
    lock: LockFile | None = None
    pull_request: int = 0
    commit: str = ""


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Give the hint for a name that is not among the known ones."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise
