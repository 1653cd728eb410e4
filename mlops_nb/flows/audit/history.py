"""Tell who deployed which model when, and with what data, from Git alone."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from mlops_nb.flows.audit.records import records, refuse_unknown

if TYPE_CHECKING:
    from mlops_nb.core.delivery import Deployed
    from mlops_nb.core.verbs import History
    from mlops_nb.ports import Forge


def history(verb: History, *, forge: Forge) -> list[Deployed]:
    """Give the deployments of base, newest first.

    Args:
        verb: the request.
        forge: the GitOps repository, or a plain clone of it.

    Raises:
        NotFound: if nothing was ever deployed under the name or to the environment asked for.
    """
    found = list(islice(records(forge, verb.model or "*", verb.env or "*"), verb.limit))
    if not found and (verb.model or verb.env):
        refuse_unknown(verb.model, verb.env, forge)
    return found
