"""A notebook file: its parameters, and values for them."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_nb.core.annotation import Type, parse_type, read
from mlops_nb.core.declaration import (
    Parameter,
    UnreadableCell,
    declared,
    is_parameter_name,
    only_assigns,
)
from mlops_nb.errors import BadParameter, NotANotebook, UnknownParameter, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TAG = "parameters"
_PYTHON = {"python", "ipython", "python3", "ipython3"}
_FOREIGN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """A notebook file, read.

    Args:
        path: as the user named it.
        language: programming language, in small letters.
        kernel: kernelspec it asks for; None if it asks for none.
        parameters: what it declares; nothing where the language is not Python.
        parameters_cell: index, among all cells, of the cell that declares them.
        is_tagged: whether that cell is tagged `parameters`; else it is the first code cell
            and does nothing but assign literals.
        fingerprint: 64 hex digits over the cells' kinds and sources, not their outputs.
        cells: how many code cells it has.
    """

    path: str
    language: str = "python"
    kernel: str | None = None
    parameters: tuple[Parameter, ...] = ()
    parameters_cell: int | None = None
    is_tagged: bool = False
    fingerprint: str = ""
    cells: int = 0

    @classmethod
    def parse(cls, path: str, content: bytes) -> Notebook:
        """Read a notebook of format 3 or 4.

        Args:
            path: for messages.
            content: the file.

        Raises:
            NotANotebook: if it is no notebook; the message names the path and the place.
            UserError: if the cell tagged `parameters` cannot be read.
        """
        document = _document(path, content)
        cells = _cells(path, document)
        metadata = _table(document.get("metadata"))
        spec = _table(metadata.get("kernelspec"))
        name = spec.get("name")
        language = str(
            spec.get("language")
            or _table(metadata.get("language_info")).get("name")
            or "python"
        ).lower()
        index, is_tagged = _parameters_cell(cells) if language in _PYTHON else (None, False)
        sources = [[cell.kind, cell.source] for cell in cells]
        return cls(
            path=path,
            language=language,
            kernel=name if isinstance(name, str) and name else None,
            parameters=_declared(path, index, cells[index].source) if index is not None else (),
            parameters_cell=index,
            is_tagged=is_tagged,
            fingerprint=hashlib.sha256(json.dumps(sources).encode()).hexdigest(),
            cells=sum(cell.kind == "code" for cell in cells),
        )

    def parameter(self, name: str) -> Parameter:
        """Give a parameter.

        Of a notebook in another language than Python, whose parameters nobody can tell, any
        name will do.

        Raises:
            UnknownParameter: if the notebook does not declare it.
        """
        if self.language not in _PYTHON and _FOREIGN_NAME.fullmatch(name):
            return Parameter(name=name)
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise UnknownParameter(f"{self.path} has no parameter {name!r}", hint=self._known(name))

    def defaults(self, given: Iterable[str]) -> dict[str, object]:
        """Give what the notebook itself sets its other parameters to.

        Args:
            given: names of the parameters that a run is given.
        """
        names = set(given)
        return {
            p.name: p.own_value
            for p in self.parameters
            if p.has_default and p.name not in names
        }

    def check_names(self, names: Iterable[str]) -> None:
        """Check the names of all that a run is to be given.

        Raises:
            UnknownParameter: if the notebook does not declare one; all of them are named.
            BadParameter: if one that has no default is left out.
        """
        given = list(names)
        self._check_known(given)
        left_out = [
            p.name for p in self.parameters if not p.has_default and p.name not in given
        ]
        if left_out:
            raise BadParameter(
                f"{self.path} needs a value for {', '.join(left_out)}",
                hint=f"give e.g. {self._example(self.parameter(left_out[0]))}",
            )

    def bind(self, given: Mapping[str, object]) -> dict[str, object]:
        """Read text as the parameters' types say, check values that have a type already.

        Text for a parameter without a known type is read as JSON or a Python literal where it
        is one. `none` is None where that may be given. NaN and infinities are floats.

        Args:
            given: values by parameter name.

        Returns:
            values as JSON knows them, in the order given.

        Raises:
            UnknownParameter: if the notebook does not declare one.
            BadParameter: if one does not fit; all of them are named.
        """
        self._check_known(given)
        bound: dict[str, object] = {}
        wrong: list[BadParameter] = []
        for name, value in given.items():
            parameter = self.parameter(name)
            try:
                bound[name] = read(parse_type(parameter.type), value)
            except (ValueError, RecursionError) as error:
                wrong.append(self._wrong(parameter, value, error))
        if wrong:
            raise _together(wrong)
        return bound

    def _check_known(self, names: Iterable[str]) -> None:
        unknown: list[UnknownParameter] = []
        for name in names:
            try:
                self.parameter(name)
            except UnknownParameter as error:
                unknown.append(error)
        if unknown:
            raise _together(unknown)

    def _known(self, name: str) -> str:
        if not is_parameter_name(name):
            return f"{name!r} cannot be the name of a parameter"
        if not self.parameters:
            return f"tag the cell that sets its values `{_TAG}`"
        names = [parameter.name for parameter in self.parameters]
        folded = {known.lower(): known for known in names}
        close = difflib.get_close_matches(name.lower(), folded, n=1)
        meant = f"did you mean {folded[close[0]]}? " if close else ""
        return f"{meant}it has: {', '.join(names)}"

    def _wrong(self, parameter: Parameter, value: object, error: Exception) -> BadParameter:
        type_ = parse_type(parameter.type)
        said = _reason(type_, error)
        hint = f"e.g. {self._example(parameter)}"
        if parameter.choices:
            hint = f"choose one of {', '.join(str(choice) for choice in parameter.choices)}"
        elif parameter.is_inferred:
            hint += (
                f"; its default {parameter.default_text} tells the type, an annotation such as "
                f"`{parameter.name}: float | str = …` would widen it"
            )
        return BadParameter(f"{parameter.name} = {_shown(value)} {said}", hint=hint)

    def _example(self, parameter: Parameter) -> str:
        return f"{parameter.name}={parse_type(parameter.type).example}"


@dataclass(frozen=True, slots=True)
class _Cell:
    kind: str
    source: str
    is_tagged: bool


def _reason(type_: Type, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    said = str(error)
    # Python's own words about int("x") say less than the type does.
    detail = "" if "invalid literal" in said or "could not convert" in said else said
    kind = str(type_)
    if not kind:
        return f"does not fit: {detail}"
    return f"is not {kind}: {detail}" if detail else f"is not {kind}"


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except (ValueError, RecursionError):
        return f"(a {type(value).__name__})"
    return shown if len(shown) <= 80 else f"{shown[:77]}…"


def _together(errors: list[Any]) -> Any:
    """Make one error of several of a class."""
    if len(errors) == 1:
        return errors[0]
    return type(errors[0])(
        "\n".join(error.message for error in errors),
        hint="\n    ".join(dict.fromkeys(error.hint for error in errors)),
    )


def _document(path: str, content: bytes) -> dict[str, Any]:
    if not content.strip():
        raise NotANotebook(f"{path} is empty", hint="save the notebook first")
    skipped = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    try:
        document = json.loads(content[skipped:].decode())
    except UnicodeDecodeError as error:
        raise NotANotebook(
            f"{path} is not UTF-8 text: byte {error.start + skipped} is "
            f"0x{error.object[error.start]:02x}",
            hint="a notebook is saved as UTF-8; check that this is one",
        ) from None
    except json.JSONDecodeError as error:
        raise NotANotebook(
            f"{path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            hint=_why_no_json(path, content),
        ) from None
    except (ValueError, RecursionError) as error:
        raise NotANotebook(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(document, dict):
        raise NotANotebook(
            f"{path} holds a JSON {type(document).__name__}, not a notebook",
            hint="give a file that Jupyter saved",
        )
    return document


def _why_no_json(path: str, content: bytes) -> str:
    if re.search(rb"^(<<<<<<<|>>>>>>>) ", content, re.MULTILINE):
        return "it has unresolved merge conflicts: resolve them in Git"
    if not path.endswith(".ipynb"):
        return f"give a notebook (.ipynb); `jupytext --to ipynb {path}` makes one of a script"
    return "open and save it in Jupyter, or take an earlier version"


def _cells(path: str, document: dict[str, Any]) -> list[_Cell]:
    major = document.get("nbformat", 4)
    if major not in {3, 4}:
        raise NotANotebook(
            f"{path} has the notebook format {major!r}; 3 and 4 are known",
            hint="convert it: jupyter nbconvert --to notebook",
        )
    sheets = document.get("worksheets") if major == 3 else [document]
    lists = [_table(sheet).get("cells") for sheet in sheets] if isinstance(sheets, list) else []
    if not lists or not all(isinstance(cells, list) for cells in lists):
        raise NotANotebook(
            f"{path} is JSON, but it has no cells", hint="give a file that Jupyter saved"
        )
    raw = [cell for cells in lists for cell in cells or ()]
    return [_cell(path, number, cell) for number, cell in enumerate(raw, start=1)]


def _cell(path: str, number: int, cell: object) -> _Cell:
    kind = cell.get("cell_type") if isinstance(cell, dict) else None
    if not isinstance(cell, dict) or not isinstance(kind, str):
        raise NotANotebook(f"{path}: cell {number} is not a cell of a notebook")
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise NotANotebook(f"{path}: the source of cell {number} is not text")
    tags = _table(cell.get("metadata")).get("tags")
    return _Cell(kind, source, isinstance(tags, list) and _TAG in tags)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parameters_cell(cells: list[_Cell]) -> tuple[int | None, bool]:
    code = [index for index, cell in enumerate(cells) if cell.kind == "code"]
    for index in code:
        if cells[index].is_tagged:
            return index, True
    for index in code:
        if cells[index].source.strip():
            return (index if only_assigns(cells[index].source) else None), False
    return None, False


def _declared(path: str, index: int, source: str) -> tuple[Parameter, ...]:
    try:
        return declared(source)
    except UnreadableCell as error:
        raise UserError(
            f"{path}: cell {index + 1}, tagged `{_TAG}`, {error}",
            hint="mend the cell; it should do nothing but set values",
        ) from None
