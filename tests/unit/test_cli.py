"""The shell's exit codes, documents and messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from desk import Desk

from mlops_nb import wire
from mlops_nb.cli import main
from mlops_nb.core.gate import Check, Outcome, Verdict
from mlops_nb.core.run import Run, RunState
from mlops_nb.errors import BackendUnavailable
from mlops_nb.project import Project

if TYPE_CHECKING:
    from mlops_nb.core.verbs import Verb


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(tmp_path)
    monkeypatch.setattr(Project, "open", lambda: made.project)
    monkeypatch.setattr(Project, "open_for", lambda _verb: made.project)
    return made


def test_without_words_the_verbs_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"]):
        assert main(words) == 0
        shown = capsys.readouterr()
        assert "train" in shown.out
        assert "mlops init" in shown.out
        assert not shown.err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mlops-nb 0.")


def test_help_names_the_description_of_the_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["runs", "--help"]) == 0
    assert "docs/json.md" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["train"], "mlops train needs a notebook", "name it: churn.ipynb"),
        (["inspect"], "mlops inspect needs a notebook", "name it"),
        (["train", "n.ipynb", "--gates", "x"], "unrecognized: --gates x", "mlops train --help"),
        (["trian"], "there is no verb 'trian'", "did you mean 'train'?"),
        (["runs", "--limit", "0"], "limit is 0", "give 1 or more"),
        (["history", "--limit", "-1"], "limit is -1", "give 1 or more"),
        (["sweep", "n.ipynb", "--parallel", "0"], "parallel is 0", "give 1 or more"),
        (["doctor", "--timeout", "0s"], "'0s' is not a duration", "30m"),
        (["--json"], "VERB", "--help"),
        (["deploy", "m", "--to", "prod", "--canary", ""], "--canary is empty", "5,25,50,100"),
        (["train", "n.ipynb", "--register="], "--register is empty", "or leave it out"),
        (["deploy", "m", "--to", ""], "--to is empty", "give ENV"),
        (["history", ""], "MODEL is empty", "give MODEL, or leave it out"),
        (["models", ""], "NAME is empty", "or leave it out"),
        (["merge", ""], "NUMBER is empty", "give NUMBER"),
        (["compare", "a-1", ""], "RUN is empty", "give RUN (id of a run"),
        (["train", ""], "NOTEBOOK is empty", "or leave it out"),
        (["rollback", "m", "--env", "prod", "--to", "0"], "--to: '0' is no", "--help"),
        (["sweep", "n.ipynb", "--random", "0"], "--random: '0' is no", "--help"),
        (["train", "n.ipynb", "--data", "=x"], "'=x' is not name=value", "train=train.csv"),
        (["inspect", "none.ipynb"], "there is no notebook none.ipynb", ""),
    ],
    ids=str,
)
def test_a_wrong_line_ends_with_2_and_one_error_document(
    desk: Desk,
    words: list[str],
    message: str,
    hint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert hint in shown.err
    assert not shown.out or words == ["--json"]
    assert main([*words, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert set(error) == {"type", "message", "hint", "exit_code", "verdict"}
    assert error["verdict"] is None
    assert message in error["message"]
    assert hint in error["hint"]
    assert error["exit_code"] == 2
    assert not desk.executor.jobs


def test_a_run_is_waited_for_and_its_events_go_to_stderr(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", desk.notebook, "-p", "depth=4", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["parameters"] == {"depth": 4}
    assert "running" in shown.err
    assert "score = 0.4" in shown.err
    assert shown.err.count("running") == 1
    assert main(["train", desk.notebook, "--detach"]) == 0
    assert "queued" in capsys.readouterr().out


def test_a_failed_run_ends_with_3_and_its_document(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", desk.notebook, "-p", "depth=13", "--json"]) == 3
    shown = capsys.readouterr()
    assert json.loads(shown.out)["failure"]["cell"] == 1
    assert "cell 1: ValueError: unlucky" in shown.err


def test_a_refused_model_ends_with_3_and_its_gates(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    run = desk.recorded("churn-1", metrics={"score": 0.4})
    desk.registry.log_model(run.tracking_id, "model")
    line = ["register", "churn-1", "--name", "churn", "--gate", "score >= 0.9"]
    assert main([*line, "--gate", "score > 0"]) == 3
    shown = capsys.readouterr()
    assert shown.err == (
        "churn-1 is not registered as churn: 1 of 2 gates did not pass: score >= 0.9\n"
        "  → train a better one; the run and its verdict are kept\n"
    )
    table = [row.split() for row in shown.out.splitlines()]
    assert ["score", ">=", "0.9", "0.4", "0.9", "✘", "failed"] in table
    assert ["score", ">", "0", "0.4", "0", "✔", "passed"] in table
    assert shown.out.count("score is 0.4, not >= 0.9") == 1
    assert main([*line, "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == 3
    verdict = wire.loads(Verdict, json.dumps(error["verdict"]))
    assert [(check.gate, check.value) for check in verdict.refused] == [("score >= 0.9", 0.4)]


def test_a_run_that_its_gates_refused_tells_why_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Check(gate="f1 >= 1", outcome=Outcome.FAILED, reason="f1 is 0.5")
    run = Run(
        id="churn-1",
        notebook="churn.ipynb",
        state=RunState.SUCCEEDED,
        verdict=Verdict(checks=(refused,)),
    )
    monkeypatch.setattr(desk.project, "run", lambda _verb, _tell: run)
    assert main(["train", desk.notebook]) == 3
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count("f1 is 0.5") == 1
    assert shown.err.startswith("churn-1: 1 of 1 gates did not pass: f1 >= 1\n")


def test_a_backend_that_is_away_ends_with_4(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.registry.down = True
    assert main(["models"]) == 4
    assert "the registry is down" in capsys.readouterr().err
    assert main(["doctor", "--timeout", "30s"]) == 4
    assert "the registry is down" in capsys.readouterr().out


def test_a_log_is_lines_or_one_document(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", desk.notebook]) == 0
    (run_id,) = desk.executor.jobs
    capsys.readouterr()
    assert main(["logs", run_id]) == 0
    assert capsys.readouterr().out == "depth 3\n"
    assert main(["logs", run_id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"lines": ["depth 3"]}
    assert main(["logs", "churn-none", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "NotFound"


def test_interrupting_before_a_run_exists_ends_with_130_and_leaves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(_verb: Verb, _tell: object) -> Run:
        raise KeyboardInterrupt

    monkeypatch.setattr(desk.project, "run", interrupted)
    before = sorted(tmp_path.rglob("*"))
    assert main(["train", desk.notebook]) == 130
    assert sorted(tmp_path.rglob("*")) == before


def test_a_reader_that_stops_reading_is_no_failure(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom mlops_nb.cli import main\nsys.stdin.readline()\n"
        "sys.exit(main(['--help']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_one_line_of_a_terminal_and_no_noise_elsewhere(
    desk: Desk,
    is_terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    assert main(["train", desk.notebook]) == 0
    shown: Any = capsys.readouterr().err
    assert ("\r\x1b[K▶" in shown) is is_terminal
    assert ("depth 3" in shown) is is_terminal


def test_where_nobody_looks_on_a_long_run_still_shows_that_time_goes_by(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mlops_nb.cli._SECONDS_UNTOLD", -1)
    assert main(["train", desk.notebook]) == 0
    assert "1/1 1s  depth 3\n" in capsys.readouterr().err


def test_a_server_that_goes_away_under_a_verb_is_told_in_words(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(_verb: Verb, _tell: object) -> Run:
        raise BackendUnavailable("http://h does not answer", hint="start it")

    monkeypatch.setattr(desk.project, "run", away)
    assert main(["runs", "--json"]) == 4
    shown = capsys.readouterr()
    assert shown.err == "http://h does not answer\n  → start it\n"
    assert json.loads(shown.out)["error"]["type"] == "BackendUnavailable"
