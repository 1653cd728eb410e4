"""A forge in memory that keeps every promise of the port."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb.core.change import (
    ChangeSet,
    Commit,
    PullRequest,
    PullRequestState,
    check_paths,
    matches,
    parse_trailers,
)
from mlops_nb.errors import Conflict, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Tree = dict[str, bytes]


@dataclass
class FakeForge:
    """Base as a list of trees, each with the commit that made it."""

    author: str = "Ann <ann@example.com>"
    trees: list[Tree] = field(default_factory=lambda: [{}])
    commits: list[Commit] = field(default_factory=list)
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    changes: dict[int, tuple[ChangeSet, int]] = field(default_factory=dict)

    def read(self, folder: str) -> Mapping[str, bytes]:
        prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
        return {p: c for p, c in self.trees[-1].items() if p.startswith(prefix)}

    def find(self, branch: str) -> PullRequest | None:
        for pull in self.pull_requests():
            if pull.branch == branch and pull.state is PullRequestState.OPEN:
                return pull
        return None

    def propose(self, change: ChangeSet) -> PullRequest:
        check_paths(change.files)
        tree = self.trees[-1]
        found = self.find(change.branch)
        is_same = found is not None and self.changes[found.number][0].id == change.id
        if found and is_same and not self._clash(found.number):
            return replace(found, is_new=False, is_changed=False)
        if all(tree.get(path) == content for path, content in change.files.items()):
            raise UserError(f"{change.title!r} changes nothing on main", hint="mlops history")
        number = found.number if found else len(self.pulls) + 1
        self.changes[number] = (change, len(self.trees) - 1)
        self.pulls[number] = PullRequest(
            number=number,
            state=PullRequestState.OPEN,
            title=change.title,
            body=change.body,
            branch=change.branch,
            head=hashlib.sha1(f"{number}{change.id}".encode()).hexdigest(),  # noqa: S324
            author=found.author if found else self.author,
            created=found.created if found else datetime.now(UTC),
        )
        return replace(self.pulls[number], is_new=not found, is_changed=True)

    def pull_request(self, number: int) -> PullRequest:
        if number not in self.pulls:
            raise NotFound(f"there is no pull request #{number}", hint="mlops deploy")
        return self.pulls[number]

    def pull_requests(self) -> Sequence[PullRequest]:
        return [self.pulls[number] for number in sorted(self.pulls, reverse=True)]

    def merge(self, number: int) -> PullRequest:
        pull = self.pull_request(number)
        if pull.state is PullRequestState.MERGED:
            return pull
        if clash := self._clash(number):
            raise Conflict(f"pull request #{number} conflicts in {clash}", hint="deploy again")
        change, _ = self.changes[number]
        before = self.trees[-1]
        after = {p: c for p, c in {**before, **change.files}.items() if c is not None}
        sha = hashlib.sha1(f"{len(self.trees)}{change.id}".encode()).hexdigest()  # noqa: S324
        self.commits.append(
            Commit(
                sha=sha,
                author=self.author,
                date=datetime.now(UTC),
                title=f"Merge pull request #{number}: {change.title}",
                trailers=parse_trailers(change.message),
                merged_by=self.author,
                files={
                    path: (before.get(path), after.get(path))
                    for path in change.files
                    if before.get(path) != after.get(path)
                },
            )
        )
        self.trees.append(after)
        self.pulls[number] = replace(pull, state=PullRequestState.MERGED, merge_commit=sha)
        return replace(self.pulls[number], is_changed=True)

    def log(self, path: str, *, since: datetime | None = None) -> Iterator[Commit]:
        for commit in reversed(self.commits):
            if (since is None or commit.date >= since) and any(
                matches(touched, path) for touched in commit.files
            ):
                yield commit

    def check(self) -> str:
        return "in memory"

    def _clash(self, number: int) -> list[str]:
        change, start = self.changes[number]
        old, new = self.trees[start], self.trees[-1]
        return [
            path
            for path, content in change.files.items()
            if old.get(path) != new.get(path) and new.get(path) != content
        ]
