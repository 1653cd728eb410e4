"""Where models are deployed and how they get their traffic."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mlops_nb.core.access import ClusterAccess
from mlops_nb.core.canary import CanaryLimits, CanaryPlan, Share, peak_pods, shares
from mlops_nb.core.change import LockFile, PullRequest
from mlops_nb.core.model import ModelVersion
from mlops_nb.errors import UserError

_CHOICES = {
    "target": ("rollout", "kserve"),
    "router": ("gateway", "istio", "none"),
    "server": ("", "mlserver", "triton", "vllm", "kserve"),
    "monitor": ("vmpodscrape", "podmonitor"),
}
_DIGEST = re.compile(r"\S+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A place models are deployed to, as `[environments.NAME]` of mlops.toml says.

    Args:
        name: folder name in the GitOps repository: models/<model>/overlays/<name>.
        namespace: Kubernetes namespace of the models.
        gates: gates a version must pass to be deployed here, besides its model's own.
        canary: shares of traffic for a new version.
        replicas: pods that serve the stable version.
        target: what runs the pods: rollout (Argo Rollouts) or kserve.
        router: what splits the traffic: gateway (Gateway API), istio, or none: then it is
            split by the number of pods.
        server: mlserver, triton, vllm or kserve; empty chooses by the model's flavor.
        image: model server, pinned by digest.
        images: model servers by name of the server, where one image does not do for all.
        download_image: image with MLflow that downloads the model for a server without it.
        host: host name of the route; `{model}` stands for the model's name.
        gateway: gateway as `namespace/name`.
        monitor: what has pods scraped: vmpodscrape or podmonitor.
        metrics_url: Prometheus-compatible query address of the canary analysis.
        alias: registry alias that moves to a version when its pull request is merged; empty
            moves none.
        allow_pickle: whether models that run pickled code when loaded may be deployed.
        cpu: CPU request of a pod, as a Kubernetes quantity.
        memory: memory request and limit of a pod, as a Kubernetes quantity.
        gpu: accelerators of a pod.
        gpu_resource: how the cluster names them.
        shm: size of /dev/shm of an LLM's pod, as a Kubernetes quantity.
        dynamic_stable_scale: whether the stable pods go as their traffic goes: fewer at the
            peak, slower to return.
        limits: what ends a canary.
        quality_job: image, by digest, of the job that scores a canary's answers; its exit code
            is its verdict.
        pull_secret: secret that images are pulled with.
        model_secret: secret whose keys are variables of what downloads the model.
        secret_store: ClusterSecretStore that both come from; empty if they are there.
        kserve_version: release of KServe in the cluster.
        repository: GitOps repository as the cluster reaches it.
        access: how its cluster is asked what runs; None where it cannot be.
    """

    name: str
    namespace: str = "models"
    gates: tuple[str, ...] = ()
    canary: CanaryPlan = CanaryPlan()
    replicas: int = 3
    target: str = "rollout"
    router: str = "gateway"
    server: str = ""
    image: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    download_image: str = ""
    host: str = "{model}.models.example.com"
    gateway: str = "gateway-system/models"
    monitor: str = "vmpodscrape"
    metrics_url: str = "http://vmsingle.monitoring:8428"
    alias: str = ""
    allow_pickle: bool = False
    cpu: str = "500m"
    memory: str = "1Gi"
    gpu: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    shm: str = "2Gi"
    dynamic_stable_scale: bool = False
    limits: CanaryLimits = CanaryLimits()
    quality_job: str = ""
    pull_secret: str = ""
    model_secret: str = ""
    secret_store: str = ""
    kserve_version: str = "0.20"
    repository: str = "https://git.example.com/mlops/deploy.git"
    access: ClusterAccess | None = None

    def __post_init__(self) -> None:
        """Refuse what could not become a manifest.

        Raises:
            UserError: if a choice is unknown, the gateway is no `namespace/name`, there are no
                replicas, or two choices exclude each other.
        """
        for key, known in _CHOICES.items():
            value = getattr(self, key)
            if value not in known:
                raise UserError(
                    f"environment {self.name}: there is no {key} {value!r}",
                    hint=did_you_mean(
                        value, known, otherwise=f"known: {', '.join(filter(None, known))}"
                    ),
                )
        if unknown := sorted(set(self.images) - set(_CHOICES["server"])):
            raise UserError(
                f"environment {self.name}: images names {unknown[0]!r}, which is no server",
                hint=f"known: {', '.join(filter(None, _CHOICES['server']))}",
            )
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
        if self.gpu < 0:
            raise UserError(
                f"environment {self.name}: {self.gpu} accelerators are not to be had",
                hint="give 0 or more",
            )
        if self.dynamic_stable_scale and self.router == "none":
            raise UserError(
                f"environment {self.name}: dynamic_stable_scale needs a router",
                hint="without one the stable pods go with every step as it is; delete the line",
            )
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", self.kserve_version):
            raise UserError(
                f"environment {self.name}: kserve_version = {self.kserve_version!r}: "
                "not a release",
                hint='write it like kserve_version = "0.21"',
            )

    @property
    def is_routed(self) -> bool:
        """Whether traffic is split by request and not by the number of pods."""
        return self.router != "none"

    @property
    def shares(self) -> tuple[Share, ...]:
        """The canary's steps as they will really be."""
        return shares(
            self.canary.weights,
            self.replicas,
            is_routed=self.is_routed,
            follows=self.dynamic_stable_scale,
        )

    @property
    def peak_pods(self) -> int:
        """The most pods there are at one time during a canary."""
        if self.target == "kserve":
            return 2 * self.replicas
        return peak_pods(self.shares, self.replicas, is_routed=self.is_routed)

    def image_of(self, server: str) -> str:
        """Name the image of a server; empty where none is named."""
        return self.images.get(server, self.image)

    @property
    def has_cluster(self) -> bool:
        """Whether there is a cluster to ask what runs."""
        return self.access is not None

    @property
    def argocd_project(self) -> str:
        """Name the Argo CD project of its applications: as it is generated, if not told."""
        return (self.access.argocd_project if self.access else "") or f"models-{self.name}"

    def application_of(self, model: str) -> str:
        """Name the Argo CD application of a model: as the ApplicationSet does, if not told."""
        told = self.access.application if self.access else ""
        return (told or f"{{model}}-{self.name}").replace("{model}", model)

    def check_image(self) -> None:
        """Refuse to deploy where nobody said with which server, or by a name that can move.

        Raises:
            UserError: if no image is named, or one not by its digest.
        """
        if not (self.image or self.images):
            raise UserError(
                f"environment {self.name} names no model server image",
                hint=f'set image = "registry/name@sha256:…" in [environments.{self.name}]',
            )
        named = {"image": self.image, "download_image": self.download_image}
        named |= {"quality_job": self.quality_job}
        named |= {f"images.{server}": image for server, image in self.images.items()}
        for key, image in named.items():
            if image and not _DIGEST.fullmatch(image):
                raise UserError(
                    f"environment {self.name}: {key} = {image!r} is no image by its digest: "
                    "what a tag names can change unseen",
                    hint="write registry/name@sha256:…; `docker buildx imagetools inspect "
                    "IMAGE` tells the digest",
                )


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
class Kept:
    """Whether something that a deployment needs is still there.

    Args:
        is_there: None where nobody could tell.
        why: what is missing, or why it could not be told; empty if it is there.
    """

    is_there: bool | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A pull request that became part of what the cluster follows.

    Args:
        pull_request: the pull request, merged.
        model: the model it was about; empty for a change that is no deployment.
        environment: the environment it was about.
        version: version the environment has now; 0 if none.
        alias: registry alias that points at that version now; empty if none was moved.
        later_alias: registry alias that `follow` moves once the cluster runs the version.
        has_cluster: whether there is a cluster to ask how it goes on.
    """

    pull_request: PullRequest
    model: str = ""
    environment: str = ""
    version: int = 0
    alias: str = ""
    later_alias: str = ""
    has_cluster: bool = False


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
