"""Asking for a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from desk import Desk, write_notebook

from mlops_nb.core.events import MetricLogged, RunMoved
from mlops_nb.core.run import RunState
from mlops_nb.core.verbs import Train
from mlops_nb.errors import BadSettings, UserError
from mlops_nb.project import Project

if TYPE_CHECKING:
    from pathlib import Path


def test_a_run_that_is_waited_for_tells_its_story_and_is_given_final(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    verb = Train(notebook=desk.notebook, parameters={"depth": "4", "lr": "0.5"}, wait=True)
    run = desk.project.run(verb, desk.events.append)
    assert run.state is RunState.SUCCEEDED
    assert run.metrics == {"score": 2.0}
    moved = [event.state for event in desk.events if isinstance(event, RunMoved)]
    assert moved == [RunState.QUEUED, RunState.RUNNING, RunState.SUCCEEDED]
    assert any(isinstance(event, MetricLogged) for event in desk.events)


def test_the_job_says_who_asked_for_what(tmp_path: Path) -> None:
    desk = Desk(tmp_path, '[models.churn]\ngates = ["auc >= 0.7"]\n')
    (tmp_path / "p.yaml").write_text("depth: 9\n")
    verb = Train(
        notebook=desk.notebook,
        parameter_file=str(tmp_path / "p.yaml"),
        gates=("f1 >= 0.5",),
        register="churn",
        retries=2,
        key="k",
        wait=False,
    )
    first = desk.project.run(verb)
    assert desk.project.run(verb).id == first.id
    (job,) = desk.executor.jobs.values()
    assert job.requested_by == "Ann Lee <ann@example.com>"
    assert (job.register, job.retries, job.project) == ("churn", 2, str(tmp_path))
    assert job.spec.parameters == {"depth": 9}
    # Those of mlops.toml are read when the run is judged, not when it is asked for.
    assert job.gates == ("f1 >= 0.5",)


def test_a_missing_gitops_repository_is_said_before_anything_runs(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "[environments.prod]\n")
    with pytest.raises(UserError, match="no GitOps repository is configured") as error:
        desk.project.run(Train(notebook=desk.notebook, register="churn", deploy="prod"))
    assert "mlops init" in error.value.hint
    assert not desk.executor.jobs


@pytest.mark.parametrize("moment", ["start", "news"])
def test_an_interrupt_before_anybody_knows_of_the_run_cancels_it(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path)
    submit = desk.executor.submit

    def interrupted(*given: object) -> None:
        if moment == "start":
            submit(*given)  # type: ignore[arg-type]
        if moment == "start" or isinstance(given[0], RunMoved):
            raise KeyboardInterrupt

    if moment == "start":
        monkeypatch.setattr(desk.executor, "submit", interrupted)
    tell = desk.events.append if moment == "start" else interrupted
    run = desk.project.run(Train(notebook=desk.notebook, wait=True), tell)
    assert run.state is RunState.CANCELLED


def test_an_interrupt_before_the_run_was_made_is_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path)

    def interrupted(*_given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(desk.executor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        desk.project.run(Train(notebook=desk.notebook, wait=True))


@pytest.mark.parametrize("name", ["Größe & mehr.ipynb", "…….ipynb"])
def test_a_run_is_named_after_its_notebook_in_plain_letters(tmp_path: Path, name: str) -> None:
    desk = Desk(tmp_path)
    (tmp_path / "churn.ipynb").rename(tmp_path / name)
    run = desk.project.run(Train(notebook=str(tmp_path / name), wait=False))
    assert run.id.isascii()
    assert run.id.startswith(("gr-e-mehr-", "run-"))


def test_an_adapter_that_is_not_installed_is_told_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text("[run]\nexecutor = 'slurm'\n")
    write_notebook(tmp_path / "nb.ipynb")
    with pytest.raises(BadSettings, match="no executor 'slurm'; installed: kubeflow, local"):
        Project.open(tmp_path).run(Train(notebook=str(tmp_path / "nb.ipynb")))


@pytest.mark.parametrize(
    ("words", "message"),
    [({"gpu": 1}, "--gpu"), ({"image": "x"}, "--image"), ({"profile": "big"}, "--profile")],
)
def test_this_machine_is_not_asked_for_a_clusters_resources(
    tmp_path: Path, words: dict[str, object], message: str
) -> None:
    write_notebook(tmp_path / "nb.ipynb")
    verb = Train(notebook=str(tmp_path / "nb.ipynb"), **words)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"{message} cannot be asked of this machine") as error:
        Project.open(tmp_path).run(verb)
    assert "--on kubeflow" in error.value.hint
    assert not (tmp_path / ".mlops").exists()


def test_a_dry_run_shows_what_would_be_submitted_and_starts_nothing(tmp_path: Path) -> None:
    write_notebook(tmp_path / "nb.ipynb")
    verb = Train(notebook=str(tmp_path / "nb.ipynb"), parameters={"lr": "0.5"}, dry_run=True)
    shown = Project.open(tmp_path).run(verb)
    assert '"lr": 0.5' in shown.files["job.json"]
    assert set(shown.files) == {"job.json", "notebook.ipynb"}
    assert not (tmp_path / ".mlops").exists()


def test_settings_are_found_upwards_and_unreadable_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "mlops.toml").write_text("[project]\nname = 'up'\n")
    assert Project.open(tmp_path / "a" / "b").folder == tmp_path
    (tmp_path / "mlops.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings, match=r"mlops.toml cannot be read"):
        Project.open(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    project = Project(tmp_path / "file", Project.open(tmp_path).settings, {})
    with pytest.raises(UserError, match=r"file/.mlops cannot be made: Not a directory"):
        project.registry  # noqa: B018
