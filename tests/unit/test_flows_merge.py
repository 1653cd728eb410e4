"""An alias that a merge by Git alone left behind is told of, with the line that moves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fake_forge import FakeForge
from fake_registry import FakeRegistry

from mlops_nb.core.change import ChangeSet, LockFile, branch_of, lock_path
from mlops_nb.core.delivery import Environment
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.verbs import Merge
from mlops_nb.flows.merge import left_behind, merge
from mlops_nb.manifests.lock import lock_text

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENTS = {"prod": Environment(name="prod", alias="champion")}


@pytest.fixture
def registry() -> FakeRegistry:
    made = FakeRegistry()
    for n in (1, 2):
        run = made.begin(Run(id=f"churn-{n}", notebook="", state=RunState.SUCCEEDED), {})
        made.log_model(run.tracking_id, "model")
        made.register(run, "churn")
    return made


def propose(forge: FakeForge, version: int) -> int:
    lock = LockFile(
        model="churn", version=version, environment="prod", uri=f"models:/churn/{version}",
        source="", digest="", image="", run="", tracking_id="", tracking_uri="",
    )  # fmt: skip
    change = ChangeSet(
        branch=branch_of("churn", "prod"),
        title=f"Deploy churn/{version} to prod",
        body="",
        files={lock_path("churn", "prod"): lock_text(lock)},
    )
    return forge.propose(change).number


def told(
    forge: FakeForge,
    registry: FakeRegistry,
    environments: Mapping[str, Environment] = ENVIRONMENTS,
) -> list[str]:
    notes = left_behind(registry.versions(), forge=forge, environments=environments)
    return [note.text for note in notes]


def test_the_line_that_is_told_moves_the_alias(registry: FakeRegistry) -> None:
    forge = FakeForge()
    merge(
        Merge(number=propose(forge, 1)),
        forge=forge,
        registry=registry,
        environments=ENVIRONMENTS,
    )
    assert told(forge, registry) == []
    number = propose(forge, 2)
    assert told(forge, registry) == []
    forge.merge(number)  # as `git merge` and a push do: the registry hears nothing of it
    (note,) = told(forge, registry)
    assert note == (
        "churn in prod is version 2, but churn@champion is version 1: a merge by Git alone "
        "moves no alias; `mlops merge 2` does"
    )
    merge(Merge(number=2), forge=forge, registry=registry, environments=ENVIRONMENTS)
    assert told(forge, registry) == []


def test_without_an_alias_or_with_a_broken_record_nothing_is_told(
    registry: FakeRegistry,
) -> None:
    forge = FakeForge()
    forge.merge(propose(forge, 1))
    (note,) = told(forge, registry)
    assert "churn@champion is not there" in note
    assert told(forge, registry, {"prod": Environment(name="prod")}) == []
    forge.trees[-1][lock_path("churn", "prod")] = b"version: broken"
    assert told(forge, registry) == []


def test_an_alias_that_two_environments_share_may_be_at_either(registry: FakeRegistry) -> None:
    forge = FakeForge()
    forge.merge(propose(forge, 1))
    registry.point("churn", "champion", 2)
    stage = lock_path("churn", "stage")
    lock = forge.trees[-1][lock_path("churn", "prod")]
    forge.trees[-1][stage] = lock.replace(b"version: 1", b"version: 2")
    both = {**ENVIRONMENTS, "stage": Environment(name="stage", alias="champion")}
    assert told(forge, registry, both) == []
