"""Who is asking."""

from __future__ import annotations

import getpass
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def who_asks(folder: Path) -> str:
    """Give `Name <mail>` as Git knows the person here, else the user name."""
    name, mail = (_git_config(folder, key) for key in ("user.name", "user.email"))
    if name:
        return f"{name} <{mail}>" if mail else name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user id need not have a name.
        return "unknown"


def _git_config(folder: Path, key: str) -> str:
    try:
        found = subprocess.run(
            ["git", "config", "--get", key],  # noqa: S607  # the user's own git
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()
