"""What a finished run means to who waited for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb import errors
from mlops_nb.core.gate import Verdict
from mlops_nb.core.run import RunState

if TYPE_CHECKING:
    from mlops_nb.core.run import Failure, Run


def ensure_success(run: Run) -> Run:
    """Give the run if it and every step after it went well.

    Raises:
        RunFailed: if the notebook failed or was cancelled.
        GateFailed: if it ran, but a gate did not pass.
        MlopsError: of the class that the failing step met.
    """
    if run.failure is not None:
        raise _error(run, run.failure)
    if run.state is RunState.CANCELLED:
        raise errors.RunFailed(
            f"{run.id} was cancelled", hint=f"go on with it: mlops retry {run.id}"
        )
    if run.verdict is not None and not run.verdict.passed:
        refused = run.verdict.refused
        raise errors.GateFailed(
            f"{run.id}: {len(refused)} of {len(run.verdict.checks)} gates did not pass: "
            + "; ".join(f"{check.gate} ({check.reason})" for check in refused),
            verdict=run.verdict,
            hint=f"look at `mlops show {run.id}`; nothing was registered or deployed",
        )
    return run


def _error(run: Run, failure: Failure) -> errors.MlopsError:
    message = f"{run.id}: {failure.reason}"
    if failure.error == errors.GateFailed.__name__:
        # An environment's gate: what the run itself was judged by may all have passed.
        verdict = run.verdict or Verdict(checks=())
        return errors.GateFailed(message, hint=failure.hint, verdict=verdict)
    class_ = getattr(errors, failure.error, errors.RunFailed)
    if class_ is errors.RunFailed:
        # Also what a newer version calls by a name that is not known here.
        return errors.RunFailed(message, hint=failure.hint, failure=failure)
    error: errors.MlopsError = class_(message, hint=failure.hint)
    return error
