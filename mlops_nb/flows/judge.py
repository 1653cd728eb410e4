"""Judge a run by its gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.gate import Gate
from mlops_nb.core.judgement import Baseline, judge
from mlops_nb.core.model import ModelRef
from mlops_nb.errors import NotFound
from mlops_nb.statistics.bootstrap import Bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_nb.core.gate import Verdict
    from mlops_nb.ports import Registry


def judge_run(
    tracking_id: str, gates: Sequence[str], *, model: str, registry: Registry
) -> Verdict:
    """Judge what a run logged.

    Args:
        tracking_id: MLflow id of the run.
        gates: the expressions.
        model: registered model whose champion gates may name; empty if there is none.
        registry: where runs and models are kept.

    Raises:
        BadGate: if an expression cannot be read.
        UserError: if the run logged an evaluation table that cannot be read as such.
    """
    # `auc>=0.9` and `auc >= 0.9` are one gate, from the line and from mlops.toml.
    parsed = list(dict.fromkeys(Gate.parse(gate) for gate in gates))
    champion = None
    if model and any(gate.uses_champion for gate in parsed):
        champion = _champion(model, tracking_id, registry)
    return judge(
        parsed,
        metrics=registry.metrics(tracking_id),
        table=registry.table(tracking_id),
        champion=champion,
        estimator=Bootstrap(),
    )


def _champion(model: str, tracking_id: str, registry: Registry) -> Baseline | None:
    try:
        version = registry.resolve(ModelRef(name=model, alias="champion"))
    except NotFound:
        return None
    if version.tracking_id == tracking_id:
        # A champion judged again, for another environment, is not its own baseline.
        return None
    return Baseline(
        name=str(version),
        metrics=registry.metrics(version.tracking_id),
        table=registry.table(version.tracking_id),
    )
