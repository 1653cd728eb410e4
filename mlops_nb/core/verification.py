"""What was found of a change to the GitOps repository, before people merge it."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_nb.core.evidence import Evidence
from mlops_nb.core.gate import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was checked.

    Args:
        check: what: record, evidence, manifests, base, registry, metrics, gates, or files.
        passed: whether it is as it should be.
        detail: what was found, with the value.
        hint: the one thing to do next; empty if it passed.
    """

    check: str
    passed: bool
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedDeployment:
    """What a change does to a model in an environment, and whether it holds.

    Args:
        model: the model.
        environment: the environment.
        action: deploy, rollback (it restores what stood on base before), edit (the record stays
            as it is), remove, or unreadable.
        previous: version that base has; 0 for none.
        version: version it would have; 0 for none.
        findings: what was checked.
        verdict: the gates, judged anew; null where none were.
        evidence: what `evidence.json` says; null where it is missing or cannot be read.
    """

    model: str
    environment: str
    action: str
    previous: int = 0
    version: int = 0
    findings: tuple[Finding, ...] = ()
    verdict: Verdict | None = None
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found of a change to the GitOps repository.

    Args:
        base: commit of the branch that the cluster follows.
        head: commit that is proposed.
        passed: whether everything is as it should be.
        deployments: what it does, one for each model and environment that it touches.
        findings: what was checked of the change as a whole.
    """

    base: str
    head: str
    passed: bool
    deployments: tuple[VerifiedDeployment, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def every(self) -> tuple[Finding, ...]:
        """All findings, of the deployments and of the change as a whole."""
        return (*(f for d in self.deployments for f in d.findings), *self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A file that has a forge's CI verify each pull request.

    Args:
        path: where it belongs in the GitOps repository.
        content: the file.
    """

    path: str
    content: str


__all__ = ["Finding", "Verification", "VerifiedDeployment", "Workflow"]
