"""Runs as HTML: what a notebook keeps, and no more of it than a page can hold."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

from mlops_nb.core.change import PullRequest, PullRequestState
from mlops_nb.core.delivery import Deployed, Merged
from mlops_nb.core.gate import Check, Outcome, Verdict
from mlops_nb.core.results import DeploymentHistory, Initialized, SweepResult
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.display import html

# What JupyterLab's sanitizer keeps of an untrusted notebook's output.
KEPT = {
    "a",
    "b",
    "br",
    "code",
    "details",
    "div",
    "pre",
    "progress",
    "span",
    "summary",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
}
EMPTY = {"br"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>'\" onclick='x"


class Reader(HTMLParser):
    """Takes note of elements and attributes, and whether each is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def run(state: RunState = RunState.RUNNING, **facts: object) -> Run:
    fields = {"id": "churn-3fa9c1", "notebook": "churn.ipynb", "state": state, **facts}
    return Run(**fields)  # type: ignore[arg-type]  # a test names only what it looks at


def test_what_others_wrote_is_text_and_nothing_else() -> None:
    hostile = run(
        RunState.FAILED,
        notebook=HOSTILE,
        url=f"https://mlflow/{HOSTILE}",
        parameters={HOSTILE: HOSTILE},
        metrics={HOSTILE: 1.0},
        model=HOSTILE,
        failure=Failure(reason=HOSTILE, hint=HOSTILE, traceback=HOSTILE),
        verdict=Verdict(
            checks=(
                Check(gate=HOSTILE, outcome=Outcome.FAILED, reason=HOSTILE, baseline=HOSTILE),
            )
        ),
    )
    for shown in (hostile, SweepResult(run=hostile, children=(hostile,), best=hostile.id)):
        read = Reader(html(shown))
        assert read.elements <= KEPT
        assert read.attributes <= {"style", "href", "target", "value", "max", "open"}
        assert not read.open
        assert "<script>alert(1)" in read.words
    live = Reader(html(run(last_line=HOSTILE)))
    assert live.elements <= KEPT
    assert "<script>alert(1)" in live.words


def test_an_address_that_is_no_web_page_is_no_link() -> None:
    assert "href" not in Reader(html(run(url="javascript:alert(1)"))).attributes
    assert "href" in Reader(html(run(url="https://mlflow.example/runs/1"))).attributes


def test_a_run_that_logs_without_end_stays_small() -> None:
    page = html(
        run(
            metrics={f"metric_{n}": float(n) for n in range(5_000)},
            parameters={f"p{n}": "x" * 10_000 for n in range(5_000)},
            last_line="=" * 1_000_000,
        )
    )
    assert len(page) < 20_000
    assert "and 4976 more" in page
    failed = run(RunState.FAILED, failure=Failure(reason="no", traceback="x\n" * 1_000_000))
    assert len(html(failed)) < 20_000


def test_a_run_in_progress_says_how_far_it_is() -> None:
    starting = Reader(html(run(RunState.QUEUED)))
    assert "starting" in starting.words
    going = Reader(
        html(run(cells=8, cells_done=2, last_line="epoch 3", started=datetime.now(UTC)))
    )
    assert "cell 3 of 8" in going.words
    assert "epoch 3" in going.words
    ended = Reader(html(run(RunState.SUCCEEDED, cells=8, cells_done=8, last_line="epoch 3")))
    assert "progress" not in ended.elements
    assert "epoch 3" not in ended.words


def test_the_next_step_is_a_line_for_a_cell() -> None:
    registered = run(RunState.SUCCEEDED, model="churn/3")
    assert "%mlops deploy churn/3 --to ENV" in Reader(html(registered)).words
    proposed = run(RunState.SUCCEEDED, model="churn/3", pull_request=7)
    assert "%mlops merge 7" in Reader(html(proposed)).words


def test_a_traceback_is_shown_without_its_terminal_colours() -> None:
    failure = Failure(reason="cell 2 failed", traceback="\x1b[31mValueError\x1b[0m: no")
    assert "ValueError: no" in Reader(html(run(RunState.FAILED, failure=failure))).words


def test_a_history_has_no_column_that_is_empty_throughout_and_can_be_scrolled() -> None:
    deployed = Deployed(
        when=datetime.now(UTC), action="deploy", environment="prod", model="churn", version=1,
        previous=0, requested_by="Ann", merged_by="Bo", pull_request=3, commit="0" * 40,
    )  # fmt: skip
    page = html(DeploymentHistory(deployments=(deployed,)))
    read = Reader(page)
    assert "merged by" in read.words
    assert "why" not in read.words
    assert "data" not in read.words
    assert "–" not in read.words
    assert page.startswith("<div style='overflow-x:auto'>")
    assert read.elements <= KEPT


def test_a_new_project_and_a_merge_are_more_than_plain_text() -> None:
    made = Initialized(
        folder=HOSTILE, settings="/p/mlops.toml", repository="/g", created=("mlops.toml",)
    )
    pull = PullRequest(
        number=3, state=PullRequestState.MERGED, title=HOSTILE, body="", branch="b",
        head="0" * 40, url="https://forge/3", is_changed=True,
    )  # fmt: skip
    merged = Merged(pull_request=pull, model="m", environment="p", version=2, alias="champion")
    for value, said in ((made, "%mlops train NOTEBOOK"), (merged, "m@champion → m/2")):
        read = Reader(html(value))
        assert said in read.words
        assert "<script>alert(1)" in read.words
        assert read.elements <= KEPT - {"pre"}
        assert not read.open


def test_a_live_sweep_counts_runs_before_its_children_are_known() -> None:
    assert "run 1 of 8" in Reader(html(run(children=8, cells=8))).words


def test_a_cell_draws_whatever_a_verb_gives() -> None:
    from typing import get_args

    from mlops_nb.core.results import DOCUMENTS, Log
    from mlops_nb.extension import _DRAWN, _FOLLOWED

    given = {each for told in DOCUMENTS.values() for each in get_args(told) or (told,)}
    drawn = {name for names in _DRAWN.values() for name in names} | set(_FOLLOWED.values())
    # A log is printed line by line.
    assert {each.__name__ for each in given - {Log}} <= drawn
