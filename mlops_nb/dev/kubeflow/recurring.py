"""Recurring runs: kept, shown, and started when they are due."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
import uuid
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow import fields, schedule
from mlops_nb.dev.kubeflow.clock import stamp
from mlops_nb.dev.kubeflow.ir import arguments
from mlops_nb.dev.kubeflow.listing import Shape, page
from mlops_nb.dev.kubeflow.records import FINAL, node_id
from mlops_nb.dev.kubeflow.refusal import Refusal, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.dev.kubeflow.access import Access
    from mlops_nb.dev.kubeflow.engine import Engine
    from mlops_nb.dev.kubeflow.options import Json
    from mlops_nb.dev.kubeflow.runs import Runs
    from mlops_nb.dev.kubeflow.state import Store

_KIND = "recurring"
_TICK = 0.25
_SHAPE = Shape(
    # The one list of the API whose name is not in snake_case.
    "recurringRuns",
    "recurring_run_id",
    {
        "id": "recurring_run_id",
        "name": "display_name",
        "display_name": "display_name",
        "created_at": "created_at",
        "updated_at": "updated_at",
        "status": "status",
    },
)
_UNFIT = re.compile(r"[^a-z0-9]+")


class Recurring:
    """The recurring runs of the server."""

    def __init__(
        self, store: Store, runs: Runs, engine: Engine, access: Access, zone: str
    ) -> None:
        self._store = store
        self._runs = runs
        self._engine = engine
        self._access = access
        self._zone = zone

    def create(self, given: Json) -> Json:
        """Make a recurring run."""
        body = fields.read(given, fields.RECURRING_RUN)
        if not fields.text(body, "display_name"):
            raise invalid("The recurring run name is empty. Please specify a valid name")
        concurrency = str(body.get("max_concurrency", ""))
        if not concurrency.isdigit() or not 1 <= int(concurrency) <= 10:
            text = f"Supports 1-10. Received {concurrency or 0}"
            raise invalid(f"The max concurrency of the job is out of range. {text}")
        schedule.check(body.get("trigger", {}))
        mode = body.get("mode", "MODE_UNSPECIFIED")
        if mode not in {"ENABLE", "DISABLE"}:
            raise invalid(f"mode is {mode}; it must be ENABLE or DISABLE")
        experiment = self._runs.experiment(fields.text(body, "experiment_id"))
        manifest, reference = self._runs.manifest(body)
        config = body.get("runtime_config", {})
        arguments(manifest, config.get("parameters") or {})
        now = time.time()
        kept = fields.without_empty(
            {
                **{name: value for name, value in body.items() if name != "namespace"},
                **({} if "pipeline_version_reference" in body else reference),
                "recurring_run_id": str(uuid.uuid4()),
                "experiment_id": experiment["experiment_id"],
                "namespace": experiment.get("namespace", ""),
                "runtime_config": fields.without_empty(config),
                "max_concurrency": concurrency,
                "trigger": _trigger(body["trigger"]),
                "service_account": fields.text(body, "service_account") or "pipeline-runner",
                "created_at": stamp(now),
                "updated_at": stamp(now),
                "status": "ENABLED" if mode == "ENABLE" else "DISABLED",
            }
        )
        slug = _UNFIT.sub("-", kept["display_name"].lower()).strip("-")[:30] or "schedule"
        record = {"body": kept, "name": f"{slug}-{secrets.token_hex(3)[:5]}"}
        self._save({**record, "last": now, "index": 0})
        return kept

    def _save(self, record: Json) -> None:
        self._store.put(_KIND, record["body"]["recurring_run_id"], record)

    def _record(self, recurring_run_id: str) -> Json:
        record = self._store.get(_KIND, recurring_run_id)
        if record is None:
            raise not_found("RecurringRun", recurring_run_id)
        self._access.check(record["body"].get("namespace", ""))
        return record

    def get(self, recurring_run_id: str) -> Json:
        """Give a recurring run."""
        return dict(self._record(recurring_run_id)["body"])

    def list(self, query: Mapping[str, str]) -> Json:
        """Give a page of the recurring runs of an experiment or a namespace."""
        experiment = query.get("experiment_id", "")
        bodies = [record["body"] for record in self._store.all(_KIND)]
        if experiment:
            bodies = [body for body in bodies if body["experiment_id"] == experiment]
        else:
            namespace = self._access.namespace(query.get("namespace", ""))
            bodies = [body for body in bodies if body.get("namespace", "") == namespace]
        return page(_SHAPE, bodies, query)

    def switch(self, recurring_run_id: str, mode: str) -> None:
        """Enable or disable a recurring run."""
        record = self._record(recurring_run_id)
        record["body"]["mode"] = mode
        record["body"]["status"] = "ENABLED" if mode == "ENABLE" else "DISABLED"
        record["body"]["updated_at"] = stamp(time.time())
        self._save(record)

    def delete(self, recurring_run_id: str) -> None:
        """Forget a recurring run; the runs that it started stay."""
        self._record(recurring_run_id)
        self._store.delete(_KIND, recurring_run_id)

    async def watch(self, report: Callable[[str], None]) -> None:
        """Start what is due, for ever."""
        while True:
            await asyncio.sleep(_TICK)
            for record in self._store.all(_KIND):
                if record["body"]["status"] == "ENABLED":
                    try:
                        self._start_if_due(record, time.time())
                    except Refusal as refusal:
                        report(f"{record['name']}: {refusal}")

    def _start_if_due(self, record: Json, now: float) -> None:
        body = record["body"]
        catchup = not body.get("no_catchup", False)
        moment = schedule.due(body["trigger"], record["last"], now, self._zone, catchup=catchup)
        active = [
            run
            for run in self._engine.all()
            if run.body.get("recurring_run_id") == body["recurring_run_id"]
            and run.state not in FINAL
        ]
        if moment > now or len(active) >= int(body["max_concurrency"]):
            return
        index = record["index"] + 1
        self._save({**record, "last": moment, "index": index})
        config = dict(body.get("runtime_config", {}))
        given = config.get("parameters") or {}
        config["parameters"] = schedule.filled(given, moment, now, index, record["name"])
        name = node_id(f"{record['name']}-{index}", f"{record['name']}-{index}-")
        wanted = {
            name: body[name]
            for name in ("pipeline_spec", "pipeline_version_reference", "service_account")
            if name in body
        }
        wanted |= {"display_name": name, "recurring_run_id": body["recurring_run_id"]}
        experiment = self._runs.experiment(body["experiment_id"])
        self._runs.start({**wanted, "runtime_config": config}, experiment, scheduled=moment)


def _trigger(given: Json) -> Json:
    """Write a trigger as the API does: 64-bit numbers are strings."""
    period = given.get("periodic_schedule")
    if period:
        return {
            "periodic_schedule": {**period, "interval_second": str(period["interval_second"])}
        }
    return given
