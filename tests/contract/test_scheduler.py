"""What everything that keeps schedules promises: a fake in memory, and Kubeflow's adapter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fake_scheduler import FakeScheduler
from rehearsal import Rehearsal, rehearsal
from test_executor import GOOD, notebook

from mlops_nb.adapters.kubeflow.executor import KubeflowExecutor
from mlops_nb.core.recurring import Schedule, Scheduled, ScheduleState
from mlops_nb.core.run import RunSpec
from mlops_nb.core.settings import parse_settings
from mlops_nb.core.verbs import Job
from mlops_nb.errors import NotFound
from mlops_nb.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlops_nb.ports import Scheduler

WORDS = Schedule(notebook="nb.ipynb", cron="0 3 * * 1", name="nightly")


class SchedulerContract:
    """The promises; a subclass gives the scheduler."""

    @pytest.fixture
    def scheduler(self, tmp_path: Path) -> Scheduler:
        raise NotImplementedError

    def put(
        self,
        scheduler: Scheduler,
        folder: Path,
        words: Schedule = WORDS,
        content: bytes = GOOD,
        fingerprint: str = "f1",
    ) -> Scheduled:
        path = folder / "nb.ipynb"
        path.write_bytes(content)
        job = Job(id=words.name, spec=RunSpec(notebook=str(path)), project=str(folder))
        return scheduler.put(words, job, content, fingerprint)

    @pytest.mark.parametrize("is_latest", [False, True], ids=["pinned", "latest"])
    def test_what_is_put_is_found_and_the_same_again_changes_nothing(
        self, scheduler: Scheduler, tmp_path: Path, is_latest: bool
    ) -> None:
        words = replace(WORDS, latest=is_latest)
        made = self.put(scheduler, tmp_path, words)
        assert (made.name, made.request, made.state) == ("nightly", words, ScheduleState.ACTIVE)
        assert self.put(scheduler, tmp_path, words) == made
        assert scheduler.find("nightly") == made
        assert list(scheduler.schedules()) == [made]

    @pytest.mark.parametrize("is_latest", [False, True], ids=["pinned", "latest"])
    def test_other_words_or_another_notebook_take_the_place_of_the_first(
        self, scheduler: Scheduler, tmp_path: Path, is_latest: bool
    ) -> None:
        words = replace(WORDS, latest=is_latest)
        self.put(scheduler, tmp_path, words)
        other = replace(words, cron="@daily")
        assert self.put(scheduler, tmp_path, other).request == other
        more = notebook("x: int = 1", "print('more')")
        assert self.put(scheduler, tmp_path, other, more, "f2").fingerprint == "f2"
        found = scheduler.find("nightly")
        assert found is not None
        assert (found.request, found.fingerprint) == (other, "f2")
        assert len(scheduler.schedules()) == 1

    def test_a_paused_one_stays_paused_when_it_is_changed(
        self, scheduler: Scheduler, tmp_path: Path
    ) -> None:
        self.put(scheduler, tmp_path)
        scheduler.switch("nightly", active=False)
        scheduler.switch("nightly", active=False)
        changed = self.put(scheduler, tmp_path, replace(WORDS, cron="@daily"))
        assert changed.state is ScheduleState.PAUSED
        scheduler.switch("nightly", active=True)
        found = scheduler.find("nightly")
        assert found is not None
        assert found.state is ScheduleState.ACTIVE

    def test_schedules_are_by_name_and_a_deleted_one_is_gone(
        self, scheduler: Scheduler, tmp_path: Path
    ) -> None:
        for name in ("b", "a"):
            self.put(scheduler, tmp_path, replace(WORDS, name=name, latest=name == "a"))
        assert [scheduled.name for scheduled in scheduler.schedules()] == ["a", "b"]
        scheduler.delete("a")
        assert [scheduled.name for scheduled in scheduler.schedules()] == ["b"]
        assert scheduler.find("a") is None
        self.put(scheduler, tmp_path, replace(WORDS, name="a"))
        assert len(scheduler.schedules()) == 2

    def test_an_unknown_one_is_said_to_be_unknown(self, scheduler: Scheduler) -> None:
        assert scheduler.find("nobody") is None
        with pytest.raises(NotFound, match="nobody"):
            scheduler.delete("nobody")
        with pytest.raises(NotFound, match="nobody"):
            scheduler.switch("nobody", active=True)


class TestFakeScheduler(SchedulerContract):
    @pytest.fixture
    def scheduler(self, tmp_path: Path) -> Scheduler:
        return FakeScheduler()


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, migrated_store: Path
) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path_factory.mktemp("servers"), migrated_store) as both:
        yield both


class TestKubeflowSchedules(SchedulerContract):
    @pytest.fixture
    def scheduler(self, tmp_path: Path, servers: Rehearsal) -> Iterator[Scheduler]:
        project = f"[project]\nname = '{tmp_path.name}'\n"
        settings = parse_settings(
            project + servers.settings(), path="mlops.toml", default_name="p"
        )
        kept = KubeflowExecutor(Project(tmp_path, settings, {})).scheduler()
        yield kept
        # Pipelines' names are the same for all experiments.
        for scheduled in kept.schedules():
            kept.delete(scheduled.name)
