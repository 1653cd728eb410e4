"""What a notebook prints, as lines in `log.txt`."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from mlops_nb.runner.outputs import Lines, knows_secrets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LONGEST = 200


def plain(text: str) -> str:
    """Give the text without a terminal's colours and other escape sequences."""
    return _ANSI.sub("", text)


class PrintedLog:
    """Appends whole lines, redacted, as soon as they are whole.

    Of a line that is not whole nothing is seen where there are secrets: it may end in the
    beginning of one.

    Args:
        path: the file; appended to.
        redact: replaces secrets in a text.
    """

    def __init__(self, path: Path, redact: Callable[[str], str]) -> None:
        self._file = path.open("ab", buffering=0)
        self._redact = redact
        self._streams: dict[str, Lines] = defaultdict(Lines)
        self._latest = ""
        self._last = ""

    def write(self, stream: str, text: str) -> None:
        """Take the next piece of a stream."""
        self._latest = stream
        if finished := self._streams[stream].feed(text):
            self._put(finished)

    def end_lines(self) -> None:
        """Write what is unfinished, as lines: nothing follows it."""
        for lines in self._streams.values():
            if rest := lines.unfinished():
                lines.feed("\n")
                self._put(rest + "\n")

    def last_line(self) -> str:
        """Give the last line with anything in it, short enough to show, redacted."""
        lines = None if knows_secrets(self._redact) else self._streams.get(self._latest)
        now = _shown(lines.unfinished()) if lines else ""
        return _shown(self._redact(now)) if now else self._last

    def close(self) -> None:
        """Write what is unfinished and close the file."""
        self.end_lines()
        self._file.close()

    def _put(self, text: str) -> None:
        safe = self._redact(plain(text))
        self._file.write(safe.replace("\r\n", "\n").encode("utf-8", errors="replace"))
        for line in reversed(safe[-4 * _LONGEST :].splitlines()):
            if shown := _shown(line):
                self._last = shown
                return


def _shown(line: str) -> str:
    text = plain(line).strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
