"""Plain-text tables that fit the reader's terminal."""

from __future__ import annotations

import io
import shutil
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_USUAL = 100
_GAP = 2
_EMPTY = {"", "–"}
# A column as narrow as the first of these is never folded; none is folded below the second,
# nor within a word that is shorter than the third.
_SHORT, _NARROWEST, _LONG_WORD = 16, 12, 30


def width() -> int:
    """Give the columns of the terminal, or of COLUMNS; 100 where there is neither."""
    return max(20, shutil.get_terminal_size((_USUAL, 24)).columns)


def wrap(words: str, *, indent: str = "", first: str | None = None) -> str:
    """Fold a text at blanks; no word is broken."""
    return textwrap.fill(
        words,
        max(40, width()),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, indent: str = "") -> str:
    """Give a table without its empty columns; long cells are folded, never cut.

    Where even folded columns do not fit side by side, each row becomes lines of its own.
    """
    headings, cells = filled(headings, list(rows))
    widths = _widths([headings, *cells], width() - len(indent))
    shown = (
        _side_by_side(headings, cells, widths)
        if widths
        else _one_below_the_other(headings, cells)
    )
    return "\n".join((indent + line).rstrip() for line in shown)


def filled(
    headings: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """Give a table's headings and rows without the columns that are empty in every row."""
    kept = [
        place
        for place in range(len(headings))
        if place == 0 or not rows or any(row[place] not in _EMPTY for row in rows)
    ]
    return [headings[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _widths(lines: Sequence[Sequence[str]], available: int) -> list[int]:
    """Give each column's width; nothing if they cannot fit."""
    from rich.cells import cell_len

    columns = list(zip(*lines, strict=True))
    widths = [
        max(cell_len(part) for c in column for part in c.split("\n")) for column in columns
    ]
    longest = [max(cell_len(w) for c in column for w in [*c.split(), ""]) for column in columns]
    least = [
        wide if place == 0 or wide <= _SHORT else max(_NARROWEST, min(word, _LONG_WORD))
        for place, (wide, word) in enumerate(zip(widths, longest, strict=True))
    ]
    while sum(widths) + _GAP * (len(widths) - 1) > available:
        foldable = [place for place in range(len(widths)) if widths[place] > least[place]]
        if not foldable:
            return []
        widths[max(foldable, key=lambda place: widths[place])] -= 1
    return widths


def _side_by_side(
    headings: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]
) -> list[str]:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading, wide in zip(headings, widths, strict=True):
        drawn.add_column(Text(heading), overflow="fold", width=wide)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    out = io.StringIO()
    whole = sum(widths) + _GAP * len(widths)
    # Else, in a kernel, rich would display the table as an output of its own.
    console = Console(
        file=out,
        width=whole,
        color_system=None,
        emoji=False,
        markup=False,
        force_jupyter=False,
    )
    console.print(drawn)
    return out.getvalue().rstrip().splitlines()


def _one_below_the_other(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    margin = max(map(len, headings)) + _GAP
    lines: list[str] = []
    for row in rows:
        lines += [""] if lines else []
        for heading, cell in zip(headings, row, strict=True):
            if cell not in _EMPTY:
                said = cell.replace("\n", "\n" + " " * margin)
                lines += f"{heading:<{margin}}{said}".split("\n")
    return lines
