"""The way to a Kubeflow server, over real HTTP: what is repeated, and what is said."""

import json
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kfp
import kfp_server_api
import pytest
import yaml
from kfp import compiler, dsl
from scripted_server import certificates, hang_up, says, scripted

from mlops_nb.adapters.kubeflow.connection import Connection
from mlops_nb.adapters.kubeflow.credentials import credentials
from mlops_nb.adapters.kubeflow.hops import hops, walk
from mlops_nb.adapters.kubeflow.states import in_words, run_state, steps
from mlops_nb.core.run import RunState
from mlops_nb.dev.kubeflow import Options, Server, serve
from mlops_nb.errors import (
    BackendError,
    BackendUnavailable,
    Conflict,
    MlopsError,
    NotAllowed,
    NotFound,
    UserError,
)

RUNS = "/apis/v2beta1/runs"
SECRET = "very-secret-bearer-token"


@dsl.container_component  # type: ignore[untyped-decorator]
def train(seconds: float):  # type: ignore[no-untyped-def]
    line = 'echo "epoch 1"; sleep "$1"'
    return dsl.ContainerSpec(image="a/b:1", command=["sh", "-ec", line, "sh"], args=[seconds])


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    @dsl.pipeline(name="trial")  # type: ignore[untyped-decorator]
    def trial(seconds: float = 0.0):  # type: ignore[no-untyped-def]
        train(seconds=seconds).set_caching_options(False)

    path = tmp_path_factory.mktemp("pipeline") / "trial.yaml"
    compiler.Compiler().compile(trial, str(path))
    return path


@pytest.fixture
def spec(package: Path) -> dict[str, object]:
    return dict(yaml.safe_load(package.read_text()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(Options(folder=tmp_path / "server", grace=1.0)) as running:
        yield running


@pytest.fixture
def connection(server: Server) -> Connection:
    return Connection(server.url, timeout=2.0)


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)
    return found


def dawdle(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.8)
    hang_up(handler)


def bearer(path: Path) -> Any:
    settings = SimpleNamespace(
        url="",
        namespace="",
        auth="token",
        token="",
        token_file=str(path),
        username="",
        password="",
        ca="",
        verify=True,
    )
    return credentials(settings, lambda _: "", {})


# --- against the stand-in -------------------------------------------------------------------


def test_a_run_from_its_start_to_its_log(
    connection: Connection, spec: dict[str, object]
) -> None:
    assert connection.healthz() is False
    experiment = connection.experiment_id("trials")
    assert connection.experiment_id("trials", create=False) == experiment
    assert connection.experiments()[0] == experiment
    with pytest.raises(NotFound, match="no experiment 'other'"):
        connection.experiment_id("other", create=False)

    run = connection.create_run("nb-1", spec, {"seconds": 0.2}, experiment, "a-robot")
    again = connection.create_run("nb-1", spec, {"seconds": 0.2}, experiment)
    assert again.run_id == run.run_id
    assert run.service_account == "a-robot"
    assert run_state(run) in {RunState.QUEUED, RunState.RUNNING}
    ended = until(
        lambda: (
            found
            if run_state(found := connection.run(run.run_id)) is RunState.SUCCEEDED
            else None
        )
    )
    [step] = steps(ended)
    assert (step.name, str(step.state)) == ("train", "succeeded")
    assert connection.node_log(run.run_id, step.pod) == "epoch 1\n"
    with pytest.raises(NotFound, match="could not read the log of no-such"):
        connection.node_log(run.run_id, "no-such")

    other = connection.create_run("nb-2", spec, {"seconds": 0.0}, experiment)
    newest = [other.run_id, run.run_id]
    assert [each.run_id for each in connection.runs()] == newest
    assert [each.run_id for each in connection.runs(experiment_id=experiment)] == newest
    assert [each.run_id for each in connection.runs(named="nb-1")] == [run.run_id]
    connection.delete_run(run.run_id)
    with pytest.raises(NotFound, match=f"could not read run {run.run_id}"):
        connection.run(run.run_id)


def test_a_run_that_is_stopped_and_retried(
    connection: Connection, spec: dict[str, object]
) -> None:
    experiment = connection.experiment_id("trials")
    run_id = connection.create_run("nb", spec, {"seconds": 60.0}, experiment).run_id
    until(
        lambda: steps(connection.run(run_id)) and run_state(connection.run(run_id)) == "running"
    )
    connection.terminate(run_id)
    stopped = until(
        lambda: found if run_state(found := connection.run(run_id)).is_final else None
    )
    assert run_state(stopped) is RunState.CANCELLED
    assert {str(step.state) for step in steps(stopped)} <= {"cancelled"}
    connection.retry(run_id)
    until(lambda: run_state(connection.run(run_id)) is RunState.RUNNING)
    connection.terminate(run_id)


def test_a_state_that_nobody_knows_is_going_on(
    server: Server, connection: Connection, spec: dict[str, object]
) -> None:
    run = connection.create_run("nb", spec, {}, connection.experiment_id("trials"))
    server.faults.add({"match": f"GET {RUNS}/{run.run_id}", "state": "DREAMING"})
    found = connection.run(run.run_id)
    assert run_state(found) is RunState.RUNNING
    assert "DREAMING, which is not known here" in in_words(found)


def test_pipelines(connection: Connection, package: Path) -> None:
    assert connection.pipeline_named("credit") is None
    made = connection.upload_pipeline("credit", package, "first of all")
    second = connection.upload_version(made.pipeline_id, "credit-v2", package)
    named = connection.pipeline_named("credit")
    assert named is not None
    assert named.pipeline_id == made.pipeline_id
    versions = connection.versions(made.pipeline_id)
    assert len(versions) == 2
    assert second.pipeline_version_id in {each.pipeline_version_id for each in versions}
    connection.delete_pipeline(made.pipeline_id)
    assert connection.pipeline_named("credit") is None


def test_schedules(connection: Connection, spec: dict[str, object]) -> None:
    experiment = connection.experiment_id("trials")
    trigger = kfp_server_api.V2beta1Trigger(
        periodic_schedule=kfp_server_api.V2beta1PeriodicSchedule(interval_second="3600")
    )
    wanted = kfp_server_api.V2beta1RecurringRun(
        display_name="nightly",
        experiment_id=experiment,
        pipeline_spec=spec,
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters={"seconds": 0.0}),
        max_concurrency="1",
        mode="ENABLE",
        trigger=trigger,
    )
    made = connection.create_recurring(wanted)
    assert connection.create_recurring(wanted).recurring_run_id == made.recurring_run_id
    key = made.recurring_run_id
    assert [each.recurring_run_id for each in connection.recurring_runs()] == [key]
    connection.disable_recurring(key)
    assert connection.recurring_run(key).status == "DISABLED"
    connection.enable_recurring(key)
    assert connection.recurring_run(key).status == "ENABLED"
    connection.delete_recurring(key)
    with pytest.raises(NotFound, match="could not read schedule"):
        connection.recurring_run(key)


def test_a_list_of_schedules_is_read_to_its_last_page() -> None:
    first = {"recurringRuns": [{"recurring_run_id": "b"}], "next_page_token": "more"}
    with scripted(says(first), says({"recurringRuns": [{"recurring_run_id": "a"}]})) as (
        url,
        script,
    ):
        listed = Connection(url).recurring_runs(experiment_id="e")
        assert [each.recurring_run_id for each in listed] == ["b", "a"]
    assert ["page_token=more" in path for _, path, *_ in script.asked] == [False, True]


@pytest.mark.parametrize(
    ("fault", "runs_made_by"),
    [
        ({"drop": True}, "the second request"),
        ({"drop": True, "after": True}, "the first request"),
        ({"slow": 2.0, "drop": True, "after": True}, "a request that took too long"),
        ({"status": 503}, "the second request"),
    ],
)
def test_a_run_is_one_run_after_a_lost_answer(
    server: Server, spec: dict[str, object], fault: dict[str, object], runs_made_by: str
) -> None:
    connection = Connection(server.url, timeout=1.5)
    experiment = connection.experiment_id("trials")
    server.faults.add({"match": f"POST {RUNS}", **fault})
    run = connection.create_run("nb", spec, {}, experiment)
    found = connection.runs(named="nb", experiment_id=experiment)
    assert [each.run_id for each in found] == [run.run_id], runs_made_by


def test_of_two_runs_the_later_one_goes_where_a_lost_request_arrives_late(
    spec: dict[str, object],
) -> None:
    nothing, late, mine = says({}), {"run_id": "late"}, {"run_id": "mine"}
    answers = [nothing, hang_up, nothing, nothing, nothing, says(mine)]
    with scripted(*answers, says({"runs": [mine, late]}), nothing) as (url, script):
        assert Connection(url).create_run("nb", spec, {}, "e").run_id == "late"
    assert [method for method, *_ in script.asked].count("POST") == 2
    assert script.asked[-1][:2] == ("DELETE", f"{RUNS}/mine")


def test_a_run_that_cannot_be_made_says_so(server: Server, spec: dict[str, object]) -> None:
    connection = Connection(server.url, timeout=1.0)
    experiment = connection.experiment_id("trials")
    server.faults.add({"match": f"POST {RUNS}", "drop": True, "times": 9})
    with pytest.raises(BackendUnavailable, match="could not submit run 'nb'"):
        connection.create_run("nb", spec, {}, experiment)
    server.faults.clear()
    assert connection.runs(named="nb") == []


def test_reading_is_repeated(server: Server, connection: Connection) -> None:
    for fault in ({"status": 500}, {"status": 503}, {"drop": True}):
        server.faults.add({"match": "GET /apis/v2beta1/experiments", **fault})
        assert len(connection.experiments()) == 1


def test_the_servers_own_words_and_the_operation_are_told(connection: Connection) -> None:
    with pytest.raises(NotFound, match=r"could not make runs: .*Version 00000000 not found"):
        connection.attempt_run("nb", connection.experiment_id("trials"), "0" * 8)
    with pytest.raises(NotFound, match=r"could not stop run 12: .*12"):
        connection.terminate("12")


def test_namespaces(tmp_path: Path, spec: dict[str, object]) -> None:
    options = Options(folder=tmp_path, multi_user=True, namespaces=("team",))
    with serve(options) as server:
        mine = Connection(server.url, namespace="team")
        experiment = mine.experiment_id("trials")
        assert mine.create_run("nb", spec, {}, experiment).run_id
        assert walk(mine).endswith(
            "multi-user; namespace team; experiments can be read; runs may be made"
        )
        theirs = Connection(server.url, namespace="finance")
        with pytest.raises(NotAllowed) as caught:
            theirs.experiment_id("trials")
        assert "does not let you look for experiment 'trials' in namespace 'finance'" in str(
            caught.value
        )
        assert "make you a contributor" in caught.value.hint
        with pytest.raises(NotAllowed, match=r"namespace: .*no namespace is set"):
            walk(Connection(server.url))
    # A server for one user refuses a namespace: it is not sent to it.
    with serve(Options(folder=tmp_path / "single")) as server:
        single = Connection(server.url, namespace="team")
        assert single.experiment_id("trials")
        assert single.runs() == []


def test_what_the_official_client_makes_is_the_same(
    server: Server, connection: Connection, package: Path, spec: dict[str, object]
) -> None:
    """Two clients, one server: each finds what the other made, and asks for the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        official = kfp.Client(host=server.url)
    experiment = official.create_experiment("shared").experiment_id
    assert connection.experiment_id("shared") == experiment
    theirs = official.create_run_from_pipeline_package(
        str(package), arguments={"seconds": 0.0}, run_name="theirs", experiment_name="shared"
    )
    assert connection.runs(named="theirs")[0].run_id == theirs.run_id
    ours = connection.create_run("ours", spec, {"seconds": 0.0}, experiment)
    found = official.get_run(ours.run_id)
    other = official.get_run(theirs.run_id)
    assert found.runtime_config == other.runtime_config
    assert found.pipeline_spec == other.pipeline_spec
    assert [run.display_name for run in official.list_runs(sort_by="created_at").runs] == [
        "theirs",
        "ours",
    ]


def test_the_official_client_asks_for_a_run_in_the_same_words(
    package: Path, spec: dict[str, object]
) -> None:
    with scripted(otherwise=says({"run_id": "r"})) as (url, script):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            official = kfp.Client(host=url, namespace="team")
        official.run_pipeline("e", "nb", str(package), {"seconds": 1.5}, service_account="bot")
        Connection(url).create_run("nb", spec, {"seconds": 1.5}, "e", "bot")
    theirs, ours = [
        (path, json.loads(body)) for verb, path, _, body in script.asked if verb == "POST"
    ]
    assert ours == theirs


def test_patience_outlives_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    said: list[str] = []
    with serve(Options(folder=folder)) as server:
        port = server.port
        connection = Connection(server.url, timeout=1.0, patience=60.0)
        experiment = connection.experiment_id("trials")
    back = threading.Event()

    def start_again() -> None:
        time.sleep(2.5)
        with serve(Options(folder=folder, port=port)):
            back.wait(30)

    thread = threading.Thread(target=start_again)
    thread.start()
    try:
        found = connection.patient(
            lambda: connection.experiment_id("trials", create=False), said.append
        )
        assert found == experiment
    finally:
        back.set()
        thread.join()
    assert said
    assert all(
        line.startswith(f"KFP at {connection.url} does not answer; trying again in ")
        for line in said
    )


# --- against servers that misbehave ---------------------------------------------------------


def test_a_server_that_never_answers() -> None:
    with scripted(*[dawdle] * 9) as (url, script):
        started = time.monotonic()
        with pytest.raises(BackendUnavailable) as caught:
            Connection(url, timeout=0.3).healthz()
        assert time.monotonic() - started < 5
        assert len(script.asked) <= 2
    assert caught.value.message.startswith(f"KFP at {url} does not answer: could not ask for")
    assert "timed out" in caught.value.message
    assert "mlops doctor" in caught.value.hint


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(BackendUnavailable, match="Connection refused"):
        Connection(url, timeout=1.0).terminate("r")


def test_a_change_that_was_sent_is_not_repeated() -> None:
    with scripted(hang_up) as (url, script), pytest.raises(BackendUnavailable):
        Connection(url).terminate("r")
    assert len(script.asked) == 1


def test_a_change_that_was_refused_before_it_was_sent_is_repeated() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            says({})(self)

        def log_message(self, *_: object) -> None:
            pass

    def start_late() -> None:
        time.sleep(0.05)
        with ThreadingHTTPServer(("127.0.0.1", port), Handler) as httpd:
            httpd.timeout = 10
            httpd.handle_request()

    thread = threading.Thread(target=start_late)
    thread.start()
    Connection(f"http://127.0.0.1:{port}", timeout=10.0).terminate("r")
    thread.join()
    assert asked == [f"{RUNS}/r:terminate"]


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (says("[1, 2]"), BackendError, "cannot be read: could not read run r: [1, 2]"),
        (says("{half"), BackendError, "cannot be read: could not read run r: {half"),
        (says("", kind="text/plain"), BackendError, "cannot be read"),
        (says("<!DOCTYPE html><p>hi"), NotAllowed, "refuses the login"),
        (says({"message": "Row not found", "code": 5}, 404), NotFound, "Row not found"),
        (says({"error": "twice", "code": 6}, 409), Conflict, "could not read run r: twice"),
        (says("bad gateway", 400), BackendError, "could not read run r: bad gateway"),
        (says({"state": "FAILED", "created_at": "soon"}), BackendError, "cannot be read"),
        (says("", 302, location="/dex/auth?x=1"), NotAllowed, "refuses the login"),
        (says("", 301, location="https://kf/x"), BackendError, "sends on to https://kf/x"),
        (says("<html>log in", 403, kind="text/html"), NotAllowed, "refuses the login"),
        (says({"message": "no"}, 403), NotAllowed, "let you read run r in namespace 'n': no"),
    ],
)
def test_answers_that_are_none(
    answer: Callable[[BaseHTTPRequestHandler], None], kind: type[MlopsError], words: str
) -> None:
    with scripted(answer) as (url, _), pytest.raises(kind) as caught:
        Connection(url, namespace="n").run("r")
    assert words in caught.value.message


def test_a_log_may_be_anything() -> None:
    with scripted(says('{"a": 1}\n', kind="text/plain")) as (url, _):
        assert Connection(url).node_log("r", "n") == '{"a": 1}\n'
    missing = {"message": 'Failed to read logs: pods "n" not found', "code": 3}
    with scripted(says(missing, 400)) as (url, _), pytest.raises(NotFound):
        Connection(url).node_log("r", "n")


def test_a_token_that_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old-token-of-yesterday\n")

    def replace(handler: BaseHTTPRequestHandler) -> None:
        path.write_text(f"{SECRET}\n")
        says({"message": "expired"}, 401)(handler)

    with scripted(replace) as (url, script):
        Connection(url, credentials=bearer(path)).terminate("r")
    assert [asked[2]["authorization"] for asked in script.asked] == [
        "Bearer old-token-of-yesterday",
        f"Bearer {SECRET}",
    ]


def test_a_token_that_stays_refused_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(SECRET)
    refusal = says({"message": f"token {SECRET} has expired"}, 401)
    with scripted(refusal, refusal) as (url, script), pytest.raises(NotAllowed) as caught:
        Connection(url, credentials=bearer(path)).healthz()
    assert len(script.asked) == 2
    assert str(caught.value) == (
        f"KFP at {url} refuses the login: could not ask for its health\n"
        f"  → put a fresh token into {path}"
    )
    echo = says({"message": f"bad header Bearer {SECRET}"}, 400)
    with scripted(echo) as (url, _), pytest.raises(BackendError) as other:
        Connection(url, credentials=bearer(path)).healthz()
    assert "bad header Bearer …" in other.value.message


def test_a_password_in_the_address_is_not_told() -> None:
    with scripted(says({"message": "no"}, 404)) as (url, _), pytest.raises(NotFound) as caught:
        Connection(url.replace("//", "//me:hidden@")).run("r")
    assert "hidden" not in str(caught.value)


def test_patience_with_errors_and_logins_but_not_with_refusals(tmp_path: Path) -> None:
    path = tmp_path / "token"
    said: list[str] = []
    path.write_text("first-token-of-all")
    refusal, broken = says({}, 401), says({"message": "db"}, 500)
    with scripted(refusal, refusal, *[broken] * 4, says({})) as (url, _):
        connection = Connection(url, credentials=bearer(path))
        assert connection.patient(connection.healthz, said.append) is False
    assert [line.partition(";")[0] for line in said] == [
        f"KFP at {url} refuses the login",
        f"KFP at {url} answers with an error of its own",
    ]
    with scripted(says({"message": "never"}, 403)) as (url, script):
        connection = Connection(url)
        with pytest.raises(NotAllowed, match="never"):
            connection.patient(connection.healthz, said.append)
        assert len(script.asked) == 1


def test_patience_ends() -> None:
    with scripted(*[says({}, 503)] * 99) as (url, _):
        connection = Connection(url, timeout=0.2, patience=0.5)
        started = time.monotonic()
        with pytest.raises(BackendUnavailable, match="status 503"):
            connection.patient(connection.healthz, lambda _: None)
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("url", ["", "kf.example.com", "ftp://kf", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(UserError, match="Kubeflow"):
        Connection(url)


def test_a_private_authority(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    with scripted(tls=made.context("127.0.0.1")) as (url, _):
        assert Connection(url, ca=str(made.ca)).healthz() is False
        with pytest.raises(
            BackendError, match=r"certificate of https:.* is not trusted"
        ) as bad:
            Connection(url).healthz()
        assert "set ca below [kubeflow]" in bad.value.hint
        assert not isinstance(bad.value, BackendUnavailable)
        assert Connection(url, verify=False).healthz() is False
        assert "TLSv1.3" in walk(Connection(url, ca=str(made.ca)))
        with pytest.raises(BackendError, match=r"TLS: the certificate of 127.0.0.1 is not"):
            walk(Connection(url))
    with scripted(tls=made.context("kf.example.com")) as (url, _):
        with pytest.raises(BackendError, match=r"TLS: .*IP address mismatch") as other:
            walk(Connection(url, ca=str(made.ca)))
        assert "the name that the certificate is for" in other.value.hint
    with pytest.raises(UserError, match="does not exist"):
        Connection("https://kf", ca=str(tmp_path / "none.pem"))


# --- hops -----------------------------------------------------------------------------------


def test_the_first_hop_that_fails_is_told(server: Server, tmp_path: Path) -> None:
    assert [name for name, _ in hops(Connection(server.url))] == [
        "DNS",
        "TCP",
        "API",
        "namespace",
        "experiments",
        "right to run",
    ]
    found = walk(Connection(server.url))
    assert "KFP v2 API, single-user; experiments can be read; runs may be made" in found
    with pytest.raises(
        BackendUnavailable, match=r"DNS: no address is known for no-such.invalid"
    ):
        walk(Connection("http://no-such.invalid"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(
        BackendUnavailable, match=r"TCP: .* cannot be reached: Connection refus"
    ):
        walk(Connection(f"http://127.0.0.1:{port}"))
    with pytest.raises(BackendError, match=r"TLS: .* does not speak TLS"):
        walk(Connection(server.url.replace("http:", "https:")))
    with pytest.raises(NotAllowed, match="login: the token for KFP cannot be read"):
        walk(Connection(server.url, credentials=bearer(tmp_path / "none")))
    with (
        scripted(says("<html>pages of KFP")) as (url, _),
        pytest.raises(NotAllowed, match="API: "),
    ):
        walk(Connection(url))


def test_a_person_who_may_read_but_not_run() -> None:
    """As Kubeflow does it: rights are looked at before the pipeline."""
    known = {"experiments": [{"experiment_id": "e"}]}
    refusal = says({"message": "Failed to create a run due to authorization error"}, 403)
    absent = says({"message": "Pipeline version 0000 not found"}, 404)
    with scripted(says({}), says({}), says(known), refusal) as (url, script):
        with pytest.raises(NotAllowed, match=r"right to run: .* does not let you make runs"):
            walk(Connection(url))
        assert json.loads(script.asked[-1][3])["pipeline_version_reference"]
    with scripted(says({}), says({}), says(known), absent) as (url, _):
        assert walk(Connection(url)).endswith("runs may be made")
    with scripted() as (url, _):
        assert "rights show with the first run" in walk(Connection(url))
