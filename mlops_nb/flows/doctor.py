"""Try every configured part."""

from __future__ import annotations

import time
from multiprocessing import TimeoutError as TooSlow
from multiprocessing.pool import ThreadPool
from subprocess import SubprocessError
from typing import TYPE_CHECKING

from mlops_nb.core.results import Diagnosis, Probe
from mlops_nb.errors import MlopsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def doctor(
    parts: Mapping[str, Callable[[], str]],
    *,
    timeout: float,
    patience: Mapping[str, float] | None = None,
) -> Diagnosis:
    """Try each part, all at once.

    Args:
        parts: by name, a function that tries the part and says what it found, or raises.
        timeout: seconds each may take.
        patience: other seconds for some of them, by name.
    """
    # Its threads are daemons: a part that never answers does not keep the process alive.
    pool = ThreadPool(max(1, len(parts)))
    started = time.monotonic()
    tries = {name: pool.apply_async(_try, (name, part)) for name, part in parts.items()}
    probes = []
    for name, result in tries.items():
        seconds = (patience or {}).get(name, timeout)
        try:
            probes.append(result.get(max(0.0, started + seconds - time.monotonic())))
        except TooSlow:
            probes.append(
                Probe(
                    name=name,
                    ok=False,
                    detail=f"no answer within {seconds:g} s",
                    hint="is it running, and reachable from here? try --timeout 60",
                    seconds=seconds,
                )
            )
    return Diagnosis(probes=tuple(probes))


def _try(name: str, part: Callable[[], str]) -> Probe:
    started = time.monotonic()
    hint = ""
    try:
        ok, detail = True, part()
    except MlopsError as error:
        ok, detail, hint = False, error.message, error.hint
    except (OSError, SubprocessError) as error:
        ok, detail = False, f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - started
    return Probe(name=name, ok=ok, detail=detail, hint=hint, seconds=seconds)
