"""Who asks is whom Git would name, and nobody whom it would make up."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import pytest

from mlops_nb.adapters.identity import who_asks

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "[user]\nname = Ann Lee\nemail = ann@example.com\n"


@pytest.mark.parametrize(
    ("config", "environment", "told"),
    [
        (CONFIG, {}, "Ann Lee <ann@example.com>"),
        (
            CONFIG,
            {"GIT_AUTHOR_NAME": "Bo", "GIT_AUTHOR_EMAIL": "bo@example.com"},
            "Bo <bo@example.com>",
        ),
        (CONFIG, {"GIT_AUTHOR_EMAIL": "ann@home.example"}, "Ann Lee <ann@home.example>"),
        ("[user]\nname = Ann Lee\n", {}, "Ann Lee"),
        ("", {"GIT_AUTHOR_NAME": "Bo"}, "Bo"),
        ("", {}, "the user"),
        ("", {"EMAIL": "host@made.up"}, "the user"),
    ],
    ids=str,
)
def test_who_asks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    environment: dict[str, str],
    told: str,
) -> None:
    (tmp_path / "config").write_text(config)
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setattr(getpass, "getuser", lambda: "the user")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert who_asks(tmp_path) == told


def test_without_git_the_user_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(getpass, "getuser", lambda: "the user")
    assert who_asks(tmp_path) == "the user"
