"""Who is asking."""

from __future__ import annotations

import getpass
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NO_MAIL = "unknown"


def who_asks(folder: Path) -> str:
    """Give `Name <mail>` as Git would name an author here, else the user name.

    What Git would make up of the machine's and the user's names does not count.
    """
    if author := _git_author(folder):
        return author
    if author := _git_author(folder, "-c", f"user.email={_NO_MAIL}"):
        return author.removesuffix(f" <{_NO_MAIL}>")
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user id need not have a name.
        return "unknown"


def _git_author(folder: Path, *options: str) -> str:
    try:
        found = subprocess.run(
            ["git", "-c", "user.useConfigOnly=true", *options, "var", "GIT_AUTHOR_IDENT"],  # noqa: S607  # the user's own git
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # The time follows, in seconds and with its zone.
    name, mail_ends, _time = found.stdout.rpartition(">")
    return name + mail_ends
