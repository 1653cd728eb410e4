"""Merge requests at GitLab, by REST API v4."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mlops_nb.adapters.git.plumbing import RefMoved
from mlops_nb.adapters.git.rest import Refused, Rest, not_merged
from mlops_nb.core.change import PullRequest, PullRequestState
from mlops_nb.core.gitops import host_and_path
from mlops_nb.errors import NotAllowed, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.adapters.git.login import Login
    from mlops_nb.core.gitops import Gitops

_RIGHTS = "the scope api, and the role Developer in the project"
_DEVELOPER = 30
_DRAFT = "Draft: "


class GitLab:
    """The merge requests of one project.

    Args:
        gitops: which, and where its API is.
        login: the token.
    """

    name = "GitLab"

    def __init__(self, gitops: Gitops, login: Login) -> None:
        _, path = host_and_path(gitops.repository)
        self._project = f"projects/{quote(path, safe='')}"
        self._rest = Rest(
            self.name,
            gitops.api or f"{gitops.web_address}/api/v4",
            {"Authorization": f"Bearer {login.require(self.name)}"},
            login=login,
            rights=_RIGHTS,
            ca=gitops.ca,
        )

    def of(self, branch: str, base: str) -> Sequence[PullRequest]:
        """Give the newest merge requests of a branch into base, newest first."""
        query = {"state": "all", "source_branch": branch, "target_branch": base}
        found = self._rest.ask(
            "GET", f"{self._project}/merge_requests", "look for merge requests", params=query
        )
        # A fork's branch may bear the same name.
        return [_pull(e) for e in found if e["source_project_id"] == e["target_project_id"]]

    def get(self, number: int) -> PullRequest:
        """Give a merge request."""
        try:
            path = f"{self._project}/merge_requests/{number}"
            return _pull(self._rest.ask("GET", path, "read a merge request"))
        except NotFound as error:
            raise NotFound(f"there is no pull request #{number}: {error.message}") from None

    def all(self, base: str) -> Iterator[PullRequest]:
        """Yield every merge request into base, newest first."""
        query: dict[str, str | int] = {"state": "all", "target_branch": base}
        query["per_page"] = 100
        path = f"{self._project}/merge_requests"
        pages = self._rest.pages(path, "list merge requests", query)
        return (_pull(entry) for entry in pages)

    def create(
        self, branch: str, base: str, title: str, body: str, *, draft: bool
    ) -> PullRequest:
        """Open a merge request."""
        wanted = {
            "source_branch": branch,
            "target_branch": base,
            "title": f"{_DRAFT}{title}" if draft else title,
            "description": body,
            "remove_source_branch": True,
            # A squash would take the trailers of the commit away.
            "squash": False,
        }
        path = f"{self._project}/merge_requests"
        try:
            return _pull(self._rest.ask("POST", path, "open a merge request", json=wanted))
        except Refused as error:
            if error.status == 409:
                raise RefMoved(error.message) from None
            raise

    def update(self, number: int, title: str, body: str) -> PullRequest:
        """Give an open merge request another title and text; a draft stays one."""
        path = f"{self._project}/merge_requests/{number}"
        is_draft = self._rest.ask("GET", path, "read a merge request")["draft"]
        wanted = {"title": f"{_DRAFT}{title}" if is_draft else title, "description": body}
        return _pull(
            self._rest.ask("PUT", path, f"update merge request !{number}", json=wanted)
        )

    def label(self, number: int, labels: Sequence[str]) -> None:
        """Add labels; those that the project does not know are made."""
        self._put(number, f"label merge request !{number}", {"add_labels": ",".join(labels)})

    def ask_reviews(self, number: int, reviewers: Sequence[str]) -> None:
        """Ask people for a review."""
        ids = []
        for name in reviewers:
            found = self._rest.ask("GET", "users", "find people", params={"username": name})
            if not found:
                raise UserError(
                    f"{self.name} knows nobody called {name!r}",
                    hint="mend reviewers below [gitops] in mlops.toml: user names of people",
                )
            ids.append(found[0]["id"])
        what = f"ask {', '.join(reviewers)} for a review"
        self._put(number, what, {"reviewer_ids": ids})

    def merge(self, pull: PullRequest, message: str) -> None:
        """Merge as the project has it; trailers survive a squash, too."""
        self._merge(pull, message, {})

    def merge_when_ready(self, pull: PullRequest, message: str) -> None:
        """Let GitLab merge once the pipeline has passed."""
        # The second name is that of servers before 17.11; each passes over the other's.
        self._merge(pull, message, {"auto_merge": True, "merge_when_pipeline_succeeds": True})

    def merge_title(self, number: int, title: str) -> str:
        """Give the first line of the merge commit; GitLab makes a link of the number."""
        return f"Merge request !{number}: {title}"

    def check(self) -> str:
        """Ask who the token is and what it may; say so."""
        project = self._rest.ask("GET", self._project, "look at the project")
        given = [g for g in (project.get("permissions") or {}).values() if g]
        level = max((g["access_level"] for g in given), default=0)
        if given and level < _DEVELOPER:
            raise NotAllowed(
                f"{self.name} lets the token read the project, but not propose changes to it",
                hint=f"it needs: {_RIGHTS}",
            )
        # Rights are looked at before the branch, which is not there: nothing is opened.
        wanted = {"source_branch": "mlops-nb/doctor/try", "target_branch": "", "title": "try"}
        try:
            path = f"{self._project}/merge_requests"
            self._rest.ask("POST", path, "open merge requests", json=wanted)
        except Refused as error:
            if error.status not in {400, 409, 422}:
                raise
        return "merge requests may be opened"

    def _merge(self, pull: PullRequest, message: str, more: dict[str, object]) -> None:
        wanted = {
            "sha": pull.head,
            "merge_commit_message": self.merge_title(pull.number, pull.title),
            "squash_commit_message": message.strip(),
            "should_remove_source_branch": True,
            **more,
        }
        path = f"{self._project}/merge_requests/{pull.number}/merge"
        try:
            self._rest.ask("PUT", path, f"merge merge request !{pull.number}", json=wanted)
        except Refused as error:
            if error.status == 409:
                raise RefMoved(error.message) from None
            raise not_merged(error, pull) from None

    def _put(self, number: int, action: str, values: dict[str, object]) -> None:
        self._rest.ask("PUT", f"{self._project}/merge_requests/{number}", action, json=values)


_STATES = {"merged": PullRequestState.MERGED, "closed": PullRequestState.CLOSED}


def _pull(entry: dict[str, Any]) -> PullRequest:
    state = _STATES.get(entry["state"], PullRequestState.OPEN)
    commit = entry["merge_commit_sha"] or entry.get("squash_commit_sha") or entry["sha"]
    return PullRequest(
        number=entry["iid"],
        state=state,
        title=entry["title"].removeprefix(_DRAFT),
        body=(entry["description"] or "").replace("\r\n", "\n"),
        branch=entry["source_branch"],
        head=entry["sha"] or "",
        url=entry["web_url"],
        author=(entry["author"] or {}).get("username", ""),
        created=datetime.fromisoformat(entry["created_at"]),
        # A fast-forward makes no commit: the branch's own came onto base.
        merge_commit=(commit or "") if state is PullRequestState.MERGED else "",
    )
