"""Run a notebook."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb.core.events import RunMoved
from mlops_nb.core.results import Rendered
from mlops_nb.core.verbs import Job
from mlops_nb.preparation import prepare, read_notebook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.core.data import DataSource
    from mlops_nb.core.run import Run
    from mlops_nb.core.settings import Settings
    from mlops_nb.core.verbs import Train
    from mlops_nb.ports import Executor, Listener


def train(
    verb: Train,
    *,
    run_id: str,
    executor: Executor,
    settings: Settings,
    file_parameters: Mapping[str, object],
    find_credential: Callable[[str, str], str],
    look_up: Callable[[str], object],
    locate: Callable[[DataSource], DataSource],
    project: str,
    requested_by: str,
    tell: Listener,
) -> Run | Rendered:
    """Start a run; of a dry run, give what would be submitted.

    Raises:
        UserError: before anything runs, if the request is wrong.
    """
    notebook, content = read_notebook(verb.notebook)
    spec = prepare(
        verb,
        notebook,
        settings=settings,
        file_parameters=file_parameters,
        find_credential=find_credential,
        look_up=look_up,
        locate=locate,
    )
    job = Job(
        id=run_id,
        spec=spec,
        project=project,
        gates=verb.gates,
        register=verb.register,
        deploy=verb.deploy,
        retries=verb.retries,
        key=verb.key,
        requested_by=requested_by,
        placement=verb.placement,
    )
    if verb.dry_run:
        files = executor.render(job, content)
        return Rendered(files={name: _text(file) for name, file in files.items()})
    run = executor.submit(job, content, tell)
    tell(RunMoved(run=run.id, state=run.state, time=datetime.now(UTC)))
    return run


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"({len(content)} bytes, no text)"
