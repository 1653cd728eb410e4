"""Doubles of forges are held to what the forges publish, and to other people's clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from forge_doubles import TOKEN, Answer, GiteaDouble, GitHubDouble, GitLabDouble
from forge_doubles.description import description_file, read_description
from forge_doubles.server import Request

from mlops_nb.adapters.git import RemoteForge
from mlops_nb.core.change import ChangeSet, PullRequestState
from mlops_nb.core.gitops import Gitops
from mlops_nb.errors import Conflict, MlopsError

if TYPE_CHECKING:
    from pathlib import Path

    from forge_doubles import Double

    from mlops_nb.ports import Forge

BRANCH = "mlops-nb/prod/churn"


def remote(double: Double, folder: Path, **settings: Any) -> Forge:
    return RemoteForge.open(
        Gitops(
            repository=double.url, forge=double.kind, token="secret:DEPLOY_TOKEN", **settings
        ),
        folder=folder,
        cache=folder / "cache",
        author="Ann <ann@example.com>",
        environment={},
        secret={"DEPLOY_TOKEN": TOKEN}.__getitem__,
    )


def change(text: str) -> ChangeSet:
    return ChangeSet(
        branch=BRANCH,
        title=f"Deploy {text}",
        body="body",
        trailers=(("Mlops-Action", "deploy"),),
        files={"models/churn/a": text.encode()},
    )


def a_whole_life(forge: Forge, double: Double) -> None:
    """Do all that a client ever asks of a forge, refusals among it."""
    forge.propose(change("1"))
    forge.propose(change("2"))
    forge.find(BRANCH)
    forge.pull_requests()
    double.repository.blocked = "At least 1 approving review is required."
    with pytest.raises(MlopsError, match="refused to merge"):
        forge.merge(1)
    double.repository.blocked = ""
    double.repository.methods = {"squash"}
    forge.merge(1)
    double.repository.methods = {"merge", "rebase", "squash"}
    forge.propose(change("3"))
    double.repository.remove(BRANCH)
    with pytest.raises(Conflict):
        forge.merge(2)
    with pytest.raises(MlopsError, match="#9"):
        forge.merge(9)
    forge.check()


@pytest.mark.parametrize("name", ["api.github.com", "ghes-3.19"])
def test_what_we_and_the_double_say_is_what_github_describes(name: str, tmp_path: Path) -> None:
    if not description_file(f"{name}.json").is_file():
        pytest.skip(
            f"{description_file(f'{name}.json')} is missing: `.ci/setup test` gets it by npm"
        )
    with GitHubDouble(tmp_path) as double:
        settings = {"reviewers": ("bob", "acme/platform"), "draft": False}
        a_whole_life(remote(double, tmp_path, **settings), double)
    described = read_description(name)
    faults = [
        fault
        for request, answer in double.exchanges
        for fault in described.faults(request, answer, request.path.removeprefix(double.api))
    ]
    assert faults == []
    asked = Request("POST", "", {"perpage": "1"}, {"titel": "x", "base": 1}, "ann")
    wrong = set(described.faults(asked, Answer(201, {"number": 1}), "/repos/a/b/pulls"))
    assert len(wrong) > 10, "what is wrong is not seen"
    assert len(double.exchanges) > 20


def test_what_we_ask_of_githubs_graphql_fits_its_schema(tmp_path: Path) -> None:
    import graphql
    from graphql.execution.values import get_variable_values

    path = description_file("schema.graphql")
    if not path.is_file():
        pytest.skip(f"{path} is missing: `.ci/setup test` gets it by npm")
    with GitHubDouble(tmp_path) as double:
        double.repository.blocked = "a check is pending"
        double.repository.methods = {"squash"}
        remote(double, tmp_path, auto_merge=True).propose(change("1"))
    [asked] = [r.body for r, _ in double.exchanges if r.path.endswith("/graphql")]
    schema = graphql.build_schema(path.read_text(), assume_valid=True)
    document = graphql.parse(asked["query"])
    assert graphql.validate(schema, document) == []
    [mutation] = document.definitions
    assert isinstance(mutation, graphql.OperationDefinitionNode)
    told = get_variable_values(schema, mutation.variable_definitions, asked["variables"])
    assert isinstance(told, dict), told


def test_python_gitlab_works_with_the_double(tmp_path: Path) -> None:
    import gitlab

    with GitLabDouble(tmp_path) as double:
        ours = remote(double, tmp_path, reviewers=("bob",))
        ours.propose(change("1"))
        client = gitlab.Gitlab(double.address, private_token=TOKEN)
        client.auth()
        project = client.projects.get("acme/deploy")
        [found] = project.mergerequests.list(state="opened", source_branch=BRANCH)
        assert (found.title, found.author["username"]) == ("Deploy 1", "ann")
        assert set(found.labels) == {"mlops-nb", "env/prod", "model/churn"}
        assert [who["username"] for who in found.reviewers] == ["bob"]
        found.title = "Draft: Deploy 1"
        found.save()
        with pytest.raises(gitlab.exceptions.GitlabMRClosedError):
            found.merge()
        found.title = "Deploy 1"
        found.save()
        found.merge(merge_commit_message="By hand", should_remove_source_branch=True)
        assert project.mergerequests.get(1).state == "merged"
        pull = ours.pull_request(1)
        assert (pull.state, pull.merge_commit) == (
            PullRequestState.MERGED,
            found.merge_commit_sha,
        )
        ours.propose(change("2"))
        with pytest.raises(gitlab.exceptions.GitlabCreateError, match="already exists"):
            project.mergerequests.create(
                {"source_branch": BRANCH, "target_branch": "main", "title": "again"}
            )
        theirs = project.mergerequests.get(2)
        theirs.state_event = "close"
        theirs.save()
        assert ours.find(BRANCH) is None
        with pytest.raises(gitlab.exceptions.GitlabAuthenticationError):
            gitlab.Gitlab(double.address, private_token="wrong-token").auth()


def test_giteas_own_client_works_with_the_double(tmp_path: Path) -> None:
    with GiteaDouble(tmp_path) as double:
        ours = remote(double, tmp_path, reviewers=("bob",))
        ours.propose(change("0"))
        ours.merge(1)
        ours.propose(change("1"))
        asyncio.run(_with_giteas_client(double))
        assert ours.pull_request(2).state is PullRequestState.MERGED
        assert ours.read("models") == {"models/churn/a": b"1"}


async def _with_giteas_client(double: Double) -> None:
    import gitea_api_client as gitea

    told = gitea.Configuration(
        host=f"{double.address}/api/v1",
        api_key={"AuthorizationHeaderToken": TOKEN},
        api_key_prefix={"AuthorizationHeaderToken": "token"},
    )
    async with gitea.ApiClient(told) as client:
        # Its models say of every field that it may be missing.
        api: Any = gitea.RepositoryApi(client)
        [found] = await api.repo_list_pull_requests("acme", "deploy", state="open")
        assert found.title == "Deploy 1"
        assert found.head.ref == BRANCH
        assert {label.name for label in found.labels} == {"mlops-nb", "env/prod", "model/churn"}
        assert [who.login for who in found.requested_reviewers] == ["bob"]
        again = gitea.CreatePullRequestOption(head=BRANCH, base="main", title="again")
        with pytest.raises(gitea.exceptions.ConflictException):
            await api.repo_create_pull_request("acme", "deploy", body=again)
        edit = gitea.EditPullRequestOption(title="WIP: Deploy 1")
        await api.repo_edit_pull_request("acme", "deploy", 2, body=edit)
        how = gitea.MergePullRequestOption(do="merge", head_commit_id=found.head.sha)
        with pytest.raises(gitea.ApiException) as error:
            await api.repo_merge_pull_request("acme", "deploy", 2, body=how)
        assert error.value.status == 405
        edit = gitea.EditPullRequestOption(title="Deploy 1")
        await api.repo_edit_pull_request("acme", "deploy", 2, body=edit)
        await api.repo_merge_pull_request("acme", "deploy", 2, body=how)
        merged = await api.repo_get_pull_request("acme", "deploy", 2)
        assert merged.merged
        # What our client sent is what theirs would read.
        read_by_theirs = 0
        for request, _ in double.exchanges:
            what = "/".join(request.path.split("/")[6:])
            if kind := _GITEA_BODIES.get((request.method, what)):
                read = getattr(gitea, kind)(**request.body)
                # Servers of before 1.27 call two fields otherwise.
                older = {"MergeTitleField", "MergeMessageField"}
                assert set(request.body) - older <= set(read.to_dict()), request
                read_by_theirs += 1
        assert read_by_theirs > 5


_GITEA_BODIES = {
    ("POST", "pulls"): "CreatePullRequestOption",
    ("POST", "pulls/1/merge"): "MergePullRequestOption",
    ("POST", "pulls/1/requested_reviewers"): "PullReviewRequestOptions",
    ("POST", "labels"): "CreateLabelOption",
}
