"""One request to a Kubeflow Pipelines server: what is repeated, and what its errors mean."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import tenacity
import urllib3
from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

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
    from collections.abc import Callable, Mapping

    from kfp_server_api import ApiClient, Configuration

T = TypeVar("T")

PATIENCE = 600.0
_ATTEMPTS = 4
_LONGEST = 600  # characters of a server's own words that are shown
_PASSING = frozenset({429, 500, 502, 503, 504})
_LOGIN = re.compile(r"/(dex|oauth2|auth|login|signin|authservice|openid-connect)\b")


class Credentials(Protocol):
    """Who asks: kfp's `TokenCredentialsBase`, which is the hook alone, and what that lacks.

    Args:
        hint: what a person does about refused credentials.
    """

    hint: str

    def settle(self, config: Configuration) -> None:
        """Set address, CA and client certificate, once and before the first request."""

    def refresh_api_key_hook(self, config: Configuration) -> None:
        """Set the bearer token; called before each request."""

    def cookie(self) -> str:
        """Give the session cookie to send; empty for none."""

    def renew(self) -> None:
        """Get new ones: the server refused those it was sent."""


class Transport:
    """Sends the requests of one `Connection`, and takes its arguments."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        credentials: Credentials | None,
        ca: str,
        verify: bool,
        timeout: float,
        patience: float,
    ) -> None:
        from kfp_server_api import ApiClient, Configuration

        self._namespace = namespace
        self._credentials = credentials
        self._timeout = timeout
        self._patience = patience
        config = self._config = Configuration(host=url.rstrip("/"))
        config.verify_ssl = verify
        config.ssl_ca_cert = ca or None
        # urllib3 would repeat a request that was sent; a redirect is an answer, see `_login`.
        config.retries = urllib3.Retry(0, raise_on_redirect=False)
        if credentials is not None:
            credentials.settle(config)
            config.refresh_api_key_hook = credentials.refresh_api_key_hook
        self.url: str = re.sub(r"(\w://)[^/@\s]+@", r"\1", config.host)
        self.ca: str = config.ssl_ca_cert or ""
        self.verify: bool = config.verify_ssl
        self._check_address()
        self.client: ApiClient = ApiClient(config)
        self.client.user_agent = "mlops-nb"
        self.client.rest_client.request = _checked(self.client.rest_client.request)

    def ask(
        self,
        action: str,
        operation: Callable[..., Any],
        *values: object,
        reads: bool = False,
        **arguments: object,
    ) -> Any:
        """Give the answer to one operation; the server's errors become ours.

        Args:
            action: what is being done, for the message: "list runs".
            operation: of kfp_server_api.
            values: its arguments.
            reads: whether it changes nothing, so that it may be repeated whatever happened.
            arguments: its arguments by name.

        Raises:
            BackendUnavailable: if there is no answer within seconds.
            NotAllowed: if the login or the person's rights do not suffice.
            NotFound: if what it is about does not exist.
            Conflict: if it exists already.
            BackendError: if it fails otherwise.
        """
        repeated = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passes if reads else _was_not_sent),
            wait=tenacity.wait_random_exponential(multiplier=0.25, max=4),
            # A request that is not answered in time is repeated once.
            stop=tenacity.stop_after_attempt(_ATTEMPTS)
            | tenacity.stop_after_delay(1.5 * self._timeout),
            reraise=True,
        )
        try:
            return repeated(self._logged_in, operation, values, arguments)
        except (ApiException, HTTPError, _Unreadable, ValueError) as error:
            raise self._ours(error, action) from error

    def patient(self, call: Callable[[], T], tell: Callable[[str], None]) -> T:
        """Do `call`, again and again while the server is away or refuses an expired login.

        Args:
            call: what is safe to repeat.
            tell: told before each pause what is wrong and how long it lasts.

        Raises:
            MlopsError: the last one, if it is not of that kind or patience has ended.
        """

        def say(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            pause = state.next_action.sleep if state.next_action else 0.0
            tell(f"{self._trouble(error)}; trying again in {max(1, round(pause))} s")

        repeated = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_passing),
            wait=tenacity.wait_random_exponential(multiplier=2, max=30, min=0.5),
            stop=tenacity.stop_before_delay(self._patience),
            before_sleep=say,
            reraise=True,
        )
        return repeated(call)

    def _check_address(self) -> None:
        if not re.match(r"https?://[^/]", self.url):
            raise UserError(
                f"address {self.url!r} of Kubeflow Pipelines is not http(s)://…",
                hint="mend url below [kubeflow] in mlops.toml",
            )
        if self.ca and not Path(self.ca).is_file():
            raise UserError(
                f"the file {self.ca} with the certificates to trust does not exist",
                hint="mend ca below [kubeflow] in mlops.toml",
            )
        if not self.verify:
            # Asked for in the settings; urllib3 would say so at each request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def _logged_in(
        self,
        operation: Callable[..., Any],
        values: tuple[object, ...],
        arguments: Mapping[str, object],
    ) -> Any:
        try:
            return self._send(operation, values, arguments)
        except (ApiException, _Unreadable) as error:
            if self._credentials is None or not _wants_login(error):
                raise
        self._credentials.renew()
        return self._send(operation, values, arguments)

    def _send(
        self,
        operation: Callable[..., Any],
        values: tuple[object, ...],
        arguments: Mapping[str, object],
    ) -> Any:
        if self._credentials is not None:
            self.client.cookie = self._credentials.cookie() or None
        limits = (self._timeout, self._timeout)
        return operation(*values, _request_timeout=limits, **arguments)

    def _trouble(self, error: BaseException | None) -> str:
        if isinstance(error, NotAllowed):
            return f"KFP at {self.url} refuses the login"
        if isinstance(error, BackendUnavailable):
            return f"KFP at {self.url} does not answer"
        return f"KFP at {self.url} answers with an error of its own"

    def _ours(self, error: Exception, action: str) -> MlopsError:
        if isinstance(error, SSLError) or isinstance(_reason(error), SSLError):
            return BackendError(
                f"the certificate of {self.url} is not trusted: could not {action}: "
                f"{self._said(str(_reason(error)))}",
                hint="set ca below [kubeflow] in mlops.toml to the file of your company's CA",
            )
        if isinstance(error, HTTPError):
            return self._unavailable(action, _words(_reason(error)))
        if isinstance(error, ApiException) and error.status:
            return self._ours_of_status(error, action)
        if _wants_login(error):
            return self._logged_out(action)
        said = error.reason if isinstance(error, ApiException) else str(error)
        return BackendError(
            f"what KFP at {self.url} answered cannot be read: could not {action}: "
            f"{self._said(str(said))}",
            hint="url below [kubeflow] in mlops.toml is that of the API; the one of the web "
            "pages often ends in /pipeline",
        )

    def _ours_of_status(self, error: ApiException, action: str) -> MlopsError:
        status, said = error.status, self._said(_server_message(error))
        if _wants_login(error):
            return self._logged_out(action)
        if 300 <= status < 400:
            place = self._said(str((error.headers or {}).get("location", "")))
            return BackendError(
                f"KFP at {self.url} sends on to {place}: could not {action}",
                hint="put that address as url below [kubeflow] in mlops.toml",
            )
        kind = _ERRORS.get(status, BackendError)
        if kind is NotAllowed:
            where = f" in namespace {self._namespace!r}" if self._namespace else ""
            return NotAllowed(
                f"KFP at {self.url} does not let you {action}{where}: {said}",
                hint="ask its owner to make you a contributor, or set namespace below "
                "[kubeflow] in mlops.toml to your own profile",
            )
        if kind is BackendUnavailable:
            return self._unavailable(action, f"status {status}")
        return kind(f"KFP at {self.url} could not {action}: {said or f'status {status}'}")

    def _unavailable(self, action: str, why: str) -> BackendUnavailable:
        return BackendUnavailable(
            f"KFP at {self.url} does not answer: could not {action}: {self._said(why)}",
            hint="is it reachable from here? `mlops doctor` tells where the way ends",
        )

    def _logged_out(self, action: str) -> NotAllowed:
        hint = self._credentials.hint if self._credentials else ""
        return NotAllowed(
            f"KFP at {self.url} refuses the login: could not {action}",
            hint=hint
            or "set auth below [kubeflow] in mlops.toml: token, service-account, dex "
            "or kubeconfig",
        )

    def _said(self, text: str) -> str:
        """Give foreign words, shortened and free of what this client logs in with."""
        secrets = [
            *self._config.api_key.values(),
            *re.findall(r"=([^;]+)", self.client.cookie or ""),
        ]
        for secret in secrets:
            for part in str(secret).split():
                if len(part) > 6:
                    text = text.replace(part, "…")
        text = re.sub(r"(\w://)[^/@\s'\"]+@", r"\1", " ".join(text.split()))
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


class _Unreadable(Exception):
    """An answer that is not the JSON it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(text[:200])
        self.is_page = text.lstrip()[:9].lower().startswith(("<!doctype", "<html"))


def _checked(request: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse answers that are no JSON object: the client would read them as empty models."""

    def checked(*values: object, **arguments: Any) -> Any:
        response = request(*values, **arguments)
        if not arguments.get("_preload_content", True):
            return response
        try:
            is_object = isinstance(json.loads(response.data), dict)
        except ValueError:
            is_object = False
        if not is_object:
            raise _Unreadable(bytes(response.data[:500]).decode(errors="replace"))
        return response

    return checked


def _reason(error: BaseException) -> BaseException:
    if isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    return error.original_error if isinstance(error, ProxyError) else error


def _was_not_sent(error: BaseException) -> bool:
    return isinstance(_reason(error), (NewConnectionError, ConnectTimeoutError))


def _passes(error: BaseException) -> bool:
    if isinstance(error, HTTPError):
        return not isinstance(_reason(error), SSLError)
    return isinstance(error, ApiException) and error.status in _PASSING


def _is_passing(error: BaseException) -> bool:
    """Whether one of our errors is of a kind that ends by itself."""
    if isinstance(error, BackendUnavailable):
        return True
    cause = error.__cause__
    if isinstance(error, NotAllowed):
        return isinstance(cause, (ApiException, _Unreadable)) and _wants_login(cause)
    return isinstance(error, BackendError) and cause is not None and _passes(cause)


def _wants_login(error: Exception) -> bool:
    if isinstance(error, _Unreadable):
        return error.is_page
    if not isinstance(error, ApiException):
        return False
    headers = error.headers or {}
    status = error.status or 0
    if 300 <= status < 400:
        return bool(_LOGIN.search(str(headers.get("location", ""))))
    # A page that refuses is a gateway's; KFP itself refuses in JSON.
    is_page = "html" in str(headers.get("content-type", ""))
    return status == 401 or (status == 403 and is_page)


def _server_message(error: ApiException) -> str:
    body = error.body or ""
    try:
        answer = json.loads(body)
    except ValueError:
        return re.sub(r"<[^>]*>", " ", body) or str(error.reason or "")
    if not isinstance(answer, dict):
        return str(answer)
    return str(answer.get("message") or answer.get("error") or error.reason or "")


def _words(reason: BaseException) -> str:
    """Give urllib3's sentence without the name of its object before it."""
    return re.sub(r"^.*?(?:object at 0x\w+>|Pool\(.*?\)): ", "", str(reason))


_ERRORS: Mapping[int, type[MlopsError]] = {
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    429: BackendUnavailable,
    502: BackendUnavailable,
    503: BackendUnavailable,
    504: BackendUnavailable,
}
