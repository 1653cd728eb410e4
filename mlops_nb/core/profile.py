"""Resources of a pod under a name, as the platform team offers them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

from mlops_nb.core.quantity import format_size
from mlops_nb.errors import UserError

_HEADROOM = 1.2

SHARED_MEMORY = "/dev/shm"  # noqa: S108  # of a pod, which no other can write to

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DNS = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_SECRET_KEY = re.compile(r"[A-Za-z0-9._-]+")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_CPU = re.compile(r"[0-9]+m|[0-9]+(\.[0-9]{1,3})?")
_DIGEST = r"@sha256:[0-9a-f]{64}"
_PINNED = re.compile(rf".+{_DIGEST}")
_IMAGE = re.compile(
    r"[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][\w.-]{0,127})?"
    rf"({_DIGEST})?",
    re.ASCII,
)
_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A taint of nodes that a pod puts up with, in Kubernetes' words.

    Args:
        key: the taint's key; empty, with Exists, is every taint.
        operator: Equal or Exists.
        value: the taint's value, for Equal.
        effect: NoSchedule, PreferNoSchedule or NoExecute; empty is each of them.
    """

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A pod's resources, as `[profiles.NAME]` of mlops.toml says.

    Args:
        name: what people call it.
        image: container image of every step; empty takes the one of [kubeflow].
        gpu: how many accelerators.
        gpu_resource: Kubernetes resource they are counted in: `nvidia.com/gpu`, a MIG slice
            such as `nvidia.com/mig-1g.10gb`, `amd.com/gpu`.
        cpu: CPU request as a Kubernetes quantity; empty asks for none.
        memory: bytes, request and limit; None asks for none.
        shm: bytes of /dev/shm; None leaves the container runtime's own, mostly 64 MiB.
        node_selector: labels that the node must have.
        tolerations: taints of nodes to put up with.
        pull_secrets: Kubernetes secrets to pull the image with.
        service_account: Kubernetes service account of the run's pods.
        secrets: `secret-name/key` by environment variable.
        env: plain environment variables.
        volumes: mount path by persistent volume claim.
        labels: labels of the pod; Kueue's queue is `kueue.x-k8s.io/queue-name`.
        annotations: annotations of the pod.
        price: cost of an hour, in whatever currency the team counts.
        max_wait: seconds a run may wait for its pod, after which whoever looks at it ends it:
            Kubeflow itself lets it wait; None waits for ever.
        timeout: seconds the pod may run; None sets no end.
        retries: how often a pod that failed is started again.
        backoff: seconds before the first of these; each next waits twice as long.
    """

    name: str
    image: str = ""
    gpu: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    cpu: str = ""
    memory: int | None = None
    shm: int | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    service_account: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    price: float = 0.0
    max_wait: float | None = None
    timeout: float | None = None
    retries: int = 0
    backoff: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what could not become a pod.

        Raises:
            UserError: naming the profile, the key, its value and what would do.
        """
        self._check_image()
        self._check_sizes()
        self._check_times()
        self._check_placement()
        self._check_variables()
        self._check_volumes()

    def _wrong(self, key: str, value: object, why: str, hint: str) -> NoReturn:
        raise UserError(f"profile {self.name}: {key} = {value!r}: {why}", hint=hint)

    def _check_image(self) -> None:
        if self.image and not _IMAGE.fullmatch(self.image):
            self._wrong(
                "image",
                self.image,
                "not an image reference",
                "write it like registry.example.com/team/train@sha256:…",
            )

    def _check_sizes(self) -> None:
        if self.gpu < 0:
            self._wrong("gpu", self.gpu, "less than none", "give 0 for a pod without GPU")
        domain, _, resource = self.gpu_resource.partition("/")
        if not (_is_dns(domain) and _LABEL_NAME.fullmatch(resource)):
            self._wrong(
                "gpu_resource",
                self.gpu_resource,
                "not a resource of Kubernetes",
                "give e.g. nvidia.com/gpu, nvidia.com/mig-1g.10gb or amd.com/gpu",
            )
        if self.cpu and not (_CPU.fullmatch(self.cpu) and float(self.cpu.rstrip("m"))):
            self._wrong("cpu", self.cpu, "not a CPU quantity", "give e.g. 500m, 2 or 1.5")
        for key, size in (("memory", self.memory), ("shm", self.shm)):
            if size is not None and size <= 0:
                self._wrong(key, size, "not above 0", f"give e.g. 24Gi, or leave {key} out")
        if self.memory is not None and self.shm is not None and self.shm > self.memory:
            self._wrong(
                "shm",
                format_size(self.shm),
                f"more than the memory, {format_size(self.memory)}, that it counts as",
                "give less shm or more memory",
            )

    def _check_times(self) -> None:
        for key, number in (("price", self.price), ("backoff", self.backoff)):
            if not (math.isfinite(number) and number >= 0):
                self._wrong(key, number, "not a number from 0 up", f"give 0 or more as {key}")
        for key, seconds in (("max_wait", self.max_wait), ("timeout", self.timeout)):
            if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
                self._wrong(key, seconds, "not above 0", f"give e.g. 2h, or leave {key} out")
        if self.retries < 0:
            self._wrong("retries", self.retries, "less than none", "give 0 or more")

    def _check_placement(self) -> None:
        for key, mapping in (
            ("node_selector", self.node_selector),
            ("labels", self.labels),
            ("annotations", self.annotations),
        ):
            for name, value in mapping.items():
                if not _is_label_key(name):
                    self._wrong(
                        key, name, "not a key of Kubernetes", "write it like example.com/name"
                    )
                if key != "annotations" and value and not _LABEL_NAME.fullmatch(value):
                    self._wrong(
                        f"{key}.{name}",
                        value,
                        "not a label value of Kubernetes",
                        "give at most 63 letters, digits, '-', '_' or '.'",
                    )
        for toleration in self.tolerations:
            self._check_toleration(toleration)
        names = [("pull_secrets", name) for name in self.pull_secrets]
        if self.service_account:
            names.append(("service_account", self.service_account))
        for key, name in names:
            if not _is_dns(name):
                self._wrong(
                    key,
                    name,
                    "not a name of Kubernetes",
                    "give lower-case letters, digits, '-'",
                )

    def _check_toleration(self, toleration: Toleration) -> None:
        told = f"{toleration.key}={toleration.value}:{toleration.effect}"
        if toleration.operator not in {"Equal", "Exists"}:
            self._wrong(
                "tolerations",
                toleration.operator,
                "not an operator of a toleration",
                'give operator = "Exists" or "Equal"',
            )
        if toleration.effect not in _EFFECTS:
            self._wrong(
                "tolerations",
                toleration.effect,
                "not an effect of a taint",
                "give NoSchedule, PreferNoSchedule or NoExecute",
            )
        if toleration.operator == "Exists" and toleration.value:
            self._wrong(
                "tolerations", told, "Exists takes no value", 'give operator = "Equal" with it'
            )
        if toleration.operator == "Equal" and not toleration.key:
            self._wrong(
                "tolerations",
                told,
                "Equal needs a key",
                'give the key, or operator = "Exists" for every taint',
            )
        if toleration.key and not _is_label_key(toleration.key):
            self._wrong(
                "tolerations", told, "not a taint's key", "write it like nvidia.com/gpu"
            )

    def _check_variables(self) -> None:
        for key, mapping in (("env", self.env), ("secrets", self.secrets)):
            for name in mapping:
                if not _VARIABLE.fullmatch(name):
                    self._wrong(
                        key,
                        name,
                        "not a name of an environment variable",
                        "give letters, digits and '_', e.g. AWS_REGION",
                    )
        for name, reference in self.secrets.items():
            secret, _, key = reference.partition("/")
            if not (_is_dns(secret) and _SECRET_KEY.fullmatch(key)):
                # Who writes the value here by mistake must not find it in a log.
                self._wrong(
                    "secrets",
                    name,
                    "its value is not secret-name/key",
                    f'name a Kubernetes secret: {name} = "mlflow/token"',
                )
        for name in self.secrets:
            if name in self.env:
                self._wrong(
                    "env", name, "is among the secrets, too", f"keep one of the two {name}"
                )

    def _check_volumes(self) -> None:
        taken = {SHARED_MEMORY} if self.shm is not None else set()
        for claim, path in self.volumes.items():
            if not _is_dns(claim):
                self._wrong(
                    "volumes",
                    claim,
                    "not a name of a volume claim",
                    "give lower-case letters, digits, '-'",
                )
            if not re.fullmatch(r"(/[^/:\s]+)+", path) or path in taken:
                self._wrong(
                    f"volumes.{claim}",
                    path,
                    "mounted twice" if path in taken else "not an absolute path to mount at",
                    "give a path of its own, e.g. /mnt/data",
                )
            taken.add(path)


def override(
    profile: Profile,
    *,
    gpu: int | None = None,
    memory: int | None = None,
    image: str = "",
    cpu: str = "",
) -> Profile:
    """Give the profile with what a run asks for itself in place of its own.

    Args:
        profile: the profile.
        gpu: accelerators; None keeps the profile's.
        memory: bytes; None keeps the profile's.
        image: container image; empty keeps the profile's.
        cpu: Kubernetes quantity; empty keeps the profile's.

    Raises:
        UserError: if no such pod is possible.
    """
    return replace(
        profile,
        gpu=profile.gpu if gpu is None else gpu,
        memory=profile.memory if memory is None else memory,
        image=image or profile.image,
        cpu=cpu or profile.cpu,
    )


def cost(profile: Profile, seconds: float) -> float:
    """Give what a pod of the profile costs in that time; 0 where no price is known."""
    return profile.price * max(seconds, 0) / 3600


def is_pinned(image: str) -> bool:
    """Tell whether an image is named by its digest, so that it never changes."""
    return _PINNED.fullmatch(image) is not None


def advise(profile_used: Profile, peak_bytes: int, profiles: Iterable[Profile]) -> str:
    """Say which smaller profile would do; empty where at least half of the memory was used.

    Args:
        profile_used: what the run asked for.
        peak_bytes: most memory it held at once; 0 if unknown.
        profiles: what there is to choose from.
    """
    asked = profile_used.memory
    needed = math.ceil(peak_bytes * _HEADROOM)
    if asked is None or peak_bytes <= 0 or needed > asked / 2:
        return ""
    # Another number or kind of accelerator is no advice that memory alone can give.
    fitting = [
        (other.memory, other.price, other.name)
        for other in profiles
        if other.memory is not None
        and needed <= other.memory < asked
        and (other.gpu, other.gpu_resource) == (profile_used.gpu, profile_used.gpu_resource)
        and other.price <= profile_used.price
    ]
    told = f"asked {format_size(asked)}, used {format_size(peak_bytes)}"
    if fitting:
        return f"{told}: profile {min(fitting)[2]} would do"
    return f"{told}: --memory {_rounded(needed)} would do"


def _rounded(size: int) -> str:
    unit, name = (2**30, "Gi") if size >= 2**30 else (2**20, "Mi")
    return f"{math.ceil(size / unit)}{name}"


def _is_dns(name: str) -> bool:
    return len(name) <= 253 and _DNS.fullmatch(name) is not None


def _is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return _LABEL_NAME.fullmatch(name) is not None and (_is_dns(prefix) if slash else True)
