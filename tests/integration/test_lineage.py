"""The code, environment and machine of a run are told as they are, with real repositories."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mlops_nb.adapters.lineage import code_state, environment_lock, machine, module_path
from mlops_nb.core.lineage import CodeState
from mlops_nb.redaction import Redactor

if TYPE_CHECKING:
    from pathlib import Path


def plain(text: str) -> str:
    return text


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=Anna", "-c", "user.email=anna@example.com", *words],
        cwd=folder, check=True, capture_output=True, text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "Projekt Übung"
    (folder / "notebooks").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "notebooks" / "churn.ipynb").write_text("{}\n")
    (folder / "features.py").write_text("a = 1\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=first")
    git(folder, "remote", "add", "origin", "https://anna:hunter2token@example.com/org/r.git")
    return folder


def test_a_clean_repository_gives_mlflows_tags_without_the_remotes_token(
    repository: Path,
) -> None:
    state = code_state(repository, plain)
    assert state.tags() == {
        "mlflow.source.git.commit": git(repository, "rev-parse", "HEAD"),
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.repoURL": "https://example.com/org/r.git",
        "mlflow.source.git.dirty": "false",
    }
    assert (state.diff, state.untracked, state.note) == ("", (), "")


def test_changes_are_shown_redacted_and_the_diff_can_be_applied(repository: Path) -> None:
    (repository / "features.py").write_text("a = 1\nkey = 'hunter2-secret'\n")
    (repository / "notebooks" / "churn.ipynb").write_text('{"staged": true}\n')
    git(repository, "add", "notebooks")
    state = code_state(repository / "notebooks", Redactor(["hunter2-secret"]))
    assert state.is_dirty
    assert state.tags()["mlflow.source.git.dirty"] == "true"
    assert "hunter2" not in state.diff
    assert "+key = '[redacted]'" in state.diff
    git(repository, "reset", "--hard", "--quiet")
    patch = repository / "p.log"
    patch.write_text(state.diff)
    git(repository, "apply", str(patch))
    assert (repository / "features.py").read_text() == "a = 1\nkey = '[redacted]'\n"
    assert json.loads((repository / "notebooks" / "churn.ipynb").read_text()) == {
        "staged": True
    }


def test_untracked_files_beside_the_notebook_are_listed_and_ignored_ones_not(
    repository: Path,
) -> None:
    beside = repository / "notebooks"
    (beside / "größen.py").write_text("x = 1\n")
    (beside / "run.log").write_text("ignored\n")
    (beside / "lib").mkdir()
    (beside / "lib" / "a.py").write_text("y = 1\n")
    (repository / "elsewhere.txt").write_text("not below the notebook's folder\n")
    state = code_state(beside, plain)
    assert state.untracked == ("notebooks/größen.py", "notebooks/lib/a.py")
    assert not state.is_dirty


def test_a_long_diff_is_cut_between_lines_and_says_so(repository: Path) -> None:
    (repository / "features.py").write_text(
        "".join(f"value_{i} = {i}\n" for i in range(50_000))
    )
    state = code_state(repository, plain, diff_limit=10_000)
    assert state.is_dirty
    assert 9_000 < len(state.diff) <= 10_000
    assert state.diff.endswith("\n")
    assert "the diff was cut after 9," in state.note


def test_a_notebook_that_git_does_not_know_counts_as_a_change(repository: Path) -> None:
    notebook = repository / "new.ipynb"
    notebook.write_text("{}")
    state = code_state(notebook, str)
    assert state.is_dirty
    assert state.path == "new.ipynb"
    assert "not in Git" in state.note


def test_the_commit_says_nothing_of_an_ignored_notebook(repository: Path) -> None:
    (repository / ".git" / "info" / "exclude").write_text("/scratch/\n")
    notebook = repository / "scratch" / "a.ipynb"
    notebook.parent.mkdir()
    notebook.write_text("{}")
    state = code_state(notebook, str)
    assert (state.commit, state.is_dirty) == ("", False)
    assert "ignored" in state.note


def test_a_detached_head_has_a_commit_and_no_branch(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")
    state = code_state(repository, plain)
    assert state.commit == git(repository, "rev-parse", "HEAD")
    assert "mlflow.source.git.branch" not in state.tags()


def test_a_linked_worktree_tells_its_own_branch_and_changes(repository: Path) -> None:
    other = repository.parent / "other"
    git(repository, "worktree", "add", "--quiet", "-b", "trial", str(other))
    (other / "features.py").write_text("a = 2\n")
    state = code_state(other / "notebooks", plain)
    assert (state.branch, state.is_dirty) == ("trial", True)
    assert "+a = 2" in state.diff
    assert state.repository == "https://example.com/org/r.git"
    assert not code_state(repository, plain).is_dirty


def test_the_variables_of_a_hook_do_not_lead_to_another_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    git(foreign, "init", "--quiet")
    expected = code_state(repository, plain)
    for name, value in {
        "GIT_DIR": foreign / ".git",
        "GIT_WORK_TREE": foreign,
        "GIT_INDEX_FILE": foreign / ".git" / "index",
        "GIT_COMMON_DIR": foreign / ".git",
        "GIT_OBJECT_DIRECTORY": foreign / ".git" / "objects",
        "GIT_PREFIX": "sub/",
    }.items():
        monkeypatch.setenv(name, str(value))
    assert code_state(repository, plain) == expected
    outside = tmp_path / "outside"
    outside.mkdir()
    assert code_state(outside, plain) == CodeState()


def test_the_users_index_is_not_touched(repository: Path) -> None:
    # A file whose time changed makes a plain `git status` write the index anew.
    os.utime(repository / "features.py", (1, 1))
    index = repository / ".git" / "index"
    before = (index.read_bytes(), index.stat().st_mtime_ns)
    assert not code_state(repository, plain).is_dirty
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before
    assert not list((repository / ".git").glob("*.lock"))


def test_outside_of_a_repository_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert code_state(tmp_path, plain) == CodeState()
    assert code_state(tmp_path / "missing", plain) == CodeState()
    assert CodeState().tags() == {}


def test_a_repository_without_commits_says_so(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert code_state(tmp_path, plain) == CodeState(note="the Git repository has no commit yet")


def test_a_broken_repository_is_a_note_and_no_error(repository: Path) -> None:
    (repository / ".git" / "index").write_bytes(b"no index at all, only text")
    state = code_state(repository, plain)
    assert state.commit == ""
    assert state.note.startswith("the Git repository cannot be read: ")


def test_a_machine_without_git_is_a_note_and_no_error(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from mlops_nb.adapters.lineage import code_state;"
        "print(code_state(Path('.'), str).note)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={"PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == "git is not installed"


def test_the_lock_holds_what_is_installed_here() -> None:
    lines = environment_lock().splitlines()
    assert f"pytest=={importlib.metadata.version('pytest')}" in lines
    names = [line.split("==")[0].split(" ")[0].lower().replace("_", "-") for line in lines]
    assert len(names) == len(set(names))


def install(folder: Path, name: str, version: str, origin: object = None) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))


def test_the_lock_tells_where_the_unusual_came_from_without_credentials(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    install(first, "Zeta", "1.0")
    install(second, "zeta", "0.9")
    install(second, "edited", "2.0", {"url": "file:///src", "dir_info": {"editable": True}})
    install(second, "folder", "2.1", {"url": "file:///other", "dir_info": {}})
    vcs = {"vcs": "git", "commit_id": "c0ffee"}
    install(second, "from_git", "3.0", {"url": "https://anna:hunter2@h/r.git", "vcs_info": vcs})
    install(
        second, "archive", "4.0", {"url": "https://h/a.whl?token=hunter2", "archive_info": {}}
    )
    install(second, "odd", "5.0", ["not", "an", "object"])
    assert environment_lock([str(first), str(second)]).splitlines() == [
        "archive @ https://h/a.whl",
        "edited==2.0  # editable, file:///src",
        "folder==2.1  # file:///other",
        "from_git @ git+https://h/r.git@c0ffee",
        "odd==5.0  # its origin cannot be read",
        "Zeta==1.0",
    ]


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    command = folder / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_another_pythons_packages_can_be_listed() -> None:
    path = module_path(sys.executable)
    assert path is not None
    assert environment_lock(path) == environment_lock()
    assert module_path("/bin/true") is None


def test_the_machine_is_told_with_its_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "NVIDIA A100-SXM4-40GB, 40960, 550.54.15"
    smi(tmp_path, monkeypatch, f"echo '{line}'; echo '{line}'")
    told = machine()
    assert told["python"] == platform.python_version()
    assert int(told["cpus"]) >= 1
    assert int(told["memory"]) > 10**8
    assert told["gpu"] == "2 x NVIDIA A100-SXM4-40GB"
    assert (told["gpu_memory"], told["gpu_driver"]) == ("40960", "550.54.15")


@pytest.mark.parametrize(
    "script",
    ["echo 'NVIDIA-SMI has failed'; exit 9", "echo 'No devices were found'", "sleep 60"],
)
def test_a_driver_that_fails_or_hangs_counts_as_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    smi(tmp_path, monkeypatch, script)
    assert not [key for key in machine(gpu_limit=0.3) if key.startswith("gpu")]
