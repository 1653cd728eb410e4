"""A change to the GitOps repository, as a clone of it holds it: what CI checks out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.adapters.git.plumbing import Plumbing
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_WHOLE = 'fetch it whole: `fetch-depth: 0` of actions/checkout, GIT_DEPTH: "0" in GitLab CI'

_CLONE = "name the root of a clone of the GitOps repository: --repo FOLDER"


class Checkout:
    """Two commits of a clone, and where they parted; nothing is ever written.

    Args:
        path: the clone; its working tree is not looked at.
        base: the branch that the cluster follows, or a commit of it; empty takes `branch`, as
            the remote has it, else as it is here.
        head: what is proposed.
        branch: the branch that the cluster follows.

    Raises:
        UserError: if there is no clone, no such commit, or not enough history to compare.
    """

    def __init__(self, path: Path, base: str, head: str, branch: str) -> None:
        try:
            self._git = Plumbing(path)
        except UserError as error:
            raise UserError(error.message, hint=_CLONE) from None
        if (self._git.directory / "shallow").exists():
            raise UserError(f"{path} holds a part of the history only", hint=_WHOLE)
        bases = [base] if base else [f"refs/remotes/origin/{branch}", branch]
        self.base = self._commit(*bases, option="--base")
        self.head = self._commit(head, option="--head")
        self.start = self._git.merge_base(self.base, self.head)
        if not self.start:
            raise UserError(f"{bases[-1]} and {head} share no history in {path}", hint=_WHOLE)

    def read(self, commit: str, folder: str) -> Mapping[str, bytes]:
        """Give every file below `folder` at a commit, by path from the repository's root."""
        tree = self._git.tree(commit, folder)
        blobs = self._git.objects(tree.values())
        return {path: blobs[blob] or b"" for path, blob in tree.items()}

    def changed(self) -> Mapping[str, tuple[bytes | None, bytes | None]]:
        """Give the files that the change touches, before and after, by path."""
        pairs = self._git.changed(self.start, self.head)
        blobs = self._git.objects(blob for pair in pairs.values() for blob in pair if blob)
        return {
            path: (blobs[old] if old else None, blobs[new] if new else None)
            for path, (old, new) in pairs.items()
        }

    def stood(self, path: str) -> Iterator[str]:
        """Yield what base was before each commit that touched a file, newest first."""
        line = ("rev-list", "--first-parent", self.start, "--", path)
        for commit in self._git.text(*line).splitlines():
            parents = self._git.commits([commit])[commit].parents
            if parents:
                yield parents[0]

    def is_as(self, commit: str, paths: Iterable[str]) -> bool:
        """Tell whether files are, as proposed, what they are at a commit."""
        pairs = [(f"{commit}:{path}", f"{self.head}:{path}") for path in paths]
        found = self._git.objects(name for pair in pairs for name in pair)
        return all(found[then] == found[now] for then, now in pairs)

    def _commit(self, *names: str, option: str) -> str:
        for name in names:
            words = ("rev-parse", "--quiet", "--verify", "--end-of-options")
            if found := self._git.text(*words, f"{name}^{{commit}}", ok=(0, 1, 128)):
                return found.splitlines()[-1]
        raise UserError(
            f"{self._git.place} has no commit {names[-1]!r}",
            hint=f"name one that was fetched: {option} origin/main",
        )


__all__ = ["Checkout"]
