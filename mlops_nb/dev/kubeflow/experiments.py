"""Experiments: folders of runs."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow import fields
from mlops_nb.dev.kubeflow.clock import stamp
from mlops_nb.dev.kubeflow.listing import Shape, page
from mlops_nb.dev.kubeflow.refusal import ALREADY_EXISTS, Refusal, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.dev.kubeflow.access import Access
    from mlops_nb.dev.kubeflow.options import Json
    from mlops_nb.dev.kubeflow.state import Store

_KIND = "experiments"
_SHAPE = Shape(
    "experiments",
    "experiment_id",
    {
        "id": "experiment_id",
        "name": "display_name",
        "display_name": "display_name",
        "created_at": "created_at",
        "storage_state": "storage_state",
        "namespace": "namespace",
    },
)


class Experiments:
    """The experiments of the server; `Default` is always there when it has one user."""

    def __init__(self, store: Store, access: Access) -> None:
        self._store = store
        self._access = access
        if not access.multi_user:
            self.default("")

    def create(self, given: Json) -> Json:
        """Make an experiment."""
        body = fields.read(given, fields.EXPERIMENT)
        name = fields.text(body, "display_name")
        if not name:
            raise invalid("Experiment name is empty. Please specify a valid experiment name")
        namespace = self._access.namespace(fields.text(body, "namespace"))
        if self._named(name, namespace):
            text = f"Failed to create a new experiment. The name {name} already exists"
            raise Refusal(ALREADY_EXISTS, f"Already exist error: {text}")
        return self._make(name, namespace, fields.text(body, "description"))

    def _named(self, name: str, namespace: str) -> Json | None:
        for known in self._store.all(_KIND):
            if known["display_name"] == name and known.get("namespace", "") == namespace:
                return known
        return None

    def _make(self, name: str, namespace: str, description: str = "") -> Json:
        now = time.time()
        body = {
            "experiment_id": str(uuid.uuid4()),
            "display_name": name,
            "description": description,
            "created_at": stamp(now),
            "namespace": namespace,
            "storage_state": "AVAILABLE",
            "last_run_created_at": stamp(0),
        }
        body = fields.without_empty(body)
        self._store.put(_KIND, body["experiment_id"], body)
        return body

    def default(self, namespace: str) -> Json:
        """Give the experiment of runs that name none."""
        return self._named("Default", namespace) or self._make("Default", namespace)

    def get(self, experiment_id: str) -> Json:
        """Give an experiment."""
        found = self._store.get(_KIND, experiment_id)
        if found is None:
            raise not_found("Experiment", experiment_id)
        self._access.check(found.get("namespace", ""))
        return found

    def list(self, query: Mapping[str, str]) -> Json:
        """Give a page of the experiments of a namespace."""
        namespace = self._access.namespace(query.get("namespace", ""))
        kept = [e for e in self._store.all(_KIND) if e.get("namespace", "") == namespace]
        return page(_SHAPE, kept, query)

    def delete(self, experiment_id: str) -> None:
        """Forget an experiment."""
        self.get(experiment_id)
        self._store.delete(_KIND, experiment_id)

    def move(self, experiment_id: str, storage_state: str) -> None:
        """Archive an experiment, or bring it back."""
        body = self.get(experiment_id)
        self._store.put(_KIND, experiment_id, {**body, "storage_state": storage_state})

    def touch(self, experiment_id: str, created_at: str) -> None:
        """Note that a run was made."""
        body = self.get(experiment_id)
        self._store.put(_KIND, experiment_id, {**body, "last_run_created_at": created_at})
