"""Changes to the GitOps repository, their pull requests and the audit record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mlops_nb.errors import UserError

_OF_THE_ASKER = ("Mlops-Requested-By", "Mlops-Tool")


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
        """64 hex digits: equal for changes that do the same and say the same of it.

        Who asks, and with which release, is left out: whoever repeats a change makes no other.
        """
        told = [row for row in self.trailers if row[0] not in _OF_THE_ASKER]
        digest = hashlib.sha256(repr((self.branch, told)).encode())
        for path, content in sorted(self.files.items()):
            part = b"deleted" if content is None else hashlib.sha256(content).digest()
            digest.update(b"\0" + path.encode() + b"\0" + part)
        return digest.hexdigest()

    @property
    def message(self) -> str:
        """The commit message: the title, and the trailers as its last paragraph."""
        lines = "\n".join(f"{key}: {' '.join(value.split())}" for key, value in self.trailers)
        return f"{self.title}\n\n{lines}\n" if lines else f"{self.title}\n"


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
        notes: what a person should know of this call: what could not be done besides.
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
    notes: tuple[str, ...] = ()


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
        defaults: the notebook's own values of its other parameters, likewise.
        metrics: logged metrics, by name.
        gates: (expression, outcome) of each.
        canary: shares of traffic it was to be given: `5,25,50,100`.
        requested_by: who asked for the deployment.
        previous: version it replaces; 0 for the first.
        evidence: `sha256:` and 64 hex digits of `evidence.json` beside it; empty where there is
            none.
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
    defaults: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    gates: tuple[tuple[str, str], ...] = ()
    canary: str = ""
    requested_by: str = ""
    previous: int = 0
    evidence: str = ""

    @property
    def contradiction(self) -> str:
        """Say how the record contradicts itself, as one edited by hand may; empty if not."""
        named = f"models:/{self.model}/{self.version}"
        return "" if self.uri == named else f"it says version {self.version}, but {self.uri}"


_BRANCH = re.compile(r"mlops-nb/([^/]+)/([^/]+)")
_LOCK_PATH = re.compile(r"models/([^/]+)/overlays/([^/]+)/model\.lock\.yaml")
_OVERLAY = re.compile(r"models/([^/]+)/overlays/([^/]+)/.+", re.DOTALL)
_TRAILER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*): ?(.*)")


def branch_of(model: str, environment: str) -> str:
    """Name the branch on which a model's deployments to an environment are proposed."""
    return f"mlops-nb/{environment}/{model}"


def read_branch(branch: str) -> tuple[str, str] | None:
    """Give model and environment of a deployment's branch; None for any other branch."""
    match = _BRANCH.fullmatch(branch)
    return (match[2], match[1]) if match else None


def overlay_path(model: str, environment: str) -> str:
    """Name the folder of what a deployment changes."""
    return f"models/{model}/overlays/{environment}"


def lock_path(model: str, environment: str) -> str:
    """Name the file of the audit record; `*` for any model or environment."""
    return f"{overlay_path(model, environment)}/model.lock.yaml"


def evidence_path(model: str, environment: str) -> str:
    """Name the file of what speaks for a deployment."""
    return f"{overlay_path(model, environment)}/evidence.json"


def read_lock_path(path: str) -> tuple[str, str] | None:
    """Give model and environment of an audit record's path; None for any other path."""
    match = _LOCK_PATH.fullmatch(path)
    return (match[1], match[2]) if match else None


def read_overlay_path(path: str) -> tuple[str, str] | None:
    """Give model and environment of a file of an overlay; None for any other path."""
    match = _OVERLAY.fullmatch(path)
    return (match[1], match[2]) if match else None


def parse_trailers(message: str) -> dict[str, str]:
    """Read the trailers of a commit message; a repeated key is joined with a newline."""
    paragraphs = re.split(r"\n[ \t]*\n", message.strip().replace("\r\n", "\n"))
    found: dict[str, str] = {}
    if len(paragraphs) < 2:
        return found
    for line in paragraphs[-1].splitlines():
        match = _TRAILER.fullmatch(line)
        if match is None:
            return {}
        key, value = match[1], match[2].strip()
        found[key] = f"{found[key]}\n{value}" if key in found else value
    return found


def matches(path: str, glob: str) -> bool:
    """Tell whether a path fits a pattern: `*` stays within a folder, `**` does not."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pattern = re.sub(
        r"\*\*/|\*\*|\*|\?|[^*?]+", lambda m: parts.get(m[0]) or re.escape(m[0]), glob
    )
    return re.fullmatch(pattern, path) is not None


def check_paths(paths: Iterable[str]) -> None:
    """Refuse paths that a repository cannot hold.

    Raises:
        UserError: if one is empty or absolute, steps out or into `.git`, or ends a line.
    """
    for path in paths:
        parts = path.split("/")
        if any(p in {"", ".", ".."} or p.lower() == ".git" for p in parts) or (
            set(path) & {"\0", "\n", "\r"}
        ):
            raise UserError(
                f"{path!r} cannot be a file of the repository",
                hint="give a path from the repository's root, such as models/churn/notes.md",
            )


def lock_trailers(
    lock: LockFile, *, action: str, previous: int, requested_by: str, tool: str
) -> tuple[tuple[str, str], ...]:
    """Give the trailers of a commit that makes `lock` the record of its environment.

    Args:
        lock: the record as the commit leaves it.
        action: deploy or rollback.
        previous: version the environment had before the commit; 0 for none.
        requested_by: who asked for the commit.
        tool: name and version of what made it.
    """
    passed = sum(outcome == "passed" for _, outcome in lock.gates)
    told = "\n".join(f"{gate}\0{outcome}" for gate, outcome in lock.gates)
    gates = (
        f"passed {passed}/{len(lock.gates)} sha256:{hashlib.sha256(told.encode()).hexdigest()}"
    )
    trailers = [
        ("Mlops-Action", action),
        ("Mlops-Environment", lock.environment),
        ("Mlops-Model", lock.model),
        ("Mlops-Model-Version", str(lock.version)),
        ("Mlops-Previous-Version", str(previous) if previous else ""),
        ("Mlops-Model-Uri", lock.uri),
        ("Mlops-Model-Digest", lock.digest),
        ("Mlops-Image", lock.image),
        ("Mlops-Run-Id", lock.tracking_id),
        ("Mlops-Tracking-Uri", lock.tracking_uri),
        *(("Mlops-Dataset", " ".join(row)) for row in lock.datasets),
        ("Mlops-Gates", gates if lock.gates else ""),
        ("Mlops-Requested-By", requested_by),
        ("Mlops-Tool", tool),
        ("Argocd-reference-commit-sha", lock.code_commit.removesuffix("-dirty")),
        ("Argocd-reference-commit-repourl", lock.code_repository),
    ]
    return tuple((key, value) for key, value in trailers if value)
