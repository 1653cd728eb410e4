"""What an analysis measures: numbers of a chosen kind, or those of a real metrics server."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Protocol

from mlops_nb.core.analysis import read_samples
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from mlops_nb.core.analysis import Metric

KINDS = ("good", "slow", "errors", "none")
_LIMIT = re.compile(r"result\[0\]\s*([<>])=?\s*(-?[\d.]+)")
_ERRORS = re.compile(r"error|fail|5xx", re.IGNORECASE)
_TIMEOUT = 5.0
# How far a canary is from its limit: a p95 ratio of 1.2 is kept with 1.02, broken with 3.79.
_KEPT, _SLOW, _FAILING = 0.85, 3.158, 10.0


class Source(Protocol):
    """Where measurements come from."""

    def measure(self, model: str, metric: Metric) -> list[float]:
        """Give the samples of a metric; none where there is no data.

        Raises:
            ValueError: if it cannot be measured; the text says why.
        """


class Chosen:
    """Measurements of the kind somebody chose for a model.

    Args:
        kind: one of KINDS for every model for which no other was chosen.

    Raises:
        UserError: if there is no such kind.
    """

    def __init__(self, kind: str) -> None:
        self._usual = _checked(kind)
        self._kinds: dict[str, str] = {}

    def choose(self, model: str, kind: str) -> None:
        """Let a model's canaries be of a kind from now on.

        Raises:
            UserError: if there is no such kind.
        """
        self._kinds[model] = _checked(kind)

    def measure(self, model: str, metric: Metric) -> list[float]:
        """Make up samples that keep to the metric's own limit, or do not."""
        kind = self._kinds.get(model, self._usual)
        limits = _LIMIT.findall(metric.success)
        if kind == "none" or not limits:
            return []
        sign, limit = limits[-1][0], float(limits[-1][1])
        if sign == ">":
            # A quality that must be reached; a server's trouble does not touch it.
            return [limit / _KEPT]
        if _ERRORS.search(metric.name):
            return [limit * _FAILING if kind == "errors" else 0.0]
        return [round(limit * (_SLOW if kind == "slow" else _KEPT), 4)]


class Prometheus:
    """A Prometheus-compatible server that is asked the manifests' own queries.

    Args:
        url: its address, as in `http://127.0.0.1:8428`.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def measure(self, model: str, metric: Metric) -> list[float]:  # noqa: ARG002  # the query tells
        """Ask for the metric's samples as they are now."""
        if not metric.query:
            return []
        query = urllib.parse.urlencode({"query": metric.query})
        address = f"{self._url}/api/v1/query?{query}"
        try:
            with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:  # noqa: S310  # http alone, checked at start
                return read_samples(json.load(answer))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self._url}: {error}") from None


def _checked(kind: str) -> str:
    if kind not in KINDS:
        raise UserError(f"there are no metrics {kind!r}", hint=f"one of {', '.join(KINDS)}")
    return kind
