"""A repository elsewhere, by a mirror of it on this machine that may be deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

from mlops_nb.adapters.git.plumbing import Move, Plumbing, RefMoved, initialize
from mlops_nb.adapters.git.refusals import refusal
from mlops_nb.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from mlops_nb.adapters.git.login import Login

FRESH = 3.0
_ATTEMPTS = 3
_STALLED = 30  # seconds without a byte
_ID = re.compile(r"[0-9a-f]{40}")
_OFFERED = re.compile(r"^remote:.*?(https?://\S+)", re.MULTILINE)


class Mirror(Plumbing):
    """Base and the branches proposed beside it, with contents fetched when they are read.

    Refs are fetched again when they are asked for and older than `FRESH` seconds; they are
    moved on the server, and only from where they were last seen.

    Args:
        cache: folder of all mirrors.
        url: the repository, free of credentials.
        base: branch that the cluster follows.
        login: who asks.
        environment: the process' environment variables.
        ca: file with the certificates of a private authority; empty for the machine's own.
        refs: patterns of more refs to have.

    Raises:
        BackendUnavailable: if git is not installed.
    """

    def __init__(
        self,
        cache: Path,
        url: str,
        base: str,
        login: Login,
        environment: Mapping[str, str],
        *,
        ca: str = "",
        refs: Sequence[str] = (),
    ) -> None:
        folder = cache / _folder_name(url)
        initialize(folder.absolute(), base)
        super().__init__(folder)
        self.place = url
        self._url = url
        self._base = base
        self._login = login
        self._seen = float("-inf")
        wanted = (f"refs/heads/{base}", "refs/heads/mlops-nb/*", *refs)
        self._refspecs = tuple(f"+{ref}:{ref}" for ref in wanted)
        if not environment.get("GIT_SSH_COMMAND"):
            own = self._execute(["git", "config", "--get", "core.sshCommand"], None, {})[1]
            environment = {**environment, "GIT_SSH_COMMAND": own.decode().strip()}
        self._network = _network(self._environment, environment, url, login, ca)

    def refs(self, prefix: str) -> dict[str, str]:
        """Give the commit of every ref below `prefix`, by full name, as the server has it."""
        if time.monotonic() - self._seen > FRESH:
            self.refresh()
        return super().refs(prefix)

    def refresh(self) -> None:
        """Fetch what moved on the server.

        Raises:
            MlopsError: that tells why it cannot be fetched.
        """
        pause = 0.5
        for attempt in range(_ATTEMPTS):
            try:
                self._remote(
                    *("fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head"),
                    *("--filter=blob:none", "origin", *self._refspecs),
                )
                break
            except (BackendUnavailable, RefMoved):
                # Another process may be at the same mirror.
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(pause)
                pause *= 2
        self._seen = time.monotonic()

    def forget(self) -> None:
        """Take what was seen for old: something moved on the server."""
        self._seen = float("-inf")

    def objects(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """Give the content of objects; those that are not here yet are fetched, all at once."""
        wanted = list(dict.fromkeys(names))
        ids = "".join(f"{name}\n" for name in wanted if _ID.fullmatch(name))
        if ids:
            told = self.text("cat-file", "--batch-check", stdin=ids.encode())
            missing = [line[:40] for line in told.splitlines() if line.endswith(" missing")]
            if missing:
                # A server told what commits are here would take their contents for here, too.
                self._remote(
                    *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--stdin"),
                    *("--filter=blob:none", "origin"),
                    stdin="".join(f"{name}\n" for name in missing),
                    settings=["fetch.negotiationAlgorithm=noop"],
                )
        return super().objects(wanted)

    def move(self, updates: Sequence[Move]) -> str:
        """Move refs on the server together, or none of them.

        Returns:
            where the server says that a pull request is opened; empty if it says nothing.

        Raises:
            RefMoved: if one is not where it must be.
            NotAllowed: if the server refuses.
        """
        leases = [f"--force-with-lease={name}:{old or ''}" for name, _, old in updates]
        specs = [f"{new or ''}:{name}" for name, new, _ in updates]
        atomic = ["--atomic"] if len(updates) > 1 else []
        self.forget()
        said = self._remote("push", "--porcelain", *atomic, *leases, "origin", *specs)
        # What another process fetched meanwhile is at least as new.
        with contextlib.suppress(RefMoved):
            super().move(updates)
            self._seen = time.monotonic()
        offered = _OFFERED.search(said)
        return offered[1] if offered else ""

    def try_push(self) -> None:
        """Ask whether a branch may be pushed; none is.

        Raises:
            NotAllowed: if not.
        """
        tip = self.ref(f"refs/heads/{self._base}")
        self._remote("push", "--dry-run", "origin", f"{tip}:refs/heads/mlops-nb/doctor/try")

    def look(self, base: str, branch: str, merged: str) -> str:
        """Give the line with which a person looks at a branch, or at what merged it."""
        if merged:
            return f"git clone {self._url}, then: git show -m --first-parent {merged[:12]}"
        return f"git clone {self._url}, then: git log -p origin/{base}..origin/{branch}"

    def _remote(self, *words: str, stdin: str = "", settings: Sequence[str] = ()) -> str:
        """Run a git command that talks to the server; give all that it said."""
        told = [w for s in (f"core.hooksPath={os.devnull}", *settings) for w in ("-c", s)]
        command = ["git", *told, *words]
        status, out, err = self._execute(command, stdin.encode(), self._network)
        said = self._login.redact(f"{out.decode(errors='replace')}\n{err}")
        if status:
            raise refusal(words[0], self._url, said, self._login)
        return said


def _folder_name(url: str) -> str:
    name = re.sub(r"[^\w.-]+", "-", re.sub(r"^\w+://", "", url).removesuffix(".git"))[-60:]
    return f"{name.strip('-.')}-{hashlib.sha256(url.encode()).hexdigest()[:10]}.git"


def _network(
    isolated: Mapping[str, str], environment: Mapping[str, str], url: str, login: Login, ca: str
) -> dict[str, str]:
    """Give the variables of a command that talks to the server.

    Proxies, authorities, keys and credential helpers are as the user's own git has them. What
    is ours, the token among it, is in the variables of this one process and nowhere else.
    """
    settings = [
        ("remote.origin.url", url),
        # Not in the mirror's own configuration, so that no command fetches unasked, one by one.
        ("remote.origin.promisor", "true"),
        ("remote.origin.partialclonefilter", "blob:none"),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", str(_STALLED)),
        ("core.askPass", ""),
        ("gc.autoDetach", "false"),
        ("push.followTags", "false"),
        ("push.gpgSign", "false"),
        *login.git_settings(url),
    ]
    told = environment.get("GIT_CONFIG_COUNT", "")
    start = int(told) if told.isdigit() else 0
    own = {
        **{f"GIT_CONFIG_KEY_{start + n}": key for n, (key, _) in enumerate(settings)},
        **{f"GIT_CONFIG_VALUE_{start + n}": value for n, (_, value) in enumerate(settings)},
    }
    ssh = environment.get("GIT_SSH_COMMAND") or "ssh"
    return {
        **{key: value for key, value in isolated.items() if not key.startswith("GIT_CONFIG_")},
        **own,
        **({"GIT_SSL_CAINFO": ca} if ca else {}),
        "GIT_CONFIG_COUNT": str(start + len(settings)),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_TRACE_REDACT": "1",
        "GIT_SSH_COMMAND": f"{ssh} -o BatchMode=yes -o ConnectTimeout={_STALLED}",
    }
