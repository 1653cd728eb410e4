"""DORA's four figures of software delivery, of models.

The names and what they mean are those of https://dora.dev/guides/dora-metrics-four-keys/.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING

from mlops_nb.core.delivery import Deployed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

_WEEK = 7 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long something took.

    Args:
        count: how many of them are known.
        median: seconds; None where there is none.
    """

    count: int = 0
    median: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dora:
    """The four figures of one model in one environment, or of all together.

    Args:
        model: the model; empty for all.
        environment: the environment; empty for all.
        deployments: merged deployments; rollbacks are none.
        per_week: deployment frequency: deployments a week, over the whole time looked at.
        lead_time: lead time for changes: from the registration of a version, the moment it
            could be deployed, to the merge that first brought it here.
        failed: deployments that were rolled back, or whose canary was aborted.
        fail_rate: change fail rate: their share of the deployments; None without any.
        recovery: failed deployment recovery time: from a failed deployment's merge to the merge
            that took it back or replaced it.
        unrecovered: failed deployments that Git still says.
    """

    model: str = ""
    environment: str = ""
    deployments: int = 0
    per_week: float = 0.0
    lead_time: Times = Times()
    failed: int = 0
    fail_rate: float | None = None
    recovery: Times = Times()
    unrecovered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DoraReport:
    """The four figures.

    Args:
        since: from when on deployments count.
        until: until when.
        rows: one for each model and environment.
        total: of all rows together.
        notes: what could not be asked.
    """

    since: datetime
    until: datetime
    rows: tuple[Dora, ...]
    total: Dora
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A deployment, and what became of it."""

    deployed: Deployed
    lead: float | None
    failed: bool
    recovery: float | None


def figures(
    deployed: Iterable[Deployed],
    *,
    since: datetime,
    until: datetime,
    registered: Mapping[tuple[str, int], datetime],
    aborted: Collection[tuple[str, str, int]],
    notes: Sequence[str] = (),
) -> DoraReport:
    """Give the four figures.

    Args:
        deployed: what base records, newest first, from its beginning on.
        since: from when on deployments count.
        until: now.
        registered: when versions were registered, by model and version.
        aborted: model, environment and version of each that the cluster aborted last.
        notes: what could not be asked.
    """
    places: Mapping[tuple[str, str], list[Deployed]] = defaultdict(list)
    for each in deployed:
        places[each.model, each.environment].insert(0, each)
    weeks = max((until - since).total_seconds(), 1.0) / _WEEK
    rows, every = [], []
    for (model, environment), story in sorted(places.items()):
        found = [
            outcome
            for outcome in _outcomes(story, registered, aborted)
            if outcome.deployed.when >= since
        ]
        if found:
            rows.append(_figures(found, weeks, model, environment))
        every += found
    return DoraReport(
        since=since,
        until=until,
        rows=tuple(rows),
        total=_figures(every, weeks),
        notes=tuple(notes),
    )


def _outcomes(
    story: Sequence[Deployed],
    registered: Mapping[tuple[str, int], datetime],
    aborted: Collection[tuple[str, str, int]],
) -> Sequence[_Outcome]:
    """Tell what became of each deployment to one place; the story is oldest first."""
    taken_back: dict[int, float] = {}
    newest: dict[int, int] = {}
    for place, each in enumerate(story):
        if each.action == "deploy":
            newest[each.version] = place
        elif each.action == "rollback" and (bad := newest.get(each.previous)) is not None:
            taken_back.setdefault(bad, (each.when - story[bad].when).total_seconds())
    found = []
    brought: set[int] = set()
    for place, each in enumerate(story):
        if each.action != "deploy":
            continue
        recovery = taken_back.get(place)
        key = (each.model, each.environment, each.version)
        is_aborted = newest[each.version] == place and key in aborted
        if recovery is None and is_aborted and place + 1 < len(story):
            recovery = (story[place + 1].when - each.when).total_seconds()
        made = registered.get((each.model, each.version))
        is_first = each.version not in brought
        brought.add(each.version)
        found.append(
            _Outcome(
                deployed=each,
                lead=max((each.when - made).total_seconds(), 0.0)
                if made and is_first
                else None,
                failed=place in taken_back or is_aborted,
                recovery=recovery,
            )
        )
    return found


def _figures(
    found: Sequence[_Outcome], weeks: float, model: str = "", environment: str = ""
) -> Dora:
    failed = [outcome for outcome in found if outcome.failed]
    recoveries = [o.recovery for o in failed if o.recovery is not None]
    return Dora(
        model=model,
        environment=environment,
        deployments=len(found),
        per_week=len(found) / weeks,
        lead_time=_times([o.lead for o in found if o.lead is not None]),
        failed=len(failed),
        fail_rate=len(failed) / len(found) if found else None,
        recovery=_times(recoveries),
        unrecovered=len(failed) - len(recoveries),
    )


def _times(seconds: Sequence[float]) -> Times:
    return Times(count=len(seconds), median=median(seconds) if seconds else None)
