"""A run's view in a notebook: goes on updating after its cell has ended."""

from __future__ import annotations

import atexit
import contextvars
import logging
import math
import os
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from mlops_nb.core.events import advance
from mlops_nb.core.results import SweepResult
from mlops_nb.core.run import Run
from mlops_nb.display import html, text
from mlops_nb.errors import GateFailed, MlopsError, UserError, as_in_a_cell
from mlops_nb.flows.runs import best_of, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlops_nb.core.events import Event
    from mlops_nb.ports import Executor
    from mlops_nb.project import Project

# Front ends draw HTML a few times a second at most; a server drops what comes quicker.
_SECONDS_BETWEEN = 0.25
# A cell that says nothing for an hour still shows that time goes by.
_SECONDS_IDLE = 1.0
_SHARE_OF_LOOKING = 20
_LONGEST_TEXT = 8_000
_log = logging.getLogger("mlops_nb.viewing")

# A kernel that is shut down closes its sockets under the threads that still draw.
_is_leaving = threading.Event()
atexit.register(_is_leaving.set)


def _shell() -> Any:
    """Give the running IPython shell; None where IPython was never loaded."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def is_kernel() -> bool:
    """Whether this process is a notebook's kernel, and no terminal or program."""
    return hasattr(_shell(), "kernel")


def is_live() -> bool:
    """Whether a person sits before this kernel: JupyterLab, Notebook, VS Code, Colab.

    A kernel started by papermill or nbconvert carries none of these marks.
    """
    if not is_kernel():
        return False
    return bool(
        _session_name()
        or os.environ.get("COLAB_RELEASE_TAG")
        or "__vsc_ipynb_file__" in _shell().user_ns
    )


def _session_name() -> str:
    """Give the notebook for which a Jupyter server started this kernel; empty if none did.

    A batch kernel that papermill starts from a live notebook inherits that notebook's mark; a
    server puts it into the kernel's environment and not into its own.
    """
    name = os.environ.get("JPY_SESSION_NAME", "")
    if not name:
        return ""
    import psutil

    try:
        starter = psutil.Process(os.getppid()).environ()
    except psutil.Error:
        return name
    return "" if starter.get("JPY_SESSION_NAME") == name else name


def this_notebook() -> str:
    """Give the path of the notebook whose kernel this is; inside a run, of that run's.

    Raises:
        UserError: if this is no notebook's kernel, or the front end does not tell its path.
    """
    from mlops_nb.project import Project

    if outer := Project.open().outer_run():
        return outer.notebook
    shell = _shell()
    told = shell.user_ns.get("__vsc_ipynb_file__") if shell is not None else None
    path = told or _session_name()
    if path.endswith(".ipynb"):
        return str(path)
    raise UserError(
        "no notebook is named, and this session does not tell which one it belongs to",
        hint="name it, e.g. `%mlops train churn.ipynb` or train('churn.ipynb')",
    )


def draw(value: object) -> None:
    """Draw a value as an output of the cell."""
    from IPython.display import display

    display(_bundle(value), raw=True)  # type: ignore[no-untyped-call]


def _bundle(value: object) -> dict[str, str]:
    """Give a value as front ends take it; lines to type are as one types them there."""
    return {"text/plain": as_in_a_cell(text(value)), "text/html": as_in_a_cell(html(value))}


@contextmanager
def drawing_refusals() -> Iterator[None]:
    """Have a cell that ends with a gate's refusal show its verdict; elsewhere nothing more."""
    try:
        yield
    except GateFailed as error:
        error.draw = draw
        raise


class View:
    """One output of a notebook that shows a run and is drawn again as the run goes on.

    Args:
        shown: what it shows at first.
        executor: asked for a sweep's children.
    """

    def __init__(self, shown: Run | SweepResult, executor: Executor) -> None:
        from IPython.display import display

        self._executor = executor
        self._shown = shown
        self._trouble: MlopsError | None = None
        self._ended = threading.Event()
        self._handle = display(  # type: ignore[no-untyped-call]
            self._bundle(), raw=True, display_id=f"mlops-nb-{self.run.id}-{id(self)}"
        )
        self._drawer = _in_this_cell(self._keep_drawing, name="mlops-nb-drawer")

    @property
    def run(self) -> Run:
        """The run as it was last shown."""
        return self._shown if isinstance(self._shown, Run) else self._shown.run

    def tell(self, event: Event) -> None:
        """Take notice of an event; it is drawn within a moment."""
        run = advance(self.run, event)
        shown = self._shown
        self._shown = replace(shown, run=run) if isinstance(shown, SweepResult) else run

    def end(self, shown: Run | SweepResult) -> None:
        """Show how it ended, and stop drawing."""
        self.stop()
        self._shown = shown
        self._draw()

    def fail(self, error: MlopsError) -> None:
        """Show why the view cannot go on, and stop drawing."""
        self._trouble = error
        self.end(self._shown)

    def stop(self) -> None:
        """Stop drawing."""
        self._ended.set()
        self._drawer.join()

    def _keep_drawing(self) -> None:
        drawn, at, look_at = self._shown, time.monotonic(), 0.0
        while not self._ended.wait(_SECONDS_BETWEEN):
            if time.monotonic() >= look_at:
                look_at = self._look_at_children()
            if self._shown is drawn and time.monotonic() - at < _SECONDS_IDLE:
                continue
            drawn, at = self._shown, time.monotonic()
            self._draw()

    def _look_at_children(self) -> float:
        """See how a sweep's children are; give when to look again."""
        began = time.monotonic()
        try:
            children = tuple(self._executor.children(self.run.id))
        except (MlopsError, OSError) as error:
            # The view shows the sweep itself all the same, and its children at the end.
            _log.warning("children of %s: %s", self.run.id, error)
            return math.inf
        if children:
            best = best_of(children, self.run.best)
            self._shown = SweepResult(run=self.run, children=children, best=best)
        now = time.monotonic()
        # A look at thousands of children must not take the kernel's time.
        return now + max(_SECONDS_IDLE, _SHARE_OF_LOOKING * (now - began))

    def _draw(self) -> None:
        if not _is_leaving.is_set():
            self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        said, drawn = _bundle(self._shown).values()
        if len(said) > _LONGEST_TEXT:
            said = f"{said[:_LONGEST_TEXT]}…"
        if self._trouble is not None:
            said = f"{said}\n\nthis view stopped: {self._trouble}"
            drawn = f"{drawn}<div>this view stopped: {escape(str(self._trouble))}</div>"
        return {"text/plain": said, "text/html": drawn}


def follow(view: View, project: Project) -> None:
    """Keep a view up to date from a thread of its own, until the run is final."""

    def update() -> None:
        try:
            for event in project.executor.watch(view.run.id):
                view.tell(event)
            view.end(show(view.run.id, executor=project.executor, registry=project.registry))
        except MlopsError as error:
            view.fail(error)
        except OSError as error:
            view.fail(MlopsError(f"run {view.run.id} cannot be followed: {error}"))

    _in_this_cell(update, name="mlops-nb-view")


def _in_this_cell(target: Callable[[], None], *, name: str) -> threading.Thread:
    """Start a thread that carries the cell's context: its output belongs to this cell."""
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(target,), name=name, daemon=True
    )
    thread.start()
    return thread
