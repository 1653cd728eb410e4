"""How the adapter for Argo CD meets logins, certificates, proxies and servers in trouble."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import certificates, hang_up, says, scripted

from mlops_nb.adapters.argocd import ArgoCd
from mlops_nb.core.access import ClusterAccess
from mlops_nb.core.delivery import Environment
from mlops_nb.core.rollout import Operation
from mlops_nb.errors import BackendError, BackendUnavailable, NotAllowed

if TYPE_CHECKING:
    from pathlib import Path

PROD = Environment(name="prod")
USER = {"loggedIn": True, "username": "role"}
VERSION = {"Version": "v3.5.1"}
TREE = {
    "nodes": [
        {"kind": "Rollout", "group": "argoproj.io", "name": "churn", "namespace": "models"}
    ]
}


def argocd(url: str, token: Any = lambda: "a-token-of-the-project", **more: Any) -> ArgoCd:
    return ArgoCd(PROD, ClusterAccess(argocd=url), token, **more)


def opened(url: str, folder: Path, *, variables: dict[str, str], **settings: Any) -> ArgoCd:
    return ArgoCd.open(
        PROD,
        ClusterAccess(argocd=url, **settings),
        look_up=lambda name: f"value-of-{name}",
        variables=variables,
        folder=folder,
    )


def test_the_token_is_sent_as_a_bearer_and_the_project_with_every_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # requests would put what a .netrc says in the place of our header.
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    (tmp_path / "token").write_text("from-the-file\n")
    with scripted(*[says(VERSION), says(USER)] * 3) as (url, script):
        variables = {"ARGOCD_AUTH_TOKEN": "from-the-environment"}
        opened(url, tmp_path, variables=variables).check()
        opened(url, tmp_path, variables=variables, argocd_token_file="token").check()
        opened(url, tmp_path, variables=variables, argocd_token="secret:ARGO").check()
    sent = [headers["authorization"] for _, _, headers, _ in script.asked]
    assert sent[::2] == sent[1::2]
    assert sent[::2] == [
        "Bearer from-the-environment", "Bearer from-the-file", "Bearer value-of-ARGO",
    ]  # fmt: skip
    assert all("project=models-prod" in path for _, path, _, _ in script.asked)


def test_a_token_that_was_replaced_is_read_again() -> None:
    tokens = iter(["the-old-token", "the-new-token"])
    expired = says({"error": "token is expired", "code": 16}, 401)
    with scripted(expired, says(VERSION), says(USER)) as (url, script):
        argocd(url, lambda: next(tokens)).check()
    assert [h["authorization"][-9:] for _, _, h, _ in script.asked] == [
        "old-token", "new-token", "new-token",
    ]  # fmt: skip


def test_a_refused_login_says_where_the_token_comes_from_and_does_not_say_it() -> None:
    said = {"error": "invalid session: a-token-of-the-project", "code": 16}
    with scripted(otherwise=says(said, 401)) as (url, _), pytest.raises(NotAllowed) as error:
        argocd(url).check()
    assert "refuses the login" in error.value.message
    assert "ARGOCD_AUTH_TOKEN" in error.value.hint
    assert "a-token-of-the-project" not in str(error.value)


def test_rights_that_do_not_suffice_are_named() -> None:
    said = {"message": "permission denied: applications, action/…/abort", "code": 7}
    with (
        scripted(says(TREE), otherwise=says(said, 403)) as (url, script),
        pytest.raises(NotAllowed) as error,
    ):
        argocd(url).act("churn", Operation.ABORT)
    assert "let you abort the rollout of churn: permission denied" in error.value.message
    assert "action/argoproj.io/Rollout/*" in error.value.hint
    method, path, _, body = script.asked[-1]
    assert (method, path) == ("POST", "/api/v1/applications/churn-prod/resource/actions/v2")
    # The fields of applicationResourceActionRunRequestV2; what is not in the body is not read.
    assert json.loads(body) == {
        "name": "churn-prod", "project": "models-prod", "namespace": "models",
        "resourceName": "churn", "group": "argoproj.io", "version": "v1alpha1",
        "kind": "Rollout", "action": "abort",
    }  # fmt: skip


def test_a_question_is_repeated_and_an_action_is_not() -> None:
    away = says({"message": "upstream"}, 503)
    with scripted(away, says(VERSION), says(USER)) as (url, script):
        argocd(url).check()
        assert len(script.asked) == 3
    for trouble in (away, hang_up):
        with (
            scripted(says(TREE), otherwise=trouble) as (url, script),
            pytest.raises(BackendUnavailable, match="does not answer"),
        ):
            argocd(url).act("churn", Operation.ABORT)
        assert len(script.asked) == 2


@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        (
            says("", 302, location="https://sso.example.com/auth?state=secret-state"),
            "sends on to https://sso.example.com/auth: could not ask for its version",
            "the server's own address",
        ),
        (
            says("<html>Log in</html>", kind="text/html"),
            "cannot be read",
            "not of a login page",
        ),
        (says({"message": "rpc error: broken"}, 500), "rpc error: broken", ""),
    ],
)
def test_what_is_no_answer_of_argo_cd_is_told_as_such(
    answer: Any, said: str, hint: str
) -> None:
    with scripted(otherwise=answer) as (url, _), pytest.raises(BackendError) as error:
        argocd(url).check()
    assert said in error.value.message
    assert hint in error.value.hint
    assert "secret-state" not in str(error.value)


def test_a_certificate_of_a_private_authority_is_trusted_where_it_is_named(
    tmp_path: Path,
) -> None:
    authority = certificates(tmp_path)
    both = says({**VERSION, **USER})
    with scripted(otherwise=both, tls=authority.context("127.0.0.1")) as (url, _):
        with pytest.raises(BackendError, match="is not trusted") as error:
            argocd(url).check()
        assert "argocd_ca below [environments.prod]" in error.value.hint
        told = opened(url, tmp_path, variables={}, argocd_ca=authority.ca.name).check()
    assert told.endswith("as role, project models-prod")
    with pytest.raises(BackendError, match=r"nowhere\.pem .* does not exist"):
        opened(url, tmp_path, variables={}, argocd_ca="nowhere.pem").check()
