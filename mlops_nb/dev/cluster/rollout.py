"""One Rollout: steps its canaries as the controller of Argo Rollouts v1.9 does.

The rules are those of rollout/canary.go, rollout/analysis.go, rollout/sync.go and
utils/rollout/rolloututil.go. Pods are not run: they are ready after a while.
"""

from __future__ import annotations

import copy
import hashlib
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_nb.core.analysis import Phase
from mlops_nb.dev.cluster.clock import stamp
from mlops_nb.dev.cluster.judging import AnalysisRun, merged_spec
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.dev.cluster.metrics import Source

Json = dict[str, Any]
TEMPLATE = "rollouts-pod-template-hash"
REVISION = "rollout.argoproj.io/revision"
_START_SECONDS = 10.0
_PASSED_OVER = "is not played by `mlops dev cluster`: it is passed over"


@dataclass
class ReplicaSet:
    """Pods of one template.

    Args:
        template: their template.
        hash: of it.
        revision: number of the update that last asked for them.
        order: number of the update that first did.
        annotations: of the rollout at that time.
        created: when that was.
        uid: its own.
    """

    template: Json
    hash: str
    revision: int
    order: int
    annotations: Json
    created: str = field(default_factory=stamp)
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))


class LiveRollout:
    """A Rollout in the cluster.

    Args:
        name: its name.
        namespace: its namespace.
        source: where measurements come from.
    """

    def __init__(self, name: str, namespace: str, source: Source) -> None:
        self.name, self.namespace = name, namespace
        self._source = source
        self.uid, self.created = str(uuid.uuid4()), stamp()
        self.manifest: Json = {}
        self._templates: Mapping[str, Json] = {}
        self.generation = self.version = 0
        self.sets: dict[str, ReplicaSet] = {}
        self.runs: list[AnalysisRun] = []
        self.current = self.stable = ""
        self.status: Json = {}
        self.step_run: AnalysisRun | None = None
        self.background: AnalysisRun | None = None
        self._ready = self._until = 0.0
        self.why = self.note = ""

    # --- what it is told -----------------------------------------------------------------

    def apply(self, manifest: Json, templates: Mapping[str, Json], now: float) -> None:
        """Take a manifest over; a changed pod template is a new version."""
        self._templates = templates
        if self.manifest.get("spec") != manifest["spec"]:
            self.generation += 1
        self.manifest = copy.deepcopy(manifest)
        self.version += 1
        template = manifest["spec"]["template"]
        digest = short_hash(template)
        if digest != self.current:
            self._update(digest, template, now)
        self.sets[digest].annotations = self.annotations

    def patch(self, patch: Json, *, is_status: bool, now: float) -> None:
        """Merge a patch into its status, or into all but that, as the API server does."""
        self.version += 1
        if not is_status:
            self.manifest = _merged(self.manifest, {**patch, "status": None})
            self.generation += 1
            return
        before = dict(self.status)
        self.status = _merged(self.status, patch.get("status") or {})
        if self.current == self.stable:
            # Nothing is under way: there is nothing to abort, retry or promote.
            self.status = before
            return
        if self.status.get("abort") and not before.get("abort"):
            self._abort("")
        elif before.get("abort") and not self.status.get("abort"):
            self._begin(now)
        elif self.step != int(before.get("currentStepIndex") or 0):
            self._end_step()

    # --- what goes on --------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Let what is due happen."""
        try:
            self._tick(now)
        except UserError as error:
            self._abort(error.message)

    def _tick(self, now: float) -> None:
        for run in (self.step_run, self.background):
            if run is not None:
                run.tick(now, self._source)
        is_over = self.current == self.stable or self.status.get("abort")
        if is_over or now < self._ready or self.spec.get("paused"):
            return
        if not self.stable or self.status.get("promoteFull") or self._is_within_window():
            self._promote()
            return
        if self.status.get("controllerPause") and not self.status.get("pauseConditions"):
            self._resume()
        self._watch_background(now)
        while not self.status.get("abort") and self._play(now):
            self.version += 1
            self._end_step()
            self.status["currentStepIndex"] = self.step + 1

    def _update(self, digest: str, template: Json, now: float) -> None:
        revision = max((s.revision for s in self.sets.values()), default=0) + 1
        if digest in self.sets:
            self.sets[digest].revision = revision
        else:
            self.sets[digest] = ReplicaSet(
                template, digest, revision, revision, self.annotations
            )
        self.current = digest
        self._begin(now)
        if digest == self.stable:
            # Back to what serves: no step is played.
            self.status.update(currentStepIndex=len(self.steps))

    def _begin(self, now: float) -> None:
        """Start the update over: from its first step, with nothing to be held against it."""
        self._end_runs()
        self.why = ""
        self.status = {"currentStepIndex": 0, "weight": 0}
        seconds = self.spec.get("minReadySeconds", 0) + _START_SECONDS
        self._ready = now + seconds

    def _play(self, now: float) -> bool:
        """Do what the current step says; tell whether it is over."""
        if self.status.get("pauseConditions"):
            return False
        steps = self.steps
        if self.step >= len(steps):
            self._promote()
            return False
        step = steps[self.step]
        if "setWeight" in step:
            self.status["weight"] = int(step["setWeight"])
            return True
        if "pause" in step:
            return self._pause(step["pause"] or {}, now)
        if "analysis" in step:
            return self._analyse(step["analysis"], now)
        self.note = f"step {', '.join(step)} {_PASSED_OVER}"
        return True

    def _resume(self) -> None:
        """Go on after a pause that somebody took away; what had no verdict is measured again.

        The rules are completedPauseStep of rollout/canary.go and needsNewAnalysisRun of
        rollout/analysis.go.
        """
        del self.status["controllerPause"]
        if self.step_run is not None and self.step_run.phase is Phase.INCONCLUSIVE:
            self.step_run = None
        if self.background is not None and self.background.phase is Phase.INCONCLUSIVE:
            self.background = None
        if self.step < len(self.steps) and "pause" in self.steps[self.step]:
            self._end_step()
            self.status["currentStepIndex"] = self.step + 1

    def _pause(self, pause: Json, now: float) -> bool:
        if "duration" not in pause:
            self._hold("CanaryPauseStep")
            return False
        if not self._until:
            self._until = now + _seconds(pause["duration"])
        return now >= self._until

    def _analyse(self, analysis: Json, now: float) -> bool:
        run = self.step_run
        if run is None:
            self.step_run = self._run(analysis, f"{self.step}", "Step", now)
            return False
        if run.phase is Phase.INCONCLUSIVE:
            self._hold("InconclusiveAnalysis")
        if run.phase in {Phase.FAILED, Phase.ERROR}:
            self._abort(f"Step-based analysis phase error/failed: {run.message}")
        return run.phase is Phase.SUCCESSFUL

    def _watch_background(self, now: float) -> None:
        analysis = self.canary.get("analysis")
        if not analysis or self.step < int(analysis.get("startingStep") or 0):
            return
        run = self.background
        if run is None:
            self.background = self._run(analysis, "", "Background", now)
        elif run.phase in {Phase.FAILED, Phase.ERROR}:
            self._abort(f"Background analysis phase error/failed: {run.message}")
        elif run.phase is Phase.INCONCLUSIVE and not self.status.get("pauseConditions"):
            self._hold("InconclusiveAnalysis")

    def _run(self, analysis: Json, infix: str, kind: str, now: float) -> AnalysisRun:
        revision = self.sets[self.current].revision
        name = "-".join(p for p in (self.name, self.current, str(revision), infix) if p)
        again = sum(run.name.partition(".")[0] == name for run in self.runs)
        labels = {"rollout-type": kind, TEMPLATE: self.current}
        if infix:
            labels["step-index"] = infix
        metadata: Json = {
            "name": f"{name}.{again}" if again else name,
            "namespace": self.namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": stamp(),
            "labels": labels,
            "annotations": {REVISION: str(revision)},
            "ownerReferences": [self.owner],
        }
        wanted = [each["templateName"] for each in analysis.get("templates") or []]
        lacking = [each for each in wanted if each not in self._templates]
        args = [self._argument(arg) for arg in analysis.get("args") or []]
        spec = merged_spec(
            [self._templates[each]["spec"] for each in wanted if each not in lacking],
            args,
            analysis,
        )
        if lacking:
            raise UserError(f"there is no AnalysisTemplate {', '.join(lacking)}")
        run = AnalysisRun(metadata, spec, self.name, now)
        self.runs.append(run)
        return run

    def _argument(self, arg: Json) -> Json:
        which = (arg.get("valueFrom") or {}).get("podTemplateHashValue")
        if which is None:
            return arg
        value = self.current if which == "Latest" else self.stable
        return {"name": arg["name"], "value": value}

    def _hold(self, reason: str) -> None:
        self.version += 1
        self.status["pauseConditions"] = [{"reason": reason, "startTime": stamp()}]
        self.status["controllerPause"] = True

    def _abort(self, why: str) -> None:
        self.version += 1
        self._end_runs(keep_last=True)
        revision = self.sets[self.current].revision
        self.why = f"Rollout aborted update to revision {revision}{f': {why}' if why else ''}"
        self.status = {
            "abort": True,
            "abortedAt": stamp(),
            "currentStepIndex": 0,
            "weight": 0,
        }

    def _promote(self) -> None:
        self.version += 1
        self._end_runs()
        self.stable, self.why = self.current, ""
        self.status = {"currentStepIndex": len(self.steps), "weight": 0}

    def _end_step(self) -> None:
        self._until = 0.0
        if self.step_run is not None:
            self.step_run.terminate()
            self.step_run = None

    def _end_runs(self, *, keep_last: bool = False) -> None:
        for run in (self.step_run, self.background):
            if run is not None:
                run.terminate()
        self._until = 0.0
        if not keep_last:
            self.step_run = self.background = None

    def _is_within_window(self) -> bool:
        """Whether this is the return to a template that not too many updates have replaced.

        The rule is isRollbackWithinWindow of rollout/sync.go.
        """
        window = int((self.spec.get("rollbackWindow") or {}).get("revisions") or 0)
        wanted, stable = self.sets[self.current], self.sets[self.stable]
        if not window or wanted.order >= stable.order:
            return False
        between = [s for s in self.sets.values() if wanted.order < s.order < stable.order]
        return len(between) < window

    # --- what others look at -------------------------------------------------------------

    @property
    def spec(self) -> Json:
        """Its spec."""
        return dict(self.manifest["spec"])

    @property
    def canary(self) -> Json:
        """How it is to step a canary."""
        return dict(self.spec.get("strategy", {}).get("canary") or {})

    @property
    def steps(self) -> list[Json]:
        """The steps of a canary."""
        return list(self.canary.get("steps") or [])

    @property
    def step(self) -> int:
        """Number of the step that is being done, from 0."""
        return int(self.status.get("currentStepIndex") or 0)

    @property
    def is_aborted(self) -> bool:
        """Whether the version wanted was given up."""
        return bool(self.status.get("abort"))

    @property
    def annotations(self) -> Json:
        """Its annotations in Git."""
        return dict(self.manifest["metadata"].get("annotations") or {})

    @property
    def owner(self) -> Json:
        """What its ReplicaSets and AnalysisRuns name as their owner."""
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def short_hash(value: object) -> str:
    """Give a hash as pod templates have one."""
    text = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:9]


def _merged(target: Json, patch: Mapping[str, Any]) -> Json:
    """Merge as RFC 7386 does."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _seconds(duration: object) -> float:
    text = str(duration)
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    return float(text[:-1]) * units[text[-1]] if text[-1] in units else float(text)
