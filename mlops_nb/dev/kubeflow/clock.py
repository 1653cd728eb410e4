"""Times as the API writes them: seconds, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from mlops_nb.dev.kubeflow.refusal import invalid

NEVER_FINISHED = "1970-01-01T00:00:00Z"
NO_TIME = "0001-01-01T00:00:00Z"


def stamp(seconds: float) -> str:
    """Write seconds since 1970 as RFC 3339."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str, name: str) -> float:
    """Read RFC 3339; `name` is the field that an error names."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise invalid(f"{name} is no RFC 3339 time: {text!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
