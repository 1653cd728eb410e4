"""Looking at runs of this machine and of others."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from desk import NOON, Desk

from mlops_nb.core.events import Note, Progress, RunMoved
from mlops_nb.core.results import Comparison, Deleted, RunList, SweepResult
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.verbs import (
    Cancel,
    Compare,
    Delete,
    Logs,
    Models,
    Retry,
    Runs,
    Show,
    Sweep,
    Train,
)
from mlops_nb.errors import BackendUnavailable, Conflict, NotFound, UserError
from mlops_nb.flows.watch import watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlops_nb.core.events import Event


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def listed(desk: Desk, **words: object) -> list[str]:
    found: RunList = desk.project.run(Runs(**words), desk.events.append)  # type: ignore[arg-type]
    return [run.id for run in found.runs]


def train(desk: Desk, **words: object) -> Run:
    verb = Train(notebook=desk.notebook, wait=True, **words)  # type: ignore[arg-type]
    run: Run = desk.project.run(verb, desk.events.append)
    return run


def test_runs_of_this_machine_and_of_others_are_listed_once(desk: Desk) -> None:
    here = train(desk)
    desk.recorded(here.id)
    desk.recorded("churn-else")
    assert sorted(listed(desk)) == sorted([here.id, "churn-else"])
    assert listed(desk, limit=1) in ([here.id], ["churn-else"])


def test_what_has_not_begun_stands_before_what_has(desk: Desk) -> None:
    done = train(desk)
    verb = Train(notebook=desk.notebook, wait=False)
    queued = desk.project.run(verb)
    assert listed(desk) == [queued.id, done.id]


def test_a_sweep_made_elsewhere_does_not_crowd_out_other_runs(desk: Desk) -> None:
    desk.recorded("old-1")
    desk.recorded("sweep-1")
    for n in range(30):
        desk.recorded(f"sweep-1.{n + 1}", parent="sweep-1")
    assert sorted(listed(desk, limit=5)) == ["old-1", "sweep-1"]


def test_runs_are_found_by_notebook_and_state(desk: Desk) -> None:
    good = train(desk)
    bad = train(desk, parameters={"depth": 13})
    desk.recorded("x-1", notebook="/far/away/my-churn.ipynb")
    desk.recorded("y-1", notebook="/far/away/churn.ipynb")
    assert set(listed(desk, notebook="churn.ipynb")) == {good.id, bad.id, "y-1"}
    assert listed(desk, notebook="away/churn.ipynb") == ["y-1"]
    assert set(listed(desk, notebook=desk.notebook)) == {good.id, bad.id}
    assert listed(desk, state="failed") == [bad.id]
    with pytest.raises(UserError, match="'broken' is no state of a run") as error:
        listed(desk, state="broken")
    assert "succeeded" in error.value.hint


def test_a_model_that_is_none_is_told_with_the_nearest(desk: Desk) -> None:
    run = desk.recorded("churn-1")
    desk.registry.log_model(run.tracking_id, "model")
    desk.registry.register(run, "credit")
    with pytest.raises(NotFound, match="no model 'credi'") as error:
        desk.project.run(Models(name="credi"))
    assert "did you mean 'credit'?" in error.value.hint


def test_a_notebook_without_runs_is_told_from_a_project_without_runs(desk: Desk) -> None:
    assert listed(desk, notebook="chrun.ipynb") == []
    assert not desk.events
    train(desk)
    desk.events.clear()
    assert listed(desk, notebook="chrun.ipynb") == []
    assert listed(desk, notebook="digits.ipynb") == []
    assert listed(desk, notebook="churn.ipynb", state="failed") == []
    assert [event.text for event in desk.events if isinstance(event, Note)] == [
        "no run of chrun.ipynb; did you mean churn.ipynb?",
        "no run of digits.ipynb; there are runs of churn.ipynb",
    ]


def test_without_the_server_this_machines_runs_are_shown(desk: Desk) -> None:
    run = train(desk)
    desk.registry.down = True
    assert listed(desk) == [run.id]
    *_, note = [event for event in desk.events if isinstance(event, Note)]
    assert "only runs of this machine" in note.text
    shown = desk.project.run(Show(run=run.id[:8]))
    assert shown.id == run.id
    with pytest.raises(BackendUnavailable):
        desk.project.run(Show(run="churn-nobody"))


def test_a_run_is_meant_by_id_tracking_id_or_beginning(desk: Desk) -> None:
    run = train(desk)
    far = desk.recorded("digits-0a1b2c")
    for ref in (run.id, run.id[:9]):
        assert desk.project.run(Show(run=ref)) == run
    for ref in (far.id, far.tracking_id, "digits"):
        assert desk.project.run(Show(run=ref)).id == far.id
    with pytest.raises(NotFound, match="churn-zzzz"):
        desk.project.run(Show(run="churn-zzzz"))
    with pytest.raises(NotFound):
        desk.project.run(Show(run=""))


def test_a_beginning_of_several_is_refused_with_their_ids(desk: Desk) -> None:
    first, second = train(desk), train(desk)
    with pytest.raises(UserError, match="is the beginning of 2 runs") as error:
        desk.project.run(Cancel(run="churn-"))
    assert first.id in error.value.message
    assert second.id in error.value.message
    desk.recorded("digits-1")
    desk.executor._runs["digits-2"] = Run(
        id="digits-2", notebook="", state=RunState.SUCCEEDED, directory="x"
    )
    with pytest.raises(UserError, match="digits-2 and of digits-1"):
        desk.project.run(Logs(run="digits")).__next__()


def test_cancel_and_retry_take_a_beginning(desk: Desk) -> None:
    run = desk.project.run(Train(notebook=desk.notebook, wait=False))
    assert desk.project.run(Cancel(run=run.id[:10])).state is RunState.CANCELLED
    again = desk.project.run(Retry(run=run.id[:10], wait=True))
    assert (again.id, again.state) == (run.id, RunState.SUCCEEDED)


def test_retry_refuses_what_has_nothing_to_repeat(desk: Desk) -> None:
    done = train(desk)
    with pytest.raises(UserError, match="succeeded: there is nothing to do again"):
        desk.project.run(Retry(run=done.id))
    going = desk.project.run(Train(notebook=desk.notebook, wait=False))
    with pytest.raises(UserError, match="is queued") as error:
        desk.project.run(Retry(run=going.id))
    assert f"mlops logs -f {going.id}" in error.value.hint
    desk.recorded("far-1", state=RunState.FAILED)
    with pytest.raises(NotFound, match="made on another machine"):
        desk.project.run(Retry(run="far-1"))


def test_a_retried_sweep_is_given_with_its_children(desk: Desk) -> None:
    verb = Sweep(notebook=desk.notebook, parameters={"depth": "2,3"}, wait=False)
    sweep = desk.project.run(verb)
    for child in desk.executor.jobs[sweep.id].children:
        desk.executor.submit(child, b"")
        desk.executor.cancel(child.id)
    desk.executor.cancel(sweep.id)
    again = desk.project.run(Retry(run=sweep.id, wait=True))
    assert isinstance(again, SweepResult)
    assert [child.id for child in again.children] == [f"{sweep.id}.1", f"{sweep.id}.2"]


def test_a_sweep_made_elsewhere_is_shown_with_its_children_in_order(desk: Desk) -> None:
    desk.recorded("s-1", best="max:score")
    for n in (10, 2, 1):
        desk.recorded(f"s-1.{n}", parent="s-1", metrics={"score": float(n)})
    desk.recorded("s-1.x", parent="s-1", metrics={"other": 1.0})
    shown = desk.project.run(Show(run="s-1"))
    assert isinstance(shown, SweepResult)
    assert [child.id for child in shown.children] == ["s-1.1", "s-1.2", "s-1.10", "s-1.x"]
    assert shown.best == "s-1.10"
    assert desk.project.run(Show(run="s-1.2")).parent == "s-1"


def test_the_best_of_a_sweep_is_the_least_where_asked_and_none_without_the_metric(
    desk: Desk,
) -> None:
    for ref, best in (("a-1", "min:loss"), ("b-1", "max:nothing")):
        desk.recorded(ref, best=best)
        desk.recorded(f"{ref}.1", parent=ref, metrics={"loss": 2.0})
        desk.recorded(f"{ref}.2", parent=ref, metrics={"loss": 1.0})
        desk.recorded(f"{ref}.3", parent=ref, metrics={"loss": 0.0}, state=RunState.FAILED)
    assert desk.project.run(Show(run="a-1")).best == "a-1.2"
    assert desk.project.run(Show(run="b-1")).best == ""


def test_a_run_compared_twice_with_itself_stands_there_once(desk: Desk) -> None:
    run = train(desk)
    compared = desk.project.run(Compare(runs=(run.id, run.id[:9])))
    assert compared == Comparison(runs=(run,))


def test_logs_come_from_the_folder_or_from_the_server(desk: Desk) -> None:
    run = train(desk, parameters={"depth": "4"})
    assert list(desk.project.run(Logs(run=run.id))) == ["depth 4\n"]
    far = desk.recorded("far-1")
    desk.registry.attach(far.tracking_id, "mlops_nb/log.txt", b"one\ntw\xff\n")
    assert list(desk.project.run(Logs(run="far-1"))) == ["one\n", "tw�\n"]
    desk.recorded("far-2")
    with pytest.raises(NotFound, match="far-2 has no log"):
        list(desk.project.run(Logs(run="far-2")))
    going = desk.registry.begin(Run(id="far-3", notebook="n", state=RunState.RUNNING), {})
    with pytest.raises(NotFound) as error:
        list(desk.project.run(Logs(run=going.id)))
    assert "when the run ends" in error.value.hint


def test_interrupting_the_watch_cancels_the_run(desk: Desk) -> None:
    run = desk.project.run(Train(notebook=desk.notebook, wait=False))

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress):
            raise KeyboardInterrupt

    assert watch(run.id, executor=desk.executor, tell=interrupt).state is RunState.CANCELLED


def test_a_run_deleted_while_it_is_watched_is_said_to_be_gone(desk: Desk) -> None:
    run = desk.project.run(Train(notebook=desk.notebook, wait=False))

    class Forgetful:
        def watch(self, _run_id: str) -> Iterator[Event]:
            yield RunMoved(run=run.id, state=RunState.RUNNING, time=NOON + timedelta(1))

        def run(self, _run_id: str) -> None:
            return None

    with pytest.raises(NotFound, match="was deleted while it was watched"):
        watch(run.id, executor=Forgetful(), tell=desk.events.append)  # type: ignore[arg-type]


def test_inside_a_run_nothing_is_started(tmp_path: Path) -> None:
    desk = Desk(tmp_path, environment={"MLOPS_NB_RUN": "outer-1"})
    outer = desk.project.run(Train(notebook=desk.notebook), desk.events.append)
    assert outer.id == "outer-1"
    assert not desk.executor.jobs
    assert "does nothing here" in str(desk.events)


def test_models_are_listed_newest_first(desk: Desk) -> None:
    for run_id in ("m-1", "m-2"):
        run = desk.recorded(run_id)
        desk.registry.log_model(run.tracking_id, "model")
        desk.registry.register(run, "churn")
    versions = desk.project.run(Models(name="churn")).versions
    assert [str(version) for version in versions] == ["churn/2", "churn/1"]


def test_pages_are_the_whole_list_once(desk: Desk) -> None:
    for n in range(4):
        train(desk, parameters={"depth": n})  # they begin at one and the same time
        desk.recorded(f"else-{n}")
        desk.recorded(f"else-{n}.1", parent=f"else-{n}")
    waiting = [desk.project.run(Train(notebook=desk.notebook, wait=False)) for _ in range(2)]
    whole = listed(desk, limit=100)
    assert len(whole) == 10
    assert set(whole[:2]) == {run.id for run in waiting}
    for limit in (1, 2, 3, 5, 9, 10):
        pages: list[str] = []
        after = ""
        while True:
            page: RunList = desk.project.run(Runs(limit=limit, after=after))
            pages += [run.id for run in page.runs]
            after = page.next
            if not after:
                break
        assert pages == whole


def test_what_comes_or_goes_meanwhile_moves_no_page(desk: Desk) -> None:
    for n in range(6):
        desk.recorded(f"old-{n}")
    whole = listed(desk, limit=100)
    first: RunList = desk.project.run(Runs(limit=2))
    desk.recorded("young-1")
    desk.registry.delete(first.runs[-1].tracking_id)
    second: RunList = desk.project.run(Runs(limit=2, after=first.next))
    assert [run.id for run in second.runs] == whole[2:4]


@pytest.mark.parametrize("after", ["churn-1", "12", "12.", "old.churn-1", "1e5.x"])
def test_what_is_no_place_in_a_list_is_told(desk: Desk, after: str) -> None:
    with pytest.raises(UserError, match="no place in a list"):
        listed(desk, after=after)


def delete(desk: Desk, *runs: str, restore: bool = False) -> Deleted:
    done: Deleted = desk.project.run(Delete(runs=runs, restore=restore))
    return done


def test_deleted_runs_are_gone_and_their_records_come_back(desk: Desk) -> None:
    here = train(desk)
    desk.recorded(here.id)
    desk.recorded("else-1")
    deleted = delete(desk, here.id[:-1], "else-1")
    assert set(deleted.runs) == {here.id, "else-1"}
    assert deleted.lost == (here.id,)  # the double records no MLflow id with its own runs
    assert "else-1" not in listed(desk)
    assert delete(desk, "else-1", restore=True) == Deleted(runs=("else-1",), is_restored=True)
    assert "else-1" in listed(desk)


def test_a_sweep_is_deleted_with_its_children(desk: Desk) -> None:
    desk.recorded("sweep-1", children=2)
    desk.recorded("sweep-1.1", parent="sweep-1")
    desk.recorded("sweep-1.2", parent="sweep-1")
    assert delete(desk, "sweep-1", "sweep-1.1").runs == ("sweep-1.1", "sweep-1.2", "sweep-1")
    assert listed(desk) == []
    restored = delete(desk, "sweep-1", restore=True)
    assert restored.runs == ("sweep-1", "sweep-1.1", "sweep-1.2")


def test_one_that_must_stay_keeps_all(desk: Desk) -> None:
    gone = desk.recorded("gone-1")
    used = desk.recorded("used-1")
    desk.registry.log_model(used.tracking_id, "model")
    desk.registry.register(used, "credit")
    with pytest.raises(Conflict, match="used-1 is what credit/1 was made from") as error:
        delete(desk, gone.id, used.id)
    assert error.value.hint == "leave it out"
    going = desk.project.run(Train(notebook=desk.notebook, wait=False))
    with pytest.raises(Conflict, match=f"run {going.id} has not ended") as error:
        delete(desk, gone.id, going.id)
    assert error.value.hint == f"stop it first: mlops cancel {going.id}"
    with pytest.raises(NotFound):
        delete(desk, gone.id, "nobody-1")
    with pytest.raises(UserError, match="no run is named"):
        delete(desk)
    assert set(listed(desk)) == {gone.id, used.id, going.id}
