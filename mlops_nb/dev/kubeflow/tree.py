"""The Argo nodes of a run as they come up and change."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow.records import FINAL, Node, node_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.dev.kubeflow.records import Run


class Tree:
    """The nodes of one run; a node that comes up again in a retry is the same one."""

    def __init__(self, run: Run, save: Callable[[Run], None]) -> None:
        self._run = run
        self._save = save

    def open(
        self, name: str, display: str, *, parent: str = "", state: str = "RUNNING"
    ) -> Node:
        """Bring up a node, below the one that led to it."""
        now = time.time()
        node = self._run.nodes.get(name)
        if node is None:
            identity = node_id(self._run.workflow, name)
            node = Node(identity, name, display, str(uuid.uuid4()), now)
            self._run.nodes[name] = node
            above = self._run.nodes.get(parent or self._run.workflow)
            if above and above is not node:
                above.children.append(identity)
        node.move(state, now)
        self._save(self._run)
        return node

    def move(self, name: str, state: str) -> None:
        """Change the state of a node."""
        self._run.nodes[name].move(state, time.time())
        self._save(self._run)

    def omit(self, scope: str, key: str) -> None:
        """Mark a task that will not run because one before it did not succeed."""
        for suffix in ("-driver", ""):
            self.open(f"{scope}.{key}{suffix}", f"{key}{suffix}", parent=scope, state="OMITTED")

    def parent(self, scope: str, before: list[str]) -> str:
        """Give the node that leads to a task: the end of the one before it, or its DAG."""
        for key in reversed(before):
            name = f"{scope}.{key}"
            ends = [known for known in self._run.nodes if known.startswith(f"{name}.executor")]
            if ends:
                return ends[-1]
            if name in self._run.nodes:
                return name
        return scope

    def close_all(self) -> None:
        """Fail what is still open: the run is over."""
        for node in self._run.nodes.values():
            if node.state not in FINAL and node.state != "OMITTED":
                node.move("FAILED", time.time())
