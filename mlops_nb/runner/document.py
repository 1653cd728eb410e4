"""Notebook files: read any version as 4.5, check, write whole or not at all.

Works on plain JSON values: importing nbformat takes seconds where JupyterLab's dependencies
are installed, so it is left to the notebooks that need converting.
"""

from __future__ import annotations

import json
import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mlops_nb.errors import NotANotebook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Notebook = dict[str, Any]

DEFAULT_KERNEL = "python3"


def load(path: Path) -> tuple[Notebook, list[str]]:
    """Read a notebook of format 3 or 4 as 4.5, without outputs; the file is not touched.

    Args:
        path: the file.

    Returns:
        The notebook, and what a person should know of how it was read.

    Raises:
        NotANotebook: if the file is missing or no notebook; the message tells where.
    """
    document = _parsed(path)
    notes: list[str] = []
    major = document.get("nbformat")
    if major == 3:
        notes.append(f"{path.name} has the old notebook format 3; it runs as 4.5")
        document = _converted(path)
    elif major != 4 or not isinstance(document.get("cells"), list):
        raise NotANotebook(
            f"{path.name} is not a notebook of format 3 or 4: nbformat is {major!r}",
            hint="open it in JupyterLab and save it again",
        )
    _upgrade(document)
    if fault := invalid(document):
        raise NotANotebook(
            f"{path.name} is not a valid notebook: {fault}",
            hint="open it in JupyterLab and save it again",
        )
    if not document["metadata"].get("kernelspec", {}).get("name"):
        notes.append(f"{path.name} names no kernel; it runs with {DEFAULT_KERNEL}")
    return document, notes


def kernel_name(notebook: Notebook) -> str:
    """Give the kernel the notebook asks for, or python3."""
    name = notebook["metadata"].get("kernelspec", {}).get("name")
    return str(name or DEFAULT_KERNEL)


def language(notebook: Notebook) -> str:
    """Give the programming language the notebook says it is in, or python."""
    metadata = notebook["metadata"]
    found = metadata.get("kernelspec", {}).get("language") or metadata.get(
        "language_info", {}
    ).get("name")
    return str(found or "python")


def new_cell(kind: str, source: str, tags: list[str]) -> dict[str, Any]:
    """Make a cell of format 4.5."""
    cell: dict[str, Any] = {
        "cell_type": kind,
        "id": uuid4().hex[:8],
        "metadata": {"tags": tags},
        "source": source,
    }
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell


def tags(cell: dict[str, Any]) -> list[str]:
    """Give the cell's tags."""
    found = cell["metadata"].get("tags", [])
    return found if isinstance(found, list) else []


def invalid(notebook: Notebook) -> str:
    """Tell what is wrong with a notebook of format 4.5; empty if nothing is."""
    validate, error = _validator()
    try:
        validate(notebook)
    except error as fault:
        return str(fault)[:500]
    return ""


def save(notebook: Notebook, path: Path) -> None:
    """Write the notebook whole or not at all, however the writing ends.

    Args:
        notebook: of format 4.5; texts of several lines are split as Jupyter does.
        path: an existing file is replaced.
    """
    temporary = path.with_name(f".{path.name[:40]}.{uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            for part in _parts(notebook):
                file.write(part.encode("utf-8", errors="replace"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _parsed(path: Path) -> Notebook:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotANotebook(
            f"{path} cannot be read: {error.strerror or error}", hint="check the path"
        ) from error
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise NotANotebook(
            f"{path.name} is not UTF-8: byte 0x{content[error.start]:02x} in line {line}",
            hint="open it in JupyterLab and save it again",
        ) from error
    except json.JSONDecodeError as error:
        raise NotANotebook(
            f"{path.name} is not JSON: {error.msg} at line {error.lineno} column {error.colno}",
            hint="check that it is a notebook, and that no merge conflict is left in it",
        ) from error
    except RecursionError as error:
        raise NotANotebook(f"{path.name} is not a notebook: nested too deeply") from error
    if not isinstance(document, dict):
        raise NotANotebook(f"{path.name} is not a notebook: it holds no JSON object")
    return document


def _converted(path: Path) -> Notebook:
    nbformat: Any = import_module("nbformat")
    try:
        upgraded = nbformat.reads(path.read_text("utf-8-sig"), as_version=4)
    except (nbformat.ValidationError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotANotebook(
            f"{path.name} is not a valid notebook of format 3: {error}",
            hint="open it in JupyterLab and save it again",
        ) from error
    plain: Notebook = json.loads(json.dumps(upgraded))
    return plain


def _upgrade(notebook: Notebook) -> None:
    notebook["nbformat_minor"] = 5
    if not isinstance(notebook.get("metadata"), dict):
        notebook["metadata"] = {}
    spec = notebook["metadata"].get("kernelspec")
    if isinstance(spec, dict) and not spec.get("name"):
        del notebook["metadata"]["kernelspec"]
    elif isinstance(spec, dict):
        spec.setdefault("display_name", spec["name"])
    seen: set[str] = set()
    for cell in notebook["cells"]:
        if not isinstance(cell, dict):
            continue
        if isinstance(cell.get("source"), list):
            cell["source"] = "".join(str(line) for line in cell["source"])
        cell.setdefault("metadata", {})
        if cell.get("cell_type") == "code":
            cell |= {"outputs": [], "execution_count": None}
        if not cell.get("id") or cell["id"] in seen:
            cell["id"] = uuid4().hex[:8]
        seen.add(cell["id"])


def _parts(notebook: Notebook) -> Iterator[str]:
    """Give the file's text as nbformat writes it, a cell at a time to hold little at once."""
    rest = json.dumps(
        {key: value for key, value in notebook.items() if key != "cells"} | {"cells": []},
        ensure_ascii=False,
        indent=1,
        sort_keys=True,
    )
    head, empty, tail = rest.partition('"cells": []')
    if not notebook["cells"]:
        yield f"{rest}\n"
        return
    yield f"{head}{empty[:-1]}"
    between = ""
    for cell in notebook["cells"]:
        text = json.dumps(_split_cell(cell), ensure_ascii=False, indent=1, sort_keys=True)
        yield between + "\n  " + text.replace("\n", "\n  ")
        between = ","
    yield f"\n ]{tail}\n"


def _split_cell(cell: dict[str, Any]) -> dict[str, Any]:
    split = cell | {"source": _lines(cell["source"])}
    if "outputs" in cell:
        split["outputs"] = [_split_output(output) for output in cell["outputs"]]
    return split


def _split_output(output: dict[str, Any]) -> dict[str, Any]:
    if "text" in output:
        return output | {"text": _lines(output["text"])}
    if "data" not in output:
        return output
    return output | {
        "data": {
            kind: _lines(value) if _is_lines(kind) else value
            for kind, value in output["data"].items()
        }
    }


def _is_lines(kind: str) -> bool:
    """Tell whether Jupyter writes a MIME type's data line by line."""
    return kind.startswith("text/") or kind in {"application/javascript", "image/svg+xml"}


def _lines(text: str | list[str]) -> list[str]:
    return text.splitlines(keepends=True) if isinstance(text, str) else text


@cache
def _validator() -> tuple[Callable[[Notebook], object], type[Exception]]:
    fastjsonschema: Any = import_module("fastjsonschema")
    found = find_spec("nbformat")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("nbformat", name="nbformat")
    folder = Path(next(iter(found.submodule_search_locations)))
    schema = json.loads((folder / "v4" / "nbformat.v4.5.schema.json").read_text("utf-8"))
    return fastjsonschema.compile(schema), fastjsonschema.JsonSchemaException
