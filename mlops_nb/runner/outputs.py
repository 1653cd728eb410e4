"""What the cells of a notebook put out, built from their kernel's messages in linear time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Output = dict[str, Any]

KINDS = frozenset(
    {"stream", "display_data", "execute_result", "error", "update_display_data", "clear_output"}
)
_COMPACT_FROM = 4096


def _carried_out(line: str) -> str:
    r"""Give one line as a terminal shows it; a final `\r` stays, as it may begin `\r\n`."""
    if "\b" not in line:
        body = line.rstrip("\r")
        kept = body[body.rfind("\r") + 1 :]
        return kept + "\r" if len(body) < len(line) else kept
    shown: list[str] = []
    returned = False
    for character in line:
        if character == "\r":
            returned = True
        elif character == "\b":
            if shown and not returned:
                shown.pop()
        else:
            if returned:
                shown.clear()
                returned = False
            shown.append(character)
    return "".join(shown) + ("\r" if returned else "")


class Lines:
    """Splits a stream into finished lines, with carriage returns and backspaces carried out.

    However small the pieces it comes in are, all of it is looked at a bounded number of times.
    """

    __slots__ = ("_controlled", "_open", "_size", "_threshold")

    def __init__(self) -> None:
        self._open: list[str] = []
        self._size = 0
        self._threshold = _COMPACT_FROM
        self._controlled = False

    @property
    def in_progress(self) -> bool:
        """Whether the unfinished line is one that rewrites itself, as a progress bar does."""
        return self._controlled

    def feed(self, text: str) -> str:
        """Take the next piece; give the lines it finished, each with its newline."""
        head, newline, rest = text.rpartition("\n")
        if not newline:
            self._append(text)
            return ""
        finished = "".join((*self._open, head))
        if self._controlled or "\r" in head or "\b" in head:
            finished = "\n".join(_carried_out(line) for line in finished.split("\n"))
        self._open.clear()
        self._size = 0
        self._threshold = _COMPACT_FROM
        self._controlled = False
        if rest:
            self._append(rest)
        return finished + "\n"

    def unfinished(self) -> str:
        """Give the line that has no newline yet."""
        line = "".join(self._open)
        if self._controlled:
            line = _carried_out(line)
        self._open[:] = [line] if line else []
        self._size = len(line)
        return line

    def _append(self, text: str) -> None:
        self._controlled = self._controlled or "\r" in text or "\b" in text
        self._open.append(text)
        self._size += len(text)
        if self._controlled and self._size > self._threshold:
            self._threshold = max(_COMPACT_FROM, 2 * len(self.unfinished()))


class StreamText:
    """The text of one stream output."""

    __slots__ = ("_finished", "_lines", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._finished: list[str] = []
        self._lines = Lines()

    def feed(self, text: str) -> None:
        """Take the next piece of the stream."""
        if finished := self._lines.feed(text):
            self._finished.append(finished)

    def continues(self, text: str) -> bool:
        """Tell whether `text` rewrites this stream's unfinished line, whatever came between."""
        return self._lines.in_progress or text.startswith(("\r", "\b"))

    def output(self) -> Output:
        """Give the text so far as a notebook output."""
        text = "".join((*self._finished, self._lines.unfinished()))
        return {"output_type": "stream", "name": self.name, "text": text}


class Outputs:
    """The outputs of every cell of a notebook, as messages come in."""

    def __init__(self) -> None:
        self._cells: dict[int, list[StreamText | Output]] = {}
        self._clear: set[int] = set()
        self._displays: dict[str, list[Output]] = {}

    def take(self, cell: int, kind: str, content: dict[str, Any]) -> None:
        """Take one message of the kernel; a kind that is no output is passed over.

        Args:
            cell: index of the cell it belongs to.
            kind: message type.
            content: the message's content.
        """
        if kind not in KINDS:
            return
        if kind == "update_display_data":
            self._update(content)
            return
        if kind == "clear_output":
            self._clear.add(cell)
            if not content.get("wait"):
                self._clear_now(cell)
            return
        self._clear_now(cell)
        outputs = self._cells.setdefault(cell, [])
        if kind == "stream":
            self._stream(outputs, str(content.get("name", "stdout")), content.get("text", ""))
            return
        output = _output(kind, content)
        outputs.append(output)
        display = _display_id(content)
        if display and kind != "error":
            self._displays.setdefault(display, []).append(output)

    def of(self, cell: int) -> list[Output]:
        """Give the cell's outputs as the notebook format has them."""
        return [
            output.output() if isinstance(output, StreamText) else output
            for output in self._cells.get(cell, ())
        ]

    def _clear_now(self, cell: int) -> None:
        if cell in self._clear:
            self._clear.remove(cell)
            self._cells[cell] = []

    def _update(self, content: dict[str, Any]) -> None:
        for output in self._displays.get(_display_id(content), ()):
            output.update(_bundles(content))

    @staticmethod
    def _stream(outputs: list[StreamText | Output], name: str, text: str) -> None:
        target: StreamText | None = None
        for output in reversed(outputs[-2:]):
            if not isinstance(output, StreamText):
                break
            if output.name == name and (output is outputs[-1] or output.continues(text)):
                target = output
                break
        if target is None:
            target = StreamText(name)
            outputs.append(target)
        target.feed(text)


def _display_id(content: dict[str, Any]) -> str:
    transient = content.get("transient")
    found = transient.get("display_id", "") if isinstance(transient, dict) else ""
    return str(found) if found else ""


def _bundles(content: dict[str, Any]) -> dict[str, Any]:
    data, metadata = content.get("data"), content.get("metadata")
    return {
        "data": {
            str(kind): value if isinstance(value, str) or _is_json(str(kind)) else str(value)
            for kind, value in (data.items() if isinstance(data, dict) else ())
        },
        "metadata": metadata if isinstance(metadata, dict) else {},
    }


def _is_json(kind: str) -> bool:
    """Tell whether a MIME type's data is JSON and not text."""
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def _output(kind: str, content: dict[str, Any]) -> Output:
    if kind == "error":
        return {
            "output_type": "error",
            "ename": str(content.get("ename", "")),
            "evalue": str(content.get("evalue", "")),
            "traceback": [str(line) for line in content.get("traceback") or ()],
        }
    output: Output = {"output_type": kind, **_bundles(content)}
    if kind == "execute_result":
        count = content.get("execution_count")
        output["execution_count"] = count if isinstance(count, int) and count >= 0 else None
    return output


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Give a JSON value with `redact` applied to every text in it, pictures left out.

    Args:
        value: an output, a message's content, or any part of one.
        redact: replaces secrets in a text.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redacted(item, redact) for item in value]
    if isinstance(value, dict):
        return {
            redact(key): item if _is_encoded(key) else redacted(item, redact)
            for key, item in value.items()
        }
    return value


def redacted_outputs(outputs: Sequence[Output], redact: Callable[[str], str]) -> list[Output]:
    """Give a cell's outputs redacted, also of a secret that another output cut in two."""
    safe: list[Output] = redacted(list(outputs), redact)
    for name in ("stdout", "stderr"):
        parts = [at for at, output in enumerate(outputs) if output.get("name") == name]
        if len(parts) < 2:
            continue
        whole = redact("".join(outputs[at]["text"] for at in parts))
        if whole != "".join(safe[at]["text"] for at in parts):
            for at in parts:
                safe[at]["text"] = ""
            safe[parts[0]]["text"] = whole
    return safe


def knows_secrets(redact: Callable[[str], str]) -> bool:
    """Tell whether text must be handed over in whole lines, for a secret may be in them."""
    return isinstance(redact, Redactor)


def _is_encoded(key: str) -> bool:
    """Tell whether a MIME type's data is base64, where nothing can be read or replaced."""
    return key.startswith(("image/", "audio/", "video/")) and key != "image/svg+xml"
