"""YAML as Kubernetes reads it: written so that YAML 1.1 parsers agree, edited in place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import RoundTripRepresenter

from mlops_nb.errors import UserError

# What a YAML 1.1 parser takes for something other than text.
_NOT_TEXT = re.compile(
    r"""(?ix)
    | y | n | yes | no | on | off | true | false | null | ~ | = | <<
    | [-+]?[0-9][0-9_:,.eE+-]* | [-+]?\.[0-9_]+ (?:e[-+]?[0-9]+)? | [-+]?0[xob][0-9a-f_]+
    | [-+]?\.(?:inf|nan)
    """
)
_TRAILING_COMMENTS = re.compile(r"(?:\s|(?<=\n)[ \t]*#[^\n]*(?:\n|\Z))*\Z")


class _Representer(RoundTripRepresenter):
    def represent_text(self, text: str) -> ScalarNode:
        quoted = _NOT_TEXT.fullmatch(text) is not None or "\n" in text
        return self.represent_scalar(
            "tag:yaml.org,2002:str", text, style='"' if quoted else None
        )

    def represent_number(self, number: float) -> ScalarNode:
        text = repr(number)
        if "e" in text and "." not in text:
            # YAML 1.1 takes 1e-05 for text.
            text = text.replace("e", ".0e")
        special = {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}
        return self.represent_scalar("tag:yaml.org,2002:float", special.get(text, text))


_Representer.add_representer(str, _Representer.represent_text)
_Representer.add_representer(float, _Representer.represent_number)


def _writer() -> YAML:
    writer = YAML()
    writer.Representer = _Representer
    writer.width = 100_000  # a folded digest is no longer one word to search for
    writer.indent(mapping=2, sequence=2, offset=0)
    return writer


def emit(data: object, *, comment: str = "") -> bytes:
    """Write a document; equal data gives equal bytes.

    Args:
        data: mappings, lists and scalars.
        comment: lines that are put above it, without `#`.
    """
    stream = StringIO()
    _writer().dump(data, stream)
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return (head + stream.getvalue()).encode()


def flow(data: Mapping[str, object]) -> CommentedMap:
    """Mark a mapping to be written on one line, `{like: this}`."""
    marked = CommentedMap(data)
    marked.fa.set_flow_style()
    return marked


def flow_list(data: Sequence[object]) -> CommentedSeq:
    """Mark a list to be written on one line, `[like, this]`."""
    marked = CommentedSeq(data)
    marked.fa.set_flow_style()
    return marked


def anchored(data: Mapping[str, object], name: str) -> CommentedMap:
    """Mark a mapping to be written once as `&name` and then as `*name`."""
    marked = CommentedMap(data)
    marked.yaml_set_anchor(name, always_dump=False)
    return marked


def parse(content: bytes, path: str) -> Any:
    """Read one document.

    Args:
        content: the file.
        path: its path, for errors.

    Raises:
        UserError: if it is no UTF-8 or no YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(content.decode())
    except (YAMLError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def parse_all(content: bytes, path: str) -> list[Any]:
    """Read every document of a file.

    Raises:
        UserError: if it is no UTF-8 or no YAML.
    """
    try:
        return list(YAML(typ="safe", pure=True).load_all(content.decode()))
    except (YAMLError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


class Document:
    """A YAML file whose values can be replaced; every other byte stays as it is.

    Args:
        content: the file.
        path: its path, for errors.
    """

    def __init__(self, content: bytes, path: str) -> None:
        self.data = parse(content, path)
        self._path = path
        self._text = content.decode()
        self._root: Node | None = YAML().compose(self._text)
        self._spans: dict[tuple[int, int], str] = {}
        self._tail: list[object] = []

    def set_key(self, key: str, value: object) -> None:
        """Set a key of the mapping that the file is; add it at the end if it is not there.

        Raises:
            UserError: if the file holds no mapping.
        """
        if not isinstance(self._root, MappingNode):
            raise self._unfit("a mapping")
        for name, node in self._root.value:
            if name.value == key:
                self._set(node, self.data[key], value, (key,))
                return
        self._tail.append(CommentedMap({key: value}))

    def set_in(self, place: Sequence[str | int], value: object) -> None:
        """Set the value at a place; where that is missing, its owners decided so.

        Args:
            place: keys and indices that lead there from the top.
            value: the new value.
        """
        node, data = self._root, self.data
        for step in place:
            node = _child(node, step)
            if node is None:
                return
            data = data[step]
        if node is not None:
            self._set(node, data, value, tuple(place))

    def add_items(self, key: str, items: Sequence[str]) -> None:
        """Add to the list at a key of the mapping that the file is what it does not have."""
        had = self.data.get(key) if isinstance(self.data, dict) else None
        new = [item for item in items if item not in (had or [])]
        node = _child(self._root, key)
        if not new:
            return
        if not had or not isinstance(node, SequenceNode):
            self.set_key(key, list(new))
            return
        end = self._span(node.value[-1])[1]
        written = [emit([item]).decode().rstrip("\n") for item in new]
        if node.flow_style:
            self._spans[end, end] = "".join(f", {item.removeprefix('- ')}" for item in written)
            return
        # After the last item's own comment.
        rest = self._text[end:]
        end += len(rest.partition("\n")[0].rstrip("\r"))
        indent = "\n" + " " * node.start_mark.column
        self._spans[end, end] = "".join(f"{indent}{item}" for item in written)

    def drop_operation(self, path: str) -> None:
        """Remove the JSON 6902 operation on a path, with the comment that ends its line.

        Raises:
            UserError: if the file is written so that the operation has no lines of its own.
        """
        if not isinstance(self._root, SequenceNode):
            raise self._unfit("a list of JSON 6902 operations")
        for entry, node in zip(self.data, self._root.value, strict=True):
            if entry.get("path") != path or entry.get("op") == "test":
                continue
            start = self._text.rfind("\n", 0, node.start_mark.index) + 1
            end = self._text.find("\n", self._span(node)[1])
            span = (start, len(self._text) if end < 0 else end + 1)
            left = YAML(typ="safe", pure=True).load(self._spliced({span: ""}))
            if left != [other for other in self.data if other is not entry]:
                raise self._unfit("each operation on lines of its own")
            self._spans[span] = ""

    def set_operation(self, operation: Mapping[str, object], *, essential: bool) -> None:
        """Set the value of a JSON 6902 operation in the list that the file is.

        Args:
            operation: with `op`, `path` and `value`.
            essential: add it at the end if it is not there; otherwise its absence is a
                decision of the people who own the file.

        Raises:
            UserError: if the file holds no list of operations.
        """
        if not isinstance(self._root, SequenceNode):
            raise self._unfit("a list of JSON 6902 operations")
        for i, (entry, node) in enumerate(zip(self.data, self._root.value, strict=True)):
            if not isinstance(entry, dict) or not isinstance(node, MappingNode):
                raise self._unfit("a list of JSON 6902 operations")
            same = entry.get("path") == operation["path"]
            is_test = (entry.get("op") == "test") == (operation["op"] == "test")
            if same and is_test:
                for name, value in node.value:
                    if name.value == "value":
                        self._set(value, entry["value"], operation["value"], (i, "value"))
                        return
        if essential:
            self._tail.append(CommentedSeq([operation]))

    def content(self) -> bytes:
        """Give the file with every replacement made."""
        newline = "\r\n" if "\r\n" in self._text else "\n"
        text = self._spliced(self._spans)
        if self._tail and not text.endswith("\n"):
            text += newline
        for part in self._tail:
            text += emit(part).decode().replace("\n", newline)
        return text.encode()

    def _set(self, node: Node, old: object, new: object, place: tuple[str | int, ...]) -> None:
        spans: dict[tuple[int, int], str] = {}
        self._replace(node, old, new, spans)
        if not spans:
            return
        result = YAML(typ="safe", pure=True).load(self._spliced(spans))
        for step in place:
            result = result[step]
        if result != new:
            # An anchor's one text cannot take two values: the whole value is written anew.
            spans = {self._span(node): self._written(node, new)}
        self._spans.update(spans)

    def _spliced(self, spans: Mapping[tuple[int, int], str]) -> str:
        newline = "\r\n" if "\r\n" in self._text else "\n"
        text = self._text
        for (start, end), new in sorted(spans.items(), reverse=True):
            text = text[:start] + new.replace("\n", newline) + text[end:]
        return text

    def _replace(
        self, node: Node, old: object, new: object, spans: dict[tuple[int, int], str]
    ) -> None:
        if old == new and type(old) is type(new):
            return
        if isinstance(node, MappingNode) and isinstance(old, dict) and isinstance(new, Mapping):
            if set(old) == set(new):
                for name, child in node.value:
                    self._replace(child, old[name.value], new[name.value], spans)
                return
            new = {**{k: v for k, v in old.items() if k in new}, **new}
        elif isinstance(node, SequenceNode) and isinstance(old, list):
            values = new if isinstance(new, Sequence) and not isinstance(new, str) else []
            if len(values) == len(old):
                for child, before, after in zip(node.value, old, values, strict=True):
                    self._replace(child, before, after, spans)
                return
        spans[self._span(node)] = self._written(node, new)

    def _span(self, node: Node) -> tuple[int, int]:
        start, end = node.start_mark.index, node.end_mark.index
        is_literal = isinstance(node, ScalarNode) and node.style in {"|", ">"}
        if not _is_block(node) and not is_literal:
            return start, end
        # A block ends where the next token begins: the comments before that are not its own.
        return start, start + len(_TRAILING_COMMENTS.sub("", self._text[start:end]))

    def _written(self, node: Node, value: object) -> str:
        stream = StringIO()
        if not _is_block(node):
            if isinstance(node, ScalarNode) and node.style in {"'", '"'}:
                return _quoted(value, node.style)
            marked: Any = CommentedSeq([value])
            marked.fa.set_flow_style()
            _writer().dump(marked, stream)
            return stream.getvalue().rstrip("\n")[1:-1]
        _writer().dump(value, stream)
        return stream.getvalue().rstrip("\n").replace("\n", "\n" + " " * node.start_mark.column)

    def _unfit(self, wanted: str) -> UserError:
        return UserError(
            f"{self._path} does not hold {wanted}",
            hint="mend it on the base branch, or delete it to have it written anew",
        )


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(
        f"{path} is not valid YAML: {' '.join(str(error).split())}",
        hint="mend it on the base branch, or delete it to have it written anew",
    )


def _child(node: Node | None, step: str | int) -> Node | None:
    if isinstance(node, MappingNode):
        return next((value for name, value in node.value if name.value == step), None)
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        found: Node = node.value[step]
        return found
    return None


def _is_block(node: Node) -> bool:
    return isinstance(node, MappingNode | SequenceNode) and not node.flow_style


def _quoted(value: object, quote: str) -> str:
    text = value if isinstance(value, str) else None
    if text is None:
        return emit(value).decode().removesuffix("...\n").rstrip("\n")
    if quote == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
