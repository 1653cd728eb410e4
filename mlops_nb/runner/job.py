"""One job from its notebook to its pull request."""

from __future__ import annotations

import json
import logging
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb import wire
from mlops_nb.adapters import lineage
from mlops_nb.adapters.data import stage
from mlops_nb.core.events import Judged, MetricLogged, Note, Proposed, Registered
from mlops_nb.core.lineage import CodeState
from mlops_nb.core.notebook import Notebook
from mlops_nb.core.outcome import failure_of
from mlops_nb.core.run import Failure, RunState
from mlops_nb.errors import BackendError, MlopsError
from mlops_nb.project import INSIDE_RUN, Project
from mlops_nb.redaction import PLACEHOLDER, Redactor, find_credential
from mlops_nb.runner import steps
from mlops_nb.runner.document import DEFAULT_KERNEL, load
from mlops_nb.runner.execution import Outcome, execute
from mlops_nb.runner.failures import KERNEL_DIED
from mlops_nb.runner.kernel import Kernel
from mlops_nb.runner.leftovers import MARK
from mlops_nb.runner.parametrize import parametrize
from mlops_nb.runner.record import Record, first_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.core.data import Dataset
    from mlops_nb.core.run import Run
    from mlops_nb.core.verbs import Job
    from mlops_nb.ports import Registry

_log = logging.getLogger("mlops_nb.runner")
_METRIC_SECONDS = 2.0
_AFTER = ("record", "gates", "register", "deploy")
_RECORDED = (
    "executed.ipynb",
    "log.txt",
    "job.json",
    "requirements.lock.txt",
    "machine.json",
    "git.diff",
)


def run_job(job: Job, directory: Path, stop: threading.Event, *, is_resumed: bool) -> int:
    """Do a job in its run directory.

    Args:
        job: what to do.
        directory: its run directory, with `notebook.ipynb`.
        stop: set when the run is to be cancelled.
        is_resumed: whether an earlier try left a result to go on from.

    Returns:
        0 if all went well, 3 if not.
    """
    project = Project.open(Path(job.project))
    before = first_run(job, directory)
    record = Record(before, directory, str)
    has_run = before.failure is None or before.failure.step in _AFTER
    skip_notebook = is_resumed and before.state.is_final and has_run
    failure = None
    try:
        secrets = {name: project.secret(ref) for name, ref in job.spec.secrets.items()}
        if secrets:
            record.redact = Redactor(secrets.values())
        if not skip_notebook:
            Attempt(job, directory, project, record, secrets, stop).run()
        elif before.failure is not None and before.failure.step == "record":
            _record(record, directory, project.registry)
        if record.run.failure is None or skip_notebook:
            record.move(RunState.RUNNING)
            _after(job, project, record)
            if skip_notebook or record.run.verdict or record.run.failure:
                _settle(record, project.registry)
    except MlopsError as error:
        failure = failure_of(error, "start")
    _end(record, failure)
    return 0 if record.run.state is RunState.SUCCEEDED else 3


def _end(record: Record, failure: Failure | None) -> None:
    failure = failure or record.run.failure
    if failure is None:
        record.move(RunState.SUCCEEDED)
    elif record.run.state is RunState.CANCELLED:
        record.move(RunState.CANCELLED, failure)
    else:
        record.move(RunState.FAILED, failure)
    record.close()


class Attempt:
    """The notebook's part of a job: stage, record, execute, record."""

    def __init__(
        self,
        job: Job,
        directory: Path,
        project: Project,
        record: Record,
        secrets: Mapping[str, str],
        stop: threading.Event,
    ) -> None:
        self._job = job
        self._directory = directory
        self._project = project
        self._record = record
        self._secrets = secrets
        self._stop = stop
        self._module_path: list[str] | None = None

    def run(self) -> None:
        """Execute the notebook, again where it failed for no fault of its own."""
        job, record = self._job, self._record
        record.move(RunState.RUNNING)
        registry = self._project.registry
        # Whoever sent the notebook to a cluster told of its repository; none came with it.
        is_here = record.run.executor == "local"
        code = (
            lineage.code_state(Path(job.spec.notebook), record.redact)
            if is_here
            else CodeState()
        )
        raw = (self._directory / "notebook.ipynb").read_bytes()
        self._notebook = Notebook.parse(job.spec.notebook, raw)
        machine = lineage.machine()
        tags = {
            **code.tags(),
            **{f"mlops_nb.{key}": machine[key] for key in machine if key.startswith("gpu")},
            "mlops_nb.notebook_digest": f"sha256:{self._notebook.fingerprint}",
            "mlops_nb.requested_by": job.requested_by,
        }
        record.run = replace(record.run, defaults=self._defaults())
        if is_here:
            record.run = replace(record.run, code_commit=code.stamp, code_note=code.note)
        record.run = registry.begin(record.run, tags)
        record.move(RunState.RUNNING)
        try:
            outcome = self._execute_until_done(registry)
        except MlopsError as error:
            outcome = Outcome(
                state=RunState.FAILED,
                failure=failure_of(error),
                peak_memory=0,
                cells_done=0,
                cells=self._notebook.cells,
                last_line="",
            )
        record.run = replace(
            record.run,
            state=outcome.state,
            failure=outcome.failure,
            peak_memory=outcome.peak_memory,
            cells=outcome.cells,
            cells_done=outcome.cells_done,
            last_line=outcome.last_line,
            ended=datetime.now(UTC),
        )
        self._keep(code.diff, machine)
        if self._secrets:
            record.run = _concealed(record.run, registry, record.redact)
        _record(record, self._directory, registry)

    def _defaults(self) -> dict[str, object]:
        """Give the notebook's own values of what it was not given, free of credentials."""
        spec = self._job.spec
        given = [*spec.parameters, *spec.secrets, *(source.name for source in spec.data)]
        return {
            name: PLACEHOLDER if _is_credential(name, value, self._record.redact) else value
            for name, value in self._notebook.defaults(given).items()
        }

    def _execute_until_done(self, registry: Registry) -> Outcome:
        datasets: list[Dataset] = []
        paths: dict[str, object] = {}
        for source in self._job.spec.data:
            path, dataset = stage(
                source, self._directory / "data", base=Path(self._job.project)
            )
            datasets.append(dataset)
            paths[source.name] = str(path)
        self._record.run = replace(self._record.run, datasets=tuple(datasets))
        attempt, most = 1, self._job.retries + 1
        while True:
            outcome = self._execute(registry, paths)
            failure = outcome.failure
            if failure is None:
                return outcome
            blameless = outcome.state is RunState.FAILED and failure.ename == KERNEL_DIED
            if not blameless or attempt == most or self._stop.is_set():
                break
            attempt += 1
            self._record.tell(Note(text=f"attempt {attempt} of {most}: {failure.reason}"))
        if attempt > 1:
            reason = f"{failure.reason} (attempt {attempt} of {most})"
            return replace(outcome, failure=replace(failure, reason=reason))
        return outcome

    def _execute(self, registry: Registry, paths: Mapping[str, object]) -> Outcome:
        spec = self._job.spec
        variables = {name: f"MLOPS_NB_SECRET_{name}" for name in spec.secrets}
        environment = {
            **self._project.environment,
            **registry.environment(self._record.run),
            **{variables[name]: value for name, value in self._secrets.items()},
            INSIDE_RUN: self._job.id,
            MARK: str(self._directory),
        }
        document, notes = load(self._directory / "notebook.ipynb")
        for note in notes:
            _log.warning(note)
        declared = self._notebook.parameters_cell
        if declared is not None and not self._notebook.is_tagged:
            document["cells"][declared]["metadata"].setdefault("tags", []).append("parameters")
        tuples = {p.name for p in self._notebook.parameters if p.type.startswith("tuple")}
        prepared = parametrize(document, {**spec.parameters, **paths}, variables, tuples)
        kernel = Kernel(
            spec.kernel or DEFAULT_KERNEL, cwd=Path(spec.notebook).parent, env=environment
        )
        if kernel.spec.executable != sys.executable:
            self._module_path = lineage.module_path(kernel.spec.executable)
        with kernel, _MetricWatch(registry, self._record):
            return execute(
                prepared,
                run=self._job.id,
                kernel=kernel,
                limits=spec.limits,
                directory=self._directory,
                redact=self._record.redact,
                tell=self._record.tell,
                stop=self._stop,
            )

    def _keep(self, diff: str, machine: Mapping[str, str]) -> None:
        lock = lineage.environment_lock(self._module_path)
        (self._directory / "requirements.lock.txt").write_text(lock)
        (self._directory / "machine.json").write_text(wire.dumps(dict(machine), indent=1))
        if diff:
            (self._directory / "git.diff").write_text(diff)


def _is_credential(name: str, value: object, redact: Callable[[str], str]) -> bool:
    if isinstance(value, str):
        return bool(find_credential(name, value)) or redact(value) != value
    text = json.dumps(value)
    return bool(find_credential("", text)) or redact(text) != text


def _concealed(run: Run, registry: Registry, redact: Callable[[str], str]) -> Run:
    """Take secrets out of what the notebook itself recorded; fail where that cannot be done."""
    try:
        kept = registry.conceal(run.tracking_id, redact)
    except BackendError as error:
        _log.warning("%s", error.message)
        return run
    if not kept:
        return run
    failure = Failure(
        reason=f"the notebook logged a secret to MLflow as {', '.join(kept)}, which cannot be "
        "changed",
        hint=f"delete MLflow run {run.tracking_id}, change the secret, and do not log it",
    )
    return replace(run, state=RunState.FAILED, failure=failure)


def _record(record: Record, directory: Path, registry: Registry) -> None:
    """Record what the notebook did; if that cannot be done now, it is a step to repeat."""
    files = {
        f"mlops_nb/{name}": directory / name
        for name in _RECORDED
        if (directory / name).exists()
    }
    is_repeated = record.run.failure is not None and record.run.failure.step == "record"
    run = (
        replace(record.run, state=RunState.SUCCEEDED, failure=None)
        if is_repeated
        else record.run
    )
    try:
        record.run = registry.finish(run, files)
    except MlopsError as error:
        if run.state is not RunState.SUCCEEDED:
            # That the notebook failed is the greater news.
            _log.warning("%s", error.message)
            return
        failure = Failure(
            reason=f"the notebook ran to its end, but that could not be recorded: "
            f"{error.message}",
            hint=f"the notebook is not run again by: mlops retry {run.id}",
            step="record",
            error=type(error).__name__,
        )
        record.run = replace(run, failure=failure)


def _settle(record: Record, registry: Registry) -> None:
    """Record how the steps after the notebook ended."""
    run = record.run
    state = RunState.SUCCEEDED if run.failure is None else RunState.FAILED
    try:
        registry.finish(replace(run, state=state), {})
    except BackendError as error:
        # The step's own failure tells more; the run's folder has all of it.
        _log.warning("%s", error.message)


class _MetricWatch:
    """Tells of the metrics the notebook logs, while it runs."""

    def __init__(self, registry: Registry, record: Record) -> None:
        self._registry = registry
        self._record = record
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(_METRIC_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            found = self._registry.metrics(self._record.run.tracking_id)
        except MlopsError as error:
            # Metrics on the way are a convenience; at the end they are read for good.
            _log.warning("metrics: %s", error.message)
            return
        run = self._record.run
        for name, value in found.items():
            if run.metrics.get(name) != value:
                self._record.tell(
                    MetricLogged(run=run.id, time=datetime.now(UTC), name=name, value=value)
                )


def _after(job: Job, project: Project, record: Record) -> None:
    """Judge, register and propose, as far as asked; a step that fails is the run's failure."""
    step = "gates"
    try:
        # Read now: who mends a gate in mlops.toml and retries is judged by the mended one.
        if verdict := steps.judge(job, project, record.run):
            record.tell(Judged(run=job.id, time=datetime.now(UTC), verdict=verdict))
            # A deployment's evidence is read from what is recorded.
            _settle(record, project.registry)
            if not verdict.passed:
                return
        if job.register:
            step = "register"
            model = str(steps.register(job, project, record.run))
            record.tell(Registered(run=job.id, time=datetime.now(UTC), model=model))
            if job.deploy:
                step = "deploy"
                if pull := steps.propose(job, project, model).pull_request:
                    record.tell(
                        Proposed(
                            run=job.id,
                            time=datetime.now(UTC),
                            model=model,
                            environment=job.deploy,
                            pull_request=pull.number,
                            url=pull.url,
                        )
                    )
    except MlopsError as error:
        record.run = replace(record.run, failure=failure_of(error, step))
