"""Gitea's REST API, as far as pull requests are concerned; Forgejo has the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from forge_doubles.repository import Refusal, now
from forge_doubles.server import Answer, Double, Request, page

if TYPE_CHECKING:
    from forge_doubles.repository import Pull


class GiteaDouble(Double):
    """Gitea, with the repository acme/deploy."""

    kind = "gitea"
    api = "/api/v1"

    def unauthorized(self) -> Answer:
        return Answer(401, {"message": "invalid username, password or token"})

    def answer(self, request: Request) -> Answer:  # one arm a route
        path = request.path.removeprefix(self.api)
        body = request.body or {}
        match re.sub(r"/\d+(?=/|$)", "/N", path).split("/"), request.method:
            case ["", "user"], "GET":
                return Answer(200, _user(request.user))
            case ["", "repos", "acme", "deploy"], "GET":
                return Answer(200, self._repository())
            case ["", "repos", "acme", "deploy", "labels"], "GET":
                labels = [self._label(name) for name in self.repository.labels]
                return page(request, labels, size="limit")
            case ["", "repos", "acme", "deploy", "labels"], "POST":
                self.repository.label(body["name"])
                return Answer(201, self._label(body["name"]))
            case ["", "repos", "acme", "deploy", "pulls"], "GET":
                state = request.query.get("state", "open")
                found = [
                    self._pull(pull)
                    for pull in self.repository.newest_first()
                    if state == "all" or (pull.state == "open") == (state == "open")
                ]
                return page(request, found, size="limit")
            case ["", "repos", "acme", "deploy", "pulls"], "POST":
                return self._create(body, request.user)
            case ["", "repos", "acme", "deploy", kind, "N", *rest], method:
                if pull := self.repository.pulls.get(int(path.split("/")[5])):
                    return self._about(pull, method, [kind, *rest], body)
            case _:
                pass
        return _missing()

    def _about(self, pull: Pull, method: str, what: list[str], body: dict[str, Any]) -> Answer:
        if not self.may_push and method != "GET":
            return Answer(403, {"message": "user should have a permission to write"})
        match method, what:
            case "GET", ["pulls"]:
                return Answer(200, self._pull(pull))
            case "PATCH", ["pulls"]:
                self._title(pull, body.get("title", self._shown(pull)))
                pull.body = body.get("body", pull.body)
                pull.state = body.get("state", pull.state)
                return Answer(201, self._pull(pull))
            case "POST", ["pulls", "merge"]:
                return self._merge(pull, body)
            case "POST", ["pulls", "requested_reviewers"]:
                if unknown := [who for who in body.get("reviewers", []) if who != "bob"]:
                    said = f"user does not exist [uid: 0, name: {unknown[0]}]"
                    return Answer(404, {"message": said})
                pull.reviewers += body.get("reviewers", [])
                return Answer(201, [])
            case "POST", ["issues", "labels"]:
                names = {number: name for name, number in self.repository.labels.items()}
                added = [names[number] for number in body["labels"]]
                pull.labels += [name for name in added if name not in pull.labels]
                return Answer(200, [self._label(name) for name in pull.labels])
            case _:
                pass
        return _missing()

    def _create(self, body: dict[str, Any], user: str) -> Answer:
        if not self.may_push:
            return Answer(403, {"message": "user should have a permission to write"})
        branch, base = body["head"], body["base"]
        if not self.repository.tip(branch) or not self.repository.tip(base):
            return _missing()
        if self.repository.open(branch, base):
            said = "pull request already exists for these targets"
            return Answer(409, {"message": said})
        pull = self.repository.add(branch, base, "", body.get("body", ""), user)
        self._title(pull, body["title"])
        return Answer(201, self._pull(pull))

    def _merge(self, pull: Pull, body: dict[str, Any]) -> Answer:
        # Go reads a field's name in either case.
        style = body.get("do") or body["Do"]
        if body.get("merge_when_checks_succeed") and self.repository.blocked:
            pull.merges_when_ready = style
            return Answer(201)
        title = body.get("merge_title_field", f"Merge pull request '{pull.title}'")
        message = body.get("merge_message_field", "")
        try:
            sha = body.get("head_commit_id", "")
            self.repository.merge(pull, style, title, message, sha)
        except Refusal as refusal:
            status, said = {
                "moved": (409, "head out of date"),
                "draft": (405, "Work in progress PRs cannot be merged"),
                "conflict": (405, "Please try again later"),
                "blocked": (405, self.repository.blocked or "Invalid merge style"),
            }[str(refusal)]
            return Answer(status, {"message": said})
        if body.get("delete_branch_after_merge"):
            self.repository.remove(pull.branch)
        return Answer(200)

    def _title(self, pull: Pull, title: str) -> None:
        pull.draft = title.startswith("WIP: ")
        pull.title = title.removeprefix("WIP: ")

    def _shown(self, pull: Pull) -> str:
        return f"WIP: {pull.title}" if pull.draft else pull.title

    def _label(self, name: str) -> dict[str, Any]:
        number = self.repository.labels[name]
        return {"id": number, "name": name, "color": "0e8a16", "description": "", "url": ""}

    def _repository(self) -> dict[str, Any]:
        return {
            "id": 1,
            "name": "deploy",
            "full_name": "acme/deploy",
            "owner": _user("acme"),
            "default_branch": "main",
            "html_url": f"{self.address}/acme/deploy",
            "clone_url": self.url,
            "permissions": {"admin": False, "push": self.may_push, "pull": True},
            "allow_merge_commits": "merge" in self.repository.methods,
            "allow_rebase": "rebase" in self.repository.methods,
            "allow_squash_merge": "squash" in self.repository.methods,
        }

    def _pull(self, pull: Pull) -> dict[str, Any]:
        html = f"{self.address}/acme/deploy/pulls/{pull.number}"
        return {
            "id": 100 + pull.number,
            "number": pull.number,
            "url": html,
            "html_url": html,
            "state": "open" if pull.state == "open" else "closed",
            "title": self._shown(pull),
            "body": pull.body,
            "draft": pull.draft,
            "user": _user(pull.author),
            "labels": [self._label(name) for name in pull.labels],
            "requested_reviewers": [_user(name) for name in pull.reviewers],
            "mergeable": True,
            "merged": bool(pull.merged_at),
            "merged_at": pull.merged_at or None,
            "merge_commit_sha": pull.merge_commit or None,
            "created_at": pull.created,
            "updated_at": now(),
            "head": self._side(pull.branch, pull.head),
            "base": self._side(pull.base, self.repository.tip(pull.base)),
        }

    def _side(self, branch: str, sha: str) -> dict[str, Any]:
        return {
            "label": branch,
            "ref": branch,
            "sha": sha,
            "repo_id": 1,
            "repo": self._repository(),
        }


def _user(name: str) -> dict[str, Any]:
    return {"id": 1, "login": name, "full_name": name.title(), "email": f"{name}@example.com"}


def _missing() -> Answer:
    return Answer(404, {"message": "The target couldn't be found.", "errors": []})
