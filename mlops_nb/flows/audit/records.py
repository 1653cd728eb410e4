"""Deployments as the commits of base record them."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from mlops_nb.core.change import lock_path, read_lock_path
from mlops_nb.core.delivery import Deployed, did_you_mean
from mlops_nb.errors import NotFound, UserError
from mlops_nb.manifests.lock import read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.core.change import Commit, LockFile
    from mlops_nb.ports import Forge

# GitLab writes ! where others write #.
_NUMBER = re.compile(r"[#!](\d+)")


def records(forge: Forge, model: str = "*", env: str = "*") -> Iterator[Deployed]:
    """Yield the deployments of base, newest first; `*` is any model or environment."""
    pattern = lock_path(model, env)

    @cache
    def numbers() -> Mapping[str, int]:
        return {pull.merge_commit: pull.number for pull in forge.pull_requests()}

    for commit in forge.log(pattern):
        for path in sorted(commit.files):
            about = read_lock_path(path)
            if about and model in {"*", about[0]} and env in {"*", about[1]}:
                # One that was merged by hand bears no number in its title; only for such a
                # one is a forge asked, all else is told by Git alone.
                titled = _NUMBER.search(commit.title)
                number = int(titled[1]) if titled else numbers().get(commit.sha, 0)
                yield _record(commit, path, *about, number=number)


def _record(commit: Commit, path: str, model: str, env: str, *, number: int) -> Deployed:
    before, after = (_read(content, path) for content in commit.files[path])
    is_removed = commit.files[path][1] is None
    action = "remove" if is_removed else _action(commit, before, after)
    asked = commit.trailers.get("Mlops-Requested-By", "")
    if not asked and action == "deploy" and after:
        asked = after.requested_by
    return Deployed(
        when=commit.date,
        action=action,
        environment=env,
        model=model,
        version=after.version if after else 0,
        previous=before.version if before else 0,
        requested_by=asked or commit.author,
        merged_by=commit.merged_by,
        reason=commit.trailers.get("Mlops-Reason", ""),
        lock=after,
        pull_request=number,
        commit=commit.sha,
    )


def _read(content: bytes | None, path: str) -> LockFile | None:
    try:
        return read_lock(content, path) if content is not None else None
    except UserError:
        # One broken by hand must not hide what came before and after it.
        return None


def _action(commit: Commit, before: LockFile | None, after: LockFile | None) -> str:
    if after is None:
        return "unreadable"
    if action := commit.trailers.get("Mlops-Action"):
        return action
    if before is None or before.version in {after.version, after.previous}:
        return "deploy"
    # A revert by hand restores a whole record; whoever edits one changes a line of it.
    is_edit = replace(before, version=after.version, uri=after.uri) == after
    return "edit" if is_edit else "rollback"


def refuse_unknown(model: str, env: str, forge: Forge) -> NoReturn:
    """Say which of model and environment was never deployed.

    Raises:
        NotFound: always.
    """
    known = {(r.model, r.environment) for r in records(forge)}
    models = {name for name, _ in known}
    environments = {name for _, name in known}
    if model and model not in models:
        raise NotFound(
            f"no model {model!r} was ever deployed",
            hint=did_you_mean(model, models, otherwise="see all: mlops history"),
        )
    if env and env not in environments:
        raise NotFound(
            f"nothing was ever deployed to an environment {env!r}",
            hint=did_you_mean(env, environments, otherwise="see all: mlops history"),
        )
    raise NotFound(
        f"{model} was never deployed to {env}",
        hint=f"see where it was: mlops history {model}",
    )
