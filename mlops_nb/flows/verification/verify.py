"""Verify a pull request of the GitOps repository before people merge it: for its CI."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from mlops_nb.core.change import evidence_path, lock_path, overlay_path, read_overlay_path
from mlops_nb.core.delivery import Environment
from mlops_nb.core.evidence import Change, Evidence, without_ways
from mlops_nb.core.gate import Verdict
from mlops_nb.core.model import ModelRef, ModelVersion
from mlops_nb.core.settings import Settings
from mlops_nb.core.verification import Finding, Verification, VerifiedDeployment
from mlops_nb.errors import MlopsError, NotFound, UserError
from mlops_nb.flows.verification.findings import (
    differing,
    failed,
    is_same_record,
    named,
    passed,
    same_digest,
)
from mlops_nb.flows.verification.registered import Registered
from mlops_nb.manifests.lock import broken_seal, read_lock
from mlops_nb.manifests.proposed import contradiction, foreign_change, noop_trouble
from mlops_nb.manifests.security import ways_out
from mlops_nb.manifests.servers import fitted
from mlops_nb.ports import Proposal, Registry
from mlops_nb.redaction import strip_userinfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.verbs import VerifyPr

_RESTORE = "restore the files from the commit that deployed the version, or deploy it again"
_ALONE = "propose it in a pull request of its own"


def verify(
    verb: VerifyPr,
    *,
    proposal: Proposal,
    registry: Callable[[], Registry],
    judge: Callable[[ModelVersion, Sequence[str]], Verdict],
    read: Callable[[bytes], Evidence],
    settings: Settings,
    tracking_uri: str,
) -> Verification:
    """Hold a change against its evidence, its record, base and the registry.

    Args:
        verb: the request.
        proposal: the change.
        registry: gives the place where models and runs are kept; not called where nothing is
            to be asked of it.
        judge: judges a version's run by gates, and records nothing.
        read: reads the file of the evidence.
        settings: what mlops.toml says, where there is one.
        tracking_uri: tracking server of the registry.

    Raises:
        UserError: if the registry is needed, but not named.
        BackendError: if it does not answer.
    """
    changed = proposal.changed()
    places = sorted({about for path in changed if (about := read_overlay_path(path))})
    deployments, accounted = [], set[str]()
    for model, place in places:
        overlay = _Overlay(
            proposal=proposal,
            model=model,
            place=place,
            before=_files(proposal, proposal.start, model, place),
            after=_files(proposal, proposal.head, model, place),
            paths=frozenset(path for path in changed if _is_of(path, model, place)),
        )
        accounted |= overlay.paths
        deployments.append(
            _Verifier(
                overlay=overlay,
                registry=registry,
                judge=judge,
                read=read,
                settings=settings,
                gates=verb.gates,
                tracking_uri=strip_userinfo(tracking_uri),
            ).verified()
        )
    verification = Verification(
        base=proposal.base,
        head=proposal.head,
        passed=True,
        deployments=tuple(deployments),
        findings=tuple(_others(deployments, sorted(set(changed) - accounted))),
    )
    return replace(verification, passed=all(f.passed for f in verification.every))


def _files(proposal: Proposal, commit: str, model: str, place: str) -> Mapping[str, bytes]:
    folders = (f"models/{model}", f"clusters/{place}")
    return {p: text for folder in folders for p, text in proposal.read(commit, folder).items()}


def _is_of(path: str, model: str, place: str) -> bool:
    """Tell whether a deployment may write a file."""
    folders = (f"models/{model}/base", f"clusters/{place}/", f"{overlay_path(model, place)}/")
    return path.startswith(folders)


def _others(
    deployments: Sequence[VerifiedDeployment], paths: Sequence[str]
) -> Iterator[Finding]:
    """Refuse what comes along with a deployment, unseen by its evidence."""
    if paths and any(d.action in {"deploy", "rollback"} for d in deployments):
        named = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        yield Finding(
            check="files",
            passed=False,
            detail=f"{named}: part of no deployment, so no evidence speaks for it",
            hint=_ALONE,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overlay:
    """A model in an environment, before and after the change.

    Args:
        proposal: the change.
        model: the model.
        place: the environment.
        before: files of the model and the cluster where the change began, by path.
        after: the same as proposed.
        paths: those that the change touches.
    """

    proposal: Proposal
    model: str
    place: str
    before: Mapping[str, bytes]
    after: Mapping[str, bytes]
    paths: frozenset[str]

    @property
    def record(self) -> str:
        return lock_path(self.model, self.place)

    @property
    def again(self) -> str:
        return (
            f"propose it anew: mlops deploy {self.model}/VERSION --to {self.place}, or "
            f"mlops rollback {self.model} --env {self.place}"
        )

    def live(self) -> LockFile | None:
        """Give the record that base has now; None if there is none that can be read."""
        files = self.proposal.read(self.proposal.base, overlay_path(self.model, self.place))
        return self._readable(files)

    def began_from(self) -> LockFile | None:
        """Give the record that base had when the change began, likewise."""
        return self._readable(self.before)

    def _readable(self, files: Mapping[str, bytes]) -> LockFile | None:
        try:
            return read_lock(files[self.record]) if self.record in files else None
        except UserError:
            return None

    def stood(self) -> Iterator[str]:
        """Yield the commits of base that had the record which is proposed."""
        if self.before.get(self.record) != self.after.get(self.record):
            for commit in self.proposal.stood(self.record):
                if self.proposal.is_as(commit, [self.record]):
                    yield commit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verifier:
    overlay: _Overlay
    registry: Callable[[], Registry]
    judge: Callable[[ModelVersion, Sequence[str]], Verdict]
    read: Callable[[bytes], Evidence]
    settings: Settings
    gates: Sequence[str]
    tracking_uri: str

    def verified(self) -> VerifiedDeployment:
        overlay = self.overlay
        live = overlay.live()
        done = VerifiedDeployment(
            model=overlay.model,
            environment=overlay.place,
            action="remove",
            previous=live.version if live else 0,
        )
        content = overlay.after.get(overlay.record)
        if content is None:
            return replace(done, findings=(self._removed(),))
        try:
            lock = read_lock(content, overlay.record)
        except UserError as error:
            finding = failed("record", error.message, error.hint)
            return replace(done, action="unreadable", findings=(finding,))
        done = replace(done, version=lock.version)
        sealed, evidence = self._evidence(lock)
        done = replace(done, evidence=evidence)
        first = (self._record(lock), *sealed)
        if overlay.before.get(overlay.record) == content:
            edited = self._edited(lock, evidence)
            return replace(done, action="edit", findings=(*first, edited))
        is_new = evidence is not None and is_same_record(evidence.previous, live)
        if not is_new and (then := next(overlay.stood(), "")):
            findings = (*first, self._base(live), *self._returned(lock, evidence, then))
            return replace(done, action="rollback", findings=findings)
        findings, verdict = self._deployed(lock, evidence, live)
        return replace(done, action="deploy", findings=(*first, *findings), verdict=verdict)

    def _removed(self) -> Finding:
        folder = overlay_path(self.overlay.model, self.overlay.place)
        left = sorted(path for path in self.overlay.after if path.startswith(f"{folder}/"))
        if not left:
            return passed("record", "the overlay is removed as a whole")
        return failed(
            "record",
            f"{self.overlay.record} is removed, but {left[0]} is there",
            "remove the whole folder to have nothing run there, or restore the record",
        )

    def _record(self, lock: LockFile) -> Finding:
        said = f"{lock.model} in {lock.environment}"
        if (lock.model, lock.environment) == (self.overlay.model, self.overlay.place):
            return passed("record", f"{said}: version {lock.version}")
        return failed("record", f"{self.overlay.record} is of {said}", _RESTORE)

    def _evidence(self, lock: LockFile) -> tuple[tuple[Finding, ...], Evidence | None]:
        path = evidence_path(self.overlay.model, self.overlay.place)
        content = self.overlay.after.get(path)
        if content is None and not lock.evidence:
            # Nothing speaks for it; a deployment is refused for it, an older record is not.
            return (), None
        if wrong := broken_seal(lock, content):
            return (failed("evidence", f"{wrong}: it was edited by hand", _RESTORE),), None
        try:
            evidence = self.read(content or b"")
        except UserError as error:
            return (failed("evidence", f"{path}: {error.message}", _RESTORE),), None
        if odd := differing(evidence.lock, replace(lock, evidence="")):
            told = f"{path} is of another record: {odd}"
            return (failed("evidence", told, _RESTORE),), None
        told = f"{lock.evidence[:19]}…, as the record names it"
        return (passed("evidence", told),), evidence

    def _edited(self, lock: LockFile, evidence: Evidence | None) -> Finding:
        files = self.overlay.after
        wrong = contradiction(lock, files)
        if not wrong and evidence is not None and evidence.environment.target == "kserve":
            wrong = noop_trouble(lock, evidence, files)
        if wrong:
            return failed("manifests", wrong, _RESTORE)
        return passed("manifests", "edited, but they run what the record says")

    def _base(self, live: LockFile | None) -> Finding:
        """Tell whether base is still what the change began from."""
        then = self.overlay.began_from()
        if is_same_record(then, live):
            return passed("base", f"still runs {named(live)}")
        told = f"stale: it runs {named(live)} now, {named(then)} when this began"
        return failed("base", told, self.overlay.again)

    def _returned(
        self, lock: LockFile, evidence: Evidence | None, then: str
    ) -> Iterator[Finding]:
        yield self._restored(lock, evidence, then)
        try:
            found = self.registry().resolve(ModelRef(name=lock.model, version=lock.version))
        except NotFound as error:
            yield failed("registry", error.message, "go further back: mlops rollback --to N")
        except MlopsError as error:
            # The way back is needed most when things are down.
            yield passed("registry", f"could not be asked: {error.message}")
        else:
            yield same_digest(lock, found)

    def _restored(self, lock: LockFile, evidence: Evidence | None, then: str) -> Finding:
        overlay = self.overlay
        for commit in overlay.stood():
            if overlay.proposal.is_as(commit, overlay.paths):
                return passed("manifests", f"as they stood on base at {commit[:12]}")
        if evidence is None:
            wrong = f"the record is that of {then[:12]}, other files are not"
        else:
            wrong = foreign_change(lock, evidence, overlay.before, overlay.after, overlay.paths)
        if wrong:
            return failed("manifests", wrong, _RESTORE)
        return passed("manifests", f"the record of {then[:12]}, rendered into later edits")

    def _deployed(
        self, lock: LockFile, evidence: Evidence | None, live: LockFile | None
    ) -> tuple[tuple[Finding, ...], Verdict | None]:
        found = [self._base(live)]
        if evidence is None:
            if not lock.evidence:
                found.append(failed("evidence", "the record names none", self.overlay.again))
            return tuple(found), None
        if not is_same_record(evidence.previous, live):
            told = f"compares with {named(evidence.previous)}, base runs {named(live)}"
            if odd := evidence.previous and live and differing(evidence.previous, live):
                told += f" ({odd})"
            found[0] = failed("base", f"stale: the evidence {told}", self.overlay.again)
        overlay = self.overlay
        if wrong := foreign_change(
            lock, evidence, overlay.before, overlay.after, overlay.paths
        ):
            found.append(failed("manifests", wrong, f"{_ALONE}, or deploy again"))
        else:
            count = len(overlay.paths)
            found.append(passed("manifests", f"{count} files are what the record renders"))
        registered, verdict = Registered(
            lock=lock,
            evidence=evidence,
            change=_change(overlay, lock, evidence),
            live=live,
            registry=self.registry(),
            judge=self.judge,
            gates=(*self.settings.gates.get(lock.model, ()), *self.gates),
            tracking_uri=self.tracking_uri,
            again=self.overlay.again,
        ).verified()
        return (*found, *self._settled(evidence, lock), *registered), verdict

    def _settled(self, evidence: Evidence, lock: LockFile) -> Iterator[Finding]:
        """Hold the environment of the evidence against mlops.toml, where there is one."""
        wanted = self.settings.environments.get(self.overlay.place)
        if wanted is None:
            return
        told = evidence.environment
        plan = replace(wanted.canary, weights=told.canary.weights)
        try:
            wanted = fitted(
                without_ways(replace(wanted, canary=plan)),
                _version(lock, evidence),
                self.overlay.before,
            )
        except UserError as error:
            yield failed("settings", error.message, error.hint)
            return
        odd = [
            f.name
            for f in fields(Environment)
            if getattr(told, f.name) != getattr(wanted, f.name)
        ]
        if odd:
            name = odd[0]
            yield failed(
                "settings",
                f"{name} is {getattr(told, name)!r}, mlops.toml says {getattr(wanted, name)!r}",
                self.overlay.again,
            )
        else:
            yield passed("settings", "the environment is as mlops.toml says")


def _version(lock: LockFile, evidence: Evidence) -> ModelVersion:
    return ModelVersion(name=lock.model, version=lock.version, flavor=evidence.security.flavor)


def _change(overlay: _Overlay, lock: LockFile, evidence: Evidence) -> Change:
    where = (lock.model, evidence.environment)
    return Change(
        files={path: overlay.after[path] for path in overlay.paths & set(overlay.after)},
        ways_out=ways_out(*where, overlay.after),
        ways_out_before=ways_out(*where, overlay.before) if evidence.previous else (),
    )
