"""Whether proposed files are what a deployment renders, and whether a record fits its files."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.core.change import evidence_path
from mlops_nb.core.model import ModelVersion
from mlops_nb.errors import UserError
from mlops_nb.manifests.lock import sealed
from mlops_nb.manifests.render import check_record, render

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.evidence import Evidence


def foreign_change(
    lock: LockFile,
    evidence: Evidence,
    before: Mapping[str, bytes],
    after: Mapping[str, bytes],
    paths: Collection[str],
) -> str:
    """Name the first file that is not what its record and evidence render; empty if none.

    Args:
        lock: the record, as proposed.
        evidence: what speaks for it.
        before: files of the model and its cluster that the change began from, by path.
        after: the same as proposed.
        paths: those that the change touches.
    """
    try:
        expected = _rendered(lock, evidence, before, after)
    except UserError as error:
        return error.message
    for path in sorted({*paths, *expected}):
        wanted, found = expected.get(path, before.get(path)), after.get(path)
        if wanted != found:
            return f"{path} was edited by hand: {_first_difference(wanted, found)}"
    return ""


def noop_trouble(lock: LockFile, evidence: Evidence, files: Mapping[str, bytes]) -> str:
    """Name the first file that deploying the same version again would change; empty if none."""
    return foreign_change(lock, evidence, files, files, ())


def contradiction(lock: LockFile, files: Mapping[str, bytes]) -> str:
    """Say how a record and its manifests contradict each other; empty if they do not."""
    try:
        check_record(lock.model, lock.environment, files)
    except UserError as error:
        return error.message
    return ""


def _rendered(
    lock: LockFile, evidence: Evidence, before: Mapping[str, bytes], after: Mapping[str, bytes]
) -> dict[str, bytes]:
    environment = replace(evidence.environment, image=lock.image)
    environment.check_image()
    version = ModelVersion(
        name=lock.model,
        version=lock.version,
        source=lock.source,
        digest=lock.digest,
        flavor=evidence.security.flavor,
    )
    files = render(version, lock, environment, before)
    return sealed(files, lock, after[evidence_path(lock.model, lock.environment)])


def _first_difference(wanted: bytes | None, found: bytes | None) -> str:
    if wanted is None or found is None:
        return "it should not be there" if wanted is None else "it should be there"
    old, new = (text.decode(errors="replace").splitlines() for text in (wanted, found))
    lines = list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:]
    shoulds = [line[1:].strip() for line in lines if line.startswith("-")]
    is_now = [line[1:].strip() for line in lines if line.startswith("+")]
    return f"it has {(is_now or ['nothing'])[0]!r} for {(shoulds or ['nothing'])[0]!r}"


__all__ = ["contradiction", "foreign_change", "noop_trouble"]
