"""What a finished run means to who waited for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb import errors

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
        failure = run.failure
        message = f"{run.id}: {failure.reason}"
        if failure.error == errors.RunFailed.__name__:
            raise errors.RunFailed(message, hint=failure.hint, failure=failure)
        raise getattr(errors, failure.error)(message, hint=failure.hint)
    if run.verdict is not None and not run.verdict.passed:
        refused = [check for check in run.verdict.checks if check.outcome != "passed"]
        raise errors.GateFailed(
            f"{run.id}: {len(refused)} of {len(run.verdict.checks)} gates did not pass: "
            + "; ".join(f"{check.gate} ({check.reason})" for check in refused),
            verdict=run.verdict,
            hint=f"look at `mlops show {run.id}`; nothing was registered or deployed",
        )
    return run
