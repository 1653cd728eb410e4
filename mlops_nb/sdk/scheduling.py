"""Have notebooks run at set times, or elsewhere, from a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core import verbs
from mlops_nb.sdk.asking import Paths, Texts, ask, many, seconds, size
from mlops_nb.viewing import this_notebook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.core.recurring import Scheduled, ScheduleList
    from mlops_nb.core.results import (
        Ejected,
    )


def schedule(
    notebook: Paths = "",
    params: Mapping[str, object] | None = None,
    *,
    cron: str,
    timezone: str = "UTC",
    catchup: bool = False,
    latest: bool = False,
    name: str = "",
    file: Paths = "",
    data: Mapping[str, str] | None = None,
    gate: Texts = (),
    register: str = "",
    deploy: str = "",
    timeout: str | float | None = None,
    cell_timeout: str | float | None = None,
    memory: str | int | None = None,
    retries: int = 0,
    kernel: str = "",
    on: str = "",
    profile: str = "",
    gpu: int | None = None,
    cpu: str = "",
    image: str = "",
    **parameters: object,
) -> Scheduled:
    """Run a notebook again and again; the words of `train` say what each run does.

    Args:
        notebook: its path; in a live notebook, this one if left out.
        params: parameters by name, also those whose name is a word below.
        cron: minute, hour, day of month, month, day of week, or `@daily`.
        timezone: of these times: `UTC`, `UTC+1`, `Europe/Berlin`.
        catchup: make up for times it missed.
        latest: each run takes the notebook of the last update, not the one as it is now.
        name: of the schedule; else the notebook's.
        file: YAML or JSON file with more parameters.
        data: uri by parameter name.
        gate: expressions each model must pass.
        register: name to register it under.
        deploy: environment to propose it to.
        timeout: seconds, or `30m`, for a whole run.
        cell_timeout: likewise for any one cell.
        memory: bytes, or `8GiB`.
        retries: how often to start again when the kernel dies.
        kernel: kernelspec name.
        on: `kubeflow`; else the project's.
        profile: resources named in mlops.toml.
        gpu: accelerators instead of the profile's.
        cpu: CPU instead of the profile's.
        image: container image instead of the profile's.
        **parameters: more parameters by name.

    Returns:
        the schedule, which the same call again leaves as it is.

    Raises:
        UserError: before anything is made, if the request is wrong, or runs go on on this
            machine; the hint is then the line for cron.
    """
    verb = verbs.Schedule(
        notebook=str(notebook) or this_notebook(),
        cron=cron,
        timezone=timezone,
        catchup=catchup,
        latest=latest,
        name=name,
        parameters={**(params or {}), **parameters},
        parameter_file=str(file),
        data=dict(data or {}),
        gates=many(gate),
        register=register,
        deploy=deploy,
        timeout=seconds(timeout),
        cell_timeout=seconds(cell_timeout),
        memory=size(memory),
        retries=retries,
        kernel=kernel,
        on=on,
        profile=profile,
        gpu=gpu,
        cpu=cpu,
        image=image,
    )
    result: Scheduled = ask(verb)
    return result


def update_schedule(
    name: str,
    params: Mapping[str, object] | None = None,
    *,
    cron: str = "",
    timezone: str = "",
    catchup: bool | None = None,
    latest: bool | None = None,
    file: Paths = "",
    data: Mapping[str, str] | None = None,
    gate: Texts = (),
    register: str = "",
    deploy: str = "",
    timeout: str | float | None = None,
    cell_timeout: str | float | None = None,
    memory: str | int | None = None,
    retries: int | None = None,
    kernel: str = "",
    profile: str = "",
    gpu: int | None = None,
    cpu: str = "",
    image: str = "",
    **parameters: object,
) -> Scheduled:
    """Take the notebook as it is now into a schedule, and change the words that are given.

    The words are those of `schedule`; what is left out stays as it was.
    """
    verb = verbs.UpdateSchedule(
        name=name,
        cron=cron,
        timezone=timezone,
        catchup=catchup,
        latest=latest,
        parameters={**(params or {}), **parameters},
        parameter_file=str(file),
        data=dict(data or {}),
        gates=many(gate),
        register=register,
        deploy=deploy,
        timeout=seconds(timeout),
        cell_timeout=seconds(cell_timeout),
        memory=size(memory),
        retries=retries,
        kernel=kernel,
        profile=profile,
        gpu=gpu,
        cpu=cpu,
        image=image,
    )
    result: Scheduled = ask(verb)
    return result


def pause_schedule(name: str) -> Scheduled:
    """Keep a schedule from starting runs."""
    result: Scheduled = ask(verbs.PauseSchedule(name=name))
    return result


def resume_schedule(name: str) -> Scheduled:
    """Let a schedule start runs again."""
    result: Scheduled = ask(verbs.ResumeSchedule(name=name))
    return result


def delete_schedule(name: str) -> Scheduled:
    """Delete a schedule, give it as it was; its runs stay."""
    result: Scheduled = ask(verbs.DeleteSchedule(name=name))
    return result


def schedules() -> ScheduleList:
    """List schedules, with their next and last runs."""
    result: ScheduleList = ask(verbs.Schedules())
    return result


def eject(
    notebook: Paths = "",
    params: Mapping[str, object] | None = None,
    *,
    to: Paths = "",
    kubernetes: bool = False,
    model: str = "",
    env: str = "",
    file: Paths = "",
    data: Mapping[str, str] | None = None,
    gate: Texts = (),
    register: str = "",
    deploy: str = "",
    timeout: str | float | None = None,
    cell_timeout: str | float | None = None,
    memory: str | int | None = None,
    retries: int = 0,
    kernel: str = "",
    on: str = "",
    profile: str = "",
    gpu: int | None = None,
    cpu: str = "",
    image: str = "",
    **parameters: object,
) -> Ejected:
    """Write what a submission consists of into a folder, to go on without this tool.

    The other words are those of `train`.

    Args:
        notebook: its path; in a live notebook, this one if left out.
        params: parameters by name.
        to: folder to write; else NOTEBOOK-ejected.
        kubernetes: write manifests, too, for a Kubeflow with its pipelines in Kubernetes.
        model: write the deployment of this version, too.
        env: environment of that deployment.
        file: YAML or JSON file with more parameters.
        data: uri by parameter name.
        gate: expressions the model must pass.
        register: name to register it under.
        deploy: environment to propose it to.
        timeout: seconds, or `30m`, for the whole run.
        cell_timeout: likewise for any one cell.
        memory: bytes, or `8GiB`.
        retries: how often to start again when the kernel dies.
        kernel: kernelspec name.
        on: `kubeflow`, which is meant if left out.
        profile: resources named in mlops.toml.
        gpu: accelerators instead of the profile's.
        cpu: CPU instead of the profile's.
        image: container image instead of the profile's.
        **parameters: more parameters by name.

    Raises:
        Conflict: if the folder holds other files, or changed ones; nothing is written.
    """
    verb = verbs.Eject(
        notebook=str(notebook) or this_notebook(),
        to=str(to),
        kubernetes=kubernetes,
        model=model,
        env=env,
        parameters={**(params or {}), **parameters},
        parameter_file=str(file),
        data=dict(data or {}),
        gates=many(gate),
        register=register,
        deploy=deploy,
        timeout=seconds(timeout),
        cell_timeout=seconds(cell_timeout),
        memory=size(memory),
        retries=retries,
        kernel=kernel,
        on=on,
        profile=profile,
        gpu=gpu,
        cpu=cpu,
        image=image,
    )
    result: Ejected = ask(verb)
    return result
