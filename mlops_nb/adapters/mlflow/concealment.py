"""Take known secrets out of what a notebook itself recorded with its run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.adapters.mlflow import recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

LARGEST_FILE = 64 * 2**20
"""Bytes of the largest file that is looked through: weights above it are not fetched back."""


def conceal(client: MlflowClient, run: MlflowRun, redact: Callable[[str], str]) -> list[str]:
    """Take secrets out of a run's tags and text files.

    Args:
        client: of the store.
        run: what the notebook recorded to.
        redact: takes secrets out of a text.

    Returns:
        what holds a secret and cannot be changed: `parameter NAME`, `file PATH`.
    """
    run_id = run.info.run_id
    tags = {name: redact(text) for name, text in run.data.tags.items()}
    changed = {name: text for name, text in tags.items() if text != run.data.tags[name]}
    if changed:
        recording.log(client, run_id, tags=changed)
    return [
        *(
            f"parameter {name}"
            for name, text in run.data.params.items()
            if redact(text) != text
        ),
        *(
            f"file {path}"
            for path in _files(client, run_id, "")
            if not _is_clean(client, run_id, path, redact)
        ),
    ]


def _files(client: MlflowClient, run_id: str, folder: str) -> Iterator[str]:
    for info in client.list_artifacts(run_id, folder or None):
        if info.is_dir:
            yield from _files(client, run_id, info.path)
        elif (info.file_size or 0) <= LARGEST_FILE:
            yield info.path


def _is_clean(
    client: MlflowClient, run_id: str, path: str, redact: Callable[[str], str]
) -> bool:
    """Take secrets out of a text file; tell whether the file holds none now."""
    with tempfile.TemporaryDirectory() as place:
        content = Path(client.download_artifacts(run_id, path, place)).read_bytes()
    text = content.decode("utf-8", "surrogateescape")
    cleaned = redact(text)
    if cleaned == text:
        return True
    if not _is_text(content):
        # A file of another length, or with another checksum, could no longer be read.
        return False
    recording.put(client, run_id, path, cleaned.encode())
    return True


def _is_text(content: bytes) -> bool:
    if b"\0" in content:
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
