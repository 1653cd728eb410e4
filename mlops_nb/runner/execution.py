"""Executes a notebook's cells one by one and keeps the record of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops_nb.core.events import Progress
from mlops_nb.core.run import Failure, Limits, RunState
from mlops_nb.errors import UserError
from mlops_nb.runner import failures
from mlops_nb.runner.document import tags
from mlops_nb.runner.halting import Halt
from mlops_nb.runner.journal import Journal, without_markers
from mlops_nb.runner.memory import MemoryWatch, OomCounter
from mlops_nb.runner.outputs import KINDS, redacted
from mlops_nb.runner.parametrize import INJECTED
from mlops_nb.runner.printed import PrintedLog

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from mlops_nb.runner.document import Notebook
    from mlops_nb.runner.kernel import Kernel
    from mlops_nb.runner.wire_protocol import Message

LOG = "log.txt"

_TICK = 0.1
_TELL_EVERY = 0.25
_START_WITHIN = 60.0
_ASK_EVERY = 0.2
_QUIET_AFTER_DEATH = 0.1
_QUIET_AFTER_SHUTDOWN = 0.01
_IDLE_WITHIN = 30.0
_MISSING_IDLE = "the kernel never said that it was idle again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an execution.

    Args:
        state: succeeded, failed or cancelled.
        failure: why it did not succeed.
        peak_memory: most bytes the kernel and its children held at once.
        cells_done: code cells that finished.
        cells: code cells in all, without the one that parameters are injected with.
        last_line: last line the notebook printed.
    """

    state: RunState
    failure: Failure | None
    peak_memory: int
    cells_done: int
    cells: int
    last_line: str


def execute(
    notebook: Notebook,
    *,
    run: str,
    kernel: Kernel,
    limits: Limits,
    directory: Path,
    redact: Callable[[str], str],
    tell: Callable[[Progress], None],
    stop: threading.Event,
) -> Outcome:
    """Execute the notebook and write `executed.ipynb` and `log.txt`, whatever happens.

    Args:
        notebook: of format 4.5, parametrized.
        run: id of the run, for the events.
        kernel: just started; it is shut down at the end.
        limits: time and memory.
        directory: the run directory.
        redact: replaces secrets in a text.
        tell: told of progress; must not block.
        stop: set it to cancel.

    Raises:
        UserError: if the kernel does not come up; then nothing was executed.
    """
    execution = Execution(
        notebook,
        run=run,
        kernel=kernel,
        limits=limits,
        directory=directory,
        redact=redact,
        stop=stop,
    )
    execution.tell = tell
    outcome, executed = execution.finish()
    execution.journal.save(executed)
    return outcome


@dataclass(slots=True)
class _Cell:
    """The cell that runs now, and what is still awaited of it."""

    index: int
    number: int | None
    request: str
    began: float
    reply: dict[str, Any] | None = None
    idle: bool = False
    has_printed: bool = False
    replied_at: float = 0.0


def _no_echo(_kind: str, _content: dict[str, Any]) -> None:
    pass


def _no_tell(_progress: Progress) -> None:
    pass


class Execution:
    """One execution of one notebook.

    Args:
        notebook: of format 4.5, parametrized.
        run: id of the run, for the events.
        kernel: just started.
        limits: time and memory.
        directory: the run directory.
        redact: replaces secrets in a text.
        stop: set it to cancel.
    """

    def __init__(
        self,
        notebook: Notebook,
        *,
        run: str,
        kernel: Kernel,
        limits: Limits,
        directory: Path,
        redact: Callable[[str], str],
        stop: threading.Event,
    ) -> None:
        self.notebook = without_markers(notebook)
        self.journal = Journal(directory, self.notebook, redact)
        self.tell: Callable[[Progress], None] = _no_tell
        self.echo: Callable[[str, dict[str, Any]], None] = _no_echo
        self.start_within = _START_WITHIN
        self._run = run
        self._kernel = kernel
        self._limits = limits
        self._redact = redact
        self._log = PrintedLog(directory / LOG, redact)
        self._watch = MemoryWatch(kernel.pid, limits.memory, kernel.kill)
        self._oom = OomCounter(kernel.pid)
        self._began = time.monotonic()
        self._owner: dict[str, int] = {}
        # What belongs to no cell, as the words of an exit function, goes to the last one.
        self._latest = -1
        self._numbers = _numbered(self.notebook)
        self._done = 0
        self._cell: _Cell | None = None
        self._told = 0.0
        self._halt = Halt(kernel, limits, stop)

    def finish(self) -> tuple[Outcome, Notebook]:
        """Run every cell, end the kernel; give the outcome and the executed notebook.

        Raises:
            UserError: if the kernel does not come up.
        """
        self._watch.start()
        try:
            failure = self._meet_kernel() or self._run_cells()
        finally:
            self._watch.end()
            if self._halt.failure is None and self._kernel.exit_code is None:
                self._kernel.shut_down()
                self._hear_the_rest(_QUIET_AFTER_SHUTDOWN)
            self._kernel.close()
            self._log.close()
        failure = failures.redacted(failure, self._redact) if failure else None
        executed = self.journal.finish(self.notebook, failure)
        state = RunState.SUCCEEDED
        if failure:
            state = RunState.CANCELLED if self._halt.is_cancelled else RunState.FAILED
        return self._outcome(state, failure), executed

    def _outcome(self, state: RunState, failure: Failure | None) -> Outcome:
        return Outcome(
            state=state,
            failure=failure,
            peak_memory=self._watch.peak,
            cells_done=self._done,
            cells=len(self._numbers),
            last_line=self._log.last_line(),
        )

    def _meet_kernel(self) -> Failure | None:
        """Wait until the kernel answers and what it publishes is heard."""
        until = time.monotonic() + self.start_within
        asked, heard, answered = 0.0, False, False
        while not (heard and answered):
            now = time.monotonic()
            if failure := self._look():
                return failure
            if self._kernel.exit_code is not None or now > until:
                used, limit = self._watch.exceeded, self._limits.memory
                if used and limit is not None:
                    return failures.too_little_to_start(used, limit)
                raise self._not_started(exited=self._kernel.exit_code is not None)
            # A first request waits in the socket until the kernel is there; another one is
            # needed only where a kernel does not greet subscribers.
            if not asked or (answered and now - asked > _ASK_EVERY):
                self._kernel.ask()
                asked = now
            traffic = self._kernel.receive(_TICK)
            heard = heard or bool(traffic.published)
            for reply in traffic.replies:
                answered = answered or reply.kind == "kernel_info_reply"
                if info := reply.content.get("language_info"):
                    self._kernel.info = info
        self.journal.kernel(self._kernel.info)
        return None

    def _not_started(self, *, exited: bool) -> UserError:
        self._kernel.kill()
        words = self._redact(self._kernel.last_words())
        last = words.splitlines()[-1] if words else ""
        how = "ended at once" if exited else f"did not answer within {self.start_within:g} s"
        return UserError(
            f"the kernel {self._kernel.spec.name!r} {how}" + (f": {last}" if last else ""),
            hint=f"try it by hand: {self._kernel.spec.executable}"
            + (" -m ipykernel_launcher" if self._kernel.spec.is_ipykernel else ""),
        )

    def _run_cells(self) -> Failure | None:
        for index, cell in enumerate(self.notebook["cells"]):
            if cell["cell_type"] != "code":
                continue
            if failure := self._look():
                return failure
            if not cell["source"].strip() or "skip-execution" in tags(cell):
                self._done += index in self._numbers
                continue
            failure, over = self._run_cell(index, cell)
            if failure or over:
                return failure
        return None

    def _run_cell(self, index: int, cell: dict[str, Any]) -> tuple[Failure | None, bool]:
        """Run one cell; give its failure, and whether the run ends with it."""
        number = self._numbers.get(index)
        self.journal.begin(index)
        request = self._kernel.execute(cell["source"])
        current = _Cell(index, number, request, began=time.monotonic())
        self._cell = current
        self._owner[current.request] = self._latest = index
        self._progress(at_once=True)
        self._await(current)
        self._cell = None
        failure, over = self._judge(current, cell)
        reply = current.reply or {}
        count = reply.get("execution_count")
        self._log.end_lines()
        self.journal.end(index, "failed" if failure else "completed", count)
        if not failure:
            self._done += index in self._numbers
        self._progress(at_once=True, number=number)
        return failure, over

    def _await(self, cell: _Cell) -> None:
        while not (cell.reply and cell.idle):
            traffic = self._kernel.receive(_TICK)
            for reply in traffic.replies:
                if reply.parent == cell.request and reply.kind == "execute_reply":
                    cell.reply = reply.content
                    cell.replied_at = time.monotonic()
            self._publish(traffic.published)
            if self._kernel.exit_code is not None and not traffic:
                self._hear_the_rest(_QUIET_AFTER_DEATH)
                return
            if cell.reply and not traffic and time.monotonic() > cell.replied_at + _IDLE_WITHIN:
                self._log.write("stderr", f"{_MISSING_IDLE}\n")
                return
            self._look()
            self._progress(at_once=False)

    def _hear_the_rest(self, quiet: float) -> None:
        while traffic := self._kernel.receive(quiet):
            self._publish(traffic.published)

    def _judge(self, cell: _Cell, source: dict[str, Any]) -> tuple[Failure | None, bool]:
        """Give the cell's failure, and whether the run ends with this cell."""
        used, limit = self._watch.exceeded, self._limits.memory
        if used and limit is not None:
            return failures.too_much_memory(cell.number, used, limit), True
        if self._halt.failure:
            return self._halt.failure, True
        if cell.reply is None:
            return self._died(cell.number), True
        if cell.reply.get("status") in {"ok", None} or "raises-exception" in tags(source):
            return None, False
        ename, evalue = cell.reply.get("ename"), cell.reply.get("evalue")
        if ename == "SystemExit" and evalue in {"", "0", "None"}:
            return None, True
        executable = self._kernel.spec.executable
        # Before anything is cut short: half a secret is not found any more.
        said = redacted(cell.reply, self._redact)
        return failures.raised(cell.number, said, executable=executable), True

    def _died(self, number: int | None) -> Failure:
        words = self._kernel.last_words()
        if words:
            self._log.write("stderr", words + "\n")
        return failures.died(
            number,
            self._kernel.exit_code or 0,
            peak=self._watch.peak,
            memory=self._oom,
            last_words=self._redact(words),
        )

    def _look(self) -> Failure | None:
        """See whether the run is to end before its time; give why."""
        if self._cell is None:
            following = min(self._done + 1, len(self._numbers)) or None
            return self._halt.look(following, cell_began=None)
        return self._halt.look(self._cell.number, cell_began=self._cell.began)

    def _publish(self, messages: list[Message]) -> None:
        """Take what the kernel published; pieces of one stream that came together are one."""
        pieces: list[str] = []
        stream = ("", -1)
        current = self._cell
        for message in messages:
            if message.kind == "status":
                state = message.content.get("execution_state")
                if current and message.parent == current.request and state == "idle":
                    current.idle = True
                continue
            index = self._owner.get(message.parent, self._latest)
            if message.kind == "stream":
                of = (str(message.content.get("name", "stdout")), index)
                if pieces and of != stream:
                    self._stream(*stream, "".join(pieces))
                    pieces.clear()
                stream = of
                pieces.append(str(message.content.get("text", "")))
                continue
            if pieces:
                self._stream(*stream, "".join(pieces))
                pieces.clear()
            self._output(index, message.kind, message.content)
        if pieces:
            self._stream(*stream, "".join(pieces))
        self.journal.flush()

    def _stream(self, name: str, index: int, text: str) -> None:
        self._log.write(name, text)
        self._output(index, "stream", {"name": name, "text": text})
        if self._cell and not self._cell.has_printed:
            self._cell.has_printed = True
            # That the cell began was told a moment ago; its first words need not wait for that.
            self._told = 0.0

    def _output(self, index: int, kind: str, content: dict[str, Any]) -> None:
        if kind == "error":
            trace = content.get("traceback")
            lines = trace if isinstance(trace, list) else []
            self._log.write("stderr", "\n".join(str(line) for line in lines) + "\n")
        elif kind not in KINDS:
            return
        if index < 0:
            return
        self.echo(kind, content)
        self.journal.output(index, kind, content)

    def _progress(self, *, at_once: bool, number: int | None = None) -> None:
        now = time.monotonic()
        number = self._cell.number if self._cell else number
        if number is None or (not at_once and now - self._told < _TELL_EVERY):
            return
        self._told = now
        self.tell(
            Progress(
                run=self._run,
                time=datetime.now(UTC),
                cell=number,
                cells=len(self._numbers),
                done=self._done,
                elapsed=now - self._began,
                last_line=self._log.last_line(),
                memory=self._watch.now,
                peak_memory=self._watch.peak,
            )
        )


def _numbered(notebook: Notebook) -> dict[int, int]:
    """Give each code cell's number by its index, as its author would count them."""
    own = [
        index
        for index, cell in enumerate(notebook["cells"])
        if cell["cell_type"] == "code" and INJECTED not in tags(cell)
    ]
    return {index: number for number, index in enumerate(own, start=1)}
