"""The projects that are asked about, each opened once, and what the panel is told of them."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.core.results import SweepResult
from mlops_nb.core.run import Run
from mlops_nb.core.settings import FILE_NAME
from mlops_nb.core.verbs import Logs, Show
from mlops_nb.errors import NotFound, UserError
from mlops_nb.project import Project
from mlops_nb.server.documents import (
    LogPart,
    OfferedEnvironment,
    OfferedProfile,
    Overview,
    Resource,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_nb.core.settings import Settings
    from mlops_nb.server.bus import Bus
    from mlops_nb.server.paths import Root

_EXECUTED = "executed.ipynb"
_LINES = 5000


class Projects:
    """Gives the project of a folder; the same until its mlops.toml changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[Path, tuple[tuple[int, int] | None, Project]] = {}

    def open(self, folder: Path) -> Project:
        """Open the project that a folder lies in.

        Raises:
            BadSettings: if its mlops.toml cannot be read.
        """
        home = next((one for one in (folder, *folder.parents) if _state(one)), folder)
        state = _state(home)
        with self._lock:
            known = self._opened.get(home)
            if known and known[0] == state:
                return known[1]
            project = Project.open(home)
            self._opened[home] = (state, project)
            return project


def _state(folder: Path) -> tuple[int, int] | None:
    """Give what tells one mlops.toml from the next; None if there is none."""
    try:
        status = (folder / FILE_NAME).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def overview(project: Project, root: Root, bus: Bus) -> Overview:
    """Describe a project by its settings."""
    from mlops_nb.redaction import strip_userinfo

    settings = project.settings
    kubeflow, gitops = settings.kubeflow, settings.gitops
    has_kubeflow = kubeflow.is_configured
    return Overview(
        name=settings.name,
        folder=str(project.folder),
        path=root.path(project.folder),
        root=str(root.folder),
        initialized=project.is_initialized,
        boot=bus.boot,
        number=bus.number,
        executor=settings.executor,
        executors=("local", "kubeflow") if has_kubeflow else ("local",),
        kubeflow=(kubeflow.ui or kubeflow.url) if has_kubeflow else "",
        profiles=_profiles(settings),
        environments=tuple(
            OfferedEnvironment(
                name=one.name,
                namespace=one.namespace,
                target=one.target,
                alias=one.alias,
                has_cluster=one.has_cluster,
                weights=one.canary.weights,
                minutes=one.canary.minutes,
                gates=one.gates,
            )
            for one in settings.environments.values()
        ),
        gates=settings.gates,
        tracking=strip_userinfo(project.tracking_uri),
        experiment=settings.experiment or settings.name,
        forge=gitops.kind if gitops.repository else "",
        repository=strip_userinfo(gitops.repository),
    )


def _profiles(settings: Settings) -> tuple[OfferedProfile, ...]:
    return tuple(
        OfferedProfile(
            name=one.name,
            image=one.image,
            gpu=one.gpu,
            gpu_resource=one.gpu_resource,
            cpu=one.cpu,
            memory=one.memory,
            price=one.price,
            is_default=one.name == settings.kubeflow.profile,
        )
        for one in settings.profiles.values()
    )


def _run(project: Project, ref: str) -> Run:
    found = project.run(Show(run=ref))
    run = found.run if isinstance(found, SweepResult) else found
    if not isinstance(run, Run):
        raise UserError(f"{ref} is a schedule", hint="name one of its runs")
    return run


def log_part(project: Project, ref: str, start: int) -> LogPart:
    """Give the lines of a log from a number on or, of a negative one, that many last ones.

    Raises:
        NotFound: if there is no such run, or its log is kept nowhere.
    """
    # Asked first: what is printed between the two is read with the log.
    run = _run(project, ref)
    lines: Iterable[str] = project.run(Logs(run=run.id))
    if start < 0:
        numbered = deque(enumerate(lines), maxlen=min(-start, _LINES))
    else:
        numbered = deque(islice(enumerate(lines), start, start + _LINES))
    first = numbered[0][0] if numbered else max(start, 0)
    return LogPart(
        run=run.id,
        lines=tuple(line.rstrip("\n") for _, line in numbered),
        first=first,
        next=first + len(numbered),
        is_whole=run.state.is_final and (start < 0 or len(numbered) < _LINES),
    )


def executed(project: Project, ref: str, root: Root) -> Resource:
    """Give a run's executed notebook.

    Raises:
        NotFound: if there is none yet, or none any more.
    """
    run = _run(project, ref)
    path = None
    content = None
    if run.directory:
        file = Path(run.directory) / _EXECUTED
        if file.is_file():
            path, content = root.path(file), file.read_bytes()
    if content is None and run.tracking_id:
        content = project.registry.file(run.tracking_id, f"mlops_nb/{_EXECUTED}")
    if content is None:
        raise NotFound(
            f"run {run.id} has no executed notebook",
            hint="it has not begun, or its folder is gone"
            if run.state.is_final
            else "it is written when the run ends",
        )
    import nbformat

    notebook: Any = nbformat.reads(content.decode(), as_version=4)  # type: ignore[no-untyped-call]
    at_fault = run.failure is not None and run.failure.cell is not None
    return Resource(
        run=run.id,
        path=path,
        cell=_failed(notebook.cells) if at_fault else None,
        content=notebook,
    )


def _failed(cells: list[dict[str, object]]) -> int | None:
    """Give the index of the last cell that shows an error."""
    for index in range(len(cells) - 1, -1, -1):
        outputs = cells[index].get("outputs")
        if isinstance(outputs, list) and any(
            output.get("output_type") == "error" for output in outputs
        ):
            return index
    return None
