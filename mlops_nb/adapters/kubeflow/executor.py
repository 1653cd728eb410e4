"""The Executor port over Kubeflow Pipelines: a run is a pipeline run of our runner's steps.

What a run did is in the tracking server, where its pods write it; what it is doing now is told
by Kubeflow. Nothing is kept on this machine, so any other can follow, stop and retry the run.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb import wire
from mlops_nb.adapters.kubeflow import bundle, pods
from mlops_nb.adapters.kubeflow.connection import Connection
from mlops_nb.adapters.kubeflow.credentials import credentials
from mlops_nb.adapters.kubeflow.following import Differ
from mlops_nb.adapters.kubeflow.pipeline import compile_plan
from mlops_nb.adapters.kubeflow.states import StepState, in_words, moment, run_state, steps
from mlops_nb.core.events import Note
from mlops_nb.core.pipeline import plan
from mlops_nb.core.profile import Profile, override
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.core.settings import Kubeflow
from mlops_nb.errors import BackendError, Conflict, MlopsError, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kfp_server_api import V2beta1Run

    from mlops_nb.core.data import DataSource
    from mlops_nb.core.events import Event
    from mlops_nb.core.pipeline import Plan
    from mlops_nb.core.settings import Settings
    from mlops_nb.core.verbs import Job
    from mlops_nb.ports import Registry, Surroundings

NAME = "kubeflow"
_POLL_SECONDS = 1.0
_CANCEL_SECONDS = 120.0
_LOCAL = ("", "file")
_AFTER = ("gates", "register", "deploy")


class KubeflowExecutor:
    """Submits notebooks as pipelines and keeps in touch with them.

    Args:
        project: settings with profiles and [kubeflow], the tracking server, secrets.
    """

    def __init__(self, project: Surroundings) -> None:
        self._project = project
        self._settings = project.settings

    @classmethod
    def open(cls, project: Surroundings) -> KubeflowExecutor:
        """Give the executor of a project."""
        return cls(project)

    @property
    def _registry(self) -> Registry:
        return self._project.registry

    def submit(self, job: Job, notebook: bytes) -> Run:
        """Submit the job as a pipeline run; a job whose key was submitted before gives that."""
        packed, made, profile = self._prepared(job, notebook)
        if job.key and (earlier := self._earlier(job)):
            return earlier
        code = self._project.code(job.spec.notebook)
        run = replace(job.queued(""), executor=NAME)
        run = self._registry.begin(
            run,
            {
                **code.tags(),
                "mlops_nb.requested_by": job.requested_by,
                "mlops_nb.profile": profile.name,
                "mlops_nb.bundle": packed.digest,
            },
        )
        self._registry.attach(
            run.tracking_id, bundle.recorded_as(packed.digest), packed.content
        )
        if code.diff:
            self._registry.attach(run.tracking_id, "mlops_nb/git.diff", code.diff.encode())
        try:
            address = self._create(run, made, profile)
        except MlopsError as error:
            self._registry.finish(_failed(run, error), {})
            raise
        self._registry.tag(run.tracking_id, {"mlops_nb.address": address})
        return replace(run, address=address, state=RunState.QUEUED)

    def render(self, job: Job, notebook: bytes) -> Mapping[str, str]:
        """Give the files that a submission would consist of, by name; submit nothing."""
        _, made, _ = self._prepared(job, notebook)
        return {"pipeline.yaml": compile_plan(made)}

    def _prepared(self, job: Job, notebook: bytes) -> tuple[bundle.Bundle, Plan, Profile]:
        """Check all that can be wrong with a request before anything is written."""
        kubeflow, placement = self._settings.kubeflow, job.placement
        self._check_reachable(job)
        name = placement.profile or kubeflow.profile
        profile = override(
            self._settings.profile(name) if name else Profile(name="default"),
            gpu=placement.gpu,
            memory=placement.memory,
            image=placement.image,
            cpu=placement.cpu,
        )
        packed = bundle.pack(
            Path(job.spec.notebook),
            notebook,
            root=Path(job.project),
            include=kubeflow.include,
            limit=kubeflow.bundle_limit,
        )
        spec = replace(
            job.spec,
            notebook=packed.notebook,
            data=tuple(_from_anywhere(source, Path(job.project)) for source in job.spec.data),
        )
        inside = replace(job, spec=spec, project="")
        made = plan(
            inside,
            profile=profile,
            kubeflow=replace(
                kubeflow, tracking_uri=kubeflow.tracking_uri or self._project.tracking_uri
            ),
            bundle=packed.digest,
            settings=wire.dumps(self._settings_of_pods(job)),
            experiment=self._settings.experiment or self._settings.name,
            version=self._project.tool.rpartition("/")[2],
        )
        return packed, made, profile

    def _check_reachable(self, job: Job) -> None:
        """Refuse what pods could not reach.

        Raises:
            UserError: if the tracking server, data or the GitOps repository is on this machine
                alone.
        """
        kubeflow = self._settings.kubeflow
        if not kubeflow.url:
            raise UserError(
                "no Kubeflow is configured",
                hint='set url = "https://…" in [kubeflow] of mlops.toml; to rehearse on this '
                "machine: mlops dev kubeflow",
            )
        if kubeflow.shares_machine:
            return
        for source in job.spec.data:
            scheme, separator, _ = source.uri.partition("://")
            if (scheme if separator else "") in _LOCAL:
                raise UserError(
                    f"pods cannot reach the data {source.name} at {source.uri}",
                    hint="put it into object storage: --data NAME=s3://bucket/key",
                )
        if job.deploy and "://" not in self._settings.repository:
            raise UserError(
                f"pods cannot reach the GitOps repository {self._settings.repository}",
                hint="leave --deploy out, and propose it from here: "
                f"mlops deploy {job.register} --to {job.deploy}",
            )

    def _settings_of_pods(self, job: Job) -> Settings:
        repository = self._settings.repository
        if repository and "://" not in repository:
            repository = str((Path(job.project) / repository).resolve())
        # Profiles and the way to Kubeflow are none of a pod's business.
        return replace(
            self._settings,
            repository=repository,
            profiles={},
            kubeflow=Kubeflow(),
        )

    def _earlier(self, job: Job) -> Run | None:
        run = self.run(job.id)
        if run is None or not run.address:
            return None
        if dict(run.parameters) != dict(job.queued("").parameters):
            raise Conflict(
                f"key {job.key!r} belongs to run {run.id}, which has other parameters",
                hint=f"give another --key, or look at that run: mlops show {run.id}",
            )
        return run

    def _create(self, run: Run, made: Plan, profile: Profile) -> str:
        experiment = self._settings.kubeflow.experiment or self._settings.name
        created = self._kubeflow.create_run(
            run.id,
            _document(compile_plan(made)),
            {"run_id": run.id, "bundle_run": run.tracking_id},
            experiment_id=self._kubeflow.experiment_id(experiment),
            service_account=profile.service_account,
        )
        return str(created.run_id)

    @cached_property
    def _kubeflow(self) -> Connection:
        kubeflow = self._settings.kubeflow
        return Connection(
            kubeflow.url,
            namespace=kubeflow.namespace,
            credentials=credentials(kubeflow, self._project.secret, self._project.environment),
            ca=kubeflow.ca,
            verify=kubeflow.verify,
        )

    def resume(self, run_id: str) -> Run:
        """Have Kubeflow do the failed steps again."""
        run = self._known(run_id)
        if not run.state.is_final:
            raise Conflict(
                f"run {run_id} is not finished", hint=f"wait for it: mlops logs -f {run_id}"
            )
        if run.state is RunState.SUCCEEDED:
            raise UserError(
                f"run {run_id} ended as it should; its gates are not judged again on Kubeflow",
                hint=f"judge it here: mlops register {run_id} --name NAME",
            )
        self._kubeflow.retry(run.address)
        if run.failure is not None and run.failure.step in _AFTER:
            # What the notebook did and how it was judged stays as it is.
            self._registry.finish(replace(run, state=RunState.RUNNING, failure=None), {})
        else:
            self._registry.begin(run, {})
        return replace(run, state=RunState.QUEUED, failure=None, ended=None)

    def watch(self, run_id: str) -> Iterator[Event]:
        """Yield what is known of the run, then what changes, until it is final."""
        differ = Differ(self._known(run_id))
        yield from differ.first()
        while not differ.run.state.is_final:
            time.sleep(_POLL_SECONDS)
            troubles: list[str] = []
            seen = self._kubeflow.patient(lambda: self._known(run_id), tell=troubles.append)
            yield from (Note(text=text) for text in troubles)
            yield from differ.news(seen)

    def run(self, run_id: str) -> Run | None:
        """Give the run as the tracking server and Kubeflow tell."""
        try:
            recorded = self._registry.find(run_id)
        except NotFound:
            return None
        if recorded.id != run_id or recorded.executor != NAME:
            return None
        return self._merged(recorded)

    def runs(self) -> Sequence[Run]:
        """Give the runs that are recorded as going on, as they are now."""
        going = self._registry.runs(limit=20, state=RunState.RUNNING)
        return [self._merged(run) for run in going if run.executor == NAME]

    def children(self, run_id: str) -> Sequence[Run]:
        """Give a sweep's children in their order."""
        found = self._registry.runs(limit=10_000, parent=run_id)
        return sorted(found, key=lambda run: int(run.id.rpartition(".")[2]))

    def log(self, run_id: str, *, follow: bool) -> Iterator[str]:
        """Yield what the notebook printed: from its pod while it lives, then as recorded."""
        said = 0
        while True:
            run = self._known(run_id)
            text = self._printed(run)
            # A line is given when it is whole.
            end = len(text) if run.state.is_final else text.rfind("\n") + 1
            if end > said:
                yield from text[said:end].splitlines(keepends=True)
                said = end
            if run.state.is_final or not follow:
                return
            time.sleep(_POLL_SECONDS)

    def _printed(self, run: Run) -> str:
        if run.state.is_final:
            content = self._registry.file(run.tracking_id, "mlops_nb/log.txt")
            if content is not None:
                return content.decode(errors="replace")
        found = self._kubeflow.run(run.address)
        train = next((step for step in steps(found) if step.name == "train"), None)
        if train is None or not train.pod:
            return ""
        try:
            return self._kubeflow.node_log(run.address, train.pod)
        except (NotFound, BackendError):
            # The pod is not there yet, or no more; what it printed is recorded at its end.
            return ""

    def cancel(self, run_id: str) -> Run:
        """Have Kubeflow stop the run, wait until its pods are gone, give it."""
        run = self._known(run_id)
        if run.state.is_final:
            return run
        self._kubeflow.terminate(run.address)
        deadline = time.monotonic() + _CANCEL_SECONDS
        while not (now := run_state(self._kubeflow.run(run.address))).is_final:
            if time.monotonic() > deadline:
                raise BackendError(
                    f"Kubeflow was told to stop run {run_id}, but it is still {now}",
                    hint=f"look at its pods: kubectl get pods -l pipeline/runid={run.address}",
                )
            time.sleep(_POLL_SECONDS)
        return self._known(run_id)

    def check(self, _kernel: str) -> str:
        """Ask Kubeflow whether it is there.

        Raises:
            BackendError: if it does not answer, or refuses.
        """
        self._kubeflow.healthz()
        return f"Kubeflow at {self._settings.kubeflow.url} answers"

    def _known(self, run_id: str) -> Run:
        run = self.run(run_id)
        if run is None:
            raise NotFound(f"Kubeflow has no run {run_id!r}", hint="see `mlops runs`")
        return run

    def _merged(self, recorded: Run) -> Run:
        """Give a recorded run in the state that Kubeflow tells; record how it ended."""
        if not recorded.address:
            return recorded
        try:
            found = self._kubeflow.run(recorded.address)
        except NotFound:
            if recorded.state.is_final:
                return recorded
            return self._ended(recorded, RunState.FAILED, "it was deleted in Kubeflow")
        state = run_state(found)
        # A cached run has no time of its own in the tracking server.
        recorded = replace(recorded, started=moment(found.created_at) or recorded.started)
        recorded = self._with_cached(recorded, found)
        if not state.is_final:
            doing = self._doing(found)
            return replace(recorded, state=state, ended=None, failure=None, doing=doing)
        if state is not recorded.state:
            recorded = self._ended(recorded, state, self._why(found))
        return replace(recorded, ended=moment(found.finished_at) or recorded.ended)

    def _with_cached(self, recorded: Run, found: V2beta1Run) -> Run:
        """Give a run whose notebook was not run again with what came of the earlier one."""
        if recorded.metrics or recorded.cells_done:
            return recorded
        if not any(s.name == "train" and s.state is StepState.CACHED for s in steps(found)):
            return recorded
        twin = self._registry.twin(recorded.tracking_id)
        if twin is None:
            return recorded
        self._registry.tag(recorded.tracking_id, {"mlops_nb.cached_from": twin.id})
        return replace(
            recorded,
            cached_from=twin.id,
            metrics=twin.metrics,
            cells=twin.cells,
            cells_done=twin.cells_done,
            peak_memory=twin.peak_memory,
        )

    def _ended(self, recorded: Run, state: RunState, why: str) -> Run:
        failure = recorded.failure
        if state is RunState.CANCELLED:
            failure = Failure(reason=f"cancelled{_at(recorded)}; its pods are gone")
        elif state is RunState.FAILED and failure is None:
            failure = Failure(
                reason=why, hint=f"look at it: mlops logs {recorded.id}", error="RunFailed"
            )
        ended = replace(recorded, state=state, failure=failure, ended=datetime.now(UTC))
        return self._registry.finish(ended, {})

    def _doing(self, found: V2beta1Run) -> str:
        if peculiar := in_words(found):
            return peculiar
        current = next((step for step in steps(found) if not step.state.is_final), None)
        if current is None:
            return ""
        trouble = pods.trouble(self._settings.kubeflow, str(found.run_id))
        return f"{current.name}: {trouble}" if trouble else current.name

    def _why(self, found: V2beta1Run) -> str:
        failed = [step for step in steps(found) if step.state is StepState.FAILED]
        trouble = pods.trouble(self._settings.kubeflow, str(found.run_id))
        where = f"step {failed[-1].name} failed" if failed else "the pipeline failed"
        said = trouble or next((step.error for step in failed if step.error), "")
        return f"{where}: {said}" if said else where


def _from_anywhere(source: DataSource, project: Path) -> DataSource:
    """Give data that pods on this machine find from their own folders."""
    if "://" in source.uri:
        return source
    return replace(source, uri=str(project / source.uri))


def _document(compiled: str) -> Mapping[str, object]:
    """Give a compiled pipeline as the API takes it: one document, with the platform's part."""
    from ruamel.yaml import YAML

    spec, *platform = YAML(typ="safe", pure=True).load_all(compiled)
    return {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec


def _at(run: Run) -> str:
    return f" at cell {run.cells_done + 1} of {run.cells}" if run.cells else ""


def _failed(run: Run, error: MlopsError) -> Run:
    failure = Failure(
        reason=f"it was not submitted: {error.message}",
        hint=error.hint,
        step="start",
        error=type(error).__name__,
    )
    return replace(run, state=RunState.FAILED, failure=failure)
