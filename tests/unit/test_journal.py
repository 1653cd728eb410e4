import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.core.run import Failure
from mlops_nb.runner.document import Notebook, invalid, new_cell, save
from mlops_nb.runner.journal import EXECUTED, INPUT, JOURNAL, Journal, assemble
from mlops_nb.runner.outputs import Lines, Outputs, StreamText
from mlops_nb.runner.printed import PrintedLog

PIECES = st.lists(st.text(alphabet="ab\r\b\n", max_size=6), max_size=30)


def terminal(text: str) -> str:
    """What a terminal shows, one character at a time: the reference."""
    shown: list[str] = []
    line: list[str] = []
    returned = False
    for character in text:
        if character == "\n":
            shown += [*line, "\r" if returned else "", "\n"]
            line, returned = [], False
        elif character == "\r":
            returned = True
        elif character == "\b":
            line = line if returned else line[:-1]
        else:
            line = [character] if returned else [*line, character]
            returned = False
    return "".join([*shown, *line, "\r" if returned else ""])


@given(PIECES)
def test_a_stream_in_pieces_reads_as_a_terminal_shows_it_whole(pieces: list[str]) -> None:
    stream = StreamText("stdout")
    for piece in pieces:
        stream.feed(piece)
    assert stream.output()["text"] == terminal("".join(pieces))


@given(PIECES)
def test_reading_the_unfinished_line_in_between_changes_nothing(pieces: list[str]) -> None:
    lines = Lines()
    finished = ""
    for piece in pieces:
        finished += lines.feed(piece)
        lines.unfinished()
    assert finished + lines.unfinished() == terminal("".join(pieces))


def streams(*pieces: tuple[str, str]) -> list[tuple[str, str]]:
    outputs = Outputs()
    for name, text in pieces:
        outputs.take(0, "stream", {"name": name, "text": text})
    return [(output["name"], output["text"]) for output in outputs.of(0)]


def test_streams_keep_their_order() -> None:
    got = streams(("stdout", "a\n"), ("stderr", "b\n"), ("stdout", "c\n"), ("stdout", "d\n"))
    assert got == [("stdout", "a\n"), ("stderr", "b\n"), ("stdout", "c\nd\n")]


def test_a_progress_bar_between_prints_stays_one_output() -> None:
    pieces = [("stderr", "\r0%")]
    for percent in range(1, 1000):
        pieces += [("stdout", f"step {percent}\n"), ("stderr", f"\r{percent}%")]
    assert [name for name, _ in streams(*pieces)] == ["stderr", "stdout"]
    assert streams(*pieces)[0] == ("stderr", "999%")


def test_displays_are_updated_in_every_cell_that_shows_them() -> None:
    outputs = Outputs()
    shown = {"data": {"text/plain": "old"}, "metadata": {}, "transient": {"display_id": "d"}}
    outputs.take(0, "display_data", shown)
    outputs.take(1, "display_data", shown)
    outputs.take(1, "update_display_data", shown | {"data": {"text/plain": "new"}})
    assert [outputs.of(cell)[0]["data"]["text/plain"] for cell in (0, 1)] == ["new", "new"]


def test_clearing_may_wait_for_the_next_output() -> None:
    outputs = Outputs()
    outputs.take(0, "stream", {"name": "stdout", "text": "one\n"})
    outputs.take(0, "clear_output", {"wait": True})
    assert outputs.of(0)[0]["text"] == "one\n"
    outputs.take(0, "stream", {"name": "stdout", "text": "two\n"})
    assert [output["text"] for output in outputs.of(0)] == ["two\n"]
    outputs.take(0, "clear_output", {"wait": False})
    assert outputs.of(0) == []


def notebook(*sources: str) -> Notebook:
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [new_cell("code", source, []) for source in sources],
    }


def recorded(directory: Path, **options: Any) -> Journal:
    """A run that was killed in its second of three cells."""
    journal = Journal(directory, notebook("one", "two", "three"), options.get("redact", str))
    journal.begin(0)
    journal.output(0, "stream", {"name": "stdout", "text": "first\n"})
    journal.end(0, "completed", 1)
    journal.begin(1)
    journal.output(1, "stream", {"name": "stdout", "text": "second "})
    journal.output(1, "stream", {"name": "stdout", "text": "half\n"})
    journal.flush()
    return journal


KILLED = Failure(reason="the runner was killed in cell 2", hint="run it again", cell=2)


def test_a_killed_run_gives_a_valid_notebook_that_says_so(tmp_path: Path) -> None:
    recorded(tmp_path).close()
    made = assemble(tmp_path, redact=str, failure=KILLED)
    assert invalid(made) == ""
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert [cell["metadata"]["papermill"]["status"] for cell in code] == [
        "completed",
        "failed",
        "pending",
    ]
    assert code[0]["outputs"][0]["text"] == "first\n"
    assert code[1]["outputs"][0]["text"] == "second half\n"
    assert code[1]["outputs"][1]["evalue"] == KILLED.reason
    assert KILLED.reason in made["cells"][0]["source"]
    assert "papermill-error-cell" in made["cells"][2]["source"]
    assert made["metadata"]["papermill"]["exception"] is True


def test_a_journal_cut_at_any_byte_can_be_read(tmp_path: Path) -> None:
    recorded(tmp_path).close()
    whole = (tmp_path / JOURNAL).read_bytes()
    texts = []
    for length in range(len(whole) + 1):
        (tmp_path / JOURNAL).write_bytes(whole[:length])
        made = assemble(tmp_path, redact=str, failure=None)
        texts.append("".join(o["text"] for cell in made["cells"] for o in cell["outputs"]))
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert texts[-1] == "first\nsecond half\n"


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    recorded(tmp_path).close()
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    lines.insert(3, b'["out", 0, "stre\xff\x00\n')
    (tmp_path / JOURNAL).write_bytes(b"".join(lines))
    made = assemble(tmp_path, redact=str, failure=None)
    assert made["cells"][1]["outputs"][0]["text"] == "second half\n"


def test_a_run_killed_before_its_first_cell_still_gives_its_notebook(tmp_path: Path) -> None:
    save(notebook("one"), tmp_path / INPUT)
    made = assemble(tmp_path, redact=str, failure=KILLED)
    assert made["cells"][-1]["source"] == "one"
    assert KILLED.reason in made["cells"][0]["source"]


def no_secret(text: str) -> str:
    return text.replace("hunter2", "***")


def test_a_secret_is_nowhere_even_if_it_came_in_two_messages(tmp_path: Path) -> None:
    given = notebook("one")
    journal = Journal(tmp_path, given, no_secret)
    journal.begin(0)
    for text in ("the hunter2 of it\n", "and hun", "ter2\n"):
        journal.output(0, "stream", {"name": "stdout", "text": text})
    shown = {"text/html": "<b>hunter2</b>", "application/json": {"a": ["hunter2"]}}
    journal.output(0, "display_data", {"data": shown, "metadata": {}})
    journal.output(0, "error", {"ename": "E", "evalue": "hunter2", "traceback": ["in hunter2"]})
    journal.flush()
    assert "hunter2" not in (tmp_path / JOURNAL).read_text()
    killed = assemble(tmp_path, redact=no_secret, failure=None)
    assert "hunter2" not in json.dumps(killed)
    finished = journal.finish(given, None)
    journal.save(finished)
    text = (tmp_path / EXECUTED).read_text()
    assert "hunter2" not in text
    assert text.count("***") == 6
    assert not (tmp_path / JOURNAL).exists()


def test_pictures_are_left_as_they_are(tmp_path: Path) -> None:
    journal = Journal(tmp_path, notebook("one"), lambda text: text.replace("AAAA", "***"))
    journal.begin(0)
    journal.output(0, "display_data", {"data": {"image/png": "AAAA"}, "metadata": {}})
    made = journal.finish(notebook("one"), None)
    assert made["cells"][0]["outputs"][0]["data"]["image/png"] == "AAAA"
    journal.close()


def test_saving_leaves_the_old_file_when_it_cannot_finish(tmp_path: Path) -> None:
    target = tmp_path / "out.ipynb"
    save(notebook("good"), target)
    with pytest.raises(TypeError):
        save(notebook("bad") | {"metadata": {"x": object()}}, target)
    assert "good" in target.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["out.ipynb"]


def test_the_log_has_whole_lines_without_secrets_and_colours(tmp_path: Path) -> None:
    log = PrintedLog(tmp_path / "log.txt", no_secret)
    for text in ("\x1b[31mred\x1b[0m hun", "ter2\n", "\r10%", "\r99%", "\r100%\nunfin"):
        log.write("stdout", text)
    assert (tmp_path / "log.txt").read_text() == "red ***\n100%\n"
    assert log.last_line() == "unfin"
    log.write("stdout", "ished")
    log.close()
    assert (tmp_path / "log.txt").read_text() == "red ***\n100%\nunfinished\n"
    assert log.last_line() == "unfinished"
