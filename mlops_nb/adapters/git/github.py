"""Pull requests at GitHub and GitHub Enterprise, by REST API 2022-11-28 and GraphQL."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mlops_nb.adapters.git.plumbing import RefMoved
from mlops_nb.adapters.git.rest import Refused, Rest, not_merged
from mlops_nb.core.change import PullRequest, PullRequestState
from mlops_nb.core.gitops import host_and_path
from mlops_nb.errors import NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.adapters.git.login import Login
    from mlops_nb.core.gitops import Gitops

_RIGHTS = "Contents and Pull requests, read and write; a classic token: the scope repo"
_METHODS = ("merge", "rebase", "squash")
_AUTO_MERGE = """\
mutation($input: EnablePullRequestAutoMergeInput!) {
  enablePullRequestAutoMerge(input: $input) { pullRequest { number } }
}"""


class GitHub:
    """The pull requests of one repository.

    Args:
        gitops: which, and where its API is.
        login: the token.
    """

    name = "GitHub"

    def __init__(self, gitops: Gitops, login: Login) -> None:
        host, path = host_and_path(gitops.repository)
        prefix, self._owner, repository = ("/" + path).rsplit("/", 2)
        api = gitops.api or (
            "https://api.github.com"
            if host.lower() == "github.com"
            else f"{gitops.web_address}{prefix}/api/v3"
        )
        self._graphql = f"{api.removesuffix('/v3')}/graphql"
        self._repository = f"repos/{self._owner}/{repository}"
        self._rest = Rest(
            self.name,
            api,
            {
                "Authorization": f"Bearer {login.require(self.name)}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
            login=login,
            rights=_RIGHTS,
            ca=gitops.ca,
        )

    def of(self, branch: str, base: str) -> Sequence[PullRequest]:
        """Give the newest pull requests of a branch into base, newest first."""
        query = {"state": "all", "head": f"{self._owner}:{branch}", "base": base}
        found = self._rest.ask(
            "GET", f"{self._repository}/pulls", "look for pull requests", params=query
        )
        return [_pull(entry) for entry in found]

    def get(self, number: int) -> PullRequest:
        """Give a pull request."""
        return _pull(self._raw(number))

    def all(self, base: str) -> Iterator[PullRequest]:
        """Yield every pull request into base, newest first."""
        query: dict[str, str | int] = {"state": "all", "base": base, "per_page": 100}
        pages = self._rest.pages(f"{self._repository}/pulls", "list pull requests", query)
        return (_pull(entry) for entry in pages)

    def create(
        self, branch: str, base: str, title: str, body: str, *, draft: bool
    ) -> PullRequest:
        """Open a pull request."""
        wanted = {"title": title, "head": branch, "base": base, "body": body, "draft": draft}
        try:
            return _pull(
                self._rest.ask(
                    "POST", f"{self._repository}/pulls", "open a pull request", json=wanted
                )
            )
        except Refused as error:
            if "already exists" in error.said:
                raise RefMoved(error.message) from None
            raise

    def update(self, number: int, title: str, body: str) -> PullRequest:
        """Give an open pull request another title and text."""
        return _pull(
            self._rest.ask(
                "PATCH",
                f"{self._repository}/pulls/{number}",
                f"update pull request #{number}",
                json={"title": title, "body": body},
            )
        )

    def label(self, number: int, labels: Sequence[str]) -> None:
        """Add labels; those that the repository does not know are made."""
        self._rest.ask(
            "POST",
            f"{self._repository}/issues/{number}/labels",
            f"label pull request #{number}",
            json={"labels": list(labels)},
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
        method = self._method()
        title, _, rest = message.partition("\n")
        wanted = {"sha": pull.head, "merge_method": method}
        if method == "merge":
            wanted |= {"commit_title": self.merge_title(pull.number, pull.title)}
            wanted |= {"commit_message": ""}
        elif method == "squash":
            wanted |= {"commit_title": f"{title} (#{pull.number})"}
            wanted |= {"commit_message": rest.strip()}
        path = f"{self._repository}/pulls/{pull.number}/merge"
        try:
            self._rest.ask("PUT", path, f"merge pull request #{pull.number}", json=wanted)
        except Refused as error:
            if error.status == 409:
                raise RefMoved(error.message) from None
            raise not_merged(error, pull) from None
        # It may be gone already, or protected; merged it is all the same.
        with suppress(Refused, NotFound, NotAllowed):
            ref = f"{self._repository}/git/refs/heads/{quote(pull.branch)}"
            self._rest.ask("DELETE", ref, f"delete {pull.branch}")

    def merge_when_ready(self, pull: PullRequest, message: str) -> None:
        """Let GitHub merge once its checks have passed; it is GraphQL's alone."""
        title, _, rest = message.partition("\n")
        method = self._method()
        wanted = {
            "pullRequestId": self._raw(pull.number)["node_id"],
            "mergeMethod": method.upper(),
            "expectedHeadOid": pull.head,
        }
        if method == "squash":
            wanted |= {"commitHeadline": f"{title} (#{pull.number})"}
            wanted |= {"commitBody": rest.strip()}
        answer = self._rest.ask(
            "POST",
            self._graphql,
            "merge when ready",
            json={"query": _AUTO_MERGE, "variables": {"input": wanted}},
        )
        if errors := answer.get("errors"):
            said = "; ".join(error["message"] for error in errors)
            raise Refused(
                f"{self.name} refused to merge when ready: {said}", status=200, said=said
            )

    def merge_title(self, number: int, title: str) -> str:
        """Give the first line of the merge commit."""
        return f"Merge pull request #{number}: {title}"

    def check(self) -> str:
        """Ask who the token is and what it may; say so."""
        self._rest.ask("GET", self._repository, "look at the repository")
        # Rights are looked at before the branch, which is not there: nothing is opened.
        nowhere = {"title": "mlops doctor", "head": "mlops-nb/doctor/try", "base": "mlops-nb"}
        try:
            path = f"{self._repository}/pulls"
            self._rest.ask("POST", path, "open pull requests", json=nowhere)
        except Refused as error:
            if error.status != 422:
                raise
        except NotFound as error:
            raise NotAllowed(error.message, hint=f"the token needs: {_RIGHTS}") from None
        return "pull requests may be opened"

    def _raw(self, number: int) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._rest.ask(
                "GET", f"{self._repository}/pulls/{number}", "read a pull request"
            )
        except NotFound as error:
            raise NotFound(f"there is no pull request #{number}: {error.message}") from None
        return found

    def _method(self) -> str:
        told = self._rest.ask("GET", self._repository, "look at the repository")
        names = {"merge": "allow_merge_commit", "rebase": "allow_rebase_merge"}
        # Who may not push is not told; a merge commit is allowed unless somebody forbade it.
        allowed = [m for m in _METHODS if told.get(names.get(m, "allow_squash_merge"), True)]
        return allowed[0] if allowed else "merge"


def reviews_wanted(reviewers: Sequence[str]) -> dict[str, list[str]]:
    """Give the request for reviews, by people and by teams named `org/team`."""
    return {
        "reviewers": [who for who in reviewers if "/" not in who],
        "team_reviewers": [who.split("/")[1] for who in reviewers if "/" in who],
    }


def _pull(entry: dict[str, Any]) -> PullRequest:
    merged = entry.get("merged_at")
    state = PullRequestState.OPEN if entry["state"] == "open" else PullRequestState.CLOSED
    return PullRequest(
        number=entry["number"],
        state=PullRequestState.MERGED if merged else state,
        title=entry["title"],
        body=(entry["body"] or "").replace("\r\n", "\n"),
        branch=entry["head"]["ref"],
        head=entry["head"]["sha"],
        url=entry["html_url"],
        author=(entry["user"] or {}).get("login", ""),
        created=datetime.fromisoformat(entry["created_at"]),
        # Of an open one it is a trial merge.
        merge_commit=(entry["merge_commit_sha"] or "") if merged else "",
    )
