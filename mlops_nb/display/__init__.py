"""Domain values as text for terminals and as HTML for notebooks."""

from mlops_nb.display.hypertext import html
from mlops_nb.display.plain import line, text

__all__ = ["html", "line", "text"]
