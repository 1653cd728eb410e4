"""Remote forges when people, servers and networks do what they like."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from forge_doubles import TOKEN, Answer, Double, GiteaDouble, GitHubDouble, GitLabDouble
from scripted_server import certificates

from mlops_nb.adapters.git import LocalForge, RemoteForge
from mlops_nb.core.change import ChangeSet, PullRequestState
from mlops_nb.core.gitops import Gitops
from mlops_nb.errors import (
    BackendError,
    BackendUnavailable,
    Conflict,
    MlopsError,
    NotAllowed,
    NotFound,
    UserError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from forge_doubles.server import Request

    from mlops_nb.ports import Forge

BRANCH = "mlops-nb/prod/churn"
DOUBLES = [GitHubDouble, GitLabDouble, GiteaDouble]


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_nb.adapters.git.mirror.FRESH", 0.0)


@pytest.fixture
def github(tmp_path: Path) -> Iterator[Double]:
    with GitHubDouble(tmp_path) as double:
        yield double


@pytest.fixture(params=DOUBLES)
def double(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Double]:
    with request.param(tmp_path) as made:
        yield made


def remote(double: Double, folder: Path, token: str = TOKEN, **settings: Any) -> Forge:
    settings = {"repository": double.url, "forge": double.kind, **settings}
    return RemoteForge.open(
        Gitops(token="secret:DEPLOY_TOKEN", **settings),
        folder=folder,
        cache=folder / "cache",
        author="Ann <ann@example.com>",
        environment=dict(os.environ),
        secret={"DEPLOY_TOKEN": token}.__getitem__,
    )


def change(text: str, path: str = "models/churn/a") -> ChangeSet:
    return ChangeSet(
        branch=BRANCH,
        title=f"Deploy {text}",
        body="body",
        trailers=(("Mlops-Action", "deploy"),),
        files={path: text.encode()},
    )


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=Bob", "-c", "user.email=bob@example.com", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def clone(double: Double, folder: Path) -> Path:
    git(folder, "clone", "--quiet", str(double.repository.path), "clone")
    return folder / "clone"


def add(clone: Path, path: str, text: str, branch: str) -> None:
    """Commit a file on a branch and push it, as people do."""
    git(clone, "fetch", "--quiet")
    git(clone, "checkout", "--quiet", "-B", "work", f"origin/{branch}")
    (clone / path).parent.mkdir(parents=True, exist_ok=True)
    (clone / path).write_text(text)
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "-m", f"Add {path}")
    git(clone, "push", "--quiet", "origin", f"work:{branch}")


# What people do beside us.


def test_a_branch_that_somebody_deleted_closes_its_pull_request(
    double: Double, tmp_path: Path
) -> None:
    forge = remote(double, tmp_path)
    forge.propose(change("1"))
    double.repository.remove(BRANCH)
    with pytest.raises(Conflict, match=r"#1 is closed: its branch .* was deleted"):
        forge.merge(1)
    again = forge.propose(change("1"))
    assert (again.number, again.is_new) == (2, True)
    assert again.notes == ("pull request #1 was closed without a merge: Deploy 1",)


def test_one_closed_by_hand_is_explained_and_another_opened(
    double: Double, tmp_path: Path
) -> None:
    forge = remote(double, tmp_path)
    first = forge.propose(change("1"))
    double.repository.pulls[1].state = "closed"
    with pytest.raises(Conflict, match="#1 was closed without a merge"):
        forge.merge(1)
    again = forge.propose(change("2"))
    assert (again.number, again.notes) == (
        2,
        ("pull request #1 was closed without a merge: Deploy 1",),
    )
    # Our own commit was not taken for somebody else's.
    assert double.repository.git("rev-list", "--count", f"main..{BRANCH}") == "1"
    assert again.head != first.head


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
def test_one_merged_at_the_forge_is_taken_as_merged(
    github: Double, tmp_path: Path, method: str
) -> None:
    forge = remote(github, tmp_path)
    pull = forge.propose(change("1"))
    message = github.repository.git("log", "-1", "--format=%B", pull.head)
    title, _, text = message.partition("\n\n")
    github.repository.merge(github.repository.pulls[1], method, title, text)
    merged = forge.merge(1)
    assert (merged.state, merged.is_changed) == (PullRequestState.MERGED, False)
    [commit] = forge.log("models/**")
    assert commit.sha == merged.merge_commit
    assert commit.trailers == {"Mlops-Action": "deploy"}
    # Of one that is not a merge commit, GitHub says no more than that it was GitHub.
    who = "Bob <bob@example.com>" if method == "merge" else "Forge <noreply@forge.test>"
    assert commit.merged_by == who
    with pytest.raises(UserError, match="changes nothing on main"):
        forge.propose(change("1"))


@pytest.mark.parametrize("methods", [{"rebase", "squash"}, {"squash"}])
def test_trailers_survive_where_no_merge_commit_is_allowed(
    double: Double, tmp_path: Path, methods: set[str]
) -> None:
    if isinstance(double, GitLabDouble) and "rebase" in methods:
        pytest.skip("GitLab rebases before a merge, not by one")
    double.repository.methods = methods
    forge = remote(double, tmp_path)
    forge.propose(change("1"))
    merged = forge.merge(1)
    [commit] = forge.log("models/**")
    assert (commit.sha, commit.trailers) == (
        merged.merge_commit,
        {"Mlops-Action": "deploy"},
    )


def test_a_commit_of_a_reviewer_stays_however_often_we_update(
    double: Double, tmp_path: Path
) -> None:
    forge = remote(double, tmp_path)
    forge.propose(change("1"))
    add(clone(double, tmp_path), "models/churn/note", "reviewed", BRANCH)
    assert forge.propose(change("1")).is_changed is False
    forge.propose(change("2"))
    forge.propose(change("3"))
    forge.merge(1)
    assert forge.read("models") == {"models/churn/a": b"3", "models/churn/note": b"reviewed"}


def test_what_people_made_of_our_commit_is_not_overwritten(
    github: Double, tmp_path: Path
) -> None:
    forge = remote(github, tmp_path)
    forge.propose(change("1"))
    work = clone(github, tmp_path)
    git(work, "checkout", "--quiet", BRANCH)
    (work / "models/churn/b").write_text("theirs")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "--amend", "--no-edit")
    git(work, "push", "--quiet", "--force", "origin", BRANCH)
    forge.propose(change("2"))
    assert github.repository.git("show", f"{BRANCH}:models/churn/b") == "theirs"


def test_a_base_that_was_rewritten_is_followed(double: Double, tmp_path: Path) -> None:
    forge = remote(double, tmp_path)
    work = clone(double, tmp_path)
    add(work, "models/churn/old", "1", "main")
    forge.propose(change("1"))
    git(work, "checkout", "--quiet", "-B", "work", "work~1")
    (work / "new").write_text("2")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "Another history")
    git(work, "push", "--quiet", "--force", "origin", "work:main")
    assert forge.read("") == {"new": b"2"}
    again = forge.propose(change("2"))
    assert again.number == 1
    assert double.repository.git("rev-list", "--count", f"main..{BRANCH}") == "1"
    forge.merge(1)
    assert forge.read("models") == {"models/churn/a": b"2"}


def test_contents_come_when_they_are_read_and_no_sooner(double: Double, tmp_path: Path) -> None:
    work = clone(double, tmp_path)
    for n in range(4):
        for name in range(30):
            (work / "models" / str(name)).mkdir(parents=True, exist_ok=True)
            (work / "models" / str(name) / "lock").write_text(f"{name} {n}\n" * 50)
        git(work, "add", ".")
        git(work, "commit", "--quiet", "-m", f"Round {n}")
    git(work, "push", "--quiet", "origin", "HEAD:main")
    # Servers of forges know by bitmaps exactly what a client has whose commits they know.
    double.repository.git("repack", "-a", "-d", "-q", "--write-bitmap-index")
    forge = remote(double, tmp_path)
    assert len(forge.read("models/7")) == 1
    [mirror] = (tmp_path / "cache").iterdir()
    blobs = "--batch-all-objects", "--batch-check=%(objecttype)"
    assert git(mirror, "cat-file", *blobs).split().count("blob") == 1
    assert forge.read("models")["models/29/lock"] == b"29 3\n" * 50
    changes = [commit.files["models/3/lock"] for commit in forge.log("models/3/*")]
    assert changes[-1] == (None, b"3 0\n" * 50)
    assert changes[0] == (b"3 2\n" * 50, b"3 3\n" * 50)


def test_two_who_propose_at_once_get_one_pull_request(double: Double, tmp_path: Path) -> None:
    found: list[Any] = []

    def propose(name: str) -> None:
        (tmp_path / name).mkdir()
        forge = remote(double, tmp_path / name)
        try:
            found.append(forge.propose(change(name)))
        except MlopsError as error:
            found.append(error)

    people = [threading.Thread(target=propose, args=(name,)) for name in ("one", "two")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert [pull.number for pull in found] == [1, 1], found
    assert len(double.repository.pulls) == 1
    assert double.repository.pulls[1].head == double.repository.tip(BRANCH)


# What the settings ask for.


def test_labels_reviewers_and_drafts_are_as_the_settings_say(
    double: Double, tmp_path: Path
) -> None:
    forge = remote(
        double, tmp_path, labels=("ml", "risk/{model}"), reviewers=("bob",), draft=True
    )
    assert forge.propose(change("1")).title == "Deploy 1"
    assert forge.propose(change("2")).title == "Deploy 2"
    there = double.repository.pulls[1]
    assert (there.draft, there.labels) == (True, ["ml", "risk/churn"])
    assert set(there.reviewers) == {"bob"}
    with pytest.raises(NotAllowed, match="refused to merge") as error:
        forge.merge(1)
    assert "see what is missing: http" in error.value.hint


def test_what_could_not_be_added_is_told_and_the_pull_request_stands(
    double: Double, tmp_path: Path
) -> None:
    pull = remote(double, tmp_path, reviewers=("mallory",)).propose(change("1"))
    assert (pull.number, pull.is_new) == (1, True)
    [note] = pull.notes
    assert "mallory" in note


def test_the_forge_merges_by_itself_once_checks_have_passed(
    double: Double, tmp_path: Path
) -> None:
    double.repository.blocked = "a check is pending"
    forge = remote(double, tmp_path, auto_merge=True)
    pull = forge.propose(change("1"))
    assert (pull.state, pull.notes) == (PullRequestState.OPEN, ())
    double.repository.blocked = ""
    assert forge.pull_request(1).state is PullRequestState.MERGED


def test_github_says_why_it_does_not_merge_by_itself(github: Double, tmp_path: Path) -> None:
    [note] = remote(github, tmp_path, auto_merge=True).propose(change("1")).notes
    assert "clean status" in note


# What servers refuse.


def failing(status: int, body: Any, headers: dict[str, str] | None = None) -> Any:
    return lambda _: Answer(status, body, headers or {})


def test_an_hourly_limit_says_when_to_come_again(github: Double, tmp_path: Path) -> None:
    used_up = {
        "X-RateLimit-Limit": "5000",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(time.time()) + 1380),
    }
    github.fault = failing(403, {"message": "API rate limit exceeded"}, used_up)
    with pytest.raises(BackendUnavailable, match="its limit of 5000 is used up") as error:
        remote(github, tmp_path).propose(change("1"))
    assert "(in 23 min)" in error.value.hint
    assert not github.repository.tip(BRANCH)


def test_a_short_limit_is_waited_for(double: Double, tmp_path: Path) -> None:
    seen: list[Request] = []

    def once(request: Request) -> Answer | None:
        seen.append(request)
        slow = {"message": "You have exceeded a secondary rate limit"}
        return Answer(429, slow, {"Retry-After": "1"}) if len(seen) == 1 else None

    double.fault = once
    started = time.monotonic()
    assert remote(double, tmp_path).propose(change("1")).number == 1
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        (
            Answer(
                403,
                {"message": "Resource protected by organization SAML enforcement."},
                {"X-GitHub-SSO": "required; url=https://github.test/orgs/acme/sso?a=1"},
            ),
            "demands single sign-on for the token from secret DEPLOY_TOKEN",
            "https://github.test/orgs/acme/sso?a=1",
        ),
        (
            Answer(
                401,
                {"message": "Must specify two-factor authentication OTP code."},
                {"X-GitHub-OTP": "required; app"},
            ),
            "demands two-factor authentication",
            "access token",
        ),
        (
            Answer(401, {"message": "Bad credentials"}),
            "refused the token from secret DEPLOY_TOKEN: Bad credentials",
            "expired",
        ),
        (
            Answer(403, {"message": "Resource not accessible by personal access token"}),
            "does not let the token from secret DEPLOY_TOKEN look for pull requests",
            "Contents and Pull requests, read and write",
        ),
        (Answer(500, {"message": "Server Error"}), "failed to look", "repeat it later"),
        (Answer(404, {"message": "Not Found"}), "knows nothing at", "repository right"),
    ],
)
def test_a_refusal_says_what_to_do_and_nothing_is_written(
    github: Double, tmp_path: Path, answer: Answer, message: str, hint: str
) -> None:
    github.fault = lambda _: answer
    with pytest.raises(MlopsError, match=message) as error:
        remote(github, tmp_path).propose(change("1"))
    assert hint in error.value.hint
    assert not github.repository.tip(BRANCH)


def test_an_expired_token_is_told_before_anything_is_written(
    double: Double, tmp_path: Path
) -> None:
    with pytest.raises(NotAllowed, match="refused the credentials") as error:
        remote(double, tmp_path, token="expired-token-1").read("")
    assert "expired" in error.value.hint
    assert "expired-token-1" not in str(error.value)


def test_a_token_that_may_only_read_is_told_so(double: Double, tmp_path: Path) -> None:
    double.may_push = False
    forge = remote(double, tmp_path)
    assert forge.read("") == {}
    with pytest.raises(NotAllowed, match="does not let the login from secret DEPLOY_TOKEN"):
        forge.propose(change("1"))
    with pytest.raises(NotAllowed, match="right to push: "):
        forge.check()


def test_a_protected_base_is_merged_by_those_who_may(double: Double, tmp_path: Path) -> None:
    double.repository.blocked = "At least 1 approving review is required by reviewers."
    forge = remote(double, tmp_path)
    forge.propose(change("1"))
    with pytest.raises(NotAllowed, match="refused to merge") as error:
        forge.merge(1)
    assert "see what is missing" in error.value.hint
    assert forge.pull_request(1).state is PullRequestState.OPEN


def test_a_page_of_a_proxy_is_not_taken_for_an_answer(github: Double, tmp_path: Path) -> None:
    html = {"Content-Type": "text/html"}
    github.fault = lambda _: Answer(200, b"<html>Log in</html>", html)
    with pytest.raises(BackendError, match="answers with text/html instead of JSON") as error:
        remote(github, tmp_path).find(BRANCH)
    assert "[gitops] api" in error.value.hint


def test_an_interruption_between_branch_and_pull_request_is_mended(
    double: Double, tmp_path: Path
) -> None:
    forge = remote(double, tmp_path)
    double.fault = lambda asked: Answer(500, {}) if asked.method == "POST" else None
    with pytest.raises(BackendUnavailable):
        forge.propose(change("1"))
    head = double.repository.tip(BRANCH)
    assert head
    double.fault = None
    pull = forge.propose(change("1"))
    assert (pull.number, pull.head, pull.is_new) == (1, head, True)
    assert forge.propose(change("1")).is_changed is False


def test_a_mirror_may_be_deleted_at_any_time(github: Double, tmp_path: Path) -> None:
    forge = remote(github, tmp_path)
    forge.propose(change("1"))
    shutil.rmtree(tmp_path / "cache")
    forge = remote(github, tmp_path)
    assert forge.propose(change("1")).is_changed is False
    forge.merge(1)
    newest = next(iter(forge.log("**")))
    assert newest.title == "Merge pull request #1: Deploy 1"


# Where the token goes.


def test_the_token_is_in_no_file_no_argument_and_no_error(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))
    monkeypatch.setenv("GIT_TRACE_CURL", str(trace))
    monkeypatch.setenv("GIT_TRACE_REDACT", "0")
    forge = remote(double, tmp_path)
    forge.propose(change("1"))
    forge.merge(1)
    forge.check()
    pair = base64.b64encode(f":{TOKEN}".encode()).decode().rstrip("=")[2:]
    assert "git fetch" in trace.read_text()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20
    for path in written:
        content = path.read_bytes().decode(errors="replace")
        assert TOKEN not in content, path
        assert pair not in content, path
    double.fault = failing(418, {"message": f"no coffee for {TOKEN}"})
    with pytest.raises(MlopsError, match=r"no coffee for \[redacted\]"):
        forge.find(BRANCH)


def test_where_tokens_are_looked_for(github: Double, tmp_path: Path) -> None:
    store = tmp_path / "credentials"
    host = github.address.removeprefix("http://")
    store.write_text(f"http://ann:{TOKEN}@{host}\n")
    config = tmp_path / "gitconfig"
    config.write_text(f"[credential]\n\thelper = store --file {store}\n")

    def found(**variables: str) -> Forge:
        return RemoteForge.open(
            Gitops(repository=github.url, forge="github"),
            folder=tmp_path,
            cache=tmp_path / "cache",
            author="",
            environment={
                "PATH": os.environ["PATH"],
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                **variables,
            },
            secret=str,
        )

    assert found(GITHUB_TOKEN=TOKEN).find(BRANCH) is None
    assert found(GIT_CONFIG_GLOBAL=str(config)).find(BRANCH) is None
    with pytest.raises(NotAllowed, match="looked in GITHUB_TOKEN, GH_TOKEN, git cred") as error:
        found()
    assert "GITHUB_TOKEN" in error.value.hint


def test_a_companys_own_authority_is_trusted_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_nb.adapters.git.mirror._ATTEMPTS", 1)
    authority = certificates(tmp_path)
    with GitHubDouble(tmp_path, tls=authority.context("127.0.0.1")) as double:
        trusting = remote(double, tmp_path, ca=authority.ca.name)
        assert trusting.propose(change("1")).number == 1
        assert "branches may be pushed, pull requests may be opened" in trusting.check()
        doubting = remote(double, tmp_path)
        for attempt in (lambda: doubting.read(""), lambda: doubting.find(BRANCH)):
            with pytest.raises(BackendError, match=r"certificate of .* not trusted") as error:
                attempt()
            assert "[gitops] ca" in error.value.hint


# Plain Git.


def test_a_server_that_prints_where_pull_requests_are_opened_is_heard(tmp_path: Path) -> None:
    server = tmp_path / "server.git"
    LocalForge.create(server)
    hook = server / "hooks/post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'Create a pull request:'\necho '  https://git.test/new'\n")
    hook.chmod(0o755)
    forge = plain(f"file://{server}", tmp_path)
    assert forge.propose(change("1")).url == "https://git.test/new"
    assert forge.pull_request(1).url.startswith(f"git clone file://{server}, then: git log -p")


def test_a_hook_that_protects_base_is_told_in_its_own_words(tmp_path: Path) -> None:
    server = tmp_path / "server.git"
    LocalForge.create(server)
    forge = plain(f"file://{server}", tmp_path)
    forge.propose(change("1"))
    hook = server / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'main takes reviewed changes only' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(NotAllowed, match="main takes reviewed changes only") as error:
        forge.merge(1)
    assert "protected" in error.value.hint
    hook.unlink()
    assert forge.merge(1).state is PullRequestState.MERGED


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("file://{folder}/none.git", NotFound, "there is no repository at"),
        ("http://127.0.0.1:1/acme/deploy.git", BackendUnavailable, "does not answer"),
        ("https://nowhere.invalid/a/b.git", BackendUnavailable, "no address is known"),
    ],
)
def test_a_way_that_leads_nowhere_says_where_it_ends(
    tmp_path: Path,
    url: str,
    kind: type[MlopsError],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlops_nb.adapters.git.mirror._ATTEMPTS", 1)
    with pytest.raises(kind, match=message):
        plain(url.format(folder=tmp_path), tmp_path).check()


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    LocalForge.create(tmp_path / "server.git")
    forge = plain(f"file://{tmp_path}/server.git", tmp_path, branch="trunk")
    with pytest.raises(UserError, match="has no branch 'trunk'"):
        forge.read("")


def plain(url: str, folder: Path, **settings: Any) -> Forge:
    return RemoteForge.open(
        Gitops(repository=url, **settings),
        folder=folder,
        cache=folder / "cache",
        author="Ann <ann@example.com>",
        environment=dict(os.environ),
        secret=str,
    )


# Signatures.


def test_commits_are_signed_where_git_is_set_up_to_sign(github: Double, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    git(tmp_path, "init", "--quiet")
    for name, value in (
        ("commit.gpgsign", "true"),
        ("gpg.format", "ssh"),
        ("user.signingkey", f"{key}.pub"),
    ):
        git(tmp_path, "config", name, value)
    signers = tmp_path / "signers"
    signers.write_text(f"ann@example.com {key.with_suffix('.pub').read_text()}")
    head = remote(github, tmp_path).propose(change("1")).head
    told = git(
        github.repository.path,
        *("-c", f"gpg.ssh.allowedSignersFile={signers}"),
        *("log", "-1", "--format=%G? %GS", head),
    )
    assert told == "G ann@example.com"
    key.unlink()
    with pytest.raises(BackendError, match="the commit could not be signed") as error:
        remote(github, tmp_path).propose(change("2"))
    assert "commit.gpgsign" in error.value.hint
