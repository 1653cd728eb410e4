"""Verbs about the record: what each flow asks of the project."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb.core import verbs
from mlops_nb.core.results import DeploymentHistory

if TYPE_CHECKING:
    from mlops_nb.core.dora import DoraReport
    from mlops_nb.core.tracing import Trace
    from mlops_nb.project import Project


def do(
    project: Project, verb: verbs.History | verbs.Trace | verbs.Dora
) -> DeploymentHistory | Trace | DoraReport:
    """Do one of these verbs in a project.

    Raises:
        MlopsError: of the class that tells what is wrong.
    """
    match verb:
        case verbs.History():
            from mlops_nb.flows.audit.history import history

            return DeploymentHistory(deployments=tuple(history(verb, forge=project.forge)))
        case verbs.Trace():
            from mlops_nb.flows.audit.trace import trace

            return trace(
                verb.ref,
                forge=lambda: project.forge,
                registry=project.registry,
                cluster_of=project.cluster,
            )
        case verbs.Dora():
            from mlops_nb.flows.audit.dora import dora

            return dora(
                verb, forge=project.forge, registry=project.registry, now=datetime.now(UTC)
            )
