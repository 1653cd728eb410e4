"""The local forge beside ordinary git: what people do by hand is seen, nothing is lost."""

from __future__ import annotations

import multiprocessing
import subprocess
from typing import TYPE_CHECKING

import pytest

from mlops_nb.adapters.git import LocalForge
from mlops_nb.core.change import ChangeSet, PullRequestState
from mlops_nb.errors import BackendError, Conflict, UserError

if TYPE_CHECKING:
    from pathlib import Path

BRANCH = "mlops-nb/prod/churn"


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=Bob", "-c", "user.email=bob@example.com", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    LocalForge.create(tmp_path / "gitops.git")
    return tmp_path / "gitops.git"


@pytest.fixture
def forge(repository: Path) -> LocalForge:
    return LocalForge(repository, author="Ann <ann@example.com>")


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "--quiet", f"file://{repository}", "clone")
    return tmp_path / "clone"


def change(text: str, branch: str = BRANCH, path: str = "models/churn/a") -> ChangeSet:
    return ChangeSet(
        branch=branch,
        title=f"Deploy {text.strip()}",
        body="body",
        trailers=(("Mlops-Action", "deploy"),),
        files={path: text.encode()},
    )


def test_the_command_that_shows_a_pull_request_can_be_typed_whatever_the_folder(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "Anna's Übung 2"
    LocalForge.create(folder / "gitops.git")
    forge = LocalForge(folder / "gitops.git", author="Ann <ann@example.com>")
    number = forge.propose(change("one\n")).number
    for look in (forge.pull_request, forge.merge):
        pull = look(number)
        shown = subprocess.run(
            ["sh", "-c", pull.url], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert "+one" in shown.stdout, shown.stderr


def test_a_clone_sees_ordinary_branches_and_merges(
    forge: LocalForge, repository: Path, tmp_path: Path
) -> None:
    forge.propose(change("1\n"))
    git(tmp_path, "clone", "--quiet", f"file://{repository}", "early")
    branches = git(tmp_path / "early", "branch", "--remotes", "--format=%(refname:short)")
    assert {"origin/main", f"origin/{BRANCH}"} <= set(branches.splitlines())
    assert len(branches.splitlines()) == 3
    forge.merge(1)
    git(tmp_path, "clone", "--quiet", f"file://{repository}", "late")
    assert (tmp_path / "late/models/churn/a").read_text() == "1\n"
    assert (tmp_path / "late/README.md").exists()
    log = git(
        tmp_path / "late", "log", "--format=%s|%an|%(trailers:key=Mlops-Action,valueonly)"
    )
    assert log.splitlines()[0] == "Merge pull request #1: Deploy 1|Ann|"
    assert "Deploy 1|Ann|deploy" in log
    assert len(git(tmp_path / "late", "log", "-1", "--format=%P").split()) == 2
    assert git(repository, "branch", "--format=%(refname:short)") == "main"


def test_creating_again_keeps_what_is_there(forge: LocalForge, repository: Path) -> None:
    forge.propose(change("1\n"))
    forge.merge(1)
    assert LocalForge.create(repository) is False
    assert forge.read("models") == {"models/churn/a": b"1\n"}


def test_a_creation_that_was_interrupted_is_finished(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "half.git")
    assert LocalForge.create(tmp_path / "half.git") is True
    assert "README.md" in LocalForge(tmp_path / "half.git").read("")


def test_something_else_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not a Git repository"):
        LocalForge.create(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "notes.txt"]


def test_a_branch_that_is_not_there_is_named(repository: Path) -> None:
    with pytest.raises(UserError, match="has no branch 'master'"):
        LocalForge(repository, base="master").read("")


@pytest.mark.parametrize("options", [("--no-ff",), ("--ff-only",)])
def test_a_merge_made_by_hand_is_seen(
    forge: LocalForge, clone: Path, options: tuple[str, ...]
) -> None:
    forge.propose(change("1\n"))
    git(clone, "pull", "--quiet")
    git(clone, "merge", *options, f"origin/{BRANCH}")
    git(clone, "push", "--quiet", "origin", "main")
    pull = forge.pull_request(1)
    assert pull.state is PullRequestState.MERGED
    assert pull.merge_commit == git(clone, "rev-parse", "HEAD")
    assert forge.find(BRANCH) is None
    [commit] = forge.log("models/**")
    assert commit.author == "Ann <ann@example.com>"
    assert commit.trailers == {"Mlops-Action": "deploy"}
    assert dict(commit.files) == {"models/churn/a": (None, b"1\n")}
    merged_by = "Bob <bob@example.com>" if options == ("--no-ff",) else "Ann <ann@example.com>"
    assert commit.merged_by == merged_by
    assert forge.propose(change("2\n")).number == 2
    assert forge.merge(2).state is PullRequestState.MERGED


def test_the_right_merge_is_named_among_later_ones(forge: LocalForge, clone: Path) -> None:
    forge.propose(change("1\n"))
    (clone / "other").write_text("x")
    git(clone, "add", "other")
    git(clone, "commit", "--quiet", "-m", "something before")
    git(clone, "fetch", "--quiet")
    git(clone, "merge", "--no-ff", f"origin/{BRANCH}")
    merge = git(clone, "rev-parse", "HEAD")
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "something after")
    git(clone, "push", "--quiet", "origin", "main")
    assert forge.pull_request(1).merge_commit == merge


def test_a_squash_made_by_hand_is_seen(forge: LocalForge, clone: Path) -> None:
    forge.propose(change("1\n"))
    git(clone, "fetch", "--quiet")
    git(clone, "merge", "--squash", f"origin/{BRANCH}")
    git(clone, "commit", "--quiet", "-m", "Squashed (#1)")
    squashed = git(clone, "rev-parse", "HEAD")
    (clone / "models/churn/a").write_text("edited later\n")
    git(clone, "commit", "--quiet", "-am", "edit")
    git(clone, "push", "--quiet", "origin", "main", f":{BRANCH}")
    pull = forge.pull_request(1)
    assert (pull.state, pull.merge_commit) == (PullRequestState.MERGED, squashed)


def test_a_branch_deleted_by_hand_closes_the_pull_request(
    forge: LocalForge, clone: Path
) -> None:
    forge.propose(change("1\n"))
    git(clone, "push", "--quiet", "origin", f":{BRANCH}")
    assert forge.pull_request(1).state is PullRequestState.CLOSED
    with pytest.raises(Conflict, match="its branch mlops-nb/prod/churn was deleted"):
        forge.merge(1)
    again = forge.propose(change("1\n"))
    assert (again.number, again.is_new) == (2, True)


def test_a_commit_of_somebody_else_on_the_branch_is_kept(
    forge: LocalForge, clone: Path
) -> None:
    forge.propose(change("1\n"))
    git(clone, "fetch", "--quiet")
    git(clone, "checkout", "--quiet", "-b", "fix", f"origin/{BRANCH}")
    (clone / "models/churn/note").write_text("reviewed\n")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "-m", "Add a note")
    git(clone, "push", "--quiet", "origin", f"fix:{BRANCH}")
    assert forge.propose(change("1\n")).is_changed is False
    forge.propose(change("2\n"))
    forge.propose(change("3\n"))
    forge.merge(1)
    assert forge.read("models") == {
        "models/churn/a": b"3\n",
        "models/churn/note": b"reviewed\n",
    }
    [commit] = forge.log("models/churn/a")
    assert commit.trailers == {"Mlops-Action": "deploy"}


def test_other_peoples_commits_that_conflict_are_not_overwritten(
    forge: LocalForge, clone: Path
) -> None:
    forge.propose(change("1\n"))
    git(clone, "fetch", "--quiet")
    git(clone, "checkout", "--quiet", "-b", "fix", f"origin/{BRANCH}")
    (clone / "README.md").write_text("theirs\n")
    git(clone, "commit", "--quiet", "-am", "theirs")
    git(clone, "push", "--quiet", "origin", f"fix:{BRANCH}")
    forge.propose(change("base\n", branch="mlops-nb/prod/x", path="README.md"))
    forge.merge(2)
    with pytest.raises(Conflict, match=r"other people.*README\.md"):
        forge.propose(change("2\n"))
    assert git(clone, "ls-remote", "origin", f"refs/heads/{BRANCH}").split()[0] == git(
        clone, "rev-parse", "HEAD"
    )


def test_every_head_ever_proposed_stays_reachable(forge: LocalForge, repository: Path) -> None:
    heads = [forge.propose(change(f"{n}\n")).head for n in range(3)]
    forge.merge(1)
    git(repository, "gc", "--quiet", "--prune=now")
    for head in heads:
        assert git(repository, "cat-file", "-t", head) == "commit"
    assert forge.pull_request(1).state is PullRequestState.MERGED
    assert len(git(repository, "log", "--format=%s", "--first-parent",
                   "refs/mlops-nb/pulls/1").splitlines()) >= 4  # fmt: skip


def test_the_callers_git_environment_and_hooks_have_no_say(
    forge: LocalForge, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    hook = repository / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(
        "[core]\n\tautocrlf = true\n[log]\n\tshowSignature = true\n[user]\n\tname = X\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / "objects"))
    monkeypatch.setenv("GIT_NAMESPACE", "elsewhere")
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Mallory")
    monkeypatch.setenv("GIT_AUTHOR_DATE", "1970-01-01T00:00:00Z")
    forge.propose(change("1\r\n"))
    forge.merge(1)
    assert LocalForge.create(tmp_path / "second.git") is True
    assert forge.read("models") == {"models/churn/a": b"1\r\n"}
    [commit] = forge.log("models/*/a")
    assert commit.author == "Ann <ann@example.com>"
    assert commit.date.year > 2000
    assert not (other / "index").exists()


@pytest.mark.parametrize(
    ("author", "shown"),
    [
        ("ann", "ann <mlops_nb@localhost>"),
        ("", "mlops_nb <mlops_nb@localhost>"),
        ("Änn O'Hara <a@b.c>", "Änn O'Hara <a@b.c>"),
        ("a\nb <x> <y>", "mlops_nb <mlops_nb@localhost>"),
    ],
)
def test_any_name_signs(repository: Path, author: str, shown: str) -> None:
    forge = LocalForge(repository, author=author)
    forge.propose(change("1\n"))
    forge.merge(1)
    [commit] = forge.log("models/**")
    assert commit.author == shown


def test_a_clone_can_be_read_but_not_written(
    forge: LocalForge, repository: Path, tmp_path: Path
) -> None:
    forge.propose(change("1\n"))
    forge.merge(1)
    git(tmp_path, "clone", "--quiet", f"file://{repository}", "plain")
    plain = LocalForge(tmp_path / "plain")
    assert plain.read("models") == {"models/churn/a": b"1\n"}
    assert [c.title for c in plain.log("models/**")] == ["Merge pull request #1: Deploy 1"]
    with pytest.raises(UserError, match="not a bare repository"):
        plain.propose(change("2\n"))


def test_git_errors_name_the_operation(repository: Path, forge: LocalForge) -> None:
    forge.propose(change("1\n"))
    for pack in (repository / "objects").glob("??"):
        for loose in pack.iterdir():
            loose.chmod(0o644)
            loose.write_bytes(b"broken")
    with pytest.raises(BackendError, match=r"git [\w-]+ in .*gitops\.git failed: "):
        forge.merge(1)


def test_a_stale_lock_file_is_told_about(
    repository: Path, forge: LocalForge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_nb.adapters.git.forge.ATTEMPTS", 2)
    forge.propose(change("1\n"))
    (repository / "refs/heads/main.lock").touch()
    with pytest.raises(Conflict, match=r"main\.lock"):
        forge.merge(1)
    (repository / "refs/heads/main.lock").unlink()
    assert forge.merge(1).state is PullRequestState.MERGED


def test_a_large_repository_is_never_checked_out(
    repository: Path, forge: LocalForge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["commit refs/heads/main\ncommitter B <b@c> 1 +0000\ndata 3\nbig\n"]
    lines += [
        f"M 100644 inline models/m{n % 200}/f{n}\ndata 2\n{n % 10}\n\n" for n in range(20_000)
    ]
    fast = subprocess.run(
        ["git", "fast-import", "--quiet", "--force"],
        cwd=repository, input="".join(lines).encode(), check=False, capture_output=True,
    )  # fmt: skip
    assert fast.returncode == 0, fast.stderr
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    forge.propose(change("1\n"))
    forge.merge(1)
    assert len(forge.read("models/m7")) == 100
    assert forge.read("models/churn") == {"models/churn/a": b"1\n"}
    assert list(scratch.iterdir()) == []
    assert not (repository / "models").exists()
    assert int(git(repository, "rev-list", "--objects", "--count", "main~1..main")) < 12


def _work(path: Path, who: int, branch: str, rounds: int) -> None:
    forge = LocalForge(path, author=f"P{who} <p{who}@example.com>")
    for n in range(rounds):
        model = branch.rpartition("/")[2]
        while True:
            try:
                pull = forge.propose(
                    change(f"{who}.{n}\n", branch=branch, path=f"models/{model}/by{who}")
                )
                forge.merge(pull.number)
            except (Conflict, UserError):
                # Somebody else replaced or merged it first: look, and ask again if need be.
                pass
            if forge.read(f"models/{model}").get(f"models/{model}/by{who}") == (
                f"{who}.{n}\n".encode()
            ):
                break


@pytest.mark.parametrize("same", [False, True], ids=["own-models", "one-model"])
def test_people_who_deploy_at_once_lose_nothing(
    repository: Path, tmp_path: Path, same: bool
) -> None:
    people, rounds = 4, 2
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(
            target=_work,
            args=(
                repository,
                who,
                "mlops-nb/prod/m" if same else f"mlops-nb/prod/m{who}",
                rounds,
            ),
        )
        for who in range(people)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
    assert [worker.exitcode for worker in workers] == [0] * people
    forge = LocalForge(repository)
    model = "models/m" if same else "models/m{}"
    for who in range(people):
        folder = model.format(who)
        expected = f"{who}.{rounds - 1}\n".encode()
        assert forge.read(folder)[f"{folder}/by{who}"] == expected
    seen = {(p, after) for c in forge.log("models/**") for p, (_, after) in c.files.items()}
    wanted = {
        (f"{model.format(who)}/by{who}", f"{who}.{n}\n".encode())
        for who in range(people)
        for n in range(rounds)
    }
    assert wanted <= seen
    pulls = forge.pull_requests()
    assert [pull.number for pull in pulls] == list(range(len(pulls), 0, -1))
    assert {pull.state for pull in pulls} == {PullRequestState.MERGED}
    merges = [commit.sha for commit in forge.log("models/**")]
    assert sorted(merges) == sorted(pull.merge_commit for pull in pulls)
    assert git(repository, "fsck", "--strict", "--no-dangling") == ""
    assert (
        git(repository, "for-each-ref", "--format=%(refname)", "refs/heads")
        == "refs/heads/main"
    )
    assert list(repository.rglob("*.lock")) == []
