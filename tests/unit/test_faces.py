"""Shell line, magic line, JSON and Python call are the same request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlops_nb
from mlops_nb import wire
from mlops_nb.core import verbs
from mlops_nb.core.run import Run, RunState
from mlops_nb.errors import UserError
from mlops_nb.grammar import Help, parse
from mlops_nb.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable

SAME: list[tuple[str, Callable[[], object], verbs.Verb]] = [
    ("init --gitops g.git", lambda: mlops_nb.init(gitops="g.git"), verbs.Init(gitops="g.git")),
    ("doctor --timeout 3s", lambda: mlops_nb.doctor(timeout=3), verbs.Doctor(timeout=3)),
    ("inspect a.ipynb", lambda: mlops_nb.inspect("a.ipynb"), verbs.Inspect(notebook="a.ipynb")),
    (
        (
            "train a.ipynb -p lr=0.1 --parameter name=x=y --data train=s3://b/t.csv "
            "--gate 'accuracy >= 0.9' --gate 'auc >= champion' --register m --deploy prod "
            "--wait --timeout 30m --cell-timeout 90 --memory 2GiB --retries 2 "
            "--kernel python3 --key k -f p.yaml"
        ),
        lambda: mlops_nb.train(
            "a.ipynb",
            {"name": "x=y"},
            lr="0.1",
            file="p.yaml",
            data={"train": "s3://b/t.csv"},
            gate=["accuracy >= 0.9", "auc >= champion"],
            register="m",
            deploy="prod",
            wait=True,
            timeout="30m",
            cell_timeout=90,
            memory="2GiB",
            retries=2,
            kernel="python3",
            key="k",
        ),
        verbs.Train(
            notebook="a.ipynb",
            parameters={"lr": "0.1", "name": "x=y"},
            parameter_file="p.yaml",
            data={"train": "s3://b/t.csv"},
            gates=("accuracy >= 0.9", "auc >= champion"),
            register="m",
            deploy="prod",
            wait=True,
            timeout=1800,
            cell_timeout=90,
            memory=2 * 1024**3,
            retries=2,
            kernel="python3",
            key="k",
        ),
    ),
    (
        (
            "sweep a.ipynb -p lr=0.1,0.01 --file s.csv --random 5 --seed 7 --parallel 2 "
            "--best max:accuracy --detach"
        ),
        lambda: mlops_nb.sweep(
            "a.ipynb",
            lr="0.1,0.01",
            file="s.csv",
            random=5,
            seed=7,
            parallel=2,
            best="max:accuracy",
            wait=False,
        ),
        verbs.Sweep(
            notebook="a.ipynb",
            parameters={"lr": "0.1,0.01"},
            file="s.csv",
            random=5,
            seed=7,
            parallel=2,
            best="max:accuracy",
            wait=False,
        ),
    ),
    (
        "runs a.ipynb --state failed --limit 5",
        lambda: mlops_nb.runs("a.ipynb", state="failed", limit=5),
        verbs.Runs(notebook="a.ipynb", state="failed", limit=5),
    ),
    ("show r-1", lambda: mlops_nb.show("r-1"), verbs.Show(run="r-1")),
    (
        "logs -f r-1",
        lambda: mlops_nb.logs("r-1", follow=True),
        verbs.Logs(run="r-1", follow=True),
    ),
    ("cancel r-1", lambda: mlops_nb.cancel("r-1"), verbs.Cancel(run="r-1")),
    (
        "retry r-1 --detach",
        lambda: mlops_nb.retry("r-1", wait=False),
        verbs.Retry(run="r-1", wait=False),
    ),
    (
        "compare r-1 r-2",
        lambda: mlops_nb.compare("r-1", "r-2"),
        verbs.Compare(runs=("r-1", "r-2")),
    ),
    (
        "register r-1 --name m --gate 'f1 >= 0.5'",
        lambda: mlops_nb.register("r-1", "m", gate="f1 >= 0.5"),
        verbs.Register(run="r-1", name="m", gates=("f1 >= 0.5",)),
    ),
    ("models m", lambda: mlops_nb.models("m"), verbs.Models(name="m")),
    (
        "deploy m/7 --to prod --canary 10,100 --dry-run",
        lambda: mlops_nb.deploy("m/7", "prod", canary="10,100", dry_run=True),
        verbs.Deploy(model="m/7", to="prod", canary="10,100", dry_run=True),
    ),
    ("merge 3", lambda: mlops_nb.merge(3), verbs.Merge(number=3)),
    (
        "history m --env prod --limit 9",
        lambda: mlops_nb.history("m", env="prod", limit=9),
        verbs.History(model="m", env="prod", limit=9),
    ),
    (
        "rollback m --env prod --to 5 --reason 'p95 doubled'",
        lambda: mlops_nb.rollback("m", "prod", to=5, reason="p95 doubled"),
        verbs.Rollback(model="m", env="prod", to=5, reason="p95 doubled"),
    ),
]


@pytest.mark.parametrize(("line", "call", "verb"), SAME, ids=lambda v: getattr(v, "verb", ""))
def test_line_json_and_call_are_one_request(
    line: str,
    call: Callable[[], object],
    verb: verbs.Verb,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[verbs.Verb] = []

    class Door:
        def run(self, verb: verbs.Verb) -> Any:
            asked.append(verb)
            return Run(id="r-1", notebook="a.ipynb", state=RunState.SUCCEEDED)

    monkeypatch.setattr(Project, "open_for", lambda _verb: Door())
    call()
    assert parse(line) == (verb, False)
    assert parse(f"{line} --json") == (verb, True)
    assert asked == [verb]
    assert wire.loads(type(verb), wire.dumps(verb)) == verb


def test_every_verb_is_covered() -> None:
    assert {type(verb) for *_, verb in SAME} == set(verbs.Verb.__args__)


@pytest.mark.parametrize("verb", [verb.verb for *_, verb in SAME])
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    with pytest.raises(Help) as help_:
        parse(f"{verb} --help")
    assert f"examples:\n  mlops {verb}" in str(help_.value)


def test_examples_in_help_are_lines_the_grammar_reads() -> None:
    for *_, verb in SAME:
        with pytest.raises(Help) as help_:
            parse(f"{verb.verb} --help")
        _, _, examples = str(help_.value).partition("examples:\n")
        for example in examples.strip().splitlines():
            parse(example.strip().removeprefix("mlops "))


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("trian a.ipynb", "there is no verb 'trian'", "did you mean 'train'?"),
        ("train a.ipynb -p lr", "-p 'lr' is not name=value", "lr=0.1"),
        ("train a.ipynb -p lr=1 -p lr=2", "-p lr is given twice", "keep one"),
        ("train a.ipynb --wait --detach", "not allowed with", "--help"),
        ("train a.ipynb --timeout soon", "soon", "30m"),
        ("train 'a.ipynb", "No closing quotation", "close the quotation mark"),
        ("deploy m", "--to", "--help"),
        ("merge three", "invalid int value: 'three'", "--help"),
    ],
)
def test_a_wrong_line_is_an_error_with_the_next_step(
    line: str, message: str, hint: str
) -> None:
    with pytest.raises(UserError) as error:
        parse(line)
    assert message in error.value.message
    assert hint in error.value.hint
