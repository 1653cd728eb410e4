"""The wheel brings JupyterLab's panel along; who installs from an sdist needs no Node.js."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

pytestmark = [
    pytest.mark.skipif(not UV.exists(), reason="uv is not in this environment"),
    pytest.mark.skipif(
        not (ROOT / "mlops_nb" / "labextension" / "package.json").exists(),
        reason="the panel is not built: see `make panel`",
    ),
]


def test_a_wheel_made_from_the_sdist_without_node_has_the_panel(tmp_path: Path) -> None:
    without_node = os.environ | {"PATH": os.defpath.replace("/usr/bin", "")}
    subprocess.run(
        [UV, "build", "--quiet", "--out-dir", tmp_path],
        cwd=ROOT, env=without_node, check=True, capture_output=True,
    )  # fmt: skip
    wheel = next(tmp_path.glob("*.whl"))
    data = f"{wheel.name.removesuffix('-py3-none-any.whl')}.data/data"
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
    panel = f"{data}/share/jupyter/labextensions/mlops-nb"
    assert {
        f"{data}/etc/jupyter/jupyter_server_config.d/mlops_nb.json",
        f"{panel}/install.json", f"{panel}/package.json",
    } <= names  # fmt: skip
    assert [name for name in names if name.startswith(f"{panel}/static/remoteEntry.")]
    assert not [name for name in names if name.startswith("mlops_nb/labextension")]
