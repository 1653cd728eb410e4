"""Git's plumbing by GitPython: objects, trees, commits and refs, and no working tree."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors import BackendError, BackendUnavailable, NotAllowed, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import ModuleType

_ABSENT = "0" * 40
_SETTINGS = ("-c", f"core.hooksPath={os.devnull}", "-c", "core.logAllRefUpdates=false")
# What git says when another process held or moved a ref in the meantime.
_MOVED = re.compile(
    r"is at \w+ but expected|reference already exists|unable to resolve reference|"
    r"reference is missing|Unable to create '[^']*\.lock'|but expected \w+"
)
Move = tuple[str, "str | None", "str | None"]
_PERSON = re.compile(r"\s*([^<>\n]*?)\s*(?:<([^<>\s]*)>)?\s*")


class RefMoved(BackendError):
    """Another process was faster; reading and trying again is the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCommit:
    """A commit object, read.

    Args:
        parents: ids of its parents.
        author: `Name <mail>`.
        committer: `Name <mail>`.
        date: when it was committed.
        message: the whole message.
    """

    parents: tuple[str, ...]
    author: str
    committer: str
    date: datetime
    message: str


class Plumbing:
    """A repository's objects and refs.

    What the caller's environment says of other repositories, and what configuration and hooks
    would add, has no say here.

    Args:
        path: a bare repository, or a clone for reading.

    Raises:
        BackendUnavailable: if git is not installed.
        UserError: if there is no repository at `path`.
    """

    def __init__(self, path: Path) -> None:
        path = path.absolute()
        self.directory = path / ".git" if (path / ".git").is_dir() else path
        if not ((self.directory / "HEAD").is_file() and (self.directory / "objects").is_dir()):
            raise UserError(
                f"{path} is not a Git repository", hint="run `mlops init` to have one made"
            )
        self.place = str(path)
        self._git = _git_python().Git(str(self.directory))
        self._environment = _isolated(self.directory)

    def run(
        self,
        *words: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        ok: Sequence[int] = (0,),
        settings: Sequence[str] = (),
    ) -> bytes:
        """Run a git command and give what it printed.

        Args:
            words: command and arguments.
            stdin: what it reads.
            env: more environment variables.
            ok: exit codes that are no error.
            settings: `KEY=VALUE` of git's configuration for this command.

        Raises:
            RefMoved: if another process held or moved a ref it was to write.
            BackendError: if it failed; the message names the command and what it said.
        """
        told = [word for setting in settings for word in ("-c", setting)]
        command = ["git", *_SETTINGS, *told, *words]
        status, out, err = self._execute(command, stdin, {**self._environment, **(env or {})})
        if status not in ok:
            said = " ".join(err.split()) or f"exit code {status}"
            kind = RefMoved if _MOVED.search(said) else BackendError
            raise kind(
                f"git {words[0]} in {self.directory} failed: {said}",
                hint="look at the repository with `git fsck`; repeating the command is safe",
            )
        return out

    def _execute(
        self, command: Sequence[str], stdin: bytes | None, env: Mapping[str, str]
    ) -> tuple[int, bytes, str]:
        with tempfile.TemporaryFile() as stream:
            stream.write(stdin or b"")
            stream.seek(0)
            status, out, err = self._git.execute(
                command,
                istream=stream,
                env=dict(env),
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
            )
        return status, out if isinstance(out, bytes) else str(out).encode(), str(err)

    def text(self, *words: str, stdin: bytes | None = None, ok: Sequence[int] = (0,)) -> str:
        """Run a git command and give what it printed, as text without the last newline."""
        return self.run(*words, stdin=stdin, ok=ok).decode(errors="replace").rstrip("\n")

    def refs(self, prefix: str) -> dict[str, str]:
        """Give the commit of every ref below `prefix`, by full name."""
        lines = self.text("for-each-ref", "--format=%(objectname) %(refname)", prefix)
        pairs = (line.split(" ", 1) for line in lines.splitlines())
        return {name: sha for sha, name in pairs}

    def ref(self, name: str) -> str | None:
        """Give the commit of a ref; None if there is no such ref."""
        return self.refs(name).get(name)

    def objects(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """Give the content of objects, by the name asked for; None if there is no such."""
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        out = self.run("cat-file", "--batch", stdin="".join(f"{n}\n" for n in wanted).encode())
        found: dict[str, bytes | None] = {}
        at = 0
        for name in wanted:
            end = out.index(b"\n", at)
            head = out[at:end].split(b" ")
            at = end + 1
            if head[-1] in {b"missing", b"ambiguous"}:
                found[name] = None
                continue
            size = int(head[-1])
            found[name] = out[at : at + size]
            at += size + 1
        return found

    def commits(self, names: Iterable[str]) -> dict[str, RawCommit]:
        """Read commits, by id."""
        found = self.objects(names)
        return {name: _read_commit(raw) for name, raw in found.items() if raw is not None}

    def tree(self, commit: str, folder: str = "") -> dict[str, str]:
        """Give the blob of every regular file below `folder`, by path."""
        words = ("--", f"{folder.strip('/')}/") if folder.strip("/") else ()
        out = self.run("ls-tree", "-r", "-z", "--full-tree", commit, *words)
        found = {}
        for entry in out.decode(errors="surrogateescape").split("\0")[:-1]:
            head, _, path = entry.partition("\t")
            mode, _, blob = head.split(" ")
            if mode.startswith("100"):
                found[path] = blob
        return found

    def changed(self, old: str, new: str) -> dict[str, tuple[str | None, str | None]]:
        """Give the blobs before and after of every path that differs between two commits."""
        out = self.run("diff-tree", "-r", "-z", "--no-renames", "--raw", old, new)
        return read_raw(out.decode(errors="surrogateescape").split("\0"))

    def is_ancestor(self, old: str, new: str) -> bool:
        """Tell whether `new` holds everything that `old` does."""
        # Exit code 1 says no as an ordinary answer, so the base is asked for instead.
        return self.merge_base(old, new) == old

    def merge_base(self, one: str, other: str) -> str:
        """Give the newest commit that both hold; empty if they share none."""
        return self.text("merge-base", one, other, ok=(0, 1))

    def write_blobs(self, contents: Sequence[bytes]) -> list[str]:
        """Store files, give their ids in the same order."""
        if not contents:
            return []
        with tempfile.TemporaryDirectory(prefix="mlops-nb-") as folder:
            paths = []
            for i, content in enumerate(contents):
                path = Path(folder) / str(i)
                path.write_bytes(content)
                paths.append(f"{path}\n")
            words = ("hash-object", "-w", "--no-filters", "--stdin-paths")
            return self.text(*words, stdin="".join(paths).encode()).splitlines()

    def write_tree(self, start: str, blobs: Mapping[str, str | None]) -> str:
        """Store the tree that `start` becomes with these blobs; None deletes the path.

        Args:
            start: commit or tree; empty for none.
            blobs: ids by path.
        """
        lines = [
            f"100644 {blob}\t{path}" if blob else f"0 {_ABSENT}\t{path}"
            for path, blob in blobs.items()
        ]
        stdin = "".join(f"{line}\0" for line in lines).encode(errors="surrogateescape")
        with tempfile.TemporaryDirectory(prefix="mlops-nb-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            if start:
                self.run("read-tree", start, env=index)
            self.run("update-index", "-z", "--index-info", stdin=stdin, env=index)
            # Of what stays as it is, a mirror need not have the contents.
            return self.run("write-tree", "--missing-ok", env=index).decode().strip()

    def write_commit(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        person: str,
        signing: Sequence[str] = (),
    ) -> str:
        """Store a commit made now.

        Args:
            tree: its tree.
            parents: the commits before it.
            message: its whole message.
            person: who makes it, `Name <mail>`.
            signing: git's settings for signed commits; empty leaves it unsigned.

        Raises:
            BackendError: if it cannot be signed.
        """
        match = _PERSON.fullmatch(person)
        name = (match[1] if match else "") or "mlops_nb"
        mail = (match[2] if match else "") or "mlops_nb@localhost"
        who = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", name), ("EMAIL", mail))
        }
        now = f"{int(datetime.now(UTC).timestamp())} +0000"
        who |= {"GIT_AUTHOR_DATE": now, "GIT_COMMITTER_DATE": now}
        words = [word for parent in dict.fromkeys(parents) for word in ("-p", parent)]
        sign = ("-S",) if signing else ()
        try:
            out = self.run(
                *("commit-tree", tree, *words, *sign),
                stdin=message.encode(),
                env=who,
                settings=signing,
            )
        except BackendError as error:
            if not signing:
                raise
            raise BackendError(
                f"the commit could not be signed: {error.message}",
                hint="unlock the key, or leave commits unsigned: git config commit.gpgsign "
                "false",
            ) from error
        return out.decode().strip()

    def move(self, updates: Sequence[Move]) -> str:
        """Move refs together, or none of them.

        Args:
            updates: name, new commit (None deletes) and the commit it must be at (None: it
                must not exist).

        Returns:
            where a server says that people look at what was moved; empty if none does.

        Raises:
            RefMoved: if one is not where it must be.
        """
        lines = []
        for name, new, old in updates:
            if new is None:
                lines.append(f"delete {name} {old}\n")
            else:
                lines.append(f"update {name} {new} {old or _ABSENT}\n")
        self.run("update-ref", "--stdin", stdin="".join(lines).encode())
        return ""

    def try_push(self) -> None:
        """Ask whether refs may be moved.

        Raises:
            NotAllowed: if not.
        """
        if not os.access(self.directory, os.W_OK):
            raise NotAllowed(
                f"{self.place} may be read, but not written",
                hint="ask its owner for the right to write there",
            )

    def look(self, base: str, branch: str, merged: str) -> str:
        """Give the line with which a person looks at a branch, or at what merged it."""
        command = f"git -C {shlex.quote(str(self.directory))}"
        if merged:
            return f"{command} show -m --first-parent {merged[:12]}"
        return f"{command} log -p {base}..{branch}"


def read_raw(tokens: Sequence[str]) -> dict[str, tuple[str | None, str | None]]:
    """Read NUL-separated `--raw` output: blobs before and after, by path."""
    found = {}
    rest = iter(tokens)
    for token in rest:
        if not token.startswith(":"):
            continue
        _, _, old, new, _ = token.split(" ")
        found[next(rest)] = (
            None if old == _ABSENT else old,
            None if new == _ABSENT else new,
        )
    return found


def initialize(path: Path, base: str) -> None:
    """Make a bare repository whose HEAD is `base`; an existing one stays as it is."""
    git = _git_python()
    path.mkdir(parents=True, exist_ok=True)
    # Git refuses to make a bare repository where a working tree is named, even an empty one.
    words = ["env", "-u", "GIT_WORK_TREE", "git", "init", "--quiet", "--bare"]
    isolated = _isolated(path)
    del isolated["GIT_WORK_TREE"]
    status, _, err = git.Git(str(path)).execute(
        [*words, f"--initial-branch={base}", str(path)],
        env={**isolated, "GIT_TEMPLATE_DIR": ""},
        with_extended_output=True,
        with_exceptions=False,
    )
    if status:
        raise BackendError(f"git init of {path} failed: {' '.join(str(err).split())}")


def _read_commit(raw: bytes) -> RawCommit:
    head, _, message = raw.decode(errors="replace").partition("\n\n")
    parents, people, dates = [], {}, {}
    for line in head.split("\n"):
        key, _, value = line.partition(" ")
        if key == "parent":
            parents.append(value)
        elif key in {"author", "committer"}:
            person, seconds, zone = value.rsplit(" ", 2)
            sign = -1 if zone.startswith("-") else 1
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
            people[key] = person
            dates[key] = datetime.fromtimestamp(int(seconds), timezone(sign * offset))
    return RawCommit(
        parents=tuple(parents),
        author=people["author"],
        committer=people["committer"],
        date=dates["committer"],
        message=message,
    )


def _isolated(directory: Path) -> dict[str, str]:
    return {
        "GIT_DIR": str(directory),
        "GIT_COMMON_DIR": str(directory),
        "GIT_WORK_TREE": str(directory),
        "GIT_OBJECT_DIRECTORY": str(directory / "objects"),
        "GIT_INDEX_FILE": str(directory / "mlops-nb-unused-index"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
        "GIT_NAMESPACE": "",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": "0",
        "GIT_CONFIG_PARAMETERS": "",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_DEFAULT_HASH": "sha1",
        **{f"GIT_{kind}_PATHSPECS": "0" for kind in ("LITERAL", "GLOB", "NOGLOB", "ICASE")},
    }


def _git_python() -> ModuleType:
    try:
        import git
    except ImportError as error:
        raise BackendUnavailable(
            f"git cannot be used: {' '.join(str(error).split())}",
            hint="install git 2.30 or newer",
        ) from error
    return git
