"""What every forge promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from fake_forge import FakeForge
from forge_doubles import TOKEN, Double, GiteaDouble, GitHubDouble, GitLabDouble
from forge_doubles.ssh import SSHD, SshServer, ssh_server

from mlops_nb.adapters.git import LocalForge, RemoteForge
from mlops_nb.core.change import ChangeSet, PullRequestState
from mlops_nb.core.gitops import Gitops
from mlops_nb.errors import Conflict, NotAllowed, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlops_nb.ports import Forge


def change(branch: str = "mlops-nb/prod/churn", **files: bytes | None) -> ChangeSet:
    """Change files below models/, named without the folder: `churn_a` is models/churn/a."""
    return ChangeSet(
        branch=branch,
        title=f"Deploy {len(files)} files",
        body="# Evidence\n\nwith “quotes” and a | pipe\n",
        trailers=(
            ("Mlops-Action", "deploy"),
            ("Mlops-Dataset", "train sha256:1 s3://a/b"),
            ("Mlops-Dataset", "test sha256:2 s3://a/c"),
        ),
        files={f"models/{name.replace('_', '/')}": text for name, text in files.items()},
    )


class ForgeContract:
    opener = "Ann <ann@example.com>"
    merge_title = "Merge pull request #2: Deploy 2 files"

    def test_an_empty_folder_reads_as_nothing(self, forge: Forge) -> None:
        assert forge.read("models/churn") == {}

    def test_an_unknown_branch_has_no_pull_request(self, forge: Forge) -> None:
        assert forge.find("mlops-nb/prod/churn") is None

    def test_a_proposal_is_open_and_base_is_as_before(self, forge: Forge) -> None:
        pull = forge.propose(change(churn_a=b"1\n"))
        assert (pull.number, pull.state) == (1, PullRequestState.OPEN)
        assert (pull.is_new, pull.is_changed) == (True, True)
        assert pull.title == "Deploy 1 files"
        assert pull.body == "# Evidence\n\nwith “quotes” and a | pipe\n"
        assert pull.author == self.opener
        assert forge.read("models") == {}

    def test_a_proposal_is_found_by_branch_and_number(self, forge: Forge) -> None:
        pull = forge.propose(change(churn_a=b"1\n"))
        found = forge.find("mlops-nb/prod/churn")
        assert found is not None
        assert (found.number, found.head, found.body) == (pull.number, pull.head, pull.body)
        assert forge.pull_request(1).head == pull.head

    def test_the_same_change_twice_is_one_pull_request_and_one_commit(
        self, forge: Forge
    ) -> None:
        first = forge.propose(change(churn_a=b"1\n"))
        again = forge.propose(change(churn_a=b"1\n"))
        assert (again.number, again.head) == (first.number, first.head)
        assert (again.is_new, again.is_changed) == (False, False)

    def test_what_is_said_of_a_change_is_updated_but_not_by_who_repeats_it(
        self, forge: Forge
    ) -> None:
        said = change(churn_a=b"1\n")
        first = forge.propose(said)
        asker = ("Mlops-Requested-By", "Bob <bob@example.com>")
        again = forge.propose(replace(said, trailers=(*said.trailers, asker)))
        assert (again.head, again.is_changed) == (first.head, False)
        reason = ("Mlops-Reason", "p95 doubled")
        more = forge.propose(replace(said, trailers=(*said.trailers, reason)))
        assert (more.number, more.is_new, more.is_changed) == (1, False, True)
        forge.merge(1)
        [commit] = forge.log("models/**")
        assert commit.trailers["Mlops-Reason"] == "p95 doubled"

    def test_a_newer_change_updates_the_open_pull_request(self, forge: Forge) -> None:
        first = forge.propose(change(churn_a=b"1\n"))
        newer = forge.propose(change(churn_a=b"2\n", churn_b=b"new\n"))
        assert newer.number == first.number
        assert newer.head != first.head
        assert (newer.is_new, newer.is_changed) == (False, True)
        assert forge.pull_request(1).title == "Deploy 2 files"
        forge.merge(1)
        assert forge.read("models") == {"models/churn/a": b"2\n", "models/churn/b": b"new\n"}

    def test_a_change_of_nothing_is_refused(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n"))
        forge.merge(1)
        with pytest.raises(UserError, match="changes nothing"):
            forge.propose(change(churn_a=b"1\n"))

    def test_a_path_no_repository_holds_is_refused(self, forge: Forge) -> None:
        for path in ("../x", "/x", "a//b", ".git/config", "a/.GIT/b", "a\nb", ""):
            bad = ChangeSet(
                branch="mlops-nb/prod/churn", title="t", body="", files={path: b"x"}
            )
            with pytest.raises(UserError, match="cannot be a file"):
                forge.propose(bad)
        assert list(forge.pull_requests()) == []

    def test_a_merge_brings_the_files_onto_base_byte_by_byte(self, forge: Forge) -> None:
        odd = b"no newline, \x00 bytes, caf\xe9\r\n\r\nend"
        forge.propose(change(churn_a=odd))
        merged = forge.merge(1)
        assert merged.state is PullRequestState.MERGED
        assert merged.merge_commit
        assert forge.read("models/churn") == {"models/churn/a": odd}
        assert forge.find("mlops-nb/prod/churn") is None

    def test_merging_again_changes_nothing(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n"))
        first = forge.merge(1)
        again = forge.merge(1)
        assert (again.state, again.merge_commit) == (first.state, first.merge_commit)
        assert len(list(forge.log("models/**"))) == 1

    def test_none_deletes_a_file(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n", churn_b=b"2\n"))
        forge.merge(1)
        forge.propose(change(churn_a=None))
        forge.merge(2)
        assert forge.read("models") == {"models/churn/b": b"2\n"}

    def test_reading_a_folder_gives_that_folder_only(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n", churn2_a=b"2\n"))
        forge.merge(1)
        assert forge.read("models/churn") == {"models/churn/a": b"1\n"}
        assert forge.read("models/churn/") == {"models/churn/a": b"1\n"}

    def test_after_a_merge_the_branch_gets_another_pull_request(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n"))
        forge.merge(1)
        assert forge.propose(change(churn_a=b"2\n")).number == 2
        assert [pull.number for pull in forge.pull_requests()] == [2, 1]

    def test_two_branches_that_touch_other_files_both_merge(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n"))
        forge.propose(change("mlops-nb/prod/fraud", fraud_a=b"2\n"))
        forge.merge(2)
        forge.merge(1)
        assert forge.read("models") == {"models/churn/a": b"1\n", "models/fraud/a": b"2\n"}

    def test_two_branches_that_write_the_same_bytes_both_merge(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"same\n", churn_p=b"1\n"))
        forge.propose(change("mlops-nb/test/churn", churn_a=b"same\n", churn_t=b"2\n"))
        forge.merge(1)
        forge.merge(2)
        assert set(forge.read("models")) == {f"models/churn/{name}" for name in "apt"}

    def test_a_file_changed_on_base_since_is_a_conflict(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n"))
        forge.propose(change("mlops-nb/test/churn", churn_a=b"2\n"))
        forge.merge(1)
        with pytest.raises(Conflict, match="models/churn/a") as caught:
            forge.merge(2)
        assert "deploy again" in caught.value.hint
        assert forge.read("models") == {"models/churn/a": b"1\n"}

    def test_proposing_again_after_a_conflict_resolves_it(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n"))
        forge.propose(change("mlops-nb/test/churn", churn_a=b"2\n"))
        forge.merge(1)
        again = forge.propose(change("mlops-nb/test/churn", churn_a=b"2\n"))
        assert (again.number, again.is_changed) == (2, True)
        forge.merge(2)
        assert forge.read("models") == {"models/churn/a": b"2\n"}

    def test_an_unknown_number_is_not_found(self, forge: Forge) -> None:
        with pytest.raises(NotFound, match="#7"):
            forge.pull_request(7)
        with pytest.raises(NotFound, match="#7"):
            forge.merge(7)

    def test_the_log_tells_what_a_merge_changed(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n"))
        forge.merge(1)
        forge.propose(change(churn_a=b"2\n", churn_b=b"new\n"))
        merged = forge.merge(2)
        newest, oldest = forge.log("models/churn/a")
        assert newest.sha == merged.merge_commit
        assert newest.title == self.merge_title
        assert newest.author == "Ann <ann@example.com>"
        assert newest.trailers == {
            "Mlops-Action": "deploy",
            "Mlops-Dataset": "train sha256:1 s3://a/b\ntest sha256:2 s3://a/c",
        }
        assert dict(newest.files) == {
            "models/churn/a": (b"1\n", b"2\n"),
            "models/churn/b": (None, b"new\n"),
        }
        assert dict(oldest.files) == {"models/churn/a": (None, b"1\n")}

    def test_a_star_in_the_log_stays_within_a_folder(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n", churn_deep_a=b"2\n"))
        forge.merge(1)
        assert len(list(forge.log("models/*/a"))) == 1
        assert len(list(forge.log("models/*/deep/*"))) == 1
        assert list(forge.log("models/*")) == []
        assert len(list(forge.log("models/**"))) == 1

    def test_the_log_begins_where_asked(self, forge: Forge) -> None:
        forge.propose(change(churn_a=b"1\n"))
        forge.merge(1)
        hour = timedelta(hours=1)
        assert list(forge.log("models/**", since=datetime.now(UTC) + hour)) == []
        assert len(list(forge.log("models/**", since=datetime.now(UTC) - hour))) == 1


class TestFakeForge(ForgeContract):
    @pytest.fixture
    def forge(self) -> Forge:
        return FakeForge()


class TestLocalForge(ForgeContract):
    @pytest.fixture
    def forge(self, tmp_path: Path) -> Forge:
        LocalForge.create(tmp_path / "gitops.git")
        return LocalForge(tmp_path / "gitops.git", author="Ann <ann@example.com>")


class HostedForgeContract(ForgeContract):
    double: type[Double]
    opener = "ann"

    @pytest.fixture
    def forge(self, tmp_path: Path) -> Iterator[Forge]:
        with self.double(tmp_path) as double:
            yield remote(double.url, tmp_path, forge=double.kind)


class TestGitHub(HostedForgeContract):
    double = GitHubDouble


class TestGitLab(HostedForgeContract):
    double = GitLabDouble
    merge_title = "Merge request !2: Deploy 2 files"


class TestGitea(HostedForgeContract):
    double = GiteaDouble


class TestPlainGitOverHttp(ForgeContract):
    @pytest.fixture
    def forge(self, tmp_path: Path) -> Iterator[Forge]:
        with GitHubDouble(tmp_path) as double:
            yield remote(double.url, tmp_path, forge="git")


class TestPlainGitInAFolder(ForgeContract):
    @pytest.fixture
    def forge(self, tmp_path: Path) -> Forge:
        LocalForge.create(tmp_path / "server.git")
        return remote(f"file://{tmp_path}/server.git", tmp_path)


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.mark.skipif(SSHD is None, reason="there is no sshd: `.ci/setup test` installs one")
class TestPlainGitOverSsh(ForgeContract):
    @pytest.fixture
    def forge(self, tmp_path: Path, ssh: SshServer) -> Forge:
        LocalForge.create(tmp_path / "server.git")
        url = f"{ssh.address}{tmp_path}/server.git"
        return remote(url, tmp_path, GIT_SSH_COMMAND=ssh.command)

    def test_a_key_the_server_does_not_know_is_told(
        self, tmp_path: Path, ssh: SshServer
    ) -> None:
        url = f"{ssh.address}{tmp_path}/server.git"
        forge = remote(url, tmp_path, GIT_SSH_COMMAND=ssh.stranger)
        with pytest.raises(NotAllowed, match="knows none of this machine's SSH keys"):
            forge.read("")


def remote(url: str, folder: Path, forge: str = "", **environment: str) -> Forge:
    """Open a remote forge as a project does, with the token in a variable of its own."""
    return RemoteForge.open(
        Gitops(repository=url, forge=forge, token="secret:DEPLOY_TOKEN"),
        folder=folder,
        cache=folder / "cache",
        author="Ann <ann@example.com>",
        environment=environment,
        secret={"DEPLOY_TOKEN": TOKEN}.__getitem__,
    )
