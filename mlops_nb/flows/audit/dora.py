"""Give DORA's four figures, from Git and from what the registry was told of the cluster."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from mlops_nb.core.dora import figures
from mlops_nb.core.rollout import deployed_tag
from mlops_nb.errors import BackendError
from mlops_nb.flows.audit.records import records, refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from mlops_nb.core.dora import DoraReport
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.verbs import Dora
    from mlops_nb.ports import Forge, Registry

_ABORTED = "aborted"


def dora(verb: Dora, *, forge: Forge, registry: Registry, now: datetime) -> DoraReport:
    """Give the four figures of what was deployed.

    Args:
        verb: the request.
        forge: the GitOps repository.
        registry: knows when versions were registered, and which the cluster aborted.
        now: the time.

    Raises:
        NotFound: if nothing was ever deployed under the name or to the environment asked for.
    """
    found = list(records(forge, verb.model or "*", verb.env or "*"))
    if not found and (verb.model or verb.env):
        refuse_unknown(verb.model, verb.env, forge)
    versions: Sequence[ModelVersion] = ()
    notes = []
    try:
        versions = registry.versions(verb.model)
    except BackendError as error:
        notes.append(f"lead times and aborted canaries are not known: {error.message}")
    return figures(
        found,
        since=now - timedelta(seconds=verb.since),
        until=now,
        registered={(v.name, v.version): v.created for v in versions if v.created},
        aborted={
            (v.name, env, v.version)
            for env in {each.environment for each in found}
            for v in versions
            if v.tags.get(deployed_tag(env), "").startswith(_ABORTED)
        },
        notes=notes,
    )
