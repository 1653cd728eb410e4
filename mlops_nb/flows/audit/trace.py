"""Tell what a notebook, run, version, commit, pull request, image or pod belongs to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.core.tracing import Clues, Serving, Trace, chains_of
from mlops_nb.errors import BackendError, MlopsError, NotFound, UserError
from mlops_nb.flows.audit.records import records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.run import Run
    from mlops_nb.core.tracing import Chain
    from mlops_nb.ports import Cluster, Forge, Registry

_MOST_RUNS = 500
_MOST_SHOWN = 20


def trace(
    ref: str,
    *,
    forge: Callable[[], Forge],
    registry: Registry,
    cluster_of: Callable[[str], Cluster | None],
) -> Trace:
    """Tell what belongs together with `ref`; each source that is away is told, not needed.

    Args:
        ref: a notebook, run, model version, commit, pull request, digest or pod label.
        forge: gives the GitOps repository.
        registry: has runs and versions.
        cluster_of: gives an environment's cluster; None where none is configured.

    Raises:
        NotFound: if nothing of the kind is known.
        UserError: if `ref` is a label that tells nothing.
    """
    clues = Clues(ref)
    sources = _Sources(forge, registry)
    every = sources.chains()
    if clues.asks_pods:
        every = sources.served(every, cluster_of)
    recorded = sources.runs(clues.ref)
    meant: set[str] = set()
    found: dict[str, Chain] = {}
    runs: dict[str, Run] = {}
    for run in recorded:
        if kinds := clues.of_run(run):
            meant |= kinds
            runs[run.id] = run
    for chain in every:
        kinds = clues.of_chain(chain)
        meant |= kinds
        if kinds or chain.run in runs:
            found[str(chain)] = chain
    if not found and not runs:
        raise _unknown(ref, every, recorded, sources.notes)
    chains = tuple(found.values())
    runs |= sources.runs_of(chains[:_MOST_SHOWN], recorded)
    if not clues.asks_pods:
        chains = sources.served(chains, cluster_of)
    newest = sorted(runs.values(), key=lambda r: r.started.timestamp() if r.started else 0.0)
    if (more := max(len(chains), len(newest)) - _MOST_SHOWN) > 0:
        sources.notes.append(f"{more} older ones are left out; give a run or a version")
    return Trace(
        ref=ref,
        meant=tuple(sorted(meant)),
        chains=tuple(_with_data(c, runs) for c in chains[:_MOST_SHOWN]),
        runs=tuple(reversed(newest[-_MOST_SHOWN:])),
        notes=tuple(sources.notes),
    )


class _Sources:
    """What is asked; which of it is away is in the notes."""

    def __init__(self, forge: Callable[[], Forge], registry: Registry) -> None:
        self.forge = forge
        self.registry = registry
        self.notes: list[str] = []

    def chains(self) -> tuple[Chain, ...]:
        versions: Sequence[ModelVersion] = ()
        try:
            versions = self.registry.versions()
        except BackendError as error:
            self.notes.append(f"told from Git alone: {error.message}")
        try:
            forge = self.forge()
            return chains_of(versions, records(forge), forge.pull_requests())
        except (BackendError, UserError) as error:
            self.notes.append(f"deployments are not known: {error.message}")
            return chains_of(versions, (), ())

    def runs(self, ref: str) -> Sequence[Run]:
        """Give the newest runs, and the one of this id, however old."""
        try:
            found = list(self.registry.runs(limit=_MOST_RUNS))
        except BackendError:
            return []
        if not any(ref in {run.id, run.tracking_id} for run in found):
            with suppress(NotFound, UserError):
                found.append(self.registry.find(ref))
        return [run for run in found if not run.is_schedule]

    def runs_of(self, chains: Sequence[Chain], known: Sequence[Run]) -> Mapping[str, Run]:
        by_id = {run.tracking_id: run for run in known}
        found: dict[str, Run] = {}
        for tracking_id in {chain.tracking_id for chain in chains if chain.tracking_id}:
            try:
                run = by_id.get(tracking_id) or self.registry.find(tracking_id)
            except MlopsError:
                # It was deleted, or the server is away, which is told already.
                continue
            found[run.id] = run
        return found

    def served(
        self, chains: Sequence[Chain], cluster_of: Callable[[str], Cluster | None]
    ) -> tuple[Chain, ...]:
        """Add what clusters run of the models, where they can be asked."""
        places = sorted({(d.model, d.environment) for c in chains for d in c.deployments})
        serving: dict[tuple[str, int], list[Serving]] = {}
        for model, env in places:
            for version, each in self._serving(model, env, cluster_of):
                serving.setdefault((model, version), []).append(each)
        return tuple(
            replace(chain, serving=tuple(serving.get((chain.model, chain.version), ())))
            for chain in chains
        )

    def _serving(
        self, model: str, env: str, cluster_of: Callable[[str], Cluster | None]
    ) -> Iterator[tuple[int, Serving]]:
        try:
            cluster = cluster_of(env)
            rollout = cluster.rollout(model) if cluster else None
        except MlopsError as error:
            self.notes.append(f"what runs in {env} is not known: {error.message}")
            return
        if rollout is None:
            return
        canary = rollout.weight if rollout.has_canary and not rollout.is_aborted else 0
        shares = [(rollout.stable, 100 - canary)]
        if rollout.has_canary:
            shares.append((rollout.wanted, canary))
        for served, weight in shares:
            if served and served.version and weight:
                yield (
                    served.version,
                    Serving(environment=env, weight=weight, template=served.template),
                )


def _with_data(chain: Chain, runs: Mapping[str, Run]) -> Chain:
    """Fill in the data that the run recorded, where no deployment has."""
    run = runs.get(chain.run)
    if chain.datasets or run is None:
        return chain
    return replace(chain, datasets=tuple((d.name, d.digest, d.uri) for d in run.datasets))


def _unknown(
    ref: str, chains: Sequence[Chain], runs: Sequence[Run], notes: Sequence[str]
) -> NotFound:
    looked = f"among {len(chains)} model versions and {len(runs)} runs"
    why = f"; {'; '.join(notes)}" if notes else ""
    return NotFound(
        f"nothing is known of {ref!r} {looked}{why}",
        hint="give a notebook, run, MODEL/VERSION, commit or digest (7 digits or more), "
        "pull request (#3) or pod label (key=value)",
    )
