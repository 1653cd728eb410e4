"""Every error a user can meet.

The tree, with the exit code of the shell and the HTTP status of the server::

    MlopsError                                                     1  500
      UserError             the request was wrong                  2  422
        UnknownParameter    a parameter the notebook does not declare
        BadParameter        a value that does not fit its parameter
        BadGate             a gate expression that cannot be read
        BadSettings         mlops.toml holds a wrong key or value
        NotANotebook        the file is missing or cannot be read as a notebook
        PlainSecret         a literal that looks like a credential
        Conflict            the same thing was changed by somebody else    409
      NotFound              no such run, model, version, pull request  2  404
      RunFailed             the notebook did not finish            3  409
      GateFailed            a quality gate did not pass            3  409
      BackendError          a system behind the verb failed        4  502
        BackendUnavailable  it did not answer; repeating is safe   4  503
        NotAllowed          it refused the credentials             4  403

A message says what is wrong, with the value; `hint` is the one thing to do next.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.core.gate import Verdict
    from mlops_nb.core.run import Failure


def as_in_a_cell(said: str) -> str:
    """Give a text whose shell lines are as they are typed in a notebook, but for servers."""
    return re.sub(r"(?<![\w%/.-])mlops (?!dev )(?=[a-z])", "%mlops ", said)


class MlopsError(Exception):
    """The root of the tree.

    Args:
        message: what is wrong, with the value.
        hint: the one thing to do next; empty where there is none.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Give the message and, on a line of its own, the hint."""
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """Give what IPython shows in a cell: the error in words instead of our frames."""
        return [f"{type(self).__name__}: {as_in_a_cell(str(self))}"]


class UserError(MlopsError):
    """The request was wrong; nothing was written."""

    exit_code = 2
    http_status = 422


class UnknownParameter(UserError):
    """A parameter that the notebook does not declare."""


class BadParameter(UserError):
    """A value that does not fit its parameter."""


class BadGate(UserError):
    """A gate expression that cannot be read."""


class BadSettings(UserError):
    """mlops.toml holds a wrong key or value."""


class NotANotebook(UserError):
    """The file is missing or cannot be read as a notebook."""


class PlainSecret(UserError):
    """A literal that looks like a credential."""


class Conflict(UserError):
    """The same thing was changed by somebody else in the meantime."""

    http_status = 409


class NotFound(MlopsError):
    """No such run, model, version or pull request."""

    exit_code = 2
    http_status = 404


class RunFailed(MlopsError):
    """The notebook did not finish.

    Args:
        message: what is wrong, with the value.
        hint: the one thing to do next.
        failure: the cell and the exception, where a cell failed.
    """

    exit_code = 3
    http_status = 409

    def __init__(self, message: str, *, hint: str = "", failure: Failure | None = None) -> None:
        super().__init__(message, hint=hint)
        self.failure = failure


class GateFailed(MlopsError):
    """A quality gate did not pass.

    Args:
        message: what is wrong, with the value.
        hint: the one thing to do next.
        verdict: every gate with its value, threshold and result.
    """

    exit_code = 3
    http_status = 409

    def __init__(self, message: str, *, verdict: Verdict, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.verdict = verdict
        # Set where a notebook's cell is to show the verdict; errors know nothing of that.
        self.draw: Callable[[Verdict], None] | None = None

    def _render_traceback_(self) -> list[str]:
        """Draw the verdict, too, where nothing else in the cell does."""
        # IPython asks once to show the error and once more to keep it.
        draw, self.draw = self.draw, None
        if draw is not None:
            draw(self.verdict)
        return super()._render_traceback_()


class BackendError(MlopsError):
    """A system behind the verb failed; the message names it and the operation."""

    exit_code = 4
    http_status = 502


class BackendUnavailable(BackendError):
    """It did not answer; repeating the verb is safe."""

    http_status = 503


class NotAllowed(BackendError):
    """It refused the credentials."""

    http_status = 403
