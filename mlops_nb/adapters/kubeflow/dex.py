"""Logging in at a Kubeflow gateway as a browser would: Dex, or any page with a password."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit

from mlops_nb.errors import BackendError, BackendUnavailable, NotAllowed

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests
    from kfp_server_api import Configuration

_PAGES = 8
_CONNECTOR = re.compile(r"/auth/([^/?]+)(?:/login)?/?$")
_TAKES_PASSWORD = re.compile(r"local|ldap|password", re.IGNORECASE)


class Session:
    """A session cookie of a gateway; made on first use, and anew when it is refused.

    Args:
        url: address of the API behind the gateway.
        username: name for the login page.
        password: gives the password; called for each login.
        ca: file with the certificates to trust; empty for the public ones.
        verify: whether certificates are checked.
        timeout: seconds to wait for each page.
        hint: what a person does about a refused login.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str,
        password: Callable[[], str],
        ca: str = "",
        verify: bool = True,
        timeout: float = 10.0,
        hint: str = "",
    ) -> None:
        self.hint = hint
        self._url = url.rstrip("/") + "/"
        self._username = username
        self._password = password
        self._verify: bool | str = (ca or True) if verify else False
        self._timeout = timeout
        self._cookie: str | None = None
        self._logging_in = threading.Lock()

    def settle(self, config: Configuration) -> None:
        """Leave the address and CA as they are."""

    def refresh_api_key_hook(self, config: Configuration) -> None:
        """Leave the header out: the cookie says who asks."""

    def cookie(self) -> str:
        """Give the session cookie, after a login where there is none yet.

        Raises:
            NotAllowed: if the name or password is refused, or no page asks for them.
            BackendUnavailable: if a page of the login does not answer.
        """
        with self._logging_in:
            if self._cookie is None:
                self._cookie = self._log_in()
            return self._cookie

    def renew(self) -> None:
        """Forget the session, so that the next request logs in."""
        with self._logging_in:
            self._cookie = None

    def _log_in(self) -> str:
        import requests

        with requests.Session() as session:
            # As the API's client does: no proxy, netrc or CA bundle from the environment.
            session.trust_env = False
            session.verify = self._verify
            session.headers["Accept"] = "text/html"
            try:
                self._walk(session)
            except requests.exceptions.SSLError as error:
                raise BackendError(
                    f"a certificate on the way to the login of {self._url} is not trusted",
                    hint="set ca below [kubeflow] in mlops.toml to the file of your own CA",
                ) from error
            except requests.RequestException as error:
                place = urlsplit(error.request.url or "").netloc if error.request else ""
                raise BackendUnavailable(
                    f"the login of {self._url} does not answer"
                    f"{f' at {place}' if place else ''}: {type(error).__name__}",
                    hint="is it reachable from here? `mlops doctor` tells where the way ends",
                ) from error
            # Of all cookies, the ones that a browser would send to the API.
            api = requests.Request("GET", urljoin(self._url, "apis/v2beta1/runs"))
            return str(session.prepare_request(api).headers.get("Cookie", ""))

    def _walk(self, session: requests.Session) -> None:
        """Go from page to page until none of them asks for anything."""
        answer = session.get(self._url, timeout=self._timeout)
        if answer.status_code in {401, 403}:
            # oauth2-proxy shows who is not logged in a page, or nothing, instead of Dex.
            where = urlencode({"rd": urlsplit(self._url).path})
            start = urljoin(self._url, f"/oauth2/start?{where}")
            answer = session.get(start, timeout=self._timeout)
        has_posted = False
        for _ in range(_PAGES):
            page = _read(answer)
            if form := page.form("password"):
                if has_posted:
                    raise NotAllowed(
                        f"{urlsplit(answer.url).netloc} does not know {self._username!r} with "
                        "this password",
                        hint=self.hint,
                    )
                has_posted = True
                answer = self._submit(session, answer, form, self._filled(form))
            elif form := page.approval():
                answer = self._submit(session, answer, form, form.values)
            elif urlsplit(answer.url).path.rstrip("/").endswith("/auth"):
                answer = session.get(self._connector(answer, page), timeout=self._timeout)
            else:
                self._check_end(answer)
                return
        raise NotAllowed(
            f"the login of {self._url} did not end after {_PAGES} pages", hint=self.hint
        )

    def _submit(
        self,
        session: requests.Session,
        answer: requests.Response,
        form: _Form,
        values: dict[str, str],
    ) -> requests.Response:
        target = urljoin(answer.url, form.action) if form.action else answer.url
        if target.startswith("http:") and self._url.startswith("https:"):
            raise NotAllowed(
                f"the login page at {urlsplit(target).netloc} would take the password without "
                "encryption",
                hint="tell the platform's owner: its issuer is an http:// address",
            )
        return session.post(target, data=values, timeout=self._timeout)

    def _filled(self, form: _Form) -> dict[str, str]:
        values = dict(form.values)
        values[form.named("text", "email") or "login"] = self._username
        values[form.named("password")] = self._password()
        return values

    def _connector(self, answer: requests.Response, page: _Page) -> str:
        """Give the address of the way of logging in that takes a name and a password."""
        offers = {
            found[1]: urljoin(answer.url, link)
            for link in page.links
            if (found := _CONNECTOR.search(urlsplit(link).path))
        }
        fitting = [name for name in offers if _TAKES_PASSWORD.search(name)] or list(offers)
        if not fitting:
            raise NotAllowed(
                f"the page {urlsplit(answer.url).netloc}{urlsplit(answer.url).path} offers no "
                "login with name and password",
                hint='use auth = "token" with a token of your platform',
            )
        return offers[fitting[0]]

    def _check_end(self, answer: requests.Response) -> None:
        there, here = urlsplit(self._url), urlsplit(answer.url)
        if answer.status_code >= 500:
            raise BackendUnavailable(
                f"the login of {self._url} fails at {here.netloc}{here.path} with status "
                f"{answer.status_code}",
                hint="look into the log of dex and oauth2-proxy",
            )
        if answer.status_code in {401, 403} or there.netloc != here.netloc:
            raise NotAllowed(
                f"the login of {self._url} ends at {here.netloc}{here.path} with status "
                f"{answer.status_code}",
                hint=self.hint,
            )


@dataclass
class _Form:
    action: str
    values: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def named(self, *kinds: str) -> str:
        return next((name for name, kind in self.kinds.items() if kind in kinds), "")


class _Page(HTMLParser):
    """The forms and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[_Form] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(_Form(told.get("action", "")))
        elif tag == "a" and "href" in told:
            self.links.append(told["href"])
        elif tag == "input" and self.forms and (name := told.get("name")):
            self.forms[-1].values[name] = told.get("value", "")
            self.forms[-1].kinds[name] = told.get("type", "text").lower()

    def form(self, kind: str) -> _Form | None:
        return next((form for form in self.forms if form.named(kind)), None)

    def approval(self) -> _Form | None:
        """Give the form that lets Kubeflow know who is there; Dex has another to refuse it."""
        return next(
            (form for form in self.forms if form.values.get("approval") == "approve"), None
        )


def _read(answer: requests.Response) -> _Page:
    page = _Page()
    if "html" in answer.headers.get("content-type", ""):
        page.feed(answer.text)
    return page
