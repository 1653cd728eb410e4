"""What is written as JSON is read again as what it was."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest

from mlops_nb import wire
from mlops_nb.core.events import Event, MetricLogged, RunMoved
from mlops_nb.core.gate import Check, Outcome, Verdict
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.errors import UserError

RUN = Run(
    id="r-1",
    notebook="Größe.ipynb",
    state=RunState.FAILED,
    parameters={"a": [1, None, {"b": 1.5}], "name": "ü"},
    metrics={"auc": 0.1 + 0.2},
    started=datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC),
    failure=Failure(reason="no", cell=3),
    verdict=Verdict(checks=(Check(gate="a >= 1", outcome=Outcome.SKIPPED),)),
)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_run_comes_back_as_it_was(indent: int | None) -> None:
    assert wire.loads(Run, wire.dumps(RUN, indent=indent)) == RUN


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_survives_and_the_json_stays_json(value: float) -> None:
    event = MetricLogged(run="r", time=datetime.now(UTC), name="loss", value=value)
    text = wire.dumps(event)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    read = wire.loads(Event, text)  # type: ignore[arg-type, var-annotated]  # a union is no class
    assert isinstance(read, MetricLogged)
    assert repr(read.value) == repr(value)


def test_events_are_told_apart_by_their_kind() -> None:
    moved = RunMoved(run="r", state=RunState.RUNNING, time=datetime.now(UTC))
    assert wire.loads(Event, wire.dumps(moved)) == moved  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"id": "r", "notebook": "n"}', "state"),
        ('{"id": "r", "notebook": "n", "state": "odd"}', "state"),
        ('{"id": "r", "notebook": "n", "state": "failed", "failure": {}}', "failure.reason"),
        ('{"id": ', "document"),
        ("", "document"),
    ],
)
def test_what_is_not_such_a_document_is_refused_with_the_field(text: str, field: str) -> None:
    with pytest.raises(UserError) as error:
        wire.loads(Run, text)
    assert error.value.message.startswith(f"{field}: ")
