"""The Scheduler port over Kubeflow's recurring runs.

A recurring run cannot be changed, so that another one takes its place where its words change.
What it was asked for stands in its description, and cannot differ from what it does. Its record
in the tracking server holds the notebook and its files, of which each run takes a copy.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import kfp_server_api as api

from mlops_nb import wire
from mlops_nb.adapters.kubeflow.bundle import lineage_of, recorded_as
from mlops_nb.adapters.kubeflow.pipeline import compile_plan
from mlops_nb.adapters.kubeflow.states import run_state
from mlops_nb.adapters.kubeflow.submission import NAME, Submission, prepare
from mlops_nb.core.recurring import Schedule, Scheduled, ScheduleState
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.schedule import Cron, convert, run_id
from mlops_nb.errors import BackendUnavailable, Conflict, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.adapters.kubeflow.connection import Connection
    from mlops_nb.core.verbs import Job
    from mlops_nb.ports import Registry, Surroundings

_BY = "by mlops-nb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What stands in the description of a recurring run, and of a pipeline's version.

    Args:
        request: the words.
        fingerprint: of the notebook.
        record: MLflow id of the schedule's record.
        pipeline: digest of the pipeline.
    """

    request: Schedule
    fingerprint: str
    record: str
    pipeline: str

    @classmethod
    def read(cls, description: str | None) -> Order | None:
        """Read a description; None if it is somebody else's."""
        head, _, told = (description or "").partition("\n")
        if not head.endswith(_BY):
            return None
        with suppress(UserError):
            return wire.loads(cls, told)
        return None

    def __str__(self) -> str:
        """Give the description: a line for people, and one to be read again."""
        request = self.request
        when = f"{Cron.parse(request.cron)} {request.timezone}"
        return f"{Path(request.notebook).name} {when}, {_BY}\n{wire.dumps(self)}"


class KubeflowSchedules:
    """Schedules of a project as recurring runs.

    Args:
        project: settings with profiles and [kubeflow], the tracking server.
        connection: the Kubeflow Pipelines server.
    """

    def __init__(self, project: Surroundings, connection: Connection) -> None:
        self._project = project
        self._settings = project.settings
        self._kubeflow = connection

    @property
    def _registry(self) -> Registry:
        return self._project.registry

    def put(self, schedule: Schedule, job: Job, notebook: bytes, fingerprint: str) -> Scheduled:
        """Make the schedule, or make the one of its name this one; it stays paused if it is."""
        cron = convert(
            Cron.parse(schedule.cron),
            schedule.timezone,
            self._settings.kubeflow.timezone,
            datetime.now(UTC),
        )
        job = replace(job, placement=replace(job.placement, on=NAME))
        made = prepare(job, notebook, self._project)
        made = replace(made, plan=made.plan.fresh())
        known = self._named(schedule.name)
        order = Order(
            request=schedule,
            fingerprint=fingerprint,
            record=self._record(job, made, is_known=bool(known)),
            pipeline=hashlib.sha256(compile_plan(made.plan).encode()).hexdigest()[:12],
        )
        wanted = self._recurring(order, made, cron)
        if known and known[0].status == api.V2beta1RecurringRunStatus.DISABLED:
            wanted.mode = api.RecurringRunMode.DISABLE
        if known and self._is_as(known[0], order):
            kept = known[0]
        else:
            kept = self._kubeflow.create_recurring(
                wanted, instead_of=[each.recurring_run_id for each in known]
            )
        for each in known:
            if each.recurring_run_id != kept.recurring_run_id:
                self._kubeflow.delete_recurring(each.recurring_run_id)
        if not schedule.latest and known and known[0].pipeline_version_reference:
            self._kubeflow.delete_pipeline(known[0].pipeline_version_reference.pipeline_id)
        return _scheduled(kept, order)

    def schedules(self) -> Sequence[Scheduled]:
        """Give every schedule of the project, by name, each with its newest run."""
        newest: dict[str, tuple[str, RunState]] = {}
        experiment = self._experiment(create=False)
        runs = self._kubeflow.runs(experiment_id=experiment) if experiment else []
        for run in runs:
            newest.setdefault(str(run.recurring_run_id), (str(run.run_id), run_state(run)))
        found: dict[str, Scheduled] = {}
        for each, order in self._all():
            scheduled = _scheduled(each, order)
            if last := newest.get(scheduled.address):
                address, state = last
                scheduled = replace(
                    scheduled, last_run=run_id(scheduled.name, address), last_state=state
                )
            found.setdefault(scheduled.name, scheduled)
        return sorted(found.values(), key=lambda scheduled: scheduled.name)

    def find(self, name: str) -> Scheduled | None:
        """Give a schedule with the notebook its next run takes; None if there is none."""
        for each, order in self._all():
            if each.display_name == name:
                return _scheduled(each, self._newest_version(each) or order)
        return None

    def switch(self, name: str, *, active: bool) -> None:
        """Let a schedule start runs, or keep it from it."""
        turn = self._kubeflow.enable_recurring if active else self._kubeflow.disable_recurring
        for each in self._known(name):
            turn(each.recurring_run_id)

    def delete(self, name: str) -> None:
        """Delete a schedule and the pipeline uploaded for it; its runs stay."""
        for each in self._known(name):
            self._kubeflow.delete_recurring(each.recurring_run_id)
            if each.pipeline_version_reference:
                self._kubeflow.delete_pipeline(each.pipeline_version_reference.pipeline_id)

    def _record(self, job: Job, made: Submission, *, is_known: bool) -> str:
        """Put the notebook and its files where runs find them; give the record's MLflow id."""
        if not is_known:
            self._check_free(job.id)
        bundle, registry = made.bundle, self._registry
        run = Run(
            id=job.id,
            notebook=job.spec.notebook,
            state=RunState.SUCCEEDED,
            schedule=job.id,
            executor=NAME,
        )
        lineage = {
            **self._project.code(job.spec.notebook).tags(),
            "mlops_nb.bundle": bundle.digest,
        }
        run = registry.begin(
            run,
            {
                "mlops_nb.requested_by": job.requested_by,
                # It is no run, and not listed as one.
                "mlops_nb.managed": "schedule",
            },
        )
        registry.attach(run.tracking_id, recorded_as(bundle.digest), bundle.content)
        told = json.dumps(lineage).encode()
        registry.attach(run.tracking_id, lineage_of(bundle.digest), told)
        registry.finish(replace(run, state=RunState.SUCCEEDED), {})
        return run.tracking_id

    def _check_free(self, name: str) -> None:
        try:
            found = self._registry.find(name)
        except (NotFound, UserError):
            return
        if found.id == name and (found.address or found.executor != NAME):
            raise Conflict(
                f"there is a run {name} already", hint="give the schedule another --name"
            )

    def _recurring(self, order: Order, made: Submission, cron: Cron) -> api.V2beta1RecurringRun:
        request = order.request
        given: Mapping[str, object] = (
            {"pipeline_version_reference": self._uploaded(order, made)}
            if request.latest
            else {"pipeline_spec": made.document()}
        )
        return api.V2beta1RecurringRun(
            display_name=request.name,
            description=str(order),
            experiment_id=self._experiment(create=True),
            runtime_config=api.V2beta1RuntimeConfig(parameters={"bundle_run": order.record}),
            service_account=made.plan.service_account or None,
            max_concurrency="1",
            trigger=api.V2beta1Trigger(
                cron_schedule=api.V2beta1CronSchedule(cron=cron.six_fields)
            ),
            mode=api.RecurringRunMode.ENABLE,
            no_catchup=not request.catchup,
            **given,
        )

    def _uploaded(self, order: Order, made: Submission) -> api.V2beta1PipelineVersionReference:
        """Have the pipeline's newest version be this one; refer to the newest."""
        name = order.request.name
        with TemporaryDirectory() as folder:
            package = Path(folder) / "pipeline.yaml"
            package.write_text(compile_plan(made.plan), encoding="utf-8")
            pipeline = self._kubeflow.pipeline_named(name)
            if pipeline is None:
                with suppress(BackendUnavailable, Conflict):
                    # The answer may be lost, or somebody was quicker: it is looked for again.
                    self._kubeflow.upload_pipeline(name, package, str(order))
                pipeline = self._kubeflow.pipeline_named(name)
            if pipeline is None:
                pipeline = self._kubeflow.upload_pipeline(name, package, str(order))
            if Order.read(pipeline.description) is None:
                raise Conflict(
                    f"there is a pipeline {name} of somebody else's in Kubeflow",
                    hint="give the schedule another --name",
                )
            key = pipeline.pipeline_id
            versions = self._kubeflow.versions(key)
            # The first version has no description of its own.
            told = versions[0].description if len(versions) > 1 else pipeline.description
            newest = Order.read(told)
            if not versions or newest is None or newest.pipeline != order.pipeline:
                version = f"{name}-{len(versions) + 1}-{order.pipeline}"
                with suppress(Conflict):
                    self._kubeflow.upload_version(key, version, package, str(order))
        return api.V2beta1PipelineVersionReference(pipeline_id=key)

    def _newest_version(self, recurring: api.V2beta1RecurringRun) -> Order | None:
        """Give what the newest version of its pipeline holds; None of one without."""
        reference = recurring.pipeline_version_reference
        if not reference:
            return None
        versions = self._kubeflow.versions(reference.pipeline_id)
        return Order.read(versions[0].description) if versions else None

    def _is_as(self, known: api.V2beta1RecurringRun, order: Order) -> bool:
        """Tell whether a recurring run need not be replaced for an order."""
        before = Order.read(known.description)
        if before is None or before.request != order.request:
            return False
        # Runs of the latest version find by themselves what was uploaded.
        return order.request.latest or before == order

    def _experiment(self, *, create: bool) -> str:
        name = self._settings.kubeflow.experiment or self._settings.name
        try:
            return self._kubeflow.experiment_id(name, create=create)
        except NotFound:
            return ""

    def _all(self) -> Iterator[tuple[api.V2beta1RecurringRun, Order]]:
        """Yield the project's schedules, newest first."""
        experiment = self._experiment(create=False)
        found = self._kubeflow.recurring_runs(experiment_id=experiment) if experiment else ()
        for each in found:
            if order := Order.read(each.description):
                yield each, order

    def _named(self, name: str) -> list[api.V2beta1RecurringRun]:
        """Give the recurring runs of a name, newest first; an interrupted change leaves two."""
        return [each for each, _ in self._all() if each.display_name == name]

    def _known(self, name: str) -> list[api.V2beta1RecurringRun]:
        if found := self._named(name):
            return found
        raise NotFound(f"there is no schedule {name!r}", hint="see `mlops schedules`")


def _scheduled(recurring: api.V2beta1RecurringRun, order: Order) -> Scheduled:
    is_paused = recurring.status == api.V2beta1RecurringRunStatus.DISABLED
    return Scheduled(
        name=str(recurring.display_name),
        request=order.request,
        state=ScheduleState.PAUSED if is_paused else ScheduleState.ACTIVE,
        fingerprint=order.fingerprint,
        tracking_id=order.record,
        address=str(recurring.recurring_run_id),
    )
