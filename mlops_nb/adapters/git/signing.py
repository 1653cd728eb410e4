"""How the user's own Git signs commits."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_KEYS = (
    "user.signingkey",
    "gpg.format",
    "gpg.program",
    "gpg.openpgp.program",
    "gpg.x509.program",
    "gpg.ssh.program",
    "gpg.ssh.defaultkeycommand",
)


def signing_settings(folder: Path) -> tuple[str, ...]:
    """Give git's settings for signed commits; empty where the user does not sign them.

    Args:
        folder: where git is asked, so that its own configuration counts, too.

    Returns:
        `KEY=VALUE` of each, for `git -c`.
    """
    if _config(folder, "--type=bool", "commit.gpgsign") != "true":
        return ()
    told = ((key, _config(folder, key)) for key in _KEYS)
    return ("commit.gpgsign=true", *(f"{key}={value}" for key, value in told if value))


def _config(folder: Path, *words: str) -> str:
    try:
        found = subprocess.run(
            ["git", "config", "--get", *words],  # noqa: S607  # the user's own git
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()
