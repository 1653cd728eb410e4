"""What Binder builds and opens, as far as that can be done without it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"
TOUR = ROOT / "examples" / "tour.ipynb"
UV = Path(sys.executable).with_name("uv")


def test_the_tour_works_as_it_stands(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    for notebook in (TOUR, ROOT / "examples" / "credit.ipynb"):
        shutil.copy(notebook, tmp_path)
    text = (tmp_path / TOUR.name).read_text()
    tour = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(tour, timeout=180, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = json.dumps(tour.cells)
    for told in (
        "model <b>credit/1</b>",
        "all 2 gates passed",
        "credit in prod is now version 2",
        "the first was kinder to young applicants",
        "credit/1: model version",
    ):
        assert told in said, told


def test_its_tour_is_the_one_that_is_opened(tmp_path: Path) -> None:
    environment = os.environ | {
        "HOME": str(tmp_path),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    subprocess.run(
        [BINDER / "postBuild"], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    (kept,) = (tmp_path / "workspaces").iterdir()
    workspace = json.loads(kept.read_text())
    assert workspace["metadata"]["id"] == "default"
    layout = workspace["data"]["layout-restorer:data"]
    assert layout["main"]["current"] == f"notebook:{TOUR.relative_to(ROOT)}"
    assert layout["right"]["current"] == "mlops-nb-panel"


@pytest.mark.skipif(not UV.exists(), reason="uv is not in this environment")
def test_what_it_installs_can_be_had(tmp_path: Path) -> None:
    found = tmp_path / "found.txt"
    words = ("pip", "compile", "--quiet", "--python-version", "3.11", "--output-file", found)
    done = subprocess.run(
        [UV, *words, BINDER / "requirements.txt"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "jupyterlab==" in found.read_text()
    # What is built by pods' recipe is of the same interpreter.
    assert (BINDER / "runtime.txt").read_text().strip() == "python-3.11"
