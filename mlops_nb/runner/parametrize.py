"""Parameters into a notebook, as papermill does it; secrets by name only."""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import UserError
from mlops_nb.runner.document import kernel_name, language, new_cell, tags

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlops_nb.runner.document import Notebook

INJECTED = "injected-parameters"


def parametrize(
    notebook: Notebook,
    values: Mapping[str, object],
    secrets: Mapping[str, str],
    tuples: Collection[str] = (),
) -> Notebook:
    """Give a copy of the notebook that sets these parameters after their defaults.

    The new cell stands where papermill puts it: in the place of an earlier injected one, else
    after the cell tagged `parameters`, else on top.

    Args:
        notebook: of format 4.5.
        values: JSON values by parameter name.
        secrets: environment variable's name by parameter name; only the name is written.
        tuples: names of parameters that Python takes as tuples, which JSON does not know.

    Raises:
        UserError: if the notebook's language has no such translation.
    """
    copy = deepcopy(notebook)
    recorded = dict(values) | {name: f"secret:{given}" for name, given in secrets.items()}
    copy["metadata"].setdefault("papermill", {})["parameters"] = recorded
    if not recorded:
        return copy
    cell = new_cell("code", _code(notebook, values, secrets, tuples), [INJECTED])
    cells = copy["cells"]
    earlier = _first(cells, INJECTED)
    declared = _first(cells, "parameters")
    if earlier is not None:
        cells[earlier] = cell
    else:
        cells.insert(0 if declared is None else declared + 1, cell)
    return copy


def _first(cells: list[dict[str, Any]], tag: str) -> int | None:
    return next((index for index, cell in enumerate(cells) if tag in tags(cell)), None)


def _code(
    notebook: Notebook,
    values: Mapping[str, object],
    secrets: Mapping[str, str],
    tuples: Collection[str],
) -> str:
    kernel, spoken = kernel_name(notebook), language(notebook)
    translators = _translators()
    try:
        translator = translators.papermill_translators.find_translator(kernel, spoken)
    except translators.PapermillException as error:
        raise UserError(
            f"parameters cannot be passed to a notebook in {spoken}",
            hint="run it without -p, or read the values from a file in the notebook",
        ) from error
    lines = [translator.codify(dict(values), "Parameters").rstrip("\n")]
    if spoken.lower() == "python":
        lines += [f"{name} = tuple({name})" for name in values if name in tuples]
    lines += [_secret(spoken, name, given) for name, given in secrets.items()]
    return "\n".join(lines) + "\n"


def _secret(spoken: str, name: str, variable: str) -> str:
    if spoken.lower() == "python":
        return f"{name} = __import__('os').environ[{variable!r}]"
    if spoken.lower() == "r":
        return f"{name} = Sys.getenv({json.dumps(variable)})"
    raise UserError(
        f"the secret {name} cannot be passed to a notebook in {spoken}",
        hint=f"read the environment variable {variable} in the notebook itself",
    )


def _translators() -> Any:
    """Import papermill's translators alone.

    The package's own `__init__` imports every storage SDK there is, which takes seconds; the
    translators need none of it.
    """
    if "papermill" in sys.modules:
        return import_module("papermill.translators")
    found = find_spec("papermill")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("papermill", name="papermill")
    package = ModuleType("papermill")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["papermill"] = package
    try:
        return import_module("papermill.translators")
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "papermill"]:
            del sys.modules[name]
