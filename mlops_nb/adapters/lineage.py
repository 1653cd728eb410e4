"""Where a run came from: the notebook's repository, the environment and the machine."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.core.lineage import CodeState
from mlops_nb.redaction import strip_userinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from git import Repo

DIFF_LIMIT = 1_000_000
"""Most bytes of a diff that are kept."""

_MOST_UNTRACKED = 500
_GIT_SECONDS = 30


def code_state(
    path: Path, redact: Callable[[str], str], *, diff_limit: int = DIFF_LIMIT
) -> CodeState:
    """Give the state of the Git repository that a notebook lies in; changes nothing in it.

    A machine without Git, a notebook outside of a repository or ignored by it, and a
    repository that cannot be read give an empty state, which says why where that is not plain.
    A notebook that was never added counts as a change.

    Args:
        path: the notebook, or a folder.
        redact: takes secrets' values out of the diff.
        diff_limit: most bytes of diff to keep.
    """
    try:
        import git
    except ImportError:
        return CodeState(note="git is not installed")
    try:
        folder = path if path.is_dir() else path.parent
        with git.Repo(folder, search_parent_directories=True, expand_vars=False) as repo:
            return _state(repo, path, redact, diff_limit)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError):
        return CodeState()
    except (git.GitError, OSError, ValueError) as error:
        return CodeState(note=f"the Git repository cannot be read: {_last_line(error)}")


def _state(repo: Repo, path: Path, redact: Callable[[str], str], diff_limit: int) -> CodeState:
    if repo.working_tree_dir is None:
        return CodeState()
    _insulate(repo)
    if _succeeds(repo, "check-ignore", path):
        # Its commit says nothing of a notebook that the repository does not want to know.
        return CodeState(note="the notebook is ignored by the Git repository it lies in")
    entries = repo.git.status(
        "--porcelain=v2", "--branch", "-z", "--untracked-files=no",
        "--ignore-submodules=untracked", kill_after_timeout=_GIT_SECONDS,
    ).split("\0")  # fmt: skip
    head = dict(entry[2:].split(" ", 1) for entry in entries if entry.startswith("# branch."))
    if head["branch.oid"] == "(initial)":
        return CodeState(note="the Git repository has no commit yet")
    has_changes = any(entry and not entry.startswith("# ") for entry in entries)
    is_known = path.is_dir() or _succeeds(repo, "ls-files", path, "--error-unmatch")
    diff, diff_note = _diff(repo, diff_limit) if has_changes else ("", "")
    untracked, untracked_note = _untracked(repo, path if path.is_dir() else path.parent)
    known_note = "" if is_known else "the notebook itself is not in Git"
    branch = head["branch.head"]
    return CodeState(
        commit=head["branch.oid"],
        branch="" if branch == "(detached)" else _clean(branch),
        repository=_remote(repo),
        path="" if path.is_dir() else _within(repo, path),
        is_dirty=has_changes or not is_known,
        diff=redact(diff),
        untracked=untracked,
        note="; ".join(filter(None, (known_note, diff_note, untracked_note))),
    )


def _succeeds(repo: Repo, command: str, path: Path, *options: str) -> bool:
    status, _, _ = repo.git.execute(
        ["git", command, *options, "--", str(path.resolve())],
        with_extended_output=True,
        with_exceptions=False,
        kill_after_timeout=_GIT_SECONDS,
    )
    return bool(status == 0)


def _within(repo: Repo, path: Path) -> str:
    return path.resolve().relative_to(Path(str(repo.working_tree_dir)).resolve()).as_posix()


def _insulate(repo: Repo) -> None:
    # Started from a Git hook, the environment speaks of that hook's repository and index.
    git_dir = Path(repo.git_dir)
    shared = git_dir / "commondir"
    common = git_dir / shared.read_text().strip() if shared.exists() else git_dir
    repo.git.update_environment(
        GIT_DIR=str(git_dir),
        GIT_COMMON_DIR=str(common),
        GIT_WORK_TREE=str(repo.working_tree_dir),
        GIT_INDEX_FILE=str(git_dir / "index"),
        GIT_OBJECT_DIRECTORY=str(common / "objects"),
        GIT_OPTIONAL_LOCKS="0",
        GIT_LITERAL_PATHSPECS="0",
        GIT_PAGER="cat",
    )


def _diff(repo: Repo, limit: int) -> tuple[str, str]:
    # Files above the threshold are told to differ, not compared line by line.
    process = repo.git(c="core.bigFileThreshold=10m").diff(
        "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short",
        "--src-prefix=a/", "--dst-prefix=b/", as_process=True,
    )  # fmt: skip
    data = process.stdout.read(limit + 1)
    if len(data) <= limit:
        process.wait()
        return data.decode(errors="replace"), ""
    process.terminate()
    # A line cut in two could show the beginning of a secret that is no longer recognised.
    kept = data[: data.rfind(b"\n") + 1]
    return kept.decode(errors="replace"), f"the diff was cut after {len(kept):,} bytes"


def _untracked(repo: Repo, folder: Path) -> tuple[tuple[str, ...], str]:
    found = repo.git.ls_files(
        "--others", "--exclude-standard", "-z", "--", str(folder.resolve()),
        kill_after_timeout=_GIT_SECONDS,
    ).split("\0")  # fmt: skip
    names = [_clean(name) for name in found if name]
    if len(names) <= _MOST_UNTRACKED:
        return tuple(names), ""
    return tuple(names[:_MOST_UNTRACKED]), f"{len(names):,} untracked files, not all listed"


def _remote(repo: Repo) -> str:
    found = repo.git.config(
        "--null", "--get-regexp", r"^remote\..*\.url$", with_exceptions=False
    )
    urls = dict(entry.split("\n", 1) for entry in found.split("\0") if "\n" in entry)
    url = urls.get("remote.origin.url") or next(iter(urls.values()), "")
    return strip_userinfo(_clean(url))


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return strip_userinfo(_clean(lines[-1])) if lines else type(error).__name__


def environment_lock(path: Sequence[str] | None = None) -> str:
    """Give the installed distributions, one `name==version` a line, sorted.

    What was not installed from an index is given with its address, free of credentials, the
    way a requirements file names it; an editable one with a comment.

    Args:
        path: folders to look in; None takes those of this process.
    """
    lines: dict[str, str] = {}
    for found in importlib.metadata.distributions(
        path=list(sys.path if path is None else path)
    ):
        name = found.metadata["Name"]
        if name:
            # The first of a name on the path is the one that is imported.
            lines.setdefault(re.sub(r"[-_.]+", "-", name).lower(), _requirement(name, found))
    return "".join(f"{lines[name]}\n" for name in sorted(lines))


def module_path(python: str) -> list[str] | None:
    """Give the folders that another Python looks for packages in; None if it is no Python."""
    told = _output(
        [python, "-c", "import json, sys; print(json.dumps(sys.path))"], _GIT_SECONDS
    )
    try:
        return [str(folder) for folder in json.loads("".join(told))]
    except ValueError:
        return None


def _requirement(name: str, found: importlib.metadata.Distribution) -> str:
    pinned = f"{name}=={found.version}"
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        url = strip_userinfo(origin.get("url", ""))
        vcs, directory = origin.get("vcs_info", {}), origin.get("dir_info", {})
        if not url:
            return pinned
        if vcs:
            return f"{name} @ {vcs['vcs']}+{url}@{vcs['commit_id']}"
        if directory.get("editable"):
            return f"{pinned}  # editable, {url}"
    except (ValueError, KeyError, AttributeError, OSError):
        return f"{pinned}  # its origin cannot be read"
    return f"{pinned}  # {url}" if "dir_info" in origin else f"{name} @ {url}"


def machine(*, gpu_limit: float = 5.0) -> dict[str, str]:
    """Tell what this process runs on; without an NVIDIA GPU the keys `gpu…` are absent.

    Args:
        gpu_limit: seconds after which a driver that does not answer counts as none.

    Returns:
        `python`, `platform`, `cpus`, `memory` in bytes, and `gpu`, `gpu_memory` in MiB,
        `gpu_driver`.
    """
    import psutil

    # A container or a batch system may lend fewer than there are.
    cpus = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    told = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(cpus),
        "memory": str(psutil.virtual_memory().total),
    }
    return told | _gpu(gpu_limit)


def _gpu(limit: float) -> dict[str, str]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return {}
    query = [
        command,
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader,nounits",
    ]
    rows = [[cell.strip() for cell in row] for row in csv.reader(_output(query, limit))]
    rows = [row for row in rows if len(row) == 3]
    if not rows:
        return {}
    names = Counter(name for name, _, _ in rows)
    return {
        "gpu": ", ".join(f"{n} x {name}" if n > 1 else name for name, n in names.items()),
        "gpu_memory": rows[0][1],
        "gpu_driver": rows[0][2],
    }


def _output(command: list[str], limit: float) -> list[str]:
    """Give a command's lines; none if it fails or takes longer than `limit` seconds."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError:
        return []
    try:
        out, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        # A broken driver holds its caller in the kernel; waiting for it would hold us too.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        if process.stdout:
            process.stdout.close()
        return []
    return out.splitlines() if process.returncode == 0 else []
