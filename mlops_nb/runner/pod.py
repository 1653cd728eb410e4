"""One step of a pipeline, in its pod: `python -m mlops_nb.runner.pod STEP …`.

What a step must know of the run it finds in the tracking server, by the pipeline run's id: so
nothing that differs from run to run is among a step's words, and equal work can be cached.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb import wire
from mlops_nb.adapters.data import stage
from mlops_nb.adapters.kubeflow.bundle import foreign_imports, lineage_of, recorded_as, unpack
from mlops_nb.core.argument import shield
from mlops_nb.core.data import Dataset
from mlops_nb.core.outcome import failure_of
from mlops_nb.core.pipeline import RUN_VARIABLE
from mlops_nb.core.run import Run, RunSpec, RunState
from mlops_nb.core.schedule import run_id
from mlops_nb.core.settings import Settings
from mlops_nb.core.verbs import Job
from mlops_nb.errors import GateFailed, MlopsError, NotFound, UserError
from mlops_nb.project import Project
from mlops_nb.redaction import Redactor
from mlops_nb.runner import steps
from mlops_nb.runner.checkup import check_up
from mlops_nb.runner.job import Attempt
from mlops_nb.runner.kernelspec import find
from mlops_nb.runner.record import SharedRecord
from mlops_nb.runner.tail import tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlops_nb.core.gate import Verdict


def main(words: list[str] | None = None) -> int:
    """Do one step.

    Returns:
        0 if it went well, else the exit code of the error.
    """
    given = _parser().parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    do: Callable[[_Pod], int] = given.do
    try:
        with _folder() as folder:
            pod = _Pod(given, folder)
            with pod.recorded(given.step):
                return do(pod)
    except MlopsError as error:
        if isinstance(error, GateFailed):
            _tell(error.verdict)
        print(f"{given.step} failed: {error}", file=sys.stderr, flush=True)
        return error.exit_code


@contextmanager
def _folder() -> Iterator[Path]:
    """Give a folder for what is unpacked; on a machine that is no pod nothing stays behind."""
    with tempfile.TemporaryDirectory(prefix="mlops-nb-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlops_nb.runner.pod",
        description="Do one step of a pipeline. Pipelines are made by `mlops train --on "
        "kubeflow`, which passes these words.",
    )
    parsers = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, (do, wanted) in _STEPS.items():
        step = parsers.add_parser(name, help=(do.__doc__ or "").splitlines()[0])
        step.set_defaults(do=do)
        step.add_argument("--pipeline-run", required=True, metavar="ID")
        step.add_argument("--experiment", required=True, metavar="NAME")
        for word in wanted:
            step.add_argument(f"--{word}", default="", metavar="TEXT")
        if name == "prepare":
            step.add_argument("--no-import-check", action="store_true")
    return parser


class _Pod:
    """What a step works with: its words, the project as the submitter saw it, the run."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.given = given
        self.folder = folder
        settings = (
            wire.loads(Settings, given.settings)
            if getattr(given, "settings", "")
            else Settings(name=given.experiment)
        )
        here = replace(settings, experiment=given.experiment, tracking_uri="", executor="local")
        self.project = Project(self.folder, here, dict(os.environ))
        self._run: Run | None = None
        self.bundle_run = ""

    @property
    def address(self) -> str:
        """The pipeline run's id."""
        # A server replaces it among the words only where it runs locally.
        return os.environ.get(RUN_VARIABLE) or str(self.given.pipeline_run)

    @property
    def job(self) -> Job:
        """What was asked for."""
        return wire.loads(Job, self.given.job)

    @property
    def run(self) -> Run:
        """The run as it is recorded.

        Raises:
            NotFound: if the tracking server has none of this pipeline run.
        """
        if self._run is None:
            self._run = self.project.registry.tagged("mlops_nb.address", self.address)
        if self._run is None:
            raise NotFound(
                f"the tracking server knows no run of pipeline run {self.address}",
                hint="was it deleted there? submit again",
            )
        return self._run

    def take_up(self, run: Run) -> None:
        """Work on this run from here on."""
        self._run = run

    def unpack(self) -> None:
        """Put the notebook and what came with it into the folder."""
        digest = self.given.bundle
        holder = self.bundle_run or self.run.tracking_id
        content = self.project.registry.file(holder, recorded_as(digest))
        if content is None:
            raise NotFound(
                f"run {self.run.id} has no bundle {digest[:12]} in the tracking server",
                hint="was it deleted there? submit again",
            )
        unpack(content, digest, self.folder)

    def give(self, name: str, text: str) -> None:
        """Hand an output to the pipeline."""
        path = Path(getattr(self.given, f"out_{name}"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    @contextmanager
    def recorded(self, step: str) -> Iterator[None]:
        """Record with the run that a step failed: who watches it sees the reason."""
        try:
            yield
        except MlopsError as error:
            if self._run is not None:
                failure = failure_of(error, _FAILED[step])
                failed = replace(self._run, state=RunState.FAILED, failure=failure)
                self.project.registry.finish(failed, {})
            raise


# What a failure of a step is called in a run's record.
_FAILED = {
    "prepare": "start",
    "train": "run",
    "validate": "gates",
    "register": "register",
    "deploy": "deploy",
}


def prepare(pod: _Pod) -> int:
    """Check what the run needs before a GPU is asked for, and digest its data."""
    job, registry = pod.job, pod.project.registry
    address = pod.address
    made = _made_by_plugin(pod)
    if pod.given.run:
        run = registry.find(pod.given.run)
    else:
        # Nobody submitted it by hand: a schedule did.
        run = replace(
            job.queued(""),
            id=run_id(job.id, address),
            schedule=job.id,
            placement=job.placement,
            tracking_id=made,
        )
    run = replace(run, executor="kubeflow", address=address)
    # What the bundle is, tells of which run a run that is taken from the cache is the result.
    tags = {"mlops_nb.requested_by": job.requested_by, "mlops_nb.bundle": pod.given.bundle}
    pod.take_up(registry.begin(run, tags))
    if made and made != pod.run.tracking_id:
        registry.tag(made, {"mlflow.parentRunId": pod.run.tracking_id})
    _fetch_bundle(pod)
    pod.unpack()
    if not pod.given.no_import_check:
        _check_image(job.spec, pod.folder)
    datasets = [
        stage(source, pod.folder / ".data", base=pod.folder, tell=print)[1]
        for source in job.spec.data
    ]
    # What a cached step is known by must be known of the run, too.
    run = replace(pod.run, datasets=tuple(datasets))
    pod.take_up(registry.finish(run, {}))
    pod.give("datasets", shield(wire.dumps(tuple(datasets))))
    print(f"run {pod.run.id}: {len(datasets)} data digested; ready to train", flush=True)
    return 0


def _made_by_plugin(pod: _Pod) -> str:
    """Give the MLflow run that Kubeflow's own plugin made of this pipeline run; empty if none.

    A scheduled run is recorded there. Of a run that was begun before it was submitted, it
    becomes a child, so that one run is seen and not two.
    """
    # What the variable names is the plugin's run of this one step, below the one of all steps.
    if "MLFLOW_RUN_ID" not in os.environ:
        return ""
    found = pod.project.registry.tagged("kfp.pipeline_run_id", pod.address)
    return found.tracking_id if found else ""


def _fetch_bundle(pod: _Pod) -> None:
    """Give a scheduled run, which nobody submitted by hand, its own copy of the bundle."""
    registry, source = pod.project.registry, pod.given.bundle_run
    path = recorded_as(pod.given.bundle)
    if not source or source == pod.run.tracking_id:
        return
    content = registry.file(source, path)
    if content is not None:
        registry.attach(pod.run.tracking_id, path, content)
    lineage = registry.file(source, lineage_of(pod.given.bundle))
    if lineage is not None:
        registry.tag(pod.run.tracking_id, json.loads(lineage))


def _check_image(spec: RunSpec, folder: Path) -> None:
    if spec.kernel:
        find(spec.kernel)
    imports = foreign_imports(folder / spec.notebook)
    missing = [name for name in imports if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"the image has no module {', '.join(missing)}, which the notebook imports",
            hint="use an image that has it: --image, or image in the profile",
        )


def train(pod: _Pod) -> int:
    """Run the notebook."""
    spec = wire.loads(RunSpec, pod.given.spec)
    if pod.given.child:
        spec = _begin_child(pod, spec)
    run = pod.run
    if _failed_by_itself(run):
        # Kubeflow starts a failed step again; the same cells would fail again.
        print(f"not tried again: {run.failure.reason if run.failure else ''}", flush=True)
        return 3
    pod.unpack()
    directory = pod.folder / ".mlops" / "runs" / run.id
    directory.mkdir(parents=True)
    path = pod.folder / spec.notebook
    (directory / "notebook.ipynb").write_bytes(path.read_bytes())
    job = Job(id=run.id, spec=replace(spec, notebook=str(path)), project=str(pod.folder))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    secrets = {name: pod.project.secret(ref) for name, ref in spec.secrets.items()}
    began = time.monotonic()
    redact = Redactor(secrets.values()) if secrets else str
    record = SharedRecord(run, directory, redact, pod.project.registry)
    with tail(directory / "log.txt", sys.stdout):
        Attempt(job, directory, pod.project, record, secrets, stop).run()
    record.close()
    spent = run.pod_seconds + time.monotonic() - began
    pod.project.registry.tag(run.tracking_id, {"mlops_nb.pod_seconds": f"{spent:.1f}"})
    _check_data(record.run, pod.given.datasets)
    if record.run.failure is not None:
        print(f"failed: {record.run.failure.reason}", file=sys.stderr, flush=True)
        return 3
    pod.give("trained", record.run.tracking_id)
    return 0


def _begin_child(pod: _Pod, shared: RunSpec) -> RunSpec:
    """Record a child of a sweep as the run of this pod; give what it runs."""
    child = json.loads(pod.given.child)
    own = json.loads(wire.dumps(shared)) | child["spec"]
    spec = wire.loads(RunSpec, json.dumps(own))
    sweep = pod.run
    job = Job(id=f"{sweep.id}.{child['number']}", spec=spec, project="", parent=sweep.id)
    run = replace(
        job.queued(""),
        notebook=sweep.notebook,
        executor=sweep.executor,
        placement=sweep.placement,
        address=f"{sweep.address}.{child['number']}",
    )
    pod.bundle_run = sweep.tracking_id
    pod.take_up(pod.project.registry.begin(run, {}))
    return spec


def _failed_by_itself(run: Run) -> bool:
    failure = run.failure
    return (
        failure is not None
        and failure.step == "run"
        and failure.cell is not None
        and bool(failure.ename and failure.ename != "KernelDied")
    )


def _check_data(run: Run, datasets: str) -> None:
    """Refuse a result on other data than the pipeline digested before it began."""
    before = {
        dataset.name: dataset for dataset in wire.loads(tuple[Dataset, ...], datasets or "[]")
    }
    for dataset in run.datasets:
        known = before.get(dataset.name)
        if known is not None and known.digest != dataset.digest:
            raise UserError(
                f"the data {dataset.name} changed while the run began: {known.digest[:19]}… "
                f"became {dataset.digest[:19]}…",
                hint="run it again, on data that stays as it is",
            )


def check(pod: _Pod) -> int:
    """Try what every pod needs, and print what was found."""
    found = check_up(pod.project.registry, pod.given.kernel)
    print(wire.dumps(found), flush=True)
    return 0 if found.healthy else 3


def validate(pod: _Pod) -> int:
    """Judge the run by its gates."""
    job, run = pod.job, _trained(pod)
    verdict = steps.judge(job, pod.project, run)
    if verdict is not None:
        _settle(pod, verdict=verdict)
        _tell(verdict)
    pod.give("passed", "true" if verdict is None or verdict.passed else "false")
    return 0


def _tell(verdict: Verdict) -> None:
    for judged in verdict.checks:
        print(f"{judged.outcome}: {judged.gate} {judged.reason}", flush=True)


def register(pod: _Pod) -> int:
    """Register the run's model."""
    version = steps.register(pod.job, pod.project, _trained(pod))
    pod.project.registry.tag(pod.run.tracking_id, {"mlops_nb.model": str(version)})
    _settle(pod)
    print(f"registered {version}", flush=True)
    pod.give("version", str(version))
    return 0


def deploy(pod: _Pod) -> int:
    """Open the deployment pull request."""
    pod.project.person = pod.job.requested_by
    # The run is looked up first: it must be known, to record with it that a gate refused.
    print(f"run {pod.run.id}: proposing {pod.given.version} to {pod.job.deploy}", flush=True)
    deployment = steps.propose(pod.job, pod.project, pod.given.version)
    pull = deployment.pull_request
    _settle(pod, pull_request=pull.number if pull else None)
    print(f"pull request #{pull.number}" if pull else "nothing to change", flush=True)
    return 0


def _trained(pod: _Pod) -> Run:
    """Give the run whose model counts: this one, or the one whose result was cached."""
    run = pod.run
    if pod.given.trained == run.tracking_id:
        return run
    return replace(pod.project.registry.find(pod.given.trained), verdict=run.verdict)


def _settle(pod: _Pod, **changes: Any) -> None:
    """Record what came of a step; a failure of an earlier try of it is over."""
    run = replace(pod.run, state=RunState.SUCCEEDED, failure=None, **changes)
    pod.take_up(pod.project.registry.finish(run, {}))


_STEPS: dict[str, tuple[Callable[[_Pod], int], tuple[str, ...]]] = {
    "check": (check, ("kernel",)),
    "prepare": (prepare, ("run", "bundle-run", "bundle", "job", "out-datasets")),
    "train": (train, ("bundle", "spec", "child", "datasets", "out-trained")),
    "validate": (validate, ("job", "settings", "trained", "out-passed")),
    "register": (register, ("job", "settings", "trained", "out-version")),
    "deploy": (deploy, ("job", "settings", "version")),
}


if __name__ == "__main__":
    sys.exit(main())
