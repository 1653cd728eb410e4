"""Domain values as text for terminals, as HTML for notebooks and as CSV for spreadsheets."""

from mlops_nb.display.hypertext import html
from mlops_nb.display.plain import line, text
from mlops_nb.display.sheets import sheet

__all__ = ["html", "line", "sheet", "text"]
