"""What was found of a pull request as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.verification import Finding, Verification, VerifiedDeployment, Workflow
from mlops_nb.display.plain import text
from mlops_nb.display.tables import wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

FINDING_HEADINGS = ("", "what was checked", "what was found")


def finding_rows(findings: tuple[Finding, ...]) -> list[tuple[str, ...]]:
    """Give one row a finding."""
    return [
        (
            "✔" if found.passed else "✘",
            found.check,
            found.detail + (f"\n→ {found.hint}" if found.hint else ""),
        )
        for found in findings
    ]


def headline(value: Verification) -> str:
    """Say in a line whether a pull request may be merged."""
    if not value.deployments:
        return "✔ passed: it touches no deployment"
    refused = [found for found in value.every if not found.passed]
    if refused:
        return f"✘ refused: {len(refused)} of {len(value.every)} checks did not pass"
    return f"✔ passed: {len(value.every)} checks"


def subject(deployment: VerifiedDeployment) -> str:
    """Say in a line what a change does to a model in an environment."""
    numbers = (deployment.previous, deployment.version)
    versions = " → ".join(str(number or "nothing") for number in numbers)
    return f"{deployment.model} in {deployment.environment}: {deployment.action}, {versions}"


@text.register(Verification)
def _(value: Verification) -> str:
    lines = [line for deployment in value.deployments for line in _deployment(deployment)]
    lines += [line for found in value.findings for line in _finding(found)]
    return "\n".join([*lines, headline(value)])


@text.register(Workflow)
def _(value: Workflow) -> str:
    return value.content.removesuffix("\n")


def _deployment(deployment: VerifiedDeployment) -> Iterator[str]:
    yield subject(deployment)
    for found in deployment.findings:
        yield from _finding(found)


def _finding(found: Finding) -> Iterator[str]:
    mark = "✔" if found.passed else "✘"
    yield wrap(found.detail, first=f"  {mark} {found.check:<10}", indent=" " * 14)
    if found.hint:
        yield wrap(found.hint, first=" " * 14 + "→ ", indent=" " * 16)
