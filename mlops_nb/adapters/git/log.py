"""What came onto the base branch, by whom and from which change: read from commits alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from mlops_nb.adapters.git.plumbing import read_raw
from mlops_nb.core.change import Commit, matches, parse_trailers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from mlops_nb.adapters.git.plumbing import Plumbing, RawCommit

_PAGE = 64
_NO_RECORD = 20
Blobs = tuple[str | None, str | None]


class Contents(Mapping[str, tuple[bytes | None, bytes | None]]):
    """Files before and after, by path; read when first asked for.

    Args:
        git: where they are.
        blobs: ids before and after, by path.
        known: contents that were read already, by id.
    """

    def __init__(
        self, git: Plumbing, blobs: Mapping[str, Blobs], known: dict[str, bytes | None]
    ) -> None:
        self._git = git
        self._blobs = blobs
        self._known = known

    def __getitem__(self, path: str) -> tuple[bytes | None, bytes | None]:
        before, after = self._blobs[path]
        if any(blob and blob not in self._known for blob in (before, after)):
            self._known.update(self._git.objects(_ids(self._blobs.values())))
        return (
            self._known[before] if before else None,
            self._known[after] if after else None,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._blobs)

    def __len__(self) -> int:
        return len(self._blobs)


def read_log(git: Plumbing, base: str, path: str, since: datetime | None) -> Iterator[Commit]:
    """Yield commits along first parents that touch a file matching `path`, newest first."""
    limits = [f"--since={since.isoformat()}"] if since else []
    skipped = 0
    while True:
        window = [f"--max-count={_PAGE}", f"--skip={skipped}", *limits]
        page = _page(git, base, path, window)
        yield from _commits(git, page, path)
        if len(page) < _PAGE:
            return
        skipped += _PAGE


def _page(
    git: Plumbing, base: str, path: str, limits: list[str]
) -> dict[str, dict[str, Blobs]]:
    out = git.run(
        *("log", "--first-parent", "-m", "--full-diff", "--raw", "--no-abbrev"),
        *("--no-renames", "-z", "--format=%x01%H", *limits, base, "--", f":(glob){path}"),
    )
    page: dict[str, dict[str, Blobs]] = {}
    tokens: list[str] = []
    sha = ""
    rest = iter(out.decode(errors="surrogateescape").split("\0"))
    for token in rest:
        if token.startswith("\x01"):
            page[sha], tokens = read_raw(tokens), []
            sha = token[1:]
            continue
        # A path never opens a commit, whatever it is called.
        meta = token.removeprefix("\n")
        if meta.startswith(":"):
            tokens += [meta, next(rest)]
    page[sha] = read_raw(tokens)
    page.pop("", None)
    return page


def _commits(
    git: Plumbing, page: Mapping[str, Mapping[str, Blobs]], path: str
) -> Iterator[Commit]:
    raws = git.commits(page)
    changes = _changes(git, raws)
    wanted = (blobs[p] for blobs in page.values() for p in blobs if matches(p, path))
    known = git.objects(_ids(wanted))
    for sha, blobs in page.items():
        raw, change = raws[sha], changes[sha]
        yield Commit(
            sha=sha,
            author=change.author,
            date=raw.date,
            title=raw.message.partition("\n")[0],
            trailers=parse_trailers(change.message),
            # Forges commit in their own name, but what they merge is by who asked for it.
            merged_by=raw.author if len(raw.parents) > 1 else raw.committer,
            files=Contents(git, blobs, known),
        )


def _changes(git: Plumbing, raws: Mapping[str, RawCommit]) -> dict[str, RawCommit]:
    """Give the commit that made the change: of a merge, the one merged."""
    merged = {sha: raw.parents[1] for sha, raw in raws.items() if len(raw.parents) > 1}
    tips = git.commits(merged.values())
    changes = {sha: tips[merged[sha]] if sha in merged else raw for sha, raw in raws.items()}
    for sha, change in changes.items():
        if sha in merged and not _is_ours(change):
            changes[sha] = _recorded(git, raws[sha]) or change
    return changes


def _recorded(git: Plumbing, merge: RawCommit) -> RawCommit | None:
    """Give the newest merged commit with our trailers: people may have added others."""
    span = [merge.parents[1], f"^{merge.parents[0]}", f"--max-count={_NO_RECORD}"]
    line = git.text("rev-list", *span).splitlines()
    commits = git.commits(line)
    return next((commits[sha] for sha in line if _is_ours(commits[sha])), None)


def _is_ours(commit: RawCommit) -> bool:
    return any(key.startswith("Mlops-") for key in parse_trailers(commit.message))


def _ids(blobs: Iterable[Blobs]) -> list[str]:
    return [blob for blob in chain.from_iterable(blobs) if blob]
