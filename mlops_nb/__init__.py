"""From a Jupyter notebook to production traffic.

Importing this loads nothing heavy: names are looked up when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_nb.sdk import (
        abort,
        canary,
        cancel,
        compare,
        delete,
        delete_schedule,
        deploy,
        doctor,
        dora,
        eject,
        follow,
        form,
        history,
        init,
        inspect,
        live,
        log_evaluation,
        logs,
        merge,
        models,
        pause_schedule,
        promote,
        register,
        resume_schedule,
        retry,
        rollback,
        runs,
        schedule,
        schedules,
        show,
        status,
        sweep,
        trace,
        train,
        update_schedule,
        verify_pr,
    )

__all__ = [
    "abort",
    "canary",
    "cancel",
    "compare",
    "delete",
    "delete_schedule",
    "deploy",
    "doctor",
    "dora",
    "eject",
    "follow",
    "form",
    "history",
    "init",
    "inspect",
    "live",
    "load_ipython_extension",
    "log_evaluation",
    "logs",
    "merge",
    "models",
    "pause_schedule",
    "promote",
    "register",
    "resume_schedule",
    "retry",
    "rollback",
    "runs",
    "schedule",
    "schedules",
    "show",
    "status",
    "sweep",
    "trace",
    "train",
    "update_schedule",
    "verify_pr",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("mlops-nb")
    if name in __all__:
        return getattr(import_module("mlops_nb.sdk"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tell JupyterLab where the panel is."""
    return [{"src": "labextension", "dest": "mlops-nb"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell Jupyter Server what answers the panel; it is loaded when the server asks."""
    app = import_module("mlops_nb.server.app").MlopsApp
    return [{"module": "mlops_nb", "app": app}]


def load_ipython_extension(shell: Any) -> None:
    """Add `%mlops` to an IPython shell or kernel: `%load_ext mlops_nb`."""
    import_module("mlops_nb.extension").load(shell)
