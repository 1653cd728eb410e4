"""Views inside a cell that answer, from a program or notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.core.run import Run
    from mlops_nb.sdk.asking import Paths
    from mlops_nb.widgets import Canary, LiveRun, RunForm


def form(notebook: Paths) -> RunForm:
    """Show a form of a notebook's parameters, with a button that runs it.

    Raises:
        NotANotebook: if there is none.
    """
    from mlops_nb.widgets import RunForm

    return RunForm(str(notebook))


def live(run: str | Run) -> LiveRun:
    """Show a run that goes on, with a button that cancels it; in a batch, wait for its end.

    Raises:
        NotFound: if there is none.
    """
    from mlops_nb.widgets import LiveRun

    return LiveRun(run)


def canary(model: str, env: str) -> Canary:
    """Show a model in an environment, with buttons that promote, abort and try again.

    Raises:
        NotFound: if the model is neither deployed nor proposed there.
    """
    from mlops_nb.widgets import Canary

    return Canary(model, env)
