"""From any part of a model's way to all the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from fake_forge import FakeForge

from mlops_nb.core.change import LockFile, PullRequest, PullRequestState
from mlops_nb.core.data import Dataset
from mlops_nb.core.delivery import Deployed
from mlops_nb.core.model import ModelVersion
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.tracing import Chain, Clues, Serving, chains_of
from mlops_nb.display import html, text
from mlops_nb.errors import BackendUnavailable, NotFound, UserError
from mlops_nb.flows.audit.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.ports import Cluster, Forge, Registry

WHEN = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
IMAGE = "reg.example.com/serve@sha256:" + "b" * 64
LOCK = LockFile(
    model="churn",
    version=2,
    environment="prod",
    uri="models:/churn/2",
    source="s3://m",
    digest="sha256:" + "c" * 64,
    image=IMAGE,
    run="churn-3fa9c1",
    tracking_id="9f31c0de" + "0" * 24,
    tracking_uri="https://mlflow.example.com",
    notebook="work/churn.ipynb",
    notebook_digest="sha256:" + "f" * 64,
    code_commit="abcdef0" + "1" * 33 + "-dirty",
    datasets=(("train", "sha256:" + "e" * 64, "s3://d/train.csv"),),
)
DEPLOYED = Deployed(
    when=WHEN,
    action="deploy",
    environment="prod",
    model="churn",
    version=2,
    previous=1,
    requested_by="Ann <ann@example.com>",
    merged_by="Bob <bob@example.com>",
    lock=LOCK,
    pull_request=12,
    commit="1234567" + "a" * 33,
)
BACK = replace(
    DEPLOYED, action="rollback", version=1, previous=2, lock=None, pull_request=13,
    reason="p95 doubled", commit="7654321" + "b" * 33,
)  # fmt: skip
VERSION = ModelVersion(
    name="churn",
    version=2,
    digest=LOCK.digest,
    run=LOCK.run,
    tracking_id=LOCK.tracking_id,
    aliases=("candidate",),
    created=WHEN,
    tags={"mlops_nb.notebook": "/home/ann/work/churn.ipynb"},
)
OPEN = PullRequest(
    number=14,
    state=PullRequestState.OPEN,
    title="Deploy churn/3 to prod",
    body="",
    branch="mlops-nb/prod/churn",
    head="0" * 40,
)


def only(chains: tuple[Chain, ...], version: int) -> Chain:
    (found,) = [chain for chain in chains if chain.version == version]
    return found


def test_registry_commits_and_pull_requests_are_joined() -> None:
    chains = chains_of([VERSION], [BACK, DEPLOYED], [OPEN])
    chain = only(chains, 2)
    assert chain.deployments == (BACK, DEPLOYED)
    assert chain.images == (IMAGE,)
    assert chain.datasets == LOCK.datasets
    assert chain.notebook == "/home/ann/work/churn.ipynb"
    assert only(chains, 1).deployments == (BACK,)
    (opened,) = only(chains, 3).open_pulls
    assert (opened.environment, opened.number) == ("prod", 14)
    closed = replace(OPEN, state=PullRequestState.CLOSED)
    assert [c.version for c in chains_of([], [], [closed])] == []


def test_git_alone_tells_where_a_version_came_from() -> None:
    chain = only(chains_of([], [DEPLOYED], []), 2)
    assert (chain.run, chain.tracking_id) == (LOCK.run, LOCK.tracking_id)
    assert (chain.notebook, chain.code_commit) == (LOCK.notebook, LOCK.code_commit)
    assert chain.registered is None


@pytest.mark.parametrize(
    ("ref", "meant"),
    [
        ("churn", "model"),
        ("churn/2", "model version"),
        ("models:/churn/2", "model version"),
        ("churn@candidate", "model version"),
        ("churn-3fa9c1", "run"),
        ("9f31c0de", "MLflow run"),
        ("/home/ann/work/churn.ipynb", "notebook"),
        ("churn.ipynb", "notebook"),
        ("work/churn.ipynb", "notebook"),
        ("abcdef0", "commit of the code"),
        ("1234567", "commit of the GitOps repository"),
        ("#12", "pull request"),
        ("!13", "pull request"),
        ("12", "pull request"),
        ("https://github.com/acme/deploy/pull/12", "pull request"),
        ("https://git.example.com/acme/deploy/-/merge_requests/12#note_1", "pull request"),
        ("https://git.example.com/acme/deploy/pulls/12/files", "pull request"),
        ("sha256:" + "c" * 12, "model's files"),
        ("c" * 64, "model's files"),
        ("sha256:" + "e" * 64, "data"),
        (IMAGE, "image"),
        ("other.example.com/mirror@sha256:" + "b" * 64, "image"),
        ("app.kubernetes.io/name=churn,mlops-nb.io/version=2", "model"),
        ("mlops-nb.io/model-uri=models:/churn/2", "model version"),
        ("rollouts-pod-template-hash=5d4f8c", "pods"),
        ("rollouts-pod-template-hash=5d4f8c, pod=x", "pods"),
    ],
)
def test_each_part_of_the_way_leads_to_the_version(ref: str, meant: str) -> None:
    chain = only(chains_of([VERSION], [BACK, DEPLOYED], []), 2)
    chain = replace(
        chain, serving=(Serving(environment="prod", weight=100, template="5d4f8c"),)
    )
    assert meant in Clues(ref).of_chain(chain)


@pytest.mark.parametrize(
    "ref",
    [
        "chur", "churn/1", "churn/22", "churn@champion", "churn-3fa9c", "9f31c0", "hurn.ipynb",
        "abcdef", "1", "#2", "sha256:" + "d" * 12, "app.kubernetes.io/name=credit",
        "app.kubernetes.io/name=churn,mlops-nb.io/version=3", "",
    ],
)  # fmt: skip
def test_what_is_another_or_too_short_leads_nowhere(ref: str) -> None:
    chain = only(chains_of([VERSION], [BACK, DEPLOYED], []), 2)
    assert Clues(ref).of_chain(chain) == set()


def test_a_commit_of_decimal_digits_is_one_as_well_as_a_number() -> None:
    chain = only(chains_of([], [replace(DEPLOYED, commit="1234567" + "8" * 33)], []), 2)
    assert Clues("12345678").of_chain(chain) == {"commit of the GitOps repository"}


def test_a_label_that_tells_nothing_names_those_that_do() -> None:
    with pytest.raises(UserError, match="has no label that tells a model") as error:
        Clues("team=ml")
    assert "rollouts-pod-template-hash" in error.value.hint


class _Registry:
    """The part of a registry that is traced in."""

    def __init__(self, *runs: Run, versions: tuple[ModelVersion, ...] = (VERSION,)) -> None:
        self.known, self.models, self.is_down = runs, versions, False

    def versions(self, name: str = "") -> tuple[ModelVersion, ...]:
        self._answer()
        return self.models

    def runs(self, *, limit: int) -> tuple[Run, ...]:
        self._answer()
        return self.known[:limit]

    def find(self, ref: str) -> Run:
        self._answer()
        for run in self.known:
            if ref in {run.id, run.tracking_id}:
                return run
        raise NotFound(f"there is no run {ref!r}")

    def _answer(self) -> None:
        if self.is_down:
            raise BackendUnavailable("the tracking server does not answer")


RUN = Run(
    id=LOCK.run,
    notebook="/home/ann/work/churn.ipynb",
    state=RunState.SUCCEEDED,
    tracking_id=LOCK.tracking_id,
    started=WHEN,
    datasets=(Dataset(name="train", uri="s3://d", digest="sha256:" + "e" * 64, size=1),),
)
ALONE = replace(RUN, id="churn-aaaaaa", tracking_id="a" * 32, state=RunState.FAILED, model="")


def traced(
    ref: str,
    registry: _Registry,
    forge: Callable[[], Forge] = lambda: cast("Forge", FakeForge()),
    cluster: Any = None,
) -> Any:
    return trace(
        ref,
        forge=forge,
        registry=cast("Registry", registry),
        cluster_of=lambda _: cast("Cluster | None", cluster),
    )


def test_a_notebook_leads_to_its_runs_with_and_without_a_model() -> None:
    found = traced("churn.ipynb", _Registry(RUN, ALONE))
    assert [str(chain) for chain in found.chains] == ["churn/2"]
    assert {run.id for run in found.runs} == {RUN.id, ALONE.id}
    shown = text(found)
    assert shown.startswith("churn.ipynb: notebook\n\nchurn/2 @candidate\n")
    assert "data        train sha256:eeeeeeeeeeee s3://d" in shown
    assert ALONE.id in shown
    assert shown.count(RUN.id) == 1
    assert "<b>churn/2 @candidate</b>" in html(found)


def test_a_run_without_a_model_is_told() -> None:
    found = traced(ALONE.id, _Registry(RUN, ALONE))
    assert (found.meant, found.chains) == (("run",), ())
    assert [run.id for run in found.runs] == [ALONE.id]


def test_what_is_unknown_says_where_it_was_looked_for() -> None:
    with pytest.raises(NotFound, match=r"'nope' among 1 model versions and 2 runs") as error:
        traced("nope", _Registry(RUN, ALONE))
    assert "MODEL/VERSION" in error.value.hint


def test_a_source_that_is_away_is_told_and_the_others_answer() -> None:
    registry = _Registry(RUN)

    def no_forge() -> Forge:
        raise UserError("no GitOps repository is configured", hint="run `mlops init`")

    found = traced("churn/2", registry, no_forge)
    assert found.notes == ("deployments are not known: no GitOps repository is configured",)
    registry.is_down = True
    with pytest.raises(NotFound, match="the tracking server does not answer"):
        traced("churn/2", registry)
