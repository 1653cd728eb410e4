"""List registered models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.delivery import did_you_mean
from mlops_nb.core.results import ModelList
from mlops_nb.errors import NotFound

if TYPE_CHECKING:
    from mlops_nb.core.verbs import Models
    from mlops_nb.ports import Registry


def models(verb: Models, *, registry: Registry) -> ModelList:
    """Give the versions of a model, or of all, newest first.

    Raises:
        NotFound: if there are models, but none of this name.
    """
    versions = tuple(registry.versions(verb.name))
    if verb.name and not versions:
        known = {version.name for version in registry.versions()}
        raise NotFound(
            f"there is no model {verb.name!r}",
            hint=did_you_mean(verb.name, known, otherwise="register one: mlops register RUN"),
        )
    return ModelList(versions=versions)
