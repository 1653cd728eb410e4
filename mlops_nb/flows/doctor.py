"""Try every configured part."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from typing import TYPE_CHECKING

from mlops_nb.core.results import Diagnosis, Probe
from mlops_nb.errors import MlopsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def doctor(parts: Mapping[str, Callable[[], str]], *, timeout: float) -> Diagnosis:
    """Try each part, all at once.

    Args:
        parts: by name, a function that tries the part and says what it found, or raises.
        timeout: seconds each may take.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, len(parts)))
    started = time.monotonic()
    try:
        tries = {name: pool.submit(_timed, part) for name, part in parts.items()}
        probes = []
        for name, future in tries.items():
            left = max(0.0, started + timeout - time.monotonic())
            try:
                detail, seconds = future.result(timeout=left)
                probes.append(Probe(name=name, ok=True, detail=detail, seconds=seconds))
            except TooSlow:
                probes.append(
                    Probe(
                        name=name,
                        ok=False,
                        detail=f"no answer within {timeout:g} s",
                        hint="is it running, and reachable from here? try --timeout 60",
                        seconds=timeout,
                    )
                )
            except MlopsError as error:
                probes.append(Probe(name=name, ok=False, detail=error.message, hint=error.hint))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return Diagnosis(probes=tuple(probes))


def _timed(part: Callable[[], str]) -> tuple[str, float]:
    started = time.monotonic()
    return part(), time.monotonic() - started
