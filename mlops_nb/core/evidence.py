"""What speaks for a deployment: people read it as Markdown, machines as `evidence.json`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops_nb.core.canary import Share
from mlops_nb.core.change import LockFile
from mlops_nb.core.data import Dataset
from mlops_nb.core.delivery import Environment
from mlops_nb.core.gate import Verdict

if TYPE_CHECKING:
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.run import Run

SIGNATURE = "mlops_nb.signature"
"""Tag of a version with the file that signs its others."""
_SECRET = re.compile(rb"(?m)^kind:\s*[\"']?Secret[\"']?\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A metric of a version, or the difference of two.

    Args:
        value: the metric: of the evaluation table where it can be computed there, as gates do,
            else as it was logged.
        low: lower end of its 95 % interval; null without rows.
        high: upper end.
        rows: rows of the evaluation table that it was measured on; 0 for a logged one.
    """

    value: float
    low: float | None = None
    high: float | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A version that the one proposed is compared with.

    Args:
        version: `name/version`.
        role: what it is: `live now`, `champion`, or both.
        metrics: its metrics, by name.
        differences: by how much the version proposed has more, by metric; with an interval
            where both were evaluated on the same rows.
        has_rows: whether its run logged an evaluation table.
        note: what could not be told of it; empty if nothing.
    """

    version: str
    role: str
    metrics: Mapping[str, Measured] = field(default_factory=dict)
    differences: Mapping[str, Measured] = field(default_factory=dict)
    has_rows: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterChange:
    """A parameter that is another than in the version before.

    Args:
        name: the parameter.
        before: its value as JSON text; empty if it had none.
        after: likewise, of the version proposed.
        was_default: whether the value before was the notebook's own.
        is_default: likewise, of the version proposed.
    """

    name: str
    before: str = ""
    after: str = ""
    was_default: bool = False
    is_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the canary really comes to.

    Args:
        is_canary: whether there is a version beside which it is judged; the first has none.
        shares: its steps.
        seconds: how long each step is analysed; 0 waits for a person.
        peak_pods: the most pods there are at one time.
        peak_accelerators: the most accelerators there are at one time.
    """

    is_canary: bool
    shares: tuple[Share, ...]
    seconds: int
    peak_pods: int
    peak_accelerators: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What the version brings with it.

    Args:
        flavor: how the model was saved.
        uses_pickle: whether loading it runs pickled code.
        image_registry: where the server's image comes from.
        is_pinned: whether the image is named by digest.
        is_reachable: whether pods can reach the tracking server at all.
        registry_before: where the image of the version before comes from; empty for the first.
        signature: file of the model that signs the others; empty if there is none.
        ways_out: where pods may send to, in words.
        ways_out_before: likewise, of what is live; empty for the first.
        secrets: manifests of the change that hold a Secret, by path.
    """

    flavor: str
    uses_pickle: bool
    image_registry: str
    is_pinned: bool
    is_reachable: bool
    secrets: tuple[str, ...] = ()
    registry_before: str = ""
    signature: str = ""
    ways_out: tuple[str, ...] = ()
    ways_out_before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a deployment changes in the repository.

    Args:
        files: the change, by path.
        ways_out: where pods may send to with it, in words.
        ways_out_before: likewise, of what is live; empty for the first.
    """

    files: Mapping[str, bytes]
    ways_out: tuple[str, ...] = ()
    ways_out_before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for a deployment: `evidence.json` beside its record, which holds its digest.

    It holds nothing that differs from one asking to the next, such as its time.

    Args:
        lock: record of the version proposed; its `evidence` is left empty here.
        previous: record of the version it replaces; null for the first.
        environment: where to, with the canary plan and the server of this deployment, without
            the ways to its cluster.
        verdict: its gates, judged.
        metrics: its metrics, by name.
        has_rows: whether its run logged an evaluation table.
        beside: the versions it is compared with: what is live there, and the champion.
        changed: parameters that are others than in the version before.
        datasets: data it learned from.
        is_dirty: whether the notebook's repository had uncommitted changes.
        code_note: what could not be told of that repository; empty if nothing.
        traffic: what the canary really comes to.
        security: what the version brings with it.
        way_back: line that proposes the return; empty for the first, whose merge is reverted.
    """

    lock: LockFile
    previous: LockFile | None
    environment: Environment
    verdict: Verdict
    metrics: Mapping[str, Measured]
    has_rows: bool
    beside: tuple[Beside, ...]
    changed: tuple[ParameterChange, ...]
    datasets: tuple[Dataset, ...]
    is_dirty: bool
    code_note: str
    traffic: Traffic
    security: Security
    way_back: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """How a version did on its evaluation set, beside others.

    Args:
        metrics: its metrics, by name.
        has_rows: whether its run logged an evaluation table.
        beside: the versions it is compared with.
    """

    metrics: Mapping[str, Measured] = field(default_factory=dict)
    has_rows: bool = False
    beside: tuple[Beside, ...] = ()


def evidence_of(
    version: ModelVersion,
    run: Run,
    *,
    lock: LockFile,
    previous: LockFile | None,
    environment: Environment,
    verdict: Verdict,
    showing: Showing,
    change: Change,
) -> Evidence:
    """Put together what speaks for a deployment.

    Args:
        version: what is deployed.
        run: the run that made it.
        lock: its record.
        previous: record of the version it replaces; None for the first.
        environment: where to, with the plan and the server of this deployment.
        verdict: its gates, judged.
        showing: how it did on its evaluation set.
        change: what it changes.
    """
    return Evidence(
        lock=replace(lock, evidence=""),
        previous=previous,
        environment=without_ways(environment),
        verdict=verdict,
        metrics=showing.metrics,
        has_rows=showing.has_rows,
        beside=showing.beside,
        changed=tuple(_changes(previous, lock)),
        datasets=tuple(
            replace(d, uri=uri)
            for d, (_, _, uri) in zip(run.datasets, lock.datasets, strict=True)
        ),
        is_dirty=lock.code_commit.endswith("-dirty"),
        code_note=version.tags.get("mlops_nb.git.note", ""),
        traffic=Traffic(
            is_canary=previous is not None,
            shares=environment.shares,
            seconds=environment.canary.share_seconds,
            peak_pods=environment.peak_pods,
            peak_accelerators=environment.peak_pods * environment.gpu,
        ),
        security=Security(
            flavor=version.flavor,
            uses_pickle=version.uses_pickle,
            image_registry=_registry_of(lock.image),
            is_pinned="@sha256:" in lock.image,
            is_reachable=urlsplit(lock.tracking_uri).scheme in {"http", "https"},
            secrets=tuple(
                sorted(path for path, text in change.files.items() if _SECRET.search(text))
            ),
            registry_before=_registry_of(previous.image) if previous else "",
            signature=version.tags.get(SIGNATURE, ""),
            ways_out=change.ways_out,
            ways_out_before=change.ways_out_before,
        ),
        way_back=f"mlops rollback {lock.model} --env {lock.environment}" if previous else "",
    )


def _registry_of(image: str) -> str:
    host, slash, _ = image.partition("/")
    # Docker's rule: the first part is a host if it looks like one.
    is_host = slash and (set(host) & {".", ":"} or host == "localhost")
    return host if is_host else "Docker Hub"


def without_ways(environment: Environment) -> Environment:
    """Leave out how the cluster is reached: it differs from one machine to the next."""
    return replace(environment, access=None)


def _changes(before: LockFile | None, after: LockFile) -> list[ParameterChange]:
    old = {**before.defaults, **before.parameters} if before else {}
    new = {**after.defaults, **after.parameters}
    return [
        ParameterChange(
            name=name,
            before=old.get(name, ""),
            after=new.get(name, ""),
            was_default=before is not None and _is_default(name, before),
            is_default=_is_default(name, after),
        )
        for name in sorted({*new, *old})
        if new.get(name) != old.get(name)
    ]


def _is_default(name: str, lock: LockFile) -> bool:
    return name in lock.defaults and name not in lock.parameters


__all__ = [
    "SIGNATURE", "Beside", "Change", "Evidence", "Measured", "ParameterChange", "Security",
    "Showing", "Traffic",
    "evidence_of", "without_ways",
]  # fmt: skip
