"""The errors of both APIs, as each writes them."""

from __future__ import annotations

from typing import Any

from mlops_nb.dev.kubeflow.kube import failure

# gRPC's codes, as grpc-gateway of Argo CD puts them beside the HTTP status.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 415: 3, 500: 13}
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    415: "UnsupportedMediaType",
}


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status.
        message: what is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def body(self, *, is_kubernetes: bool) -> dict[str, Any]:
        """Give the answer's body, as the Kubernetes API or as Argo CD writes it."""
        if is_kubernetes:
            reason = _REASONS.get(self.status, "InternalError")
            return failure(self.status, reason, self.message)
        code = _CODES.get(self.status, 2)
        return {"error": self.message, "code": code, "message": self.message}
