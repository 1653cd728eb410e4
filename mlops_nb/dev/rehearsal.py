"""`mlops dev`: a project's runs and deployments as they would go on in a cluster, here.

`mlops dev kubeflow` starts a stand-in for Kubeflow Pipelines, whose pods are processes here,
and, where the project keeps its runs in a local store, a tracking server before that store.
`mlops dev cluster` is in `played`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from mlops_nb.core.settings import FILE_NAME
from mlops_nb.dev import played
from mlops_nb.dev.kubeflow import Options, serve
from mlops_nb.errors import BackendError, MlopsError, UserError
from mlops_nb.project import Project

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_KUBECONFIG = ".mlops/kubeflow/kubeconfig"


def main(words: list[str]) -> int:
    """Serve until interrupted; give the exit code."""
    given = _parser().parse_args(words)
    try:
        given.act(given)
    except MlopsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"port {given.port} cannot be used: {error.strerror}", file=sys.stderr)
        print(f"  → give another one: --port {given.port + 1}", file=sys.stderr)
        return 4
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlops dev",
        description="Rehearse a cluster on this machine.",
        epilog="examples:\n  mlops dev kubeflow &\n  mlops train churn.ipynb --on kubeflow\n"
        "  mlops dev cluster &\n  mlops status churn --env prod --watch",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsers = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    played.add_parser(parsers)
    kubeflow = parsers.add_parser(
        "kubeflow",
        help="a stand-in for Kubeflow Pipelines that runs pipelines as processes here",
        description="Run a stand-in for Kubeflow Pipelines, whose pods are processes on this "
        f"machine, until interrupted.\nWrites [kubeflow] into {FILE_NAME} where it has none.",
        epilog="A profile's secrets are looked up in .mlops/kubeflow/secrets.json: "
        '{"mlflow": {"token": "any"}}.\n\nexample: mlops dev kubeflow --gpus 1',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kubeflow.set_defaults(act=_serve)
    add = kubeflow.add_argument
    add("--port", type=int, default=8888, help="of the stand-in, on 127.0.0.1 (8888)")
    add("--tracking-port", type=int, default=5000, help="of the tracking server (5000)")
    add("--gpus", type=int, metavar="N", help="how many there are; else as many as asked for")
    add("--parallel", type=int, default=2, metavar="N", help="pods that run at once (2)")
    add(
        "--mlflow-plugin",
        action="store_true",
        help="with Kubeflow's own MLflow plugin, which makes MLflow runs for each pipeline run",
    )
    return parser


def _serve(given: argparse.Namespace) -> None:
    project = Project.open()
    if not project.is_initialized:
        raise UserError(f"{project.folder} is no project yet", hint="run `mlops init`")
    store = project.tracking_uri
    has_store = store.startswith("sqlite:")
    tracking = f"http://127.0.0.1:{given.tracking_port}" if has_store else store
    options = Options(
        folder=project.runs_folder.parent / "kubeflow",
        port=given.port,
        parallel=given.parallel,
        accelerators=given.gpus,
        mlflow=tracking if given.mlflow_plugin else "",
        mlflow_experiment=project.settings.experiment or project.settings.name,
    )
    # Starting takes seconds: what cannot be is told before, and a stop meanwhile is heeded.
    if has_store:
        _check_tracking_port(given.tracking_port)
    _check_port(given.port)
    over = played.told_to_stop()
    with ExitStack() as stack:
        if has_store:
            stack.enter_context(
                _tracking_server(project.folder, store, given.tracking_port, over)
            )
        if over.is_set():
            return
        server = stack.enter_context(serve(options))
        _write_kubeconfig(project.folder / _KUBECONFIG, server.url)
        written = _introduce(project, server.url, tracking)
        print(f"a stand-in for Kubeflow Pipelines: {server.url}")
        print(f"tracking server: {tracking}")
        if written:
            print(f"wrote [kubeflow] into {project.folder / FILE_NAME}")
        print("next: mlops train NOTEBOOK --on kubeflow\nCtrl-C stops both", flush=True)
        played.wait(over)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def _check_tracking_port(port: int) -> None:
    if not 0 < port < 65536:
        raise UserError(f"tracking-port is {port}; it must be from 1 to 65535")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(
                f"port {port} is taken", hint=f"give another one: --tracking-port {port + 1}"
            )


def _introduce(project: Project, url: str, tracking: str) -> bool:
    """Tell the project where the stand-in is; tell whether that was new.

    Raises:
        UserError: if the project names another Kubeflow: it is not to be forgotten.
    """
    kubeflow = project.settings.kubeflow
    if kubeflow.url == url and kubeflow.tracking_uri == tracking:
        return False
    path = project.folder / FILE_NAME
    if kubeflow.url:
        raise UserError(
            f"{path} names {kubeflow.url} and {kubeflow.tracking_uri} in [kubeflow]",
            hint=f'set url = "{url}" and tracking_uri = "{tracking}" there, or give the ports '
            "it names",
        )
    block = (
        "\n[kubeflow]                      # written by `mlops dev kubeflow`\n"
        f'url = "{url}"\ntracking_uri = "{tracking}"\n'
        'image = "this-machine"          # pods are processes here, whatever image they name\n'
        "shares_machine = true\n"
        f'kubeconfig = "{_KUBECONFIG}"   # by which is told what pods wait for\n'
    )
    text = path.read_text(encoding="utf-8")
    path.write_text(text.rstrip("\n") + "\n" + block, encoding="utf-8")
    return True


def _write_kubeconfig(path: Path, server: str) -> None:
    """Write by what the stand-in's pods are looked at, as those of a cluster are."""
    named = {"name": "stand-in"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{**named, "cluster": {"server": server}}],
        "users": [{**named, "user": {}}],
        "contexts": [{**named, "context": {"cluster": "stand-in", "user": "stand-in"}}],
        "current-context": "stand-in",
    }
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


@contextmanager
def _tracking_server(
    folder: Path, store: str, port: int, over: threading.Event
) -> Iterator[None]:
    """Run a tracking server before a local store; wait for it unless told to stop.

    Raises:
        BackendError: if it does not come up.
    """
    log = folder / ".mlops" / "tracking-server.log"
    log.parent.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    words += ["--port", str(port), "--workers", "1", "--backend-store-uri", store]
    environment = {
        **Project.open(folder).environment,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    print("starting a tracking server …", file=sys.stderr, flush=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, stdout=out, stderr=out, start_new_session=True, env=environment
        )
    try:
        _await(f"http://127.0.0.1:{port}", process, log, over)
        yield
    finally:
        _end(process)


def _await(
    uri: str, process: subprocess.Popen[bytes], log: Path, over: threading.Event
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=5)  # noqa: S310  # our own
        except OSError:
            time.sleep(0.2)
        else:
            return
        if over.is_set():
            return
    raise BackendError(f"the tracking server did not start at {uri}", hint=f"look into {log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server with its workers."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # One that was still starting may have begun a worker that it does not know of yet.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
