"""Changes to the GitOps repository, their pull requests and the audit record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """One commit that is to become one pull request.

    Args:
        branch: branch it is proposed on: `mlops-nb/<env>/<model>`.
        title: first line of the commit and title of the pull request.
        body: text of the pull request, Markdown.
        trailers: `Key: value` pairs that close the commit message, in order.
        files: new content by path; None deletes the path.
    """

    branch: str
    title: str
    body: str
    trailers: tuple[tuple[str, str], ...] = ()
    files: Mapping[str, bytes | None] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """64 hex digits over branch and files: equal for changes that do the same."""
        digest = hashlib.sha256(self.branch.encode())
        for path, content in sorted(self.files.items()):
            part = b"deleted" if content is None else hashlib.sha256(content).digest()
            digest.update(b"\0" + path.encode() + b"\0" + part)
        return digest.hexdigest()


class PullRequestState(StrEnum):
    """Where a pull request stands."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """A pull request as the forge holds it.

    Args:
        number: counted from 1 by the forge.
        state: where it stands.
        title: its title.
        body: its text, Markdown.
        branch: the branch it wants merged.
        head: commit at the tip of that branch.
        url: where a person looks at it; for the local forge a `git log` address.
        author: who opened it, `Name <mail>`.
        created: when it was opened.
        merge_commit: commit that merged it; empty before.
        is_new: whether this call opened it.
        is_changed: whether this call wrote anything.
    """

    number: int
    state: PullRequestState
    title: str
    body: str
    branch: str
    head: str
    url: str = ""
    author: str = ""
    created: datetime | None = None
    merge_commit: str = ""
    is_new: bool = False
    is_changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit on the base branch, seen along its first parents.

    Args:
        sha: 40 hex digits.
        author: `Name <mail>` of who made the change: of a merge, of the commit merged.
        date: when it came onto the base branch.
        title: first line of its message.
        trailers: trailers of the change, by key; a repeated key is joined with a newline.
        merged_by: `Name <mail>` of who brought it onto the base branch.
        files: content before and after, by path it touched; None where there was no file.
    """

    sha: str
    author: str
    date: datetime
    title: str
    trailers: Mapping[str, str] = field(default_factory=dict)
    merged_by: str = ""
    files: Mapping[str, tuple[bytes | None, bytes | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFile:
    """The audit record of a deployment: `models/<model>/overlays/<env>/model.lock.yaml`.

    It holds no time of its own making, so that the same version gives the same bytes.

    Args:
        model: registered model.
        version: its version.
        environment: where it is deployed.
        uri: `models:/NAME/VERSION`.
        source: where the model's files are.
        digest: `sha256:` and 64 hex digits over them.
        image: model server, by digest.
        run: id of the run that made it, for people.
        tracking_id: MLflow id of that run.
        tracking_uri: tracking server, free of credentials.
        notebook: path of the notebook.
        notebook_digest: digest of its sources.
        code_commit: commit of the notebook's repository; `…-dirty` if it had changes.
        code_repository: its remote, free of credentials.
        datasets: (name, digest, uri) of each.
        parameters: injected values as JSON text, by name.
        metrics: logged metrics, by name.
        gates: (expression, outcome) of each.
        requested_by: who asked for the deployment.
        previous: version it replaces; 0 for the first.
    """

    model: str
    version: int
    environment: str
    uri: str
    source: str
    digest: str
    image: str
    run: str
    tracking_id: str
    tracking_uri: str
    notebook: str = ""
    notebook_digest: str = ""
    code_commit: str = ""
    code_repository: str = ""
    datasets: tuple[tuple[str, str, str], ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    gates: tuple[tuple[str, str], ...] = ()
    requested_by: str = ""
    previous: int = 0
