"""The way to a Kubeflow Pipelines server, hop by hop, for `mlops doctor`."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops_nb.errors import BackendError, BackendUnavailable, MlopsError, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlops_nb.adapters.kubeflow.connection import Connection

Hop = tuple[str, "Callable[[], str]"]

_NOWHERE = "00000000-0000-0000-0000-000000000000"


def hops(connection: Connection) -> Sequence[Hop]:
    """Give the hops in their order: a name, and a function that tries it.

    A function says what it found, or raises a MlopsError with the way to mend it. The hops
    after one that fails say nothing new.
    """
    way = _Way(connection)
    found: list[Hop] = [("DNS", way.dns), ("TCP", way.tcp)]
    if way.is_encrypted:
        found.append(("TLS", way.tls))
    if connection.credentials is not None:
        found.append(("login", way.login))
    return [
        *found,
        ("API", way.api),
        ("namespace", way.namespace),
        ("experiments", way.experiments),
        ("right to run", way.right_to_run),
    ]


def walk(connection: Connection) -> str:
    """Try the hops up to the first that fails; say what was found.

    Raises:
        MlopsError: of the first hop that fails, which the message names.
    """
    found = []
    for name, attempt in hops(connection):
        try:
            found.append(attempt())
        except MlopsError as error:
            error.message = f"{name}: {error.message}"
            error.args = (error.message,)
            raise
    return "; ".join(text for text in found if text)


class _Way:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        parts = urlsplit(connection.url)
        self.is_encrypted = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self.is_encrypted else 80)
        self._experiments: Sequence[str] = ()

    def dns(self) -> str:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise BackendUnavailable(
                f"no address is known for {self._host}: {error.strerror or error}",
                hint="is the name right in url below [kubeflow], and is the VPN connected?",
            ) from None
        return f"{self._host} is {found[0][4][0]}"

    def tcp(self) -> str:
        try:
            with self._connected():
                return f"port {self._port} is open"
        except TimeoutError:
            raise BackendUnavailable(
                f"{self._host}:{self._port} does not answer within "
                f"{self._connection.timeout:g} s",
                hint="a firewall may be in between: is the VPN connected?",
            ) from None
        except OSError as error:
            raise BackendUnavailable(
                f"{self._host}:{self._port} cannot be reached: {error.strerror or error}",
                hint="is the port right, and the gateway or `kubectl port-forward` running?",
            ) from None

    def tls(self) -> str:
        context = ssl.create_default_context(cafile=self._connection.ca or _public())
        if not self._connection.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with (
                self._connected() as plain,
                context.wrap_socket(plain, server_hostname=self._host) as wrapped,
            ):
                version = wrapped.version()
        except ssl.SSLCertVerificationError as error:
            raise BackendError(
                f"the certificate of {self._host} is not trusted: {error.verify_message}",
                hint=_CERTIFICATE.get(
                    error.verify_code,
                    "set ca below [kubeflow] to the file of your company's CA",
                ),
            ) from None
        except (ssl.SSLError, OSError) as error:
            raise BackendError(
                f"{self._host}:{self._port} does not speak TLS: {error}",
                hint="is it http:// after all, or another port?",
            ) from None
        checked = "" if self._connection.verify else ", certificate not checked"
        return f"{version}{checked}"

    def login(self) -> str:
        """Log in, where that takes more than a token; what it is worth shows the API."""
        credentials = self._connection.credentials
        if credentials is None:
            return ""
        if credentials.cookie():
            return "logged in"
        from kfp_server_api import Configuration

        credentials.refresh_api_key_hook(Configuration())
        return "credentials are there"

    def api(self) -> str:
        multi_user = self._connection.healthz()
        return f"KFP v2 API, {'multi-user' if multi_user else 'single-user'}"

    def namespace(self) -> str:
        namespace, multi_user = self._connection.namespace, self._connection.healthz()
        if multi_user and not namespace:
            raise NotAllowed(
                "the server has many users, and no namespace is set",
                hint="set namespace below [kubeflow] in mlops.toml to your profile's name",
            )
        if namespace and not multi_user:
            return f"namespace {namespace} is that of the pods: the server has one user"
        return f"namespace {namespace}" if namespace else ""

    def experiments(self) -> str:
        self._experiments = self._connection.experiments()
        return "experiments can be read"

    def right_to_run(self) -> str:
        """Ask for a run of a pipeline that does not exist: rights are looked at before it."""
        if not self._experiments:
            return "rights show with the first run: there is no experiment yet"
        try:
            self._connection.attempt_run("mlops-doctor", self._experiments[0], _NOWHERE)
        except NotAllowed:
            raise
        except (NotFound, BackendError) as error:
            if isinstance(error, BackendUnavailable):
                raise
        return "runs may be made"

    def _connected(self) -> socket.socket:
        return socket.create_connection(
            (self._host, self._port), timeout=self._connection.timeout
        )


def _public() -> str:
    import certifi

    return certifi.where()


# By OpenSSL's X509_V_ERR_ numbers.
_CERTIFICATE = {
    9: "is this machine's clock right?",
    10: "it has expired: tell the platform's owner",
    62: "url below [kubeflow] must have the name that the certificate is for",
    64: "url below [kubeflow] must have the name that the certificate is for",
}
