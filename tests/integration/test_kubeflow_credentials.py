"""Each way of logging in at a Kubeflow server, over real HTTP."""

import base64
import json
import os
import shutil
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import kfp
import pytest
import requests
import yaml
from kfp.client.token_credentials_base import TokenCredentialsBase
from scripted_server import certificates, says, scripted

from mlops_nb.adapters.kubeflow import pods
from mlops_nb.adapters.kubeflow.connection import Connection
from mlops_nb.adapters.kubeflow.credentials import credentials
from mlops_nb.dev.kubeflow import Options, serve
from mlops_nb.errors import BackendError, BackendUnavailable, MlopsError, NotAllowed, UserError

PASSWORD = "correct horse battery staple"
SECRETS = {"KF_TOKEN": "token-of-the-environment", "KF_PASSWORD": PASSWORD}


def settings(auth: str = "none", **given: Any) -> Any:
    words = "url namespace token token_file username password ca kubeconfig context"
    empty = dict.fromkeys(words.split(), "")
    return SimpleNamespace(**{**empty, "verify": True, "auth": auth, **given})


def asking(auth: str, environment: dict[str, str] | None = None, **given: Any) -> Any:
    return credentials(settings(auth, **given), SECRETS.__getitem__, environment or {})


def authorizations(script: Any) -> list[str]:
    return [headers.get("authorization", "") for _, _, headers, _ in script.asked]


# --- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "given", "words"),
    [
        ("token", {}, 'kubeflow.auth = "token" needs one of kubeflow.token and'),
        ("token", {"token": "secret:A", "token_file": "b"}, "needs one of"),
        ("token", {"token": "secret:A", "username": "me"}, "kubeflow.username is set, but"),
        ("none", {"token": "secret:A"}, "kubeflow.token is set, but kubeflow.auth = 'none'"),
        ("dex", {"url": "https://kf", "username": "me"}, "kubeflow.password"),
        ("dex", {"token_file": "x"}, "kubeflow.token_file is set, but"),
        ("kubeconfig", {"password": "secret:P"}, "kubeflow.password is set, but"),
        ("iap", {}, "kubeflow.auth = 'iap': no such login"),
    ],
)
def test_settings_that_do_not_fit(auth: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        asking(auth, **given)
    assert words in caught.value.message
    assert caught.value.hint


def test_nobody_in_particular() -> None:
    assert asking("none") is None


# --- bearer tokens --------------------------------------------------------------------------


def test_a_token_from_the_environment_is_looked_up_again_when_refused() -> None:
    values = iter(["first-token-given", "second-token-given"])
    found = credentials(
        settings("token", token="secret:KF_TOKEN"), lambda name: f"{next(values)}-{name}", {}
    )
    with scripted(says({}), says({}, 401)) as (url, script):
        connection = Connection(url, credentials=found)
        connection.healthz()
        connection.healthz()
    assert authorizations(script) == [
        "Bearer first-token-given-KF_TOKEN",
        "Bearer first-token-given-KF_TOKEN",
        "Bearer second-token-given-KF_TOKEN",
    ]


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with scripted() as (url, script):
        connection = Connection(url, credentials=asking("token", token_file=str(path)))
        with pytest.raises(NotAllowed, match=r"cannot be read from .*: No such file"):
            connection.healthz()
        path.write_text("\n")
        with pytest.raises(NotAllowed, match="is empty"):
            connection.healthz()
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(NotAllowed, match="it is no text"):
            connection.healthz()
        for token in ("one-token", "two-token", "two-token"):
            fresh = tmp_path / "fresh"
            fresh.write_text(f"{token}\n")
            # As a kubelet does: another file in its place, here with the same time and length.
            os.utime(fresh, (1, 1))
            fresh.replace(path)
            connection.healthz()
    assert authorizations(script) == [
        "Bearer one-token",
        "Bearer two-token",
        "Bearer two-token",
    ]


def test_a_projected_service_account_token(tmp_path: Path) -> None:
    path = tmp_path / "sa-token"
    path.write_text("token-of-the-account")
    place = {"KF_PIPELINES_SA_TOKEN_PATH": str(path)}
    with scripted() as (url, script):
        Connection(url, credentials=asking("service-account", place)).healthz()
        with pytest.raises(NotAllowed) as caught:
            Connection(url, credentials=asking("service-account")).healthz()
    assert authorizations(script) == ["Bearer token-of-the-account"]
    assert "/var/run/secrets/kubeflow/pipelines/token" in caught.value.message
    assert "audience pipelines.kubeflow.org" in caught.value.hint


def test_against_a_server_that_wants_a_token(tmp_path: Path) -> None:
    options = Options(folder=tmp_path / "server", token=SECRETS["KF_TOKEN"])
    with serve(options) as server:
        found = asking("token", token="secret:KF_TOKEN")
        assert Connection(server.url, credentials=found).experiments()
        with pytest.raises(NotAllowed) as caught:
            Connection(server.url).experiments()
        assert "set auth below [kubeflow]" in caught.value.hint
        # The official client takes ours for its own.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TokenCredentialsBase.register(type(found))
            official = kfp.Client(host=server.url, credentials=found)
        assert official.list_experiments().experiments


# --- Dex ------------------------------------------------------------------------------------


class Gateway:
    """A Kubeflow gateway with oauth2-proxy, and Dex behind /dex as its pages are.

    Args:
        shows: what a stranger is shown: `redirect`, `page` (with status 403) or `nothing`.
        connectors: names of Dex's connectors; several are offered on a page.
        approves: whether Dex asks for approval.
        issuer: another provider's authorization and token addresses.
    """

    def __init__(
        self,
        *,
        shows: str = "redirect",
        connectors: tuple[str, ...] = ("local",),
        approves: bool = False,
        issuer: tuple[str, str] | None = None,
    ) -> None:
        self.shows, self.connectors, self.approves = shows, connectors, approves
        self.issuer = issuer
        self.sessions: set[str] = set()
        self.logins = 0
        self.codes: set[str] = set()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self._here = f"http://{handler.headers['host']}"
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        form = {
            name: values[0]
            for name, values in parse_qs(handler.sent.decode()).items()  # type: ignore[attr-defined]
        }
        if parts.path.startswith("/dex/"):
            answer = self._dex(handler.command, parts.path, query, form)
        elif parts.path == "/oauth2/start":
            answer = self._to_issuer(query["rd"])
        elif parts.path == "/oauth2/callback":
            answer = self._callback(query)
        elif self._knows(handler.headers.get("cookie", "")):
            answer = says({"multi_user": True}) if "/apis/" in parts.path else says("<html>KF")
        elif self.shows == "redirect":
            answer = self._to_issuer(parts.path)
        elif self.shows == "page":
            answer = says('<html><form action="/oauth2/start">Sign in', 403, "text/html")
        else:
            answer = says({}, 401)
        answer(handler)

    def _knows(self, cookie: str) -> bool:
        return any(f"oauth2_proxy={session}" in cookie for session in self.sessions)

    def _to_issuer(self, place: str) -> Any:
        asked = urlencode(
            {
                "client_id": "demo-client",
                "redirect_uri": f"{self._here}/oauth2/callback",
                "response_type": "code",
                "scope": "openid profile email",
                "state": place,
            }
        )
        start = self.issuer[0] if self.issuer else "/dex/auth"
        return says("", 302, location=f"{start}?{asked}")

    def _callback(self, query: dict[str, str]) -> Any:
        if self.issuer:
            answer = requests.post(
                self.issuer[1],
                data={
                    "grant_type": "authorization_code",
                    "code": query["code"],
                    "redirect_uri": f"{self._here}/oauth2/callback",
                },
                auth=("demo-client", "demo-secret"),
                timeout=10,
            )
            body = answer.json()["id_token"].split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            assert claims["sub"]
        else:
            self.codes.remove(query["code"])
        self.logins += 1
        session = f"session-number-{self.logins}"
        self.sessions.add(session)
        cookie = f"oauth2_proxy={session}; Path=/; HttpOnly"
        return says("", 302, location=query["state"], **{"set-cookie": cookie})

    def _dex(self, method: str, path: str, query: dict[str, str], form: dict[str, str]) -> Any:
        asked = urlencode(query)
        match [method, *path.removeprefix("/dex/auth").strip("/").split("/")]:
            case ["GET", ""]:
                return self._choice(asked)
            case ["GET", connector]:
                back = urlencode({"back": "", "state": query["state"]})
                return says("", 302, location=f"/dex/auth/{connector}/login?{back}")
            case ["GET", _, "login"]:
                return self._form(path, query, "")
            case ["POST", _, "login"]:
                if form != {"login": "me@example.com", "password": PASSWORD}:
                    return self._form(path, query, "<div>Invalid Email Address and password")
                if not self.approves:
                    return self._back(query["state"])
                req = urlencode({"req": query["state"]})
                return says("", 303, location=f"/dex/approval?{req}")
            case _:
                return self._approval(method, query, form)

    def _choice(self, asked: str) -> Any:
        if len(self.connectors) == 1:
            return says("", 302, location=f"/dex/auth/{self.connectors[0]}?{asked}")
        links = "".join(
            f'<a href="/dex/auth/{name}?{asked}"><button>With {name}</button></a>'
            for name in self.connectors
        )
        return says(f"<!DOCTYPE html><html>{links}", kind="text/html; charset=utf-8")

    def _approval(self, method: str, query: dict[str, str], form: dict[str, str]) -> Any:
        if method == "POST" and form["approval"] == "approve":
            return self._back(form["req"])
        hidden = f'<input type="hidden" name="req" value="{query["req"]}">'
        forms = "".join(
            f'<form method="post">{hidden}<input type="hidden" name="approval" value="{word}">'
            f'<button type="submit">{word}</button></form>'
            for word in ("rejected", "approve")
        )
        return says(f"<html>Grant Access{forms}", kind="text/html")

    def _form(self, path: str, query: dict[str, str], trouble: str) -> Any:
        action = f"{path}?{urlencode(query)}".replace("&", "&amp;")
        return says(
            f'<!DOCTYPE html><html><form method="post" action="{action}">'
            '<input tabindex="1" required id="login" name="login" type="text"/>'
            f'<input id="password" name="password" type="password"/>{trouble}'
            '<button type="submit">Login</button></form>',
            kind="text/html",
        )

    def _back(self, state: str) -> Any:
        code = f"code-{len(self.codes)}-{self.logins}"
        self.codes.add(code)
        asked = urlencode({"code": code, "state": state})
        return says("", 303, location=f"/oauth2/callback?{asked}")


def dex(url: str, **given: Any) -> Any:
    told = {"username": "me@example.com", "password": "secret:KF_PASSWORD", **given}
    return asking("dex", url=f"{url}/pipeline", **told)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"shows": "page"},
        {"shows": "nothing"},
        {"approves": True},
        {"connectors": ("github", "ldap-corp")},
        {"connectors": ("google", "local"), "approves": True, "shows": "page"},
    ],
)
def test_a_login_as_a_browser_would(given: dict[str, Any]) -> None:
    gateway = Gateway(**given)
    with scripted(otherwise=gateway) as (url, script):
        found = dex(url)
        connection = Connection(f"{url}/pipeline", credentials=found)
        assert connection.healthz() is True
        assert connection.healthz() is True
        assert gateway.logins == 1
        # The session ends: whatever a stranger is shown, one more login follows.
        gateway.sessions.clear()
        assert connection.healthz() is True
        assert gateway.logins == 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            host, cookie = f"{url}/pipeline", found.cookie()
            official = kfp.Client(host=host, cookies=cookie, namespace="team")
        assert official.get_kfp_healthz().multi_user is True
    assert PASSWORD not in " ".join(path for _, path, _, _ in script.asked)
    assert all("authorization" not in headers for _, _, headers, _ in script.asked[:-1])


def test_a_gateway_that_lets_everybody_in() -> None:
    with scripted() as (url, script):
        assert Connection(f"{url}/pipeline", credentials=dex(url)).healthz() is False
    assert "cookie" not in script.asked[-1][2]


def test_a_wrong_password_is_said_once_and_not_told() -> None:
    gateway = Gateway()
    with scripted(otherwise=gateway) as (url, script):
        with pytest.raises(NotAllowed) as caught:
            Connection(
                f"{url}/pipeline", credentials=dex(url, username="you@example.com")
            ).healthz()
        posts = [path for method, path, _, _ in script.asked if method == "POST"]
    assert len(posts) == 1
    assert "does not know 'you@example.com' with this password" in caught.value.message
    assert "KF_PASSWORD" in caught.value.hint
    assert PASSWORD not in str(caught.value)


def test_a_gateway_without_a_page_for_passwords() -> None:
    links = says("<html>choose one", kind="text/html")
    with (
        scripted(says("", 302, location="/dex/auth?x=1"), otherwise=links) as (url, _),
        pytest.raises(NotAllowed, match="offers no login with name and password"),
    ):
        Connection(f"{url}/pipeline", credentials=dex(url)).healthz()


def test_a_login_that_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        scripted(says("", 302, location=f"http://127.0.0.1:{port}/dex/auth")) as (url, _),
        pytest.raises(BackendUnavailable, match=f"does not answer at 127.0.0.1:{port}"),
    ):
        Connection(f"{url}/pipeline", credentials=dex(url)).healthz()
    with (
        scripted(otherwise=says("", 502)) as (url, _),
        pytest.raises(BackendUnavailable, match=r"fails at .* with status 502"),
    ):
        Connection(f"{url}/pipeline", credentials=dex(url)).healthz()
    made = certificates(tmp_path)
    with scripted(tls=made.context("127.0.0.1")) as (url, _):
        with pytest.raises(BackendError, match="certificate on the way to the login"):
            Connection(f"{url}/pipeline", credentials=dex(url)).healthz()
        found = dex(url, ca=str(made.ca))
        assert (
            Connection(f"{url}/pipeline", credentials=found, ca=str(made.ca)).healthz() is False
        )


def test_a_password_is_not_sent_without_encryption(tmp_path: Path) -> None:
    made, gateway = certificates(tmp_path), Gateway()
    with scripted(otherwise=gateway) as (plain, script):
        there = says("", 302, location=f"{plain}/dex/auth/local?state=x&client_id=y")
        with scripted(there, tls=made.context("127.0.0.1")) as (url, _):
            found = dex(url, ca=str(made.ca))
            with pytest.raises(NotAllowed, match="without encryption"):
                Connection(f"{url}/pipeline", credentials=found, ca=str(made.ca)).healthz()
    assert not [path for method, path, _, _ in script.asked if method == "POST"]


@contextmanager
def provider(folder: Path) -> Iterator[str]:
    program = shutil.which("nanoidp")
    if program is None:
        pytest.skip("needs an OpenID provider: pip install nanoidp, in an environment on PATH")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    subprocess.run([program, "init"], cwd=folder, check=True, capture_output=True)
    with subprocess.Popen(
        [program, "--port", str(port)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(200):
                try:
                    requests.get(f"{url}/.well-known/openid-configuration", timeout=1)
                    break
                except requests.ConnectionError:
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def test_a_login_at_a_real_openid_provider(tmp_path: Path) -> None:
    with provider(tmp_path) as issuer:
        gateway = Gateway(issuer=(f"{issuer}/authorize", f"{issuer}/token"))
        with scripted(otherwise=gateway) as (url, _):
            told = settings(
                "dex", url=f"{url}/pipeline", username="testuser", password="secret:P"
            )
            good = credentials(told, lambda _: "test123", {})
            assert Connection(f"{url}/pipeline", credentials=good).healthz() is True
            assert gateway.logins == 1
            bad = credentials(told, lambda _: "guessed", {})
            with pytest.raises(NotAllowed, match="does not know 'testuser'"):
                Connection(f"{url}/pipeline", credentials=bad).healthz()


# --- kubeconfig -----------------------------------------------------------------------------


def kubeconfig(path: Path, server: str, ca: Path | None = None, **user: Any) -> dict[str, str]:
    cluster: dict[str, Any] = {"server": server}
    if ca:
        cluster["certificate-authority-data"] = base64.b64encode(ca.read_bytes()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return {"KUBECONFIG": str(path)}


PROXY = "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"


def test_through_the_kubernetes_api_server(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    with scripted(tls=made.context("127.0.0.1")) as (url, script):
        environment = kubeconfig(tmp_path / "config", url, made.ca, token="a-cluster-token")
        connection = Connection("", credentials=asking("kubeconfig", environment))
        assert connection.url == f"{url}{PROXY}"
        connection.healthz()
        # A second request goes the same way: the library's own hook would forget the path.
        connection.healthz()
        kubeconfig(tmp_path / "config", url, made.ca, token="a-newer-cluster-token")
        script.answers.append(says({"kind": "Status", "message": "Unauthorized"}, 401))
        connection.healthz()
        elsewhere = asking("kubeconfig", environment, namespace="kfp")
        assert "/namespaces/kfp/services/" in Connection("", credentials=elsewhere).url
    assert {path for _, path, _, _ in script.asked} == {f"{PROXY}/apis/v2beta1/healthz"}
    assert authorizations(script) == [
        *["Bearer a-cluster-token"] * 3,
        "Bearer a-newer-cluster-token",
    ]


def test_a_kubeconfig_whose_program_gives_the_token(tmp_path: Path) -> None:
    program = tmp_path / "login"
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "a-token-of-the-program"},
    }
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{json.dumps(credential)}\nE\n")
    program.chmod(0o755)
    runs = {"apiVersion": credential["apiVersion"], "command": str(program)}
    with scripted() as (url, script):
        environment = kubeconfig(tmp_path / "config", url, exec=runs)
        Connection("", credentials=asking("kubeconfig", environment)).healthz()
    assert authorizations(script) == ["Bearer a-token-of-the-program"]


def test_what_the_api_server_refuses(tmp_path: Path) -> None:
    message = 'services "ml-pipeline:http" is forbidden: cannot get resource "services/proxy"'
    with scripted(says({"kind": "Status", "message": message}, 403)) as (url, _):
        environment = kubeconfig(tmp_path / "config", url, token="a-cluster-token")
        with pytest.raises(NotAllowed, match="cannot get resource"):
            Connection("", credentials=asking("kubeconfig", environment)).healthz()


@pytest.mark.parametrize("content", [None, "", "{half", "a: 1", "[1]"])
def test_a_kubeconfig_that_is_none(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(MlopsError) as caught:
        Connection("", credentials=asking("kubeconfig", {"KUBECONFIG": str(path)}))
    assert f"the kubeconfig {path} " in caught.value.message
    assert caught.value.hint


# --- what pods suffer from, read over HTTP --------------------------------------------------


def a_pod(name: str, created: int, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": f"2026-11-24T10:00:0{created}Z"},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": "Pending", **status},
    }


@contextmanager
def cluster(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *answers: Any
) -> Iterator[tuple[Any, Any]]:
    """Give a cluster that answers the first look at its pods, and then as told."""
    from kubernetes.config import kube_config

    pods._api.cache_clear()
    with scripted(says({"items": []}), *answers) as (url, script):
        kubeconfig(folder / "config", url)
        path = str(folder / "config")
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", path)
        yield settings(namespace="team"), script
    pods._api.cache_clear()


MESSAGE = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
EVENT = {
    "metadata": {},
    "involvedObject": {},
    "reason": "FailedScheduling",
    "message": MESSAGE,
}
REFUSAL = says({"message": "no"}, 403)


def test_pods_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = (says({"items": [a_pod("p", 1)]}), says({"items": [EVENT]}))
    with cluster(tmp_path, monkeypatch, *seen, seen[0], REFUSAL, REFUSAL) as (place, script):
        assert pods.trouble(place, "run-1").startswith("no node has a free nvidia.com/gpu: 0/1")
        assert pods.trouble(place, "run-1") == ""
        assert pods.trouble(place, "run-1") == ""
    paths = [path for _, path, _, _ in script.asked]
    assert paths[:3] == [
        "/api/v1/namespaces/team/pods?limit=1",
        "/api/v1/namespaces/team/pods?labelSelector=pipeline%2Frunid%3Drun-1",
        "/api/v1/namespaces/team/events?fieldSelector=involvedObject.name%3Dp",
    ]


def test_a_pod_that_failed_says_nothing_while_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = a_pod("p-0", 1, phase="Failed", reason="Evicted", message="disk")
    going = a_pod("p-1", 2, phase="Running")
    nothing = says({"items": []})
    both, one = says({"items": [failed, going]}), says({"items": [failed]})
    with cluster(tmp_path, monkeypatch, both, nothing, one, nothing) as (place, _):
        assert pods.trouble(place, "r") == ""
        assert pods.trouble(place, "r") == "evicted from its node: disk"


def test_the_log_of_a_live_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = says("one\ntwo\nthr", kind="text/plain")
    with cluster(tmp_path, monkeypatch, printed, REFUSAL) as (place, script):
        assert pods.printed(place, "p") == "one\ntwo\nthr"
        assert pods.printed(place, "p") == ""
    assert script.asked[1][1] == "/api/v1/namespaces/team/pods/p/log?container=main"


def test_a_cluster_that_nobody_can_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(tmp_path, monkeypatch) as (place, script):
        script.answers[:] = [REFUSAL]
        assert pods.trouble(place, "r") == ""
        assert pods.trouble(place, "r") == ""
        # It was asked once, not at each look.
        assert len(script.asked) == 1
    assert pods.trouble(place, "r") == ""
    pods._api.cache_clear()
    (tmp_path / "config").unlink()
    assert pods.trouble(place, "r") == ""
    assert pods.printed(place, "p") == ""
