"""Sweeps are checked whole before their first run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from desk import Desk, write_notebook

from mlops_nb.core.verbs import Sweep
from mlops_nb.errors import BadParameter, PlainSecret, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlops_nb.core.verbs import Job


def sweep(tmp_path: Path, environment: dict[str, str] | None = None, **words: object) -> Job:
    desk = Desk(tmp_path, environment=environment)
    run = desk.project.run(Sweep(notebook=desk.notebook, wait=False, **words))  # type: ignore[arg-type]
    return desk.executor.jobs[run.id]


def sets(job: Job) -> Sequence[object]:
    return [dict(child.spec.parameters) for child in job.children]


def test_axes_make_a_child_for_each_combination(tmp_path: Path) -> None:
    job = sweep(tmp_path, parameters={"depth": "2..3", "lr": "0.1,0.2"}, parallel=2)
    assert sets(job) == [
        {"depth": 2, "lr": 0.1},
        {"depth": 2, "lr": 0.2},
        {"depth": 3, "lr": 0.1},
        {"depth": 3, "lr": 0.2},
    ]
    assert [child.id for child in job.children] == [f"{job.id}.{n}" for n in (1, 2, 3, 4)]
    assert {child.parent for child in job.children} == {job.id}
    assert job.parallel == 2


def test_a_file_gives_rows_and_words_are_for_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "sets.csv").write_text("depth\n2\n5\n2\n")
    job = sweep(tmp_path, file=str(tmp_path / "sets.csv"), parameters={"lr": "0.5"})
    assert sets(job) == [{"depth": 2, "lr": 0.5}, {"depth": 5, "lr": 0.5}]


def test_a_drawing_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    words: dict[str, object] = {"parameters": {"depth": "1..100"}, "random": 5}
    first, again = (sweep(tmp_path, None, **words, seed=7) for _ in range(2))
    assert sets(first) == sets(again)
    assert len(first.children) == 5
    assert sets(sweep(tmp_path, None, **words, seed=8)) != sets(first)


def test_a_secret_goes_to_every_child_by_reference(tmp_path: Path) -> None:
    desk = Desk(tmp_path, environment={"TOKEN": "hidden-value"})
    notebook = write_notebook(tmp_path / "s.ipynb", "depth: int = 1\ntoken: str = ''")
    verb = Sweep(
        notebook=str(notebook),
        parameters={"depth": "1,2", "token": "secret:TOKEN"},
        wait=False,
    )
    job = desk.executor.jobs[desk.project.run(verb).id]
    assert [child.spec.secrets for child in job.children] == [{"token": "TOKEN"}] * 2
    assert "hidden-value" not in repr(job)


@pytest.mark.parametrize(
    ("words", "class_", "message"),
    [
        ({"parameters": {"depth": "2,x"}}, BadParameter, "x"),
        ({"parameters": {"lr": "0.1"}, "best": "most:score"}, UserError, "most:score"),
        ({"file": "none.csv"}, UserError, "none.csv cannot be read"),
        (
            {"parameters": {"lr": "ghp_0123456789abcdefghijklmnopqrstuvwxyzAB"}},
            (PlainSecret, BadParameter),
            "lr",
        ),
        ({"parallel": 0}, UserError, "parallel is 0"),
        ({"random": -1}, UserError, "random is -1"),
    ],
    ids=str,
)
def test_one_wrong_set_and_nothing_runs(
    tmp_path: Path, words: dict[str, object], class_: type[UserError], message: str
) -> None:
    desk = Desk(tmp_path)
    with pytest.raises(class_, match=message):
        desk.project.run(Sweep(notebook=desk.notebook, **words))  # type: ignore[arg-type]
    assert not desk.executor.jobs
