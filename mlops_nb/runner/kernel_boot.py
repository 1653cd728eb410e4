"""Start a kernel that ends with its runner; run by path, with the kernel's own Python.

Usage: kernel_boot.py RUNNER_PID (ipykernel | exec) ARGUMENT...
Only the standard library, in words that every Python 3 understands, is used before the kernel.
"""

from __future__ import annotations

import faulthandler
import os
import sys

_PR_SET_PDEATHSIG = 1


def _end_with_runner(runner: int) -> None:
    """Ask Linux to kill this process when the runner's thread that started it ends."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != runner:
        os._exit(1)


def _run_ipykernel(arguments: list[str]) -> None:
    """Run ipykernel as its own launcher does, without the debugger nobody can attach to."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    if sys.path and os.path.abspath(sys.path[0]) == here:  # noqa: PTH100
        del sys.path[0]
    sys.argv = ["ipykernel_launcher", *arguments]
    # IPython reads what comes to standard error itself, which a crashed process no longer does.
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    # What cannot be imported now may be imported by the notebook later.
    held = "debugpy" not in sys.modules
    if held:
        sys.modules["debugpy"] = None  # type: ignore[assignment]
    import zmq
    from ipykernel.kernelapp import IPKernelApp

    class LosslessKernelApp(IPKernelApp):
        """Publishes without zmq's limit of 1,000 waiting messages; it drops the others."""

        def init_iopub(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
            context.setsockopt(zmq.SNDHWM, 0)
            super().init_iopub(context)  # type: ignore[no-untyped-call]

    app = LosslessKernelApp.instance()
    app.initialize(arguments)  # type: ignore[no-untyped-call]
    if held:
        sys.modules.pop("debugpy", None)
    app.start()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    _end_with_runner(int(sys.argv[1]))
    if sys.argv[2] == "ipykernel":
        _run_ipykernel(sys.argv[3:])
    else:
        os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606
