"""Argo CD's part: follows the GitOps repository and brings its overlays into the cluster.

Fields are those of Argo CD's Application and of assets/swagger.json of v3.5.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mlops_nb.core.change import read_lock_path
from mlops_nb.core.delivery import Environment
from mlops_nb.dev.cluster.clock import Clock, stamp
from mlops_nb.dev.cluster.overlay import CannotBuild, build
from mlops_nb.dev.cluster.rollout import LiveRollout
from mlops_nb.dev.cluster.shown import phase_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlops_nb.dev.cluster.metrics import Source

Json = dict[str, Any]
_HISTORY = 10
_HEALTH = {
    "Healthy": "Healthy",
    "Progressing": "Progressing",
    "Paused": "Suspended",
    "Degraded": "Degraded",
}


@dataclass
class Application:
    """One overlay and what came of it.

    Args:
        model: the model.
        environment: where.
        resources: what Git says now.
        live: what was applied.
        rollout: the live rollout; None where the overlay has none.
        compared: commit it was compared with last.
        is_synced: whether what was applied is what Git says.
        history: what was applied when.
        trouble: why Git's state cannot be built; empty if it can.
    """

    model: str
    environment: Environment
    resources: list[Json] = field(default_factory=list)
    live: list[Json] = field(default_factory=list)
    rollout: LiveRollout | None = None
    compared: str = ""
    is_synced: bool = False
    history: list[Json] = field(default_factory=list)
    trouble: str = ""
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: str = field(default_factory=stamp)

    @property
    def name(self) -> str:
        """Its name, as the ApplicationSet gives it or the settings do."""
        return self.environment.application_of(self.model)

    @property
    def project(self) -> str:
        """Its project."""
        return self.environment.argocd_project

    @property
    def health(self) -> tuple[str, str]:
        """Its health and why."""
        if not self.live:
            return "Missing", ""
        if self.rollout is None:
            return "Healthy", ""
        phase, message = phase_of(self.rollout)
        return _HEALTH[phase], message

    def json(self) -> Json:
        """Give it as Argo CD does."""
        health, message = self.health
        status: Json = {
            "sync": {
                "status": "Unknown"
                if self.trouble
                else "Synced"
                if self.is_synced
                else "OutOfSync",
                "revision": self.compared,
                "comparedTo": {
                    "source": self._source(),
                    "destination": self._destination(),
                },
            },
            "health": {"status": health, **({"message": message} if message else {})},
            "history": self.history,
            "reconciledAt": stamp(),
            "sourceType": "Kustomize",
        }
        if self.trouble:
            status["conditions"] = [
                {
                    "type": "ComparisonError",
                    "message": self.trouble,
                    "lastTransitionTime": stamp(),
                }
            ]
        if self.history:
            last = self.history[-1]
            status["operationState"] = {
                "phase": "Succeeded",
                "message": "successfully synced (all tasks run)",
                "startedAt": last["deployStartedAt"],
                "finishedAt": last["deployedAt"],
                "operation": {"sync": {"revision": last["revision"]}},
                "syncResult": {"revision": last["revision"], "source": self._source()},
            }
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {
                "name": self.name,
                "namespace": "argocd",
                "uid": self.uid,
                "creationTimestamp": self.created,
            },
            "spec": {
                "project": self.project,
                "source": self._source(),
                "destination": self._destination(),
                "syncPolicy": {"automated": {"prune": True, "selfHeal": True}},
            },
            "status": status,
        }

    def synced(self, commit: str) -> None:
        """Record that what Git says at a commit is what was applied."""
        self.live, self.is_synced = self.resources, True
        number = self.history[-1]["id"] + 1 if self.history else 0
        entry = {
            "id": number,
            "revision": commit,
            "deployedAt": stamp(),
            "deployStartedAt": stamp(),
            "initiatedBy": {"automated": True},
            "source": self._source(),
        }
        self.history = [*self.history, entry][-_HISTORY:]

    def _source(self) -> Json:
        return {
            "repoURL": self.environment.repository,
            "targetRevision": "HEAD",
            "path": f"models/{self.model}/overlays/{self.environment.name}",
        }

    def _destination(self) -> Json:
        return {
            "server": "https://kubernetes.default.svc",
            "namespace": self.environment.namespace,
        }


class Applications:
    """Every application of the repository, brought to what Git says.

    Args:
        environments: the environments that the cluster follows, by name.
        read: gives every file below a folder of base, by path.
        head: gives the commit base is at.
        source: where measurements come from.
        clock: the cluster's time.
    """

    def __init__(
        self,
        environments: Mapping[str, Environment],
        *,
        read: Callable[[str], Mapping[str, bytes]],
        head: Callable[[], str],
        source: Source,
        clock: Clock,
    ) -> None:
        self._environments = environments
        self._read, self._head = read, head
        self._source, self._clock = source, clock
        self._seen = ""
        self._windows: dict[str, list[Json]] = {}
        self.all: dict[str, Application] = {}

    def follow(self) -> None:
        """Compare with Git, where it moved, and apply what the sync windows let through."""
        head = self._head()
        if head != self._seen:
            self._compare(head)
            self._seen = head
        for application in self.all.values():
            if not (application.is_synced or application.trouble) and self.can_sync(
                application
            ):
                self._sync(application, head)

    def tick(self) -> None:
        """Let every rollout go on."""
        now = self._clock.now()
        for rollout in self.rollouts():
            rollout.tick(now)

    def rollouts(self) -> Sequence[LiveRollout]:
        """Give every live rollout."""
        return [a.rollout for a in self.all.values() if a.rollout]

    def windows(self, application: Application) -> tuple[list[Json], list[Json]]:
        """Give the sync windows of an application: those open now, and all."""
        assigned = [
            window
            for window in self._windows.get(application.environment.name, [])
            if _fits(window, application)
        ]
        return [window for window in assigned if _is_open(window)], assigned

    def can_sync(self, application: Application) -> bool:
        """Tell whether its windows let it sync now: deny beats allow."""
        active, assigned = self.windows(application)
        if any(window["kind"] == "deny" for window in active):
            return False
        has_allow = any(window["kind"] == "allow" for window in assigned)
        return not has_allow or any(window["kind"] == "allow" for window in active)

    def _compare(self, head: str) -> None:
        files = dict(self._read("models"))
        for name in self._environments:
            self._windows[name] = _sync_windows(self._read(f"clusters/{name}"))
        wanted: dict[str, Application] = {}
        for path in files:
            about = read_lock_path(path)
            if about is None or about[1] not in self._environments:
                continue
            made = Application(about[0], self._environments[about[1]])
            wanted[made.name] = self.all.get(made.name, made)
        self.all = wanted
        for application in wanted.values():
            self._build(application, files, head)

    def _build(self, application: Application, files: Mapping[str, bytes], head: str) -> None:
        folder = f"models/{application.model}/overlays/{application.environment.name}"
        application.compared, application.trouble = head, ""
        try:
            application.resources = build(files, folder)
        except CannotBuild as error:
            application.trouble = f"Failed to load target state: {error}"
            return
        application.is_synced = application.resources == application.live

    def _sync(self, application: Application, head: str) -> None:
        rollouts = [r for r in application.resources if r.get("kind") == "Rollout"]
        templates = {
            r["metadata"]["name"]: r
            for r in application.resources
            if r.get("kind") == "AnalysisTemplate"
        }
        if rollouts:
            manifest = rollouts[0]
            if application.rollout is None:
                application.rollout = LiveRollout(
                    manifest["metadata"]["name"],
                    manifest["metadata"].get("namespace", application.environment.namespace),
                    self._source,
                )
            application.rollout.apply(manifest, templates, self._clock.now())
        else:
            application.rollout = None
        application.synced(head)


def _sync_windows(files: Mapping[str, bytes]) -> list[Json]:
    """Read the sync windows of an environment's AppProject."""
    found: list[Json] = []
    for content in files.values():
        try:
            documents = list(YAML(typ="safe", pure=True).load_all(content.decode()))
        except (YAMLError, UnicodeDecodeError):
            continue
        for document in documents:
            if isinstance(document, dict) and document.get("kind") == "AppProject":
                found += document.get("spec", {}).get("syncWindows") or []
    return found


def _fits(window: Json, application: Application) -> bool:
    from fnmatch import fnmatch

    namespace = application.environment.namespace
    return any(fnmatch(application.name, p) for p in window.get("applications") or []) or any(
        fnmatch(namespace, p) for p in window.get("namespaces") or []
    )


def _is_open(window: Json) -> bool:
    """Tell whether a window is open now; its schedule is read in UTC."""
    from croniter import croniter

    now = datetime.now(UTC)
    began = croniter(window["schedule"], now + timedelta(seconds=1)).get_prev(datetime)
    units = {"h": 3600, "m": 60, "s": 1}
    parts = re.findall(r"([\d.]+)([hms])", window["duration"])
    seconds = sum(float(number) * units[unit] for number, unit in parts)
    return bool(began + timedelta(seconds=seconds) > now)
