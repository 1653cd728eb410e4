"""What code a run was made from."""

from __future__ import annotations

from dataclasses import dataclass

# MLflow's stores refuse longer tag values.
_LONGEST_TAG = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeState:
    """The Git repository a notebook lies in, as it stood when the run began.

    Everything is empty for a notebook outside of a repository.

    Args:
        commit: 40 hex digits of the commit checked out.
        branch: branch checked out; empty for a detached head.
        repository: URL of its remote, free of credentials.
        path: the notebook's path in the repository; empty for a folder.
        is_dirty: whether tracked files differ from the commit, or the notebook is not tracked.
        diff: how they differ, redacted, as `git diff` shows it.
        untracked: files below the notebook's folder that Git does not know and not ignore.
        note: what could not be read or had to be cut; empty if nothing.
    """

    commit: str = ""
    branch: str = ""
    repository: str = ""
    path: str = ""
    is_dirty: bool = False
    diff: str = ""
    untracked: tuple[str, ...] = ()
    note: str = ""

    @property
    def stamp(self) -> str:
        """The commit, marked `…-dirty` if it is not all there is; empty if unknown."""
        return f"{self.commit}-dirty" if self.commit and self.is_dirty else self.commit

    def tags(self) -> dict[str, str]:
        """Give it as tags of a run: MLflow's own where there are some, else `mlops_nb.*`."""
        tags = {
            "mlflow.source.git.commit": self.commit,
            "mlflow.source.git.branch": self.branch,
            "mlflow.source.git.repoURL": self.repository,
            "mlflow.source.git.dirty": str(self.is_dirty).lower() if self.commit else "",
            "mlops_nb.git.path": self.path,
            "mlops_nb.git.untracked": "\n".join(self.untracked),
            "mlops_nb.git.note": self.note,
        }
        return {name: _cut(value) for name, value in tags.items() if value}


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST_TAG else value[: _LONGEST_TAG - 1] + "…"
