"""What is known of a run: its API fields, its Argo nodes and its pods."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from mlops_nb.dev.kubeflow.clock import NO_TIME, stamp
from mlops_nb.dev.kubeflow.options import Json

FINAL = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})


def node_id(workflow: str, name: str) -> str:
    """Give the id that Argo gives a node: the workflow's name and FNV-1a of the node's."""
    if name == workflow:
        return workflow
    value = 2166136261
    for byte in name.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return f"{workflow}-{value}"


def driver_pod(workflow: str, node: str) -> str:
    """Give the name of the pod of a driver."""
    return f"{workflow}-system-driver-{node.rpartition('-')[2]}"


@dataclass
class Node:
    """One node of the Argo workflow; the API shows each as a task."""

    id: str
    name: str
    display: str
    task_id: str
    created: float
    parent: str = ""
    state: str = "PENDING"
    finished: float = 0.0
    children: list[str] = field(default_factory=list)
    history: list[Json] = field(default_factory=list)

    def move(self, state: str, now: float) -> None:
        """Enter a state, once."""
        if state == self.state and self.history:
            return
        self.state = state
        self.history.append({"update_time": stamp(now), "state": state})
        self.finished = now if state in FINAL else 0.0

    def task_detail(self, run_id: str) -> Json:
        """Write the node as a task of the API."""
        detail: Json = {
            "run_id": run_id,
            "task_id": self.task_id,
            "display_name": self.display,
            "create_time": stamp(self.created),
            "start_time": stamp(self.created),
            "end_time": stamp(self.finished) if self.finished else NO_TIME,
        }
        if self.state != "OMITTED":
            detail["state"] = self.state
            detail["state_history"] = self.history
        if self.children:
            detail["child_tasks"] = [{"pod_name": child} for child in self.children]
        return detail


@dataclass
class Run:
    """A run.

    Args:
        body: its fields in the API, without the pipeline and the task details.
        manifest: `pipeline_spec` and `platform_spec`.
        inline: whether the manifest came with the request, so that answers repeat it.
        parameters: the parameters with the pipeline's defaults.
        workflow: the name of its Argo workflow.
        namespace: where its pods live.
        nodes: its Argo nodes by name, in the order in which they came up.
        kept: what each finished container task gave, by node name; a retry goes on from it.
    """

    body: Json
    manifest: Json
    inline: bool
    parameters: Json
    workflow: str
    namespace: str
    nodes: dict[str, Node] = field(default_factory=dict)
    kept: dict[str, Json] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Give the id of the run."""
        return str(self.body["run_id"])

    @property
    def state(self) -> str:
        """Give the state of the run."""
        return str(self.body["state"])

    def move(self, state: str, now: float) -> None:
        """Enter a state."""
        self.body["state"] = state
        self.body["state_history"] = [
            *self.body.get("state_history", []),
            {"update_time": stamp(now), "state": state},
        ]
        self.body["finished_at"] = stamp(now if state in FINAL else 0)

    def to_json(self) -> Json:
        """Write the run for the state file."""
        return asdict(self)

    @classmethod
    def of_json(cls, body: Json) -> Run:
        """Read the run from the state file."""
        nodes = {name: Node(**node) for name, node in body["nodes"].items()}
        return cls(**{**body, "nodes": nodes})


@dataclass
class Pod:
    """One pod, as far as Kubernetes tells of it."""

    name: str
    uid: str
    namespace: str
    run_id: str
    node_id: str
    node_name: str
    task: str
    image: str
    created: float
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    spec: Json = field(default_factory=dict)
    service_account: str = ""
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    scheduled: float = 0.0
    unschedulable: str = ""
    disruption: str = ""
    waiting: str = "ContainerCreating"
    waiting_message: str = ""
    started: float = 0.0
    finished: float = 0.0
    exit_code: int = -1
    exit_reason: str = ""
    process: int = 0
    events: list[Json] = field(default_factory=list)

    def tell(self, now: float, reason: str, message: str, *, warning: bool = False) -> None:
        """Record an event; the same one again only counts up."""
        kind = "Warning" if warning else "Normal"
        if self.events and self.events[-1]["message"] == message:
            self.events[-1].update(count=self.events[-1]["count"] + 1, last=now)
            return
        event = {"type": kind, "reason": reason, "message": message, "count": 1}
        self.events.append({**event, "first": now, "last": now})

    def to_json(self) -> Json:
        """Write the pod for the state file."""
        return asdict(self)
