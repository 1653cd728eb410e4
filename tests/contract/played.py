"""A repository and a registry in memory, and a played cluster that follows them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fake_forge import FakeForge
from fake_images import FakeImages
from fake_registry import FakeRegistry

from mlops_nb import wire
from mlops_nb.adapters.argocd import ArgoCd
from mlops_nb.core.access import ClusterAccess
from mlops_nb.core.canary import CanaryPlan
from mlops_nb.core.delivery import Environment
from mlops_nb.core.events import Event
from mlops_nb.core.gate import Verdict
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.verbs import Deploy, Rollback
from mlops_nb.dev.cluster import Options, Server, serve
from mlops_nb.flows.deploy import deploy
from mlops_nb.flows.rollback import rollback
from mlops_nb.ports import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlops_nb.core.delivery import Deployment
    from mlops_nb.core.rollout import Rollout

TOKEN = "argocd-token-of-a-project-role"
ANN = "Ann <ann@example.com>"
BY_HAND = CanaryPlan(weights=(5, 25, 100), minutes=0)
JUDGED = CanaryPlan(weights=(5, 25, 100), minutes=10)


@dataclass
class World:
    """What a test of a deployment has.

    Args:
        server: the played cluster.
        environment: where it is deployed to.
        forge: the repository.
        registry: where versions are.
        cluster: the played cluster, through the adapter for Argo CD.
        events: what flows told.
    """

    server: Server
    environment: Environment
    forge: FakeForge
    registry: FakeRegistry
    cluster: Cluster
    events: list[Event] = field(default_factory=list)

    def version(self, number: int) -> None:
        """Have a version in the registry, as a run would have registered it."""
        if any(v.version == number for v in self.registry.registered):
            return
        run = Run(id=f"churn-{number}", notebook="churn.ipynb", state=RunState.SUCCEEDED)
        run = self.registry.begin(run, {})
        self.registry.registered.append(
            ModelVersion(
                name="churn",
                version=number,
                source=f"s3://models/{number}",
                digest=f"sha256:{number:064x}",
                flavor="onnx",
                run=run.id,
                tracking_id=run.tracking_id,
            )
        )

    def propose(
        self,
        number: int,
        plan: CanaryPlan | None = None,
        *,
        dry_run: bool = False,
        cluster: Cluster | None = None,
    ) -> Deployment:
        """Propose a version."""
        self.version(number)
        environment = replace(self.environment, canary=plan or self.environment.canary)
        return deploy(
            Deploy(model=f"churn/{number}", to="prod", dry_run=dry_run),
            registry=self.registry,
            forge=self.forge,
            images=FakeImages(),
            environment=environment,
            gates=(),
            judge=lambda *_: Verdict(checks=()),
            write=wire.canonical,
            tracking_uri="https://mlflow.example.com",
            requested_by=ANN,
            tool="mlops_nb/0",
            now=datetime.now(UTC),
            tell=self.events.append,
            cluster=cluster,
        )

    def merge(self, number: int, plan: CanaryPlan | None = None) -> None:
        """Propose a version and merge it."""
        pull = self.propose(number, plan).pull_request
        assert pull is not None
        self.forge.merge(pull.number)

    def live(self, number: int) -> None:
        """Have a version serve everybody, as a first deployment does."""
        self.merge(number)
        self.until(lambda r: r.stable is not None and r.stable.version == number)

    def until(self, condition: Callable[[Rollout], bool], seconds: float = 10) -> Rollout:
        """Wait until the rollout is as a test needs it."""
        deadline = time.monotonic() + seconds
        while True:
            self.cluster.application("churn")
            rollout = self.cluster.rollout("churn")
            if rollout and condition(rollout):
                return rollout
            assert time.monotonic() < deadline, rollout
            time.sleep(0.05)

    def revert(self, verb: Rollback, because: Rollout | None) -> Deployment:
        """Propose the return to an earlier version."""
        return rollback(
            verb,
            forge=self.forge,
            registry=self.registry,
            images=FakeImages(),
            environment=self.environment,
            tracking_uri="https://mlflow.example.com",
            requested_by=ANN,
            tool="mlops_nb/0",
            tell=self.events.append,
            cluster=self.cluster,
            because=because,
        )

    def measure(self, kind: str) -> None:
        """Let canaries be of a kind from now on."""
        self.server.cluster.chosen.choose("churn", kind)


@contextmanager
def played(speed: float = 20_000, **more: Any) -> Iterator[World]:
    """Play a cluster for `churn` in `prod`.

    Args:
        speed: seconds of the cluster in a second; canaries of minutes pass in a moment.
        more: other options of the stand-in.
    """
    forge = FakeForge()
    environment = Environment(
        name="prod", image="reg.example.com/s@sha256:" + "b" * 64, alias="champion"
    )
    options = Options(
        environments={"prod": environment},
        read=forge.read,
        head=lambda: forge.commits[-1].sha if forge.commits else "",
        speed=speed,
        token=TOKEN,
        **more,
    )
    with serve(options) as server:
        access = ClusterAccess(argocd=server.url)
        environment = replace(environment, access=access)
        cluster = ArgoCd(environment, access, lambda: TOKEN)
        yield World(server, environment, forge, FakeRegistry(), cluster)
