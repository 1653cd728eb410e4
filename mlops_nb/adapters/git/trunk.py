"""The branch that the cluster follows, and the commits that are proposed beside it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_nb.adapters.git.log import read_log
from mlops_nb.adapters.git.plumbing import RefMoved
from mlops_nb.errors import Conflict, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from mlops_nb.adapters.git.plumbing import Plumbing
    from mlops_nb.core.change import ChangeSet, Commit, PullRequest

_LONGEST_PAUSE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What we know of the branch of a pull request.

    Args:
        head: commit we last put there; empty for none.
        change: id of the change in that commit; empty if it is not proposed any more.
        mixed: whether other people's commits are below it.
    """

    head: str = ""
    change: str = ""
    mixed: bool = False


class Trunk:
    """The base branch of a repository.

    Args:
        git: the repository.
        base: branch that the cluster follows.
        author: who acts, `Name <mail>`; empty for mlops_nb itself.
        signing: git's settings for signed commits; empty leaves them unsigned.
    """

    def __init__(self, git: Plumbing, base: str, author: str, signing: Sequence[str]) -> None:
        self._git = git
        self._author = author
        self._signing = signing
        self.base = base
        self.ref = f"refs/heads/{base}"

    def tip(self) -> str:
        """Give its newest commit.

        Raises:
            UserError: if there is no such branch.
        """
        tip = self._git.ref(self.ref)
        if tip is None:
            raise UserError(
                f"{self._git.place} has no branch {self.base!r}",
                hint="name the branch the cluster follows: [gitops] branch in mlops.toml",
            )
        return tip

    def read(self, folder: str) -> Mapping[str, bytes]:
        """Give every file below `folder`, by path from the repository's root."""
        tree = self._git.tree(self.tip(), folder)
        blobs = self._git.objects(tree.values())
        return {path: blobs[blob] or b"" for path, blob in tree.items()}

    def log(self, path: str, since: datetime | None) -> Iterator[Commit]:
        """Yield commits that touch a file matching glob `path`, newest first."""
        return read_log(self._git, self.tip(), path, since)

    def prepare(self, change: ChangeSet, tip: str | None, known: Mark) -> Mark | None:
        """Make the commit that the change's branch is to have; None if it has it already.

        What is only ours is replaced; other people's commits on the branch stay below it.

        Args:
            change: what is proposed.
            tip: newest commit of its branch; None where there is no branch.
            known: what we put there before.

        Raises:
            UserError: if the change changes nothing.
            Conflict: if the branch holds other people's commits that conflict with base.
        """
        base = self.tip()
        foreign = self._is_foreign(tip, known, base)
        clash = self.clash(base, tip) if tip and (known.change or foreign) else []
        if known.change == change.id and tip and not clash:
            return None
        if foreign and clash:
            raise Conflict(
                f"branch {change.branch} holds commits of other people that conflict with "
                f"{self.base} in {', '.join(clash[:3])}",
                hint=f"merge {self.base} into it by hand, or delete it, and repeat",
            )
        parent = tip if tip and foreign else base
        return Mark(head=self._commit(change, parent), change=change.id, mixed=foreign)

    def clash(self, base: str, head: str) -> list[str]:
        """Give the paths that base and head both changed since they parted, differently."""
        start = self._git.merge_base(base, head)
        if not start:
            return ["everything: the two share no history"]
        theirs = self._git.changed(start, base)
        ours = self._git.changed(start, head)
        return [p for p, (_, new) in ours.items() if p in theirs and theirs[p][1] != new]

    def merged(self, head: str, message: str) -> str:
        """Make the merge commit that brings a branch onto base; base does not move yet.

        Raises:
            Conflict: if base changed the same files since; it is for the caller to name it.
        """
        git, base = self._git, self.tip()
        if clash := self.clash(base, head):
            raise Conflict(f"{self.base} changed {', '.join(clash[:3])} since")
        ours = git.changed(git.merge_base(base, head), head)
        tree = git.write_tree(base, {path: after for path, (_, after) in ours.items()})
        return git.write_commit(tree, [base, head], message, self._author, self._signing)

    def merged_by_hand(self, head: str) -> str:
        """Give the commit that brought a branch onto base; empty if base does not hold it."""
        git, base = self._git, self.tip()
        if not git.is_ancestor(head, base):
            return ""
        span = f"{head}..{base}"
        after = set(git.text("rev-list", "--ancestry-path", span).splitlines())
        line = git.text("rev-list", "--first-parent", span).splitlines()
        first = next((sha for sha in reversed(line) if sha in after), "")
        if not first or git.commits([first])[first].parents[0] == head:
            return head
        return first

    def squashed_by_hand(self, head: str) -> str:
        """Give the commit that did on base what the branch does; empty if none did."""
        git, base = self._git, self.tip()
        start = git.merge_base(head, base)
        wanted = {path: after for path, (_, after) in git.changed(start, head).items()}
        span = f"{start}..{base}"
        touching = git.text("rev-list", "--first-parent", span, "--", *wanted).splitlines()
        for sha in reversed(touching):
            tree = git.tree(sha)
            if all(tree.get(path) == blob for path, blob in wanted.items()):
                return sha
        return ""

    def _is_foreign(self, tip: str | None, known: Mark, base: str) -> bool:
        """Tell whether the branch holds commits that are not ours to replace."""
        if tip is None or (known.head == tip and not known.mixed):
            return False
        return not self._git.is_ancestor(tip, base)

    def _commit(self, change: ChangeSet, parent: str) -> str:
        git = self._git
        contents = {p: c for p, c in change.files.items() if c is not None}
        ids = git.write_blobs(list(contents.values()))
        blobs: dict[str, str | None] = dict.fromkeys(change.files)
        blobs.update(zip(contents, ids, strict=True))
        present = git.tree(parent)
        blobs = {path: blob for path, blob in blobs.items() if blob or path in present}
        if all(present.get(path) == blob for path, blob in blobs.items()):
            if parent != self.tip():
                return parent
            raise UserError(
                f"{change.title!r} changes nothing on {self.base}",
                hint="look at what is there: mlops history",
            )
        tree = git.write_tree(parent, blobs)
        return git.write_commit(tree, [parent], change.message, self._author, self._signing)


def insist(what: str, attempt: Callable[[], PullRequest], attempts: int) -> PullRequest:
    """Try again while other people are faster.

    Raises:
        Conflict: if they always were.
    """
    pause = 0.005
    for _ in range(attempts - 1):
        try:
            return attempt()
        except RefMoved:
            # Unequal pauses part processes that would meet again and again.
            time.sleep(random.uniform(0, pause))  # noqa: S311  # no secret depends on it
            pause = min(2 * pause, _LONGEST_PAUSE)
    try:
        return attempt()
    except RefMoved as error:
        raise Conflict(
            f"could not {what}: others were faster {attempts} times; {error.message}",
            hint="repeat it; if nobody is at work, a stale .lock file is in the way",
        ) from error
