"""Jupyter's message protocol, as little of it as executing cells needs."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

_DELIMITER = b"<IDS|MSG>"
_EMPTY = b"{}"


class Message(NamedTuple):
    """One message of a kernel.

    Args:
        kind: its type, like `stream`.
        parent: id of the request it answers; empty if none.
        content: what it says.
    """

    kind: str
    parent: str
    content: dict[str, Any]


def _null(_: str) -> None:
    """NaN and infinities are no JSON; a notebook must not hold them."""


class Codec:
    """Signs and packs requests, checks and unpacks what a kernel sends.

    Args:
        key: the connection's secret.
    """

    def __init__(self, key: str) -> None:
        self._mac = hmac.new(key.encode(), digestmod=hashlib.sha256)
        self._session = uuid4().hex
        self._decode = json.JSONDecoder(parse_constant=_null).decode
        self._parent = (b"", "")

    def pack(self, kind: str, content: dict[str, Any]) -> tuple[str, list[bytes]]:
        """Give the request's id and its frames."""
        name = uuid4().hex
        header = {
            "msg_id": name,
            "msg_type": kind,
            "session": self._session,
            "username": "mlops_nb",
            "date": datetime.now(UTC).isoformat(),
            "version": "5.3",
        }
        parts = [json.dumps(header).encode(), _EMPTY, _EMPTY, json.dumps(content).encode()]
        return name, [_DELIMITER, self._signature(parts), *parts]

    def unpack(self, frames: list[bytes]) -> Message | None:
        """Give the message; None if it is not signed with our key or is no message."""
        try:
            start = frames.index(_DELIMITER) + 1
        except ValueError:
            return None
        parts = frames[start + 1 : start + 5]
        if len(parts) < 4 or not hmac.compare_digest(self._signature(parts), frames[start]):
            return None
        try:
            kind = json.loads(parts[0])["msg_type"]
            return Message(kind, self._parent_of(parts[1]), self._content(parts[3]))
        except (ValueError, KeyError, TypeError):
            return None

    def _parent_of(self, part: bytes) -> str:
        if part != self._parent[0]:
            header = self._decode(part.decode(errors="replace"))
            self._parent = (part, str(header.get("msg_id", "")))
        return self._parent[1]

    def _content(self, part: bytes) -> dict[str, Any]:
        try:
            text = part.decode()
        except UnicodeDecodeError:
            text = part.decode(errors="replace")
        content: dict[str, Any] = self._decode(text)
        return _without_surrogates(content) if "\\ud" in text.lower() else content

    def _signature(self, parts: list[bytes]) -> bytes:
        mac = self._mac.copy()
        for part in parts:
            mac.update(part)
        return mac.hexdigest().encode()


def _without_surrogates(value: Any) -> Any:
    """Give the JSON value with lone surrogates, which no file can hold, replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {
            _without_surrogates(key): _without_surrogates(item) for key, item in value.items()
        }
    return value
