"""The errors of the API, as grpc-gateway writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_nb.dev.kubeflow.options import Json

INVALID = 3
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
INTERNAL = 13
UNAVAILABLE = 14
UNAUTHENTICATED = 16

_STATUS = {
    INVALID: 400,
    NOT_FOUND: 404,
    ALREADY_EXISTS: 409,
    PERMISSION_DENIED: 403,
    INTERNAL: 500,
    UNAVAILABLE: 503,
    UNAUTHENTICATED: 401,
}
_CODE = {status: code for code, status in _STATUS.items()}


class Refusal(Exception):
    """A request that the server answers with an error.

    Args:
        code: the gRPC code.
        message: what is wrong.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """Give the HTTP status that goes with the code."""
        return _STATUS[self.code]


def not_found(kind: str, name: str) -> Refusal:
    """Give the error for a thing that is not there."""
    text = f"Failed to get {kind}: ResourceNotFoundError: {kind} {name} not found"
    return Refusal(NOT_FOUND, text)


def invalid(text: str) -> Refusal:
    """Give the error for a request that cannot be."""
    return Refusal(INVALID, f"Invalid input error: {text}")


def error_body(code: int, message: str) -> Json:
    """Write an error as grpc-gateway does."""
    detail = {
        "@type": "type.googleapis.com/google.rpc.Status",
        "code": code,
        "message": message,
    }
    return {"error": message, "code": code, "message": message, "details": [detail]}


def body_for_status(status: int) -> Json:
    """Write the error that an HTTP status stands for."""
    code = _CODE.get(status, INTERNAL if status >= 500 else INVALID)
    return error_body(code, f"the server answered {status}, as it was told to")
