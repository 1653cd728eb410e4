"""Passes a growing file on, as a pod's log."""

from __future__ import annotations

import codecs
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SECONDS = 0.2


@contextmanager
def tail(path: Path, out: TextIO) -> Iterator[None]:
    """Write what is appended to a file to `out`, to its end when the block ends."""
    done = threading.Event()
    thread = threading.Thread(target=_pass_on, args=(path, out, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _pass_on(path: Path, out: TextIO, done: threading.Event) -> None:
    at, decoder = 0, codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        is_last = done.wait(_SECONDS)
        if path.exists():
            with path.open("rb") as file:
                file.seek(at)
                said = file.read()
            at += len(said)
            # Half a character waits for its other half.
            out.write(decoder.decode(said, final=is_last))
            out.flush()
        if is_last:
            return
