"""The steps after a notebook: judge its run, register its model, propose it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.core.gate import Verdict
from mlops_nb.core.run import RunState
from mlops_nb.core.verbs import Deploy
from mlops_nb.flows import register as registering

if TYPE_CHECKING:
    from mlops_nb.core.delivery import Deployment
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.run import Run
    from mlops_nb.core.verbs import Job
    from mlops_nb.project import Project


def gates_of(job: Job, project: Project) -> tuple[str, ...]:
    """Give what a job's run is judged by: its own gates and its model's."""
    return tuple(dict.fromkeys([*job.gates, *project.settings.gates.get(job.register, ())]))


def judge(job: Job, project: Project, run: Run) -> Verdict | None:
    """Judge a run by a job's gates and record the verdict; None if there is no gate.

    Raises:
        UserError: if the run logged an evaluation table that cannot be read as such.
    """
    gates = gates_of(job, project)
    return project.judge(run, gates, job.register) if gates else None


def register(job: Job, project: Project, run: Run) -> ModelVersion:
    """Register the model of a run that was judged a moment ago.

    Raises:
        UserError: if it logged no model, or more than one.
        GateFailed: if a gate did not pass.
    """
    verdict = run.verdict or Verdict(checks=())
    return registering.register(
        replace(run, state=RunState.SUCCEEDED),
        job.register,
        gates_of(job, project),
        registry=project.registry,
        # To judge again would take a bootstrap more.
        judge=lambda *_: verdict,
    )


def propose(job: Job, project: Project, model: str) -> Deployment:
    """Propose a registered version, as `name/version`, to the job's environment.

    Raises:
        GateFailed: if a gate of the environment does not pass; nothing is written.
    """
    deployment: Deployment = project.run(Deploy(model=model, to=job.deploy))
    return deployment
