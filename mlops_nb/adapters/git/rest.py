"""One forge's REST API: what is repeated, and what its refusals mean."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from mlops_nb.errors import BackendError, BackendUnavailable, MlopsError, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.adapters.git.login import Login
    from mlops_nb.core.change import PullRequest

TIMEOUT = 20.0
PATIENCE = 60.0
PAGES = 50
_LONGEST = 300  # characters of a server's own words that are shown
_TWO_FACTOR = re.compile(r"two.?factor|2fa|\botp\b|one.?time", re.IGNORECASE)
_LIMIT = re.compile(r"rate limit|too many requests|abuse detection", re.IGNORECASE)


class Refused(BackendError):
    """The forge answered that it does not do what was asked for.

    Args:
        message: what is wrong.
        status: HTTP status.
        said: the server's own words.
    """

    def __init__(self, message: str, *, status: int, said: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.said = said


def not_merged(error: Refused, pull: PullRequest) -> NotAllowed:
    """Say where a person sees why the forge does not merge a pull request."""
    return NotAllowed(error.message, hint=f"see what is missing: {pull.url}; then repeat")


class Rest:
    """Requests to one API.

    Args:
        name: what people call the forge.
        url: where its API is.
        headers: sent with each request, the token among them.
        login: where the token was found, and what takes it out of a text.
        rights: what the token must be allowed, in the forge's own words.
        ca: file with the certificates of a private authority; empty for the public ones.
    """

    def __init__(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        *,
        login: Login,
        rights: str,
        ca: str = "",
    ) -> None:
        self.name = name
        self.url = url.rstrip("/")
        self._source = login.source
        self._redact = login.redact
        self._rights = rights
        self._session = requests.Session()
        # A ~/.netrc would replace the token by a login of its own.
        self._session.auth = _Header(headers)
        self._session.headers["User-Agent"] = "mlops-nb"
        # Named with each request: what stands in REQUESTS_CA_BUNDLE would win over the session.
        self._verify = ca or None
        # What was sent and may have been done is not sent again: only what reads is.
        retry = Retry(
            total=3,
            backoff_factor=0.5,
            status_forcelist={502, 503, 504},
            allowed_methods={"GET"},
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def ask(
        self,
        method: str,
        path: str,
        action: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: object = None,
    ) -> Any:
        """Send a request and give what was answered, as JSON; None for no content.

        Args:
            method: HTTP method.
            path: below the API's address, or a whole address.
            action: what it is for: `open a pull request`.
            params: query.
            json: body.

        Raises:
            NotAllowed: if token or rights are refused.
            NotFound: if there is no such thing, or the token may not see it.
            Refused: if the request is answered by another error of the client's.
            BackendUnavailable: if the server does not answer, or takes no more requests now.
        """
        return self._answer(method, path, action, params, json)[0]

    def pages(
        self, path: str, action: str, params: Mapping[str, str | int]
    ) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list, page by page."""
        url, query = path, dict(params)
        for _ in range(PAGES):
            found, response = self._answer("GET", url, action, query, None)
            yield from found
            following = response.links.get("next", {}).get("url", "")
            # The token goes nowhere else, whatever an answer says.
            if not following or urlsplit(following).netloc != urlsplit(self.url).netloc:
                return
            url, query = following, {}

    def _answer(
        self,
        method: str,
        path: str,
        action: str,
        params: Mapping[str, str | int] | None,
        json: object,
    ) -> tuple[Any, requests.Response]:
        url = path if "://" in path else f"{self.url}/{path.lstrip('/')}"
        deadline = time.monotonic() + PATIENCE
        while True:
            response = self._send(method, url, params, json)
            wait = _pause(response)
            if wait is None:
                break
            if time.monotonic() + wait > deadline:
                raise BackendUnavailable(
                    f"{self.name} takes no more requests from this token: {_limit(response)}",
                    hint=f"repeat after {_clock(wait)}, or use another token",
                )
            time.sleep(wait)
        if not response.ok:
            raise self._refusal(response, action)
        if response.status_code == 204 or not response.content:
            return None, response
        try:
            return response.json(), response
        except ValueError:
            raise BackendError(
                f"{self.url} answers with {response.headers.get('Content-Type', 'something')} "
                f"instead of JSON",
                hint="is this the address of the forge's API? name it: [gitops] api",
            ) from None

    def _send(
        self, method: str, url: str, params: Mapping[str, str | int] | None, json: object
    ) -> requests.Response:
        host = urlsplit(url).netloc
        try:
            return self._session.request(
                method,
                url,
                params=dict(params or {}),
                json=json,
                timeout=TIMEOUT,
                verify=self._verify,
            )
        except requests.exceptions.SSLError as error:
            raise BackendError(
                f"the certificate of {host} is not trusted: {self._short(str(error))}",
                hint="name your company's authority: [gitops] ca in mlops.toml",
            ) from None
        except requests.exceptions.Timeout:
            raise BackendUnavailable(
                f"{host} does not answer within {TIMEOUT:g} s",
                hint="is the VPN connected? if this was to change something, look before "
                "repeating it: repeating is safe",
            ) from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise BackendUnavailable(
                f"{host} cannot be reached: {self._short(str(error))}",
                hint="is the address right ([gitops] repository, api), and the VPN connected?",
            ) from None

    def _refusal(self, response: requests.Response, action: str) -> MlopsError:
        status, said = response.status_code, self._short(_said(response))
        sso = response.headers.get("X-GitHub-SSO", "")
        otp = "required" in response.headers.get("X-GitHub-OTP", "")
        if sso.startswith("required"):
            url = sso.partition("url=")[2]
            return NotAllowed(
                f"{self.name} demands single sign-on for the token from {self._source}: {said}",
                hint=f"authorize it for the organization: {url}",
            )
        if otp or (status in {401, 403} and _TWO_FACTOR.search(said)):
            return NotAllowed(
                f"{self.name} demands two-factor authentication, which a password does not "
                f"pass: {said}",
                hint="make an access token there, and export it instead of a password",
            )
        if status == 401:
            return NotAllowed(
                f"{self.name} refused the token from {self._source}: {said}",
                hint="it has expired, was revoked or is mistyped: make a new one",
            )
        if status == 403:
            return NotAllowed(
                f"{self.name} does not let the token from {self._source} {action}: {said}",
                hint=f"it needs: {self._rights}",
            )
        if status in {404, 410}:
            return NotFound(
                f"{self.name} knows nothing at {urlsplit(response.url).path}: {said}",
                hint="is [gitops] repository right, and may the token see it?",
            )
        if status >= 500:
            return BackendUnavailable(
                f"{self.name} failed to {action}: {status} {said}", hint="repeat it later"
            )
        return Refused(f"{self.name} refused to {action}: {said}", status=status, said=said)

    def _short(self, text: str) -> str:
        text = self._redact(" ".join(text.split()))
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


class _Header(requests.auth.AuthBase):
    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def _said(response: requests.Response) -> str:
    """Give what the server says is wrong, however it says it."""
    try:
        body = response.json()
    except ValueError:
        return response.reason or f"status {response.status_code}"
    if not isinstance(body, dict):
        return str(body)
    told = body.get("message") or body.get("error_description") or body.get("error") or body
    # GitHub lists what fails a validation; GitLab gives a table by field.
    more = [
        str(error.get("message") or error.get("code") or error)
        if isinstance(error, dict)
        else str(error)
        for error in body.get("errors") or []
        if error
    ]
    return "; ".join([str(told), *more])


def _pause(response: requests.Response) -> float | None:
    """Give the seconds until another request is taken; None if this one was."""
    status, headers = response.status_code, response.headers
    if status not in {403, 429}:
        return None
    is_spent = headers.get("X-RateLimit-Remaining", headers.get("RateLimit-Remaining")) == "0"
    if status == 403 and not is_spent and not _LIMIT.search(_said(response)):
        return None
    after = headers.get("Retry-After", "")
    if after.isdigit():
        return float(after)
    if after:
        moment = parsedate_to_datetime(after)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    reset = headers.get("X-RateLimit-Reset", headers.get("RateLimit-Reset", ""))
    if is_spent and reset.isdigit():
        return max(1.0, float(reset) - time.time())
    # GitHub asks for a minute where it does not say how long.
    return 60.0


def _limit(response: requests.Response) -> str:
    limit = response.headers.get("X-RateLimit-Limit", response.headers.get("RateLimit-Limit"))
    return f"its limit of {limit} is used up" if limit else _said(response)


def _clock(seconds: float) -> str:
    at = datetime.fromtimestamp(time.time() + seconds, UTC).astimezone()
    return f"{at:%H:%M} (in {max(1, round(seconds / 60))} min)"
