"""Markdown that shows texts as they are, whoever wrote them.

One rule tells what stands in ticks: what somebody types, follows or compares letter by letter,
such as a name, a path, an address, a digest or an expression. Numbers and sentences do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Code:
    """A table's cell that stands in ticks.

    Args:
        text: what is in the ticks.
        note: words behind it.
        without: words instead, where there is no text.
    """

    text: str
    note: str = ""
    without: str = "-"


def table(head: Iterable[str], rows: Iterable[Iterable[str | Code]]) -> Iterator[str]:
    """Give a table's lines; cells are texts, or code."""
    head = tuple(head)
    yield f"| {' | '.join(prose(cell) for cell in head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"


def _cell(cell: str | Code) -> str:
    if isinstance(cell, str):
        return prose(cell)
    if not cell.text:
        return prose(cell.without)
    return f"{code(cell.text)} {prose(cell.note)}".rstrip()


def prose(text: str) -> str:
    """Give a text of one line that is no markup and calls nobody."""
    escaped = re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))
    # Forges write to whom a body names; a group of the data may bear such a name.
    return re.sub(r"(?<!\w)@(?=\w)", "@\N{WORD JOINER}", escaped)


def code(text: str) -> str:
    """Give a text of one line in ticks, of which it may hold some itself."""
    text = " ".join(text.split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    tick = "`" * (longest + 1)
    return f"{tick} {text} {tick}" if longest else f"{tick}{text}{tick}"


__all__ = ["Code", "code", "prose", "table"]
