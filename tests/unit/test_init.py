"""Making a folder a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlops_nb.core.settings import parse_settings
from mlops_nb.core.verbs import Init
from mlops_nb.errors import BadSettings, UserError
from mlops_nb.flows.init import init

if TYPE_CHECKING:
    from mlops_nb.core.results import Initialized


def make(path: Path) -> bool:
    is_missing = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    return is_missing


def ask(folder: Path, gitops: str = "") -> Initialized:
    return init(Init(gitops=gitops), folder=folder, name="churn", create_repository=make)


def test_a_new_project_has_settings_and_a_repository(tmp_path: Path) -> None:
    made = ask(tmp_path)
    assert made.created == ("mlops.toml", ".mlops/gitops.git")
    assert Path(made.repository).is_dir()
    text = Path(made.settings).read_text()
    settings = parse_settings(text, path="mlops.toml", default_name="")
    assert (settings.name, settings.gitops.repository) == ("churn", ".mlops/gitops.git")


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    ask(tmp_path)
    (tmp_path / "mlops.toml").write_text("[gitops]\nrepository = 'mine.git'\n")
    assert ask(tmp_path).created == ("mine.git",)
    assert ask(tmp_path, "mine.git").created == ()
    assert "mine.git" in (tmp_path / "mlops.toml").read_text()


def test_a_repository_elsewhere_is_named_in_the_settings(tmp_path: Path) -> None:
    elsewhere = tmp_path / "shared" / "deploy.git"
    folder = tmp_path / "project"
    folder.mkdir()
    assert ask(folder, str(elsewhere)).created == ("mlops.toml", str(elsewhere))
    assert str(elsewhere) in (folder / "mlops.toml").read_text()


@pytest.mark.parametrize("remote", ["https://github.com/a/d.git", "git@example.com:a/d.git"])
def test_a_remote_is_named_in_the_settings_for_us_and_the_cluster(
    tmp_path: Path, remote: str
) -> None:
    made = ask(tmp_path, remote)
    assert (made.repository, made.created) == (remote, ("mlops.toml",))
    text = (tmp_path / "mlops.toml").read_text()
    settings = parse_settings(text, path="mlops.toml", default_name="")
    assert settings.gitops.repository == remote
    assert settings.environment("prod").repository == remote
    assert [path.name for path in tmp_path.iterdir()] == ["mlops.toml"]


@pytest.mark.parametrize(
    ("remote", "why"),
    [
        ("ftp://git.example.com/a/d.git", "not an address of Git"),
        ("https://ann:hunter22@github.com/a/d.git", "holds a user name or password"),
        ("https://github.com/d.git", "names no repository of github"),
    ],
)
def test_a_remote_that_cannot_be_one_is_refused_before_anything_is_written(
    tmp_path: Path, remote: str, why: str
) -> None:
    with pytest.raises(UserError, match=why) as error:
        ask(tmp_path, remote)
    assert "hunter22" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_another_repository_than_the_settings_name_is_not_passed_over(tmp_path: Path) -> None:
    ask(tmp_path)
    with pytest.raises(UserError, match=r"already names \.mlops/gitops\.git") as error:
        ask(tmp_path, "other.git")
    assert 'repository = "other.git"' in error.value.hint
    assert not (tmp_path / "other.git").exists()


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text("[gitops\n")
    with pytest.raises(BadSettings, match=r"mlops.toml: "):
        ask(tmp_path)
