"""Pull requests as commits in refs of their own: `refs/mlops-nb/pulls/<number>`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mlops_nb.core.change import PullRequest, PullRequestState
from mlops_nb.errors import BackendError

if TYPE_CHECKING:
    from mlops_nb.adapters.git.plumbing import Plumbing

PREFIX = "refs/mlops-nb/pulls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A pull request as it is stored.

    Args:
        number: counted from 1.
        title: its title.
        branch: the branch it wants merged.
        head: commit we last put there.
        change: id of the change in that commit.
        author: who opened it.
        created: when, ISO 8601.
        state: where it stood when it was stored.
        merge_commit: commit that merged it; empty before.
        mixed: whether other people's commits are below ours.
        body: its text; stored as a file of its own.
        stored: commit that holds this record; empty before it is stored.
    """

    number: int
    title: str
    branch: str
    head: str
    change: str
    author: str
    created: str
    state: str = PullRequestState.OPEN
    merge_commit: str = ""
    mixed: bool = False
    body: str = ""
    stored: str = ""

    @property
    def ref(self) -> str:
        """Name of the ref that holds it."""
        return f"{PREFIX}/{self.number}"

    @property
    def is_open(self) -> bool:
        """Whether it was stored as open; the branches may tell more."""
        return self.state == PullRequestState.OPEN


def read_records(git: Plumbing) -> dict[int, Record]:
    """Read every pull request, by number."""
    refs = git.refs(f"{PREFIX}/")
    names = [f"{sha}:{file}" for sha in refs.values() for file in ("pull.json", "body.md")]
    objects = git.objects(names)
    found = {}
    for name, sha in refs.items():
        record, body = objects[f"{sha}:pull.json"], objects[f"{sha}:body.md"]
        try:
            values = json.loads(record or b"")
            pull = Record(**values, body=(body or b"").decode(), stored=sha)
        except (ValueError, TypeError) as error:
            raise BackendError(
                f"{name} in {git.directory} holds no pull request: {error}",
                hint=f"it was not written by mlops_nb; delete it: git update-ref -d {name}",
            ) from error
        found[pull.number] = pull
    return found


def store_record(git: Plumbing, record: Record, message: str, person: str) -> str:
    """Store a pull request as a commit; the ref is moved by the caller.

    The commits it is about are its parents: nothing that was ever proposed is lost.
    """
    values = asdict(record)
    del values["body"], values["stored"]
    text = json.dumps(values, indent=1, sort_keys=True) + "\n"
    pull, body = git.write_blobs([text.encode(), record.body.encode()])
    tree = git.write_tree("", {"pull.json": pull, "body.md": body})
    parents = [p for p in (record.stored, record.head) if p]
    return git.write_commit(tree, parents, message, person)


def shown(record: Record, state: PullRequestState, head: str, url: str) -> PullRequest:
    """Give a stored pull request as people see it now."""
    return PullRequest(
        number=record.number,
        state=state,
        title=record.title,
        body=record.body,
        branch=record.branch,
        head=head,
        url=url,
        author=record.author,
        created=datetime.fromisoformat(record.created),
        merge_commit=record.merge_commit,
    )
