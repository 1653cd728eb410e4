"""The access token of a forge: where it is found, and how git is handed it."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops_nb.errors import NotAllowed
from mlops_nb.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.core.gitops import Gitops

_VARIABLES = {
    "github": ("GITHUB_TOKEN", "GH_TOKEN"),
    "gitlab": ("GITLAB_TOKEN",),
    "gitea": ("GITEA_TOKEN", "FORGEJO_TOKEN"),
}
# Whom the token stands for, as each forge wants it in place of a user name.
_USERS = {"github": "x-access-token", "gitlab": "oauth2", "gitea": "oauth2"}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Login:
    """A token and where it came from; neither is shown by `repr`.

    Args:
        token: the token; empty for none.
        source: where it was found, or where one is looked for, in words.
        user: what stands in place of a user name where Git logs in over HTTP.
    """

    token: str
    source: str
    user: str

    def redact(self, text: str) -> str:
        """Take the token out of a text, however it is encoded there."""
        return Redactor([self.token])(text) if self.token else text

    def git_settings(self, url: str) -> tuple[tuple[str, str], ...]:
        """Give git's settings for a login at this URL; none where it is not over HTTP."""
        parts = urlsplit(url)
        if not self.token or parts.scheme not in {"http", "https"}:
            return ()
        pair = base64.b64encode(f"{self.user}:{self.token}".encode()).decode()
        key = f"http.{parts.scheme}://{parts.netloc}/.extraHeader"
        # An empty value forgets what the user's own settings may say beside it.
        return ((key, ""), (key, f"Authorization: Basic {pair}"))

    def require(self, forge: str) -> str:
        """Give the token.

        Raises:
            NotAllowed: if there is none.
        """
        if not self.token:
            raise NotAllowed(
                f"there is no token for {forge}: looked in {self.source}",
                hint=f"export {self.source.split(',')[0].split(' ')[-1]}=…, or name one: "
                '[gitops] token = "secret:NAME"',
            )
        return self.token


def find_login(
    gitops: Gitops, environment: Mapping[str, str], secret: Callable[[str], str]
) -> Login:
    """Find the token: the one named in the settings, else a variable's, else git's own.

    Args:
        gitops: what the settings say.
        environment: the process' environment variables.
        secret: looks a secret up by name.

    Raises:
        UserError: if the settings name a secret that is not there.
    """
    user = _USERS.get(gitops.kind, "git")
    if gitops.token:
        name = gitops.token.removeprefix("secret:")
        return Login(token=secret(name).strip(), source=f"secret {name}", user=user)
    variables = _VARIABLES.get(gitops.kind, ())
    for variable in variables:
        if token := environment.get(variable, "").strip():
            return Login(token=token, source=f"variable {variable}", user=user)
    parts = urlsplit(gitops.repository)
    # Plain Git asks its own helpers whenever it needs them.
    if variables and parts.scheme in {"http", "https"}:
        name, token = _git_credential(gitops.repository, environment)
        if token:
            return Login(token=token, source="git credential", user=name or user)
    return Login(token="", source=f"{', '.join(variables)}, git credential", user=user)


def _git_credential(url: str, environment: Mapping[str, str]) -> tuple[str, str]:
    parts = urlsplit(url)
    asked = f"protocol={parts.scheme}\nhost={parts.netloc}\npath={parts.path.lstrip('/')}\n\n"
    try:
        done = subprocess.run(
            # Only what is stored counts: nobody is there to be asked.
            ["git", "-c", "core.askPass=", "credential", "fill"],  # noqa: S607
            input=asked,
            env={
                **environment,
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_ASKPASS": "",
                "SSH_ASKPASS": "",
            },
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", ""
    found = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    if done.returncode:
        return "", ""
    return found.get("username", ""), found.get("password", "")
