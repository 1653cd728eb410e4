"""What a person reads in a terminal."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mlops_nb.core.change import LockFile, PullRequest, PullRequestState
from mlops_nb.core.delivery import Deployed, Deployment, Environment, Merged
from mlops_nb.core.events import (
    Event,
    Judged,
    MetricLogged,
    Note,
    Progress,
    Proposed,
    Registered,
    RunMoved,
)
from mlops_nb.core.gate import Check, Outcome, Verdict
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.notebook import Notebook
from mlops_nb.core.results import (
    Comparison,
    Deleted,
    DeploymentHistory,
    Diagnosis,
    Initialized,
    ModelList,
    Probe,
    RunList,
    SweepResult,
)
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.display import html, line, sheet, text
from mlops_nb.display.evidence import readable
from mlops_nb.display.tables import table

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def run(run_id: str = "churn-1", **values: object) -> Run:
    told = {
        "notebook": "/home/ann/churn.ipynb",
        "state": RunState.SUCCEEDED,
        "started": NOON,
        "ended": NOON + timedelta(seconds=90),
    }
    return Run(id=run_id, **{**told, **values})  # type: ignore[arg-type]  # the test says what fits


def words(shown: str) -> str:
    return " ".join(shown.split())


def test_a_table_leaves_out_what_is_empty_and_breaks_no_word() -> None:
    long = (
        "a text of several words that is much too long for one line of this little table " * 2
    )
    shown = table(
        ("id", "empty", "dash", "said"), [("r-1", "", "–", long), ("r-2", "", "–", "x")]
    )
    assert shown.splitlines()[0].split() == ["id", "said"]
    assert max(map(len, shown.splitlines())) <= 100
    assert words(shown).count("several words that") == 2
    assert {w for row in shown.splitlines()[2:] for w in row.split()} <= {
        *long.split(), "r-1", "r-2", "x",
    }  # fmt: skip


def test_on_a_narrow_terminal_a_row_becomes_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    headings = ("run", "state", "said")
    shown = table(
        headings, [("churn-0a1b2c", "✔ succeeded", "word " * 9), ("r-2", "–", "x\ny")]
    )
    assert shown.splitlines()[:2] == ["run    churn-0a1b2c", "state  ✔ succeeded"] or (
        max(map(len, shown.splitlines())) <= 40
    )
    ids = [("a-very-long-name-of-a-run-0a1b2c", "another-long-name-of-a-run-3d4e5f", "x\ny")]
    assert table(headings, ids).splitlines() == [
        "run    a-very-long-name-of-a-run-0a1b2c",
        "state  another-long-name-of-a-run-3d4e5f",
        "said   x",
        "       y",
    ]


def test_wide_characters_keep_columns_straight() -> None:
    shown = table(("name", "n"), [("日本", "1"), ("abcd", "2")]).splitlines()
    assert shown[2].index("1") + 2 == shown[3].index("2")


VERDICT = Verdict(
    checks=(
        Check(
            gate="accuracy >= 0.65", outcome=Outcome.PASSED, value=0.74, low=0.6949,
            high=0.7825, threshold=0.65,
            n=400, reason="accuracy is fine",
        ),
        Check(
            gate="min(recall, by=age) >= 0.6", outcome=Outcome.FAILED, value=0.59,
            threshold=0.6, reason="min(recall) is 0.59 for age=young, " + "and so on " * 12,
        ),
        Check(
            gate="auc >= champion", outcome=Outcome.PASSED, value=0.8, reason="no champion yet",
        ),
        Check(gate="f1 >= 1", outcome=Outcome.SKIPPED, reason="f1 was never logged"),
    )
)  # fmt: skip


def test_why_a_gate_did_not_pass_stands_below_the_table() -> None:
    shown = text(VERDICT).splitlines()
    assert words(shown[2]) == "accuracy >= 0.65 0.74 0.6949 … 0.7825 0.65 400 ✔ passed"
    below = "\n".join(shown[6:])
    assert below.startswith("✘ min(recall, by=age) >= 0.6: min(recall) is 0.59 for age=young")
    assert "✔ auc >= champion: no champion yet" in below
    assert "– f1 >= 1: f1 was never logged" in below
    assert "accuracy is fine" not in below
    assert max(map(len, shown)) <= 100


def test_a_run_is_told_with_what_matters() -> None:
    shown = text(
        run(
            parameters={"lr": 0.1, "name": "a b", "none": None},
            metrics={"auc": 0.123456, "nan": float("nan")},
            cells=8,
            cells_done=8,
            peak_memory=3 * 1024**2,
            verdict=VERDICT,
            model="churn/3",
            pull_request=4,
            last_line="done",
        )
    )
    assert shown.startswith("✔ churn-1 succeeded\n")
    for part in (
        "took 1m30s", "8/8", "3 MiB", "lr=0.1, name=a b, none=null", "auc 0.1235, nan nan",
        "churn/3", "#4", "✘ failed",
    ):  # fmt: skip
        assert part in words(shown), part
    assert "last line" not in shown
    assert "last line" in text(run(state=RunState.RUNNING, ended=None, last_line="on it"))


def test_a_failure_comes_first_with_the_next_step() -> None:
    failed = run(state=RunState.FAILED, failure=Failure(reason="cell 3: no", hint="mend it"))
    assert text(failed).splitlines()[:3] == ["✘ churn-1 failed", "  cell 3: no", "  → mend it"]


def test_a_run_that_its_environment_refused_shows_the_gates_of_both() -> None:
    passed = Check(gate="f1 >= 0.5", outcome=Outcome.PASSED, value=0.8, threshold=0.5)
    strict = replace(passed, gate="f1 >= 0.9", outcome=Outcome.FAILED, reason="f1 is 0.8")
    failure = Failure(
        reason="churn/1 is not proposed to prod: 1 of 2 gates did not pass: f1 >= 0.9",
        step="deploy",
        verdict=Verdict(checks=(passed, strict)),
    )
    refused = run(state=RunState.FAILED, verdict=Verdict(checks=(passed,)), failure=failure)
    for shown in (words(text(refused)), html(refused)):
        assert shown.count("✔ passed") + shown.count("✔</span> passed") == 1
        assert shown.count("f1 is 0.8") == 1
    assert "refused" in text(RunList(runs=(refused,)))


def test_runs_in_a_list_name_their_notebook_where_the_id_does_not() -> None:
    same = text(RunList(runs=(run(), run("churn-2", verdict=VERDICT, metrics={"auc": 0.5}))))
    assert "notebook" not in same
    assert "refused" in same
    assert "auc 0.5" in same
    assert "notebook" in text(RunList(runs=(run(), run("job-2"))))
    assert "mlops train" in text(RunList(runs=()))
    queued = run("churn-3", state=RunState.QUEUED, started=None, ended=None)
    assert "… queued" in text(RunList(runs=(queued,)))
    assert text(RunList(runs=(run(),))).count("\n") == 2
    for show in (text, html):
        assert "older ones:" in show(RunList(runs=(run(),), next="12.churn-1"))
        assert "--after 12.churn-1" in show(RunList(runs=(run(),), next="12.churn-1"))


def test_what_was_deleted_and_how_it_comes_back_is_told() -> None:
    assert text(Deleted(runs=("a-1",))) == (
        "deleted a-1\nbring back: mlops delete --restore a-1"
    )
    assert text(Deleted(runs=("a-1", "b-1"), lost=("b-1",))) == (
        "deleted 2 runs: a-1 b-1\nbring back: mlops delete --restore a-1\n"
        "nothing was recorded of b-1: gone for good"
    )
    back = text(Deleted(runs=("a-1",), is_restored=True))
    assert back == "brought back a-1; directories on this machine stay deleted"


def test_compared_runs_show_what_differs() -> None:
    one = run(parameters={"lr": 0.1, "depth": 3}, metrics={"auc": 0.7})
    two = run("churn-2", parameters={"lr": 0.2, "depth": 3}, metrics={"auc": 0.8, "f1": 0.5})
    heading, _, first, second, same = text(Comparison(runs=(one, two))).splitlines()
    assert same == "the same in all: depth=3"
    assert heading.split() == ["run", "state", "lr", "auc", "f1"]
    assert words(first) == "churn-1 ✔ succeeded 0.1 0.7 –"
    assert words(second) == "churn-2 ✔ succeeded 0.2 0.8 0.5"
    alone = text(Comparison(runs=(one,))).splitlines()[0]
    assert alone.split() == ["run", "state", "lr", "depth", "auc"]
    other = run("digits-1", notebook="digits.ipynb", parameters={"layers": 2})
    headings = text(Comparison(runs=(one, other))).splitlines()[0].split()
    assert headings == ["run", "state", "notebook", "lr", "depth", "layers", "auc"]


def test_values_of_the_notebooks_own_are_marked() -> None:
    one = run(parameters={"lr": 0.2}, defaults={"depth": 3, "kind": "tree"})
    two = run("churn-2", parameters={"depth": 3}, defaults={"lr": 0.1, "kind": "tree"})
    heading, _, first, second, same = text(Comparison(runs=(one, two))).splitlines()
    assert heading.split() == ["run", "state", "lr"]
    assert words(first) == "churn-1 ✔ succeeded 0.2"
    assert words(second) == "churn-2 ✔ succeeded 0.1 (default)"
    assert same == "the same in all: depth=3, kind=tree (default)"
    assert "defaults depth=3, kind=tree" in words(text(one))
    # Before it is recorded a run's defaults are not known, which is no difference.
    going = run("churn-3", parameters={"lr": 0.1}, state=RunState.RUNNING, ended=None)
    assert text(Comparison(runs=(one, going))).splitlines()[0].split() == ["run", "state", "lr"]


def test_a_run_tells_its_commit_or_why_there_is_none() -> None:
    dirty = text(run(code_commit="0123456789abcdef-dirty"))
    assert "commit 0123456789ab, with changes that were not committed" in words(dirty)
    none = text(run(code_note="the Git repository has no commit yet"))
    assert "commit none: the Git repository has no commit yet" in words(none)
    assert "commit" not in text(run())


def test_a_list_tells_which_runs_are_sweeps() -> None:
    sweep = run("churn-2", children=8)
    _, _, first, second = text(RunList(runs=(run(), sweep))).splitlines()
    assert "sweep of 8" in second
    assert "sweep" not in first
    named = text(RunList(runs=(run("job-1"), sweep)))
    assert "sweep of 8: churn.ipynb" in words(named)


def test_a_sweeps_children_wait_before_they_begin() -> None:
    children = (
        run("s.1", parent="s", parameters={"lr": 1}, state=RunState.RUNNING, ended=None),
        run("s.2", parent="s", parameters={"lr": 2}, state=RunState.QUEUED, started=None),
    )
    sweep = run("s", children=2, state=RunState.RUNNING, cells=2, ended=None)
    shown = text(SweepResult(run=sweep, children=children))
    assert "s.2 … waiting 2" in words(shown)
    assert "runs 0/2" in words(shown)


def test_the_evidence_is_read_as_text_and_folded_parts_by_their_headings() -> None:
    body = (
        "## credit: 1 → 2\n\n"
        "| metric | live |\n|---|---|\n| false\\_positive\\_rate | 0.7 |\n\n"
        "<details><summary>Manifest diff</summary>\n\n```diff\n+x\n```\n\n</details>\n\n"
        "<!-- mlops-nb: {} -->\n"
    )
    said = readable(body)
    assert "credit: 1 → 2" in said
    assert "false_positive_rate  0.7" in said
    assert "(Manifest diff: in the pull request)" in said
    assert "+x" not in said
    assert "<" not in said


def test_a_best_that_no_child_can_be_is_said() -> None:
    children = (run("s.1", metrics={"accuracy": 0.7}), run("s.2", metrics={"accuracy": 0.8}))
    shown = text(SweepResult(run=run("s", best="max:acuracy"), children=children))
    assert "none that succeeded logged 'acuracy'; did you mean accuracy?" in shown
    without = (run("s.1"),)
    shown = text(SweepResult(run=run("s", best="min:loss"), children=without))
    assert "logged 'loss'; logged: none" in shown


def test_a_sweep_names_its_best_and_why_others_failed() -> None:
    children = (
        run("s.1", parameters={"lr": 0.1}, metrics={"auc": 0.7}),
        run("s.2", parameters={"lr": 9}, state=RunState.FAILED, failure=Failure(reason="no")),
    )
    shown = text(SweepResult(run=run("s"), children=children, best="s.1"))
    assert "s.1 ★" in shown
    assert shown.endswith("✘ s.2: no\n★ best: s.1")


def test_parameters_are_told_with_type_default_choices_and_help() -> None:
    source = (
        "from typing import Literal\\nmodel: Literal['tree', 'linear'] = 'tree'  # kind\\n"
        "depth: int = 3"
    )
    cell = (
        '{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "outputs": [],'
        f' "execution_count": null, "source": "{source}"}}'
    )
    notebook = Notebook.parse(
        "n.ipynb",
        f'{{"nbformat": 4, "nbformat_minor": 4, "metadata": {{}}, "cells": [{cell}]}}'.encode(),
    )
    shown = [words(row) for row in text(notebook).splitlines()]
    assert shown[0] == "n.ipynb: 1 code cells, from cell 1 (tagged `parameters`)"
    assert shown[4:] == ["model one of 'tree' tree, linear kind", "depth int 3"]
    bare = Notebook.parse("b.ipynb", b'{"nbformat": 4, "nbformat_minor": 4, "cells": []}')
    assert "tag the cell that sets them" in text(bare)


def test_the_history_shows_names_and_tells_reasons_below() -> None:
    def deployed(**values: object) -> Deployed:
        told = {
            "when": NOON, "action": "deploy", "environment": "prod", "model": "churn",
            "version": 2, "previous": 1, "requested_by": "Ann Lee <ann.lee@mail.example.com>",
            "merged_by": "Bo <bo@mail.example.com>", "pull_request": 3,
            "commit": "0123456789abcdef",
        }  # fmt: skip
        return Deployed(**{**told, **values})  # type: ignore[arg-type]

    history = DeploymentHistory(
        deployments=(
            deployed(action="rollback", version=1, previous=2, reason="p95 doubled"),
            deployed(previous=0, version=1),
            deployed(action="remove", version=0, previous=1),
        )
    )
    shown = text(history)
    assert "example.com" not in shown
    assert "data" not in shown.splitlines()[0]
    row = words(shown.splitlines()[2])
    assert row.endswith("prod rollback churn 2 → 1 Ann Lee Bo #3 01234567")
    assert "deploy churn 1 " in words(shown)
    assert "remove churn 1 " in words(shown)
    assert "–" not in shown
    assert shown.endswith("\n01234567 rollback churn 2 → 1: p95 doubled")
    assert "mlops deploy" in text(DeploymentHistory(deployments=()))


def test_the_history_as_csv_is_one_line_a_deployment() -> None:
    common = {"when": NOON, "environment": "prod", "model": "churn", "commit": "0123abc"}
    lock = LockFile(
        model="churn", version=1, environment="prod", uri="models:/churn/1", source="s3://b/m",
        digest="sha256:ab", image="i", run="churn-3fa9c1", tracking_id="1", tracking_uri="",
        datasets=(("train", "sha256:12", "s3://b/t"), ("test", "sha256:34", "")),
    )  # fmt: skip
    history = DeploymentHistory(
        deployments=(
            Deployed(
                action="rollback", version=1, previous=2, requested_by='Ann "A" Lee, MD <a@b>',
                merged_by="Bo <b@b.c>", reason="p95,\ndoubled", lock=lock, pull_request=3,
                **common,  # type: ignore[arg-type]
            ),
            Deployed(
                action="remove", version=0, previous=1, requested_by="Ann <a@b.c>",
                merged_by="", **common,  # type: ignore[arg-type]
            ),
        )
    )  # fmt: skip
    told = sheet(history)
    assert len(told.splitlines()) == 3
    first, second = csv.DictReader(told.splitlines())
    assert first == {
        "when": NOON.isoformat(), "environment": "prod", "action": "rollback",
        "model": "churn", "version": "1", "previous": "2", "digest": "sha256:ab",
        "requested_by": 'Ann "A" Lee, MD <a@b>', "merged_by": "Bo <b@b.c>",
        "reason": "p95, doubled", "run": "churn-3fa9c1",
        "data": "train=sha256:12 test=sha256:34", "pull_request": "3", "commit": "0123abc",
    }  # fmt: skip
    assert (second["version"], second["data"], second["pull_request"]) == ("", "", "")
    assert sheet(DeploymentHistory(deployments=())).splitlines() == [told.splitlines()[0]]


def test_models_are_told_with_aliases_and_pickle() -> None:
    version = ModelVersion(
        name="churn", version=2, flavor="sklearn", uses_pickle=True, aliases=("champion",),
        run="churn-1", digest="sha256:" + "a" * 64, created=NOON,
    )  # fmt: skip
    assert "churn/2 @champion sklearn (pickle) churn-1" in words(text(version))
    assert text(ModelList(versions=(version,))) == text(version)
    assert "mlops register" in text(ModelList(versions=()))


def test_a_diagnosis_tells_how_to_mend_what_is_broken() -> None:
    shown = text(
        Diagnosis(
            probes=(
                Probe(name="kernel", ok=True, detail="python3", seconds=1.25),
                Probe(name="tracking", ok=False, detail="no answer", hint="start it"),
            )
        )
    )
    assert "✔ kernel python3 1.2 s" in words(shown)
    assert "✘ tracking no answer 0.0 s → start it" in words(shown)


def test_a_project_says_what_was_made() -> None:
    made = Initialized(folder="/p", settings="/p/mlops.toml", repository="/g", created=("a",))
    assert text(made).startswith("/p is a project: made a\n")
    again = Initialized(folder="/p", settings="/p/mlops.toml", repository="/g")
    assert "everything was there already" in text(again)


PULL = PullRequest(
    number=3, state=PullRequestState.OPEN, title="Deploy churn/2 to prod", body="", branch="b",
    head="0" * 40, url="git log", is_new=True,
)  # fmt: skip


def test_a_deployment_says_what_became_of_it() -> None:
    def deployment(**values: object) -> str:
        told = {
            "version": ModelVersion(name="churn", version=2),
            "environment": Environment(name="prod"),
            "files": {"a": b"1"},
            "body": "evidence",
        }
        return text(Deployment(**{**told, **values}))  # type: ignore[arg-type]

    assert (
        deployment(files={}) == "churn/2 → prod: nothing to change, it is what Git says already"
    )
    assert "dry run, nothing was written\n\nevidence" in deployment()
    proposed = deployment(pull_request=PULL)
    assert proposed.startswith("✔ pull request #3 opened: Deploy churn/2 to prod")
    assert "evidence" in proposed
    assert proposed.endswith("next: mlops merge 3")
    noted = replace(PULL, notes=("GitHub knows nobody called <bob>",))
    assert "\n  note: GitHub knows nobody called <bob>\n" in deployment(pull_request=noted)


def test_a_merge_says_what_runs_now() -> None:
    done = replace(PULL, is_changed=True)
    merged = Merged(
        pull_request=done, model="churn", environment="prod", version=2, alias="champion"
    )
    assert text(merged).splitlines() == [
        "✔ merged #3: Deploy churn/2 to prod",
        "  churn in prod is now version 2",
        "  churn@champion → churn/2",
    ]
    followed = replace(merged, alias="", later_alias="champion", has_cluster=True)
    assert text(followed).splitlines()[2:] == [
        "  churn@champion follows once it has all of the traffic: mlops follow",
        "next: mlops status churn --env prod --watch",
    ]
    assert text(Merged(pull_request=done)) == "✔ merged #3: Deploy churn/2 to prod"
    before = text(Merged(pull_request=PULL))
    assert before == "✔ #3 was merged before: Deploy churn/2 to prod"


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (RunMoved(run="r", state=RunState.RUNNING, time=NOON), "▶ r running"),
        (
            RunMoved(
                run="r", state=RunState.FAILED, time=NOON, failure=Failure(reason="cell 3: no")
            ),
            "✘ r failed: cell 3: no",
        ),
        (
            Progress(
                run="r", time=NOON, cell=2, cells=3, done=1, elapsed=61, memory=1024**2,
                last_line="hi " * 40,
            ),
            "▶ r 1/3 1m1s  1 MiB  " + "hi " * 20,
        ),
        (MetricLogged(run="r", time=NOON, name="auc", value=0.123456), "  auc = 0.1235"),
        (Judged(run="r", time=NOON, verdict=VERDICT), "  2 of 4 gates passed"),
        (Registered(run="r", time=NOON, model="m/1"), "✔ registered m/1"),
        (
            Proposed(
                run="r", time=NOON, model="m/1", environment="prod", pull_request=3, url=""
            ),
            "✔ pull request #3: m/1 → prod",
        ),
        (Note(text="by the way"), "  by the way"),
    ],
)  # fmt: skip
def test_an_event_is_one_line(event: Event, shown: str) -> None:
    assert line(event) == shown


def test_what_has_no_form_of_its_own_is_shown_as_it_is() -> None:
    assert text(3) == "3"
