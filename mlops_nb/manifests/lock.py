"""The audit record of a deployment, `model.lock.yaml`, as bytes and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from mlops_nb.core.change import LockFile, evidence_path, lock_path, read_lock_path
from mlops_nb.core.delivery import did_you_mean
from mlops_nb.errors import UserError
from mlops_nb.manifests.yaml import emit, parse
from mlops_nb.redaction import strip_userinfo

if TYPE_CHECKING:
    from mlops_nb.core.delivery import Environment
    from mlops_nb.core.gate import Verdict
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.run import Run

_COMMENT = """\
What runs here, who asked for it, and from which run, code and data it came.
Written by `mlops deploy`; `git log -p` on this file is the history of deployments."""
_KEYS = tuple(field.name for field in fields(LockFile))
_REQUIRED = _KEYS[: _KEYS.index("notebook")]
_ROWS = {"datasets": ("name", "digest", "uri"), "gates": ("gate", "outcome")}


def record_of(
    version: ModelVersion, run: Run, environment: Environment, verdict: Verdict
) -> LockFile:
    """Give the record of a version in an environment, as far as registry and gates tell it."""
    tags = version.tags
    commit = tags.get("mlflow.source.git.commit", "")
    dirty = commit and tags.get("mlflow.source.git.dirty") == "true"
    return LockFile(
        model=version.name,
        version=version.version,
        environment=environment.name,
        uri=f"models:/{version}",
        source=strip_userinfo(version.source),
        digest=version.digest,
        image=environment.image,
        run=version.run or run.id,
        tracking_id=version.tracking_id,
        tracking_uri="",
        notebook=tags.get("mlops_nb.git.path", run.notebook),
        notebook_digest=tags.get("mlops_nb.notebook_digest", ""),
        code_commit=f"{commit}-dirty" if dirty else commit,
        code_repository=strip_userinfo(tags.get("mlflow.source.git.repoURL", "")),
        datasets=tuple((d.name, d.digest, strip_userinfo(d.uri)) for d in run.datasets),
        parameters=_as_json(run.parameters),
        defaults=_as_json(run.defaults),
        metrics=dict(run.metrics),
        gates=tuple((check.gate, str(check.outcome)) for check in verdict.checks),
        canary=",".join(map(str, environment.canary.weights)),
    )


def _as_json(values: Mapping[str, object]) -> Mapping[str, str]:
    return {name: json.dumps(value, sort_keys=True) for name, value in values.items()}


def sealed(files: Mapping[str, bytes], lock: LockFile, evidence: bytes) -> dict[str, bytes]:
    """Give a change with its evidence, and the evidence's digest in the record.

    Args:
        files: the change, by path.
        lock: its record.
        evidence: content of `evidence.json`.
    """
    where = (lock.model, lock.environment)
    lock = replace(lock, evidence=digest_of(evidence))
    return {**files, lock_path(*where): lock_text(lock), evidence_path(*where): evidence}


def digest_of(content: bytes) -> str:
    """Give `sha256:` and the 64 hex digits of a file."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def broken_seal(lock: LockFile, evidence: bytes | None) -> str:
    """Say how the evidence beside a record is not what the record names; empty if it is."""
    path = evidence_path(lock.model, lock.environment)
    if evidence is None:
        return f"{path} is missing" if lock.evidence else ""
    found = digest_of(evidence)
    if found == lock.evidence:
        return ""
    return f"{path} is {found[:19]}…, its record names {lock.evidence[:19] or 'none'}…"


def lock_text(lock: LockFile) -> bytes:
    """Write the record; equal records give equal bytes."""
    values: dict[str, object] = {}
    for key in _KEYS:
        value = getattr(lock, key)
        if key == "evidence" and not value:
            # Records of before there was any stay what they are, byte by byte.
            continue
        if key in _ROWS:
            value = [dict(zip(_ROWS[key], row, strict=True)) for row in value]
        elif isinstance(value, Mapping):
            value = dict(sorted(value.items()))
        values[key] = value
    return emit(values, comment=_COMMENT)


def read_lock(content: bytes, path: str = "model.lock.yaml") -> LockFile:
    """Read the record.

    Args:
        content: the file.
        path: its path, for errors.

    Raises:
        UserError: if it was broken by hand; the message names the key.
    """
    document = parse(content, path)
    if not isinstance(document, dict):
        raise _broken(path, "document", document, "not a mapping")
    for key in document:
        if key not in _KEYS:
            raise UserError(
                f"{path}: unknown key {key!r}",
                hint=did_you_mean(str(key), _KEYS, otherwise=f"known: {', '.join(_KEYS)}"),
            )
    for key in _REQUIRED:
        if key not in document:
            raise UserError(
                f"{path}: {key} is missing", hint="restore the file from an earlier commit"
            )
    return LockFile(**{key: _value(path, key, value) for key, value in document.items()})


def live_lock(content: bytes, path: str) -> LockFile:
    """Read the record of what an environment has, for who builds on it.

    Args:
        content: the file.
        path: its path in the repository.

    Raises:
        UserError: if it was broken by hand, contradicts itself or is another folder's.
    """
    lock = read_lock(content, path)
    about = read_lock_path(path) or (lock.model, lock.environment)
    wrong = lock.contradiction
    if (lock.model, lock.environment) != about:
        wrong = f"it is of {lock.model} in {lock.environment}"
    if wrong:
        raise UserError(
            f"{path} was edited by hand: {wrong}",
            hint="restore the folder's files from the commit that deployed the version: "
            f"git log -p -- {path}",
        )
    return lock


def _value(path: str, key: str, value: Any) -> Any:
    if key in _ROWS:
        if not isinstance(value, list):
            raise _broken(path, key, value, "not a list")
        return tuple(_row(path, f"{key}[{i}]", row, _ROWS[key]) for i, row in enumerate(value))
    if key in {"version", "previous"}:
        if type(value) is not int or value < 0:
            raise _broken(path, key, value, "not a whole number of 0 or more")
        return value
    if key in {"parameters", "defaults", "metrics"}:
        return _table(path, key, value)
    if not isinstance(value, str):
        raise _broken(path, key, value, "not text")
    return value


def _table(path: str, key: str, value: Any) -> dict[str, str] | dict[str, float]:
    if not isinstance(value, dict):
        raise _broken(path, key, value, "not a mapping")
    is_text = key != "metrics"
    for name, item in value.items():
        if not isinstance(item, str if is_text else int | float) or isinstance(item, bool):
            raise _broken(path, f"{key}.{name}", item, "not text" if is_text else "no number")
    return {str(name): item if is_text else float(item) for name, item in value.items()}


def _row(path: str, key: str, row: Any, columns: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(row, dict) or set(row) != set(columns):
        raise _broken(path, key, row, f"not a mapping of {', '.join(columns)}")
    for column in columns:
        if not isinstance(row[column], str):
            raise _broken(path, f"{key}.{column}", row[column], "not text")
    return tuple(row[column] for column in columns)


def _broken(path: str, key: str, value: object, why: str) -> UserError:
    return UserError(
        f"{path}: {key} = {value!r}: {why}", hint="restore the file from an earlier commit"
    )
