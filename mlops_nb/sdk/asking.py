"""What the functions have in common: words become a verb, which its project does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.core.quantity import parse_duration, parse_size
from mlops_nb.project import Project

if TYPE_CHECKING:
    from mlops_nb.core import verbs

Paths = str | Path
Texts = str | Sequence[str]


def many(words: Texts) -> tuple[str, ...]:
    """Give one text or several as several."""
    return (words,) if isinstance(words, str) else tuple(words)


def seconds(time: str | float | None) -> float | None:
    """Give a duration, as a number or `30m`, in seconds."""
    return parse_duration(time) if isinstance(time, str) else time


def size(text: str | int | None) -> int | None:
    """Give a size, as a number or `8GiB`, in bytes."""
    return parse_size(text) if isinstance(text, str) else text


def ask(verb: verbs.Verb) -> Any:
    """Have the verb done in its project."""
    return Project.open_for(verb).run(verb)
