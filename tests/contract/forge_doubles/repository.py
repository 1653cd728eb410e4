"""A bare repository and the pull requests about its branches."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FORGE = {
    "GIT_AUTHOR_NAME": "Bob",
    "GIT_AUTHOR_EMAIL": "bob@example.com",
    "GIT_COMMITTER_NAME": "Forge",
    "GIT_COMMITTER_EMAIL": "noreply@forge.test",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Pull:
    number: int
    title: str
    body: str
    branch: str
    base: str
    author: str
    head: str
    draft: bool = False
    state: str = "open"
    created: str = field(default_factory=now)
    merged_at: str = ""
    merge_commit: str = ""
    labels: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    merges_when_ready: str = ""


class Refusal(Exception):
    """The forge does not merge: `conflict`, `moved`, `blocked` or `draft`."""


class Repository:
    """A bare repository, made where it is missing, and what all forges do with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pulls: dict[int, Pull] = {}
        self.labels: dict[str, int] = {}
        self.blocked = ""
        self.methods = {"merge", "rebase", "squash"}
        if not path.exists():
            run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(path))
            tree = self.git("hash-object", "-t", "tree", "-w", "/dev/null")
            first = self.git("commit-tree", tree, "-m", "Initial commit")
            self.git("update-ref", "refs/heads/main", first)
        with (path / "config").open("a") as config:
            config.write("[http]\n\treceivepack = true\n[uploadpack]\n\tallowFilter = true\n")

    def git(self, *words: str) -> str:
        return run("git", "-C", str(self.path), *words)

    def tip(self, branch: str) -> str:
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def look(self) -> None:
        """Close what lost its branch, and know what was merged by hand."""
        for pull in self.pulls.values():
            if pull.state != "open":
                continue
            tip = self.tip(pull.branch)
            pull.head = tip or pull.head
            base = self.tip(pull.base)
            if base and self.git("merge-base", base, pull.head) == pull.head:
                self._done(pull, base)
            elif not tip:
                pull.state = "closed"
            elif pull.merges_when_ready and not self.blocked:
                self.merge(pull, pull.merges_when_ready, f"Merge {pull.branch}", "")

    def open(self, branch: str, base: str) -> Pull | None:
        for pull in self.pulls.values():
            if (pull.branch, pull.base, pull.state) == (branch, base, "open"):
                return pull
        return None

    def add(self, branch: str, base: str, title: str, body: str, author: str) -> Pull:
        number = len(self.pulls) + 1
        head = self.tip(branch)
        self.pulls[number] = Pull(number, title, body, branch, base, author, head)
        return self.pulls[number]

    def newest_first(self) -> list[Pull]:
        return [self.pulls[number] for number in sorted(self.pulls, reverse=True)]

    def label(self, name: str) -> int:
        return self.labels.setdefault(name, len(self.labels) + 1)

    def merge(self, pull: Pull, method: str, title: str, message: str, sha: str = "") -> None:
        """Merge as forges do.

        Raises:
            Refusal: if it is not merged.
        """
        if sha and sha != pull.head:
            raise Refusal("moved")
        if pull.draft:
            raise Refusal("draft")
        if self.blocked or method not in self.methods:
            raise Refusal("blocked")
        base = self.tip(pull.base)
        try:
            tree = self.git("merge-tree", "--write-tree", base, pull.head)
        except subprocess.CalledProcessError:
            raise Refusal("conflict") from None
        parents = ["-p", base, *(["-p", pull.head] if method == "merge" else [])]
        if method == "rebase":
            said = self.git("log", "-1", "--format=%B", pull.head)
        else:
            said = f"{title}\n\n{message}"
        commit = self.git("commit-tree", tree, *parents, "-m", said)
        self.git("update-ref", f"refs/heads/{pull.base}", commit, base)
        self._done(pull, commit)

    def remove(self, branch: str) -> None:
        self.git("update-ref", "-d", f"refs/heads/{branch}")

    def _done(self, pull: Pull, commit: str) -> None:
        pull.state, pull.merge_commit, pull.merged_at = "merged", commit, now()


def run(*command: str) -> str:
    import os

    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(
        command, env={**env, **FORGE}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
