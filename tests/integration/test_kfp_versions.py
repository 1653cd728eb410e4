"""The kfp releases of docs/compatibility.md compile the same pipelines."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from test_kubeflow_pipeline import CASES

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
ROW = re.compile(r"^\| (\d+\.\d+\.\d+) \| yes \|$", re.MULTILINE)
STATED = ROW.findall((ROOT / "docs" / "compatibility.md").read_text())
COMPILE = """
import json, pickle, sys
import kfp
from mlops_nb.adapters.kubeflow.pipeline import compile_plan
plans = pickle.load(sys.stdin.buffer)
compiled = {name: compile_plan(plan) for name, plan in plans.items()}
print(json.dumps({"version": kfp.__version__, "compiled": compiled}))
"""


def compiled_with(release: str, folder: Path) -> dict[str, str]:
    """Compile every case with a release of kfp, in an environment of its own if need be."""
    python = Path(sys.executable)
    if release != version("kfp"):
        python = folder / "bin" / "python"
        for words in (
            ("venv", "--quiet", "--python", sys.executable, str(folder)),
            (
                "pip",
                "install",
                "--quiet",
                "--python",
                str(python),
                f"kfp[kubernetes]=={release}",
            ),
        ):
            subprocess.run([str(UV), *words], check=True, capture_output=True, text=True)
    done = subprocess.run(
        [str(python), "-c", COMPILE],
        input=pickle.dumps(CASES),
        env={"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert told["version"] == release
    compiled: dict[str, str] = told["compiled"]
    return compiled


def test_the_newest_release_that_is_used_and_one_before_it_are_stated() -> None:
    assert version("kfp") in STATED
    assert len({release.rpartition(".")[0] for release in STATED}) == 2


@pytest.mark.skipif(not UV.exists(), reason="uv is not in this environment")
@pytest.mark.parametrize("release", STATED)
def test_a_stated_release_compiles_the_same_pipelines(release: str, tmp_path: Path) -> None:
    for name, text in compiled_with(release, tmp_path).items():
        golden = (ROOT / "tests" / "golden" / "kubeflow" / f"{name}.yaml").read_text()
        assert re.sub(r"(?m)^sdkVersion: .*$", "sdkVersion: any", text) == golden
