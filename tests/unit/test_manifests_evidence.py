"""What a reviewer reads says what is true, whatever names and texts it is made of."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mlops_nb.core.change import LockFile
from mlops_nb.core.delivery import CanaryPlan, Environment, Evidence
from mlops_nb.core.gate import Check, Outcome, Verdict
from mlops_nb.manifests.evidence import (
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
EVIDENCE = Evidence(
    lock=LOCK,
    previous=replace(LOCK, version=1, previous=0),
    environment=Environment(name="prod"),
    verdict=Verdict(checks=()),
)


def body(lock: LockFile = LOCK, **more: object) -> str:
    return pull_request_body(replace(EVIDENCE, lock=lock, **more))  # type: ignore[arg-type]  # any field


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
        verdict=Verdict(checks=(Check(gate=nasty, outcome=Outcome.PASSED, reason=nasty),)),
        flavor=nasty,
    )
    assert all(head == cells for head, cells in table_widths(text))
    outside = re.sub(r"(`+).+?\1|<!--.*?-->", "", text)
    assert not re.search(r"(?<!\\)<script>", outside)


def test_the_marker_survives_any_value() -> None:
    values = {"who": "--> <b> | `x`", "n": 2}
    hidden = marker(values)
    assert hidden.count("-->") == 1
    assert read_marker(f"text\n{hidden}\nmore") == values


@pytest.mark.parametrize("text", ["", "no marker", "<!-- mlops-nb: {broken} -->"])
def test_a_missing_or_broken_marker_tells_nothing(text: str) -> None:
    assert read_marker(text) == {}


def test_backticks_in_a_file_do_not_end_the_diff() -> None:
    text = body(before={"a": b"x\n"}, after={"a": b"x\n````\n# not a heading\n"})
    assert "`````diff\n" in text
    assert text.count("`````") == 2


def test_a_diff_longer_than_forges_take_is_cut_between_lines() -> None:
    text = body(after={"a": b"0123456789\n" * 10_000})
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
        after={"x.yaml": b"apiVersion: v1\nkind: Secret\n"},
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


def test_a_return_tells_who_why_and_what_is_reverted() -> None:
    target = replace(LOCK, version=1, uri="models:/churn/1", previous=0)
    text = rollback_body(
        LOCK,
        target,
        ["abc123 Merge pull request #2: Deploy churn/2"],
        requested_by="Bob <bob@example.com>",
        reason="p95\n## doubled",
        diff="",
    )
    assert "## churn: back from 2 to 1 in prod" in text
    assert "| version | `models:/churn/2` | `models:/churn/1` |" in text
    assert "Reason: p95 ## doubled" in text
    assert "- abc123 Merge pull request #2: Deploy churn/2" in text
    assert read_marker(text) == {
        "action": "rollback",
        "model": "churn",
        "version": 1,
        "digest": LOCK.digest,
        "environment": "prod",
        "previous": 2,
        "requested_by": "Bob <bob@example.com>",
    }
