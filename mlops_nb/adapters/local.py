"""Runs on this machine: each a child process with a run directory of its own.

A run directory holds `job.json` (what was asked), `notebook.ipynb` (the notebook as it was
then), `events.jsonl`, `log.txt`, `executed.ipynb`, `result.json` (there once the run is final)
and `runner.log` (what the runner itself had to say). The runner holds a lock on `runner.lock`
for as long as it lives: who can take that lock while there is no result knows that it is gone.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from mlops_nb import wire
from mlops_nb.core.events import Event, advance, known_key, unheard
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.core.verbs import Job
from mlops_nb.errors import BackendError, Conflict, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlops_nb.ports import Listener, Surroundings

_POLL_SECONDS = 0.05
_HEAL_SECONDS = 120.0
# The runner itself gives the kernel 5 s to obey an interrupt; then it saves and records.
_CANCEL_SECONDS = 60.0


class LocalExecutor:
    """Starts `python -m mlops_nb.runner` as a child that outlives its parent.

    Args:
        folder: where run directories are kept; made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._results: dict[str, tuple[tuple[int, int, int], Run]] = {}

    @classmethod
    def open(cls, project: Surroundings) -> LocalExecutor:
        """Give the executor of a project."""
        return cls(project.runs_folder)

    def submit(self, job: Job, notebook: bytes, tell: Listener = unheard) -> Run:
        """Start the job; a job whose key was submitted before gives that run again."""
        _check_placement(job)
        try:
            return self._submit(job, notebook, tell)
        except OSError as error:
            raise BackendError(
                f"the run directory {self._folder / job.id} cannot be written: "
                f"{error.strerror or error}",
                hint="free some space there, or mend its permissions",
            ) from error

    def _submit(self, job: Job, notebook: bytes, tell: Listener) -> Run:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked(self._folder / "submit.lock"):
            key = self._folder / f".key-{hashlib.sha256(job.key.encode()).hexdigest()[:32]}"
            if job.key and key.exists() and (earlier := self.run(key.read_text())):
                self._check_same(job, notebook, earlier)
                tell(known_key(job.key, earlier.id))
                return earlier
            directory = self._folder / job.id
            directory.mkdir()
            (directory / "notebook.ipynb").write_bytes(notebook)
            _write(directory / "job.json", wire.dumps(job, indent=1))
            if job.key:
                # Before the start: a request cut off in between must not run twice.
                _write(key, job.id)
            self._start(directory)
        return job.queued(str(directory))

    def _check_same(self, job: Job, notebook: bytes, earlier: Run) -> None:
        directory = self._folder / earlier.id
        asked = wire.loads(Job, (directory / "job.json").read_bytes())
        same = replace(asked, id=job.id, requested_by=job.requested_by) == job
        if not same or (directory / "notebook.ipynb").read_bytes() != notebook:
            raise Conflict(
                f"key {job.key!r} belongs to run {earlier.id}, which has another notebook or "
                "was asked for in other words",
                hint=f"give another --key, or look at that run: mlops show {earlier.id}",
            )

    def render(
        self, job: Job, notebook: bytes, *, kubernetes: bool = False
    ) -> Mapping[str, bytes]:
        """Give the job and the notebook as a run directory would hold them."""
        _check_placement(job)
        if kubernetes:
            raise UserError(
                "runs on this machine have no Kubernetes manifests", hint="add --on kubeflow"
            )
        return {
            "job.json": wire.dumps(job, indent=1).encode(),
            "notebook.ipynb": notebook,
        }

    def scheduler(self) -> None:
        """Give nothing: on this machine cron starts what is to run at set times."""

    def resume(self, run_id: str) -> Run:
        """Do the steps after the notebook again, from the one that failed."""
        directory = self._directory(run_id)
        with self._locked(self._folder / "submit.lock"):
            if not (directory / "result.json").exists():
                raise Conflict(
                    f"run {run_id} is not finished", hint=f"wait for it: mlops logs -f {run_id}"
                )
            # What was said before ended with a final word; a new try tells its own story.
            with suppress(FileNotFoundError):
                (directory / "events.jsonl").replace(directory / "events.before.jsonl")
            (directory / "result.json").replace(directory / "result.before.json")
            self._start(directory, "--resume")
        return self._snapshot_or_failure(directory)

    def watch(self, run_id: str) -> Iterator[Event]:
        """Yield every event of the run from its beginning until it is final."""
        directory = self._directory(run_id)
        for line in self._follow(directory / "events.jsonl", directory):
            yield from _events(line)

    def run(self, run_id: str) -> Run | None:
        """Give the run as its directory tells, healed if its runner is gone."""
        directory = self._folder / run_id
        if not (directory / "job.json").exists():
            return None
        self._heal(directory)
        return self._snapshot_or_failure(directory)

    def runs(self) -> Sequence[Run]:
        """Give every run there is a directory of, newest first, healed."""
        jobs = []
        with suppress(FileNotFoundError), os.scandir(self._folder) as there:
            for entry in there:
                with suppress(OSError):
                    jobs.append((os.stat(f"{entry.path}/job.json").st_mtime, entry.path))  # noqa: PTH116  # of ten thousand
        jobs.sort(reverse=True)
        return [self._ended(path) or self._healed(Path(path)) for _, path in jobs]

    def _ended(self, path: str) -> Run | None:
        """Give a run that has its result, read once; None for others."""
        try:
            status = os.stat(f"{path}/result.json")  # noqa: PTH116  # of ten thousand
        except OSError:
            return None
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._results.get(path)
        if known is None or known[0] != state:
            known = self._results[path] = (state, self._snapshot_or_failure(Path(path)))
        return known[1]

    def children(self, run_id: str) -> Sequence[Run]:
        """Give a sweep's children in their order; while it goes on, those to come, too."""
        jobs = self._folder.glob(f"{glob.escape(run_id)}.*/job.json")
        begun = {path.parent.name: self._healed(path.parent) for path in jobs}
        every = {**self._planned(run_id), **begun}
        return sorted(every.values(), key=lambda run: int(run.id.rpartition(".")[2]))

    def _planned(self, run_id: str) -> Mapping[str, Run]:
        directory = self._folder / run_id
        if not (directory / "job.json").exists() or (directory / "result.json").exists():
            return {}
        with suppress(UserError):
            job = wire.loads(Job, (directory / "job.json").read_bytes())
            return {child.id: child.queued("") for child in job.children}
        return {}

    def log(self, run_id: str, *, follow: bool) -> Iterator[str]:
        """Yield what the notebook printed, in lines; with `follow`, until the run is final."""
        directory = self._directory(run_id)
        path = directory / "log.txt"
        if follow:
            for line in self._follow(path, directory):
                yield line.decode(errors="replace")
        elif path.exists():
            yield from path.read_text(errors="replace").splitlines(keepends=True)

    def cancel(self, run_id: str) -> Run:
        """Interrupt the run, wait until it is final, give it."""
        directory = self._directory(run_id)
        deadline = time.monotonic() + _CANCEL_SECONDS
        self._signal(directory, signal.SIGTERM)
        while not (directory / "result.json").exists():
            if time.monotonic() > deadline:
                self._signal(directory, signal.SIGKILL)
            self._heal(directory)
            time.sleep(_POLL_SECONDS)
        return self._snapshot(directory)

    def delete(self, run_id: str) -> None:
        """Take a final run's directory away."""
        directory = self._directory(run_id)
        with self._locked(self._folder / "submit.lock"):
            if not (directory / "result.json").exists():
                raise Conflict(
                    f"run {run_id} is not finished",
                    hint=f"stop it first: mlops cancel {run_id}",
                )
            try:
                shutil.rmtree(directory)
            except OSError as error:
                raise BackendError(
                    f"the run directory {directory} cannot be deleted: "
                    f"{error.strerror or error}",
                    hint="mend its permissions, or delete it by hand",
                ) from error
        self._results.pop(str(directory), None)

    def check(self, kernel: str) -> str:
        """Start a kernel as a run would and say what it is.

        Raises:
            UserError: if there is no such kernel.
            BackendError: if it does not start.
        """
        command = [sys.executable, "-P", "-m", "mlops_nb.runner.probe", kernel]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise BackendError(
                f"kernel {kernel!r} does not start: {done.stderr.strip()[-500:]}",
                hint="see `jupyter kernelspec list`; for Python: pip install ipykernel",
            )
        return done.stdout.strip()

    def _directory(self, run_id: str) -> Path:
        directory = self._folder / run_id
        if not run_id or not (directory / "job.json").exists():
            raise NotFound(
                f"this machine has no run {run_id!r} in {self._folder}", hint="see `mlops runs`"
            )
        return directory

    def _start(self, directory: Path, *words: str) -> None:
        # The lock is taken here and its descriptor handed over, so that nobody can find the run
        # without a runner between this line and the child's first one.
        with (
            (directory / "runner.lock").open("w") as lock,
            (directory / "runner.log").open("a") as log,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)
            command = [sys.executable, "-P", "-m", "mlops_nb.runner", str(directory), *words]
            # The child inherits the mask: a cancel in its first second waits until it listens.
            # An interrupt here waits until the child can be found.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            try:
                process = subprocess.Popen(
                    [*command, "--lock", str(lock.fileno())],
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock.fileno()],
                    start_new_session=True,
                )
                started = psutil.Process(process.pid).create_time()
                _write(directory / "runner.pid", f"{process.pid} {started}")
            except OSError as error:
                raise BackendError(
                    f"the runner could not be started: {error}", hint="run `mlops doctor`"
                ) from error
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _heal(self, directory: Path) -> None:
        """Bring a run to its end whose runner is gone without having done so."""
        if (directory / "result.json").exists():
            return
        with (directory / "runner.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if (directory / "result.json").exists():
                return
            command = [sys.executable, "-P", "-m", "mlops_nb.runner", str(directory), "--heal"]
            done = subprocess.run(
                [*command, "--lock", str(lock.fileno())],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                pass_fds=[lock.fileno()],
                timeout=_HEAL_SECONDS,
                check=False,
            )
        if not (directory / "result.json").exists():
            raise BackendError(
                f"run {directory.name} lost its runner and could not be brought to an end: "
                f"{done.stderr.strip()[-500:]}",
                hint=f"look into {directory}/runner.log",
            )

    def _signal(self, directory: Path, number: signal.Signals) -> None:
        try:
            pid, _, started = (directory / "runner.pid").read_text().partition(" ")
            # Process ids are used again: only the process that was started then is meant.
            if psutil.Process(int(pid)).create_time() == float(started):
                os.kill(int(pid), number)
        except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            # It is gone, or never came to be: what is left of the run is healed.
            return

    def _snapshot(self, directory: Path) -> Run:
        result = directory / "result.json"
        if result.exists():
            return wire.loads(Run, result.read_bytes())
        job = wire.loads(Job, (directory / "job.json").read_bytes())
        run = _tried_before(directory) or job.queued(str(directory))
        events = directory / "events.jsonl"
        for event in _events(events.read_bytes() if events.exists() else b""):
            run = advance(run, event)
        return run

    def _healed(self, directory: Path) -> Run:
        # A run that cannot be healed now, its server being away, must not hide the others.
        with suppress(BackendError, subprocess.TimeoutExpired):
            self._heal(directory)
        return self._snapshot_or_failure(directory)

    def _snapshot_or_failure(self, directory: Path) -> Run:
        """Give a run whose files are broken as a failed one: it must not hide the others."""
        try:
            return self._snapshot(directory)
        except UserError as error:
            return Run(
                id=directory.name,
                notebook="",
                state=RunState.FAILED,
                directory=str(directory),
                failure=Failure(
                    reason=f"the run's record cannot be read: {error.message}",
                    hint=f"look into {directory}; if nothing there is of use, delete it",
                ),
            )

    def _follow(self, path: Path, directory: Path) -> Iterator[bytes]:
        """Yield whole lines of a growing file until the run has its result."""
        while not path.exists() and not (directory / "result.json").exists():
            self._heal(directory)
            time.sleep(_POLL_SECONDS)
        if not path.exists():
            return
        looked = time.monotonic()
        with path.open("rb") as file:
            rest = b""
            while True:
                is_final = (directory / "result.json").exists()
                rest += file.read()
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    yield line + b"\n"
                if is_final:
                    if rest:
                        yield rest
                    return
                if time.monotonic() - looked > 1:
                    looked = time.monotonic()
                    self._heal(directory)
                time.sleep(_POLL_SECONDS)

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _check_placement(job: Job) -> None:
    """Refuse what this machine is not asked to give: it is used as it is.

    Raises:
        UserError: if resources of a cluster were asked for.
    """
    placement = job.placement
    asked = {
        "--gpu": placement.gpu is not None,
        "--cpu": placement.cpu,
        "--image": placement.image,
        "--profile": placement.profile,
    }
    if words := [word for word, is_asked in asked.items() if is_asked]:
        raise UserError(
            f"{', '.join(words)} cannot be asked of this machine: a local run has all of it",
            hint="leave it out, or add --on kubeflow",
        )


def _events(lines: bytes) -> Iterator[Event]:
    """Give the events of whole lines; one that a full disk or a kill tore is no event."""
    for line in lines.splitlines():
        with suppress(UserError):
            yield wire.loads(Event, line)  # type: ignore[arg-type]  # a union is no class


def _tried_before(directory: Path) -> Run | None:
    """Give the run as an earlier try left it, waiting; None for a first try."""
    with suppress(FileNotFoundError, UserError):
        run = wire.loads(Run, (directory / "result.before.json").read_bytes())
        return replace(run, state=RunState.QUEUED, failure=None, started=None, ended=None)
    return None


def _write(path: Path, text: str) -> None:
    """Write a file that is either whole or not there."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)
