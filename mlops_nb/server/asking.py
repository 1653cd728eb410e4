"""From an HTTP request's JSON to a verb."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from mlops_nb.core.delivery import did_you_mean
from mlops_nb.core.verbs import (
    BY_NAME,
    Eject,
    Follow,
    Logs,
    Retry,
    Runs,
    Status,
    Sweep,
    Train,
    VerifyPr,
)
from mlops_nb.errors import NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlops_nb.core.verbs import Verb
    from mlops_nb.server.paths import Root

_NOT_OFFERED = (Eject, VerifyPr)  # they are about other folders than those JupyterLab shows
_FILES = ("parameter_file", "file")

VERBS = {
    word.replace(" ", "-"): class_
    for word, class_ in BY_NAME.items()
    if class_ not in _NOT_OFFERED
}
"""The verbs that are offered, by the word in the address."""

_LOOKS = (
    "inspect",
    "runs",
    "show",
    "logs",
    "compare",
    "models",
    "status",
    "history",
    "trace",
    "dora",
    "schedules",
)
_RUNS_CODE = (
    "train",
    "sweep",
    "retry",
    "schedule",
    "schedule-update",
    "schedule-resume",
    "doctor",
)


def action(word: str) -> str:
    """Say what a person needs to be allowed to: read, write or execute."""
    if word in _LOOKS:
        return "read"
    return "execute" if word in _RUNS_CODE else "write"


def read(body: bytes) -> tuple[str, dict[str, Any]]:
    """Give the path and the words of a request's body.

    Raises:
        UserError: if it is not what is expected.
    """
    shape = '{"path": "churn.ipynb", "verb": {}}'
    try:
        document = json.loads(body)
    except ValueError as error:
        raise UserError(f"the request is no JSON: {error}", hint=f"send {shape}") from None
    path = document.get("path") if isinstance(document, dict) else None
    said = document.get("verb", {}) if isinstance(document, dict) else None
    if not isinstance(path, str) or not isinstance(said, dict):
        raise UserError("the request is no path and verb", hint=f"send {shape}")
    if others := document.keys() - {"path", "verb"}:
        raise UserError(f"the request has {', '.join(sorted(others))}", hint=f"send {shape}")
    return path, said


def verb_of(word: str, said: Mapping[str, Any], root: Root) -> Verb:
    """Make a verb of its words; paths in them become those of files.

    Args:
        word: the verb's word in the address.
        said: its fields.
        root: the folder that paths start from.

    Raises:
        NotFound: if there is no such verb, or no such file.
        UserError: if a field is unknown or its value does not fit.
    """
    from mlops_nb import wire

    class_ = verb_class(word)
    known = {field.name for field in fields(class_)}
    for name in said:
        if name not in known:
            raise UserError(
                f"{word} has no field {name!r}",
                hint=did_you_mean(name, known - {"verb"}, otherwise="see docs/server.md"),
            )
    made: Verb = wire.loads(class_, json.dumps(_with_files(class_, said, root)))
    return _at_once(made)


def verb_class(word: str) -> Any:
    """Give a verb's class.

    Raises:
        NotFound: if it is none, or not offered here.
    """
    if word in VERBS:
        return VERBS[word]
    raise NotFound(
        f"there is no verb {word!r} here",
        hint=did_you_mean(word, VERBS, otherwise=f"there are {', '.join(VERBS)}"),
    )


def _with_files(class_: Any, said: Mapping[str, Any], root: Root) -> dict[str, Any]:
    found = dict(said)
    notebook = found.get("notebook")
    if isinstance(notebook, str) and (notebook or class_ is not Runs):
        # Runs are listed of a notebook that is gone, too.
        place = root.place(notebook) if class_ is Runs else root.file(notebook, suffix=".ipynb")
        found["notebook"] = str(place)
        data = found.get("data")
        if isinstance(data, dict):
            found["data"] = {name: _data(uri, place.parent) for name, uri in data.items()}
    for name in _FILES:
        if isinstance(found.get(name), str) and found[name]:
            found[name] = str(root.file(found[name]))
    return found


def _data(uri: object, folder: Path) -> object:
    """Give local data as seen from the notebook; nobody's working folder is the server's."""
    if not isinstance(uri, str) or ":" in uri or uri.startswith("/"):
        return uri
    return f"{folder}/{uri}"


def _at_once(verb: Verb) -> Verb:
    """Give the verb such that it is done soon; what happens after that, events tell."""
    match verb:
        case Train() | Sweep() | Retry():
            return replace(verb, wait=False)
        case Logs():
            return replace(verb, follow=False)
        case Status():
            return replace(verb, watch=False)
        case Follow():
            return replace(verb, once=True)
        case _:
            return verb
