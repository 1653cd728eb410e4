"""Start a kernel, ask what it is, stop it: `python -m mlops_nb.runner.probe KERNEL`."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path

from mlops_nb.core.run import Limits
from mlops_nb.errors import MlopsError
from mlops_nb.runner.document import new_cell
from mlops_nb.runner.execution import execute
from mlops_nb.runner.kernel import Kernel


def main(name: str) -> int:
    """Execute an empty notebook with the kernel.

    Returns:
        0 if it came up and did so, else 1, with the reason on stderr.
    """
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [new_cell("code", "", [])],
    }
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            Kernel(name, cwd=Path(folder), env=dict(os.environ)) as kernel,
        ):
            execute(
                notebook,
                run="probe",
                kernel=kernel,
                limits=Limits(timeout=60),
                directory=Path(folder),
                redact=str,
                tell=lambda _progress: None,
                stop=threading.Event(),
            )
            spoken = kernel.info
            program = kernel.spec.executable
    except MlopsError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{name} runs {spoken.get('name', '')} {spoken.get('version', '')} by {program}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
