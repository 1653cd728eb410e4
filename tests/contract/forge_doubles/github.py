"""GitHub's REST API, as far as pull requests are concerned."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from forge_doubles.repository import Refusal, now
from forge_doubles.server import Answer, Double, Request, page

if TYPE_CHECKING:
    from forge_doubles.repository import Pull

_DOCS = "https://docs.github.com/rest"
_USER_URLS = (
    "events",
    "followers",
    "following",
    "gists",
    "organizations",
    "received_events",
    "repos",
    "starred",
    "subscriptions",
)
_REPOSITORY_URLS = (
    "archive",
    "assignees",
    "blobs",
    "branches",
    "collaborators",
    "comments",
    "commits",
    "compare",
    "contents",
    "contributors",
    "deployments",
    "downloads",
    "events",
    "forks",
    "git_commits",
    "git_refs",
    "git_tags",
    "hooks",
    "issue_comment",
    "issue_events",
    "issues",
    "keys",
    "labels",
    "languages",
    "merges",
    "milestones",
    "notifications",
    "pulls",
    "releases",
    "stargazers",
    "statuses",
    "subscribers",
    "subscription",
    "tags",
    "teams",
    "trees",
    "git",
    "ssh",
    "svn",
    "clone",
)
_COUNTS = (
    "forks",
    "forks_count",
    "open_issues",
    "open_issues_count",
    "size",
    "stargazers_count",
    "watchers",
    "watchers_count",
    "network_count",
    "subscribers_count",
)


class GitHubDouble(Double):
    """GitHub Enterprise at an address of its own; `api.github.com` differs in the address."""

    kind = "github"
    api = "/api/v3"

    def unauthorized(self) -> Answer:
        return Answer(401, {"message": "Bad credentials", "documentation_url": _DOCS})

    def answer(self, request: Request) -> Answer:  # noqa: PLR0911  # one arm a route
        path = request.path.removeprefix(self.api)
        body = request.body or {}
        if (request.method, request.path) == ("POST", "/api/graphql"):
            return self._graphql(body)
        match re.sub(r"/\d+(?=/|$)", "/N", path).split("/"), request.method:
            case ["", "user"], "GET":
                return Answer(200, _user(request.user))
            case ["", "repos", "acme", "deploy"], "GET":
                return Answer(200, self._repository(full=True))
            case ["", "repos", "acme", "deploy", "pulls"], "GET":
                return page(request, [self._pull(p) for p in self._listed(request)])
            case ["", "repos", "acme", "deploy", "git", "refs", "heads", *branch], "DELETE":
                if not self.repository.tip("/".join(branch)):
                    said = "Reference does not exist"
                    return Answer(422, {"message": said, "documentation_url": _DOCS})
                self.repository.remove("/".join(branch))
                return Answer(204)
            case ["", "repos", "acme", "deploy", "pulls"], "POST":
                return self._create(body, request.user)
            case ["", "repos", "acme", "deploy", kind, "N", *rest], method:
                pull = self.repository.pulls.get(int(path.split("/")[5]))
                if pull is None:
                    return Answer(404, {"message": "Not Found", "documentation_url": _DOCS})
                return self._about(pull, method, [kind, *rest], body)
            case _:
                return Answer(404, {"message": "Not Found", "documentation_url": _DOCS})

    def _about(self, pull: Pull, method: str, what: list[str], body: dict[str, Any]) -> Answer:
        if not self.may_push and method != "GET":
            return _forbidden()
        match method, what:
            case "GET", ["pulls"]:
                return Answer(200, self._pull(pull, full=True))
            case "PATCH", ["pulls"]:
                pull.title, pull.body = (
                    body.get("title", pull.title),
                    body.get("body", pull.body),
                )
                pull.state = body.get("state", pull.state)
                return Answer(200, self._pull(pull, full=True))
            case "PUT", ["pulls", "merge"]:
                return self._merge(pull, body)
            case "POST", ["pulls", "requested_reviewers"]:
                if unknown := [who for who in body.get("reviewers", []) if who != "bob"]:
                    why = f"Reviews may only be requested from collaborators: {unknown[0]}"
                    return Answer(422, {"message": why, "documentation_url": _DOCS})
                pull.reviewers += [*body.get("reviewers", []), *body.get("team_reviewers", [])]
                return Answer(201, self._pull(pull))
            case "POST", ["issues", "labels"]:
                pull.labels += [name for name in body["labels"] if name not in pull.labels]
                return Answer(200, [self._label(name) for name in pull.labels])
            case _:
                return Answer(404, {"message": "Not Found", "documentation_url": _DOCS})

    def _listed(self, request: Request) -> list[Pull]:
        state = request.query.get("state", "open")
        head = request.query.get("head", "").removeprefix("acme:")
        base = request.query.get("base", "")
        return [
            pull
            for pull in self.repository.newest_first()
            if (state == "all" or (pull.state == "open") == (state == "open"))
            and head in {"", pull.branch}
            and base in {"", pull.base}
        ]

    def _create(self, body: dict[str, Any], user: str) -> Answer:
        if not self.may_push:
            return _forbidden()
        branch, base = body["head"].removeprefix("acme:"), body["base"]
        for field, name in (("head", branch), ("base", base)):
            if not self.repository.tip(name):
                wrong = {"resource": "PullRequest", "field": field, "code": "invalid"}
                return _invalid([wrong])
        if self.repository.open(branch, base):
            why = f"A pull request already exists for acme:{branch}."
            return _invalid([{"resource": "PullRequest", "code": "custom", "message": why}])
        pull = self.repository.add(branch, base, body["title"], body.get("body", ""), user)
        pull.draft = body.get("draft", False)
        headers = {
            "Location": f"{self.address}{self.api}/repos/acme/deploy/pulls/{pull.number}"
        }
        return Answer(201, self._pull(pull, full=True), headers)

    def _merge(self, pull: Pull, body: dict[str, Any]) -> Answer:
        method = body.get("merge_method", "merge")
        title = body.get("commit_title", f"Merge pull request #{pull.number}")
        message = body.get("commit_message", "")
        try:
            self.repository.merge(pull, method, title, message, body.get("sha", ""))
        except Refusal as refusal:
            status, said = {
                "moved": (409, "Head branch was modified. Review and try the merge again."),
                "draft": (405, "Pull Request is still a draft"),
                "conflict": (405, "Pull Request is not mergeable"),
                "blocked": (405, self.repository.blocked or f"{method} is not allowed."),
            }[str(refusal)]
            return Answer(status, {"message": said, "documentation_url": _DOCS})
        done = {"sha": pull.merge_commit, "merged": True, "message": "Merged"}
        return Answer(200, done)

    def _graphql(self, body: dict[str, Any]) -> Answer:
        wanted = body["variables"]["input"]
        pull = self.repository.pulls[int(wanted["pullRequestId"].removeprefix("PR_"))]
        if not self.repository.blocked:
            error = {"type": "UNPROCESSABLE", "message": "Pull request is in clean status"}
            return Answer(200, {"data": None, "errors": [error]})
        pull.merges_when_ready = wanted["mergeMethod"].lower()
        found = {"pullRequest": {"number": pull.number}}
        return Answer(200, {"data": {"enablePullRequestAutoMerge": found}})

    def _label(self, name: str) -> dict[str, Any]:
        return {
            "id": self.repository.label(name),
            "node_id": "LA_1",
            "url": f"{self.address}{self.api}/repos/acme/deploy/labels/{name}",
            "name": name,
            "description": "",
            "color": "ededed",
            "default": False,
        }

    def _repository(self, *, full: bool = False) -> dict[str, Any]:
        url = f"{self.address}{self.api}/repos/acme/deploy"
        known: dict[str, Any] = {
            **{f"{name}_url": f"{url}/{name}" for name in _REPOSITORY_URLS},
            **{name: 0 for name in _COUNTS if full or "network" not in name},
            **{f"has_{name}": True for name in ("issues", "projects", "wiki", "downloads")},
            "has_pages": False,
            "has_discussions": False,
            "id": 1,
            "node_id": "R_1",
            "name": "deploy",
            "full_name": "acme/deploy",
            "owner": _user("acme"),
            "private": True,
            "html_url": f"{self.address}/acme/deploy",
            "clone_url": self.url,
            "url": url,
            "description": None,
            "fork": False,
            "homepage": None,
            "language": None,
            "archived": False,
            "disabled": False,
            "mirror_url": None,
            "license": None,
            "default_branch": "main",
            "created_at": now(),
            "updated_at": now(),
            "pushed_at": now(),
            "allow_merge_commit": "merge" in self.repository.methods,
            "allow_rebase_merge": "rebase" in self.repository.methods,
            "allow_squash_merge": "squash" in self.repository.methods,
        }
        may = {"admin": False, "push": self.may_push, "pull": True}
        return known | {"permissions": may} if full else known

    def _pull(self, pull: Pull, *, full: bool = False) -> dict[str, Any]:
        url = f"{self.address}{self.api}/repos/acme/deploy/pulls/{pull.number}"
        issue = url.replace("pulls", "issues")
        html = f"{self.address}/acme/deploy/pull/{pull.number}"
        links = {
            "self": url, "html": html, "issue": issue, "comments": f"{issue}/comments",
            "review_comments": f"{url}/comments", "review_comment": f"{url}/comments/1",
            "commits": f"{url}/commits", "statuses": f"{url}/statuses",
        }  # fmt: skip
        known: dict[str, Any] = {
            "id": pull.number,
            "node_id": f"PR_{pull.number}",
            "number": pull.number,
            "state": "open" if pull.state == "open" else "closed",
            "locked": False,
            "title": pull.title,
            "body": pull.body or None,
            "user": _user(pull.author),
            "labels": [self._label(name) for name in pull.labels],
            "milestone": None,
            "assignee": None,
            "requested_reviewers": [_user(name) for name in pull.reviewers],
            "created_at": pull.created,
            "updated_at": pull.created,
            "closed_at": None if pull.state == "open" else pull.merged_at or pull.created,
            "merged_at": pull.merged_at or None,
            # Of an open one GitHub tells a trial merge.
            "merge_commit_sha": pull.merge_commit or "f" * 40,
            "draft": pull.draft,
            "author_association": "MEMBER",
            "auto_merge": None,
            "url": url,
            "html_url": html,
            "diff_url": f"{html}.diff",
            "patch_url": f"{html}.patch",
            "issue_url": issue,
            "commits_url": f"{url}/commits",
            "comments_url": f"{issue}/comments",
            "review_comments_url": f"{url}/comments",
            "review_comment_url": f"{url}/comments{{/number}}",
            "statuses_url": f"{url}/statuses",
            "_links": {name: {"href": href} for name, href in links.items()},
            "head": self._side(pull.branch, pull.head),
            "base": self._side(pull.base, self.repository.tip(pull.base)),
        }
        if full:
            counts = "additions changed_files comments commits deletions review_comments"
            known |= dict.fromkeys(counts.split(), 0)
            known |= {
                "merged": bool(pull.merged_at),
                "mergeable": True,
                "mergeable_state": "blocked" if self.repository.blocked else "clean",
                "maintainer_can_modify": False,
                "merged_by": _user("bob") if pull.merged_at else None,
            }
        return known

    def _side(self, branch: str, sha: str) -> dict[str, Any]:
        return {
            "label": f"acme:{branch}",
            "ref": branch,
            "sha": sha,
            "user": _user("acme"),
            "repo": self._repository(),
        }


def _user(login: str) -> dict[str, Any]:
    url = f"https://github.test/users/{login}"
    return {
        **{f"{name}_url": f"{url}/{name}" for name in _USER_URLS},
        "login": login,
        "id": 1,
        "node_id": "U_1",
        "avatar_url": f"{url}/avatar",
        "gravatar_id": "",
        "url": url,
        "html_url": url,
        "type": "User",
        "site_admin": False,
    }


def _forbidden() -> Answer:
    said = "Resource not accessible by personal access token"
    return Answer(403, {"message": said, "documentation_url": _DOCS})


def _invalid(errors: list[dict[str, str]]) -> Answer:
    said = {"message": "Validation Failed", "errors": errors, "documentation_url": _DOCS}
    return Answer(422, said)
