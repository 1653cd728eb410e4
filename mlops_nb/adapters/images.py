"""Images in an OCI registry: whether one is still there.

The request is the distribution specification's: `HEAD /v2/<name>/manifests/<digest>`
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md#checking-if-content-exists-in-the-registry).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import requests

from mlops_nb.errors import BackendError, BackendUnavailable, NotAllowed

if TYPE_CHECKING:
    from oras.auth.base import AuthBackend
    from oras.container import Container

_TIMEOUT = 5.0
_HUBS = {"docker.io", "index.docker.io"}
_HUB = "registry-1.docker.io"
_HUBS_LOGIN = "https://index.docker.io/v1/"
_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


class OciImages:
    """Registries as images name them, with the logins that Docker's own configuration has."""

    def has(self, image: str) -> bool:
        """Tell whether an image is in its registry.

        Args:
            image: `registry/name@sha256:…`.

        Raises:
            BackendUnavailable: if the registry does not answer within 5 seconds.
            NotAllowed: if it wants a login, or refuses the one there is.
            BackendError: if it answers otherwise.
        """
        from oras.container import Container

        found = Container(image)
        host = found.registry
        if host in _HUBS:
            found.registry = _HUB
            found.namespace = found.namespace or "library"
        try:
            answer = self._ask(found, login=_HUBS_LOGIN if host in _HUBS else str(host))
        except (requests.RequestException, ValueError) as error:
            raise BackendUnavailable(
                f"the image registry {host} does not answer: {type(error).__name__}",
                hint="is it reached from this machine?",
            ) from None
        if answer.status_code in {401, 403}:
            raise NotAllowed(
                f"the image registry {host} does not show {found.api_prefix} to this login",
                hint=f"log in: docker login {host}",
            )
        if answer.status_code not in {200, 404}:
            raise BackendError(
                f"the image registry {host} answers {answer.status_code}",
                hint="look at its own status page",
            )
        return answer.status_code == 200

    def _ask(self, image: Container, login: str) -> requests.Response:
        """Ask for the manifest; once more with a login where the registry wants one."""
        is_here = _is_this_machine(str(image.registry))
        url = f"{'http' if is_here else 'https'}://{image.manifest_url()}"
        headers = {"Accept": _MANIFESTS}
        with _Session() as session:
            answer = session.head(url, headers=headers, allow_redirects=True)
            challenge = answer.headers.get("Www-Authenticate", "")
            if answer.status_code != 401 or not challenge:
                return answer
            kind = "basic" if challenge.lower().startswith("basic") else "token"
            auth = _login(kind, session, login, is_insecure=is_here)
            try:
                told, has_login = auth.authenticate_request(answer, headers)
            except AttributeError:
                # What it raises where Docker's configuration has no login of the kind.
                return answer
            if not has_login:
                return answer
            return session.head(url, headers=told, allow_redirects=True)


class _Session(requests.Session):
    """Gives no answer that comes too late: who deploys does not wait for a registry."""

    def request(self, *args: Any, **words: Any) -> requests.Response:
        words.setdefault("timeout", _TIMEOUT)
        return super().request(*args, **words)


def _login(
    kind: str, session: requests.Session, login: str, *, is_insecure: bool
) -> AuthBackend:
    import oras.auth
    from oras.container import Container

    auth: AuthBackend = oras.auth.get_auth_backend(kind, session, is_insecure)
    # It looks a container's registry up in Docker's configuration, and nothing else of it.
    named = Container("any")
    named.registry = login
    auth.load_configs(named)
    return auth


def _is_this_machine(registry: str) -> bool:
    """Tell whether Docker, too, would speak plain HTTP to it: only to this machine."""
    host = registry.rpartition(":")[0] or registry
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
