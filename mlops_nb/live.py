"""A run's view in a live notebook: goes on updating after its cell has ended."""

from __future__ import annotations

import contextvars
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from mlops_nb.core.events import advance
from mlops_nb.display import html, text
from mlops_nb.errors import MlopsError, UserError

if TYPE_CHECKING:
    from mlops_nb.core.events import Event
    from mlops_nb.core.run import Run
    from mlops_nb.project import Project

# Front ends draw HTML a few times a second at most; a server drops what comes quicker.
_SECONDS_BETWEEN = 0.25


def _shell() -> Any:
    """Give the running IPython shell; None where IPython was never loaded."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def is_live() -> bool:
    """Whether a person sits before this kernel: JupyterLab, Notebook, VS Code, Colab.

    A kernel started by papermill or nbconvert carries none of these marks.
    """
    shell = _shell()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    marks = ("JPY_SESSION_NAME", "COLAB_RELEASE_TAG")
    return any(os.environ.get(mark) for mark in marks) or "__vsc_ipynb_file__" in shell.user_ns


def this_notebook() -> str:
    """Give the path of the notebook whose kernel this is.

    Raises:
        UserError: if this is no notebook's kernel, or the front end does not tell its path.
    """
    shell = _shell()
    told = shell.user_ns.get("__vsc_ipynb_file__") if shell is not None else None
    path = told or os.environ.get("JPY_SESSION_NAME", "")
    if path.endswith(".ipynb"):
        return str(path)
    raise UserError("which notebook?", hint="name it, e.g. train('churn.ipynb')")


class View:
    """One output of a notebook that shows a run and can be drawn again.

    Args:
        run: what it shows at first.
    """

    def __init__(self, run: Run) -> None:
        from IPython.display import display

        self.run = run
        self._drawn = time.monotonic()
        self._handle = display(  # type: ignore[no-untyped-call]
            self._bundle(), raw=True, display_id=f"mlops-nb-{run.id}-{id(self)}"
        )

    def tell(self, event: Event) -> None:
        """Take notice of an event; draw at most a few times a second."""
        self.run = advance(self.run, event)
        if time.monotonic() - self._drawn >= _SECONDS_BETWEEN:
            self.draw(self.run)

    def draw(self, run: Run) -> None:
        """Show the run as it is now."""
        self.run = run
        self._drawn = time.monotonic()
        if self._handle is not None:
            self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        return {"text/plain": text(self.run), "text/html": html(self.run)}


def follow(view: View, project: Project) -> threading.Thread:
    """Keep a view up to date from a thread of its own, until the run is final.

    The thread carries the cell's context, so that a kernel knows whose output it updates.
    """

    def update() -> None:
        from mlops_nb.flows.runs import find

        try:
            for event in project.executor.watch(view.run.id):
                view.tell(event)
            view.draw(find(view.run.id, executor=project.executor, registry=project.registry))
        except MlopsError as error:
            print(error, file=sys.stderr)

    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(update,), name="mlops-nb-view", daemon=True
    )
    thread.start()
    return thread
