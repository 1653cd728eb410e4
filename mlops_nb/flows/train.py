"""Run a notebook."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb.core.events import RunMoved
from mlops_nb.core.results import Rendered
from mlops_nb.preparation import prepare, read_notebook

if TYPE_CHECKING:
    from mlops_nb.core.run import Run
    from mlops_nb.core.verbs import Train
    from mlops_nb.ports import Executor, Listener
    from mlops_nb.preparation import Desk


def train(
    verb: Train, *, run_id: str, desk: Desk, executor: Executor, tell: Listener
) -> Run | Rendered:
    """Start a run; of a dry run, give what would be submitted.

    Raises:
        UserError: before anything runs, if the request is wrong.
    """
    notebook, content = read_notebook(verb.notebook)
    job = desk.job(verb, prepare(verb, notebook, desk), id=run_id, key=verb.key)
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
