"""What who waited for a run is told."""

from __future__ import annotations

import pytest

from mlops_nb import errors
from mlops_nb.core.gate import Check, Outcome, Verdict
from mlops_nb.core.outcome import ensure_success, failure_of
from mlops_nb.core.run import Failure, Run, RunState

PASSED = Verdict(checks=(Check(gate="auc >= 0.7", outcome=Outcome.PASSED),))
REFUSED = Verdict(
    checks=(
        *PASSED.checks,
        Check(gate="f1 >= 0.9", outcome=Outcome.FAILED, reason="f1 is 0.5"),
    )
)


def run(failure: Failure | None = None, verdict: Verdict | None = None) -> Run:
    state = RunState.FAILED if failure else RunState.SUCCEEDED
    return Run(id="r-1", notebook="n.ipynb", state=state, failure=failure, verdict=verdict)


def test_a_good_run_is_given_back() -> None:
    assert ensure_success(run(verdict=PASSED)) == run(verdict=PASSED)
    assert ensure_success(run()) == run()


def test_a_failed_cell_is_told_with_its_hint_and_exit_code() -> None:
    failure = Failure(reason="cell 3: ValueError: no", hint="mend it", cell=3)
    with pytest.raises(errors.RunFailed, match="r-1: cell 3: ValueError: no") as error:
        ensure_success(run(failure))
    assert (error.value.hint, error.value.failure) == ("mend it", failure)
    assert error.value.exit_code == 3


def test_a_refusal_names_its_gates_and_carries_the_verdict_that_tells_why() -> None:
    with pytest.raises(errors.GateFailed) as error:
        ensure_success(run(verdict=REFUSED))
    assert error.value.message == "r-1: 1 of 2 gates did not pass: f1 >= 0.9"
    assert error.value.verdict == REFUSED


def test_a_step_that_gates_refused_keeps_the_verdict_it_was_refused_by() -> None:
    refusal = errors.GateFailed("m/1 is not proposed", verdict=REFUSED, hint="next")
    refused = run(failure_of(refusal, "deploy"), PASSED)
    assert refused.judged_last == REFUSED
    with pytest.raises(errors.GateFailed, match="r-1: m/1 is not proposed") as error:
        ensure_success(refused)
    assert (error.value.verdict, error.value.hint) == (REFUSED, "next")


@pytest.mark.parametrize(
    ("name", "class_", "code"),
    [
        ("BackendUnavailable", errors.BackendUnavailable, 4),
        ("NotAllowed", errors.NotAllowed, 4),
        ("UserError", errors.UserError, 2),
        ("GateFailed", errors.GateFailed, 3),
        ("RunFailed", errors.RunFailed, 3),
        ("ErrorOfTheNextVersion", errors.RunFailed, 3),
    ],
)
def test_a_failed_step_is_told_as_the_class_it_met(
    name: str, class_: type[errors.MlopsError], code: int
) -> None:
    failure = Failure(reason="why", hint="next", step="deploy", error=name)
    for verdict in (None, PASSED):
        with pytest.raises(class_, match="r-1: why") as error:
            ensure_success(run(failure, verdict))
        assert (type(error.value), error.value.exit_code) == (class_, code)
        assert error.value.hint == "next"


def test_every_class_can_be_told_of_a_failure() -> None:
    for name, class_ in vars(errors).items():
        if isinstance(class_, type) and issubclass(class_, errors.MlopsError):
            with pytest.raises(class_):
                ensure_success(run(Failure(reason="why", error=name)))
