"""Secrets by name: from the environment, or from this machine's keyring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.errors import UserError
from mlops_nb.redaction import SHORTEST

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE = "mlops-nb"
"""Service under which the keyring holds the secrets; the user name is the secret's name."""


def look_up(reference: str, environment: Mapping[str, str]) -> str:
    """Give the value of a secret; the environment wins over the keyring.

    Args:
        reference: the secret's name: `NAME` of `secret:NAME`.
        environment: variables to look in first; an empty one counts as not set.

    Raises:
        UserError: if there is no such secret, or if it is too short to be kept out of logs.
    """
    found, trouble = environment.get(reference, ""), ""
    if not found:
        found, trouble = _from_keyring(reference)
    if not found:
        raise UserError(
            f"secret {reference!r} is neither in the environment nor in the keyring{trouble}",
            hint=f"export {reference}=…, or: python -m keyring set {SERVICE} {reference}",
        )
    if len(found.strip()) < SHORTEST:
        raise UserError(
            f"secret {reference!r} has fewer than {SHORTEST} characters: it could not be told "
            "from ordinary text, so not be kept out of logs and notebooks",
            hint="use a longer one",
        )
    return found


def _from_keyring(name: str) -> tuple[str, str]:
    """Give the value, or why there is none where that is worth telling."""
    try:
        import keyring
        from keyring.errors import KeyringError, NoKeyringError
    except ImportError:
        return "", " (no keyring is installed)"
    try:
        return keyring.get_password(SERVICE, name) or "", ""
    except NoKeyringError:
        return "", " (this machine has no keyring)"
    except (KeyringError, RuntimeError, OSError) as error:
        # Backends let the desktop's own errors through: a locked or a missing message bus.
        return "", f" (the keyring does not answer: {error})"
