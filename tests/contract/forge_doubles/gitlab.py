"""GitLab's REST API, as far as merge requests are concerned."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from forge_doubles.repository import Refusal
from forge_doubles.server import Answer, Double, Request, page

if TYPE_CHECKING:
    from forge_doubles.repository import Pull

_STATES = {"open": "opened"}


class GitLabDouble(Double):
    """GitLab, with the project acme/deploy."""

    kind = "gitlab"
    api = "/api/v4"

    def unauthorized(self) -> Answer:
        return Answer(401, {"message": "401 Unauthorized"})

    def answer(self, request: Request) -> Answer:  # one arm a route
        path = request.path.removeprefix(self.api)
        path = re.sub(r"^/projects/(acme%2Fdeploy|1)(?=/|$)", "/projects/P", path)
        body = {**request.query, **(request.body or {})}
        match path.split("/"), request.method:
            case ["", "user"], "GET":
                return Answer(200, _user(request.user))
            case ["", "users"], "GET":
                name = request.query.get("username", "")
                return Answer(200, [_user(name)] if name in {"ann", "bob"} else [])
            case ["", "projects", "P"], "GET":
                return Answer(200, self._project())
            case ["", "projects", "P", "merge_requests"], "GET":
                return page(request, [self._merge_request(p) for p in self._listed(body)])
            case ["", "projects", "P", "merge_requests"], "POST":
                return self._create(body, request.user)
            case ["", "projects", "P", "merge_requests", number, *rest], method:
                if pull := self.repository.pulls.get(int(number)):
                    return self._about(pull, method, rest, body)
            case _:
                pass
        return Answer(404, {"message": "404 Not found"})

    def _about(self, pull: Pull, method: str, what: list[str], body: dict[str, Any]) -> Answer:
        if not self.may_push and method != "GET":
            return Answer(403, {"message": "403 Forbidden"})
        match method, what:
            case "PUT", []:
                self._edit(pull, body)
            case "PUT", ["merge"]:
                return self._merge(pull, body)
            case _:
                pass
        return Answer(200, self._merge_request(pull))

    def _edit(self, pull: Pull, body: dict[str, Any]) -> None:
        self._title(pull, body.get("title", self._shown(pull)))
        pull.body = body.get("description", pull.body)
        added = body.get("add_labels", "").split(",")
        pull.labels += [name for name in added if name and name not in pull.labels]
        ids = body.get("reviewer_ids", [])
        pull.reviewers = [n for n in ("ann", "bob") if _user(n)["id"] in ids] or pull.reviewers
        if body.get("state_event") == "close":
            pull.state = "closed"

    def _create(self, body: dict[str, Any], user: str) -> Answer:
        if not self.may_push:
            return Answer(403, {"message": "403 Forbidden"})
        branch, base = body["source_branch"], body["target_branch"]
        if not base:
            return Answer(400, {"error": "target_branch is empty"})
        if found := self.repository.open(branch, base):
            why = "Another open merge request already exists for this source branch: "
            return Answer(409, {"message": [f"{why}!{found.number}"]})
        if not self.repository.tip(branch):
            return Answer(422, {"message": {"base": [f"Source branch {branch} is missing"]}})
        pull = self.repository.add(branch, base, "", body.get("description", ""), user)
        self._title(pull, body["title"])
        return Answer(201, self._merge_request(pull))

    def _merge(self, pull: Pull, body: dict[str, Any]) -> Answer:
        waits = body.get("auto_merge") or body.get("merge_when_pipeline_succeeds")
        if waits and self.repository.blocked:
            pull.merges_when_ready = "merge"
            return Answer(200, self._merge_request(pull))
        if pull.state != "open":
            return Answer(405, {"message": "405 Method Not Allowed"})
        method = next(m for m in ("merge", "squash") if m in self.repository.methods)
        key = "merge_commit_message" if method == "merge" else "squash_commit_message"
        title, _, message = body.get(key, f"Merge branch {pull.branch}").partition("\n\n")
        try:
            self.repository.merge(pull, method, title, message, body.get("sha", ""))
        except Refusal as refusal:
            status, said = {
                "moved": (409, "SHA does not match HEAD of source branch"),
                "conflict": (422, "Branch cannot be merged"),
            }.get(str(refusal), (405, "405 Method Not Allowed"))
            return Answer(status, {"message": said})
        if body.get("should_remove_source_branch"):
            self.repository.remove(pull.branch)
        return Answer(200, self._merge_request(pull))

    def _title(self, pull: Pull, title: str) -> None:
        pull.draft = title.startswith("Draft: ")
        pull.title = title.removeprefix("Draft: ")

    def _shown(self, pull: Pull) -> str:
        return f"Draft: {pull.title}" if pull.draft else pull.title

    def _listed(self, query: dict[str, Any]) -> list[Pull]:
        state = query.get("state", "all")
        return [
            pull
            for pull in self.repository.newest_first()
            if state in {"all", _STATES.get(pull.state, pull.state)}
            and query.get("source_branch", pull.branch) == pull.branch
            and query.get("target_branch", pull.base) == pull.base
        ]

    def _project(self) -> dict[str, Any]:
        level = 40 if self.may_push else 20
        return {
            "id": 1,
            "name": "deploy",
            "path_with_namespace": "acme/deploy",
            "default_branch": "main",
            "web_url": f"{self.address}/acme/deploy",
            "http_url_to_repo": self.url,
            "merge_method": "merge",
            "squash_option": "default_off",
            "permissions": {"project_access": {"access_level": level}, "group_access": None},
        }

    def _merge_request(self, pull: Pull) -> dict[str, Any]:
        is_squashed = pull.merge_commit and "merge" not in self.repository.methods
        return {
            "id": 100 + pull.number,
            "iid": pull.number,
            "project_id": 1,
            "source_project_id": 1,
            "target_project_id": 1,
            "title": self._shown(pull),
            "description": pull.body,
            "state": _STATES.get(pull.state, pull.state),
            "draft": pull.draft,
            "source_branch": pull.branch,
            "target_branch": pull.base,
            "sha": pull.head,
            "merge_commit_sha": None if is_squashed else pull.merge_commit or None,
            "squash_commit_sha": pull.merge_commit if is_squashed else None,
            "merged_at": pull.merged_at or None,
            "created_at": pull.created.replace("Z", ".123Z"),
            "author": _user(pull.author),
            "labels": pull.labels,
            "reviewers": [_user(name) for name in pull.reviewers],
            "detailed_merge_status": "ci_must_pass" if self.repository.blocked else "mergeable",
            "merge_when_pipeline_succeeds": bool(pull.merges_when_ready),
            "web_url": f"{self.address}/acme/deploy/-/merge_requests/{pull.number}",
        }


def _user(name: str) -> dict[str, Any]:
    known = {"ann": 1, "bob": 2}
    return {"id": known.get(name, 9), "username": name, "name": name.title(), "state": "active"}
