"""A secret is found by its name, and a missing one says how to set it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as FailKeyring
from keyring.backends.null import Keyring as NullKeyring
from keyring.errors import KeyringLocked

from mlops_nb.adapters.secrets import look_up
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class DictKeyring(KeyringBackend):
    """Keeps passwords for the length of a test."""

    priority = 1

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


class LockedKeyring(DictKeyring):
    """Refuses to be read."""

    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked("the collection is locked")


@pytest.fixture(autouse=True)
def machine_keyring() -> Iterator[None]:
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


def test_the_environment_wins_over_the_keyring() -> None:
    keyring.set_keyring(DictKeyring())
    keyring.set_password("mlops-nb", "HF_TOKEN", "from-the-keyring")
    assert look_up("HF_TOKEN", {"HF_TOKEN": "from-the-environment"}) == "from-the-environment"
    assert look_up("HF_TOKEN", {"HF_TOKEN": ""}) == "from-the-keyring"
    assert look_up("HF_TOKEN", {"OTHER": "value"}) == "from-the-keyring"


@pytest.mark.parametrize(
    ("backend", "trouble"),
    [
        (DictKeyring, "in the keyring\n"),
        (NullKeyring, "in the keyring\n"),
        (FailKeyring, "this machine has no keyring"),
        (LockedKeyring, "the collection is locked"),
    ],
)
def test_a_missing_secret_names_both_ways_to_set_it(
    backend: Callable[[], KeyringBackend], trouble: str
) -> None:
    keyring.set_keyring(backend())
    with pytest.raises(UserError) as raised:
        look_up("HF_TOKEN", {})
    text = str(raised.value)
    assert "'HF_TOKEN'" in text
    assert trouble in text
    assert "export HF_TOKEN=" in text
    assert "python -m keyring set mlops-nb HF_TOKEN" in text


def test_where_no_keyring_is_installed_the_environment_still_serves() -> None:
    code = (
        "import sys; sys.modules['keyring'] = None\n"
        "from mlops_nb.adapters.secrets import look_up\n"
        "assert look_up('A', {'A': 'long-enough'}) == 'long-enough'\n"
        "look_up('B', {})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert "UserError: secret 'B'" in done.stderr
    assert "no keyring is installed" in done.stderr


def test_a_secret_too_short_to_redact_is_refused_without_showing_it() -> None:
    with pytest.raises(UserError, match="fewer than 6 characters") as raised:
        look_up("PIN", {"PIN": "4711\n"})
    assert "4711" not in str(raised.value)
