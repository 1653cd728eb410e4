"""What a reviewer reads says what is true, whatever names and texts it is made of."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mlops_nb.core.canary import CanaryPlan
from mlops_nb.core.change import LockFile
from mlops_nb.core.data import Dataset
from mlops_nb.core.delivery import Environment, Kept
from mlops_nb.core.evidence import Beside, Change, Measured, Showing, evidence_of
from mlops_nb.core.gate import Check, Outcome, Verdict
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.run import Run, RunState
from mlops_nb.manifests.evidence import (
    Meets,
    marker,
    pull_request_body,
    read_marker,
    rollback_body,
    unified_diff,
)

LOCK = LockFile(
    model="churn",
    version=2,
    environment="prod",
    uri="models:/churn/2",
    source="s3://b/m",
    digest="sha256:" + "a" * 64,
    image="reg.example.com/server@sha256:" + "b" * 64,
    run="churn-3fa9c1",
    tracking_id="0" * 32,
    tracking_uri="https://mlflow.example.com",
    requested_by="Ann",
    previous=1,
)
PROD = Environment(name="prod")
PREVIOUS = replace(LOCK, version=1, previous=0)


def body(
    lock: LockFile = LOCK,
    *,
    previous: LockFile | None = PREVIOUS,
    environment: Environment = PROD,
    checks: tuple[Check, ...] = (),
    showing: Showing | None = None,
    flavor: str = "onnx",
    uses_pickle: bool = False,
    code_note: str = "",
    signature: str = "",
    diff: str = "",
    files: dict[str, bytes] | None = None,
) -> str:
    logged = {name: Measured(value=value) for name, value in lock.metrics.items()}
    evidence = evidence_of(
        ModelVersion(
            name=lock.model,
            version=lock.version,
            flavor=flavor,
            uses_pickle=uses_pickle,
            tags={"mlops_nb.git.note": code_note, "mlops_nb.signature": signature},
        ),
        Run(
            id=lock.run,
            notebook=lock.notebook,
            state=RunState.SUCCEEDED,
            datasets=tuple(
                Dataset(name=name, digest=digest, uri=uri, size=1, rows=1200)
                for name, digest, uri in lock.datasets
            ),
        ),
        lock=lock,
        previous=previous,
        environment=environment,
        verdict=Verdict(checks=checks),
        showing=showing or Showing(metrics=logged),
        change=Change(files=files or {}),
    )
    return pull_request_body(evidence, diff=diff)


def table_widths(text: str) -> set[tuple[int, int]]:
    """Count the cells of each table row and of its head."""
    widths, head = set(), 0
    for line in text.splitlines():
        if not line.startswith("|"):
            head = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        head = head or cells
        widths.add((head, cells))
    return widths


def test_no_text_breaks_out_of_its_table() -> None:
    nasty = "a|b `c` <script>\n| x | y |"
    text = body(
        replace(
            LOCK,
            notebook=nasty,
            run=nasty,
            requested_by=nasty,
            datasets=((nasty, nasty, nasty),),
            parameters={nasty: nasty},
            metrics={nasty: 1.0},
        ),
        checks=(Check(gate=nasty, outcome=Outcome.PASSED, reason=nasty),),
        flavor=nasty,
    )
    assert all(head == cells for head, cells in table_widths(text))
    outside = re.sub(r"(`+).+?\1|<!--.*?-->", "", text)
    assert not re.search(r"(?<!\\)<script>", outside)


def test_ticks_are_for_what_is_compared_letter_by_letter_and_for_nothing_else() -> None:
    check = Check(
        gate="gap(f1, by=a) <= 1", outcome=Outcome.PASSED, value=0.25, low=0.125, high=0.5,
        threshold=1, baseline="churn/1", n=76, reason="gap(f1) is 0.25: 0.5 for a=x (n=76)",
    )  # fmt: skip
    text = body(
        replace(
            LOCK,
            notebook="churn.ipynb",
            parameters={"depth": "3", "kind": '"tree"'},
            metrics={"f1": 0.5},
            datasets=(("train", "sha256:1", "data/t.csv"),),
        ),
        checks=(check,),
    )
    for row in (
        "| version | `models:/churn/2` | `models:/churn/2` |",
        "| run | `churn-3fa9c1` |",
        "| notebook | `churn.ipynb` |",
        "| notebook digest | unknown |",
        "| commit | unknown: the notebook was in no Git repository |",
        "| `depth` | - | `3` |",
        '| `kind` | - | `"tree"` |',
        "| `f1` | 0.5 (no rows) |",
        "| `train` | `sha256:1` | 1,200 | `data/t.csv` |",
        (
            "| `gap(f1, by=a) <= 1` | 0.25 | 0.125 to 0.5 | 1 | `churn/1` | 76 | "
            "passed: gap(f1) is 0.25: 0.5 for a=x (n=76) |"
        ),
        "| 5 % | 1 + 3 stable | 10 min | 6.7 requests/s |",
    ):
        assert row in text.splitlines()


def test_a_group_that_is_called_as_somebody_calls_nobody() -> None:
    reason = "0.5 for team=@platform (n=76), asked by ann@example.com"
    check = Check(gate="f1 >= 1", outcome=Outcome.FAILED, reason=reason)
    text = body(checks=(check,))
    assert "team=@platform" not in text
    assert "ann@example.com" in text


def test_the_marker_survives_any_value() -> None:
    values = {"who": "--> <b> | `x`", "n": 2}
    hidden = marker(values)
    assert hidden.count("-->") == 1
    assert read_marker(f"text\n{hidden}\nmore") == values


@pytest.mark.parametrize("text", ["", "no marker", "<!-- mlops-nb: {broken} -->"])
def test_a_missing_or_broken_marker_tells_nothing(text: str) -> None:
    assert read_marker(text) == {}


def test_backticks_in_a_file_do_not_end_the_diff() -> None:
    text = body(diff=unified_diff({"a": b"x\n"}, {"a": b"x\n````\n# not a heading\n"}))
    assert "`````diff\n" in text
    assert text.count("`````") == 2


def test_a_diff_longer_than_forges_take_is_cut_between_lines() -> None:
    text = body(diff=unified_diff({}, {"a": b"0123456789\n" * 10_000}))
    assert len(text) < 60_000
    assert "… cut: see the files changed" in text
    assert not re.search(r"^\+\d{1,9}$", text, re.MULTILINE)


def test_what_is_missing_or_risky_is_said_loudly() -> None:
    text = body(
        replace(
            LOCK,
            image="reg.example.com/server:latest",
            digest="",
            tracking_uri="sqlite:////home/ann/mlflow.db",
        ),
        uses_pickle=True,
        files={"x.yaml": b"apiVersion: v1\nkind: Secret\n"},
    )
    for words in (
        "No gate is set",
        "No dataset was recorded",
        "Loading it runs pickled code",
        "by tag, which can be moved",
        "Model digest recorded: ⚠️ **none**",
        "a pod cannot download the model from it",
        "A Secret is in Git",
        "the notebook was in no Git repository",
    ):
        assert words in text


def test_why_no_commit_is_known_is_said_as_the_run_recorded_it() -> None:
    text = body(code_note="the Git repository has no commit yet")
    assert "| commit | unknown: the Git repository has no commit yet |" in text
    assert "in no Git repository" not in text
    dirty = replace(LOCK, code_commit="a" * 40 + "-dirty")
    assert "Besides: the notebook itself is not in Git." in body(
        dirty, code_note="the notebook itself is not in Git"
    )


def test_parameters_are_told_with_the_notebooks_own_values() -> None:
    before = replace(LOCK, defaults={"lr": "0.1", "depth": "3", "seed": "0"})
    after = replace(LOCK, parameters={"lr": "0.5", "depth": "3"}, defaults={"seed": "1"})
    text = body(after, previous=before).replace("`", "")
    assert "| lr | 0.1 (default) | 0.5 |" in text
    assert "| seed | 0 (default) | 1 (default) |" in text
    # What was the default and is given now is no change.
    assert "| depth" not in text


def test_data_is_not_denied_where_no_parameter_was_given() -> None:
    assert "### Parameters\n\nNone were given." in body(previous=None)
    fed = replace(LOCK, datasets=(("data", "sha256:1", "s3://b/x.csv"),))
    assert "### Parameters\n\nNone but data, listed below." in body(fed, previous=None)


def test_a_plan_that_waits_for_people_says_so() -> None:
    environment = Environment(name="prod", canary=CanaryPlan(weights=(50, 100), minutes=0))
    text = body(environment=environment)
    assert "| 50 % | 2 + 3 stable | until a person agrees | - |" in text


def test_a_diff_tells_new_deleted_and_changed_files() -> None:
    diff = unified_diff(
        {"same": b"1\n", "old": b"1\n", "gone": b"1\n"},
        {"same": b"1\n", "old": b"2\n", "gone": None, "new": b"1\n"},
    )
    assert diff.splitlines() == [
        "--- a/gone", "+++ /dev/null", "@@ -1 +0,0 @@", "-1",
        "--- /dev/null", "+++ b/new", "@@ -0,0 +1 @@", "+1",
        "--- a/old", "+++ b/old", "@@ -1 +1 @@", "-1", "+2",
    ]  # fmt: skip
    assert unified_diff({}, {}) == ""


def test_metrics_stand_beside_the_champions_with_what_is_known_of_each() -> None:
    showing = Showing(
        metrics={
            "auc": Measured(value=0.8, low=0.75, high=0.85, rows=400),
            "loss": Measured(value=0.3),
        },
        has_rows=True,
        beside=(
            Beside(
                version="churn/1",
                role="live now",
                metrics={"auc": Measured(value=0.79, low=0.74, high=0.84, rows=400)},
                differences={"auc": Measured(value=0.01, low=-0.02, high=0.04, rows=400)},
                has_rows=True,
            ),
            Beside(
                version="churn/0",
                role="champion",
                metrics={"auc": Measured(value=0.7)},
                differences={"auc": Measured(value=0.1)},
                note="its run is no longer there",
            ),
        ),
    )
    text = body(showing=showing)
    for line in (
        (
            "| metric | this version | live now (churn/1) | difference | champion (churn/0) | "
            "difference |"
        ),
        (
            "| `auc` | 0.8 (0.75 to 0.85) | 0.79 (0.74 to 0.84) | +0.01 (-0.02 to +0.04) | "
            "0.7 (no rows) | +0.1 |"
        ),
        "| `loss` | 0.3 (as logged) | - | - | - | - |",
        "Of `churn/0`: its run is no longer there.",
    ):
        assert line in text.splitlines()


def test_a_signature_is_told_and_not_taken_for_a_check() -> None:
    assert "- Signature: none; pods hold the model's files against the digest." in body()
    told = body(signature="model.sig")
    assert "- Signature: `model.sig` is among the model's files; pods check the digest" in told


def test_a_return_tells_who_why_and_what_is_reverted() -> None:
    target = replace(LOCK, version=1, uri="models:/churn/1", previous=0)
    text = rollback_body(
        LOCK,
        target,
        ["abc123 Merge pull request #2: Deploy churn/2"],
        meets=Meets(
            model=Kept(is_there=True),
            image=Kept(is_there=None, why="the image registry does not answer"),
            traffic="**at once**.",
        ),
        requested_by="Bob <bob@example.com>",
        reason="p95\n## doubled",
        diff="",
    )
    assert "## churn: back from 2 to 1 in prod" in text
    assert "| version | `models:/churn/2` | `models:/churn/1` |" in text
    assert "Reason: p95 ## doubled" in text
    assert "It reverts:\n\n- abc123 Merge pull request #2: Deploy churn/2" in text
    assert "- Traffic: **at once**." in text
    assert "- Model: churn/1 is in the registry under the same digest, with files." in text
    assert (
        "- Server image: ⚠️ whether it can be pulled could not be told: the image registry "
        "does not answer. It is the same as now." in text
    )
    assert read_marker(text) == {
        "action": "rollback",
        "model": "churn",
        "version": 1,
        "digest": LOCK.digest,
        "environment": "prod",
        "previous": 2,
        "requested_by": "Bob <bob@example.com>",
        "reason": "p95\n## doubled",
    }
