"""Who asks a Kubeflow Pipelines server, by each way of logging in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlops_nb.adapters.kubeflow.dex import Session
from mlops_nb.errors import BackendError, NotAllowed, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_server_api import Configuration
    from kubernetes.client import Configuration as KubernetesConfiguration

    from mlops_nb.adapters.kubeflow.transport import Credentials

# kfp's own names, written here because `import kfp` takes half a second.
_PATH_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
_USUAL_PATH = "/var/run/secrets/kubeflow/pipelines/token"
HOME_NAMESPACE = "kubeflow"
_REFERENCE = "secret:"


class Login(Protocol):
    """What [kubeflow] of mlops.toml says of the way in."""

    @property
    def url(self) -> str:
        """Address of the API."""

    @property
    def namespace(self) -> str:
        """Namespace of the runs."""

    @property
    def auth(self) -> str:
        """How to log in."""

    @property
    def token(self) -> str:
        """Reference to a bearer token: `secret:NAME`."""

    @property
    def token_file(self) -> str:
        """File with a bearer token."""

    @property
    def username(self) -> str:
        """User name for Dex."""

    @property
    def password(self) -> str:
        """Reference to the password for Dex."""

    @property
    def kubeconfig(self) -> str:
        """Path of the kubeconfig; empty takes the usual one."""

    @property
    def context(self) -> str:
        """Context of the kubeconfig; empty takes its current one."""

    @property
    def ca(self) -> str:
        """File with the certificates to trust."""

    @property
    def verify(self) -> bool:
        """Whether the server's certificate is checked."""


def credentials(
    settings: Login, look_up: Callable[[str], str], environment: Mapping[str, str]
) -> Credentials | None:
    """Give who asks; None where nobody wants to know.

    Nothing is read or logged in before the first request.

    Args:
        settings: how to log in.
        look_up: gives the value of a secret by its reference.
        environment: variables of this process.

    Raises:
        UserError: if the settings lack what this way of logging in needs, or hold more.
    """
    match settings.auth:
        case "none" | "":
            _refuse(settings, "token", "token_file", "username", "password")
            return None
        case "token":
            _refuse(settings, "username", "password")
            return _token(settings, look_up)
        case "service-account":
            _refuse(settings, "token", "username", "password")
            path = settings.token_file or environment.get(_PATH_VARIABLE, "") or _USUAL_PATH
            return _TokenFile(
                Path(path),
                hint=f"mount a projected service account token with the audience "
                f"pipelines.kubeflow.org there, or name another file in {_PATH_VARIABLE}",
            )
        case "dex":
            _refuse(settings, "token", "token_file")
            return _dex(settings, look_up)
        case "kubeconfig":
            _refuse(settings, "token", "token_file", "username", "password")
            path = settings.kubeconfig or environment.get("KUBECONFIG", "")
            return _Kubeconfig(settings, path)
        case _:
            raise UserError(
                f"kubeflow.auth = {settings.auth!r}: no such login",
                hint="known: none, token, service-account, dex, kubeconfig",
            )


def _refuse(settings: Login, *keys: str) -> None:
    for key in keys:
        if getattr(settings, key):
            raise UserError(
                f"kubeflow.{key} is set, but kubeflow.auth = {settings.auth!r} does not use it",
                hint="set auth to the way of logging in that you mean, or take the key out",
            )


def _token(settings: Login, look_up: Callable[[str], str]) -> Credentials:
    if bool(settings.token) == bool(settings.token_file):
        raise UserError(
            'kubeflow.auth = "token" needs one of kubeflow.token and kubeflow.token_file',
            hint='token = "secret:NAME", where NAME is an environment variable or keyring '
            "entry",
        )
    if settings.token_file:
        path = Path(settings.token_file).expanduser()
        return _TokenFile(path, hint=f"put a fresh token into {path}")
    name = settings.token.removeprefix(_REFERENCE)
    return _Token(lambda: look_up(name), hint=f"put a fresh token into {name}")


def _dex(settings: Login, look_up: Callable[[str], str]) -> Credentials:
    if not (settings.url and settings.username and settings.password):
        raise UserError(
            'kubeflow.auth = "dex" needs kubeflow.url, kubeflow.username and kubeflow.password',
            hint='password = "secret:NAME", where NAME is an environment variable or keyring '
            "entry",
        )
    name = settings.password.removeprefix(_REFERENCE)
    return Session(
        settings.url,
        username=settings.username,
        password=lambda: look_up(name),
        ca=settings.ca,
        verify=settings.verify,
        hint=f"is the password in {name} right for {settings.username}? try it in a browser",
    )


def _use_bearer(config: Configuration) -> None:
    # The client asks the hook only where a key is there already.
    config.api_key["authorization"] = "placeholder"
    config.api_key_prefix["authorization"] = "Bearer"


class _Token:
    """A bearer token that is looked up once, and again when it is refused."""

    def __init__(self, read: Callable[[], str], *, hint: str) -> None:
        self.hint = hint
        self._read = read
        self._value = ""

    def settle(self, config: Configuration) -> None:
        _use_bearer(config)

    def refresh_api_key_hook(self, config: Configuration) -> None:
        self._value = self._value or self._read().strip()
        config.api_key["authorization"] = self._value

    def cookie(self) -> str:
        return ""

    def renew(self) -> None:
        self._value = ""


class _TokenFile:
    """A bearer token in a file that somebody else keeps fresh."""

    def __init__(self, path: Path, *, hint: str) -> None:
        self.hint = hint
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._value = ""

    def settle(self, config: Configuration) -> None:
        _use_bearer(config)

    def refresh_api_key_hook(self, config: Configuration) -> None:
        try:
            now = self._path.stat()
            # A file put in the old one's place may have the same time.
            seen = (now.st_mtime_ns, now.st_ino, now.st_size)
            if seen != self._seen:
                self._value = self._path.read_text(encoding="utf-8").strip()
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise NotAllowed(
                f"the token for KFP cannot be read from {self._path}: {why}", hint=self.hint
            ) from None
        if not self._value:
            raise NotAllowed(f"the token file {self._path} is empty", hint=self.hint)
        config.api_key["authorization"] = self._value

    def cookie(self) -> str:
        return ""

    def renew(self) -> None:
        self._seen = None


class _Kubeconfig:
    """The way through the Kubernetes API server, as `kubectl` would go."""

    def __init__(self, settings: Login, path: str) -> None:
        self._settings = settings
        self._namespace = settings.namespace or HOME_NAMESPACE
        self._path = path or "~/.kube/config"
        self._loaded: KubernetesConfiguration | None = None
        self.hint = (
            f"`kubectl get pods -n {self._namespace}` must work: log in with your cloud's "
            "tool, or choose another context"
        )

    def settle(self, config: Configuration) -> None:
        kubernetes = self._load()
        if not config.host:
            place = f"/api/v1/namespaces/{self._namespace}/services/ml-pipeline:http/proxy"
            config.host = kubernetes.host.rstrip("/") + place
        config.ssl_ca_cert = config.ssl_ca_cert or kubernetes.ssl_ca_cert
        config.verify_ssl = config.verify_ssl and kubernetes.verify_ssl
        config.cert_file, config.key_file = kubernetes.cert_file, kubernetes.key_file
        config.assert_hostname = getattr(kubernetes, "tls_server_name", None)
        if "authorization" in kubernetes.api_key:
            config.api_key["authorization"] = kubernetes.api_key["authorization"]

    def refresh_api_key_hook(self, config: Configuration) -> None:
        # Not the library's hook on `config` itself: it would take the proxy path off the host.
        kubernetes = self._loaded or self._load()
        if kubernetes.refresh_api_key_hook is not None:
            kubernetes.refresh_api_key_hook(kubernetes)
        if "authorization" in kubernetes.api_key:
            config.api_key["authorization"] = kubernetes.api_key["authorization"]

    def cookie(self) -> str:
        return ""

    def renew(self) -> None:
        self._load()

    def _load(self) -> KubernetesConfiguration:
        from kubernetes.client import Configuration as KubernetesConfiguration
        from kubernetes.config import ConfigException, load_kube_config
        from yaml import YAMLError

        loaded = KubernetesConfiguration()
        try:
            load_kube_config(
                self._path,
                context=self._settings.context or None,
                client_configuration=loaded,
                persist_config=False,
            )
        except ConfigException as error:
            raise NotAllowed(
                f"the kubeconfig {self._path} does not tell where the cluster is: {error}",
                hint="set kubeconfig or context in [kubeflow], or have your cloud's tool "
                "write it",
            ) from None
        except (OSError, YAMLError, ValueError, TypeError, KeyError) as error:
            raise BackendError(
                f"the kubeconfig {self._path} cannot be read: {type(error).__name__}",
                hint="`kubectl config view` says what is wrong",
            ) from None
        self._loaded = loaded
        return loaded
