"""What `mlops train --on kubeflow` costs until it is submitted, against kfp.Client by hand.

    python tests/benchmarks/bench_kubeflow.py [ROUNDS]

Whole processes, alternating, medians. The script by hand compiles a container component that
runs papermill and creates a run with kfp.Client; it neither checks nor records nor ships a
notebook, which ours does. Both talk to one stand-in for Kubeflow Pipelines.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from shell import MLOPS, Shell, rehearsing, write_notebook

BY_HAND = """
import sys
import kfp
from kfp import dsl

@dsl.container_component
def train(lr: float):
    return dsl.ContainerSpec(image="i", command=["python", "-c", "print(1)"], args=[lr])

@dsl.pipeline(name="by-hand")
def pipeline(lr: float = 0.1):
    task = train(lr=lr)
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1).set_memory_limit("24G")

client = kfp.Client(host=sys.argv[1])
client.create_run_from_pipeline_func(pipeline, arguments={"lr": 0.2}, enable_caching=False)
"""


def seconds(command: list[str], shell: Shell) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=shell.folder, env=shell.env, capture_output=True, check=True)
    return time.perf_counter() - started


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        shell = Shell(Path(name))
        shell.type("init")
        write_notebook(shell.folder / "nb.ipynb", "lr: float = 0.1", "print(lr)")
        (shell.folder / "by_hand.py").write_text(BY_HAND)
        with rehearsing(shell, "dev", "kubeflow", "--gpus", "0"):
            settings = (shell.folder / "mlops.toml").read_text()
            *_, url = re.findall(r'^url = "(.+)"$', settings, re.MULTILINE)
            with (shell.folder / "mlops.toml").open("a") as file:
                file.write("\n[profiles.gpu]\ngpu = 1\nmemory = '24Gi'\n")
            ours = [str(MLOPS), "train", "nb.ipynb", "--on", "kubeflow", "--profile", "gpu"]
            commands = {
                "mlops train --detach": [*ours, "--detach", "-p", "lr=0.2"],
                "mlops train --dry-run": [*ours, "--dry-run", "-p", "lr=0.2"],
                "kfp.Client by hand": [sys.executable, "by_hand.py", url],
            }
            times: dict[str, list[float]] = {title: [] for title in commands}
            for _ in range(rounds + 1):
                for title, command in commands.items():
                    times[title].append(seconds(command, shell))
        for title, taken in times.items():
            # The first round warms the files.
            print(f"{title:<24} {statistics.median(taken[1:]):6.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
