"""JupyterLab's panel asks the server: what it may, what it gets, and what it is told."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from served import Client, served
from shell import MLOPS, write_notebook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLOW = "import pathlib, time\nwhile not pathlib.Path(until).exists(): time.sleep(0.05)"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Path:
    folder = tmp_path_factory.mktemp("root")
    work = folder / "work"
    (work / ".mlops").mkdir(parents=True)
    (work / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    (work / "mlops.toml").write_text('[project]\nname = "work"\n')
    (work / "data.csv").write_text("a\n1\n")
    write_notebook(work / "nb.ipynb", "n: int = 1", "print('n is', n)")
    write_notebook(work / "bad.ipynb", "n: int = 1", "x = 1", "raise ValueError('of no use')")
    chat = "print(*(f'line {k}' for k in range(n)), sep=chr(10))"
    write_notebook(work / "chatty.ipynb", "n: int = 1", chat)
    write_notebook(work / "slow.ipynb", "until: str = ''", SLOW)
    outside = tmp_path_factory.mktemp("outside")
    write_notebook(outside / "other.ipynb", "n: int = 1")
    (work / "link.ipynb").symlink_to(outside / "other.ipynb")
    (work / "circle.ipynb").symlink_to(work / "circle.ipynb")
    return folder


@pytest.fixture(scope="module")
def client(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with served(root, tmp_path_factory.mktemp("home") / "h") as client:
        yield client


def mlops(folder: Path, *words: str) -> Any:
    done = subprocess.run(
        [MLOPS, *words, "--json"], cwd=folder, capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout)


def wait_final(client: Client, run: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        shown: dict[str, Any] = client.do("show", "work", run=run)
        if shown["state"] not in {"queued", "running"}:
            return shown
        time.sleep(0.1)
    raise AssertionError(f"{run} does not end")


def test_nobody_is_answered_without_a_token(client: Client) -> None:
    stranger = Client(int(client.host.partition(":")[2]), token="")
    for answer in (
        stranger.get("project"), stranger.get("resource", run="x"), stranger.get("nothing"),
        stranger.post("runs"), stranger.post("train", notebook="work/nb.ipynb"),
    ):  # fmt: skip
        assert answer.status_code == 403
        assert answer.json()["error"]["type"] == "NotAllowed"
    assert client.do("runs", "work")["runs"] == []


def test_another_site_cannot_use_a_cookie(client: Client) -> None:
    browser = Client(int(client.host.partition(":")[2]), token="")
    browser.session.get(f"{client.url}tree", params={"token": client.token}, timeout=60)
    assert browser.get("project").status_code == 200
    assert browser.post("runs", "work").status_code == 403
    browser.session.headers["X-XSRFToken"] = browser.session.cookies["_xsrf"]
    assert browser.post("runs", "work").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("../outside/other.ipynb", 422),
        ("work/../../x.ipynb", 422),
        ("/etc/passwd", 422),
        ("~/x.ipynb", 422),
        ("work/nb\0.ipynb", 422),
        ("work/data.csv", 422),
        ("", 422),
        ("work", 422),
        ("work/missing.ipynb", 404),
        ("work/link.ipynb", 403),
        ("work/circle.ipynb", 422),
        ("work/\ud800.ipynb", 422),
        (f"work/{'long' * 100}.ipynb", 422),
    ],
)
def test_a_path_that_is_no_notebook_below_the_root_is_refused(
    client: Client, path: str, status: int
) -> None:
    answer = client.post("train", "work", notebook=path)
    error = answer.json()["error"]
    assert answer.status_code == status
    assert repr(path) in error["message"]
    assert error["hint"]


def test_nor_does_the_project_lie_outside(client: Client) -> None:
    assert client.get("project", path="../..").status_code == 422
    assert client.get("project", path="nowhere/nb.ipynb").status_code == 404
    assert client.post("runs", "work/link.ipynb").status_code == 403
    given = client.post("train", "work", notebook="work/nb.ipynb", parameter_file="../../p.yml")
    assert given.status_code == 422


@pytest.mark.parametrize(
    ("word", "body", "status", "said"),
    [
        ("runs", b"{", 422, "no JSON"),
        ("runs", b"\xff", 422, "no JSON"),
        ("runs", b"", 422, "no JSON"),
        ("runs", b"[]", 422, "no path and verb"),
        ("runs", b'{"verb": {}}', 422, "no path and verb"),
        ("runs", b'{"path": "", "verb": [], "x": 1}', 422, "no path and verb"),
        ("runs", b'{"path": "", "x": 1}', 422, "has x"),
        ("runs", b'{"path": "", "verb": {"limt": 3}}', 422, "did you mean 'limit'?"),
        ("runs", b'{"path": "", "verb": {"limit": "x"}}', 422, "limit: "),
        ("runs", b'{"path": "", "verb": {"limit": 0}}', 422, "limit"),
        ("runs", b'{"path": "", "verb": {"verb": "train"}}', 422, "verb: "),
        ("trian", b'{"path": ""}', 404, "did you mean 'train'?"),
        ("eject", b'{"path": ""}', 404, "no verb 'eject'"),
        ("verify-pr", b'{"path": ""}', 404, "no verb 'verify-pr'"),
        ("dev", b'{"path": ""}', 404, "no verb 'dev'"),
    ],
)
def test_a_request_that_is_wrong_is_told_so(
    client: Client, word: str, body: bytes, status: int, said: str
) -> None:
    answer = client.session.post(f"{client.url}mlops-nb/v1/{word}", body, timeout=60)
    error = answer.json()["error"]
    assert answer.status_code == status
    assert said in f"{error['message']} {error['hint']}"


def test_documents_are_those_of_the_shell(client: Client, root: Path) -> None:
    work = root / "work"
    run = client.do("train", "work", notebook="work/nb.ipynb", parameters={"n": 3})
    assert run["state"] == "queued"
    ended = wait_final(client, run["id"])
    assert ended["state"] == "succeeded"
    assert ended["notebook"] == str(work / "nb.ipynb")
    assert ended == mlops(work, "show", run["id"])
    assert client.do("runs", "work") == mlops(work, "runs")
    assert client.do("logs", "work/nb.ipynb", run=run["id"])["lines"] == ["n is 3"]
    part = client.get("log", run=run["id"], path="work").json()
    assert (part["lines"], part["first"], part["next"]) == (["n is 3"], 0, 1)
    assert part["is_whole"]
    asked = client.post("train", "work", notebook="work/nb.ipynb", parameters={"m": 3})
    assert asked.status_code == 422
    assert asked.json() == mlops(work, "train", str(work / "nb.ipynb"), "-p", "m=3")


def test_local_data_is_looked_for_beside_the_notebook(client: Client, root: Path) -> None:
    inner = root / "work" / "inner"
    inner.mkdir()
    (inner / "near.csv").write_text("a\n1\n")
    write_notebook(inner / "data.ipynb", "train: str = ''", "print(open(train).read())")
    for uri in ("near.csv", "../data.csv"):
        run = client.do("train", "work", notebook="work/inner/data.ipynb", data={"train": uri})
        ended = wait_final(client, run["id"])
        assert ended["state"] == "succeeded"
        assert ended["datasets"][0]["rows"] == 1
    refused = client.post(
        "train", "work", notebook="work/inner/data.ipynb", data={"train": "far.csv"}
    )
    assert refused.status_code == 422
    assert "far.csv" in refused.json()["error"]["message"]


def test_a_long_log_comes_in_parts(client: Client) -> None:
    run = client.do("train", "work", notebook="work/chatty.ipynb", parameters={"n": 12_000})
    wait_final(client, run["id"])
    read: list[str] = []
    part = {"next": 0, "is_whole": False}
    while not part["is_whole"]:
        part = client.get(
            "log", run=run["id"], **{"from": str(part["next"])}, path="work"
        ).json()
        assert part["first"] == len(read)
        read += part["lines"]
    assert read == [f"line {n}" for n in range(12_000)]
    last = client.get("log", run=run["id"], path="work", **{"from": "-2"}).json()
    assert (last["lines"], last["next"]) == (["line 11998", "line 11999"], 12_000)
    wrong = client.get("log", run=run["id"], path="work", **{"from": "x"})
    assert wrong.status_code == 422


def test_runs_are_deleted_and_brought_back(client: Client) -> None:
    runs = [client.do("train", "work", notebook="work/nb.ipynb")["id"] for _ in range(2)]
    going = client.post("delete", "work", runs=runs)
    assert (going.status_code, going.json()["error"]["type"]) == (409, "Conflict")
    for run in runs:
        wait_final(client, run)
    assert client.do("delete", "work", runs=runs)["runs"] == runs
    assert client.post("show", "work", run=runs[0]).status_code == 404
    assert client.do("delete", "work", runs=runs, restore=True)["is_restored"]
    assert client.do("show", "work", run=runs[0])["state"] == "succeeded"


def test_what_a_person_should_know_comes_with_the_answer(client: Client) -> None:
    answer = client.post("runs", "work", notebook="work/nc.ipynb")
    assert answer.json()["runs"] == []
    assert "did you mean nb.ipynb?" in json.loads(answer.headers["Mlops-Nb-Notes"])[0]


def test_every_listener_is_told_the_same_and_nothing_is_missing(
    client: Client, root: Path
) -> None:
    before = client.get("project", path="work/nb.ipynb").json()
    with client.listening() as one, client.listening() as two:
        run = client.do("train", "work", notebook="work/nb.ipynb")
        end = one.until_ended(run["id"])
        two.until_ended(run["id"])
    assert end["state"] == "succeeded"
    assert [each["number"] for each in one.seen] == list(
        range(before["number"] + 1, before["number"] + 1 + len(one.seen))
    )
    assert [each["event"] for each in one.seen] == [each["event"] for each in two.seen]
    assert {(each["boot"], each["project"]) for each in one.seen} == {
        (before["boot"], str(root / "work"))
    }
    kinds = [kind for kind, _ in itertools.groupby(e["event"]["kind"] for e in one.seen)]
    assert kinds[0] == "run_moved"
    assert "progress" in kinds
    assert any(each["event"].get("last_line") == "n is 1" for each in one.seen)


def test_a_run_is_cancelled_and_everybody_knows(client: Client, tmp_path: Path) -> None:
    with client.listening() as events:
        run = client.do(
            "train", "work", notebook="work/slow.ipynb",
            parameters={"until": str(tmp_path / "go")},
        )  # fmt: skip
        events.until(lambda event: event["kind"] == "progress")
        assert client.do("cancel", "work", run=run["id"])["state"] == "cancelled"
        assert events.until_ended(run["id"])["state"] == "cancelled"


def test_a_run_outlives_the_server_and_the_next_one_tells_its_end(
    root: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    with served(root, tmp_path / "home") as client, client.listening() as events:
        boot = client.get("project", path="work").json()["boot"]
        asked = {"until": str(go)}
        run = client.do("train", "work", notebook="work/slow.ipynb", parameters=asked)
        events.until(lambda event: event["kind"] == "progress")
    with served(root, tmp_path / "home") as client, client.listening() as events:
        assert client.get("project", path="work").json()["boot"] != boot
        listed = client.do("runs", "work", state="running")["runs"]
        assert [one["id"] for one in listed] == [run["id"]]
        go.touch()
        assert events.until_ended(run["id"])["state"] == "succeeded"
        assert events.seen[0]["number"] == 1
        assert "queued" not in {each["event"].get("state") for each in events.seen}


def test_the_executed_notebook_is_opened_at_the_cell_that_failed(client: Client) -> None:
    run = client.do("train", "work", notebook="work/bad.ipynb", parameters={"n": 2})
    wait_final(client, run["id"])
    found = client.get("resource", run=run["id"], path="work").json()
    assert found["path"] is None
    cell = found["content"]["cells"][found["cell"]]
    assert cell["source"] == "raise ValueError('of no use')"
    assert client.get("resource", run="nothing-1", path="work").status_code == 404
    assert client.get("resource", path="work").status_code == 400


def test_a_project_is_described_without_its_secrets_and_anew_when_it_changes(
    client: Client, root: Path
) -> None:
    other = root / "other"
    other.mkdir()
    settings = (
        '[project]\nname = "other"\n[tracking]\nuri = "https://ann:hunter2@mlflow.example.com"\n'
        '[kubeflow]\nurl = "https://kubeflow.example.com"\nprofile = "small"\n'
        '[profiles.small]\ncpu = "2"\nmemory = "4G"\nprice = 0.5\n[profiles.big]\ngpu = 4\n'
        "[environments.prod]\nalias = 'champion'\ngates = ['accuracy >= 0.9']\n"
        '[models.credit]\ngates = ["auc >= 0.7"]\n'
    )
    (other / "mlops.toml").write_text(settings)
    answer = client.get("project", path="other")
    told = answer.json()
    assert "hunter2" not in answer.text
    assert told["tracking"] == "https://mlflow.example.com"
    assert (told["name"], told["path"], told["root"]) == ("other", "other", str(root))
    assert told["executors"] == ["local", "kubeflow"]
    assert [(one["name"], one["price"], one["is_default"]) for one in told["profiles"]] == [
        ("small", 0.5, True), ("big", 0.0, False),
    ]  # fmt: skip
    assert told["environments"][0]["gates"] == ["accuracy >= 0.9"]
    assert told["gates"] == {"credit": ["auc >= 0.7"]}
    (other / "mlops.toml").write_text(settings.replace('"other"', '"another"'))
    assert client.get("project", path="other").json()["name"] == "another"
    (other / "mlops.toml").write_text("[projct]\n")
    refused = client.get("project", path="other")
    assert refused.status_code == 422
    assert refused.json()["error"]["type"] == "BadSettings"


def test_a_folder_is_made_a_project(client: Client, root: Path) -> None:
    (root / "new").mkdir()
    assert not client.get("project", path="new").json()["initialized"]
    made = client.do("init", "new")
    assert made["folder"] == str(root / "new")
    assert client.get("project", path="new").json()["initialized"]


def test_who_may_only_look_only_looks(root: Path, tmp_path: Path) -> None:
    config = (
        "from jupyter_server.auth import Authorizer\n"
        "class Looking(Authorizer):\n"
        "    def is_authorized(self, handler, user, action, resource):\n"
        "        return action == 'read'\n"
        "c.ServerApp.authorizer_class = Looking\n"
        "c.ServerApp.allow_unauthenticated_access = False\n"
    )
    with served(root, tmp_path / "home", config) as client:
        assert client.get("project", path="work").status_code == 200
        assert client.post("runs", "work").status_code == 200
        for word, fields in (
            ("train", {"notebook": "work/nb.ipynb"}), ("init", {}), ("cancel", {"run": "x"}),
        ):  # fmt: skip
            refused = client.post(word, "work", **fields)
            assert (refused.status_code, refused.json()["error"]["type"]) == (403, "NotAllowed")
    # The server itself looks for routes that want no login.
    assert "mlops_nb.server" not in (tmp_path / "home" / "server.log").read_text()


def test_looking_on_does_not_keep_an_idle_server_alive(client: Client) -> None:
    def active() -> str:
        # The question itself is none.
        answer = client.session.get(f"{client.url}api/status", timeout=60)
        return str(answer.json()["last_activity"])

    before = active()
    client.do("runs", "work")
    client.get("project", path="work")
    assert active() == before


def test_a_server_starts_without_what_verbs_need() -> None:
    code = (
        "import sys, mlops_nb\n"
        "app = mlops_nb._jupyter_server_extension_points()[0]['app']\n"
        "from jupyter_server.serverapp import ServerApp\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "mlops_nb" in loaded
    assert not loaded & {
        "croniter", "detect_secrets", "fsspec", "git", "kfp", "kubernetes", "mlflow", "numpy",
        "pandas", "papermill", "pydantic", "ruamel", "sklearn",
    }  # fmt: skip


def test_who_is_not_there_is_told_as_json(client: Client) -> None:
    answer = requests.get(
        f"{client.url}mlops-nb/v1/nothing",
        headers={"Authorization": f"token {client.token}"},
        timeout=60,
    )
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "NotFound"
