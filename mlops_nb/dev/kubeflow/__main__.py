"""`python -m mlops_nb.dev.kubeflow`: a stand-in for Kubeflow Pipelines on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mlops_nb.dev.kubeflow.options import Options
from mlops_nb.dev.kubeflow.refusal import Refusal
from mlops_nb.dev.kubeflow.server import Server
from mlops_nb.errors import UserError


def main(words: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; give the exit code."""
    try:
        options = _options(_parser().parse_args(words))
        asyncio.run(_live(Server(options)))
    except (UserError, Refusal) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"cannot serve: {error}\n")
        return 4
    return 0


async def _live(server: Server) -> None:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await server.start()
    sys.stdout.write(f"Kubeflow Pipelines stand-in on {server.url}\n")
    sys.stdout.flush()
    await over.wait()
    await server.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlops_nb.dev.kubeflow",
        description="A stand-in for Kubeflow Pipelines: it runs here what is submitted.",
    )
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="where runs, logs and state are kept")
    add("--port", type=int, default=8888, help="port on 127.0.0.1; 0 takes a free one")
    add("--multi-user", action="store_true", help="every request must name a namespace")
    add(
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="a namespace that may be used; repeat for more (default: any)",
    )
    add("--token", default="", help="the bearer token that every request must carry")
    add("--parallel", type=int, default=2, help="pods that run at once")
    add("--grace", type=float, default=30.0, help="seconds between SIGTERM and SIGKILL")
    add("--backoff", type=float, default=1.0, help="longest wait before a retried pod")
    add("--gpus", type=int, help="accelerators there are (default: as many as asked for)")
    add("--timezone", default="UTC", help="what cron schedules mean")
    add("--mlflow", default="", metavar="URI", help="tracking server of the MLflow plugin")
    add("--mlflow-experiment", default="Default", metavar="NAME", help="where it makes runs")
    add("--fail", type=Path, metavar="FILE", help="JSON list of what is to go wrong")
    return parser


def _options(given: argparse.Namespace) -> Options:
    try:
        ZoneInfo(given.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise UserError(
            f"no time zone {given.timezone}", hint="such as Europe/Berlin"
        ) from None
    return Options(
        folder=given.folder.absolute(),
        port=given.port,
        multi_user=given.multi_user,
        namespaces=tuple(given.namespace),
        token=given.token,
        parallel=given.parallel,
        grace=given.grace,
        backoff=given.backoff,
        accelerators=given.gpus,
        zone=given.timezone,
        mlflow=given.mlflow,
        mlflow_experiment=given.mlflow_experiment,
        faults=_faults(given.fail),
    )


def _faults(path: Path | None) -> tuple[dict[str, object], ...]:
    if path is None:
        return ()
    try:
        faults = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    if not isinstance(faults, list):
        raise UserError(f"{path} holds no JSON list")
    return tuple(faults)


if __name__ == "__main__":
    sys.exit(main())
