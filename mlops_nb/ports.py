"""What the flows need of the outside world.

Each port has a contract suite in tests/contract that every adapter and every fake passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mlops_nb.core.events import unheard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from mlops_nb.core.change import ChangeSet, Commit, PullRequest
    from mlops_nb.core.events import Event, Progress
    from mlops_nb.core.gate import EvaluationTable
    from mlops_nb.core.lineage import CodeState
    from mlops_nb.core.model import ModelRef, ModelVersion
    from mlops_nb.core.recurring import Schedule, Scheduled
    from mlops_nb.core.rollout import Application, Operation, Rollout
    from mlops_nb.core.run import Run, RunState
    from mlops_nb.core.settings import Settings
    from mlops_nb.core.verbs import Job


class Listener(Protocol):
    """Told of events while a verb runs."""

    def __call__(self, event: Event, /) -> None:
        """Take notice of `event`; must not block."""


class Executor(Protocol):
    """Places the runner somewhere and keeps in touch with it through its run directory."""

    def submit(self, job: Job, notebook: bytes, tell: Listener = unheard) -> Run:
        """Start the job; a job whose key was submitted before gives that run again.

        Args:
            job: what to do.
            notebook: the notebook as it is now; later edits of the file do not reach the run.
            tell: told what a person should know before it runs: a doubt, a price, an address.

        Raises:
            BackendError: if the runner could not be started.
            Conflict: if the key belongs to a run of another request.
        """

    def render(
        self, job: Job, notebook: bytes, *, kubernetes: bool = False
    ) -> Mapping[str, bytes]:
        """Give the files that a submission would consist of, by name; start nothing.

        Args:
            job: what would be submitted.
            notebook: the notebook as it is now.
            kubernetes: whether manifests for a cluster are among them, too.

        Raises:
            UserError: if the job could not be submitted.
        """

    def resume(self, run_id: str) -> Run:
        """Do a final run again under its id: all of it, or from the step that failed.

        A notebook that ran to its end is not run again; of a sweep, only the children that
        did not succeed are.

        Raises:
            NotFound: if this executor never had the run.
        """

    def watch(self, run_id: str) -> Iterator[Event]:
        """Yield every event of the run from its beginning, as they come, until it is final.

        A run whose runner is gone is healed, not waited for.

        Raises:
            NotFound: if this executor never had the run.
        """

    def run(self, run_id: str) -> Run | None:
        """Give the run as its directory tells, healed if its runner is gone, or None."""

    def runs(self) -> Sequence[Run]:
        """Give every run this executor has a directory of, newest first, healed."""

    def children(self, run_id: str) -> Sequence[Run]:
        """Give a sweep's children in their order; none of a run that is no sweep.

        Until the sweep is final, those that have not begun are among them, queued.
        """

    def log(self, run_id: str, *, follow: bool) -> Iterator[str]:
        """Yield what the notebook printed, in lines; with `follow`, until the run is final.

        Raises:
            NotFound: if this executor never had the run.
        """

    def cancel(self, run_id: str) -> Run:
        """Interrupt the run, wait until it is final, give it; a final run is given as it is.

        Raises:
            NotFound: if this executor never had the run.
        """

    def delete(self, run_id: str) -> None:
        """Take away what this machine keeps of a final run.

        Raises:
            Conflict: if the run goes on.
            NotFound: if this executor never had the run.
        """

    def check(self, kernel: str) -> str:
        """Start a kernel as a run would; say what was found.

        Raises:
            BackendError: if it does not start.
        """

    def scheduler(self) -> Scheduler | None:
        """Give what starts runs at set times; None where nothing does."""


class Scheduler(Protocol):
    """Starts a job again and again, at the times of a schedule."""

    def put(self, schedule: Schedule, job: Job, notebook: bytes, fingerprint: str) -> Scheduled:
        """Make the schedule, or make the one of its name this one; it stays paused if it is.

        The same again changes nothing.

        Args:
            schedule: its words, complete and checked.
            job: what each of its runs is to do; its id is the schedule's name.
            notebook: the notebook as it is now; later edits of the file reach no run.
            fingerprint: digest of the notebook's cells.

        Raises:
            UserError: if the times cannot be kept exactly, or the job could not be submitted.
            Conflict: if something else bears the name.
        """

    def schedules(self) -> Sequence[Scheduled]:
        """Give every schedule of the project, by name, each with its newest run."""

    def find(self, name: str) -> Scheduled | None:
        """Give a schedule; None if there is none of the name."""

    def switch(self, name: str, *, active: bool) -> None:
        """Let a schedule start runs, or keep it from it.

        Raises:
            NotFound: if there is none of the name.
        """

    def delete(self, name: str) -> None:
        """Delete a schedule; its runs stay.

        Raises:
            NotFound: if there is none of the name.
        """


class Surroundings(Protocol):
    """What an executor is opened with: the project, as far as it needs it."""

    @property
    def runs_folder(self) -> Path:
        """Where runs of this machine have their directories."""

    @property
    def settings(self) -> Settings:
        """What mlops.toml says."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The process' environment variables."""

    @property
    def registry(self) -> Registry:
        """The tracking server and model registry."""

    @property
    def tracking_uri(self) -> str:
        """The tracking server or store, as this machine reaches it."""

    @property
    def tool(self) -> str:
        """Name and version of this tool."""

    def secret(self, reference: str) -> str:
        """Look a secret up by reference."""

    def code(self, notebook: str) -> CodeState:
        """Give the state of the Git repository that a notebook lies in."""


class Registry(Protocol):
    """Keeps runs, their files and the registered models: MLflow."""

    def begin(self, run: Run, tags: Mapping[str, str]) -> Run:
        """Record a run that is about to start; give it with its `tracking_id` and `url`.

        A run whose `parent` is recorded becomes its child. A run that has a `tracking_id`
        already is taken up again instead of recorded twice.

        Args:
            run: its id, notebook and parameters are recorded.
            tags: lineage known before the start.

        Raises:
            BackendUnavailable: if the tracking server does not answer.
        """

    def environment(self, run: Run) -> Mapping[str, str]:
        """Give the variables with which a kernel's own logging lands in this run."""

    def metrics(self, tracking_id: str) -> Mapping[str, float]:
        """Give the last value of every metric the run logged so far."""

    def finish(self, run: Run, files: Mapping[str, Path]) -> Run:
        """Record how a run stands: state, datasets, failure, verdict, memory, files by path.

        A final state ends it. Repeating it changes nothing. Gives the run with the metrics it
        logged.
        """

    def conceal(self, tracking_id: str, redact: Callable[[str], str]) -> Sequence[str]:
        """Take known secrets out of the tags and text files the notebook itself recorded.

        Args:
            tracking_id: MLflow id of the run.
            redact: takes secrets out of a text.

        Returns:
            what holds a secret and cannot be changed: `parameter NAME`, `file PATH`.
        """

    def runs(
        self,
        *,
        limit: int,
        notebook: str = "",
        state: RunState | None = None,
        parent: str = "",
        until: datetime | None = None,
    ) -> Sequence[Run]:
        """Give recorded runs, newest first.

        Args:
            limit: how many at most.
            notebook: only runs of this notebook's file name; empty for all.
            state: only runs in this state.
            parent: only children of the run of this id.
            until: only runs that began then or before.

        Raises:
            BackendError: if the tracking server does not answer as it should.
        """

    def find(self, ref: str) -> Run:
        """Give the run with this id, MLflow id, or unique beginning of either.

        Raises:
            NotFound: if there is none.
            UserError: if the beginning fits several.
        """

    def delete(self, tracking_id: str) -> None:
        """Hide a run, and the runs its notebook started, until it is restored.

        Raises:
            NotFound: if there is none.
        """

    def restore(self, ref: str) -> Sequence[Run]:
        """Bring back a deleted run by its id or MLflow id; of a sweep, its children, too.

        Raises:
            NotFound: if none of this id was deleted.
        """

    def tagged(self, name: str, value: str) -> Run | None:
        """Give the newest run with this tag; None if there is none."""

    def twin(self, tracking_id: str) -> Run | None:
        """Give the newest other run that did the same work and succeeded; None if none did.

        The same work is the same bundle with the same parameters on the same data.
        """

    def progress(self, tracking_id: str, progress: Progress) -> None:
        """Record how far a run is, for who watches it from another machine."""

    def table(self, tracking_id: str) -> EvaluationTable | None:
        """Give the evaluation table the run logged; None if it logged none.

        Raises:
            UserError: if it logged one that cannot be read as such.
        """

    def file(self, tracking_id: str, path: str) -> bytes | None:
        """Give a file the run recorded; None if there is none."""

    def attach(self, tracking_id: str, path: str, content: bytes) -> None:
        """Record a file with the run; the same path again replaces it."""

    def tag(self, tracking_id: str, tags: Mapping[str, str]) -> None:
        """Record tags with the run."""

    def register(self, run: Run, name: str) -> ModelVersion:
        """Register the model the run logged, with lineage tags, and point `@candidate` at it.

        The same run registered twice under one name is one version.

        Raises:
            UserError: if the run logged no model, or more than one.
        """

    def versions(self, name: str = "") -> Sequence[ModelVersion]:
        """Give the versions of a model, or of all models, newest first."""

    def resolve(self, ref: ModelRef) -> ModelVersion:
        """Give the version; a bare name means the newest.

        Raises:
            NotFound: if there is no such model, version or alias.
        """

    def has_files(self, version: ModelVersion) -> bool:
        """Tell whether a registered version's files are still where the registry says.

        Raises:
            BackendError: if that cannot be seen from here.
        """

    def point(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""

    def mark(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Record tags with a version.

        Raises:
            NotFound: if there is no such version.
        """

    def check(self) -> str:
        """Write to the store and its artifacts, take it back, and say what was found.

        Raises:
            BackendError: if the store does not answer or refuses.
        """


class Forge(Protocol):
    """A GitOps repository with pull requests; `base` is the branch the cluster follows."""

    def read(self, folder: str) -> Mapping[str, bytes]:
        """Give every file below `folder` on base, by path from the repository's root."""

    def find(self, branch: str) -> PullRequest | None:
        """Give the open pull request of this branch; None if there is none."""

    def propose(self, change: ChangeSet) -> PullRequest:
        """Make the change one commit on its branch and open or update its pull request.

        The same change twice is one pull request and one commit. A change that two people make
        at once is neither lost nor torn: the later one updates the earlier one's pull request.

        Raises:
            Conflict: if the branch moved again and again while this was tried.
        """

    def pull_request(self, number: int) -> PullRequest:
        """Give a pull request.

        Raises:
            NotFound: if there is none of this number.
        """

    def pull_requests(self) -> Sequence[PullRequest]:
        """Give every pull request, newest first."""

    def merge(self, number: int) -> PullRequest:
        """Merge into base with a merge commit; a merged one is given as it is.

        Raises:
            NotFound: if there is none of this number.
            Conflict: if base changed the same files since.
        """

    def log(self, path: str, *, since: datetime | None = None) -> Iterator[Commit]:
        """Yield commits of base that touch a file matching glob `path`, newest first."""

    def check(self) -> str:
        """Try the way to the repository and the rights there; say what was found.

        Raises:
            MlopsError: of what fails, which the message names.
        """


class Images(Protocol):
    """Image registries, as far as a deployment depends on them."""

    def has(self, image: str) -> bool:
        """Tell whether an image, named by its digest, is in its registry.

        Raises:
            BackendError: if that cannot be told: no answer, no right, no such registry.
        """


class Proposal(Protocol):
    """A change to a GitOps repository, as a clone of it holds it: read, never written.

    Args:
        base: newest commit of the branch that the cluster follows.
        head: newest commit of what is proposed.
        start: where the two parted.
    """

    base: str
    head: str
    start: str

    def read(self, commit: str, folder: str) -> Mapping[str, bytes]:
        """Give every file below `folder` at a commit, by path from the repository's root."""

    def changed(self) -> Mapping[str, tuple[bytes | None, bytes | None]]:
        """Give the files that the change touches, before and after, by path."""

    def stood(self, path: str) -> Iterator[str]:
        """Yield what base was before each commit that touched a file, newest first."""

    def is_as(self, commit: str, paths: Iterable[str]) -> bool:
        """Tell whether files are, as proposed, what they are at a commit."""


class Cluster(Protocol):
    """What runs the models of an environment: asked and steered; nothing is ever made in it."""

    def application(self, model: str) -> Application | None:
        """Give what Argo CD says of a model; None if it knows none of the name.

        Raises:
            BackendUnavailable: if there is no answer in time.
            NotAllowed: if the login or the person's rights do not suffice.
        """

    def rollout(self, model: str) -> Rollout | None:
        """Give the live rollout of a model; None if there is none.

        Raises:
            BackendUnavailable: if there is no answer in time.
            NotAllowed: if the login or the person's rights do not suffice.
        """

    def act(self, model: str, operation: Operation) -> None:
        """Tell a model's rollout what to do; it does so in its own time.

        Raises:
            NotFound: if there is no rollout.
            NotAllowed: if the person may not do that.
            BackendError: if it is refused otherwise.
        """

    def check(self) -> str:
        """Say who is let in, and by what.

        Raises:
            BackendError: if it does not answer or refuses.
        """


__all__ = [
    "Cluster", "Executor", "Forge", "Images", "Listener", "Proposal", "Registry", "Scheduler",
]  # fmt: skip
