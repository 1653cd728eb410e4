"""`mlops dev`: a project's runs and deployments as they would go on in a cluster, here.

`mlops dev kubeflow` starts a stand-in for Kubeflow Pipelines, whose pods are processes here,
and, where the project keeps its runs in a local store, a tracking server before that store.
`mlops dev cluster` is in `played`.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from mlops_nb.core.settings import FILE_NAME
from mlops_nb.dev import played
from mlops_nb.dev.kubeflow import Options, serve
from mlops_nb.errors import BackendError, MlopsError, UserError
from mlops_nb.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


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
        print("  → give another one: --port 8889", file=sys.stderr)
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
        f"machine, until interrupted. Writes [kubeflow] into {FILE_NAME} where it has none.",
        epilog="example: mlops dev kubeflow --gpus 1",
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
    with ExitStack() as stack:
        tracking = project.tracking_uri
        if tracking.startswith("sqlite:"):
            tracking = stack.enter_context(
                _tracking_server(project.folder, tracking, given.tracking_port)
            )
        options = Options(
            folder=project.runs_folder.parent / "kubeflow",
            port=given.port,
            parallel=given.parallel,
            accelerators=given.gpus,
            mlflow=tracking if given.mlflow_plugin else "",
            mlflow_experiment=project.settings.experiment or project.settings.name,
        )
        server = stack.enter_context(serve(options))
        written = _introduce(project, server.url, tracking)
        print(f"a stand-in for Kubeflow Pipelines: {server.url}")
        print(f"tracking server: {tracking}")
        if written:
            print(f"wrote [kubeflow] into {project.folder / FILE_NAME}")
        print("next: mlops train NOTEBOOK --on kubeflow\nCtrl-C stops both", flush=True)
        played.wait()


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
    )
    text = path.read_text(encoding="utf-8")
    path.write_text(text.rstrip("\n") + "\n" + block, encoding="utf-8")
    return True


@contextmanager
def _tracking_server(folder: Path, store: str, port: int) -> Iterator[str]:
    """Run a tracking server before a local store.

    Raises:
        BackendError: if it does not come up.
        UserError: if the port is taken.
    """
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(
                f"port {port} is taken", hint="give another one: --tracking-port 5001"
            )
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
        uri = f"http://127.0.0.1:{port}"
        _await(uri, process, log)
        yield uri
    finally:
        _end(process)


def _await(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=5)  # noqa: S310  # our own
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise BackendError(f"the tracking server did not start at {uri}", hint=f"look into {log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server with its workers."""
    import psutil

    family = (
        psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    )
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for worker in family:
        try:
            worker.kill()
        except psutil.NoSuchProcess:
            continue
