"""A run as the tracking server and Kubeflow tell it together."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb.adapters.kubeflow import pods
from mlops_nb.adapters.kubeflow.states import (
    Step,
    StepState,
    in_words,
    moment,
    run_state,
    steps,
)
from mlops_nb.core.quantity import format_duration
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.errors import BackendError, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kfp_server_api import V2beta1Run

    from mlops_nb.adapters.kubeflow.connection import Connection
    from mlops_nb.core.settings import Settings
    from mlops_nb.ports import Registry


_WAIT = "wait"
_ENDS = {StepState.FAILED: RunState.FAILED, StepState.CANCELLED: RunState.CANCELLED}


class Outlook:
    """Sees how runs stand, and records how they ended.

    Args:
        registry: what the runs did.
        kubeflow: gives the way to the server, which tells whether they go on.
        settings: the project's.
    """

    def __init__(
        self, registry: Registry, kubeflow: Callable[[], Connection], settings: Settings
    ) -> None:
        self._registry = registry
        self._kubeflow = kubeflow
        self._settings = settings

    def now(self, recorded: Run) -> Run:
        """Give a recorded run in the state that Kubeflow tells; record how it ended."""
        return self.look(recorded)[0]

    def look(self, recorded: Run) -> tuple[Run, Sequence[Step]]:
        """Give a recorded run as `now` does, and its steps; none where Kubeflow has none."""
        if not (recorded.address or recorded.state.is_final):
            recorded = self._submitted(recorded)
        if not recorded.address:
            return recorded, ()
        address, child = parts(recorded.address)
        try:
            found = self._kubeflow().run(address)
        except NotFound:
            if recorded.state.is_final:
                return recorded, ()
            why = "it was deleted in Kubeflow"
            return self._ended(recorded, RunState.FAILED, why), ()
        told = steps(found)
        if child:
            own = int(child) - 1
            told = [replace(s, iteration=None) for s in told if s.iteration == own]
            return self._child(recorded, found, told), told
        return self._as_told(recorded, found, told), told

    def _submitted(self, recorded: Run) -> Run:
        """Give a run with the address that whoever submitted it did not come to note."""
        server, settings = self._kubeflow(), self._settings
        name = settings.kubeflow.experiment or settings.name
        with suppress(NotFound):
            experiment = server.experiment_id(name, create=False)
            for found in server.runs(named=recorded.id, experiment_id=experiment):
                address = str(found.run_id)
                self._registry.tag(recorded.tracking_id, {"mlops_nb.address": address})
                return replace(recorded, address=address)
        doing = f"not submitted yet; if that was interrupted: mlops cancel {recorded.id}"
        return replace(recorded, state=RunState.QUEUED, doing=doing)

    def _child(self, recorded: Run, found: V2beta1Run, told: Sequence[Step]) -> Run:
        """Give a sweep's child; its own pod records how it ends, unless it is killed."""
        if recorded.state.is_final:
            return recorded
        ended = moment(found.finished_at)
        state, step = run_state(found), next(iter(told), None)
        if step is not None and step.state in _ENDS:
            state, ended = _ENDS[step.state], step.ended
        if not state.is_final:
            return recorded
        if state is RunState.SUCCEEDED:
            # The sweep went on without it.
            state = RunState.FAILED
        return self._ended(recorded, state, self._why(recorded, told), ended)

    def _as_told(self, recorded: Run, found: V2beta1Run, told: Sequence[Step]) -> Run:
        state = run_state(found)
        # A cached run has no time of its own in the tracking server.
        recorded = replace(recorded, started=moment(found.created_at) or recorded.started)
        children = _children(told)
        if children:
            done = sum(state.is_final for state in children.values())
            recorded = replace(recorded, cells_done=done)
        if not state.is_final:
            if waited := self._waited_too_long(recorded, told):
                return waited
            doing = in_words(found) or self._doing(recorded, told)
            now = replace(recorded, state=state, ended=None, failure=None, doing=doing)
            return self._with_cached(now, told)
        finished = moment(found.finished_at)
        if state is not recorded.state and not _gave_up(recorded):
            recorded = self._ended(recorded, state, self._why(recorded, told), finished)
        if children and recorded.failure is not None:
            again = f"run what failed again: mlops retry {recorded.id}"
            recorded = replace(recorded, failure=replace(recorded.failure, hint=again))
        ended = replace(
            recorded,
            ended=finished or recorded.ended,
            pod_seconds=recorded.pod_seconds or _pod_seconds(told),
        )
        return self._with_cached(ended, told)

    def _waited_too_long(self, recorded: Run, told: Sequence[Step]) -> Run | None:
        """Stop a run whose pod did not begin in the time its profile allows; else None.

        Kubeflow itself lets a pod wait for ever; so who looks ends it.
        """
        profile = self._settings.profiles.get(recorded.placement.profile)
        step = _current(told)
        if profile is None or not profile.max_wait or step is None or step.started is None:
            return None
        waited = (datetime.now(UTC) - step.started).total_seconds()
        if step.state is not StepState.QUEUED or waited <= profile.max_wait:
            return None
        trouble = self._trouble(recorded, told)
        self._kubeflow().terminate(recorded.address)
        failure = Failure(
            reason=f"{step.name} did not begin within {format_duration(profile.max_wait)}"
            + (f": {trouble}" if trouble else ""),
            hint=f"try it later: mlops retry {recorded.id}; or raise max_wait in "
            f"[profiles.{profile.name}]",
            step=_WAIT,
        )
        ended = datetime.now(UTC)
        failed = replace(recorded, state=RunState.FAILED, failure=failure, ended=ended)
        return self._registry.finish(failed, {})

    def _with_cached(self, recorded: Run, told: Sequence[Step]) -> Run:
        """Give a run whose notebook was not run again with what came of the earlier one."""
        if recorded.cells_done:
            return recorded
        if not any(step.name == "train" and step.state is StepState.CACHED for step in told):
            return recorded
        twin = self._registry.twin(recorded.tracking_id)
        if twin is None:
            return recorded
        if not recorded.cached_from:
            self._registry.tag(recorded.tracking_id, {"mlops_nb.cached_from": twin.id})
        return replace(
            recorded,
            cached_from=twin.id,
            defaults=twin.defaults,
            metrics=twin.metrics,
            cells=twin.cells,
            cells_done=twin.cells_done,
            peak_memory=twin.peak_memory,
        )

    def _ended(
        self, recorded: Run, state: RunState, why: str, ended: datetime | None = None
    ) -> Run:
        failure = recorded.failure
        # Who stops a pod does not tell it why: of itself it says that it was cancelled.
        was_taken = recorded.state is RunState.CANCELLED
        if state is RunState.CANCELLED:
            failure = Failure(reason=f"cancelled{_at(recorded)}; its pods are gone")
        elif state is RunState.FAILED and (failure is None or was_taken):
            hint = f"look at it: mlops logs {recorded.id}"
            if was_taken:
                hint = f"run it again: mlops retry {recorded.id}"
            elif pods.OUT_OF_MEMORY in why:
                hint = "ask for more: --memory SIZE, or --profile with one that has more"
            failure = Failure(reason=why, hint=hint, error="RunFailed")
        ended = ended or datetime.now(UTC)
        return self._registry.finish(
            replace(recorded, state=state, failure=failure, ended=ended), {}
        )

    def _doing(self, recorded: Run, told: Sequence[Step]) -> str:
        current = _current(told)
        if current is None:
            return ""
        trouble = self._trouble(recorded, told)
        return f"{current.name}: {trouble}" if trouble else current.name

    def _trouble(self, recorded: Run, told: Sequence[Step]) -> str:
        address, child = parts(recorded.address)
        # What holds up another child is no trouble of this one.
        pod = next((step.pod for step in told), "") if child else ""
        return pods.trouble(self._settings.kubeflow, address, pod)

    def _last_word(self, recorded: Run, failed: Sequence[Step]) -> str:
        """Give what a failed step printed last of why, where its pod's log can be read."""
        for step in failed:
            try:
                address, _ = parts(recorded.address)
                log = self._kubeflow().node_log(address, step.pod) if step.pod else ""
            except (NotFound, BackendError):
                continue
            if said := _last_word_of(log, step.name):
                return said
        return ""

    def _why(self, recorded: Run, told: Sequence[Step]) -> str:
        if children := _children(told):
            failures = sum(state is StepState.FAILED for state in children.values())
            return f"{failures} of {len(children)} children failed"
        failed = [step for step in told if step.state is StepState.FAILED]
        trouble = self._trouble(recorded, told)
        where = "the pipeline failed"
        if failed:
            step = failed[-1].name
            where = f"step {step} failed{_at(recorded) if step == 'train' else ''}"
        said = trouble or next((step.error for step in failed if step.error), "")
        said = said or self._last_word(recorded, failed)
        if not said and recorded.state is RunState.CANCELLED:
            said = "its pod was told to stop"
        return f"{where}: {said}" if said else where


def parts(address: str) -> tuple[str, str]:
    """Give an address' pipeline run, and the number of a sweep's child, if it is one."""
    pipeline_run, _, child = address.partition(".")
    return pipeline_run, child


def _current(told: Sequence[Step]) -> Step | None:
    return next((step for step in told if not step.state.is_final), None)


def _gave_up(run: Run) -> bool:
    return run.failure is not None and run.failure.step == _WAIT


def _at(run: Run) -> str:
    return f" at cell {run.cells_done + 1} of {run.cells}" if run.cells_done < run.cells else ""


def _pod_seconds(told: Sequence[Step]) -> float:
    """Give how long pods of training were there, as far as Kubeflow tells; they waited, too."""
    return sum(
        (step.ended - step.started).total_seconds()
        for step in told
        if step.name == "train" and step.pod and step.started and step.ended
    )


def _last_word_of(log: str, step: str) -> str:
    """Give what a step said of its own failure; empty if it said nothing."""
    mark = f"{step} failed: "
    said = [line for line in log.splitlines() if line.startswith(mark)]
    return said[-1].removeprefix(mark) if said else ""


def _children(told: Sequence[Step]) -> Mapping[int, StepState]:
    """Give where each child of a sweep stands; nothing of a run that is none."""
    return {
        step.iteration: step.state
        for step in told
        if step.name == "train" and step.iteration is not None
    }
