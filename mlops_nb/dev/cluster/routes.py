"""Which path is answered with what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_nb.core.rollout import Operation
from mlops_nb.dev.cluster.refusal import Refusal
from mlops_nb.dev.cluster.shown import phase_of, replica_set_json, rollout_json
from mlops_nb.dev.kubeflow.kube import label_selector
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.dev.cluster.applications import Application
    from mlops_nb.dev.cluster.rollout import LiveRollout
    from mlops_nb.dev.cluster.server import Cluster

Json = dict[str, Any]
_MERGE = "application/merge-patch+json"
_GROUP, _VERSION = "argoproj.io", "v1alpha1"


@dataclass(frozen=True)
class Call:
    """A request: method, path, query, JSON body and its media type."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Json
    media: str


def answer(cluster: Cluster, call: Call) -> Json:
    """Answer a request.

    Raises:
        Refusal: if it cannot be answered.
    """
    parts = call.path.strip("/").split("/")
    match (call.method, *parts):
        case ("GET", "api", "version"):
            return {"Version": "v3.5.1+stand-in", "Platform": "mlops dev cluster"}
        case ("GET", "api", "v1", "session", "userinfo"):
            return {"loggedIn": True, "username": "rehearsal", "iss": "argocd"}
        case ("GET", "api", "v1", "applications"):
            return {"metadata": {}, "items": [a.json() for a in _all(cluster)]}
        case (_, "api", "v1", "applications", name, *rest):
            project = call.query.get("project", "") or str(call.body.get("project", ""))
            application = _application(cluster, name, project)
            return _argocd(cluster, call, application, rest)
        case ("GET", "version"):
            return {"major": "1", "minor": "33", "gitVersion": "v1.33.0-stand-in"}
        case (_, "apis", group, version, "namespaces", namespace, plural, *rest):
            if (group, version) not in {(_GROUP, _VERSION), ("apps", "v1")}:
                raise Refusal(404, f"the server could not find {group}/{version}")
            return _kubernetes(cluster, call, namespace, plural, rest)
        case ("POST", "dev", "metrics", model):
            try:
                cluster.chosen.choose(model, str(call.body.get("metrics", "")))
            except UserError as error:
                raise Refusal(400, f"{error.message}; {error.hint}") from None
            return {}
        case _:
            raise Refusal(404, "Not Found")


def _all(cluster: Cluster) -> Sequence[Application]:
    return list(cluster.applications.all.values())


def _application(cluster: Cluster, name: str, project: str) -> Application:
    found = cluster.applications.all.get(name)
    if found is not None and project in {"", found.project}:
        return found
    if not project:
        # Argo CD does not tell who named no project whether it exists.
        raise Refusal(403, "permission denied")
    raise Refusal(404, f'applications.argoproj.io "{name}" not found')


def _argocd(
    cluster: Cluster, call: Call, application: Application, rest: Sequence[str]
) -> Json:
    match (call.method, *rest):
        case ("GET",):
            if call.query.get("refresh"):
                cluster.applications.follow()
            return application.json()
        case ("GET", "resource-tree"):
            return {"nodes": _nodes(application)}
        case ("GET", "syncwindows"):
            active, assigned = cluster.applications.windows(application)
            return {
                "activeWindows": [_window(each) for each in active],
                "assignedWindows": [_window(each) for each in assigned],
                "canSync": cluster.applications.can_sync(application),
            }
        case ("GET", "resource"):
            found = _resource(application, call.query)
            return {"manifest": json.dumps(found)}
        case ("GET", "resource", "actions"):
            _resource(application, call.query)
            return {"actions": _actions(_rollout(application))}
        case ("POST", "resource", "actions", "v2"):
            _resource(application, call.body)
            _act(cluster, _rollout(application), str(call.body.get("action", "")))
            return {}
        case _:
            raise Refusal(404, "Not Found")


def _window(window: Json) -> Json:
    return {
        "kind": window["kind"],
        "schedule": window["schedule"],
        "duration": window["duration"],
        "manualSync": bool(window.get("manualSync")),
    }


def _nodes(application: Application) -> list[Json]:
    nodes = [_node(resource) for resource in application.live]
    rollout = application.rollout
    if rollout is None:
        return nodes
    parent = {
        "group": _GROUP,
        "kind": "Rollout",
        "namespace": rollout.namespace,
        "name": rollout.name,
        "uid": rollout.uid,
    }
    for node in nodes:
        if node["kind"] == "Rollout":
            health, message = application.health
            node["health"] = {"status": health, **({"message": message} if message else {})}
    children = [replica_set_json(rollout, each) for each in rollout.sets.values()]
    children += [run.json() for run in rollout.runs]
    return [*nodes, *(_node(child, parent) for child in children)]


def _node(resource: Json, parent: Json | None = None) -> Json:
    group, _, version = resource["apiVersion"].rpartition("/")
    metadata = resource["metadata"]
    node: Json = {"version": version, "kind": resource["kind"], "name": metadata["name"]}
    if group:
        node["group"] = group
    for key, name in (
        ("namespace", "namespace"), ("uid", "uid"), ("createdAt", "creationTimestamp"),
    ):  # fmt: skip
        if name in metadata:
            node[key] = metadata[name]
    if parent:
        node["parentRefs"] = [parent]
    return node


def _resource(application: Application, query: Mapping[str, Any]) -> Json:
    """Give the live resource that a query names."""
    kind, name = query.get("kind"), query.get("resourceName")
    for resource in _live(application):
        if (resource["kind"], resource["metadata"]["name"]) == (kind, name):
            return resource
    raise Refusal(
        400,
        f"{kind} {query.get('group')} {name} not found as part of application "
        f"{application.name}",
    )


def _live(application: Application) -> list[Json]:
    rollout = application.rollout
    if rollout is None:
        return application.live
    others = [r for r in application.live if r["kind"] != "Rollout"]
    sets = [replica_set_json(rollout, each) for each in rollout.sets.values()]
    return [rollout_json(rollout), *sets, *(run.json() for run in rollout.runs), *others]


def _rollout(application: Application) -> LiveRollout:
    if application.rollout is None:
        raise Refusal(400, f"{application.name} has no Rollout")
    return application.rollout


def _actions(rollout: LiveRollout) -> list[Json]:
    """Give what may be done, as actions/discovery.lua of Argo CD's Rollout does."""
    is_done, is_aborted = rollout.current == rollout.stable, rollout.is_aborted
    is_paused = phase_of(rollout)[0] == "Paused"
    disabled = {
        Operation.ABORT: is_done or is_aborted,
        Operation.PROMOTE_FULL: is_done,
        Operation.RESUME: not is_paused,
        Operation.RETRY: is_done or not is_aborted,
        Operation.SKIP_STEP: is_done,
    }
    return [{"name": str(name), "disabled": off} for name, off in disabled.items()]


def _act(cluster: Cluster, rollout: LiveRollout, action: str) -> None:
    """Do an action as its action.lua does."""
    now = cluster.clock.now()
    step = min(rollout.step + 1, len(rollout.steps))
    skipped = {"pauseConditions": None, "controllerPause": False, "currentStepIndex": step}
    statuses: dict[str, Json] = {
        Operation.ABORT: {"abort": True},
        Operation.PROMOTE_FULL: {"promoteFull": True},
        Operation.RESUME: {"pauseConditions": None},
        Operation.RETRY: {"abort": None},
        Operation.SKIP_STEP: skipped,
    }
    if action not in statuses:
        raise Refusal(400, f"built-in script does not exist for action {action!r}")
    rollout.patch({"status": statuses[action]}, is_status=True, now=now)
    if action == Operation.RESUME and rollout.spec.get("paused"):
        rollout.patch({"spec": {"paused": False}}, is_status=False, now=now)


def _kubernetes(
    cluster: Cluster, call: Call, namespace: str, plural: str, rest: Sequence[str]
) -> Json:
    if plural == "applications" and namespace == "argocd" and rest:
        for application in _all(cluster):
            if application.name == rest[0]:
                return application.json()
    mine = [r for r in cluster.applications.rollouts() if r.namespace == namespace]
    found = _objects(plural, mine)
    if not rest:
        fits = label_selector(call.query.get("labelSelector", ""))
        items = [o for o in found if fits(o["metadata"].get("labels") or {})]
        kind = {"replicasets": "ReplicaSet", "rollouts": "Rollout"}.get(plural, "AnalysisRun")
        version = "apps/v1" if kind == "ReplicaSet" else f"{_GROUP}/{_VERSION}"
        return {
            "apiVersion": version,
            "kind": f"{kind}List",
            "metadata": {"resourceVersion": "1"},
            "items": items,
        }
    named = [o for o in found if o["metadata"]["name"] == rest[0]]
    if not named:
        raise Refusal(404, f'{plural} "{rest[0]}" not found')
    if call.method == "GET":
        return named[0]
    if plural != "rollouts" or call.method != "PATCH":
        raise Refusal(403, f"{call.method} of {plural} is not played here")
    if call.media != _MERGE:
        # A custom resource knows no strategic merge.
        raise Refusal(415, f"the body of the request was in an unknown format: {call.media}")
    [rollout] = [r for r in mine if r.name == rest[0]]
    is_status = list(rest[1:]) == ["status"]
    rollout.patch(call.body, is_status=is_status, now=cluster.clock.now())
    return rollout_json(rollout)


def _objects(plural: str, rollouts: Sequence[LiveRollout]) -> list[Json]:
    if plural == "rollouts":
        return [rollout_json(rollout) for rollout in rollouts]
    if plural == "analysisruns":
        return [run.json() for rollout in rollouts for run in rollout.runs]
    if plural == "replicasets":
        return [replica_set_json(r, each) for r in rollouts for each in r.sets.values()]
    raise Refusal(404, f"the server could not find the requested resource: {plural}")
