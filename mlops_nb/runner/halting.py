"""Ends an execution before its time: cancelled, or past a time-out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mlops_nb.runner import failures

if TYPE_CHECKING:
    import threading

    from mlops_nb.core.run import Failure, Limits
    from mlops_nb.runner.kernel import Kernel

_GRACE = 5.0


class Halt:
    """Interrupts the kernel when the run is to end, and kills it where that does not help.

    Args:
        kernel: what is interrupted.
        limits: the time-outs.
        stop: set when the run is cancelled.
    """

    def __init__(self, kernel: Kernel, limits: Limits, stop: threading.Event) -> None:
        self.failure: Failure | None = None
        self.is_cancelled = False
        self._kernel = kernel
        self._limits = limits
        self._stop = stop
        self._began = time.monotonic()
        self._kill_at = 0.0

    def look(self, number: int | None, *, cell_began: float | None) -> Failure | None:
        """See whether the run is to end; give why.

        Args:
            number: the code cell that runs, or would run next.
            cell_began: when it began; None between cells.
        """
        now = time.monotonic()
        if self.failure:
            if now > self._kill_at:
                self._kernel.kill()
            return self.failure
        self.failure = self._reason(number, now, cell_began)
        if self.failure:
            self._kill_at = now + _GRACE
            self._kernel.interrupt()
        return self.failure

    def _reason(self, number: int | None, now: float, began: float | None) -> Failure | None:
        limits = self._limits
        if self._stop.is_set():
            self.is_cancelled = True
            return failures.cancelled(number, before=began is None)
        if limits.timeout is not None and now - self._began > limits.timeout:
            return failures.run_too_long(number, limits.timeout)
        if limits.cell_timeout is None or began is None or now - began <= limits.cell_timeout:
            return None
        return failures.cell_too_long(number, limits.cell_timeout)
