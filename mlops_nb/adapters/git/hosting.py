"""What a server that knows pull requests is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.core.change import PullRequest


class Hosting(Protocol):
    """The pull requests of one repository at a forge; texts go there and come back as they are.

    Refused credentials and rights, limits and time-outs are errors that say so in words.
    """

    @property
    def name(self) -> str:
        """What people call it: GitHub, GitLab or Gitea."""

    def of(self, branch: str, base: str) -> Sequence[PullRequest]:
        """Give the newest pull requests of a branch into base, newest first."""

    def get(self, number: int) -> PullRequest:
        """Give a pull request.

        Raises:
            NotFound: if there is none of this number.
        """

    def all(self, base: str) -> Iterator[PullRequest]:
        """Yield every pull request into base, newest first."""

    def create(
        self, branch: str, base: str, title: str, body: str, *, draft: bool
    ) -> PullRequest:
        """Open a pull request.

        Raises:
            RefMoved: if another process opened one for the branch meanwhile.
        """

    def update(self, number: int, title: str, body: str) -> PullRequest:
        """Give an open pull request another title and text."""

    def label(self, number: int, labels: Sequence[str]) -> None:
        """Add labels; those that the repository does not know are made."""

    def ask_reviews(self, number: int, reviewers: Sequence[str]) -> None:
        """Ask people for a review."""

    def merge(self, pull: PullRequest, message: str) -> None:
        """Merge with a merge commit or, where none is allowed, so that trailers survive.

        The branch is deleted, unless the forge keeps it.

        Args:
            pull: the pull request; nothing is merged if its branch moved since.
            message: message of its newest commit.

        Raises:
            RefMoved: if its branch moved.
            NotAllowed: if the forge does not merge it: protection, checks, a draft.
        """

    def merge_when_ready(self, pull: PullRequest, message: str) -> None:
        """Let the forge merge once its checks have passed."""

    def merge_title(self, number: int, title: str) -> str:
        """Give the first line of the merge commit."""

    def check(self) -> str:
        """Ask who the token is and what it may; say so.

        Raises:
            NotAllowed: if it may not open pull requests.
        """
