"""The cluster's own time, which passes faster than that of whoever watches."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Seconds in the cluster.

    Args:
        speed: how many of them pass in a second.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._start = time.monotonic()

    def now(self) -> float:
        """Give the seconds since the cluster began."""
        return (time.monotonic() - self._start) * self._speed


def stamp() -> str:
    """Give the time as the Kubernetes API writes it: the real one, whatever the speed."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
