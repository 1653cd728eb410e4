"""Nobody sees the beginning of a secret while the rest of it is still being printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mlops_nb.redaction import Redactor
from mlops_nb.runner.document import Notebook, new_cell
from mlops_nb.runner.journal import JOURNAL, Journal, assemble
from mlops_nb.runner.outputs import redacted_outputs
from mlops_nb.runner.printed import PrintedLog

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "s3cr3t-Wert/with+signs"
NOTEBOOK: Notebook = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {},
    "cells": [new_cell("code", "one", []), new_cell("code", "two", [])],
}


@pytest.mark.parametrize("before", ["", "it is ", "x" * 190], ids=["alone", "after", "far"])
@pytest.mark.parametrize("between", ["", "\x1b[0m"], ids=["plain", "coloured"])
def test_a_secret_printed_by_characters_is_never_the_last_line(
    tmp_path: Path, before: str, between: str
) -> None:
    log = PrintedLog(tmp_path / "log.txt", Redactor([TOKEN]))
    log.write("stdout", f"begun\n{before}")
    for character in TOKEN:
        log.write("stdout", f"{character}{between}")
        assert log.last_line() == "begun"
    assert (tmp_path / "log.txt").read_text() == "begun\n"
    log.write("stdout", "\n")
    assert (tmp_path / "log.txt").read_text() == f"begun\n{before}[redacted]\n"
    assert "s3c" not in log.last_line()
    log.close()


def test_without_secrets_the_last_line_is_live(tmp_path: Path) -> None:
    log = PrintedLog(tmp_path / "log.txt", str)
    log.write("stderr", "begun\n")
    for percent in range(3):
        log.write("stderr", f"\r{percent}%")
        assert log.last_line() == f"{percent}%"
    log.close()


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"name": name, "text": text}


def texts(notebook: Notebook) -> list[str]:
    return [
        "".join(output["text"] for output in cell["outputs"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def test_a_secret_cut_in_two_is_not_in_the_journal_of_a_killed_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path, NOTEBOOK, Redactor([TOKEN]))
    journal.begin(0)
    for piece in (stream(f"a\n{TOKEN[:9]}"), stream("b\n", "stderr"), stream(TOKEN[9:])):
        journal.output(0, "stream", piece)
        journal.flush()
        assert TOKEN[:9] not in (tmp_path / JOURNAL).read_text()
    journal.output(0, "stream", stream(" was it\nunfinished"))
    journal.end(0, "completed", 1)
    journal.begin(1)
    journal.output(1, "stream", stream("whole\nhalf " + TOKEN[:9]))
    journal.flush()
    journal.close()
    assert TOKEN[:9] not in (tmp_path / JOURNAL).read_text()
    # Who heals the run may be somebody who does not know the secret.
    healed = assemble(tmp_path, redact=str, failure=None)
    assert texts(healed) == ["a\nb\n[redacted] was it\nunfinished", "whole\n"]


def test_what_a_cell_cleared_does_not_come_back_when_the_run_is_healed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, NOTEBOOK, Redactor([TOKEN]))
    journal.begin(0)
    for percent in (10, 20):
        journal.output(0, "clear_output", {"wait": False})
        journal.output(0, "stream", stream(f"{percent}%"))
    journal.end(0, "completed", 1)
    journal.close()
    assert texts(assemble(tmp_path, redact=str, failure=None))[0] == "20%"


def test_a_secret_that_another_output_cut_in_two_is_one_all_the_same() -> None:
    picture = {"output_type": "display_data", "data": {"text/plain": "<Figure>"}}
    outputs = [
        {"output_type": "stream", **stream(f"it is {TOKEN[:9]}")},
        picture,
        {"output_type": "stream", **stream(f"{TOKEN[9:]}, you see\n")},
    ]
    safe = redacted_outputs(outputs, Redactor([TOKEN]))
    assert [output.get("text") for output in safe] == ["it is [redacted], you see\n", None, ""]
    assert redacted_outputs(outputs, Redactor(["another-one"])) == outputs
    assert TOKEN[:9] in json.dumps(outputs)
