"""Ask for runs, from a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core import verbs
from mlops_nb.sdk.asking import Paths, Texts, ask, many, seconds, size
from mlops_nb.viewing import is_live, this_notebook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.core.results import (
        Deleted,
        Rendered,
        SweepResult,
    )
    from mlops_nb.core.rollout import Status
    from mlops_nb.core.run import Run


def train(
    notebook: Paths = "",
    params: Mapping[str, object] | None = None,
    *,
    file: Paths = "",
    data: Mapping[str, str] | None = None,
    gate: Texts = (),
    register: str = "",
    deploy: str = "",
    wait: bool | None = None,
    timeout: str | float | None = None,
    cell_timeout: str | float | None = None,
    memory: str | int | None = None,
    retries: int = 0,
    kernel: str = "",
    key: str = "",
    on: str = "",
    profile: str = "",
    gpu: int | None = None,
    cpu: str = "",
    image: str = "",
    dry_run: bool = False,
    **parameters: object,
) -> Run | Rendered:
    """Run a notebook; judge, register and propose its model if asked.

    Args:
        notebook: its path; in a live notebook, this one if left out.
        params: parameters by name, also those whose name is a word below.
        file: YAML or JSON file with more of them.
        data: uri by parameter name.
        gate: expressions the model must pass.
        register: name to register it under.
        deploy: environment to propose it to.
        wait: stay until the run ends; None does so except in a live notebook.
        timeout: seconds, or `30m`, for the whole run.
        cell_timeout: likewise for any one cell.
        memory: bytes, or `8GiB`.
        retries: how often to start again when the kernel dies.
        kernel: kernelspec name.
        key: the same key again gives the same run.
        on: `local`, or `kubeflow` for a pipeline on a cluster.
        profile: resources named in mlops.toml.
        gpu: accelerators instead of the profile's.
        cpu: CPU instead of the profile's.
        image: container image instead of the profile's.
        dry_run: show what would be submitted, submit nothing.
        **parameters: more parameters by name.

    Returns:
        the final run if waited for, else the run as it is now; of a dry run, what would be
        submitted.

    Raises:
        UserError: before anything runs, if the request is wrong.
        RunFailed: if it was waited for and the notebook failed.
        GateFailed: if it was waited for and a gate did not pass.
    """
    verb = verbs.Train(
        notebook=str(notebook) or this_notebook(),
        parameters={**(params or {}), **parameters},
        parameter_file=str(file),
        data=dict(data or {}),
        gates=many(gate),
        register=register,
        deploy=deploy,
        wait=not is_live() if wait is None else wait,
        timeout=seconds(timeout),
        cell_timeout=seconds(cell_timeout),
        memory=size(memory),
        retries=retries,
        kernel=kernel,
        key=key,
        on=on,
        profile=profile,
        gpu=gpu,
        cpu=cpu,
        image=image,
        dry_run=dry_run,
    )
    run: Run | Rendered = ask(verb)
    return run


def sweep(
    notebook: Paths = "",
    params: Mapping[str, object] | None = None,
    *,
    file: Paths = "",
    random: int = 0,
    seed: int = 0,
    parallel: int = 1,
    best: str = "",
    data: Mapping[str, str] | None = None,
    wait: bool | None = None,
    timeout: str | float | None = None,
    cell_timeout: str | float | None = None,
    memory: str | int | None = None,
    kernel: str = "",
    on: str = "",
    profile: str = "",
    gpu: int | None = None,
    cpu: str = "",
    image: str = "",
    **parameters: object,
) -> SweepResult | Run:
    """Run a notebook once for each set of parameters; lists and `2..8` texts are axes.

    Args:
        notebook: its path; in a live notebook, this one if left out.
        params: axes by parameter name.
        file: CSV file, one set a row.
        random: draw this many of the sets; 0 takes all.
        seed: of the drawing.
        parallel: runs at once.
        best: `max:METRIC` or `min:METRIC`.
        data: uri by parameter name.
        wait: stay until the sweep ends; None does so except in a live notebook.
        timeout: seconds, or `30m`, for each run.
        cell_timeout: likewise for any one cell.
        memory: bytes, or `8GiB`, for each run.
        kernel: kernelspec name.
        on: `local`, or `kubeflow` for one pipeline with a child a set.
        profile: resources named in mlops.toml, for each run.
        gpu: accelerators instead of the profile's.
        cpu: CPU instead of the profile's.
        image: container image instead of the profile's.
        **parameters: more axes by name.

    Returns:
        the sweep with its children if waited for, else its run as it is now.
    """
    verb = verbs.Sweep(
        notebook=str(notebook) or this_notebook(),
        parameters={**(params or {}), **parameters},
        file=str(file),
        random=random,
        seed=seed,
        parallel=parallel,
        best=best,
        data=dict(data or {}),
        wait=not is_live() if wait is None else wait,
        timeout=seconds(timeout),
        cell_timeout=seconds(cell_timeout),
        memory=size(memory),
        kernel=kernel,
        on=on,
        profile=profile,
        gpu=gpu,
        cpu=cpu,
        image=image,
    )
    result: SweepResult | Run = ask(verb)
    return result


def cancel(run: str) -> Run:
    """Stop a run; give it once it has stopped."""
    result: Run = ask(verbs.Cancel(run=run))
    return result


def delete(*runs: str, restore: bool = False) -> Deleted:
    """Delete runs that ended; with `restore`, bring back what is recorded of deleted ones.

    Their directories on this machine are deleted for good. A sweep's children go with it.

    Raises:
        Conflict: if one goes on, or a registered version was made from it; none is deleted.
    """
    result: Deleted = ask(verbs.Delete(runs=runs, restore=restore))
    return result


def retry(run: str, *, env: str = "", wait: bool | None = None) -> SweepResult | Run | Status:
    """Do again what failed: the notebook, the step after it, or a sweep's rest.

    With an environment, `run` is a model, and its aborted or undecided canary is tried again.

    Returns:
        the run; of a sweep that was waited for, with its children; of a canary, its status.

    Raises:
        RunFailed: if it was waited for and failed again.
        GateFailed: if it was waited for and a gate did not pass.
    """
    stays = None if env else not is_live() if wait is None else wait
    result: SweepResult | Run | Status = ask(verbs.Retry(run=run, env=env, wait=stays))
    return result
