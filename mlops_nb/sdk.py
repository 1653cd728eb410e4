"""The Python face: the grammar's words as keywords.

Errors are raised, of the classes in `mlops_nb.errors`. Functions that start runs wait for them,
unless they are called in a live notebook or told otherwise by `wait`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.core import verbs
from mlops_nb.core.outcome import ensure_success
from mlops_nb.core.quantity import parse_duration, parse_size
from mlops_nb.core.run import Run
from mlops_nb.live import is_live, this_notebook
from mlops_nb.project import Project

if TYPE_CHECKING:
    from mlops_nb.core.delivery import Deployment, Merged
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.notebook import Notebook
    from mlops_nb.core.recurring import Scheduled, ScheduleList
    from mlops_nb.core.results import (
        Comparison,
        DeploymentHistory,
        Diagnosis,
        Ejected,
        Initialized,
        ModelList,
        Rendered,
        RunList,
        SweepResult,
    )

_Paths = str | Path
_Texts = str | Sequence[str]


def _many(words: _Texts) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)


def _seconds(time: str | float | None) -> float | None:
    return parse_duration(time) if isinstance(time, str) else time


def _bytes(size: str | int | None) -> int | None:
    return parse_size(size) if isinstance(size, str) else size


def _run(verb: verbs.Verb) -> Any:
    return Project.open_for(verb).run(verb)


def init(*, gitops: _Paths = "") -> Initialized:
    """Make the working folder a project: mlops.toml and, unless named, a GitOps repository."""
    result: Initialized = _run(verbs.Init(gitops=str(gitops)))
    return result


def doctor(*, timeout: float = 10.0) -> Diagnosis:
    """Try every configured part, each for at most `timeout` seconds."""
    result: Diagnosis = _run(verbs.Doctor(timeout=timeout))
    return result


def inspect(notebook: _Paths = "") -> Notebook:
    """Give a notebook's parameters; without a path, of the notebook this is called in."""
    result: Notebook = _run(verbs.Inspect(notebook=str(notebook) or this_notebook()))
    return result


def train(
    notebook: _Paths = "",
    params: Mapping[str, object] | None = None,
    *,
    file: _Paths = "",
    data: Mapping[str, str] | None = None,
    gate: _Texts = (),
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
        gates=_many(gate),
        register=register,
        deploy=deploy,
        wait=not is_live() if wait is None else wait,
        timeout=_seconds(timeout),
        cell_timeout=_seconds(cell_timeout),
        memory=_bytes(memory),
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
    run: Run | Rendered = _run(verb)
    return ensure_success(run) if verb.wait and isinstance(run, Run) else run


def sweep(
    notebook: _Paths = "",
    params: Mapping[str, object] | None = None,
    *,
    file: _Paths = "",
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
        timeout=_seconds(timeout),
        cell_timeout=_seconds(cell_timeout),
        memory=_bytes(memory),
        kernel=kernel,
        on=on,
        profile=profile,
        gpu=gpu,
        cpu=cpu,
        image=image,
    )
    result: SweepResult | Run = _run(verb)
    return result


def schedule(
    notebook: _Paths = "",
    params: Mapping[str, object] | None = None,
    *,
    cron: str,
    timezone: str = "UTC",
    catchup: bool = False,
    latest: bool = False,
    name: str = "",
    file: _Paths = "",
    data: Mapping[str, str] | None = None,
    gate: _Texts = (),
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
        gates=_many(gate),
        register=register,
        deploy=deploy,
        timeout=_seconds(timeout),
        cell_timeout=_seconds(cell_timeout),
        memory=_bytes(memory),
        retries=retries,
        kernel=kernel,
        on=on,
        profile=profile,
        gpu=gpu,
        cpu=cpu,
        image=image,
    )
    result: Scheduled = _run(verb)
    return result


def update_schedule(
    name: str,
    params: Mapping[str, object] | None = None,
    *,
    cron: str = "",
    timezone: str = "",
    catchup: bool | None = None,
    latest: bool | None = None,
    file: _Paths = "",
    data: Mapping[str, str] | None = None,
    gate: _Texts = (),
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
        gates=_many(gate),
        register=register,
        deploy=deploy,
        timeout=_seconds(timeout),
        cell_timeout=_seconds(cell_timeout),
        memory=_bytes(memory),
        retries=retries,
        kernel=kernel,
        profile=profile,
        gpu=gpu,
        cpu=cpu,
        image=image,
    )
    result: Scheduled = _run(verb)
    return result


def pause_schedule(name: str) -> Scheduled:
    """Keep a schedule from starting runs."""
    result: Scheduled = _run(verbs.PauseSchedule(name=name))
    return result


def resume_schedule(name: str) -> Scheduled:
    """Let a schedule start runs again."""
    result: Scheduled = _run(verbs.ResumeSchedule(name=name))
    return result


def delete_schedule(name: str) -> Scheduled:
    """Delete a schedule, give it as it was; its runs stay."""
    result: Scheduled = _run(verbs.DeleteSchedule(name=name))
    return result


def schedules() -> ScheduleList:
    """List schedules, with their next and last runs."""
    result: ScheduleList = _run(verbs.Schedules())
    return result


def runs(notebook: str = "", *, state: str = "", limit: int = 20) -> RunList:
    """List runs, newest first."""
    result: RunList = _run(verbs.Runs(notebook=notebook, state=state, limit=limit))
    return result


def show(run: str) -> Run | SweepResult:
    """Give a run as it is now; of a sweep, its children too."""
    result: Run | SweepResult = _run(verbs.Show(run=run))
    return result


def logs(run: str, *, follow: bool = False) -> Iterator[str]:
    """Yield what a run printed, in lines; with `follow`, until it ends."""
    result: Iterator[str] = _run(verbs.Logs(run=run, follow=follow))
    return result


def cancel(run: str) -> Run:
    """Stop a run; give it once it has stopped."""
    result: Run = _run(verbs.Cancel(run=run))
    return result


def retry(run: str, *, wait: bool | None = None) -> SweepResult | Run:
    """Do again what failed: the notebook, the step after it, or a sweep's rest.

    Returns:
        the run; of a sweep that was waited for, with its children.

    Raises:
        RunFailed: if it was waited for and failed again.
    """
    stays = not is_live() if wait is None else wait
    result: SweepResult | Run = _run(verbs.Retry(run=run, wait=stays))
    return ensure_success(result) if stays and isinstance(result, Run) else result


def compare(*runs: str) -> Comparison:
    """Give runs to be read side by side."""
    result: Comparison = _run(verbs.Compare(runs=runs))
    return result


def register(run: str, name: str, *, gate: _Texts = ()) -> ModelVersion:
    """Register a run's model.

    Raises:
        GateFailed: if a gate does not pass; nothing is registered.
    """
    result: ModelVersion = _run(verbs.Register(run=run, name=name, gates=_many(gate)))
    return result


def models(name: str = "") -> ModelList:
    """List versions of a model, or of all."""
    result: ModelList = _run(verbs.Models(name=name))
    return result


def deploy(model: str, to: str, *, canary: str = "", dry_run: bool = False) -> Deployment:
    """Propose a model version to an environment, as a pull request.

    Raises:
        GateFailed: if a gate of the environment does not pass; nothing is written.
    """
    verb = verbs.Deploy(model=model, to=to, canary=canary, dry_run=dry_run)
    result: Deployment = _run(verb)
    return result


def merge(number: int) -> Merged:
    """Merge a pull request of the local GitOps repository."""
    result: Merged = _run(verbs.Merge(number=number))
    return result


def history(model: str = "", *, env: str = "", limit: int = 50) -> DeploymentHistory:
    """Tell who deployed which model when, and with what data, from Git alone."""
    verb = verbs.History(model=model, env=env, limit=limit)
    result: DeploymentHistory = _run(verb)
    return result


def rollback(model: str, env: str, *, to: int = 0, reason: str = "") -> Deployment:
    """Propose the return to an earlier version, as a pull request."""
    verb = verbs.Rollback(model=model, env=env, to=to, reason=reason)
    result: Deployment = _run(verb)
    return result


def eject(
    notebook: _Paths = "",
    params: Mapping[str, object] | None = None,
    *,
    to: _Paths = "",
    kubernetes: bool = False,
    model: str = "",
    env: str = "",
    file: _Paths = "",
    data: Mapping[str, str] | None = None,
    gate: _Texts = (),
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
        gates=_many(gate),
        register=register,
        deploy=deploy,
        timeout=_seconds(timeout),
        cell_timeout=_seconds(cell_timeout),
        memory=_bytes(memory),
        retries=retries,
        kernel=kernel,
        on=on,
        profile=profile,
        gpu=gpu,
        cpu=cpu,
        image=image,
    )
    result: Ejected = _run(verb)
    return result


def log_evaluation(
    *,
    label: Sequence[object],
    prediction: Sequence[object],
    score: Sequence[float] | None = None,
    **groups: Sequence[object],
) -> None:
    """Log predictions on the evaluation set to the active MLflow run, for gates to judge.

    The same as `mlflow.log_table` to `evaluation.json` with these columns, but checked.

    Args:
        label: true class of each row.
        prediction: predicted class of each row.
        score: score of the positive class of each row.
        **groups: group columns by name, one group a row.

    Raises:
        UserError: if the columns differ in length or are empty.
    """
    import mlflow

    from mlops_nb.core.evaluation import table_from_columns

    columns: dict[str, list[Any]] = {"label": list(label), "prediction": list(prediction)}
    if score is not None:
        columns["score"] = list(score)
    columns |= {name: list(values) for name, values in groups.items()}
    table_from_columns(columns)
    plain = {
        name: [value.item() if hasattr(value, "item") else value for value in values]
        for name, values in columns.items()
    }
    mlflow.log_table(plain, "evaluation.json")
