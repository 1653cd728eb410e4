"""Shell line, magic line, JSON and Python call are the same request."""

from __future__ import annotations

import inspect
import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from desk import Desk
from fake_scheduler import FakeScheduler

import mlops_nb
from mlops_nb import wire
from mlops_nb.completion import joined
from mlops_nb.core import verbs
from mlops_nb.core.run import Run, RunSpec, RunState
from mlops_nb.core.verbs import Job
from mlops_nb.errors import UserError, as_in_a_cell
from mlops_nb.grammar import Help, parse, parser
from mlops_nb.magics import complete
from mlops_nb.project import Project
from mlops_nb.sdk import running, scheduling
from mlops_nb.words import Form

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


SAME: list[tuple[str, Callable[[], object], verbs.Verb]] = [
    ("init --gitops g.git", lambda: mlops_nb.init(gitops="g.git"), verbs.Init(gitops="g.git")),
    ("doctor --timeout 3s", lambda: mlops_nb.doctor(timeout=3), verbs.Doctor(timeout=3)),
    ("doctor --inside", lambda: mlops_nb.doctor(inside=True), verbs.Doctor(inside=True)),
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
        (
            "schedule a.ipynb --cron '0 3 * * 1' --timezone UTC+1 --catchup --latest --name n "
            "-p lr=0.1 -f p.yaml --data train=s3://b/t.csv --gate 'auc >= champion' "
            "--register m --deploy prod --timeout 2h --memory 2GiB --retries 1 "
            "--kernel python3 --on kubeflow --profile small --gpu 1 --cpu 2 --image i"
        ),
        lambda: mlops_nb.schedule(
            "a.ipynb",
            cron="0 3 * * 1",
            timezone="UTC+1",
            catchup=True,
            latest=True,
            name="n",
            lr="0.1",
            file="p.yaml",
            data={"train": "s3://b/t.csv"},
            gate="auc >= champion",
            register="m",
            deploy="prod",
            timeout="2h",
            memory="2GiB",
            retries=1,
            kernel="python3",
            on="kubeflow",
            profile="small",
            gpu=1,
            cpu="2",
            image="i",
        ),
        verbs.Schedule(
            notebook="a.ipynb",
            cron="0 3 * * 1",
            timezone="UTC+1",
            catchup=True,
            latest=True,
            name="n",
            parameters={"lr": "0.1"},
            parameter_file="p.yaml",
            data={"train": "s3://b/t.csv"},
            gates=("auc >= champion",),
            register="m",
            deploy="prod",
            timeout=7200,
            memory=2 * 1024**3,
            retries=1,
            kernel="python3",
            on="kubeflow",
            profile="small",
            gpu=1,
            cpu="2",
            image="i",
        ),
    ),
    (
        "schedule update n --cron @daily --pinned --no-catchup -p lr=0.2 --gpu 2",
        lambda: mlops_nb.update_schedule(
            "n", cron="@daily", latest=False, catchup=False, lr="0.2", gpu=2
        ),
        verbs.UpdateSchedule(
            name="n",
            cron="@daily",
            latest=False,
            catchup=False,
            parameters={"lr": "0.2"},
            gpu=2,
        ),
    ),
    (
        "schedule pause n",
        lambda: mlops_nb.pause_schedule("n"),
        verbs.PauseSchedule(name="n"),
    ),
    (
        "schedule resume n",
        lambda: mlops_nb.resume_schedule("n"),
        verbs.ResumeSchedule(name="n"),
    ),
    (
        "schedule delete n",
        lambda: mlops_nb.delete_schedule("n"),
        verbs.DeleteSchedule(name="n"),
    ),
    ("schedules", mlops_nb.schedules, verbs.Schedules()),
    (
        (
            "eject a.ipynb --to out --kubernetes --model m/3 --env prod -p lr=0.1 "
            "--gate 'f1 >= 0.5' --register m --profile small"
        ),
        lambda: mlops_nb.eject(
            "a.ipynb",
            to="out",
            kubernetes=True,
            model="m/3",
            env="prod",
            lr="0.1",
            gate="f1 >= 0.5",
            register="m",
            profile="small",
        ),
        verbs.Eject(
            notebook="a.ipynb",
            to="out",
            kubernetes=True,
            model="m/3",
            env="prod",
            parameters={"lr": "0.1"},
            gates=("f1 >= 0.5",),
            register="m",
            profile="small",
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
    (
        "runs --after 1772357400000000.a-1",
        lambda: mlops_nb.runs(after="1772357400000000.a-1"),
        verbs.Runs(after="1772357400000000.a-1"),
    ),
    ("cancel r-1", lambda: mlops_nb.cancel("r-1"), verbs.Cancel(run="r-1")),
    (
        "delete r-1 r-2",
        lambda: mlops_nb.delete("r-1", "r-2"),
        verbs.Delete(runs=("r-1", "r-2")),
    ),
    (
        "delete --restore r-1",
        lambda: mlops_nb.delete("r-1", restore=True),
        verbs.Delete(runs=("r-1",), restore=True),
    ),
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
        "status m --env prod --watch --interval 5 --timeout 1h",
        lambda: mlops_nb.status("m", env="prod", watch=True, interval=5.0, timeout="1h"),
        verbs.Status(model="m", env="prod", watch=True, interval=5.0, timeout=3600),
    ),
    (
        "promote m --env prod --full",
        lambda: mlops_nb.promote("m", "prod", full=True),
        verbs.Promote(model="m", env="prod", full=True),
    ),
    (
        "abort m --env prod --reason 'wrong prices'",
        lambda: mlops_nb.abort("m", "prod", reason="wrong prices"),
        verbs.Abort(model="m", env="prod", reason="wrong prices"),
    ),
    (
        "follow m --env prod --once --interval 1m",
        lambda: mlops_nb.follow("m", env="prod", once=True, interval="1m"),
        verbs.Follow(model="m", env="prod", once=True, interval=60),
    ),
    (
        "retry m --env prod",
        lambda: mlops_nb.retry("m", env="prod"),
        verbs.Retry(run="m", env="prod"),
    ),
    (
        "history m --env prod --limit 9",
        lambda: mlops_nb.history("m", env="prod", limit=9),
        verbs.History(model="m", env="prod", limit=9),
    ),
    ("trace m/7", lambda: mlops_nb.trace("m/7"), verbs.Trace(ref="m/7")),
    (
        "dora m --env prod --since 30d",
        lambda: mlops_nb.dora("m", env="prod", since="30d"),
        verbs.Dora(model="m", env="prod", since=30 * 86_400),
    ),
    (
        "rollback m --env prod --to 5 --reason 'p95 doubled' --dry-run",
        lambda: mlops_nb.rollback("m", "prod", to=5, reason="p95 doubled", dry_run=True),
        verbs.Rollback(model="m", env="prod", to=5, reason="p95 doubled", dry_run=True),
    ),
    (
        (
            "verify-pr --repo deploy --base origin/main --head abc123 --gate 'f1 >= 0.5' "
            "--workflow github"
        ),
        lambda: mlops_nb.verify_pr(
            "deploy", base="origin/main", head="abc123", gate="f1 >= 0.5", workflow="github"
        ),
        verbs.VerifyPr(
            repo="deploy",
            base="origin/main",
            head="abc123",
            gates=("f1 >= 0.5",),
            workflow="github",
        ),
    ),
]


def sample(word: str, annotation: str, number: int) -> object:
    """Give a value that no other word of the same call has."""
    match annotation.removesuffix(" | None"):
        case "bool":
            return True
        case "int" | "str | int" | "str | float":
            return number
        case "Texts":
            return (f"{word} >= 0.5",)
        case "Mapping[str, object]" | "Mapping[str, str]":
            return {word: word}
        case _:
            return word


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
    assert parse(line) == (verb, Form.TEXT)
    assert parse(f"{line} --json") == (verb, Form.JSON)
    assert asked == [verb]
    assert wire.loads(type(verb), wire.dumps(verb)) == verb


@pytest.mark.parametrize("line", [line for line, *_ in SAME])
def test_a_line_can_say_all_that_its_verb_knows(line: str) -> None:
    read, _ = parser().parse_known_args(joined(shlex.split(line)))
    verb, _ = parse(line)
    assert set(vars(read)) - {"form"} == {field.name for field in fields(verb)}


@pytest.mark.parametrize("name", ["train", "sweep", "schedule", "update_schedule", "eject"])
def test_every_word_of_a_long_call_reaches_its_field(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    for module in (running, scheduling):
        monkeypatch.setattr(module, "ask", asked.append)
    function = getattr(mlops_nb, name)
    said = {
        word.name: sample(word.name, str(word.annotation), number)
        for number, word in enumerate(inspect.signature(function).parameters.values(), start=1)
        if word.kind is not inspect.Parameter.VAR_KEYWORD
    }
    function(**said)
    (verb,) = asked
    renamed = {"params": "parameters", "gate": "gates", "file": "parameter_file"}
    if name == "sweep":
        del renamed["file"]
    wanted = {renamed.get(word, word): value for word, value in said.items()}
    assert {**wanted, "verb": verb.verb} == {
        field.name: getattr(verb, field.name) for field in fields(verb)
    }


def test_csv_is_a_way_of_showing_and_no_part_of_the_request() -> None:
    assert parse("history m --csv") == (verbs.History(model="m"), Form.CSV)


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
        ("schedule a.ipynb", "--cron", "see mlops schedule --help"),
        ("schedule pause", "NAME", "see mlops schedule pause --help"),
        (
            "schedule pause n --cron @daily",
            "unrecognized: --cron @daily",
            "schedule pause --help",
        ),
        ("schedule a.ipynb --cron @daily --latest --pinned", "not allowed with", "--help"),
        ("eject a.ipynb --model m/3", "--model and --env go together", "--env prod"),
        ("abort m", "--env", "see mlops abort --help"),
        ("history --csv --json", "not allowed with", "see mlops history --help"),
        ("runs --csv", "unrecognized: --csv", "see mlops runs --help"),
        ("status m --interval 0", "'0' is not a duration", "30m"),
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


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("schedule p", ["pause"]),
        ("schedule ", ["delete", "pause", "resume", "update"]),
        ("schedule pause n", ["nightly"]),
        ("schedule update nightly --lat", ["--latest"]),
        ("sched", ["schedule", "schedules"]),
    ],
)
def test_verbs_of_two_words_and_schedules_are_completed(
    line: str, completed: list[str], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    kept = desk.executor.schedules = FakeScheduler()
    job = Job(id="nightly", spec=RunSpec(notebook="a.ipynb"), project="")
    kept.put(verbs.Schedule(notebook="a.ipynb", cron="@daily", name="nightly"), job, b"", "")
    monkeypatch.setattr(Project, "open", lambda: desk.project)
    _, found = complete(line)
    flags = () if "--" in line else ("-", "churn.ipynb")
    assert [word for word in found if not word.startswith(flags)] == completed


def test_what_to_type_next_is_told_as_one_types_it_in_a_cell() -> None:
    said = as_in_a_cell("see `mlops runs`; %mlops show x; /bin/mlops runs; mlops dev kubeflow")
    assert said == "see `%mlops runs`; %mlops show x; /bin/mlops runs; mlops dev kubeflow"


def test_a_version_below_one_is_refused_and_nothing_given_takes_the_one_before() -> None:
    for words in (["--to", "0"], ["--to", "-1"], ["--to", "v2"]):
        with pytest.raises(UserError, match="--to"):
            parse(["rollback", "m", "--env", "prod", *words])
    with pytest.raises(UserError, match="to is -1"):
        mlops_nb.rollback("m", "prod", to=-1)
    assert parse(["rollback", "m", "--env", "prod"])[0] == verbs.Rollback(model="m", env="prod")


def test_an_empty_canary_is_refused_by_every_face_and_an_empty_reason_by_none() -> None:
    with pytest.raises(UserError, match="--canary is empty"):
        parse(["deploy", "m", "--to", "prod", "--canary", ""])
    with pytest.raises(UserError, match="canary is empty"):
        mlops_nb.deploy("m", "prod", canary="")
    verb, _ = parse(["rollback", "m", "--env", "prod", "--reason", ""])
    assert verb == verbs.Rollback(model="m", env="prod")
