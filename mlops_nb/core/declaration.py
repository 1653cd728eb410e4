"""The parameters that a cell of Python declares."""

from __future__ import annotations

import ast
import io
import keyword
import re
import tokenize
import warnings
from dataclasses import dataclass

from mlops_nb.core.annotation import (
    ANY,
    NONE,
    Type,
    parse_type,
    plain,
    type_of,
    type_of_value,
    union,
)

# `%magic`, `!command`, `name?`, `files = !ls`: IPython's own syntax, which Python cannot read.
_IPYTHON = re.compile(r"\s*(?:[%!?]|[\w., ]+=\s*(?:!|%\w)|[%\w.]+\?{1,2}\s*$)")
_TYPE_COMMENT = re.compile(r"type:\s*(\S.*?)(?:\s*#\s*(.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter that a notebook declares.

    Args:
        name: its name.
        type: as written in Python: `float`, `int | None`, `Literal['a', 'b']`, `list[int]`;
            empty if not known.
        default: its default where that is a literal that JSON knows, else None.
        default_text: source text of the default; empty if it has none.
        has_default: whether a run may leave it out.
        choices: the only values there are; empty if there are others.
        help: its comment: behind it, or in the lines above.
        is_inferred: whether the type was told by the default, not by an annotation.
    """

    name: str
    type: str = ""
    default: object = None
    default_text: str = ""
    has_default: bool = False
    choices: tuple[object, ...] = ()
    help: str = ""
    is_inferred: bool = False

    @property
    def own_value(self) -> object:
        """Its default: the value, or the source text of one that is no literal."""
        is_literal = self.default is not None or self.default_text == "None"
        return self.default if is_literal else " ".join(self.default_text.split())


class UnreadableCell(ValueError):
    """Source text that is no Python.

    Args:
        line: number of the line, counted from 1.
        reason: what is wrong with it.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")


def declared(source: str) -> tuple[Parameter, ...]:
    """Give the parameters that a cell's top-level assignments declare.

    Raises:
        UnreadableCell: if it is no Python, IPython's magics and commands aside.
    """
    source = _normalized(source)
    try:
        tree = _parse(source)
    except SyntaxError:
        source = _without_ipython(source)
        try:
            tree = _parse(source)
        except SyntaxError as error:
            raise UnreadableCell(error.lineno or 1, error.msg) from None
    comments = _Comments(source)
    found: dict[str, Parameter] = {}
    for statement in tree.body:
        for parameter in _assigned(statement, source, comments):
            found[parameter.name] = parameter
    return tuple(found.values())


def only_assigns(source: str) -> bool:
    """Tell whether a cell of Python does nothing but give names literal values."""
    try:
        body = _parse(_normalized(source)).body
    except SyntaxError:
        return False
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return bool(body) and all(_is_literal_assignment(statement) for statement in body)


class _Comments:
    """The comments of a source text, by line.

    Args:
        source: Python that was parsed before.
    """

    def __init__(self, source: str) -> None:
        self._text: dict[int, str] = {}
        self._alone: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row = token.start[0]
                self._text[row] = token.string.lstrip("#:").strip()
                if not token.line[: token.start[1]].strip():
                    self._alone.add(row)

    def behind(self, statement: ast.stmt) -> str:
        last = statement.end_lineno or statement.lineno
        return self._text.get(last) or self._text.get(statement.lineno, "")

    def above(self, statement: ast.stmt) -> str:
        row = statement.lineno
        while row - 1 in self._alone:
            row -= 1
        lines = (self._text[above] for above in range(row, statement.lineno))
        return " ".join(line for line in lines if line)


def _normalized(source: str) -> str:
    return source.replace("\r\n", "\n").replace("\r", "\n")


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        # The notebook's own warnings are for its own run.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error) or "nested too deeply") from None


def _without_ipython(source: str) -> str:
    lines, goes_on = [], False
    for line in source.split("\n"):
        begins = not goes_on and bool(_IPYTHON.match(line))
        indent = line[: len(line) - len(line.lstrip())]
        lines.append(f"{indent}pass" if begins else "" if goes_on else line)
        goes_on = (begins or goes_on) and line.endswith("\\")
    return "\n".join(lines)


def _assigned(statement: ast.stmt, source: str, comments: _Comments) -> list[Parameter]:
    if isinstance(statement, ast.AnnAssign):
        pairs = _pairs(statement.target, statement.value)
    elif isinstance(statement, ast.Assign):
        pairs = [
            pair for target in statement.targets for pair in _pairs(target, statement.value)
        ]
    else:
        return []
    behind, told = comments.behind(statement), ANY
    if match := _TYPE_COMMENT.fullmatch(behind):
        told, behind = parse_type(match[1]), match[2] or ""
    if isinstance(statement, ast.AnnAssign):
        told = type_of(statement.annotation)
    help_ = behind or comments.above(statement)
    return [
        _parameter(target.id, told, value, source, help_)
        for target, value in pairs
        if isinstance(target, ast.Name) and is_parameter_name(target.id)
    ]


def is_parameter_name(name: str) -> bool:
    """Tell whether a parameter can have this name in Python."""
    is_dunder = name.startswith("__") and name.endswith("__")
    return name.isidentifier() and not keyword.iskeyword(name) and not is_dunder


def _pairs(target: ast.expr, value: ast.expr | None) -> list[tuple[ast.expr, ast.expr | None]]:
    """Take `a, b = 1, 2` apart."""
    if not isinstance(target, ast.Tuple | ast.List):
        return [(target, value)]
    if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
        return [
            pair
            for inner, part in zip(target.elts, value.elts, strict=True)
            for pair in _pairs(inner, part)
        ]
    return []


def _parameter(
    name: str, told: Type, value: ast.expr | None, source: str, help_: str
) -> Parameter:
    is_literal, default = _literal(value)
    text = ast.get_source_segment(source, value) if value is not None else ""
    is_inferred = told == ANY and is_literal
    if is_inferred:
        told = type_of_value(ast.literal_eval(value)) if value is not None else ANY
    elif is_literal and default is None:
        # `depth: int = None` says that None may be given, whatever the annotation says.
        told = union(told, NONE)
    choices = [choice for member in told.members for choice in member.choices]
    return Parameter(
        name=name,
        type=str(told),
        default=default,
        default_text=text or "",
        has_default=value is not None,
        choices=tuple(choices) if _is_closed(told) else (),
        help=help_,
        is_inferred=is_inferred and told != ANY,
    )


def _is_closed(type_: Type) -> bool:
    return all(member.name in {"Literal", "None"} for member in type_.members)


def _literal(node: ast.expr | None) -> tuple[bool, object]:
    """Tell whether this is a literal, and its value if JSON knows it."""
    if node is None:
        return False, None
    try:
        return True, plain(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False, None


def _is_literal_assignment(statement: ast.stmt) -> bool:
    match statement:
        case ast.Assign(targets=targets, value=value):
            return all(map(_is_plain_target, targets)) and _literal(value)[0]
        case ast.AnnAssign(target=ast.Name(), value=value):
            return value is not None and _literal(value)[0]
        case _:
            return False


def _is_plain_target(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(map(_is_plain_target, target.elts))
    return isinstance(target, ast.Name)
