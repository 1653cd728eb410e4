"""What a stand-in server can be told when it starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_nb.errors import UserError

Json = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """The behaviour of one server.

    Args:
        folder: where runs, logs, artifacts and the state file are kept.
        port: the port on 127.0.0.1; 0 takes a free one.
        multi_user: whether every request must name a namespace.
        namespaces: the namespaces that the caller may use; empty allows all.
        namespace: where pods live when the server is not multi-user.
        token: the bearer token that every request must carry; empty asks for none.
        parallel: how many pods run at once.
        grace: seconds between SIGTERM and SIGKILL for a pod that is told to stop.
        backoff: the longest wait in seconds before a retried pod, whatever the pipeline says.
        accelerators: how many of each accelerator there are; None gives what is asked for.
        environ: where PATH, HOME, LANG and TMPDIR of the pods come from.
        zone: the time zone that cron schedules mean, the same for all of them.
        mlflow: the tracking server to which Kubeflow's own MLflow plugin speaks; empty is none.
        mlflow_experiment: where the plugin makes its runs, unless asked for another one.
        python: the interpreter that a bare `python` in a command stands for.
        faults: what is to go wrong from the start, as posted to /dev/faults.
    """

    folder: Path
    port: int = 0
    multi_user: bool = False
    namespaces: tuple[str, ...] = ()
    namespace: str = "kubeflow"
    token: str = ""
    parallel: int = 2
    grace: float = 30.0
    backoff: float = 1.0
    accelerators: int | None = None
    environ: Mapping[str, str] = field(
        default_factory=lambda: dict(os.environ)  # noqa: TID251 # a program of its own
    )
    faults: tuple[Json, ...] = ()
    zone: str = "UTC"
    mlflow: str = ""
    mlflow_experiment: str = "Default"
    python: str = sys.executable

    def __post_init__(self) -> None:
        """Refuse numbers that would let nothing run."""
        if not 0 <= self.port < 65536:
            raise UserError(f"port is {self.port}; it must be from 0 to 65535")
        if self.parallel < 1:
            raise UserError(f"parallel is {self.parallel}; it must be at least 1")
        if self.grace < 0 or self.backoff < 0:
            raise UserError("grace and backoff cannot be negative")
        if self.accelerators is not None and self.accelerators < 0:
            raise UserError(f"gpus is {self.accelerators}; it must be 0 or more")
