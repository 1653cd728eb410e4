"""The process that executors start: `python -m mlops_nb.runner RUN_DIRECTORY`."""

from __future__ import annotations

import argparse
import fcntl
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb import wire
from mlops_nb.core.verbs import Job

if TYPE_CHECKING:
    from types import FrameType


def main(words: list[str] | None = None) -> int:
    """Run the job of a run directory.

    Returns:
        0 if the run and every step after it went well, 3 if not, 2 if there is no such job.
    """
    parser = argparse.ArgumentParser(
        prog="python -m mlops_nb.runner",
        description="Run the notebook of a run directory, then judge, register and propose its "
        "model as its job.json asks. Executors start this; people use `mlops train`.",
        epilog="example: python -m mlops_nb.runner .mlops/runs/churn-3fa9c1",
    )
    parser.add_argument("directory", type=Path, help="run directory, with a job.json")
    parser.add_argument("--lock", type=int, help="descriptor of the lock handed over")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--resume", action="store_true", help="do what failed again")
    mode.add_argument(
        "--heal", action="store_true", help="bring a run without a runner to its end"
    )
    given = parser.parse_args(words)
    job_file = given.directory / "job.json"
    if not job_file.is_file():
        print(f"{given.directory} has no job.json", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    lock = None
    if given.lock is None:
        lock = (given.directory / "runner.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    stop = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    job = wire.loads(Job, job_file.read_bytes())
    directory = given.directory.resolve()
    if given.heal:
        from mlops_nb.runner.healing import heal

        heal(job, directory)
        return 0
    if job.children:
        from mlops_nb.runner.group import run_children

        return run_children(job, directory, stop)
    from mlops_nb.runner.job import run_job

    return run_job(job, directory, stop, is_resumed=given.resume)


if __name__ == "__main__":
    sys.exit(main())
