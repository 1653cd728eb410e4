"""The executed notebook while it comes to be: a copy at the start, then a line per happening.

A kill at any moment leaves a journal from which `assemble` gives everything up to it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mlops_nb.runner.document import new_cell, save, tags
from mlops_nb.runner.outputs import (
    Lines,
    Outputs,
    knows_secrets,
    redacted,
    redacted_outputs,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlops_nb.core.run import Failure
    from mlops_nb.runner.document import Notebook

INPUT = "input.ipynb"
JOURNAL = "journal.jsonl"
EXECUTED = "executed.ipynb"

MARKER_TAG = "papermill-error-cell-tag"


@dataclass(slots=True)
class CellRecord:
    """When a cell ran and how it ended; `status` is papermill's word."""

    started: datetime
    ended: datetime | None = None
    status: str = "running"
    count: int | None = None


@dataclass(slots=True)
class Record:
    """All that became of a notebook's cells."""

    started: datetime
    ended: datetime | None = None
    language_info: dict[str, Any] = field(default_factory=dict)
    cells: dict[int, CellRecord] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=Outputs)

    def apply(self, entry: list[Any]) -> None:
        """Take one entry of the journal.

        Raises:
            ValueError, IndexError, KeyError, TypeError: if it is no such entry.
        """
        match entry:
            case ["out", int(cell), str(kind), dict(content)]:
                self.outputs.take(cell, kind, content)
            case ["begin", int(cell), str(time)]:
                self.cells[cell] = CellRecord(datetime.fromisoformat(time))
            case ["end", int(cell), str(time), str(status), count]:
                record = self.cells[cell]
                record.ended = datetime.fromisoformat(time)
                record.status = status
                record.count = count
            case ["kernel", dict(info)]:
                self.language_info = info
            case ["run", str(time)]:
                self.started = datetime.fromisoformat(time)
            case _:
                raise ValueError(f"no journal entry: {entry!r:.80}")


class Journal:
    """Writes what happens, as it happens, into the run directory.

    Args:
        directory: the run directory; `input.ipynb` is written there at once.
        notebook: what is executed.
        redact: replaces secrets in a text.
    """

    def __init__(
        self, directory: Path, notebook: Notebook, redact: Callable[[str], str]
    ) -> None:
        save(notebook, directory / INPUT)
        self.record = Record(datetime.now(UTC))
        self._directory = directory
        self._redact = redact
        self._waiting: list[str] = []
        # Lines that are not whole yet, by cell and stream.
        self._held: dict[tuple[int, str], Lines] = defaultdict(Lines)
        self._file = (directory / JOURNAL).open("wb", buffering=0)
        self._add(["run", self.record.started.isoformat()])
        self.flush()

    def kernel(self, info: dict[str, Any]) -> None:
        """Note the language the kernel speaks."""
        self._happened(["kernel", info])

    def begin(self, cell: int) -> None:
        """Note that the cell of this index starts."""
        self._happened(["begin", cell, datetime.now(UTC).isoformat()])
        self.flush()

    def end(self, cell: int, status: str, count: int | None) -> None:
        """Note that it ended; `status` is papermill's word, `count` the number of In[…]."""
        for stream, lines in self._held.items():
            self._text(*stream, lines.unfinished())
        self._held.clear()
        self._happened(["end", cell, datetime.now(UTC).isoformat(), status, count])
        self.flush()

    def output(self, cell: int, kind: str, content: dict[str, Any]) -> None:
        """Note an output message; what is written is redacted, what is held not yet.

        A secret may come in two messages: only the whole text shows it. So a run with secrets
        writes whole lines, and a kill takes the last one along.
        """
        self.record.outputs.take(cell, kind, content)
        if kind == "stream" and knows_secrets(self._redact):
            stream = (cell, str(content.get("name", "stdout")))
            self._text(*stream, self._held[stream].feed(str(content.get("text", ""))))
            return
        if kind == "clear_output":
            for stream in [stream for stream in self._held if stream[0] == cell]:
                del self._held[stream]
        self._add(["out", cell, kind, redacted(content, self._redact)])

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            content = "".join(self._waiting).encode("utf-8", errors="replace")
            self._waiting.clear()
            self._file.write(content)

    def finish(self, notebook: Notebook, failure: Failure | None) -> Notebook:
        """Give the executed notebook, redacted."""
        self.record.ended = datetime.now(UTC)
        self.flush()
        return _executed(notebook, self.record, self._redact, failure)

    def save(self, executed: Notebook) -> None:
        """Write the executed notebook, then let go of the journal."""
        save(executed, self._directory / EXECUTED)
        self.close()
        (self._directory / JOURNAL).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and leave it there."""
        self._file.close()

    def _text(self, cell: int, name: str, text: str) -> None:
        if text:
            content = {"name": name, "text": self._redact(text)}
            self._add(["out", cell, "stream", content])

    def _happened(self, entry: list[Any]) -> None:
        self.record.apply(entry)
        self._add(entry)

    def _add(self, entry: list[Any]) -> None:
        self._waiting.append(json.dumps(entry, ensure_ascii=False) + "\n")


def assemble(
    directory: Path, *, redact: Callable[[str], str], failure: Failure | None
) -> Notebook:
    """Give the executed notebook of a run that was killed, from what it left.

    Args:
        directory: the run directory, with `input.ipynb` and perhaps a journal.
        redact: replaces secrets in a text.
        failure: why the run did not end by itself; marks the cell it was in.

    Raises:
        FileNotFoundError: if the run never came so far as to write `input.ipynb`.
    """
    notebook: Notebook = json.loads((directory / INPUT).read_bytes())
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    record = Record(datetime.fromtimestamp((directory / INPUT).stat().st_mtime, UTC))
    journal = directory / JOURNAL
    if journal.exists():
        record.ended = datetime.fromtimestamp(journal.stat().st_mtime, UTC)
        with journal.open("rb") as lines:
            for line in lines:
                try:
                    record.apply(json.loads(line))
                except (ValueError, LookupError, TypeError):
                    # Torn by the kill, or by a full disk; the next lines stand by themselves.
                    continue
    return _executed(notebook, record, redact, failure)


def _executed(
    notebook: Notebook, record: Record, redact: Callable[[str], str], failure: Failure | None
) -> Notebook:
    metadata = notebook["metadata"] | {"papermill": _of_notebook(notebook, record, failure)}
    if record.language_info:
        metadata["language_info"] = record.language_info
    cells = []
    marked = _marked(record) if failure else None
    for index, cell in enumerate(notebook["cells"]):
        if index == marked and failure:
            cells.append(new_cell("markdown", _ANCHOR, [MARKER_TAG]))
        cells.append(_cell(cell, index, record, redact, failure if index == marked else None))
    if failure:
        cells.insert(0, new_cell("markdown", _message(failure, marked), [MARKER_TAG]))
    return notebook | {"metadata": metadata, "cells": cells}


def _marked(record: Record) -> int | None:
    """Give the cell that was at fault: the last one that began and did not end well."""
    return max(
        (index for index, cell in record.cells.items() if cell.status in {"running", "failed"}),
        default=None,
    )


def _cell(
    cell: dict[str, Any],
    index: int,
    record: Record,
    redact: Callable[[str], str],
    failure: Failure | None,
) -> dict[str, Any]:
    ran = record.cells.get(index)
    status = "pending" if ran is None else "failed" if failure else ran.status
    ended = None if ran is None else ran.ended or record.ended
    done = cell | {
        "metadata": cell["metadata"]
        | {
            "papermill": {
                "status": status,
                "start_time": ran.started.isoformat() if ran else None,
                "end_time": ended.isoformat() if ended else None,
                "duration": (ended - ran.started).total_seconds() if ran and ended else None,
                "exception": None if ran is None else status == "failed",
            }
        }
    }
    if cell["cell_type"] == "code":
        outputs = redacted_outputs(record.outputs.of(index), redact)
        if failure and not any(output["output_type"] == "error" for output in outputs):
            outputs.append(_as_error(failure))
        done |= {"outputs": outputs, "execution_count": ran.count if ran else None}
    return done


def _as_error(failure: Failure) -> dict[str, Any]:
    """Give a failure that no exception told of as an error output, where people look for it."""
    lines = [line for line in (failure.reason, failure.hint) if line]
    return {
        "output_type": "error",
        "ename": failure.ename or "RunEnded",
        "evalue": failure.reason,
        "traceback": lines,
    }


def _of_notebook(notebook: Notebook, record: Record, failure: Failure | None) -> dict[str, Any]:
    given: dict[str, Any] = notebook["metadata"].get("papermill", {})
    ended = record.ended
    return (
        {
            "default_parameters": {},
            "environment_variables": {},
            "parameters": {},
            "version": version("papermill"),
        }
        | given
        | {
            "start_time": record.started.isoformat(),
            "end_time": ended.isoformat() if ended else None,
            "duration": (ended - record.started).total_seconds() if ended else None,
            "exception": True if failure else None,
        }
    )


def without_markers(notebook: Notebook) -> Notebook:
    """Give the notebook without the cells that tell of an earlier run's failure."""
    cells = [cell for cell in notebook["cells"] if MARKER_TAG not in tags(cell)]
    return notebook | {"cells": cells}


_RED = 'style="color:red; font-family:Helvetica Neue, Helvetica, Arial, sans-serif;"'
_ANCHOR = f'<span id="papermill-error-cell" {_RED}>The run ended in this cell:</span>'


def _message(failure: Failure, marked: int | None) -> str:
    reason = escape(failure.reason)
    if marked is not None:
        reason = f'<a href="#papermill-error-cell">{reason}</a>'
    hint = f"<br>→ {escape(failure.hint)}" if failure.hint else ""
    return f"<span {_RED}>{reason}{hint}</span>"
