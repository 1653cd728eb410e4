"""A real SSH server on a free port, with a key of its own for whoever runs the tests."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class SshServer:
    """How it is reached.

    Args:
        address: `ssh://user@host:port`.
        command: what git is to call, with the key.
        stranger: the same with a key the server does not know.
    """

    address: str
    command: str
    stranger: str


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    for name in ("host", "user", "other"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "known").write_text(
        f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}", encoding="utf-8"
    )
    config = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "PidFile": "none",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "yes",
        "StrictModes": "no",
        "UsePAM": "no",
        "LogLevel": "VERBOSE",
    }
    text = "".join(f"{key} {value}\n" for key, value in config.items())
    (folder / "sshd_config").write_text(text)
    if os.geteuid() == 0:
        # Debian's sshd wants it, and the system makes it only where a service is started.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    assert SSHD
    log = folder / "sshd.log"
    server = subprocess.Popen(
        [SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(log)],
        stdin=subprocess.DEVNULL,
    )
    command = _command(folder, "user")
    # One login serves all tests, in which else most of the time would go; a socket's path is
    # to be short.
    control = Path(tempfile.mkdtemp(prefix="ssh-", dir="/tmp"))
    shared = f"{command} -o ControlPath={control}/c -o ControlMaster=auto -o ControlPersist=60"
    try:
        _await(port, server, log)
        yield SshServer(
            address=f"ssh://{getpass.getuser()}@127.0.0.1:{port}",
            command=shared,
            stranger=_command(folder, "other"),
        )
    finally:
        stop = f"{shared} -O exit 127.0.0.1"
        subprocess.run(stop.split(), check=False, capture_output=True)
        server.terminate()
        server.wait()
        shutil.rmtree(control)


def _await(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(log.read_text())


def _command(folder: Path, key: str) -> str:
    return (
        f"ssh -F /dev/null -i {folder / key} -o IdentitiesOnly=yes "
        f"-o UserKnownHostsFile={folder / 'known'}"
    )
