"""What a finished run means to who waited for it, and how it keeps what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb import errors
from mlops_nb.core.gate import Verdict
from mlops_nb.core.run import Failure, RunState

if TYPE_CHECKING:
    from mlops_nb.core.run import Run


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
        raise errors.GateFailed(
            f"{run.id}: {run.verdict.refusal}",
            verdict=run.verdict,
            hint=f"nothing was registered or deployed; to look again: mlops show {run.id}",
        )
    return run


def failure_of(error: errors.MlopsError, step: str = "run") -> Failure:
    """Give a step's error as its run keeps it; `ensure_success` makes an error of it again."""
    return Failure(
        reason=error.message,
        hint=error.hint,
        step=step,
        error=type(error).__name__,
        verdict=error.verdict if isinstance(error, errors.GateFailed) else None,
    )


def _error(run: Run, failure: Failure) -> errors.MlopsError:
    message = f"{run.id}: {failure.reason}"
    if failure.error == errors.GateFailed.__name__:
        verdict = run.judged_last or Verdict(checks=())
        return errors.GateFailed(message, hint=failure.hint, verdict=verdict)
    class_ = getattr(errors, failure.error, errors.RunFailed)
    if class_ is errors.RunFailed:
        # Also what a newer version calls by a name that is not known here.
        return errors.RunFailed(message, hint=failure.hint, failure=failure)
    error: errors.MlopsError = class_(message, hint=failure.hint)
    return error
