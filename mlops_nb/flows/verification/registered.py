"""A proposed version held against the registry: its facts, its metrics, its gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlops_nb.core.change import LockFile
from mlops_nb.core.evidence import Change, Evidence, evidence_of
from mlops_nb.core.gate import Verdict
from mlops_nb.core.model import ModelRef, ModelVersion
from mlops_nb.errors import NotFound
from mlops_nb.flows.verification.findings import (
    differing,
    failed,
    is_same,
    other_metric,
    passed,
    same_digest,
)
from mlops_nb.manifests.lock import record_of
from mlops_nb.ports import Registry
from mlops_nb.statistics.comparison import CHAMPION, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.core.run import Run
    from mlops_nb.core.verification import Finding

# What a record has of the request alone.
_ASKED = {"tracking_uri", "requested_by", "evidence"}
# What is compared number by number, or elsewhere.
_APART = {"verdict", "metrics", "beside", "lock", "previous", "environment"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What the registry is asked of a proposed version.

    Args:
        lock: its record.
        evidence: what speaks for it.
        change: what it changes.
        live: record of what base runs; None if nothing.
        registry: where models and runs are kept.
        judge: judges a version's run by gates, and records nothing.
        gates: gates besides those of the evidence and of its run.
        tracking_uri: tracking server of the registry, free of credentials.
        again: what to do where the registry has something else.
    """

    lock: LockFile
    evidence: Evidence
    change: Change
    live: LockFile | None
    registry: Registry
    judge: Callable[[ModelVersion, Sequence[str]], Verdict]
    gates: Sequence[str]
    tracking_uri: str
    again: str

    def verified(self) -> tuple[list[Finding], Verdict | None]:
        """Give the findings, and the gates judged anew.

        Raises:
            BackendError: if the registry does not answer.
        """
        try:
            version = self.registry.resolve(
                ModelRef(name=self.lock.model, version=self.lock.version)
            )
            run = self.registry.find(version.tracking_id)
        except NotFound as error:
            return [failed("registry", error.message, self.again)], None
        verdict = self._judged(version, run)
        found = [
            same_digest(self.lock, version),
            *self._facts(version, run),
            self._told(version, run),
            self._gates(verdict),
        ]
        return found, verdict

    def _facts(self, version: ModelVersion, run: Run) -> Iterator[Finding]:
        """Refuse what the record says otherwise than the registry, or must not say."""
        lock, live, environment = self.lock, self.live, self.evidence.environment
        told = record_of(version, run, environment, self.evidence.verdict)
        told = replace(told, previous=_previous(lock, self.evidence.previous))
        if odd := differing(lock, told, without=_ASKED):
            yield failed("registry", f"{odd}, says the registry", self.again)
        if lock.tracking_uri not in {self.tracking_uri, live.tracking_uri if live else ""}:
            yield failed(
                "registry",
                f"pods would ask {lock.tracking_uri}, this asks {self.tracking_uri}",
                "name the tracking server as deployments do: MLFLOW_TRACKING_URI",
            )
        if version.uses_pickle and not environment.allow_pickle:
            yield failed(
                "registry",
                f"{version} runs pickled code when it is loaded; {lock.environment} does not "
                "allow that",
                "log it as ONNX or skops, or set allow_pickle = true and deploy it again",
            )

    def _told(self, version: ModelVersion, run: Run) -> Finding:
        """Put the evidence together anew, and hold what is told against it."""
        evidence = self.evidence
        champion = next((b.version for b in evidence.beside if CHAMPION in b.role), "")
        now = evidence_of(
            version,
            run,
            lock=self.lock,
            previous=evidence.previous,
            environment=evidence.environment,
            verdict=evidence.verdict,
            showing=shown(
                version,
                evidence.verdict,
                registry=self.registry,
                live=evidence.previous,
                champion=champion,
            ),
            change=self.change,
        )
        pairs = [(evidence.metrics, now.metrics)]
        for mine, theirs in zip(evidence.beside, now.beside, strict=False):
            pairs += [(mine.metrics, theirs.metrics), (mine.differences, theirs.differences)]
        odd = next((odd for mine, theirs in pairs if (odd := other_metric(mine, theirs))), "")
        if not odd and len(evidence.beside) != len(now.beside):
            odd = f"{len(now.beside)} versions to compare with, not {len(evidence.beside)}"
        if odd := odd or differing(evidence, now, without=_APART):
            return failed("metrics", f"{odd}, says the registry", self.again)
        return passed("metrics", f"all {len(evidence.metrics)} are as the registry has them")

    def _judged(self, version: ModelVersion, run: Run) -> Verdict:
        """Judge by every gate that is known, whoever set it."""
        before = [check.gate for check in run.verdict.checks] if run.verdict else []
        gates = dict.fromkeys(
            (
                *(check.gate for check in self.evidence.verdict.checks),
                *(gate for gate, _ in self.lock.gates),
                *before,
                *self.evidence.environment.gates,
                *self.gates,
            )
        )
        return self.judge(version, list(gates)) if gates else Verdict(checks=())

    def _gates(self, verdict: Verdict) -> Finding:
        if not verdict.checks:
            return passed("gates", "none is set: nothing was judged")
        if not verdict.passed:
            why = "; ".join(check.reason for check in verdict.refused if check.reason)
            return failed("gates", f"{verdict.refusal}: {why}", "train a better one")
        told = {check.gate: check for check in self.evidence.verdict.checks}
        for check in verdict.checks:
            then = told.get(check.gate)
            # Against another champion the interval is another.
            if then is None or then.baseline != check.baseline:
                continue
            if not is_same(then.value, check.value):
                return failed(
                    "gates",
                    f"{check.gate}: judged anew the value is {check.value}, not {then.value}",
                    self.again,
                )
        count = len(verdict.checks)
        return passed("gates", f"{count} of {count} pass, judged anew")


def _previous(lock: LockFile, replaced: LockFile | None) -> int:
    """Give the version that a record is to name as the one before."""
    if replaced is None:
        return 0
    # The same version again, by another plan, still replaces the one before it.
    same = (replaced.version, replaced.digest) == (lock.version, lock.digest)
    return replaced.previous if same else replaced.version
