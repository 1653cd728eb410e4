"""What travels with a notebook."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from mlops_nb.adapters.kubeflow.bundle import Bundle, foreign_imports, pack, unpack
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 1_000_000


def notebook(*sources: str, output: str = "") -> bytes:
    outputs = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    cells: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {},
            "execution_count": 3 if output else None,
            "outputs": outputs,
            "source": source.splitlines(keepends=True),
        }
        for i, source in enumerate(sources)
    ]
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    ).encode()


def packed(folder: Path, content: bytes, *include: str, limit: int = LIMIT) -> Bundle:
    path = folder / "work" / "nb.ipynb"
    path.parent.mkdir(exist_ok=True)
    return pack(path, content, root=folder, include=include, limit=limit)


def test_the_same_cells_are_the_same_bundle_whatever_they_printed(tmp_path: Path) -> None:
    first = packed(tmp_path, notebook("x = 1", output="1\n"))
    second = packed(tmp_path, notebook("x = 1", output="something else\n"))
    assert first.digest == second.digest
    assert packed(tmp_path, notebook("x = 2")).digest != first.digest
    assert first.notebook == "work/nb.ipynb"


def test_local_modules_travel_with_what_they_import(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "features" / "deep").mkdir(parents=True)
    (work / "features" / "__init__.py").write_text(
        "from . import deep\nimport helpers_of_mine\n"
    )
    (work / "features" / "deep" / "__init__.py").touch()
    (work / "features" / "table.csv").write_text("a\n")
    (work / "features" / "__pycache__").mkdir()
    (work / "features" / "__pycache__" / "x.pyc").touch()
    (work / "helpers_of_mine.py").write_text("import json\n")
    (work / "unused.py").touch()
    (work / "numpy").mkdir()
    cells = notebook(
        "%pip install x\n!ls\nimport numpy as np, features.deep", "from torch import nn"
    )
    bundle = packed(tmp_path, cells)
    assert bundle.files == (
        "work/features/__init__.py",
        "work/features/deep/__init__.py",
        "work/features/table.csv",
        "work/helpers_of_mine.py",
        "work/nb.ipynb",
    )
    (work / "nb.ipynb").write_bytes(cells)
    assert foreign_imports(work / "nb.ipynb") == ("json", "numpy", "torch")


def test_a_cell_that_is_not_quite_python_still_tells_its_imports(tmp_path: Path) -> None:
    path = tmp_path / "nb.ipynb"
    path.write_bytes(notebook("files = !ls\nimport lightgbm", "%%bash\necho import this"))
    assert "lightgbm" in foreign_imports(path)


def test_what_is_asked_for_travels_too_and_a_glob_that_finds_nothing_is_told(
    tmp_path: Path,
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.yaml").write_text("x: 1\n")
    assert "conf/a.yaml" in packed(tmp_path, notebook("1"), "conf/*.yaml").files
    with pytest.raises(UserError, match=r"include 'config/\*' finds no file"):
        packed(tmp_path, notebook("1"), "config/*")


def test_too_much_is_refused_by_name_and_size(tmp_path: Path) -> None:
    import random

    (tmp_path / "big.bin").write_bytes(random.Random(0).randbytes(50_000))
    with pytest.raises(
        UserError, match=r"is 4\d\.\d+ KiB, more than the limit of 9\.766 KiB"
    ) as error:
        packed(tmp_path, notebook("1"), "big.bin", limit=10_000)
    assert "big.bin (48.83 KiB)" in error.value.hint


def test_it_comes_out_as_it_went_in_and_another_content_is_refused(tmp_path: Path) -> None:
    bundle = packed(tmp_path, notebook("x = 'Größe'"))
    unpack(bundle.content, bundle.digest, tmp_path / "pod")
    document = json.loads((tmp_path / "pod" / "work" / "nb.ipynb").read_text())
    assert document["cells"][0]["source"] == ["x = 'Größe'"]
    with pytest.raises(UserError, match="not what was submitted"):
        unpack(bundle.content + b" ", bundle.digest, tmp_path / "pod")


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    import hashlib

    packed_up = io.BytesIO()
    with tarfile.open(fileobj=packed_up, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../evil"))
    content = packed_up.getvalue()
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(content, hashlib.sha256(content).hexdigest(), tmp_path / "pod")
    assert not (tmp_path / "evil").exists()
