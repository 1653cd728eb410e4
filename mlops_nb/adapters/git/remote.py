"""A GitOps repository elsewhere: commits by git, pull requests by the forge that serves it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.adapters.git.forge import LocalForge
from mlops_nb.adapters.git.gitea import Gitea
from mlops_nb.adapters.git.github import GitHub
from mlops_nb.adapters.git.gitlab import GitLab
from mlops_nb.adapters.git.login import find_login
from mlops_nb.adapters.git.mirror import Mirror
from mlops_nb.adapters.git.plumbing import RefMoved
from mlops_nb.adapters.git.pulls import PREFIX
from mlops_nb.adapters.git.signing import signing_settings
from mlops_nb.adapters.git.trunk import Mark, Trunk, insist
from mlops_nb.core.change import PullRequestState, check_paths, read_branch
from mlops_nb.errors import Conflict, MlopsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from mlops_nb.adapters.git.hosting import Hosting
    from mlops_nb.adapters.git.login import Login
    from mlops_nb.core.change import ChangeSet, Commit, PullRequest
    from mlops_nb.core.gitops import Gitops
    from mlops_nb.ports import Forge

_HOSTINGS: Mapping[str, Callable[[Gitops, Login], Hosting]] = {
    "github": GitHub,
    "gitlab": GitLab,
    "gitea": Gitea,
}
# Each attempt asks the forge several things.
_ATTEMPTS = 6
_MARK = re.compile(r"\n?<!-- mlops-nb-branch: (\{.*\}) -->\s*\Z")


class RemoteForge:
    """A GitOps repository at a forge.

    What we put onto a branch is remembered at the end of the pull request's text, where people
    do not see it: nothing of it is kept on this machine.

    Args:
        git: a mirror of the repository.
        hosting: its pull requests.
        gitops: what the settings say.
        author: who acts, `Name <mail>`.
        signing: git's settings for signed commits; empty leaves them unsigned.
    """

    def __init__(
        self,
        git: Mirror,
        hosting: Hosting,
        gitops: Gitops,
        author: str = "",
        signing: Sequence[str] = (),
    ) -> None:
        self._git = git
        self._hosting = hosting
        self._gitops = gitops
        self._trunk = Trunk(git, gitops.branch, author, signing)

    @classmethod
    def open(
        cls,
        gitops: Gitops,
        *,
        folder: Path,
        cache: Path,
        author: str,
        environment: Mapping[str, str],
        secret: Callable[[str], str],
    ) -> Forge:
        """Give the forge of a project's settings.

        Args:
            gitops: what the settings say.
            folder: the project's folder.
            cache: folder of mirrors.
            author: who acts, `Name <mail>`.
            environment: the process' environment variables.
            secret: looks a secret up by name.

        Raises:
            NotAllowed: if there is no token.
        """
        if gitops.ca:
            gitops = replace(gitops, ca=str(folder / gitops.ca))
        login = find_login(gitops, environment, secret)
        is_plain = gitops.kind not in _HOSTINGS
        git = Mirror(
            cache,
            gitops.repository,
            gitops.branch,
            login,
            environment,
            ca=gitops.ca,
            refs=[f"{PREFIX}/*"] if is_plain else [],
        )
        signing = signing_settings(folder)
        if is_plain:
            return LocalForge(folder, gitops.branch, author, signing, git)
        return cls(git, _HOSTINGS[gitops.kind](gitops, login), gitops, author, signing)

    def read(self, folder: str) -> Mapping[str, bytes]:
        """Give every file below `folder` on base, by path from the repository's root."""
        return self._trunk.read(folder)

    def find(self, branch: str) -> PullRequest | None:
        """Give the open pull request of this branch; None if there is none."""
        found = _open(self._hosting.of(branch, self._gitops.branch))
        return _shown(found) if found else None

    def propose(self, change: ChangeSet) -> PullRequest:
        """Make the change one commit on its branch and open or update its pull request.

        Raises:
            UserError: if the change changes nothing, or names a path git cannot hold.
            NotAllowed: if the token, or the rights it has, are refused.
            Conflict: if the branch moved again and again, or holds other people's commits
                that conflict with base.
        """
        check_paths(change.files)
        return self._insist(f"propose {change.branch}", lambda: self._propose(change))

    def pull_request(self, number: int) -> PullRequest:
        """Give a pull request.

        Raises:
            NotFound: if there is none of this number.
        """
        return _shown(self._get(number))

    def pull_requests(self) -> Sequence[PullRequest]:
        """Give every pull request, newest first."""
        return [_shown(pull) for pull in self._hosting.all(self._gitops.branch)]

    def merge(self, number: int) -> PullRequest:
        """Merge into base; a merged one is given as it is.

        Raises:
            NotFound: if there is none of this number.
            Conflict: if base changed the same files since, or the pull request is closed.
            NotAllowed: if the forge does not merge it.
        """
        return self._insist(f"merge pull request #{number}", lambda: self._merge(number))

    def log(self, path: str, *, since: datetime | None = None) -> Iterator[Commit]:
        """Yield commits of base that touch a file matching glob `path`, newest first."""
        return self._trunk.log(path, since)

    def check(self) -> str:
        """Try the way to the repository and the rights there; say what was found.

        Raises:
            MlopsError: of the hop that fails, which the message names.
        """
        hops: dict[str, Callable[[], object]] = {
            "repository": self._git.refresh,
            "branch": self._trunk.tip,
            "right to push": self._git.try_push,
            "API": self._hosting.check,
        }
        said = ""
        for name, hop in hops.items():
            try:
                said = str(hop() or "")
            except MlopsError as error:
                raise type(error)(f"{name}: {error.message}", hint=error.hint) from error
        plain = ", but the token travels unencrypted: use https://"
        doubt = plain if self._git.place.startswith("http://") else ""
        return (
            f"{self._git.place} at {self._hosting.name}: branches may be pushed, {said}{doubt}"
        )

    def _insist(self, what: str, attempt: Callable[[], PullRequest]) -> PullRequest:
        def anew() -> PullRequest:
            try:
                return attempt()
            except RefMoved:
                self._git.forget()
                raise

        return insist(what, anew, _ATTEMPTS)

    def _propose(self, change: ChangeSet) -> PullRequest:
        git, hosting = self._git, self._hosting
        ref = f"refs/heads/{change.branch}"
        tip = git.ref(ref)
        pulls = hosting.of(change.branch, self._gitops.branch)
        found = _open(pulls)
        last = found or (pulls[0] if pulls else None)
        known = _mark(last.body) if last else Mark()
        if found is None:
            known = replace(known, change="")
        made = self._trunk.prepare(change, tip, known)
        if found and made is None:
            return _shown(found)
        made = made or known
        if made.head != tip:
            git.move([(ref, made.head, tip)])
        body = _marked(change.body, made)
        if found:
            pull = hosting.update(found.number, change.title, body)
            if pull.state is not PullRequestState.OPEN:
                # It was merged or closed while we were at it.
                raise RefMoved(f"pull request #{pull.number} is {pull.state} now")
        else:
            draft = self._gitops.draft
            pull = hosting.create(
                change.branch, self._gitops.branch, change.title, body, draft=draft
            )
        notes = [*_explained(last, found), *self._dress(pull, change.message)]
        if self._gitops.auto_merge:
            # Where nothing has to pass first, it is merged by now.
            pull = self._get(pull.number)
        return replace(
            _shown(pull),
            head=made.head,
            is_new=not found,
            is_changed=True,
            notes=tuple(notes),
        )

    def _dress(self, pull: PullRequest, message: str) -> Iterator[str]:
        """Add what the settings ask for; yield why something of it could not be done."""
        gitops, hosting, number = self._gitops, self._hosting, pull.number
        about = read_branch(pull.branch)
        wishes: list[Callable[[], None]] = []
        if gitops.labels:
            labels = gitops.labels_of(*about) if about else ("mlops-nb",)
            wishes.append(lambda: hosting.label(number, labels))
        if gitops.reviewers:
            wishes.append(lambda: hosting.ask_reviews(number, gitops.reviewers))
        if gitops.auto_merge:
            wishes.append(lambda: hosting.merge_when_ready(pull, message))
        for wish in wishes:
            try:
                wish()
            except MlopsError as error:
                yield error.message

    def _merge(self, number: int) -> PullRequest:
        git, hosting = self._git, self._hosting
        pull = self._get(number)
        if pull.state is PullRequestState.MERGED:
            return _shown(pull)
        if pull.state is PullRequestState.CLOSED:
            raise Conflict(
                f"pull request #{number} is closed: its branch {pull.branch} was deleted"
                if git.ref(f"refs/heads/{pull.branch}") is None
                else f"pull request #{number} was closed without a merge",
                hint="deploy again to open another",
            )
        ref = f"refs/heads/{pull.branch}"
        tip = git.ref(ref)
        if tip and tip != pull.head:
            raise RefMoved(f"{pull.branch} moved")
        if tip and (clash := self._trunk.clash(self._trunk.tip(), tip)):
            raise Conflict(
                f"pull request #{number} conflicts: {self._gitops.branch} changed "
                f"{', '.join(clash[:3])} since",
                hint="deploy again: that renders the change anew",
            )
        message = git.commits([tip])[tip].message if tip else pull.title
        hosting.merge(pull, message)
        return replace(_shown(self._get(number)), is_changed=True)

    def _get(self, number: int) -> PullRequest:
        pull = self._hosting.get(number)
        if pull.state is PullRequestState.MERGED:
            # What is read next must hold it.
            self._git.forget()
        return pull


def _open(pulls: Sequence[PullRequest]) -> PullRequest | None:
    return next((pull for pull in pulls if pull.state is PullRequestState.OPEN), None)


def _shown(pull: PullRequest) -> PullRequest:
    return replace(pull, body=_MARK.sub("", pull.body))


def _mark(body: str) -> Mark:
    match = _MARK.search(body)
    try:
        return Mark(**json.loads(match[1])) if match else Mark()
    except (ValueError, TypeError):
        # Somebody edited it: what is on the branch is then taken for theirs.
        return Mark()


def _marked(body: str, mark: Mark) -> str:
    told = {"head": mark.head, "change": mark.change, "mixed": mark.mixed}
    return f"{body}\n<!-- mlops-nb-branch: {json.dumps(told)} -->\n"


def _explained(last: PullRequest | None, found: PullRequest | None) -> Iterator[str]:
    if last and not found and last.state is PullRequestState.CLOSED:
        yield f"pull request #{last.number} was closed without a merge: {last.title}"
