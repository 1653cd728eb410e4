"""What the functions have in common: words become a verb, which its project does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.core.outcome import ensure_success
from mlops_nb.core.quantity import parse_duration, parse_size
from mlops_nb.core.run import Run
from mlops_nb.core.verbs import Retry, Train
from mlops_nb.project import Project
from mlops_nb.viewing import drawing_refusals

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
    """Have the verb done in its project; a run that was waited for must have gone well."""
    with drawing_refusals():
        result = Project.open_for(verb).run(verb)
        waited = isinstance(verb, Train | Retry) and verb.wait
        return ensure_success(result) if waited and isinstance(result, Run) else result
