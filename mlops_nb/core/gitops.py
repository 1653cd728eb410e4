"""Where the GitOps repository is, and how its pull requests are to look."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlops_nb.core.delivery import did_you_mean
from mlops_nb.errors import UserError

FORGES = ("github", "gitlab", "gitea", "git")
_SCP = re.compile(r"(?:[\w.-]+@([\w.-]+)|([\w-]+(?:\.[\w-]+)+)):(?!//)(\S+)")
_URL = re.compile(r"(https?|ssh|file)://\S+")
_LOCAL_CHOICES = """\
# It may be elsewhere: https://github.com/acme/deploy.git, or git@gitlab.com:acme/deploy.git
"""
_REMOTE_CHOICES = """\
# forge = "github"              # or gitlab, gitea (Forgejo, too); some are known by their host
# token = "secret:DEPLOY_TOKEN"        # else GITHUB_TOKEN, GITLAB_TOKEN, GITEA_TOKEN
# reviewers = ["ann", "acme/platform"]
# labels = ["mlops-nb", "env/{env}", "model/{model}"]
# draft = false
# auto_merge = false            # by the forge, when its checks have passed
# ca = "company-ca.pem"         # the certificates of a private authority
# api = "https://git.example.com/api/v3"   # where the API is not where it is expected
"""
_KNOWN = {"github.com": "github", "gitlab.com": "gitlab", "codeberg.org": "gitea"}


def is_remote(repository: str) -> bool:
    """Tell whether a GitOps repository is named by a URL, and not by a path."""
    return bool(re.match(r"[a-z][a-z0-9+.-]*://", repository) or _SCP.fullmatch(repository))


def host_and_path(repository: str) -> tuple[str, str]:
    """Give the host of a repository's URL, with its port, and the path without `.git`."""
    if match := _SCP.fullmatch(repository):
        host, path = match[1] or match[2], match[3]
    else:
        parts = urlsplit(repository)
        host, path = parts.netloc.rpartition("@")[2], parts.path
    return host, path.strip("/").removesuffix(".git")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gitops:
    """The GitOps repository and its forge, as [gitops] of mlops.toml says.

    Args:
        repository: path of a bare repository on this machine, or URL of one elsewhere; empty
            while there is none.
        branch: branch of it that the cluster follows.
        forge: what serves the URL, one of FORGES; empty for one that is known by its host, and
            else for plain Git.
        token: `secret:NAME` of the forge's access token; empty takes GITHUB_TOKEN,
            GITLAB_TOKEN or GITEA_TOKEN, and else asks `git credential`.
        api: address of the forge's API; empty derives it from the repository's.
        ca: file with the certificates of a private authority.
        reviewers: who is asked for a review: user names; at GitHub and Gitea also `org/team`.
        labels: labels of a pull request; `{env}` and `{model}` stand for what it is about.
        draft: whether pull requests are opened as drafts.
        auto_merge: whether the forge is to merge them when its checks have passed.
    """

    repository: str = ""
    branch: str = "main"
    forge: str = ""
    token: str = ""
    api: str = ""
    ca: str = ""
    reviewers: tuple[str, ...] = ()
    labels: tuple[str, ...] = ("mlops-nb", "env/{env}", "model/{model}")
    draft: bool = False
    auto_merge: bool = False

    def __post_init__(self) -> None:
        """Refuse an unknown forge, a URL that cannot be one, and plain credentials.

        Raises:
            UserError: if so; the message names the key, but no credential.
        """
        if self.forge and self.forge not in FORGES:
            raise UserError(
                f"gitops.forge = {self.forge!r}: no such forge",
                hint=did_you_mean(self.forge, FORGES, otherwise=f"known: {', '.join(FORGES)}"),
            )
        if self.token and not re.fullmatch(r"secret:\S+", self.token):
            raise UserError(
                "gitops.token is no reference to a secret",
                hint='keep the token out of this file: token = "secret:NAME"',
            )
        for key in ("repository", "api"):
            address = getattr(self, key)
            if re.match(r"https?://[^/]*@|\w+://[^/@]*:[^/@]*@", address):
                raise UserError(
                    f"gitops.{key} holds a user name or password",
                    hint='name the server alone, and the token as token = "secret:NAME"',
                )
        if self.is_remote:
            self._check_url()
        elif self.forge:
            raise UserError(
                f"gitops.forge = {self.forge!r}, but repository is no URL",
                hint="name the repository's URL, or leave forge out for one on this machine",
            )
        elif self.draft or self.auto_merge or self.reviewers:
            raise UserError(
                "gitops: a repository on this machine has no drafts, reviewers or auto-merge",
                hint="leave draft, reviewers and auto_merge out",
            )

    @property
    def is_remote(self) -> bool:
        """Whether the repository is named by a URL."""
        return is_remote(self.repository)

    @property
    def kind(self) -> str:
        """What serves it: one of FORGES, or `local`."""
        if not self.is_remote:
            return "local"
        if self.forge:
            return self.forge
        host = host_and_path(self.repository)[0].partition(":")[0]
        return _KNOWN.get(host.lower(), "git")

    @property
    def web_address(self) -> str:
        """The address of its forge's web server, however Git reaches the repository."""
        host, _ = host_and_path(self.repository)
        if self.repository.startswith(("http://", "https://")):
            return f"{self.repository.partition('://')[0]}://{host}"
        # The port of an SSH server says nothing of the web server's.
        return f"https://{host.partition(':')[0]}"

    @property
    def choices(self) -> str:
        """The lines of a new mlops.toml that tell what else may stand below [gitops]."""
        return _REMOTE_CHOICES if self.is_remote else _LOCAL_CHOICES

    def labels_of(self, model: str, environment: str) -> tuple[str, ...]:
        """Give the labels of a pull request about a model in an environment."""
        return tuple(
            label.replace("{env}", environment).replace("{model}", model)
            for label in self.labels
        )

    def _check_url(self) -> None:
        if not (_URL.fullmatch(self.repository) or _SCP.fullmatch(self.repository)):
            raise UserError(
                f"gitops.repository = {self.repository!r}: not an address of Git",
                hint="give https://host/owner/repo.git, ssh://git@host/owner/repo.git, "
                "git@host:owner/repo.git or file:///path",
            )
        _, path = host_and_path(self.repository)
        if self.kind != "git" and path.count("/") < 1:
            raise UserError(
                f"gitops.repository = {self.repository!r} names no repository of {self.kind}",
                hint="give its whole address, such as https://host/owner/repo.git",
            )
        if self.kind == "git" and (self.draft or self.auto_merge or self.reviewers):
            raise UserError(
                "gitops: plain Git knows no drafts, reviewers or auto-merge",
                hint='name what serves it: forge = "github", "gitlab" or "gitea"',
            )
