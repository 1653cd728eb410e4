"""Kubeflow's own MLflow plugin: a run for each pipeline run, and one below it for each task.

It speaks to the tracking server as the real one does, and like it never keeps a pipeline from
running: what cannot be recorded is left out.
"""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.dev.kubeflow.options import Json
    from mlops_nb.dev.kubeflow.records import Run

_API = "/api/2.0/mlflow"
_SECONDS = 30.0
_NAME = "mlflow"
_PARENT = "mlflow.parentRunId"
_RUN_VARIABLE = "MLFLOW_RUN_ID"
_ENDS = {"SUCCEEDED": "FINISHED", "FAILED": "FAILED", "CANCELED": "KILLED"}


class MlflowPlugin:
    """The plugin of one server.

    Args:
        uri: the tracking server; empty turns the plugin off.
        experiment: where runs go that ask for no other one.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._uri = uri
        self._experiment = experiment

    def begin(self, run: Run) -> None:
        """Record that a pipeline run was made, unless it asked not to be."""
        wanted = run.body.get("plugins_input", {}).get(_NAME, {})
        if not self._uri or wanted.get("disabled"):
            return
        name = wanted.get("experiment_name") or self._experiment
        entries: Json = {}
        with suppress(OSError):
            experiment = self._experiment_id(name)
            tags = {"kfp.pipeline_run_id": run.id, "kfp.pipeline_run_url": ""}
            made = self._create(experiment, run.body["display_name"], tags)
            told = {"experiment_name": name, "experiment_id": experiment, "root_run_id": made}
            entries = {key: {"value": value} for key, value in told.items()}
        state = "PLUGIN_SUCCEEDED" if entries else "PLUGIN_FAILED"
        run.body["plugins_output"] = {_NAME: {"entries": entries, "state": state}}

    def begin_task(self, run: Run, task: str) -> Mapping[str, str]:
        """Record that a task began; give what its pod finds in its environment."""
        entries = _entries(run)
        with suppress(OSError):
            if entries:
                experiment = entries["experiment_id"]
                made = self._create(experiment, task, {_PARENT: entries["root_run_id"]})
                return {
                    _RUN_VARIABLE: made,
                    "MLFLOW_TRACKING_URI": self._uri,
                    "MLFLOW_EXPERIMENT_ID": experiment,
                }
        return {}

    def end_task(self, given: Mapping[str, str], *, well: bool) -> None:
        """Record that the task with this environment ended."""
        with suppress(OSError):
            if given:
                self._end(given[_RUN_VARIABLE], "FINISHED" if well else "FAILED")

    def end(self, run: Run) -> None:
        """Record that a pipeline run ended, and with it whatever is still open below."""
        self._close(run, _ENDS.get(run.state, "FAILED"), open_ones="RUNNING")

    def reopen(self, run: Run) -> None:
        """Record that a pipeline run goes on."""
        self._close(run, "RUNNING", open_ones="FAILED")

    def _close(self, run: Run, status: str, open_ones: str) -> None:
        entries = _entries(run)
        with suppress(OSError):
            if entries:
                self._end(entries["root_run_id"], status)
                wanted = {
                    "experiment_ids": [entries["experiment_id"]],
                    "filter": f"tags.\"{_PARENT}\" = '{entries['root_run_id']}'",
                }
                for child in self._ask("runs/search", wanted).get("runs", []):
                    if child["info"]["status"] == open_ones:
                        self._end(child["info"]["run_id"], status)

    def _experiment_id(self, name: str) -> str:
        everything = {"max_results": 1, "filter": f"name = '{name}'"}
        found = self._ask("experiments/search", everything).get("experiments", [])
        if found:
            return str(found[0]["experiment_id"])
        return str(self._ask("experiments/create", {"name": name})["experiment_id"])

    def _create(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        body = {
            "experiment_id": experiment,
            "run_name": name,
            "start_time": _now(),
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        return str(self._ask("runs/create", body)["run"]["info"]["run_id"])

    def _end(self, run_id: str, status: str) -> None:
        times = {} if status == "RUNNING" else {"end_time": _now()}
        self._ask("runs/update", {"run_id": run_id, "status": status, **times})

    def _ask(self, what: str, body: Json) -> Json:
        request = urllib.request.Request(  # noqa: S310  # a tracking server's address
            f"{self._uri}{_API}/{what}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310  # as above
            return dict(json.load(answer))


def _entries(run: Run) -> dict[str, str]:
    told = run.body.get("plugins_output", {}).get(_NAME, {}).get("entries", {})
    return {key: entry["value"] for key, entry in told.items()}


def _now() -> int:
    return int(time.time() * 1000)
