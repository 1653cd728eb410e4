"""Why a run did not succeed, in words, and what to do about it."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.core.run import Failure
from mlops_nb.runner.printed import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.runner.memory import OomCounter

KERNEL_DIED = "KernelDied"
"""What stands for an exception's class where the kernel went away for no known fault."""

_GIB = 2**30
_MIB = 2**20
_KIB = 2**10
_SMALLER = "read the data in smaller pieces"
_LONGEST = 300


def size(count: int) -> str:
    """Give a number of bytes as people read it: `1.02 GiB`."""
    if count >= _GIB // 2:
        return f"{count / _GIB:.2f} GiB"
    if count >= _MIB:
        return f"{count / _MIB:.0f} MiB"
    return f"{count / _KIB:.0f} KiB" if count >= _KIB else f"{count} bytes"


def in_cell(number: int | None) -> str:
    """Name the cell, or the cell that the parameters were injected with."""
    return "the injected parameters' cell" if number is None else f"cell {number}"


def raised(number: int | None, content: Mapping[str, object], *, executable: str) -> Failure:
    """Tell of an exception in a cell.

    Args:
        number: the code cell, counted from 1.
        content: the kernel's error: ename, evalue, traceback.
        executable: the interpreter the kernel runs in.
    """
    ename, evalue = str(content.get("ename", "")), plain(str(content.get("evalue", "")))
    traceback = content.get("traceback")
    lines = traceback if isinstance(traceback, list) else []
    first = evalue.strip().split("\n", 1)[0]
    first = first if len(first) <= _LONGEST else first[: _LONGEST - 1] + "…"
    said = f"{ename}: {first}" if first else ename
    return Failure(
        reason=f"{in_cell(number)} failed: {said}",
        hint=_hint(ename, evalue, executable),
        cell=number,
        ename=ename,
        evalue=evalue,
        traceback=plain("\n".join(str(line) for line in lines)),
    )


def _hint(ename: str, evalue: str, executable: str) -> str:
    match ename:
        case "ModuleNotFoundError":
            return (
                f"the kernel runs {executable}: install the module there"
                f" ({executable} -m pip install …), or put it beside the notebook"
            )
        case "MemoryError":
            return f"give the run more memory, or {_SMALLER}"
        case "StdinNotImplementedError":
            return "notebooks run unattended here: make the value a parameter"
        case "KeyboardInterrupt":
            return "something interrupted the kernel; run it again"
        case _ if "unable to allocate" in evalue.lower():
            return f"give the run more memory, or {_SMALLER}"
        case _:
            return ""


def too_much_memory(number: int | None, used: int, limit: int) -> Failure:
    """Tell that the kernel passed the run's own memory limit."""
    return Failure(
        reason=f"{in_cell(number)} ran out of memory: {size(used)} used, limit {size(limit)}",
        hint=f"run again with --memory {_suggested(max(used, limit))}, or {_SMALLER}",
        cell=number,
        ename="OutOfMemory",
        evalue=f"{size(used)} used, limit {size(limit)}",
    )


def too_little_to_start(used: int, limit: int) -> Failure:
    """Tell that the run's own memory limit leaves no room for the kernel itself."""
    return Failure(
        reason=f"the kernel needs more memory to start ({size(used)}) than the limit of"
        f" {size(limit)}",
        hint=f"run again with --memory {_suggested(max(used, limit))}",
        ename="OutOfMemory",
        evalue=f"{size(used)} used, limit {size(limit)}",
    )


def _suggested(used: int) -> str:
    """Give the next round size that leaves half as much again."""
    wanted = used * 1.5
    if wanted < _GIB:
        return f"{math.ceil(wanted / (256 * _MIB)) * 256}MiB"
    return f"{math.ceil(wanted / _GIB)}GiB"


def died(
    number: int | None, code: int, *, peak: int, memory: OomCounter, last_words: str
) -> Failure:
    """Tell that the kernel's process ended under a cell.

    Args:
        number: the code cell.
        code: exit code, negative for a signal.
        peak: most bytes the kernel held.
        memory: what the system counted.
        last_words: end of the process's own standard error.
    """
    where = in_cell(number)
    held = f"it held {size(peak)} at most" if peak else "its memory is unknown"
    if code == -signal.SIGKILL and memory.has_counted():
        return Failure(
            reason=f"{where} ran out of memory: the system killed the kernel; {held},"
            f" of {size(memory.room())} there are",
            hint=f"give the run more memory than {size(memory.room())}, or {_SMALLER}",
            cell=number,
            ename="OutOfMemory",
            evalue=held,
        )
    if code == -signal.SIGKILL:
        near = memory.is_near_room(peak)
        return Failure(
            reason=f"the kernel was killed (SIGKILL) in {where}; {held}"
            + (f", of {size(memory.room())} there are: probably out of memory" if near else ""),
            hint=f"give the run more memory, or {_SMALLER}"
            if near
            else "something outside the notebook killed it; run it again",
            cell=number,
            ename=KERNEL_DIED,
            evalue=held,
        )
    try:
        how = (
            f"crashed ({signal.Signals(-code).name})"
            if code < 0
            else f"ended with exit code {code}"
        )
    except ValueError:
        how = f"ended by signal {-code}"
    return Failure(
        reason=f"the kernel {how} in {where}; {held}",
        hint="the end of log.txt has what it wrote last" if last_words else "",
        cell=number,
        ename=KERNEL_DIED,
        evalue=f"the kernel {how}",
        traceback=plain(last_words),
    )


def cell_too_long(number: int | None, limit: float) -> Failure:
    """Tell that a cell passed its time-out."""
    return Failure(
        reason=f"{in_cell(number)} ran past its time-out of {limit:g} s",
        hint="give it longer, or less to do",
        cell=number,
        ename="CellTimeout",
        evalue=f"{limit:g} s",
    )


def run_too_long(number: int | None, limit: float) -> Failure:
    """Tell that the whole run passed its time-out."""
    return Failure(
        reason=f"the run passed its time-out of {limit:g} s in {in_cell(number)}",
        hint="run again with a longer --timeout, or less to do",
        cell=number,
        ename="RunTimeout",
        evalue=f"{limit:g} s",
    )


def cancelled(number: int | None, *, before: bool) -> Failure:
    """Tell that the run was cancelled while this cell ran, or before it did."""
    if before:
        return Failure(reason=f"cancelled before {in_cell(number)}", ename="Cancelled")
    return Failure(reason=f"cancelled in {in_cell(number)}", cell=number, ename="Cancelled")


def redacted(failure: Failure, redact: Callable[[str], str]) -> Failure:
    """Give the failure with `redact` applied to every text in it."""
    return replace(
        failure,
        reason=redact(failure.reason),
        hint=redact(failure.hint),
        evalue=redact(failure.evalue),
        traceback=redact(failure.traceback),
    )
