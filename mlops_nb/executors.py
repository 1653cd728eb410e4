"""Every executor of a project behind the port of one: a run is asked where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.events import unheard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlops_nb.core.events import Event
    from mlops_nb.core.run import Run
    from mlops_nb.core.verbs import Job
    from mlops_nb.ports import Executor, Listener, Scheduler

HERE = "local"


class Executors:
    """The executors of a project.

    Args:
        default: name of the one that takes runs that name none.
        configured: names of those that may have runs, besides the one on this machine.
        load: gives an executor by name.
    """

    def __init__(
        self, default: str, configured: Sequence[str], load: Callable[[str], Executor]
    ) -> None:
        self._default = default
        self._names = (HERE, *(name for name in configured if name != HERE))
        self._load = load
        self._loaded: dict[str, Executor] = {}

    def named(self, name: str) -> Executor:
        """Give an executor; an empty name means the default.

        Raises:
            BadSettings: if none of this name is installed.
        """
        name = name or self._default
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def submit(self, job: Job, notebook: bytes, tell: Listener = unheard) -> Run:
        """Start the job where it is to go on."""
        return self.named(job.placement.on).submit(job, notebook, tell)

    def render(
        self, job: Job, notebook: bytes, *, kubernetes: bool = False
    ) -> Mapping[str, bytes]:
        """Give the files that a submission would consist of."""
        return self.named(job.placement.on).render(job, notebook, kubernetes=kubernetes)

    def resume(self, run_id: str) -> Run:
        """Do a final run again where it was."""
        return self._of(run_id).resume(run_id)

    def watch(self, run_id: str) -> Iterator[Event]:
        """Yield every event of the run until it is final."""
        return self._of(run_id).watch(run_id)

    def run(self, run_id: str) -> Run | None:
        """Give the run, wherever it is; None if no executor has it."""
        found = (self.named(name).run(run_id) for name in self._names)
        return next((run for run in found if run is not None), None)

    def runs(self) -> Sequence[Run]:
        """Give the runs of this machine; of the others the tracking server has the list."""
        return self.named(HERE).runs()

    def children(self, run_id: str) -> Sequence[Run]:
        """Give a sweep's children in their order."""
        return self._of(run_id).children(run_id)

    def log(self, run_id: str, *, follow: bool) -> Iterator[str]:
        """Yield what the notebook printed, in lines."""
        return self._of(run_id).log(run_id, follow=follow)

    def cancel(self, run_id: str) -> Run:
        """Interrupt the run, wait until it is final, give it."""
        return self._of(run_id).cancel(run_id)

    def delete(self, run_id: str) -> None:
        """Take away what this machine keeps of a final run."""
        self._of(run_id).delete(run_id)

    def check(self, kernel: str) -> str:
        """Start a kernel on this machine."""
        return self.named(HERE).check(kernel)

    def scheduler(self) -> Scheduler | None:
        """Give what starts runs at set times, of the first executor that has it."""
        found = (self.named(name).scheduler() for name in self._names)
        return next((scheduler for scheduler in found if scheduler is not None), None)

    def _of(self, run_id: str) -> Executor:
        *others, last = self._names
        for name in others:
            if self.named(name).run(run_id) is not None:
                return self.named(name)
        # Whether the last one has it, the call itself finds out: a remote one is asked once.
        return self.named(last)
