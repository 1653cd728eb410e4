"""What travels with a notebook to a pod: one archive, named by its content."""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.core.quantity import format_size
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_IMPORT = re.compile(r"^\s*(?:import|from)\s+(\w+)", re.MULTILINE)
_SHELL = re.compile(r"^\s*[%!?]")
_LEFT_OUT = {"__pycache__", ".ipynb_checkpoints", ".git", ".venv", "node_modules", ".mlops"}
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A notebook and the files it needs.

    Args:
        content: a gzipped tar archive; equal files give equal bytes.
        digest: sha256 of the content, in hex.
        notebook: path of the notebook in it.
        files: every path in it.
    """

    content: bytes
    digest: str
    notebook: str
    files: tuple[str, ...]


def pack(
    path: Path, notebook: bytes, *, root: Path, include: Sequence[str], limit: int
) -> Bundle:
    """Pack a notebook without its outputs, local modules it imports, and what is asked for.

    Args:
        path: where the notebook lies; modules beside it, or below, are local.
        notebook: its content.
        root: the project's folder; paths in the archive start there, or at the notebook's
            folder if that is not below it.
        include: globs of further files, from `root`.
        limit: bytes the archive may have.

    Raises:
        UserError: if it is larger than the limit, or a glob finds nothing.
    """
    root = root if path.is_relative_to(root) else path.parent
    local, _ = _closure(_imports(_sources(notebook)), path.parent)
    files = {
        **_included(include, root),
        **{str(file.relative_to(root)): file.read_bytes() for file in local},
        str(path.relative_to(root)): _without_outputs(notebook),
    }
    content = _archive(files)
    if len(content) > limit:
        largest = sorted(files, key=lambda name: len(files[name]), reverse=True)[:_NAMED]
        raise UserError(
            f"what would travel with {path.name} is {format_size(len(content))}, more than the "
            f"limit of {format_size(limit)}",
            hint="largest: "
            + ", ".join(f"{name} ({format_size(len(files[name]))})" for name in largest)
            + "; pass data with --data, or raise [kubeflow] bundle_limit",
        )
    return Bundle(
        content=content,
        digest=hashlib.sha256(content).hexdigest(),
        notebook=str(path.relative_to(root)),
        files=tuple(sorted(files)),
    )


def unpack(content: bytes, digest: str, folder: Path) -> None:
    """Unpack an archive that has the digest it is named by.

    Raises:
        UserError: if it has another one.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise UserError(
            f"the bundle is not what was submitted: sha256 {found[:12]}, not {digest[:12]}",
            hint="submit the run again",
        )
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")


def recorded_as(digest: str) -> str:
    """Give the path under which a bundle is recorded with its run."""
    return f"mlops_nb/bundle-{digest[:16]}.tar.gz"


def lineage_of(digest: str) -> str:
    """Give the path under which a schedule's record tells where a bundle comes from."""
    return f"mlops_nb/lineage-{digest[:16]}.json"


def foreign_imports(path: Path) -> tuple[str, ...]:
    """Give top-level modules that a notebook and its local modules take from elsewhere."""
    _, foreign = _closure(_imports(_sources(path.read_bytes())), path.parent)
    return tuple(sorted(foreign))


def _without_outputs(notebook: bytes) -> bytes:
    document = json.loads(notebook)
    for cell in document.get("cells", []):
        if cell.get("cell_type") == "code":
            cell["outputs"], cell["execution_count"] = [], None
    # What a viewer notes down about itself must not make another bundle of the same cells.
    document.get("metadata", {}).pop("widgets", None)
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()


def _sources(notebook: bytes) -> Iterator[str]:
    for cell in json.loads(notebook).get("cells", []):
        if cell.get("cell_type") == "code":
            source = cell.get("source", "")
            yield "".join(source) if isinstance(source, list) else source


def _imports(sources: Iterable[str]) -> Iterator[str]:
    """Yield top-level modules that are imported, also in cells that are not quite Python."""
    for source in sources:
        lines = (line for line in source.splitlines() if not _SHELL.match(line))
        text = "\n".join(lines)
        try:
            tree = ast.parse(text)
        except SyntaxError:
            yield from _IMPORT.findall(text)
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                yield node.module.partition(".")[0]


def _closure(names: Iterable[str], folder: Path) -> tuple[set[Path], set[str]]:
    """Give the files of modules beside the notebook, and other modules that are imported."""
    todo, seen = list(names), set[str]()
    files, foreign = set[Path](), set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        found = _module(name, folder)
        files |= set(found)
        if not found:
            foreign.add(name)
        for file in found:
            if file.suffix == ".py":
                todo += _imports([file.read_text(encoding="utf-8", errors="replace")])
    return files, foreign


def _module(name: str, folder: Path) -> list[Path]:
    if (single := folder / f"{name}.py").is_file():
        return [single]
    package = folder / name
    # A folder without Python files is data that only happens to bear a module's name.
    return list(_below(package)) if any(package.glob("*.py")) else []


def _below(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name in _LEFT_OUT:
            continue
        if entry.is_dir():
            yield from _below(entry)
        elif entry.suffix != ".pyc":
            yield entry


def _included(globs: Sequence[str], root: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for pattern in globs:
        files = [file for file in root.glob(pattern) if file.is_file()]
        if not files:
            raise UserError(
                f"[kubeflow] include {pattern!r} finds no file in {root}", hint="mend the glob"
            )
        found |= {
            str(file.relative_to(root)): file.read_bytes()
            for file in files
            if not _LEFT_OUT & set(file.relative_to(root).parts)
        }
    return found


def _archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    return packed.getvalue()
