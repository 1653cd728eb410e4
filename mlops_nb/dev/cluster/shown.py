"""Rollouts and ReplicaSets as the Kubernetes API shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.dev.cluster.clock import stamp
from mlops_nb.dev.cluster.rollout import REVISION, TEMPLATE, short_hash

if TYPE_CHECKING:
    from mlops_nb.dev.cluster.rollout import LiveRollout, ReplicaSet

Json = dict[str, Any]


def rollout_json(rollout: LiveRollout) -> Json:
    """Give a Rollout."""
    revision = str(rollout.sets[rollout.current].revision)
    return {
        **rollout.manifest,
        "metadata": {
            **rollout.manifest["metadata"],
            "namespace": rollout.namespace,
            "uid": rollout.uid,
            "creationTimestamp": rollout.created,
            "generation": rollout.generation,
            "resourceVersion": str(rollout.version),
            "annotations": {**rollout.annotations, REVISION: revision},
        },
        "status": _status(rollout),
    }


def phase_of(rollout: LiveRollout) -> tuple[str, str]:
    """Give where it stands and why, as CalculateRolloutPhase of Argo Rollouts does."""
    if rollout.is_aborted:
        return "Degraded", f"RolloutAborted: {rollout.why}"
    if rollout.spec.get("paused"):
        return "Paused", "manually paused"
    for pause in rollout.status.get("pauseConditions") or []:
        return "Paused", pause["reason"]
    if not rollout.stable:
        return "Progressing", "more replicas need to be updated"
    if rollout.current != rollout.stable:
        return "Progressing", rollout.note or "waiting for all steps to complete"
    return "Healthy", ""


def replica_set_json(rollout: LiveRollout, replica_set: ReplicaSet) -> Json:
    """Give one of its ReplicaSets."""
    metadata = replica_set.template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), TEMPLATE: replica_set.hash}
    is_canary = replica_set.hash == rollout.current and not rollout.is_aborted
    is_up = is_canary or replica_set.hash == rollout.stable
    replicas = _replicas(rollout) if is_up else 0
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{rollout.name}-{replica_set.hash}",
            "namespace": rollout.namespace,
            "uid": replica_set.uid,
            "creationTimestamp": replica_set.created,
            "labels": labels,
            "annotations": {**replica_set.annotations, REVISION: str(replica_set.revision)},
            "ownerReferences": [rollout.owner],
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {**replica_set.template, "metadata": {**metadata, "labels": labels}},
        },
        "status": {"replicas": replicas, "readyReplicas": replicas},
    }


def _replicas(rollout: LiveRollout) -> int:
    return int(rollout.spec.get("replicas", 1))


def _status(rollout: LiveRollout) -> Json:
    phase, message = phase_of(rollout)
    replicas, weight = _replicas(rollout), int(rollout.status.get("weight", 0))
    is_moving = rollout.current != rollout.stable and not rollout.is_aborted
    canary = -(-replicas * weight // 100) if is_moving else 0
    serving = replicas if rollout.stable else 0
    status: Json = {
        "HPAReplicas": replicas + canary,
        "availableReplicas": serving + canary,
        "blueGreen": {},
        "canary": _canary(rollout, weight),
        "conditions": [_condition(rollout, phase, message)],
        "currentPodHash": rollout.current,
        "currentStepHash": short_hash(rollout.steps),
        "currentStepIndex": rollout.step,
        "observedGeneration": str(rollout.generation),
        "phase": phase,
        "readyReplicas": serving + canary,
        "replicas": replicas + canary,
        "selector": ",".join(
            f"{key}={value}" for key, value in rollout.spec["selector"]["matchLabels"].items()
        ),
        "updatedReplicas": canary if is_moving else serving,
    }
    if rollout.stable:
        status["stableRS"] = rollout.stable
    if message:
        status["message"] = message
    for key in ("abort", "abortedAt", "controllerPause", "pauseConditions", "promoteFull"):
        if rollout.status.get(key):
            status[key] = rollout.status[key]
    return status


def _canary(rollout: LiveRollout, weight: int) -> Json:
    canary: Json = {}
    if rollout.canary.get("trafficRouting"):
        canary["weights"] = {
            "canary": {
                "podTemplateHash": rollout.current,
                "serviceName": rollout.canary.get("canaryService", ""),
                "weight": weight,
            },
            "stable": {
                "podTemplateHash": rollout.stable or rollout.current,
                "serviceName": rollout.canary.get("stableService", ""),
                "weight": 100 - weight,
            },
        }
    for key, run in (
        ("currentStepAnalysisRunStatus", rollout.step_run),
        ("currentBackgroundAnalysisRunStatus", rollout.background),
    ):
        if run is not None:
            canary[key] = {"name": run.name, "status": str(run.phase)}
            if run.message:
                canary[key]["message"] = run.message
    return canary


def _condition(rollout: LiveRollout, phase: str, message: str) -> Json:
    reasons = {"Degraded": "RolloutAborted", "Paused": "RolloutPaused"}
    return {
        "lastTransitionTime": rollout.created,
        "lastUpdateTime": stamp(),
        "message": message.removeprefix("RolloutAborted: ") or "Rollout is healthy",
        "reason": reasons.get(phase, "NewReplicaSetAvailable"),
        "status": "False" if phase == "Degraded" else "True",
        "type": "Progressing",
    }
