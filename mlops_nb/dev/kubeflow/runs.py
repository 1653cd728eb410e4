"""Runs as the API shows them."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow import fields
from mlops_nb.dev.kubeflow.clock import NEVER_FINISHED, stamp
from mlops_nb.dev.kubeflow.ir import arguments, manifest_of, spec_field
from mlops_nb.dev.kubeflow.listing import Shape, page
from mlops_nb.dev.kubeflow.records import Run
from mlops_nb.dev.kubeflow.refusal import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.dev.kubeflow.access import Access
    from mlops_nb.dev.kubeflow.engine import Engine
    from mlops_nb.dev.kubeflow.experiments import Experiments
    from mlops_nb.dev.kubeflow.options import Json
    from mlops_nb.dev.kubeflow.pipelines import Pipelines

_SHAPE = Shape(
    "runs",
    "run_id",
    {
        "run_id": "run_id",
        "name": "display_name",
        "display_name": "display_name",
        "created_at": "created_at",
        "finished_at": "finished_at",
        "scheduled_at": "scheduled_at",
        "state": "state",
        "storage_state": "storage_state",
        "experiment_id": "experiment_id",
        "service_account": "service_account",
    },
)
_UNFIT = re.compile(r"[^a-z0-9-]+")


class Runs:
    """The runs of the server."""

    def __init__(
        self,
        engine: Engine,
        experiments: Experiments,
        pipelines: Pipelines,
        access: Access,
    ) -> None:
        self._engine = engine
        self._experiments = experiments
        self._pipelines = pipelines
        self._access = access

    def create(self, given: Json, query: Mapping[str, str]) -> Json:
        """Start a run."""
        body = fields.read(given, fields.RUN)
        if not fields.text(body, "display_name"):
            raise invalid("The run name is empty. Please specify a valid name")
        named = fields.text(body, "experiment_id") or query.get("experiment_id", "")
        return self.start(body, self.experiment(named), scheduled=0.0)

    def experiment(self, named: str) -> Json:
        """Give the experiment of a new run."""
        if named:
            return self._experiments.get(named)
        return self._experiments.default(self._access.namespace(""))

    def manifest(self, body: Json) -> tuple[Json, Json]:
        """Give the pipeline of a run, and the fields with which the API refers to it."""
        if "pipeline_spec" in body:
            return manifest_of(body["pipeline_spec"]), {}
        reference = body.get("pipeline_version_reference", {})
        if not reference and "pipeline_version_id" in body:
            reference = {"pipeline_version_id": body["pipeline_version_id"]}
        version = self._pipelines.referred(reference)
        told = {
            "pipeline_version_reference": {
                "pipeline_id": version["pipeline_id"],
                "pipeline_version_id": version["pipeline_version_id"],
            }
        }
        return manifest_of(version["pipeline_spec"]), told

    def start(self, given: Json, experiment: Json, *, scheduled: float) -> Json:
        """Start a run that was asked for, or that is due."""
        manifest, reference = self.manifest(given)
        config = given.get("runtime_config", {})
        parameters = arguments(manifest, config.get("parameters") or {})
        now = time.time()
        body = {
            "experiment_id": experiment["experiment_id"],
            "run_id": str(uuid.uuid4()),
            "display_name": given["display_name"],
            "storage_state": "AVAILABLE",
            "description": fields.text(given, "description"),
            **reference,
            "runtime_config": fields.without_empty(config),
            "service_account": fields.text(given, "service_account") or "pipeline-runner",
            "created_at": stamp(now),
            "scheduled_at": stamp(scheduled or now),
            "finished_at": NEVER_FINISHED,
            "recurring_run_id": fields.text(given, "recurring_run_id"),
            "plugins_input": given.get("plugins_input", {}),
            "state": "PENDING",
            "state_history": [{"update_time": stamp(now), "state": "PENDING"}],
        }
        name = _UNFIT.sub("-", manifest["pipeline_spec"]["pipelineInfo"]["name"].lower())[:30]
        run = Run(
            body=fields.without_empty(body),
            manifest=manifest,
            inline=not reference,
            parameters=parameters,
            workflow=f"{name.strip('-') or 'run'}-{secrets.token_hex(3)[:5]}",
            namespace=self._access.where_pods_live(experiment.get("namespace", "")),
        )
        self._engine.start(run)
        self._experiments.touch(experiment["experiment_id"], stamp(now))
        return self.shown(run)

    def shown(self, run: Run) -> Json:
        """Write a run as the API does."""
        body = dict(run.body)
        if run.inline:
            body["pipeline_spec"] = spec_field(run.manifest)
        if run.nodes:
            details = [node.task_detail(run.id) for node in run.nodes.values()]
            body["run_details"] = {"task_details": details}
        return body

    def find(self, run_id: str) -> Run:
        """Give a run that the caller may see."""
        run = self._engine.find(run_id)
        self._access.check(run.namespace)
        return run

    def list(self, query: Mapping[str, str]) -> Json:
        """Give a page of the runs of an experiment or a namespace."""
        experiment = query.get("experiment_id", "")
        runs = self._engine.all()
        if experiment:
            self._experiments.get(experiment)
            runs = [run for run in runs if run.body["experiment_id"] == experiment]
        elif self._access.multi_user:
            namespace = self._access.namespace(query.get("namespace", ""))
            runs = [run for run in runs if run.namespace == namespace]
        return page(_SHAPE, [self.shown(run) for run in runs], query)

    def do(self, run_id: str, verb: str) -> None:
        """Terminate, retry, archive or unarchive a run."""
        run = self.find(run_id)
        match verb:
            case "terminate":
                self._engine.terminate(run_id)
            case "retry":
                self._engine.retry(run_id)
            case "archive" | "unarchive":
                run.body["storage_state"] = "ARCHIVED" if verb == "archive" else "AVAILABLE"
                self._engine.save(run)
            case _:
                raise invalid(f"no such verb: {verb}")

    def delete(self, run_id: str) -> None:
        """Forget a run, and stop it if it is under way."""
        self.find(run_id)
        self._engine.delete(run_id)
