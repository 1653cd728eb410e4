"""The HTTP server: Argo CD's REST API, and the Kubernetes objects behind it."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from mlops_nb.core.delivery import Environment
from mlops_nb.dev.cluster.applications import Applications
from mlops_nb.dev.cluster.clock import Clock
from mlops_nb.dev.cluster.metrics import Chosen, Prometheus
from mlops_nb.dev.cluster.refusal import Refusal
from mlops_nb.dev.cluster.routes import Call, answer
from mlops_nb.errors import MlopsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.dev.cluster.metrics import Source

_TICK_SECONDS = 0.05
_FOLLOW_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the stand-in is to behave.

    Args:
        environments: the environments it plays the cluster of, by name.
        read: gives every file below a folder of base, by path.
        head: gives the commit base is at.
        port: on 127.0.0.1; 0 takes a free one.
        speed: seconds of the cluster in a second.
        metrics: what canaries measure, one of mlops_nb.dev.cluster.metrics.KINDS.
        metrics_url: a real Prometheus-compatible server to ask instead; empty for none.
        token: the bearer token that every request must carry; empty asks for none.
    """

    environments: Mapping[str, Environment] = field(default_factory=dict)
    read: Callable[[str], Mapping[str, bytes]]
    head: Callable[[], str]
    port: int = 0
    speed: float = 120.0
    metrics: str = "good"
    metrics_url: str = ""
    token: str = ""


class Cluster:
    """The cluster that is played; whoever touches it holds its lock.

    Args:
        options: how it is to behave.
        report: told of its own mistakes.
    """

    def __init__(self, options: Options, report: Callable[[str], None]) -> None:
        self.options, self.report = options, report
        self.lock = threading.Lock()
        self.clock = Clock(options.speed)
        self.chosen = Chosen(options.metrics)
        source: Source = Prometheus(options.metrics_url) if options.metrics_url else self.chosen
        self.applications = Applications(
            options.environments,
            read=options.read,
            head=options.head,
            source=source,
            clock=self.clock,
        )
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(act, pause), daemon=True)
            for act, pause in (
                (self.applications.follow, _FOLLOW_SECONDS),
                (self.applications.tick, _TICK_SECONDS),
            )
        ]

    def start(self) -> None:
        """Follow Git once, then go on by itself."""
        with self.lock:
            self.applications.follow()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Go on no more."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, act: Callable[[], None], pause: float) -> None:
        told = ""
        while not self._over.wait(pause):
            try:
                with self.lock:
                    act()
            except MlopsError as error:
                if error.message != told:
                    told = error.message
                    self.report(told)
            except Exception:  # noqa: BLE001 # one broken manifest must not stop the others
                if (said := traceback.format_exc()) != told:
                    told = said
                    self.report(said)


class Server:
    """The stand-in: a cluster that is played, and the server before it.

    Args:
        cluster: the cluster.
        http: the server.
    """

    def __init__(self, cluster: Cluster, http: ThreadingHTTPServer) -> None:
        self.cluster = cluster
        self._http = http

    @property
    def port(self) -> int:
        """Its port."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    # A head and a body that are sent apart wait for each other's receipt.
    wbufsize = -1
    cluster: Cluster

    def do_GET(self) -> None:  # the base class finds it by this name
        """Answer a GET."""
        self._answer()

    def do_POST(self) -> None:  # likewise
        """Answer a POST."""
        self._answer()

    def do_PATCH(self) -> None:  # likewise
        """Answer a PATCH."""
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class' word
        """Log no requests."""

    def _answer(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        is_kubernetes = re.match(r"/(api|apis)/(?!v1/(applications|session))|/version", path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, told = 200, self._told(path, address.query, body)
        except Refusal as refusal:
            status, told = refusal.status, refusal.body(is_kubernetes=bool(is_kubernetes))
        except Exception as error:  # noqa: BLE001 # an answer, not a hang-up
            self.cluster.report(traceback.format_exc())
            status, told = 500, Refusal(500, repr(error)).body(is_kubernetes=False)
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _told(self, path: str, query: str, body: bytes) -> dict[str, Any]:
        self._admit()
        try:
            read = json.loads(body) if body.strip() else {}
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        media = self.headers.get("Content-Type", "")
        call = Call(self.command, path, dict(parse_qsl(query)), read, media)
        with self.cluster.lock:
            return answer(self.cluster, call)

    def _admit(self) -> None:
        token = self.cluster.options.token
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            raise Refusal(401, "no session information")


@contextlib.contextmanager
def serve(options: Options, report: Callable[[str], None] | None = None) -> Iterator[Server]:
    """Play a cluster for as long as the `with` block lasts.

    Args:
        options: how it is to behave.
        report: told of its own mistakes; else they go to stderr.

    Raises:
        OSError: if the port is taken.
    """

    def to_stderr(text: str) -> None:
        sys.stderr.write(f"{text.rstrip()}\n")

    cluster = Cluster(options, report or to_stderr)
    handler: Any = type("Handler", (_Handler,), {"cluster": cluster})
    http = ThreadingHTTPServer(("127.0.0.1", options.port), handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    try:
        cluster.start()
        thread.start()
        yield Server(cluster, http)
    finally:
        if thread.is_alive():
            http.shutdown()
            thread.join()
        http.server_close()
        cluster.stop()
