"""A real Jupyter Server with our extension, and who asks it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import websocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JUPYTER = Path(sys.executable).with_name("jupyter")
BASE = "/user/ann@b/"
TOKEN = "a-token-of-the-test"
SCHEMA = "https://mlops-nb.dev/schemas/event/v1"


class Client:
    """Somebody's browser, with a token unless told otherwise."""

    def __init__(self, port: int, token: str = TOKEN) -> None:
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}{BASE}"
        self.session = requests.Session()
        self.token = token
        if token:
            self.session.headers["Authorization"] = f"token {token}"

    def get(self, route: str, **words: str) -> requests.Response:
        return self.session.get(f"{self.url}mlops-nb/v1/{route}", params=words, timeout=60)

    def post(self, word: str, path: str = "", **fields: Any) -> requests.Response:
        body = json.dumps({"path": path, "verb": fields})
        return self.session.post(f"{self.url}mlops-nb/v1/{word}", body, timeout=120)

    def do(self, word: str, path: str = "", **fields: Any) -> Any:
        answer = self.post(word, path, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def listening(self) -> Iterator[Events]:
        address = f"ws://{self.host}{BASE}api/events/subscribe?token={self.token}"
        connection = websocket.create_connection(address, timeout=60)
        try:
            yield Events(connection)
        finally:
            connection.close()


class Events:
    """What somebody was told on Jupyter's event bus; of ours, nothing is left out."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.seen: list[dict[str, Any]] = []

    def until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Listen until an event is what one waits for."""
        while True:
            said = json.loads(self._connection.recv())
            if said["schema_id"] != SCHEMA:
                continue
            self.seen.append(said)
            event: dict[str, Any] = said["event"]
            if is_it(event):
                return event

    def until_ended(self, run: str) -> dict[str, Any]:
        return self.until(
            lambda event: (
                event["kind"] == "run_moved"
                and event["run"] == run
                and event["state"] in {"succeeded", "failed", "cancelled"}
            )
        )


@contextmanager
def served(root: Path, home: Path, config: str = "") -> Iterator[Client]:
    """Start a server that shows `root`; `config` is its jupyter_server_config.py."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home.mkdir(exist_ok=True)
    (home / "jupyter_server_config.py").write_text(config)
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MLFLOW_", "MLOPS_", "JPY_", "JUPYTER"))
    } | {"JUPYTER_CONFIG_DIR": str(home), "JUPYTER_DATA_DIR": str(home / "data"),
         "JUPYTER_RUNTIME_DIR": str(home / "run"), "HOME": str(home)}  # fmt: skip
    words = [
        str(JUPYTER), "server", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.base_url={BASE}",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}",
    ]  # fmt: skip
    with (home / "server.log").open("a") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, cwd=home)
    client = Client(port)
    try:
        _wait(process, client, home / "server.log")
        yield client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _wait(process: subprocess.Popen[bytes], client: Client, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if client.session.get(f"{client.url}api/status", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())
