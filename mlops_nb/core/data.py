"""Where a run's data comes from and what exactly it was."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """Data asked for: `--data name=uri`.

    Args:
        name: parameter that receives the local path.
        uri: local path, file://, s3://, http:// or https://; without credentials.
    """

    name: str
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Data that was staged.

    Args:
        name: parameter that received it.
        uri: where it came from, free of credentials.
        digest: `sha256:` and 64 hex digits over the whole content; of a folder, over the
            sorted relative paths and the files' digests.
        size: bytes.
        rows: how many rows; null where its format does not tell.
    """

    name: str
    uri: str
    digest: str
    size: int
    rows: int | None = None
