"""The Python face: the grammar's words as keywords.

Errors are raised, of the classes in `mlops_nb.errors`. Functions that start runs wait for them,
unless they are called in a live notebook or told otherwise by `wait`.
"""

from mlops_nb.sdk.delivering import (
    abort,
    deploy,
    dora,
    follow,
    history,
    merge,
    models,
    promote,
    register,
    rollback,
    status,
    trace,
    verify_pr,
)
from mlops_nb.sdk.looking import (
    compare,
    doctor,
    init,
    inspect,
    log_evaluation,
    logs,
    runs,
    show,
)
from mlops_nb.sdk.running import (
    cancel,
    delete,
    retry,
    sweep,
    train,
)
from mlops_nb.sdk.scheduling import (
    delete_schedule,
    eject,
    pause_schedule,
    resume_schedule,
    schedule,
    schedules,
    update_schedule,
)
from mlops_nb.sdk.showing import (
    canary,
    form,
    live,
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
