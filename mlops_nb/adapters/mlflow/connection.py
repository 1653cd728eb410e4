"""The way to an MLflow store, and what its errors mean here."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors import (
    BackendError,
    BackendUnavailable,
    Conflict,
    MlopsError,
    NotAllowed,
    NotFound,
    UserError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

SQLITE = "sqlite:///"
PRIVATE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_RETRIES = 2  # one at once and one after four seconds
_CHATTY = ("alembic", "mlflow.store.db.utils", "mlflow.utils.validation")


def without_credentials(text: str) -> str:
    """Give a text free of the user names and passwords of the addresses in it."""
    return re.sub(r"(\w://)[^/@\s'\"]+@", r"\1", text)


class Connection:
    """An MLflow store, opened on first use.

    Neither the tracking address nor the environment that the user's own MLflow code sees in
    this process are changed for longer than a call takes.

    Args:
        uri: `sqlite:////absolute/path` or http(s) address.
        timeout: seconds a server may take to answer one request.
    """

    def __init__(self, uri: str, timeout: float) -> None:
        self.uri = uri
        self.shown = without_credentials(uri)
        self._timeout = timeout
        self._client: MlflowClient | None = None
        self._opening = threading.Lock()
        if uri.startswith(SQLITE):
            self.path: Path | None = Path(uri.removeprefix(SQLITE))
        elif re.match(r"https?://", uri):
            self.path = None
        else:
            raise UserError(
                f"tracking address {self.shown!r} is neither sqlite:///PATH nor http(s)://",
                hint="mend uri below [tracking] in mlops.toml",
            )

    @contextmanager
    def calls(self, action: str) -> Iterator[MlflowClient]:
        """Give the client for a few calls; their errors become ours.

        Args:
            action: what is being done, for the message: "record the run".

        Raises:
            BackendUnavailable: if there is no answer within seconds.
            NotAllowed: if the credentials are refused.
            BackendError: if it fails otherwise.
        """
        settings = {
            **PRIVATE,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(_RETRIES),
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(self._timeout))),
        }
        with _overlay(settings):
            from mlflow.exceptions import MlflowException

            try:
                yield self._open()
            except MlopsError:
                raise
            except MlflowException as error:
                raise self._ours(error, action) from error
            except self._database_errors() as error:
                raise self._broken(str(error).splitlines()[0], action) from error
            except OSError as error:
                raise self._ours_of_system(error, action) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this machine out, where the store is a file."""
        if self.path is None:
            yield
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f"{self.path.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _database_errors(self) -> tuple[type[Exception], ...]:
        if self.path is None:
            # mlflow-skinny, which is enough for a server, comes without SQLAlchemy.
            return ()
        from sqlalchemy.exc import SQLAlchemyError

        return (SQLAlchemyError,)

    def _open(self) -> MlflowClient:
        with self._opening:
            if self._client is None:
                from mlflow import MlflowClient

                for name in _CHATTY:
                    logging.getLogger(name).setLevel(logging.ERROR)
                with self.alone():
                    client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
                    if self.path is not None:
                        # Processes that make the tables at once would trip over each other.
                        client.search_experiments(max_results=1)
                        client.search_registered_models(max_results=1)
                self._client = client
            return self._client

    def _ours(self, error: MlflowException, action: str) -> MlopsError:
        text = without_credentials(str(error))
        code = error.error_code
        if "out-of-date database schema" in text:
            return BackendError(
                f"{self.shown} was made by another MLflow version: could not {action}",
                hint=f"take a backup, then `mlflow db upgrade {self.shown}`",
            )
        cause = error.__cause__ or error.__context__
        if code == "INTERNAL_ERROR" and isinstance(cause, OSError):
            # MLflow wraps what the HTTP library raised.
            return self._ours_of_system(cause, action)
        kind = _ERRORS.get(code, BackendError)
        if kind is BackendUnavailable:
            return self._unavailable(action)
        if kind is NotAllowed:
            return self._refused(action)
        if kind is BackendError:
            return self._broken(text, action)
        return kind(f"could not {action}: {text}")

    def _ours_of_system(self, error: BaseException, action: str) -> MlopsError:
        import requests

        if isinstance(error, requests.HTTPError) and error.response is not None:
            if error.response.status_code in {401, 403}:
                return self._refused(action)
            return self._broken(str(error), action)
        if "too many 500 error responses" in str(error):
            return self._broken("it answers with an error (500) each time", action)
        if isinstance(error, requests.RequestException):
            return self._unavailable(action)
        return self._broken(str(error), action)

    def _unavailable(self, action: str) -> BackendUnavailable:
        return BackendUnavailable(
            f"MLflow at {self.shown} does not answer: could not {action}",
            hint="is it running, and reachable from here? MLFLOW_TRACKING_URI or [tracking] in "
            "mlops.toml names it",
        )

    def _refused(self, action: str) -> NotAllowed:
        return NotAllowed(
            f"MLflow at {self.shown} refuses these credentials: could not {action}",
            hint="set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD",
        )

    def _broken(self, reason: str, action: str) -> BackendError:
        return BackendError(
            f"MLflow at {self.shown} could not {action}: {without_credentials(reason)}",
            hint="look into the log of the server, or at the disk of a local store",
        )


_overlay_lock = threading.Lock()
_overlay_state: dict[str, int] = {}


@contextmanager
def _overlay(settings: Mapping[str, str]) -> Iterator[None]:
    """Set what the environment does not say, until the last of several threads is done.

    MLflow reads these of its settings from the environment alone, at each call.
    """
    taken = []
    with _overlay_lock:
        for name, value in settings.items():
            if name in _overlay_state or name not in os.environ:
                os.environ[name] = os.environ.get(name, value)
                _overlay_state[name] = _overlay_state.get(name, 0) + 1
                taken.append(name)
    try:
        yield
    finally:
        with _overlay_lock:
            for name in taken:
                _overlay_state[name] -= 1
                if not _overlay_state[name]:
                    del _overlay_state[name]
                    os.environ.pop(name, None)


_ERRORS: Mapping[str, type[MlopsError]] = {
    "CUSTOMER_UNAUTHORIZED": NotAllowed,
    "UNAUTHENTICATED": NotAllowed,
    "PERMISSION_DENIED": NotAllowed,
    "TEMPORARILY_UNAVAILABLE": BackendUnavailable,
    "REQUEST_LIMIT_EXCEEDED": BackendUnavailable,
    "RESOURCE_EXHAUSTED": BackendUnavailable,
    "DEADLINE_EXCEEDED": BackendUnavailable,
    "RESOURCE_DOES_NOT_EXIST": NotFound,
    "RESOURCE_CONFLICT": Conflict,
    "INVALID_PARAMETER_VALUE": UserError,
}
