"""A real kernel and what a front end hears of it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from queue import Empty
from typing import TYPE_CHECKING, Any, Self

from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_SECONDS = 120.0


@dataclass
class Cell:
    """One executed cell: the messages that a front end puts under it."""

    id: str
    messages: list[dict[str, Any]] = field(default_factory=list)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["msg_type"] in kinds]

    @property
    def printed(self) -> str:
        return "".join(m["content"]["text"] for m in self.of("stream"))

    @property
    def shown(self) -> dict[str, str]:
        """What the reader sees last of the cell's view."""
        last = self.of("display_data", "update_display_data")[-1]
        data: dict[str, str] = last["content"]["data"]
        # As it is read: which part of a word has a colour is no matter of these tests.
        return {**data, "text/html": re.sub(r"</?span[^>]*>", "", data["text/html"])}

    @property
    def error(self) -> str:
        """The error as the front end prints it; empty if there is none."""
        return "\n".join("\n".join(m["content"]["traceback"]) for m in self.of("error"))

    @property
    def result(self) -> str:
        results = self.of("execute_result")
        return str(results[-1]["content"]["data"]["text/plain"]) if results else ""

    @property
    def is_done(self) -> bool:
        return any(m["content"]["execution_state"] == "idle" for m in self.of("status"))


class Kernel:
    """A kernel that a Jupyter server (with a notebook's path) or a batch tool started.

    Args:
        folder: where it works.
        env: its environment.
        notebook: path of the live notebook it belongs to; None for a batch kernel.
    """

    def __init__(
        self, folder: Path, env: Mapping[str, str], notebook: Path | None = None
    ) -> None:
        self._folder = folder
        self._env = dict(env) | ({"JPY_SESSION_NAME": str(notebook)} if notebook else {})
        self._cells: dict[str, Cell] = {}
        self.said = folder / f"kernel-{id(self)}.log"

    def __enter__(self) -> Self:
        self._manager = KernelManager(kernel_name="python3")
        with self.said.open("w") as log:
            self._manager.start_kernel(
                cwd=str(self._folder), env=self._env, stdout=log, stderr=log
            )
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()

    def start(self, code: str) -> Cell:
        """Send a cell, as Shift-Enter does."""
        cell = Cell(self._client.execute(code))
        self._cells[cell.id] = cell
        return cell

    def run(self, code: str) -> Cell:
        """Send a cell and listen until the kernel is idle again."""
        cell = self.start(code)
        self.listen(lambda: cell.is_done)
        return cell

    def listen(self, until: Callable[[], bool]) -> None:
        """Take in messages until something is true."""
        deadline = time.monotonic() + _SECONDS
        while not until():
            assert time.monotonic() < deadline, [
                (c.printed, c.error, c.of("update_display_data")[-1:])
                for c in self._cells.values()
            ]
            try:
                message = self._client.get_iopub_msg(timeout=0.2)
            except Empty:
                continue
            if cell := self._cells.get(message["parent_header"].get("msg_id")):
                cell.messages.append(message)

    def listen_for(self, cell: Cell, words: str) -> None:
        """Take in messages until the cell's view says these words."""
        self.listen(lambda: bool(cell.of("display_data")) and words in cell.shown["text/plain"])

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def shut_down(self) -> None:
        """End it as `Shut Down Kernel` does."""
        self._manager.shutdown_kernel(now=False)

    def complete(self, line: str) -> tuple[str, list[str]]:
        """Press Tab behind the line; give what would be replaced, and by what."""
        reply = self._client.complete(line, len(line), reply=True, timeout=_SECONDS)["content"]
        return line[reply["cursor_start"] : reply["cursor_end"]], reply["matches"]
