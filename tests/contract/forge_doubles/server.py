"""The HTTP server of a double: Git by git's own http-backend, the API by a subclass."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from forge_doubles.repository import Repository

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from pathlib import Path

TOKEN = "forge-token-4b1d9f"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    user: str


@dataclass
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Double:
    """A forge with the one repository acme/deploy, and the user ann who has `TOKEN`.

    Args:
        folder: where the repository is kept.
        may_push: whether ann may push, and open pull requests.
        tls: certificate of the server; None for plain HTTP.
    """

    kind = "git"
    api = "/api"

    def __init__(
        self, folder: Path, *, may_push: bool = True, tls: ssl.SSLContext | None = None
    ) -> None:
        self.repository = Repository(folder / "deploy.git")
        self.may_push = may_push
        self.users = {TOKEN: "ann"}
        self.exchanges: list[tuple[Request, Answer]] = []
        self.fault: Callable[[Request], Answer | None] | None = None
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"double": self})
        )
        self._server.daemon_threads = True
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Double:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.address}/acme/deploy.git"

    def who(self, authorization: str) -> str:
        """Give the user whom a header is for; empty for nobody."""
        kind, _, value = authorization.partition(" ")
        if kind.lower() == "basic":
            value = base64.b64decode(value).decode().partition(":")[2]
        return self.users.get(value, "")

    def answer(self, request: Request) -> Answer:
        """Answer a request to the API."""
        raise NotImplementedError

    def unauthorized(self) -> Answer:
        return Answer(401, {"message": "Unauthorized"})

    def handle(self, request: Request) -> Answer:
        with self.lock:
            self.repository.look()
            answer = (self.fault and self.fault(request)) or None
            if answer is None:
                answer = self.answer(request) if request.user else self.unauthorized()
            self.exchanges.append((request, answer))
            return answer


def page(request: Request, entries: list[Any], *, size: str = "per_page") -> Answer:
    """Give one page of a list, with the links that lead on."""
    count, number = int(request.query.get(size, 30)), int(request.query.get("page", 1))
    part = entries[(number - 1) * count : number * count]
    headers = {"X-Total-Count": str(len(entries))}
    if number * count < len(entries):
        query = "&".join(
            f"{key}={value}" for key, value in request.query.items() if key != "page"
        )
        address = f"{request.path}?{query}&page={number + 1}"
        headers["Link"] = f'<{address}>; rel="next"'
    return Answer(200, part, headers)


class _Handler(BaseHTTPRequestHandler):
    double: Double
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: else each answer waits for an acknowledgement, 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 30

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self._body()
        user = self.double.who(self.headers.get("Authorization", ""))
        if parts.path.startswith("/acme/deploy.git/"):
            self._git(parts.path, parts.query, body, user)
            return
        request = Request(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query)),
            json.loads(body) if body else None,
            user or self.double.users.get(self.headers.get("PRIVATE-TOKEN", ""), ""),
        )
        answer = self.double.handle(request)
        headers = dict(answer.headers)
        if link := headers.get("Link"):
            headers["Link"] = link.replace("<", f"<{self.double.address}")
        content = b"" if answer.body is None else answer.body
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self._send(answer.status, {"Content-Type": "application/json", **headers}, content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return body

    def _git(self, path: str, query: str, body: bytes, user: str) -> None:
        if not user:
            asks = {"WWW-Authenticate": 'Basic realm="forge"'}
            self._send(401, asks, b"Authentication required\n")
            return
        if "git-receive-pack" in path + query and not self.double.may_push:
            self._send(403, {}, b"Permission to acme/deploy.git denied to ann.\n")
            return
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.double.repository.path.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": unquote(path).removeprefix("/acme"),
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": user,
                "REMOTE_ADDR": "127.0.0.1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_CONFIG_NOSYSTEM": "1",
            },
            capture_output=True,
            check=False,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        lines = (line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        headers = dict(lines)
        status = int(headers.pop("Status", "200").split()[0])
        self._send(status, headers, content)

    def _send(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
