"""Pull requests at Gitea and Forgejo, by REST API v1."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlops_nb.adapters.git.github import reviews_wanted
from mlops_nb.adapters.git.plumbing import RefMoved
from mlops_nb.adapters.git.rest import Refused, Rest, not_merged
from mlops_nb.core.change import PullRequest, PullRequestState
from mlops_nb.core.gitops import host_and_path
from mlops_nb.errors import NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.adapters.git.login import Login
    from mlops_nb.core.gitops import Gitops

_RIGHTS = "repository and issue, read and write"
_DRAFT = "WIP: "
_PAGE = 50
_COLOR = "#0e8a16"


class Gitea:
    """The pull requests of one repository.

    Args:
        gitops: which, and where its API is.
        login: the token.
    """

    name = "Gitea"

    def __init__(self, gitops: Gitops, login: Login) -> None:
        _, path = host_and_path(gitops.repository)
        prefix, owner, repository = ("/" + path).rsplit("/", 2)
        self._repository = f"repos/{owner}/{repository}"
        self._rest = Rest(
            self.name,
            gitops.api or f"{gitops.web_address}{prefix}/api/v1",
            {"Authorization": f"token {login.require(self.name)}"},
            login=login,
            rights=_RIGHTS,
            ca=gitops.ca,
        )

    def of(self, branch: str, base: str) -> Sequence[PullRequest]:
        """Give the open pull request of a branch into base, and the newest closed ones."""
        path, action = f"{self._repository}/pulls", "look for pull requests"
        listed = [
            *self._rest.pages(path, action, {"state": "open", "limit": _PAGE}),
            # Branches cannot be asked for: what was closed long ago is not looked for.
            *self._rest.ask(
                "GET",
                path,
                action,
                params={"state": "closed", "sort": "recentupdate", "limit": _PAGE},
            ),
        ]
        found = [
            _pull(entry)
            for entry in listed
            if _is_own(entry) and (entry["head"]["ref"], entry["base"]["ref"]) == (branch, base)
        ]
        return sorted(found, key=lambda pull: pull.number, reverse=True)

    def get(self, number: int) -> PullRequest:
        """Give a pull request."""
        try:
            path = f"{self._repository}/pulls/{number}"
            return _pull(self._rest.ask("GET", path, "read a pull request"))
        except NotFound as error:
            raise NotFound(f"there is no pull request #{number}: {error.message}") from None

    def all(self, base: str) -> Iterator[PullRequest]:
        """Yield every pull request into base, newest first."""
        query: dict[str, str | int] = {"state": "all", "limit": _PAGE}
        pages = self._rest.pages(f"{self._repository}/pulls", "list pull requests", query)
        return (_pull(entry) for entry in pages if entry["base"]["ref"] == base)

    def create(
        self, branch: str, base: str, title: str, body: str, *, draft: bool
    ) -> PullRequest:
        """Open a pull request."""
        told = f"{_DRAFT}{title}" if draft else title
        wanted = {"head": branch, "base": base, "title": told, "body": body}
        path = f"{self._repository}/pulls"
        try:
            return _pull(self._rest.ask("POST", path, "open a pull request", json=wanted))
        except Refused as error:
            if error.status == 409:
                raise RefMoved(error.message) from None
            raise

    def update(self, number: int, title: str, body: str) -> PullRequest:
        """Give an open pull request another title and text; a draft stays one."""
        path = f"{self._repository}/pulls/{number}"
        is_draft = self._rest.ask("GET", path, "read a pull request")["title"].startswith(
            _DRAFT
        )
        wanted = {"title": f"{_DRAFT}{title}" if is_draft else title, "body": body}
        return _pull(
            self._rest.ask("PATCH", path, f"update pull request #{number}", json=wanted)
        )

    def label(self, number: int, labels: Sequence[str]) -> None:
        """Add labels; those that the repository does not know are made."""
        path = f"{self._repository}/labels"
        query = {"limit": _PAGE}
        known = {e["name"]: e["id"] for e in self._rest.pages(path, "list labels", query)}
        for name in labels:
            if name not in known:
                wanted = {"name": name, "color": _COLOR}
                made = self._rest.ask("POST", path, f"make the label {name}", json=wanted)
                known[name] = made["id"]
        self._rest.ask(
            "POST",
            f"{self._repository}/issues/{number}/labels",
            f"label pull request #{number}",
            json={"labels": [known[name] for name in labels]},
        )

    def ask_reviews(self, number: int, reviewers: Sequence[str]) -> None:
        """Ask people, and teams named `org/team`, for a review."""
        self._rest.ask(
            "POST",
            f"{self._repository}/pulls/{number}/requested_reviewers",
            f"ask {', '.join(reviewers)} for a review",
            json=reviews_wanted(reviewers),
        )

    def merge(self, pull: PullRequest, message: str) -> None:
        """Merge with a merge commit or, where none is allowed, so that trailers survive."""
        self._merge(pull, message, {})

    def merge_when_ready(self, pull: PullRequest, message: str) -> None:
        """Let the server merge once its checks have passed."""
        self._merge(pull, message, {"merge_when_checks_succeed": True})

    def merge_title(self, number: int, title: str) -> str:
        """Give the first line of the merge commit."""
        return f"Merge pull request #{number}: {title}"

    def check(self) -> str:
        """Ask who the token is and what it may; say so."""
        told = self._rest.ask("GET", self._repository, "look at the repository")
        if not (told.get("permissions") or {}).get("push", True):
            raise NotAllowed(
                f"{self.name} lets the token read the repository, but not push to it",
                hint=f"it needs: {_RIGHTS}",
            )
        # Rights are looked at before the branch, which is not there: nothing is opened.
        nowhere = {"title": "mlops doctor", "head": "mlops-nb/doctor/try", "base": "mlops-nb"}
        with suppress(Refused, NotFound):
            path = f"{self._repository}/pulls"
            self._rest.ask("POST", path, "open pull requests", json=nowhere)
        return "pull requests may be opened"

    def _merge(self, pull: PullRequest, message: str, more: dict[str, object]) -> None:
        told = self._rest.ask("GET", self._repository, "look at the repository")
        style = next(
            (s for s, key in _STYLES.items() if told.get(key, True)),
            "merge",
        )
        title, _, rest = message.partition("\n")
        wanted: dict[str, object] = {"do": style, "head_commit_id": pull.head, **more}
        wanted["delete_branch_after_merge"] = True
        if style == "merge":
            wanted |= _message(self.merge_title(pull.number, pull.title), "")
        elif style == "squash":
            wanted |= _message(f"{title} (#{pull.number})", rest.strip())
        path = f"{self._repository}/pulls/{pull.number}/merge"
        try:
            self._rest.ask("POST", path, f"merge pull request #{pull.number}", json=wanted)
        except Refused as error:
            if error.status == 409 and "head" in error.said:
                raise RefMoved(error.message) from None
            raise not_merged(error, pull) from None


_STYLES = {
    "merge": "allow_merge_commits",
    "rebase": "allow_rebase",
    "squash": "allow_squash_merge",
}


def _message(title: str, text: str) -> dict[str, object]:
    """Give the message of a merge, as servers of today and of before 1.27 read it."""
    return {
        "merge_title_field": title,
        "MergeTitleField": title,
        "merge_message_field": text,
        "MergeMessageField": text,
    }


def _is_own(entry: dict[str, Any]) -> bool:
    """Tell whether the branch is in the repository itself, not in a fork."""
    return bool(entry["head"]["repo_id"] == entry["base"]["repo_id"])


def _pull(entry: dict[str, Any]) -> PullRequest:
    state = PullRequestState.OPEN if entry["state"] == "open" else PullRequestState.CLOSED
    return PullRequest(
        number=entry["number"],
        state=PullRequestState.MERGED if entry["merged"] else state,
        title=entry["title"].removeprefix(_DRAFT),
        body=(entry["body"] or "").replace("\r\n", "\n"),
        branch=entry["head"]["ref"],
        head=entry["head"]["sha"],
        url=entry["html_url"],
        author=(entry["user"] or {}).get("login", ""),
        created=datetime.fromisoformat(entry["created_at"]),
        merge_commit=entry["merge_commit_sha"] or "" if entry["merged"] else "",
    )
