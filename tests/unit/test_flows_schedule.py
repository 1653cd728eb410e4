"""Schedules and ejection with fakes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from desk import Desk, write_notebook
from fake_scheduler import FakeScheduler

from mlops_nb.core import verbs
from mlops_nb.core.delivery import Deployment, Environment
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.recurring import Scheduled, ScheduleState
from mlops_nb.core.run import Run
from mlops_nb.display import html, text
from mlops_nb.errors import Conflict, NotANotebook, NotFound, PlainSecret, UserError

if TYPE_CHECKING:
    from mlops_nb.core.results import Ejected
    from mlops_nb.core.verbs import Verb
    from mlops_nb.project import Project

KUBEFLOW = '[kubeflow]\nurl = "https://kubeflow.example.com"\ntracking_uri = "https://mlflow"\n'


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, KUBEFLOW)


@pytest.fixture
def scheduler(desk: Desk) -> FakeScheduler:
    desk.executor.schedules = FakeScheduler()
    return desk.executor.schedules


def do(desk: Desk, verb: Verb) -> Any:
    return desk.project.run(verb, desk.events.append)


def schedule(desk: Desk, **words: Any) -> Scheduled:
    given = {"notebook": desk.notebook, "cron": "0 3 * * 1", "on": "kubeflow"}
    made: Scheduled = do(desk, verbs.Schedule(**{**given, **words}))
    return made


def test_a_schedule_is_checked_named_and_told(desk: Desk, scheduler: FakeScheduler) -> None:
    made = schedule(desk, parameters={"lr": "0.5"}, gates=("score >= 1",), gpu=1)
    assert (made.name, made.is_new, made.changes) == ("churn", True, ())
    assert made.request.notebook == "churn.ipynb"
    assert made.request.parameters == {"lr": 0.5}
    assert made.when == "at 03:00 on Mondays UTC"
    assert len(made.next) == 3
    job = scheduler.jobs["churn"]
    assert (job.id, job.gates, job.placement.gpu) == ("churn", ("score >= 1",), 1)
    assert job.spec.notebook == desk.notebook
    assert job.requested_by == "Ann Lee <ann@example.com>"


def test_the_same_line_again_writes_nothing(desk: Desk, scheduler: FakeScheduler) -> None:
    schedule(desk, parameters={"lr": "0.5"})
    again = schedule(desk, parameters={"lr": 0.5}, cron="0  3 * * 1")
    assert (again.is_new, again.changes, scheduler.puts) == (False, (), 1)
    assert not desk.events


def test_other_words_are_changed_and_told(desk: Desk, scheduler: FakeScheduler) -> None:
    schedule(desk)
    changed = schedule(desk, cron="@daily", timezone="UTC+1", gates=("score >= 1",))
    assert changed.changes == (
        "gates: none → score >= 1", "cron: 0 3 * * 1 → @daily", "timezone: UTC → UTC+1",
    )  # fmt: skip
    assert scheduler.puts == 2


def test_a_changed_notebook_waits_for_the_update(desk: Desk, scheduler: FakeScheduler) -> None:
    first = schedule(desk, parameters={"lr": 0.5, "depth": 5})
    write_notebook(Path(desk.notebook), "lr: float = 0.1\ndepth: int = 9")
    assert schedule(desk, parameters={"lr": 0.5, "depth": 5}).fingerprint == first.fingerprint
    (note,) = desk.events
    assert "mlops schedule update churn" in getattr(note, "text", "")
    verb = verbs.UpdateSchedule(name="churn", parameters={"lr": "0.7"}, retries=2, latest=True)
    updated = do(desk, verb)
    assert updated.request.parameters == {"lr": 0.7, "depth": 5}
    assert updated.changes == (
        "parameters: lr=0.5, depth=5 → lr=0.7, depth=5", "retries: 0 → 2",
        "latest: False → True", "notebook: as it is now",
    )  # fmt: skip
    assert scheduler.jobs["churn"].retries == 2
    assert do(desk, verbs.UpdateSchedule(name="churn")).changes == ()


def test_pause_resume_delete_and_list(desk: Desk, scheduler: FakeScheduler) -> None:
    schedule(desk, name="b")
    schedule(desk, name="a")
    paused = do(desk, verbs.PauseSchedule(name="a"))
    assert (paused.state, paused.next) == (ScheduleState.PAUSED, ())
    assert paused.changes == ("state: active → paused",)
    assert do(desk, verbs.PauseSchedule(name="a")).changes == ()
    assert desk.events
    assert getattr(desk.events[-1], "text", "") == "a is paused already"
    listed = do(desk, verbs.Schedules()).schedules
    assert [(s.name, s.state.value, len(s.next)) for s in listed] == [
        ("a", "paused", 0), ("b", "active", 3),
    ]  # fmt: skip
    assert do(desk, verbs.ResumeSchedule(name="a")).state is ScheduleState.ACTIVE
    gone = do(desk, verbs.DeleteSchedule(name="a"))
    assert gone.state is ScheduleState.DELETED
    assert text(gone).startswith("✔ schedule a deleted; its runs stay")
    with pytest.raises(NotFound, match="no schedule 'a'") as error:
        do(desk, verbs.ResumeSchedule(name="a"))
    assert error.value.hint == "there are: b"


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"cron": "0 0 3 * * 1"}, UserError, "has six fields"),
        ({"timezone": "Mars"}, UserError, "no time zone 'Mars'"),
        ({"cron": "0 0 30 2 *"}, UserError, "never comes true"),
        ({"notebook": "none.ipynb"}, NotANotebook, "there is no notebook"),
        ({"parameters": {"lx": 1}}, UserError, "no parameter 'lx'"),
        ({"parameters": {"lr": "secret:NONE"}}, UserError, "NONE"),
        ({"deploy": "prod"}, UserError, "needs a registered model"),
        ({"name": "My Schedule"}, UserError, "cannot name a schedule"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_kept(
    desk: Desk, scheduler: FakeScheduler, words: dict[str, Any], error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        schedule(desk, **words)
    assert scheduler.puts == 0


def test_a_literal_that_is_a_credential_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path, KUBEFLOW)
    desk.executor.schedules = FakeScheduler()
    write_notebook(Path(desk.notebook), "token: str = ''")
    with pytest.raises(PlainSecret):
        schedule(desk, parameters={"token": "ghp_" + "a1B2" * 9})


def test_on_this_machine_the_line_for_cron_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    with pytest.raises(UserError, match="on this machine cron starts") as error:
        schedule(
            desk,
            on="",
            notebook="churn.ipynb",
            parameters={"lr": "0.5"},
            gates=("score >= 50",),
            timeout=1800.0,
            data={},
            kernel="k%1",
        )
    assert error.value.exit_code == 2
    program = Path(sys.executable).with_name("mlops")
    line = (
        f"0 3 * * 1 cd {desk.folder} && {program} train churn.ipynb -p lr=0.5 "
        "--gate 'score >= 50' --timeout 1800 --kernel k\\%1"
    )
    assert line in error.value.hint
    assert "--on kubeflow" in error.value.hint


def test_without_kubeflow_there_are_no_schedules(desk: Desk) -> None:
    assert do(desk, verbs.Schedules()).schedules == ()
    with pytest.raises(UserError, match="no Kubeflow is configured"):
        schedule(desk)


def test_inside_a_run_nothing_is_scheduled(tmp_path: Path) -> None:
    desk = Desk(tmp_path, KUBEFLOW, {"MLOPS_NB_RUN": "churn-1"})
    desk.executor.schedules = FakeScheduler()
    verb = verbs.Schedule(notebook=desk.notebook, cron="@daily", on="kubeflow")
    assert isinstance(do(desk, verb), Run)
    assert desk.executor.schedules.puts == 0


def test_schedules_are_shown_in_words(desk: Desk, scheduler: FakeScheduler) -> None:
    made = schedule(desk, parameters={"lr": 0.5}, timezone="UTC+1", catchup=True)
    shown = text(made)
    assert shown.startswith("▶ schedule churn made")
    assert "at 03:00 on Mondays UTC+1, missed times too" in shown
    assert "lr=0.5" in shown
    listed = do(desk, verbs.Schedules())
    assert "▶ active" in text(listed)
    assert "pinned" in text(listed)
    assert "<table>" in html(made)
    assert "churn.ipynb" in html(listed)
    do(desk, verbs.DeleteSchedule(name="churn"))
    assert "mlops schedule NOTEBOOK --cron" in text(do(desk, verbs.Schedules()))


def eject(desk: Desk, **words: Any) -> Ejected:
    given = {"notebook": desk.notebook, "to": str(desk.folder / "out")}
    written: Ejected = do(desk, verbs.Eject(**{**given, **words}))
    return written


def test_what_is_ejected_lies_in_the_folder_with_its_digests(desk: Desk) -> None:
    ejected = eject(desk, kubernetes=True)
    folder = desk.folder / "out"
    names = {"README.md", "bundle-1.tar.gz", "kubernetes.yaml", "pipeline.yaml"}
    assert set(ejected.files) == names
    assert {path.name for path in folder.iterdir()} == {*names, "SHA256SUMS"}
    assert ejected.commands[-1] == "kubectl apply -f kubernetes.yaml"
    assert all(command in (folder / "README.md").read_text() for command in ejected.commands)
    assert "kfp --endpoint https://kubeflow.example.com run create" in text(ejected)


def test_without_a_folder_it_lies_beside_the_notebook(desk: Desk) -> None:
    assert Path(eject(desk, to="").folder) == desk.folder / "churn-ejected"


def test_files_that_nobody_changed_are_brought_up_to_date(desk: Desk) -> None:
    eject(desk, kubernetes=True)
    eject(desk)
    folder = desk.folder / "out"
    assert not (folder / "kubernetes.yaml").exists()
    (folder / "pipeline.yaml").write_text("mine")
    with pytest.raises(Conflict, match=r"pipeline.yaml in .* was changed since"):
        eject(desk)
    assert (folder / "pipeline.yaml").read_text() == "mine"


def test_a_folder_of_somebody_elses_is_left_alone(desk: Desk) -> None:
    folder = desk.folder / "out"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"holds notes.txt, which was not ejected"):
        eject(desk)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    with pytest.raises(Conflict, match="is a file"):
        eject(desk, to=str(folder / "notes.txt"))


def test_the_deployment_of_a_version_is_written_as_deploy_would_propose_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[verbs.Deploy] = []

    def propose(_project: Project, verb: verbs.Deploy, _tell: object) -> Deployment:
        asked.append(verb)
        version = ModelVersion(name="churn", version=3, source="s3://models/3")
        files = {
            "models/churn/overlays/prod/model.lock.yaml": b"version: 3\n",
            "old.yaml": None,
        }
        return Deployment(
            version=version, environment=Environment(name="prod"), previous=2, files=files
        )

    monkeypatch.setattr("mlops_nb.dispatch._deploy", propose)
    ejected = eject(desk, model="churn/3", env="prod")
    assert asked == [verbs.Deploy(model="churn/3", to="prod", dry_run=True)]
    path = "deployment/models/churn/overlays/prod/model.lock.yaml"
    assert path in ejected.files
    assert (desk.folder / "out" / path).read_bytes() == b"version: 3\n"


def test_a_run_on_this_machine_leaves_nothing_to_eject(desk: Desk) -> None:
    with pytest.raises(UserError, match="a run on local submits nothing"):
        eject(desk, on="local")
    assert not (desk.folder / "out").exists()
