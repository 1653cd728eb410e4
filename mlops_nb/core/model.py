"""Models in the registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mlops_nb.errors import UserError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")


def check_model_name(name: str) -> str:
    """Return `name` if it can name a model everywhere: registry, folder, Kubernetes object.

    Raises:
        UserError: if it is not a DNS label of at most 53 characters (RFC 1123; 10 characters
            are left for suffixes such as `-canary`).
    """
    if _NAME.fullmatch(name):
        return name
    better = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:53].strip("-")
    raise UserError(
        f"{name!r} cannot name a model: a-z, 0-9 and '-', at most 53 characters",
        hint=f"use {better!r}" if better else "choose a name such as 'churn'",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model as people name it: `churn`, `churn/7`, `churn@champion`."""

    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read `NAME`, `NAME/VERSION` or `NAME@ALIAS`.

        Raises:
            UserError: if the text is none of them.
        """
        if match := re.fullmatch(r"([^/@]+)/v?(\d+)", text):
            return cls(name=check_model_name(match[1]), version=int(match[2]))
        if match := re.fullmatch(r"([^/@]+)@([A-Za-z0-9_-]+)", text):
            return cls(name=check_model_name(match[1]), alias=match[2])
        if "/" in text or "@" in text:
            raise UserError(
                f"{text!r} is not a model reference",
                hint="write NAME, NAME/VERSION or NAME@ALIAS, e.g. churn/7 or churn@champion",
            )
        return cls(name=check_model_name(text))

    def __str__(self) -> str:
        """Give the reference as people type it."""
        if self.version is not None:
            return f"{self.name}/{self.version}"
        return f"{self.name}@{self.alias}" if self.alias else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version of a registered model.

    Args:
        name: the registered model.
        version: counted from 1 by the registry.
        source: where its files are, as the registry records it.
        digest: `sha256:` and 64 hex digits over the model's files.
        flavor: how it was saved: sklearn, onnx, xgboost, pyfunc, ...
        uses_pickle: whether loading it runs pickled code.
        run: id of the run that made it, for people.
        tracking_id: MLflow id of that run.
        aliases: names that point at this version now.
        tags: lineage, `mlops_nb.*` among them.
        created: when it was registered.
    """

    name: str
    version: int
    source: str = ""
    digest: str = ""
    flavor: str = ""
    uses_pickle: bool = False
    run: str = ""
    tracking_id: str = ""
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None

    def __str__(self) -> str:
        """Give `name/version`."""
        return f"{self.name}/{self.version}"
