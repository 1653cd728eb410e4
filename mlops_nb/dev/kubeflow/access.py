"""Who may use what: tokens, namespaces, and no web pages."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow.refusal import (
    PERMISSION_DENIED,
    UNAUTHENTICATED,
    Refusal,
    invalid,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.dev.kubeflow.options import Options

_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Access:
    """The rules of one server."""

    def __init__(self, options: Options) -> None:
        self._options = options

    @property
    def multi_user(self) -> bool:
        """Tell whether requests must name a namespace."""
        return self._options.multi_user

    def admit(self, headers: Mapping[str, str]) -> None:
        """Refuse a web page, and a caller without the token.

        The server starts whatever programs it is told to. A page in a browser on the same
        machine can reach it, but not without `Origin` or a foreign `Host`.
        """
        host = headers.get("Host", "").rpartition(":")[0] or headers.get("Host", "")
        if "Origin" in headers or host not in _HOSTS:
            raise Refusal(PERMISSION_DENIED, "this server does not answer web pages")
        expected = self._options.token
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if expected and (
            scheme.lower() != "bearer" or not hmac.compare_digest(token, expected)
        ):
            text = "Request header error: there is no user identity header."
            raise Refusal(UNAUTHENTICATED, f"Unauthenticated: {text}")

    def namespace(self, named: str) -> str:
        """Give the namespace of a request: none when the server has one user."""
        if not self.multi_user:
            return ""
        if not named:
            raise invalid("A namespace cannot be empty in multi-user mode")
        self.check(named)
        return named

    def check(self, namespace: str) -> None:
        """Refuse a namespace that the caller may not use."""
        allowed = self._options.namespaces
        if self.multi_user and allowed and namespace not in allowed:
            text = (
                f"User 'dev' is not authorized with reason: no access to namespace {namespace}"
            )
            raise Refusal(PERMISSION_DENIED, f"PermissionDenied: {text}")

    def where_pods_live(self, namespace: str) -> str:
        """Give the Kubernetes namespace of a run's pods."""
        return namespace or self._options.namespace
