"""A kernel's process and the sockets to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import zmq

from mlops_nb.errors import UserError
from mlops_nb.runner.kernelspec import KernelSpec, find
from mlops_nb.runner.wire_protocol import Codec, Message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_BOOT = Path(__file__).with_name("kernel_boot.py")
# Runs are no part of anybody's input history, and its database is slow to open and to share.
_NO_HISTORY = "--HistoryManager.hist_file=:memory:"
_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
_LONGEST_SOCKET_PATH = 100
_AT_ONCE = 512
_SHUTDOWN_GRACE = 10.0
_TERM_GRACE = 1.0
_STDERR_TAIL = 8192


class Traffic(NamedTuple):
    """What came from the kernel: its answers, and what it published meanwhile."""

    replies: list[Message]
    published: list[Message]

    def __bool__(self) -> bool:
        """Tell whether anything came."""
        return bool(self.replies or self.published)


class Kernel:
    """A running kernel; as a context manager it is gone, with all its processes, at the end.

    It also ends when the thread that started it does, so start it where it is waited for.

    Args:
        name: kernelspec name.
        cwd: its working directory.
        env: its whole environment.

    Raises:
        UserError: if there is no such kernel, or its program is missing.
    """

    def __init__(self, name: str, *, cwd: Path, env: Mapping[str, str]) -> None:
        self.spec: KernelSpec = find(name)
        self.info: dict[str, Any] = {}
        self._directory = _socket_directory()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            connection = _connection(self.spec, self._directory)
            self._codec = Codec(str(connection["key"]))
            self._process = self._spawn(cwd, env)
        except BaseException:
            self._stderr.close()
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        self._context = zmq.Context()
        self._iopub = self._connect(zmq.SUB, connection, "iopub")
        self._shell = self._connect(zmq.DEALER, connection, "shell")
        self._control = self._connect(zmq.DEALER, connection, "control")
        self._poller = zmq.Poller()
        self._poller.register(self._iopub, zmq.POLLIN)
        self._poller.register(self._shell, zmq.POLLIN)
        self._closed = False

    def __enter__(self) -> Kernel:
        """Give the kernel itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill what still runs and remove the sockets."""
        self.close()

    @property
    def pid(self) -> int:
        """The process, leader of a session and process group of its own."""
        return self._process.pid

    @property
    def directory(self) -> Path:
        """Where the sockets are; removed with the kernel."""
        return self._directory

    @property
    def exit_code(self) -> int | None:
        """How the process ended, negative for a signal; None while it runs."""
        return self._process.poll()

    def ask(self) -> None:
        """Ask the kernel who it is; its answer and the echo of it show that both ways work."""
        self._send(self._shell, "kernel_info_request", {})

    def execute(self, code: str) -> str:
        """Have the kernel run `code`; give the request's id."""
        return self._send(
            self._shell,
            "execute_request",
            {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": True,
            },
        )

    def receive(self, seconds: float) -> Traffic:
        """Give what has come, waiting at most so long for the first of it."""
        traffic = Traffic([], [])
        try:
            ready = dict(self._poller.poll(int(seconds * 1000)))
        except InterruptedError:
            return traffic
        if self._shell in ready:
            self._drain(self._shell, traffic.replies)
        if self._iopub in ready:
            self._drain(self._iopub, traffic.published)
        return traffic

    def interrupt(self) -> None:
        """Interrupt what the kernel and its children are doing."""
        if self.spec.interrupt_mode == "message":
            self._send(self._control, "interrupt_request", {})
        else:
            self._signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill the kernel and everything it started."""
        psutil: Any = import_module("psutil")
        family = []
        with suppress(psutil.Error):
            family = psutil.Process(self.pid).children(recursive=True)
        self._signal(signal.SIGKILL)
        for process in family:
            with suppress(psutil.Error):
                process.kill()

    def shut_down(self) -> None:
        """Let the kernel end by itself, exit functions and all, within seconds."""
        if self.exit_code is None:
            self._send(self._control, "shutdown_request", {"restart": False})
            if not self._ends_within(_SHUTDOWN_GRACE):
                self._signal(signal.SIGTERM)
                self._ends_within(_TERM_GRACE)

    def last_words(self) -> str:
        """Give the end of what the process wrote to its own standard error."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_TAIL))
        return self._stderr.read().decode(errors="replace").strip()

    def close(self) -> None:
        """Kill what still runs and remove the sockets; again changes nothing."""
        if self._closed:
            return
        self._closed = True
        if self.exit_code is None:
            self.kill()
        else:
            # Children that outlived the kernel are still in its process group.
            self._signal(signal.SIGKILL)
        self._process.wait()
        self._context.destroy(linger=0)
        self._stderr.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _ends_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self.exit_code is None:
            if time.monotonic() > until:
                return False
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)
        return True

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _send(self, channel: zmq.Socket[bytes], kind: str, content: dict[str, Any]) -> str:
        name, frames = self._codec.pack(kind, content)
        channel.send_multipart(frames)
        return name

    def _drain(self, channel: zmq.Socket[bytes], into: list[Message]) -> None:
        for _ in range(_AT_ONCE):
            try:
                frames = channel.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if message := self._codec.unpack(frames):
                into.append(message)

    def _spawn(self, cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        command = _command(self.spec, self._directory / "connection.json")
        environment = self.spec.environment(env) | {"JPY_PARENT_PID": str(os.getpid())}
        try:
            return subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(
                f"the kernel {self.spec.name!r} cannot be started: {error}",
                hint=f"check {self.spec.directory / 'kernel.json'} and {cwd}",
            ) from error

    def _connect(
        self, kind: int, connection: Mapping[str, object], channel: str
    ) -> zmq.Socket[bytes]:
        made: zmq.Socket[bytes] = self._context.socket(kind)
        made.linger = 0
        made.rcvhwm = 0
        made.sndhwm = 0
        # The kernel binds later than this connects; by default the next try is 0.1 s away.
        made.setsockopt(zmq.RECONNECT_IVL, 5)
        if kind == zmq.SUB:
            made.setsockopt(zmq.SUBSCRIBE, b"")
        between = "-" if connection["transport"] == "ipc" else ":"
        made.connect(
            f"{connection['transport']}://{connection['ip']}{between}{connection[f'{channel}_port']}"
        )
        return made


def _socket_directory() -> Path:
    """Make a private directory whose path leaves room for a socket's name."""
    made = Path(tempfile.mkdtemp(prefix="mlops-nb-"))
    if len(os.fsencode(made)) + len("/k-5") > _LONGEST_SOCKET_PATH:
        made.rmdir()
        made = Path(tempfile.mkdtemp(prefix="mlops-nb-", dir="/tmp"))
    return made


def _connection(spec: KernelSpec, directory: Path) -> dict[str, object]:
    """Choose where the kernel listens and write it down for the kernel.

    Only IPython's kernel is known to speak over Unix sockets.
    """
    ports = dict(
        zip(_CHANNELS, range(1, 6) if spec.is_ipykernel else _free_ports(), strict=True)
    )
    connection: dict[str, object] = {
        "transport": "ipc" if spec.is_ipykernel else "tcp",
        "ip": str(directory / "k") if spec.is_ipykernel else "127.0.0.1",
        "key": uuid4().hex,
        "signature_scheme": "hmac-sha256",
        "kernel_name": spec.name,
        **{f"{channel}_port": port for channel, port in ports.items()},
    }
    file = directory / "connection.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(connection), encoding="utf-8")
    return connection


def _free_ports() -> list[int]:
    held = [socket.socket() for _ in _CHANNELS]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def _command(spec: KernelSpec, connection_file: Path) -> list[str]:
    words = [
        word.replace("{connection_file}", str(connection_file)).replace(
            "{resource_dir}", str(spec.directory)
        )
        for word in spec.argv
    ]
    runner = str(os.getpid())
    if spec.is_ipykernel:
        return [words[0], str(_BOOT), runner, "ipykernel", *words[3:], _NO_HISTORY]
    if shutil.which(words[0]) is None:
        raise UserError(
            f"the kernel {spec.name!r} cannot be started: {words[0]} is not installed",
            hint=f"check {spec.directory / 'kernel.json'}",
        )
    return [sys.executable, str(_BOOT), runner, "exec", *words]
