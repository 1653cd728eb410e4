"""Register a run's model, if its gates pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.model import check_model_name
from mlops_nb.core.run import RunState
from mlops_nb.errors import GateFailed, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlops_nb.core.gate import Verdict
    from mlops_nb.core.model import ModelVersion
    from mlops_nb.core.run import Run
    from mlops_nb.ports import Registry


def register(
    run: Run,
    name: str,
    gates: Sequence[str],
    *,
    registry: Registry,
    judge: Callable[[Run, Sequence[str], str], Verdict],
) -> ModelVersion:
    """Register the model a run logged.

    Args:
        run: the run; it must have succeeded.
        name: registered model.
        gates: expressions it must pass, besides those it was judged by before.
        registry: where models are kept.
        judge: judges a run by gates, for a registered model.

    Raises:
        UserError: if the run did not succeed, logged no model, or the name cannot name one.
        GateFailed: if a gate does not pass; nothing is registered.
    """
    check_model_name(name)
    if run.state is not RunState.SUCCEEDED and not (run.failure and run.failure.step != "run"):
        raise UserError(
            f"run {run.id} is {run.state}; only a run that succeeded can be registered",
            hint=f"look at `mlops show {run.id}`",
        )
    before = [check.gate for check in run.verdict.checks] if run.verdict else []
    every = tuple(dict.fromkeys([*before, *gates]))
    if every:
        verdict = judge(run, every, name)
        if not verdict.passed:
            raise GateFailed(
                f"{run.id} is not registered as {name}: {verdict.refusal}",
                verdict=verdict,
                hint="train a better one; the run and its verdict are kept",
            )
    return registry.register(run, name)
