"""The Executor port over Kubeflow Pipelines: a run is a pipeline run of our runner's steps.

What a run did is in the tracking server, where its pods write it; what it is doing now is told
by Kubeflow. Nothing is kept on this machine, so any other can follow, stop and retry the run.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from mlops_nb import wire
from mlops_nb.adapters.kubeflow import pods
from mlops_nb.adapters.kubeflow.bundle import recorded_as
from mlops_nb.adapters.kubeflow.connection import Connection
from mlops_nb.adapters.kubeflow.credentials import credentials
from mlops_nb.adapters.kubeflow.following import Differ
from mlops_nb.adapters.kubeflow.hops import walk
from mlops_nb.adapters.kubeflow.inside import look_inside
from mlops_nb.adapters.kubeflow.outlook import Outlook, parts
from mlops_nb.adapters.kubeflow.schedules import KubeflowSchedules
from mlops_nb.adapters.kubeflow.states import run_state
from mlops_nb.adapters.kubeflow.submission import NAME, check_configured, prepare
from mlops_nb.core.events import Note, known_key, unheard
from mlops_nb.core.profile import advise, cost, override
from mlops_nb.core.quantity import format_duration
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.core.verbs import Job
from mlops_nb.errors import BackendError, Conflict, MlopsError, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.adapters.kubeflow.states import Step
    from mlops_nb.core.events import Event
    from mlops_nb.core.profile import Profile
    from mlops_nb.ports import Listener, Registry, Surroundings

_KEY = "mlops_nb.key"
_REQUEST = "mlops_nb.request"
_RUN = "mlops_nb.run"
_JOB = "mlops_nb/job.json"
_POLL_SECONDS = 1.0
_CANCEL_SECONDS = 120.0
_AFTER = ("gates", "register", "deploy")


class KubeflowExecutor:
    """Submits notebooks as pipelines and keeps in touch with them.

    Args:
        project: settings with profiles and [kubeflow], the tracking server, secrets.
    """

    def __init__(self, project: Surroundings) -> None:
        self._project = project
        self._settings = project.settings
        self._plans: dict[str, Mapping[str, Run]] = {}

    @classmethod
    def open(cls, project: Surroundings) -> KubeflowExecutor:
        """Give the executor of a project."""
        return cls(project)

    @property
    def _registry(self) -> Registry:
        return self._project.registry

    def submit(self, job: Job, notebook: bytes, tell: Listener = unheard) -> Run:
        """Submit the job as a pipeline run; a job whose key was submitted before gives that."""
        made = prepare(job, notebook, self._project)
        keys = _keys(job, made.bundle.digest)
        if keys and (earlier := self._earlier(job, keys)):
            tell(known_key(job.key, earlier.id))
            return earlier
        # Where pods are processes of this machine, their image is nobody's doubt.
        doubts = () if self._settings.kubeflow.shares_machine else made.plan.warnings
        for text in (*doubts, self._price(made.profile, job)):
            if text:
                tell(Note(text=text))
        # Whoever may not run anything there is told before anything is written anywhere.
        experiment = self._kubeflow.experiment_id(
            self._settings.kubeflow.experiment or self._settings.name
        )
        code = self._project.code(job.spec.notebook)
        bundle = made.bundle
        run = replace(job.queued(""), executor=NAME, placement=made.placement)
        run = self._registry.begin(
            run,
            {
                **code.tags(),
                **keys,
                "mlops_nb.requested_by": job.requested_by,
                "mlops_nb.bundle": bundle.digest,
            },
        )
        self._registry.attach(run.tracking_id, recorded_as(bundle.digest), bundle.content)
        if code.diff:
            self._registry.attach(run.tracking_id, "mlops_nb/git.diff", code.diff.encode())
        if job.children:
            self._registry.finish(replace(run, cells=len(job.children)), {})
            self._registry.attach(run.tracking_id, _JOB, wire.dumps(job).encode())
        try:
            created = self._kubeflow.create_run(
                run.id,
                made.document(),
                {"run_id": run.id, "bundle_run": run.tracking_id},
                experiment_id=experiment,
                service_account=made.plan.service_account,
            )
        except MlopsError as error:
            self._registry.finish(_failed(run, error), {})
            raise
        address = str(created.run_id)
        self._registry.tag(run.tracking_id, {"mlops_nb.address": address})
        return replace(run, address=address, state=RunState.QUEUED)

    def render(
        self, job: Job, notebook: bytes, *, kubernetes: bool = False
    ) -> Mapping[str, bytes]:
        """Give the files that a submission would consist of, by name; submit nothing."""
        namespace = self._settings.kubeflow.namespace if kubernetes else None
        return prepare(job, notebook, self._project).files(manifests_for=namespace)

    def scheduler(self) -> KubeflowSchedules:
        """Give what starts runs at set times: recurring runs."""
        return KubeflowSchedules(self._project, self._kubeflow)

    def _earlier(self, job: Job, keys: Mapping[str, str]) -> Run | None:
        run = self._registry.tagged(_KEY, keys[_KEY])
        if run is None or not run.address:
            return None
        if self._registry.tagged(_REQUEST, keys[_REQUEST]) is None:
            raise Conflict(
                f"key {job.key!r} belongs to run {run.id}, which has another notebook or "
                "was asked for in other words",
                hint=f"give another --key, or look at that run: mlops show {run.id}",
            )
        return self._outlook.now(run)

    def _price(self, profile: Profile, job: Job) -> str:
        """Say what a run will cost, as far as its last ones with the profile tell."""
        if not profile.price:
            return ""
        rate = f"{profile.price:g} an hour with profile {profile.name}"
        done = self._registry.runs(
            limit=20, notebook=Path(job.spec.notebook).name, state=RunState.SUCCEEDED
        )
        seconds = [
            run.pod_seconds
            for run in done
            if run.pod_seconds and run.placement.profile == profile.name
        ]
        if not seconds:
            return rate
        usual, count = median(seconds[:5]), max(1, len(job.children))
        told = f"its last ones trained for {format_duration(usual)}"
        if job.children:
            told = f"{count} runs, {told}"
        return f"about {cost(profile, usual * count):.2g}: {told}, {rate}"

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

    @cached_property
    def _outlook(self) -> Outlook:
        return Outlook(self._registry, lambda: self._kubeflow, self._settings)

    def resume(self, run_id: str) -> Run:
        """Have Kubeflow do the failed steps again."""
        run = self._known(run_id)
        _check_whole(run)
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
            if seen.state.is_final and (advice := self._advice(seen)):
                yield Note(text=advice)
            yield from differ.news(seen)

    def _advice(self, run: Run) -> str:
        """Say what a run used of what it asked for, and what would do."""
        settings, asked = self._settings, run.placement
        profile = settings.profiles.get(asked.profile)
        # How much one needed that did not come to its end is not known.
        if profile is None or run.cached_from or run.state is not RunState.SUCCEEDED:
            return ""
        used = override(profile, gpu=asked.gpu, memory=asked.memory)
        return advise(used, run.peak_memory, settings.profiles.values())

    def run(self, run_id: str) -> Run | None:
        """Give the run as the tracking server and Kubeflow tell."""
        try:
            recorded = self._recorded(run_id)
        except NotFound:
            return None
        return self._outlook.now(recorded)

    def runs(self) -> Sequence[Run]:
        """Give the runs that are recorded as going on, as they are now."""
        going = self._registry.runs(limit=20, state=RunState.RUNNING)
        return [self._outlook.now(run) for run in going if run.executor == NAME]

    def children(self, run_id: str) -> Sequence[Run]:
        """Give a sweep's children in their order; while it goes on, those to come, too."""
        begun = {
            run.id: run if run.state.is_final else self._outlook.now(run)
            for run in self._registry.runs(limit=10_000, parent=run_id)
        }
        sweep = self._registry.tagged(_RUN, run_id)
        planned = self._planned(sweep) if sweep and not sweep.state.is_final else {}
        every = {**planned, **begun}
        return sorted(every.values(), key=lambda run: int(run.id.rpartition(".")[2]))

    def _planned(self, sweep: Run) -> Mapping[str, Run]:
        if sweep.children and sweep.id not in self._plans:
            content = self._registry.file(sweep.tracking_id, _JOB)
            children = wire.loads(Job, content).children if content else ()
            self._plans[sweep.id] = {
                child.id: replace(child.queued(""), executor=NAME) for child in children
            }
        return self._plans.get(sweep.id, {})

    def log(self, run_id: str, *, follow: bool) -> Iterator[str]:
        """Yield what the notebook printed: from its pod while it lives, then as recorded."""
        said = 0
        while True:
            run, told = self._outlook.look(self._recorded(run_id))
            text = self._printed(run, told)
            # A line is given when it is whole.
            end = len(text) if run.state.is_final else text.rfind("\n") + 1
            if end > said:
                yield from text[said:end].splitlines(keepends=True)
                said = end
            if run.state.is_final or not follow:
                return
            time.sleep(_POLL_SECONDS)

    def _printed(self, run: Run, told: Sequence[Step]) -> str:
        if run.state.is_final:
            content = self._registry.file(run.tracking_id, "mlops_nb/log.txt")
            if content is not None:
                return content.decode(errors="replace")
        train = next((step for step in told if step.name == "train"), None)
        if train is None or not train.pod:
            return ""
        try:
            return self._kubeflow.node_log(parts(run.address)[0], train.pod)
        except (NotFound, BackendError):
            # The pod is not there yet or no more, or Kubeflow itself may not read its log.
            return pods.printed(self._settings.kubeflow, train.pod)

    def cancel(self, run_id: str) -> Run:
        """Have Kubeflow stop the run, wait until its pods are gone, give it."""
        run, told = self._outlook.look(self._recorded(run_id))
        if run.state.is_final:
            return run
        _check_whole(run)
        if not run.address:
            return self._given_up(run)
        self._kubeflow.terminate(run.address)
        deadline = time.monotonic() + _CANCEL_SECONDS
        while not (now := run_state(self._kubeflow.run(run.address))).is_final:
            if time.monotonic() > deadline:
                raise BackendError(
                    f"Kubeflow was told to stop run {run_id}, but it is still {now}",
                    hint=f"look at its pods: kubectl get pods -l pipeline/runid={run.address}",
                )
            time.sleep(_POLL_SECONDS)
        training = sum(step.name == "train" and step.state == "running" for step in told)
        return self._freed(self._known(run_id), training)

    def _given_up(self, run: Run) -> Run:
        """Record the end of a run that Kubeflow was never given."""
        failure = Failure(reason="cancelled before it was submitted")
        ended = replace(run, state=RunState.CANCELLED, failure=failure, doing="")
        return self._registry.finish(ended, {})

    def _freed(self, run: Run, training: int) -> Run:
        """Record with a run that was stopped what its training pods no longer hold."""
        gpus = (run.placement.gpu or 0) * training
        if not gpus or run.failure is None:
            return run
        profile = self._settings.profiles.get(run.placement.profile)
        kind = profile.gpu_resource if profile else "GPU"
        reason = f"{run.failure.reason}; freed {gpus} {kind}"
        freed = replace(run, failure=replace(run.failure, reason=reason))
        self._registry.finish(freed, {})
        return freed

    def delete(self, run_id: str) -> None:
        """Do nothing: this machine keeps nothing, and Kubeflow's own record stays."""
        if not self._known(run_id).state.is_final:
            raise Conflict(
                f"run {run_id} is not finished", hint=f"stop it first: mlops cancel {run_id}"
            )

    def check(self, _kernel: str) -> str:
        """Go the way to Kubeflow hop by hop.

        Raises:
            BackendError: of the first hop that fails, with its name.
        """
        return walk(self._kubeflow)

    def check_inside(self, seconds: float) -> str:
        """Have a pod try what every pod needs, and say what it found.

        Raises:
            UserError: if Kubeflow is not configured.
            BackendError: if something does not work.
        """
        check_configured(self._settings.kubeflow)
        return look_inside(self._project, self._kubeflow, seconds=seconds)

    def _recorded(self, run_id: str) -> Run:
        found = self._registry.find(run_id)
        if found.id != run_id or found.executor != NAME:
            raise NotFound(f"Kubeflow has no run {run_id!r}", hint="see `mlops runs`")
        return found

    def _known(self, run_id: str) -> Run:
        return self._outlook.now(self._recorded(run_id))


def _check_whole(run: Run) -> None:
    """Refuse to act on one child of a sweep: Kubeflow knows the sweep alone."""
    if run.parent:
        raise UserError(
            f"run {run.id} is a part of the sweep {run.parent}, which Kubeflow runs as one",
            hint=f"give the sweep: {run.parent}",
        )


def _keys(job: Job, bundle: str) -> Mapping[str, str]:
    """Give the tags by which a request that was made before is known again."""
    if not job.key:
        return {}
    request = wire.dumps(replace(job, id="", requested_by="")) + bundle
    return {
        name: sha256(text.encode()).hexdigest()
        for name, text in ((_KEY, job.key), (_REQUEST, request))
    }


def _failed(run: Run, error: MlopsError) -> Run:
    failure = Failure(
        reason=f"it was not submitted: {error.message}",
        hint=error.hint,
        step="start",
        error=type(error).__name__,
    )
    return replace(run, state=RunState.FAILED, failure=failure)
