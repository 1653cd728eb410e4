"""Where models are deployed and how they get their traffic."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_nb.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPlan:
    """Shares of traffic a new version is given, one after the other.

    Args:
        weights: rising percentages, 1 to 100, ending at 100.
        minutes: how long each share is analysed before the next.
    """

    weights: tuple[int, ...] = (5, 25, 50, 100)
    minutes: int = 10

    def __post_init__(self) -> None:
        """Refuse a plan that does not rise to 100 %.

        Raises:
            UserError: if the weights do not rise from 1 or more to 100.
        """
        rising = all(a < b for a, b in zip(self.weights, self.weights[1:], strict=False))
        if not self.weights or not rising or self.weights[0] < 1 or self.weights[-1] != 100:
            raise UserError(
                f"canary weights {list(self.weights)} do not rise to 100 %",
                hint="give rising percentages that end at 100, e.g. --canary 5,25,50,100",
            )

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
