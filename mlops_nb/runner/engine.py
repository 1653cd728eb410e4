"""The execution as a papermill engine: `papermill --engine mlops_nb in.ipynb out.ipynb`.

Only papermill imports this module.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import tempfile
import threading
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from papermill.engines import Engine

from mlops_nb.core.run import Limits, RunState
from mlops_nb.errors import UserError
from mlops_nb.runner.document import save
from mlops_nb.runner.execution import Execution
from mlops_nb.runner.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.core.events import Progress

_LOGGER = logging.getLogger("papermill")


class JournalEngine(Engine):  # type: ignore[misc]  # papermill has no types
    """Executes without papermill's two whole saves per cell.

    While it runs, a hidden directory beside the output holds the journal; it is left there only
    if the process is killed.
    """

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool | dict[str, Any] = True,  # noqa: FBT001, FBT002  # papermill's
        log_output: bool = False,  # noqa: FBT001, FBT002  # papermill's
        autosave_cell_every: int = 30,  # noqa: ARG003  # the journal is always up to date
        **options: Any,
    ) -> Any:
        """Execute a notebook; papermill looks for errors in what this gives.

        Args:
            nb: papermill's notebook, already parametrized.
            kernel_name: kernelspec name.
            output_path: where papermill will write the notebook.
            progress_bar: whether to draw one, or tqdm's options.
            log_output: whether what is printed goes to papermill's log too.
            autosave_cell_every: not needed.
            options: input_path, start_timeout, execution_timeout, stdout_file, stderr_file.

        Raises:
            UserError: for any other option.
            KeyboardInterrupt: if Ctrl-C ended it; what was done is saved.
            SystemExit: if SIGTERM did, likewise.
        """
        options.pop("input_path", None)
        timeout = options.pop("execution_timeout", None)
        start_timeout = options.pop("start_timeout", None)
        files = {name: options.pop(f"{name}_file", None) for name in ("stdout", "stderr")}
        if options:
            raise UserError(
                f"the engine mlops_nb has no option {', '.join(sorted(options))}",
                hint="leave it out",
            )
        format_of_4: Any = nbformat
        plain = json.loads(json.dumps(format_of_4.v4.upgrade(nb)))
        directory = _journal_directory(output_path)
        with (
            Kernel(kernel_name, cwd=Path.cwd(), env=dict(os.environ)) as kernel,
            _bar(progress_bar, len(plain["cells"])) as advance,
            _signals() as caught,
        ):
            execution = Execution(
                plain,
                run=Path(output_path or "notebook").name,
                kernel=kernel,
                limits=Limits(cell_timeout=timeout),
                directory=directory,
                redact=str,
                stop=caught.stop,
            )
            execution.tell = advance
            execution.echo = _echo(files, log_output=log_output)
            execution.start_within = start_timeout or execution.start_within
            outcome, executed = execution.finish()
        execution.journal.close()
        executed["cells"] = [cell for cell in executed["cells"] if not _is_marker(cell)]
        if output_path and _is_local(output_path):
            save(executed, Path(output_path))
        shutil.rmtree(directory, ignore_errors=True)
        if outcome.state is RunState.CANCELLED:
            raise caught.exception()
        return format_of_4.from_dict(executed)


def _is_marker(cell: dict[str, Any]) -> bool:
    """Tell whether it is a marker of ours; papermill adds its own."""
    return "papermill-error-cell-tag" in cell["metadata"].get("tags", [])


def _is_local(path: str) -> bool:
    return "://" not in path and path != "-"


def _journal_directory(output_path: str | None) -> Path:
    if output_path and _is_local(output_path):
        output = Path(output_path)
        return Path(
            tempfile.mkdtemp(prefix=f".{output.stem[:40]}.", dir=output.resolve().parent)
        )
    return Path(tempfile.mkdtemp(prefix="mlops-nb-"))


def _echo(files: dict[str, Any], *, log_output: bool) -> Any:
    """Give a listener that passes output on as papermill's own engine does."""

    def echo(kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            text, name = str(content.get("text", "")), content.get("name", "stdout")
            if log_output:
                (_LOGGER.warning if name == "stderr" else _LOGGER.info)(text)
            if file := files.get(name):
                file.write(text)
                file.flush()
        elif log_output and "text/plain" in (content.get("data") or {}):
            _LOGGER.info(content["data"]["text/plain"])

    return echo


class _Caught:
    """Which signal asked for the end."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.number = 0

    def __call__(self, number: int, _frame: object) -> None:
        self.number = number
        self.stop.set()

    def exception(self) -> BaseException:
        if self.number == signal.SIGTERM:
            return SystemExit(128 + signal.SIGTERM)
        return KeyboardInterrupt()


@contextmanager
def _signals() -> Iterator[_Caught]:
    """Make Ctrl-C and SIGTERM end the execution in good order, where signals can be had."""
    caught = _Caught()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, caught)
        yield caught
    finally:
        for number, known in before.items():
            signal.signal(number, known)


@contextmanager
def _bar(wanted: bool | dict[str, Any], total: int) -> Iterator[Any]:  # noqa: FBT001
    """Draw papermill's progress bar, counting code cells."""
    if wanted is False:
        yield lambda _: None
        return
    tqdm: Any = import_module("tqdm.auto").tqdm

    given = wanted if isinstance(wanted, dict) else {}
    with tqdm(**({"total": total, "unit": "cell", "desc": "Executing"} | given)) as bar:

        def advance(progress: Progress) -> None:
            bar.total = progress.cells
            bar.update(progress.done - bar.n)

        yield advance
