"""Pull requests in a bare repository: proposed and merged by plumbing, nothing checked out.

Branches and merges are what `git clone` and every git command know; what a pull request says is
kept in refs of its own. Every change is one transaction on the refs that fails if another
process was faster: then everything is read and tried again.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb.adapters.git.log import read_log
from mlops_nb.adapters.git.plumbing import Plumbing, RefMoved, initialize
from mlops_nb.adapters.git.pulls import Record, read_records, shown, store_record
from mlops_nb.core.change import PullRequest, PullRequestState, check_paths
from mlops_nb.errors import Conflict, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mlops_nb.core.change import ChangeSet, Commit

_ATTEMPTS = 60
_LONGEST_PAUSE = 0.5
_README = """\
# What should run where

Each model has a folder; a cluster follows the folder of its environment.

    models/<model>/base/                         written once, then yours to edit
    models/<model>/overlays/<env>/               what a deployment changes
    models/<model>/overlays/<env>/model.lock.yaml  which version, from which run, code and data
    clusters/<env>/                              Argo CD: one Application for each overlay

Changes come as pull requests on branches `mlops-nb/<env>/<model>`: `mlops deploy` opens them,
`mlops merge NUMBER` or `git merge --no-ff` of the branch takes them in, `mlops rollback`
proposes the revert. `mlops history`, or `git log -p` on lock files, tells who deployed what.
"""


class LocalForge:
    """A GitOps repository on this machine, with pull requests.

    Args:
        path: the bare repository; of a clone, only what base holds can be read.
        base: branch that the cluster follows.
        author: who acts, `Name <mail>`; empty for mlops_nb itself.

    Raises:
        UserError: if there is no repository, or it has no such branch.
        BackendUnavailable: if git is not installed.
    """

    def __init__(self, path: Path, base: str = "main", author: str = "") -> None:
        self.path = path
        self.base = base
        self._author = author
        self._git = Plumbing(path)
        self._base_ref = f"refs/heads/{base}"

    @classmethod
    def create(cls, path: Path, base: str = "main") -> bool:
        """Make a bare repository with a first commit; an existing one stays as it is.

        Returns:
            whether it was missing.

        Raises:
            UserError: if something else is at `path`.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            git = Plumbing(path)
            if git.ref(f"refs/heads/{base}"):
                return False
        initialize(path.absolute(), base)
        git = Plumbing(path)
        [readme] = git.write_blobs([_README.encode()])
        tree = git.write_tree("", {"README.md": readme})
        first = git.write_commit(tree, [], "Say what is kept here\n", "")
        try:
            git.move([(f"refs/heads/{base}", first, None)])
        except RefMoved:
            return False
        return True

    def read(self, folder: str) -> Mapping[str, bytes]:
        """Give every file below `folder` on base, by path from the repository's root."""
        tree = self._git.tree(self._base(), folder)
        blobs = self._git.objects(tree.values())
        return {path: blobs[blob] or b"" for path, blob in tree.items()}

    def find(self, branch: str) -> PullRequest | None:
        """Give the open pull request of this branch; None if there is none."""
        found = self._open(branch)
        return found[1] if found else None

    def propose(self, change: ChangeSet) -> PullRequest:
        """Make the change one commit on its branch and open or update its pull request.

        Raises:
            UserError: if the change changes nothing, or names a path git cannot hold.
            Conflict: if the branch moved again and again, or holds other people's commits
                that conflict with base.
        """
        check_paths(change.files)
        self._check_bare()
        return self._insist(f"propose {change.branch}", lambda: self._propose(change))

    def pull_request(self, number: int) -> PullRequest:
        """Give a pull request.

        Raises:
            NotFound: if there is none of this number.
        """
        return self._shown(self._record(number))

    def pull_requests(self) -> Sequence[PullRequest]:
        """Give every pull request, newest first."""
        records = read_records(self._git)
        return [self._shown(records[number]) for number in sorted(records, reverse=True)]

    def merge(self, number: int) -> PullRequest:
        """Merge into base with a merge commit; a merged one is given as it is.

        Raises:
            NotFound: if there is none of this number.
            Conflict: if base changed the same files since, or the pull request is closed.
        """
        self._check_bare()
        return self._insist(f"merge pull request #{number}", lambda: self._merge(number))

    def log(self, path: str, *, since: datetime | None = None) -> Iterator[Commit]:
        """Yield commits of base that touch a file matching glob `path`, newest first."""
        return read_log(self._git, self._base(), path, since)

    def _propose(self, change: ChangeSet) -> PullRequest:
        git, base = self._git, self._base()
        branch = f"refs/heads/{change.branch}"
        tip = git.ref(branch)
        found = self._open(change.branch)
        record = found[0] if found else None
        foreign = self._is_foreign(tip, record, base)
        clash = self._clash(base, tip) if tip and (record or foreign) else []
        if record and record.change == change.id and tip and not clash:
            return self._shown(record)
        if foreign and clash:
            raise Conflict(
                f"branch {change.branch} holds commits of other people that conflict with "
                f"{self.base} in {', '.join(clash[:3])}",
                hint=f"merge {self.base} into it by hand, or delete it, and repeat",
            )
        parent = tip if tip and foreign else base
        commit = self._commit(change, parent)
        number = record.number if record else max(read_records(git), default=0) + 1
        stored = replace(
            record or self._new_record(number, change),
            title=change.title,
            body=change.body,
            head=commit,
            change=change.id,
        )
        verb = "Update" if record else "Open"
        saved = store_record(git, stored, f"{verb} pull request #{number}\n", self._author)
        git.move(
            [(branch, commit, tip), (stored.ref, saved, record.stored if record else None)]
        )
        return replace(
            self._shown(replace(stored, stored=saved)), is_new=not record, is_changed=True
        )

    def _commit(self, change: ChangeSet, parent: str) -> str:
        git = self._git
        contents = {p: c for p, c in change.files.items() if c is not None}
        ids = git.write_blobs(list(contents.values()))
        blobs: dict[str, str | None] = dict.fromkeys(change.files)
        blobs.update(zip(contents, ids, strict=True))
        present = git.tree(parent)
        blobs = {path: blob for path, blob in blobs.items() if blob or path in present}
        if all(present.get(path) == blob for path, blob in blobs.items()):
            raise UserError(
                f"{change.title!r} changes nothing on {self.base}",
                hint="look at what is there: mlops history",
            )
        tree = git.write_tree(parent, blobs)
        return git.write_commit(tree, [parent], change.message, self._author)

    def _new_record(self, number: int, change: ChangeSet) -> Record:
        return Record(
            number=number,
            title=change.title,
            branch=change.branch,
            head="",
            change=change.id,
            author=self._author,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _merge(self, number: int) -> PullRequest:
        git, record = self._git, self._record(number)
        pull = self._shown(record)
        if pull.state is PullRequestState.MERGED:
            return pull
        if pull.state is PullRequestState.CLOSED:
            raise Conflict(
                f"pull request #{number} is closed: its branch {record.branch} was deleted",
                hint="deploy again to open another",
            )
        base = self._base()
        if clash := self._clash(base, pull.head):
            raise Conflict(
                f"pull request #{number} conflicts with {self.base}, which changed "
                f"{', '.join(clash[:3])} since",
                hint="deploy again: that renders the change anew",
            )
        ours = git.changed(git.merge_base(base, pull.head), pull.head)
        tree = git.write_tree(base, {path: after for path, (_, after) in ours.items()})
        message = f"Merge pull request #{number}: {record.title}\n"
        merged = git.write_commit(tree, [base, pull.head], message, self._author)
        done = replace(
            record, state=PullRequestState.MERGED, merge_commit=merged, head=pull.head
        )
        saved = store_record(git, done, f"Merge pull request #{number}\n", self._author)
        git.move(
            [
                (self._base_ref, merged, base),
                (f"refs/heads/{record.branch}", None, pull.head),
                (record.ref, saved, record.stored),
            ]
        )
        return replace(self._shown(done), is_changed=True)

    def _shown(self, record: Record) -> PullRequest:
        """Tell where a pull request stands, by the branches: people merge by hand, too."""
        if not record.is_open:
            return shown(record, PullRequestState(record.state), record.head, self._url(record))
        base = self._base()
        tip = self._git.ref(f"refs/heads/{record.branch}")
        head = tip or record.head
        merged = self._merged_by_hand(head, base)
        if not merged and not tip:
            merged = self._squashed_by_hand(head, base)
        if merged:
            record = replace(record, merge_commit=merged)
            return shown(record, PullRequestState.MERGED, head, self._url(record))
        state = PullRequestState.OPEN if tip else PullRequestState.CLOSED
        return shown(record, state, head, self._url(record))

    def _merged_by_hand(self, head: str, base: str) -> str:
        git = self._git
        if not git.is_ancestor(head, base):
            return ""
        span = f"{head}..{base}"
        after = set(git.text("rev-list", "--ancestry-path", span).splitlines())
        line = git.text("rev-list", "--first-parent", span).splitlines()
        first = next((sha for sha in reversed(line) if sha in after), "")
        if not first or git.commits([first])[first].parents[0] == head:
            return head
        return first

    def _squashed_by_hand(self, head: str, base: str) -> str:
        git = self._git
        start = git.merge_base(head, base)
        wanted = {path: after for path, (_, after) in git.changed(start, head).items()}
        span = f"{start}..{base}"
        touching = git.text("rev-list", "--first-parent", span, "--", *wanted).splitlines()
        for sha in reversed(touching):
            tree = git.tree(sha)
            if all(tree.get(path) == blob for path, blob in wanted.items()):
                return sha
        return ""

    def _clash(self, base: str, head: str) -> list[str]:
        """Give the paths that base and head both changed since they parted, differently."""
        start = self._git.merge_base(base, head)
        if not start:
            return ["everything: the two share no history"]
        theirs = self._git.changed(start, base)
        ours = self._git.changed(start, head)
        return [p for p, (_, new) in ours.items() if p in theirs and theirs[p][1] != new]

    def _is_foreign(self, tip: str | None, record: Record | None, base: str) -> bool:
        """Tell whether the branch holds commits that are not ours to replace."""
        if tip is None or (record and record.head == tip):
            return False
        return not self._git.is_ancestor(tip, base)

    def _open(self, branch: str) -> tuple[Record, PullRequest] | None:
        records = read_records(self._git)
        for number in sorted(records, reverse=True):
            record = records[number]
            if record.branch == branch and record.is_open:
                pull = self._shown(record)
                if pull.state is PullRequestState.OPEN:
                    return record, pull
        return None

    def _record(self, number: int) -> Record:
        records = read_records(self._git)
        if number not in records:
            last = max(records, default=0)
            raise NotFound(
                f"there is no pull request #{number} in {self.path}",
                hint=f"the newest is #{last}" if last else "there are none yet: mlops deploy",
            )
        return records[number]

    def _base(self) -> str:
        tip = self._git.ref(self._base_ref)
        if tip is None:
            raise UserError(
                f"{self.path} has no branch {self.base!r}",
                hint="name the branch the cluster follows: [gitops] branch in mlops.toml",
            )
        return tip

    def _check_bare(self) -> None:
        if self._git.text("config", "--get", "core.bare", ok=(0, 1)) != "true":
            raise UserError(
                f"{self.path} is a clone with files checked out, not a bare repository",
                hint="name the bare repository it was cloned from",
            )

    def _url(self, record: Record) -> str:
        command = f"git -C {self._git.directory}"
        if record.merge_commit:
            return f"{command} show -m --first-parent {record.merge_commit[:12]}"
        return f"{command} log -p {self.base}..{record.branch}"

    def _insist(self, what: str, attempt: Callable[[], PullRequest]) -> PullRequest:
        pause = 0.005
        for _ in range(_ATTEMPTS - 1):
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
                f"could not {what}: others were faster {_ATTEMPTS} times; {error.message}",
                hint="repeat it; if nobody is at work, a stale .lock file is in the way",
            ) from error
