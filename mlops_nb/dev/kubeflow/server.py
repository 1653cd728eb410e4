"""The HTTP server: requests in, answers out, and its life from start to stop."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from mlops_nb.dev.kubeflow.access import Access
from mlops_nb.dev.kubeflow.engine import Engine
from mlops_nb.dev.kubeflow.experiments import Experiments
from mlops_nb.dev.kubeflow.faults import Faults
from mlops_nb.dev.kubeflow.kube import Kube, KubeRefusal
from mlops_nb.dev.kubeflow.pipelines import Pipelines
from mlops_nb.dev.kubeflow.recurring import Recurring
from mlops_nb.dev.kubeflow.refusal import (
    INTERNAL,
    INVALID,
    Refusal,
    body_for_status,
    error_body,
    not_found,
)
from mlops_nb.dev.kubeflow.routes import Call, Desk, Routes
from mlops_nb.dev.kubeflow.runs import Runs
from mlops_nb.dev.kubeflow.state import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlops_nb.dev.kubeflow.options import Json, Options
    from mlops_nb.dev.kubeflow.records import Pod

_LARGEST_BODY = 64 * 1024 * 1024
_FOLLOW_SECONDS = 0.1
# A Kubeflow gateway puts the API below /pipeline, a kubeconfig proxy below its service.
_GATEWAY = re.compile(
    r"^(/pipeline|/api/v1/namespaces/[^/]+/services/ml-pipeline:http/proxy)(?=/)"
)


def _report(text: str) -> None:
    sys.stderr.write(f"{text.rstrip()}\n")


class Server:
    """A stand-in for the KFP API server, and for the Kubernetes below it.

    Args:
        options: how it is to behave.
        report: told of the server's own mistakes, and of schedules that cannot start.
    """

    def __init__(self, options: Options, report: Callable[[str], None] = _report) -> None:
        self.options = options
        self.report = report
        self.port = 0
        self.access = Access(options)
        self.faults = Faults()
        for fault in options.faults:
            (self.faults.add_pod if "task" in fault else self.faults.add)(fault)

    @property
    def url(self) -> str:
        """Give the address of the server."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Take up what an earlier server left, and answer requests."""
        self._store = Store(self.options.folder / "state.sqlite")
        try:
            sockets = bind_sockets(self.options.port, "127.0.0.1")
        except OSError:
            self._store.close()
            raise
        self.port = sockets[0].getsockname()[1]
        self.engine = Engine(self.options, self._store, self.faults, self.report)
        experiments = Experiments(self._store, self.access)
        pipelines = Pipelines(self._store, self.access)
        self.runs = Runs(self.engine, experiments, pipelines, self.access)
        recurring = Recurring(
            self._store, self.runs, self.engine, self.access, self.options.zone
        )
        self.kube = Kube(self._store, self.engine.all)
        desk = Desk(
            experiments,
            pipelines,
            self.runs,
            recurring,
            self.kube,
            self.faults,
            self.options.multi_user,
        )
        self.routes = Routes(desk)
        application = Application([(r".*", _Handler, {"server": self})], log_function=_quiet)
        self._http = HTTPServer(application, max_buffer_size=_LARGEST_BODY)
        self._http.add_sockets(sockets)
        self._schedules = asyncio.ensure_future(recurring.watch(self.report))

    async def stop(self) -> None:
        """End all runs and processes, and answer no more."""
        self._schedules.cancel()
        self._http.stop()
        await self.engine.stop()
        await self._http.close_all_connections()
        self._store.close()

    def log_of(self, pod: Pod) -> Path:
        """Give the file with a pod's output."""
        return self.options.folder / "runs" / pod.run_id / pod.name / "log.txt"


def _quiet(_: RequestHandler) -> None:
    """Log no requests."""


class _Handler(RequestHandler):
    """Answers one request."""

    def initialize(self, server: Server) -> None:
        """Take the server that the request is for."""
        self._server = server
        self._fault: Json = {}

    async def _answer(self) -> None:
        path = _GATEWAY.sub("", unquote(self.request.path))
        try:
            if not path.startswith("/dev/"):
                await self._meet_fault(path)
            if self._fault.get("drop") and not self._fault.get("after"):
                self.detach().close()
                return
            await self._serve(path)
        except Refusal as refusal:
            self._reply(refusal.status, error_body(refusal.code, refusal.message))
        except KubeRefusal as refusal:
            self._reply(refusal.status, refusal.body())
        except StreamClosedError:
            return
        except Exception as error:  # noqa: BLE001 # as the real server: an answer, not a hang-up
            self._server.report(traceback.format_exc())
            self._reply(500, error_body(INTERNAL, f"InternalServerError: {error!r}"))

    async def _meet_fault(self, path: str) -> None:
        """Let what is to go wrong go wrong."""
        self._fault = self._server.faults.take(self.request.method or "", path)
        if "slow" in self._fault:
            await asyncio.sleep(float(self._fault["slow"]))

    async def _serve(self, path: str) -> None:
        self._admit(path)
        if "status" in self._fault:
            status = int(self._fault["status"])
            if path.startswith("/api/"):
                raise KubeRefusal(status, "InternalError", "the server was told to fail")
            self._reply(status, body_for_status(status))
            return
        parts = path.strip("/").split("/")
        match parts:
            case ["apis", "v1alpha1", "runs", run_id, "nodes", node, "log"]:
                self._log_of_node(run_id, node)
            case ["api", "v1", "namespaces", space, "pods", name, "log"]:
                await self._log_of_pod(space, name)
            case _:
                answer, names = self._server.routes.find(self.request.method or "", path)
                self._reply(200, answer(self._call(names)))

    def _admit(self, path: str) -> None:
        try:
            self._server.access.admit(self.request.headers)
        except Refusal as refusal:
            if path.startswith("/api/"):
                reason = "Unauthorized" if refusal.status == 401 else "Forbidden"
                raise KubeRefusal(refusal.status, reason, reason) from None
            raise

    def _call(self, names: dict[str, str]) -> Call:
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        files = self.request.files.get("uploadfile", [])
        file = (files[0]["filename"], files[0]["body"]) if files else None
        return Call(names, query, self._json() if not files else {}, file)

    def _json(self) -> Any:
        """Read the body; an empty one stands for an empty object."""
        if not self.request.body.strip():
            return {}
        try:
            return json.loads(self.request.body)
        except ValueError as error:
            raise Refusal(INVALID, f"proto: syntax error: {error}") from None

    def _reply(self, status: int, body: Json) -> None:
        """Send an answer, unless the connection is to be lost now."""
        if self._fault.get("drop"):
            self.detach().close()
            return
        if "state" in self._fault:
            for item in [body, *body.get("runs", [])]:
                if "state" in item:
                    item["state"] = self._fault["state"]
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(body))

    def _log_of_node(self, run_id: str, node: str) -> None:
        """Send what a pod has printed so far."""
        run = self._server.runs.find(run_id)
        pod = self._server.kube.pod_of_node(run, node)
        if pod is None:
            raise not_found("Log", f"of node {node} of run {run_id}")
        self.set_header("Content-Type", "text/plain")
        self.finish(_content(self._server.log_of(pod)))

    async def _log_of_pod(self, space: str, name: str) -> None:
        """Send what a pod has printed, and go on until it ends if asked to."""
        query = self._call({}).query
        kube = self._server.kube
        pod = kube.check_log(space, name, query)
        self.set_header("Content-Type", "text/plain")
        path = self._server.log_of(pod)
        if query.get("container") == "wait":
            self.finish(b"")
            return
        content = _content(path)
        lines = content.splitlines(keepends=True)
        self.write(
            b"".join(lines[-int(query["tailLines"]) :]) if "tailLines" in query else content
        )
        sent = len(content)
        while query.get("follow") in {"true", "True", "1"}:
            await self.flush()
            over = kube.find(space, name).phase != "Running"
            content = _content(path)[sent:]
            sent += len(content)
            self.write(content)
            if over:
                break
            await asyncio.sleep(_FOLLOW_SECONDS)
        self.finish()

    async def get(self) -> None:
        """Answer a GET."""
        await self._answer()

    async def post(self) -> None:
        """Answer a POST."""
        await self._answer()

    async def delete(self) -> None:
        """Answer a DELETE."""
        await self._answer()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


@contextmanager
def serve(options: Options) -> Iterator[Server]:
    """Run a server in a thread for as long as the `with` block lasts."""
    server = Server(options)
    ready: threading.Event = threading.Event()
    failure: list[Exception] = []
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def live() -> None:
        over = asyncio.Event()
        try:
            await server.start()
        except Exception as error:  # noqa: BLE001 # raised again where the server was asked for
            failure.append(error)
            ready.set()
            return
        loops.append((asyncio.get_running_loop(), over))
        ready.set()
        await over.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(live()), name="kubeflow", daemon=True)
    thread.start()
    ready.wait()
    if failure:
        raise failure[0]
    try:
        yield server
    finally:
        loop, over = loops[0]
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(over.set)
        thread.join()
