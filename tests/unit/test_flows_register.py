"""A model is registered if its gates pass, and judged by each gate once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from desk import Desk

from mlops_nb.core.gate import Outcome
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.core.verbs import Register
from mlops_nb.errors import BadGate, GateFailed, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.core.gate import Verdict
    from mlops_nb.core.model import ModelVersion

SETTINGS = '[models.churn]\ngates = ["auc>=0.7"]\n'


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, SETTINGS)


def trained(desk: Desk, run_id: str = "churn-1", **metrics: float) -> Run:
    run = desk.recorded(run_id, metrics=metrics)
    desk.registry.log_model(run.tracking_id, "model")
    return run


def register(
    desk: Desk, *gates: str, run: str = "churn-1", name: str = "churn"
) -> ModelVersion:
    version: ModelVersion = desk.project.run(Register(run=run, name=name, gates=gates))
    return version


def test_a_good_model_is_registered_once_however_often_it_is_asked(desk: Desk) -> None:
    run = trained(desk, auc=0.8)
    assert register(desk).version == register(desk).version == 1
    kept = json.loads(desk.registry.file(run.tracking_id, "mlops_nb/verdict.json") or b"")
    assert [check["gate"] for check in kept["checks"]] == ["auc>=0.7"]


def test_a_gate_named_twice_is_judged_once(desk: Desk) -> None:
    run = trained(desk, auc=0.8)
    verdict = desk.project.judge(run, ("auc >= 0.7", "auc>=0.7", "auc >= 70%"), "churn")
    assert [check.gate for check in verdict.checks] == ["auc >= 0.7"]


def test_the_gates_of_mlops_toml_hold_for_every_version(desk: Desk) -> None:
    trained(desk, auc=0.6)
    with pytest.raises(GateFailed, match="churn-1 is not registered as churn") as error:
        register(desk)
    assert "1 of 1 gates did not pass: auc>=0.7" in error.value.message
    assert not error.value.verdict.passed
    assert not desk.registry.registered
    assert register(desk, name="other").version == 1


def test_a_run_that_was_refused_stays_refused(desk: Desk) -> None:
    run = trained(desk, auc=0.8, f1=0.1)
    verdict = desk.project.judge(run, ("f1 >= 0.5",), "")
    desk.registry.finish(replace(run, verdict=verdict), {})
    with pytest.raises(GateFailed, match=r"f1 >= 0\.5"):
        register(desk)


def test_a_metric_that_was_never_logged_does_not_pass(desk: Desk) -> None:
    trained(desk, auc=0.8)
    with pytest.raises(GateFailed) as error:
        register(desk, "f1 >= 0.5")
    outcomes = {check.gate: check.outcome for check in error.value.verdict.checks}
    assert outcomes["auc>=0.7"] is Outcome.PASSED
    assert outcomes["f1 >= 0.5"] is not Outcome.PASSED


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED])
def test_a_run_that_did_not_succeed_is_not_registered(desk: Desk, state: RunState) -> None:
    trained(desk, auc=0.8)
    desk.recorded(
        "churn-1", state=state, failure=Failure(reason="cell 3"), metrics={"auc": 1.0}
    )
    with pytest.raises(UserError, match=f"churn-1 is {state}; only a run that succeeded"):
        register(desk)


def test_a_run_whose_later_step_failed_can_be_registered(desk: Desk) -> None:
    trained(desk, auc=0.8)
    failure = Failure(reason="the server was away", step="register")
    desk.recorded("churn-1", state=RunState.FAILED, failure=failure, metrics={"auc": 0.8})
    assert register(desk).version == 1


@pytest.mark.parametrize(
    ("words", "class_", "message"),
    [
        ({"name": "My Model"}, UserError, "My Model"),
        ({"gates": ("auc >> 1",)}, BadGate, "auc >> 1"),
    ],
)
def test_a_wrong_request_registers_nothing(
    desk: Desk, words: dict[str, object], class_: type[UserError], message: str
) -> None:
    trained(desk, auc=0.8)
    verb = Register(**{"run": "churn-1", "name": "churn", **words})  # type: ignore[arg-type]
    with pytest.raises(class_, match=message):
        desk.project.run(verb)
    assert not desk.registry.registered


def against_champion(desk: Desk, run: Run, model: str = "churn") -> Verdict:
    return desk.project.judge(run, ("auc >= champion - 0.01",), model)


def test_a_model_is_held_against_the_champion(desk: Desk) -> None:
    first = trained(desk, "churn-1", auc=0.9)
    (only,) = against_champion(desk, first).checks
    assert (only.outcome, only.baseline) == (Outcome.PASSED, "")
    assert "no champion" in only.reason
    desk.registry.register(first, "churn")
    desk.registry.point("churn", "champion", 1)
    worse = against_champion(desk, trained(desk, "churn-2", auc=0.8))
    assert not worse.passed
    assert worse.checks[0].baseline == "churn/1"
    assert against_champion(desk, trained(desk, "churn-3", auc=0.895)).passed
    # The champion judged again, for another environment, is not its own baseline.
    assert against_champion(desk, first).checks[0].baseline == ""
