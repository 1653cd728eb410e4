"""What a Git server's refusal means, and what a person does about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlops_nb.adapters.git.plumbing import RefMoved
from mlops_nb.errors import (
    BackendError,
    BackendUnavailable,
    MlopsError,
    NotAllowed,
    NotFound,
    UserError,
)

if TYPE_CHECKING:
    from mlops_nb.adapters.git.login import Login

_LONGEST = 400  # characters of a server's own words that are shown
_NOISE = re.compile(r"^(To |Done|warning: redirecting|hint: ).*$", re.MULTILINE)

# The first that fits counts: a hook's refusal comes with "rejected", which else means a race.
_KINDS: tuple[tuple[str, type[MlopsError], str, str], ...] = (
    (
        r"two.?factor|2fa|one.?time (pass|code)",
        NotAllowed,
        "{url} demands two-factor authentication, which a password does not pass",
        "make an access token there and export it, instead of a password",
    ),
    (
        r"saml|\bsso\b|single sign.?on",
        NotAllowed,
        "{url} demands single sign-on for the token from {source}",
        "authorize the token for the organization, in the forge's token settings",
    ),
    (
        (
            r"authentication failed|could not read (username|password)|\b401\b"
            r"|invalid credentials|http basic: access denied|bad credentials"
        ),
        NotAllowed,
        "{url} refused the credentials ({source})",
        "is the token right, and not expired or revoked? make a new one and export it",
    ),
    (
        r"permission denied \(|no supported authentication|too many authentication",
        NotAllowed,
        "{url} knows none of this machine's SSH keys",
        "add a public key there, and load the private one: ssh-add",
    ),
    (
        r"host key verification failed|remote host identification has changed",
        NotAllowed,
        "the SSH host key of {url} is not the known one",
        "compare its fingerprint, then connect once by hand: ssh -T HOST",
    ),
    (
        (
            r"protected branch|protected ref|hook declined|gh0\d\d|not allowed to (force )?push"
            r"|deny|prohibited by"
        ),
        NotAllowed,
        "{url} refused the push",
        "the branch is protected there: let somebody merge who may, or ask for an exception",
    ),
    (
        (
            r"\b403\b|permission to \S+ denied|access denied|insufficient (permission|scope)"
            r"|write access|not authorized|unauthorized"
        ),
        NotAllowed,
        "{url} does not let the login from {source} do that",
        (
            "it needs the right to read and push: at GitHub Contents read and write, at GitLab "
            "write_repository, at Gitea repository write"
        ),
    ),
    (
        r"rate limit|too many requests|\b429\b",
        BackendUnavailable,
        "{url} takes no more requests for a while",
        "wait some minutes and repeat",
    ),
    (
        (
            r"stale info|non-fast-forward|fetch first|cannot lock ref|failed to update ref"
            r"|reference already exists|is at \w+ but expected|unable to create .*\.lock"
            r"|incorrect old value|remote ref does not exist|\[rejected\]"
        ),
        RefMoved,
        "a branch of {url} was moved by somebody else",
        "repeat it",
    ),
    (
        r"couldn't find remote ref (\S+)|remote branch (\S+) not found",
        UserError,
        "{url} has no branch {found}",
        "name the branch the cluster follows: [gitops] branch in mlops.toml",
    ),
    (
        (
            r"repository\b.*\bnot found|does not exist|not appear to be a git|\b404\b"
            r"|no such file|could not be found|project you were looking for"
        ),
        NotFound,
        "there is no repository at {url}, or the login from {source} may not see it",
        "is [gitops] repository right, and may the token read it?",
    ),
    (
        r"certificate|ssl_error|ssl peer|schannel",
        BackendError,
        "the certificate of {url} is not trusted",
        "name your company's authority: [gitops] ca in mlops.toml",
    ),
    (
        r"could not resolve|name or service not known|temporary failure in name",
        BackendUnavailable,
        "no address is known for the host of {url}",
        "is the name right in [gitops] repository, and is the VPN connected?",
    ),
    (
        (
            r"refused|timed out|timeout|failed to connect|unable to access|too slow|early eof"
            r"|hung up|\b50[0234]\b|connection (closed|reset)|no route"
        ),
        BackendUnavailable,
        "{url} does not answer",
        "is the server running, and reachable from here? repeating is safe",
    ),
)


def refusal(word: str, url: str, said: str, login: Login) -> MlopsError:
    """Make the error that tells why a git command failed at a server.

    Args:
        word: the git command.
        url: the repository.
        said: all that git and the server said, free of the token.
        login: who asked.
    """
    words = " ".join(_NOISE.sub("", said).split())
    words = words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
    for pattern, kind, message, hint in _KINDS:
        if match := re.search(pattern, said, re.IGNORECASE):
            found = next((group for group in match.groups() if group), "")
            found = repr(found.removeprefix("refs/heads/"))
            told = message.format(url=url, source=login.source, found=found)
            return kind(f"{told}: {words}", hint=hint)
    return BackendError(
        f"git {word} at {url} failed: {words}",
        hint="the mirror of it below .mlops/gitops-cache may be deleted; repeating is safe",
    )
