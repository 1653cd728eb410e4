"""Pull requests in a bare repository: proposed and merged by plumbing, nothing checked out.

Branches and merges are what `git clone` and every git command know; what a pull request says is
kept in refs of its own. Every change is one transaction on the refs that fails if another
process was faster: then everything is read and tried again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb.adapters.git.plumbing import Plumbing, RefMoved, initialize
from mlops_nb.adapters.git.pulls import Record, read_records, shown, store_record
from mlops_nb.adapters.git.signing import signing_settings
from mlops_nb.adapters.git.trunk import Mark, Trunk, insist
from mlops_nb.core.change import PullRequest, PullRequestState, check_paths
from mlops_nb.errors import Conflict, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mlops_nb.core.change import ChangeSet, Commit
    from mlops_nb.core.gitops import Gitops

ATTEMPTS = 60
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
    """A GitOps repository that keeps its pull requests in refs of its own.

    Args:
        path: the bare repository; of a clone, only what base holds can be read.
        base: branch that the cluster follows.
        author: who acts, `Name <mail>`; empty for mlops_nb itself.
        signing: git's settings for signed commits; empty leaves them unsigned.
        git: the repository's objects and refs; None takes those of `path`.

    Raises:
        UserError: if there is no repository, or it has no such branch.
        BackendUnavailable: if git is not installed.
    """

    def __init__(
        self,
        path: Path,
        base: str = "main",
        author: str = "",
        signing: Sequence[str] = (),
        git: Plumbing | None = None,
    ) -> None:
        self.base = base
        self._author = author
        self._git = git or Plumbing(path)
        self._trunk = Trunk(self._git, base, author, signing)

    @classmethod
    def open(
        cls, gitops: Gitops, *, folder: Path, author: str, **_elsewhere: object
    ) -> LocalForge:
        """Give the forge of a project's settings."""
        path = folder / gitops.repository
        return cls(path, gitops.branch, author, signing_settings(folder))

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
        return self._trunk.read(folder)

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
        return insist(f"propose {change.branch}", lambda: self._propose(change), ATTEMPTS)

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
        return insist(f"merge pull request #{number}", lambda: self._merge(number), ATTEMPTS)

    def log(self, path: str, *, since: datetime | None = None) -> Iterator[Commit]:
        """Yield commits of base that touch a file matching glob `path`, newest first."""
        return self._trunk.log(path, since)

    def check(self) -> str:
        """Try to read the repository, and whether it may be written; say what was found.

        Raises:
            MlopsError: of what fails.
        """
        self._trunk.tip()
        read_records(self._git)
        self._git.try_push()
        return f"{self._git.place} can be read and written"

    def _propose(self, change: ChangeSet) -> PullRequest:
        git = self._git
        branch = f"refs/heads/{change.branch}"
        # Read before the pull requests: of one opened in between, the branch is not taken for
        # somebody else's.
        tip = git.ref(branch)
        found = self._open(change.branch)
        record = found[0] if found else None
        known = (
            Mark(head=record.head, change=record.change, mixed=record.mixed)
            if record
            else Mark()
        )
        made = self._trunk.prepare(change, tip, known)
        if record and made is None:
            return self._shown(record)
        made = made or known
        number = record.number if record else max(read_records(git), default=0) + 1
        stored = replace(
            record or self._new_record(number, change),
            title=change.title,
            body=change.body,
            head=made.head,
            change=made.change,
            mixed=made.mixed,
        )
        verb = "Update" if record else "Open"
        saved = store_record(git, stored, f"{verb} pull request #{number}\n", self._author)
        told = git.move(
            [
                (branch, made.head, tip),
                (stored.ref, saved, record.stored if record else None),
            ]
        )
        pull = self._shown(replace(stored, stored=saved))
        return replace(pull, url=told or pull.url, is_new=not record, is_changed=True)

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
        base = self._trunk.tip()
        message = f"Merge pull request #{number}: {record.title}\n"
        try:
            merged = self._trunk.merged(pull.head, message)
        except Conflict as error:
            raise Conflict(
                f"pull request #{number} conflicts: {error.message}",
                hint="deploy again: that renders the change anew",
            ) from None
        done = replace(
            record, state=PullRequestState.MERGED, merge_commit=merged, head=pull.head
        )
        saved = store_record(git, done, f"Merge pull request #{number}\n", self._author)
        git.move(
            [
                (self._trunk.ref, merged, base),
                (f"refs/heads/{record.branch}", None, pull.head),
                (record.ref, saved, record.stored),
            ]
        )
        return replace(self._shown(done), is_changed=True)

    def _shown(self, record: Record) -> PullRequest:
        """Tell where a pull request stands, by the branches: people merge by hand, too."""
        if not record.is_open:
            return shown(record, PullRequestState(record.state), record.head, self._url(record))
        tip = self._git.ref(f"refs/heads/{record.branch}")
        head = tip or record.head
        merged = self._trunk.merged_by_hand(head)
        if not merged and not tip:
            merged = self._trunk.squashed_by_hand(head)
        if merged:
            record = replace(record, merge_commit=merged)
            return shown(record, PullRequestState.MERGED, head, self._url(record))
        state = PullRequestState.OPEN if tip else PullRequestState.CLOSED
        return shown(record, state, head, self._url(record))

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
                f"there is no pull request #{number} in {self._git.place}",
                hint=f"the newest is #{last}" if last else "there are none yet: mlops deploy",
            )
        return records[number]

    def _check_bare(self) -> None:
        if self._git.text("config", "--get", "core.bare", ok=(0, 1)) != "true":
            raise UserError(
                f"{self._git.place} is a clone with files checked out, not a bare repository",
                hint="name the bare repository it was cloned from",
            )

    def _url(self, record: Record) -> str:
        return self._git.look(self.base, record.branch, record.merge_commit)
