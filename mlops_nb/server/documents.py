"""What the server gives besides the verbs' own documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlops_nb.core.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedProfile:
    """Resources that a run on Kubeflow may have, as `[profiles.NAME]` says.

    Args:
        name: the profile.
        image: image of its pods; empty takes that of `[kubeflow]`.
        gpu: accelerators of a pod.
        gpu_resource: how the cluster names them.
        cpu: CPU of a pod, as a Kubernetes quantity; empty if not limited.
        memory: bytes of a pod; null if not limited.
        price: cost of an hour, in whatever currency the team counts; 0 if not known.
        is_default: whether a run that names no profile takes it.
    """

    name: str
    image: str = ""
    gpu: int = 0
    gpu_resource: str = ""
    cpu: str = ""
    memory: int | None = None
    price: float = 0.0
    is_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedEnvironment:
    """A place models are deployed to, as `[environments.NAME]` says.

    Args:
        name: the environment.
        namespace: Kubernetes namespace of the models.
        target: what runs the pods: rollout or kserve.
        alias: registry alias of what runs there; empty for none.
        has_cluster: whether a cluster or an Argo CD is named that can be asked.
        weights: percentages of a canary.
        minutes: how long each of them stays.
        gates: gates a version must pass to be deployed here.
    """

    name: str
    namespace: str
    target: str
    alias: str = ""
    has_cluster: bool = False
    weights: tuple[int, ...] = ()
    minutes: float = 0.0
    gates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A project as its settings describe it; no secret is in it.

    Args:
        name: the project.
        folder: its folder on the server's machine; events name their project by it.
        path: the folder as JupyterLab names it; null if it lies outside of what that shows.
        root: the folder that JupyterLab shows: its path before a notebook's makes `notebook`
            of a run.
        initialized: whether it has an mlops.toml.
        boot: the server process; it differs after a restart, and events are counted anew.
        number: number of the last event sent.
        executor: where a run goes that names no place.
        executors: every place a run may go to.
        kubeflow: address of Kubeflow's pages; empty if it is not configured.
        profiles: resources a run on Kubeflow may have.
        environments: where models are deployed.
        gates: gates of every version of a model, by model name.
        tracking: the tracking server or store.
        experiment: its experiment.
        forge: local, git, github, gitlab or gitea; empty if there is no GitOps repository.
        repository: path or URL of the GitOps repository.
    """

    name: str
    folder: str
    path: str | None
    root: str
    initialized: bool
    boot: str
    number: int
    executor: str
    executors: tuple[str, ...]
    kubeflow: str
    profiles: tuple[OfferedProfile, ...]
    environments: tuple[OfferedEnvironment, ...]
    gates: Mapping[str, tuple[str, ...]]
    tracking: str
    experiment: str
    forge: str
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A run's executed notebook.

    Args:
        run: id of the run.
        path: the notebook as JupyterLab names it; null if it lies where that shows nothing, as
            folders whose names begin with a dot.
        cell: index of the cell that failed, counted from 0 over all cells; null if none did.
        content: the notebook itself.
    """

    run: str
    path: str | None
    cell: int | None
    content: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """A part of what a run printed.

    Args:
        run: id of the run.
        lines: without their ends.
        first: number of the first of them, counted from 0.
        next: where to go on: what `from` takes for the lines after these.
        is_whole: whether the run ended and these are the last lines.
    """

    run: str
    lines: tuple[str, ...]
    first: int
    next: int
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """An event on Jupyter's event bus.

    Args:
        boot: the server process; it differs after a restart.
        number: counted from 1 in this process; a gap means that something was missed.
        project: folder of the project.
        event: what happened.
    """

    boot: str
    number: int
    project: str
    event: Event
