"""Metrics on evaluation tables and how sure they are; import it lazily, it loads numpy."""

from __future__ import annotations

from mlops_nb.statistics.bootstrap import Bootstrap
from mlops_nb.statistics.measures import computable_metrics

__all__ = ["Bootstrap", "computable_metrics"]
