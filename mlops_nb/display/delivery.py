"""Models and what became of them as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.delivery import Deployed, Deployment, Merged
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.results import (
    DeploymentHistory,
    ModelList,
)
from mlops_nb.display.evidence import readable
from mlops_nb.display.plain import text, when
from mlops_nb.display.tables import table, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL_HEADINGS = ("model", "aliases", "flavor", "run", "registered", "digest")


def model_rows(versions: Sequence[ModelVersion]) -> list[tuple[str, ...]]:
    """Give one row a version."""
    return [
        (
            str(v),
            " ".join(f"@{alias}" for alias in v.aliases),
            v.flavor + (" (pickle)" if v.uses_pickle else ""),
            v.run,
            when(v.created),
            v.digest[:19],
        )
        for v in versions
    ]


@text.register(ModelVersion)
def _(value: ModelVersion) -> str:
    return table(MODEL_HEADINGS, model_rows([value]))


@text.register(ModelList)
def _(value: ModelList) -> str:
    if not value.versions:
        return "no models; register one: mlops register RUN --name NAME"
    return table(MODEL_HEADINGS, model_rows(value.versions))


@text.register(DeploymentHistory)
def _(value: DeploymentHistory) -> str:
    if not value.deployments:
        return "nothing was deployed yet; propose something: mlops deploy MODEL --to ENV"
    rows = deployed_rows(value.deployments)
    # A terminal has no room for a column of each.
    shown = [(*row[:2], " ".join(row[2:5]), *row[5:-1]) for row in rows]
    headings = (*DEPLOYED_HEADINGS[:2], "what", *DEPLOYED_HEADINGS[5:-1])
    said = [table(headings, shown)]
    for deployed, row in zip(value.deployments, shown, strict=True):
        if why := deployed.reason:
            said.append(wrap(why, first=f"{deployed.commit[:8]} {row[2]}: ", indent="    "))
    return "\n".join(said)


DEPLOYED_HEADINGS = (
    "when",
    "env",
    "action",
    "model",
    "version",
    "asked by",
    "merged by",
    "run",
    "data",
    "PR",
    "commit",
    "why",
)


def deployed_rows(deployed: Sequence[Deployed]) -> list[tuple[str, ...]]:
    """Give one row a deployment."""
    return [
        (
            when(d.when),
            d.environment,
            d.action,
            d.model,
            _versions(d),
            person(d.requested_by),
            person(d.merged_by),
            d.lock.run if d.lock else "",
            "; ".join(f"{name} {digest[:14]}" for name, digest, _uri in d.lock.datasets)
            if d.lock
            else "",
            f"#{d.pull_request}" if d.pull_request else "",
            d.commit[:8],
            d.reason,
        )
        for d in deployed
    ]


def _versions(deployed: Deployed) -> str:
    """Give the versions before and after; the one alone where there is no other."""
    numbers = (deployed.previous, deployed.version)
    return " → ".join(str(number) for number in numbers if number)


def person(told: str) -> str:
    """Give the name of `Name <mail>`; the mail is in Git and in the JSON."""
    return told.partition(" <")[0]


@text.register(Merged)
def _(value: Merged) -> str:
    head = f"✔ {merged_how(value)}: {value.pull_request.title}"
    said = "\n  ".join([head, *merged_what(value)])
    if value.has_cluster:
        said += f"\nnext: {watch_line(value.model, value.environment)}"
    return said


def merged_how(value: Merged) -> str:
    """Say whether a pull request was merged now."""
    number = value.pull_request.number
    return (
        f"merged #{number}" if value.pull_request.is_changed else f"#{number} was merged before"
    )


def merged_what(value: Merged) -> list[str]:
    """Say what became of the environment and the registry by a merge, a line each."""
    said = []
    if value.version:
        said.append(f"{value.model} in {value.environment} is now version {value.version}")
    if value.alias:
        said.append(f"{value.model}@{value.alias} → {value.model}/{value.version}")
    if value.later_alias:
        said.append(
            f"{value.model}@{value.later_alias} follows once it has all of the traffic: "
            "mlops follow"
        )
    return said


def watch_line(model: str, environment: str) -> str:
    """Give the line that shows how a deployment goes on."""
    return f"mlops status {model} --env {environment} --watch"


@text.register(Deployment)
def _(value: Deployment) -> str:
    where = f"{value.version} → {value.environment.name}"
    if value.is_noop:
        return f"{where}: nothing to change, it is what Git says already"
    if value.pull_request is None:
        said = f"{where}: dry run, nothing was written\n\n{readable(value.body)}"
        return f"{said}\n\n{value.diff}" if value.diff else said
    pull = value.pull_request
    how = "opened" if pull.is_new else ("updated" if pull.is_changed else "is open already")
    told = "".join(f"\n  note: {note}" for note in pull.notes)
    return (
        f"✔ pull request #{pull.number} {how}: {pull.title}\n  {pull.url}{told}\n\n"
        f"{readable(value.body)}\n\nnext: {after_merge(value)}"
    )


def after_merge(value: Deployment) -> str:
    """Give the lines that bring a proposal further."""
    pull = value.pull_request
    merge = f"mlops merge {pull.number}" if pull else ""
    if not value.environment.has_cluster:
        return merge
    return f"{merge}, then {watch_line(value.version.name, value.environment.name)}"
