"""From a registered version to base and back, in a real repository."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from fake_images import FakeImages
from forge_doubles import TOKEN, GitHubDouble

from mlops_nb import wire
from mlops_nb.adapters.git import LocalForge, RemoteForge
from mlops_nb.core.change import PullRequestState, evidence_path, lock_path, overlay_path
from mlops_nb.core.data import Dataset
from mlops_nb.core.delivery import Deployment, Environment
from mlops_nb.core.evaluation import table_from_columns
from mlops_nb.core.events import Event, Note
from mlops_nb.core.evidence import Evidence
from mlops_nb.core.gate import Check, EvaluationTable, Outcome, Verdict
from mlops_nb.core.gitops import Gitops
from mlops_nb.core.model import ModelRef, ModelVersion
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.verbs import Deploy, History, Merge, Rollback
from mlops_nb.errors import BackendUnavailable, Conflict, GateFailed, NotFound, UserError
from mlops_nb.flows.audit.history import history
from mlops_nb.flows.deploy import deploy
from mlops_nb.flows.merge import merge
from mlops_nb.flows.rollback import rollback
from mlops_nb.manifests.evidence import read_marker
from mlops_nb.manifests.lock import broken_seal, read_lock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.core.delivery import Merged
    from mlops_nb.ports import Forge, Registry

PROD = Environment(name="prod", alias="champion", image="reg.example.com/s@sha256:" + "b" * 64)
STAGE = replace(PROD, name="stage", namespace="stage", alias="")
NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)


@dataclass
class Versions:
    """The part of a registry that deployments use, with versions made on demand."""

    pickled: bool = False
    aliases: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    digests: dict[int, str] = field(default_factory=dict)
    without_files: set[int] = field(default_factory=set)
    is_down: bool = False
    tables: dict[int, EvaluationTable] = field(default_factory=dict)

    def resolve(self, ref: ModelRef) -> ModelVersion:
        if self.is_down:
            raise BackendUnavailable("the registry does not answer")
        if ref.alias:
            if str(ref) not in self.aliases:
                raise NotFound(f"there is no {ref}")
            ref = ModelRef(name=ref.name, version=self.aliases[str(ref)])
        assert ref.version is not None
        if ref.version in self.gone:
            raise NotFound(f"there is no {ref}")
        return ModelVersion(
            name=ref.name,
            version=ref.version,
            source=f"s3://key:secret@bucket/m-{ref.version}",
            digest=self.digests.get(ref.version, f"sha256:{ref.version:064x}"),
            flavor="sklearn" if self.pickled else "onnx",
            uses_pickle=self.pickled,
            run=f"{ref.name}-{ref.version:06x}",
            tracking_id=f"{ref.version:032x}",
            tags={
                "mlflow.source.git.commit": "d" * 40,
                "mlflow.source.git.dirty": "true",
                "mlflow.source.git.repoURL": "https://git.example.com/ml.git",
                **self.tags,
            },
        )

    def find(self, ref: str) -> Run:
        number = int(ref, 16)
        return Run(
            id=f"run-{number}",
            notebook="churn.ipynb",
            state=RunState.SUCCEEDED,
            parameters={"lr": number / 10, "seed": 1},
            metrics={"accuracy": 0.9 + number / 100},
            datasets=(
                Dataset(name="train", uri="s3://d/x", digest="sha256:" + "e" * 64, size=1),
            ),
        )

    def metrics(self, tracking_id: str) -> Mapping[str, float]:
        return self.find(tracking_id).metrics

    def table(self, tracking_id: str) -> EvaluationTable | None:
        return self.tables.get(int(tracking_id, 16))

    def has_files(self, version: ModelVersion) -> bool:
        return version.version not in self.without_files

    def point(self, name: str, alias: str, version: int) -> None:
        self.aliases[f"{name}@{alias}"] = version


def passing(version: ModelVersion, gates: tuple[str, ...]) -> Verdict:
    return Verdict(
        checks=tuple(
            Check(
                gate=gate, outcome=Outcome.PASSED, value=0.97, low=0.95, high=0.99,
                threshold=0.9, n=500, reason="lower bound is above",
            )
            for gate in gates
        )
    )  # fmt: skip


def failing(version: ModelVersion, gates: tuple[str, ...]) -> Verdict:
    return Verdict(
        checks=tuple(
            Check(gate=gate, outcome=Outcome.FAILED, reason="0.5 is too low") for gate in gates
        )
    )


@dataclass
class World:
    """A repository, a registry, and people who use them."""

    path: Path
    registry: Versions = field(default_factory=Versions)
    events: list[Event] = field(default_factory=list)
    tracking_uri: str = "https://bob:pw@mlflow.example.com"
    images: FakeImages = field(default_factory=FakeImages)
    cluster: Any = None
    elsewhere: Any = None

    @property
    def forge(self) -> Forge:
        return self.elsewhere or LocalForge(self.path, author="Ann <ann@example.com>")

    def deploy(self, model: str, environment: Environment = PROD, **more: Any) -> Deployment:
        options = {"judge": passing, "requested_by": "Ann <ann@example.com>", **more}
        words = {k: options.pop(k) for k in ("canary", "dry_run") if k in options}
        return deploy(
            Deploy(model=model, to=environment.name, **words),
            registry=cast("Registry", self.registry),
            forge=self.forge,
            images=self.images,
            environment=environment,
            gates=("accuracy >= 0.9",),
            write=wire.canonical,
            tracking_uri=options.pop("tracking_uri", "https://ann:pw@mlflow.example.com"),
            tool="mlops_nb/0.1.0",
            now=NOW,
            tell=self.events.append,
            **options,
        )

    def merge(self, number: int) -> Merged:
        return merge(
            Merge(number=number),
            forge=self.forge,
            registry=cast("Registry", self.registry),
            environments={"prod": PROD, "stage": STAGE},
        )

    def live(self, model: str, environment: Environment = PROD, **more: Any) -> None:
        pull = self.deploy(model, environment, **more).pull_request
        assert pull is not None
        self.merge(pull.number)

    def rollback(self, model: str = "churn", **more: Any) -> Deployment:
        return rollback(
            Rollback(model=model, env=more.pop("env", "prod"), **more),
            forge=self.forge,
            registry=cast("Registry", self.registry),
            images=self.images,
            tracking_uri=self.tracking_uri,
            environment=PROD,
            requested_by="Bob <bob@example.com>",
            tool="mlops_nb/0.1.0",
            tell=self.events.append,
            cluster=self.cluster,
        )

    def lock(self, model: str = "churn", environment: str = "prod") -> Any:
        files = self.forge.read(overlay_path(model, environment))
        return read_lock(files[lock_path(model, environment)])


@pytest.fixture
def world(tmp_path: Path) -> World:
    LocalForge.create(tmp_path / "gitops.git")
    return World(tmp_path / "gitops.git")


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=Bob", "-c", "user.email=bob@example.com", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def clone(world: World, name: str = "clone") -> Path:
    folder = world.path.parent / name
    git(world.path.parent, "clone", "--quiet", f"file://{world.path}", str(folder))
    return folder


def test_a_deployment_is_proposed_with_its_evidence(world: World) -> None:
    world.live("churn/1")
    done = world.deploy("churn/2", canary="10,100")
    assert done.pull_request is not None
    assert done.pull_request.title == "Deploy churn/2 to prod"
    assert done.previous == 1
    body = done.pull_request.body
    assert "## churn: 1 → 2 in prod" in body
    assert f"`sha256:{1:064x}` | `sha256:{2:064x}`" in body
    assert "Requested by Ann \\<ann@example.com\\> on 2026-11-24 12:30 UTC." in body
    assert "**The notebook's repository had uncommitted changes**" in body
    assert "| `lr` | `0.1` | `0.2` |" in body
    assert "seed" not in body.partition("### Metrics")[0].partition("### Parameters")[2]
    assert "| metric | this version | live now and champion (churn/1) | difference |" in body
    assert "| `accuracy` | 0.92 (no rows) | 0.91 (no rows) | +0.01 |" in body
    assert f"| `train` | `sha256:{'e' * 64}` | not counted | `s3://d/x` |" in body
    assert "| `accuracy >= 0.9` | 0.97 | 0.95 to 0.99 | 0.9 | - | 500 |" in body
    assert "| 10 % | 1 + 3 stable | 10 min | 3.3 requests/s |" in body
    assert "Peak: 6 pods" in body
    assert "first deployment" not in body
    assert "Loading it runs no pickled code" in body
    assert "Image from reg.example.com, pinned by digest" in body
    assert "`mlops rollback churn --env prod`" in body
    assert "+  value: models:/churn/2" in body
    assert read_marker(body)["version"] == 2
    assert world.events == []


def test_machines_read_the_same_evidence_beside_the_record(world: World) -> None:
    world.live("churn/1")
    world.registry.tables = {
        n: table_from_columns(
            {"label": [0, 1] * 50, "prediction": [0, 1] * (45 + n) + [1, 0] * (5 - n)}
        )
        for n in (1, 2)
    }
    done = world.deploy("churn/2")
    path = evidence_path("churn", "prod")
    content = done.files[path]
    assert content is not None
    recorded = done.files[lock_path("churn", "prod")]
    assert recorded is not None
    assert read_lock(recorded).evidence == f"sha256:{hashlib.sha256(content).hexdigest()}"
    found = wire.loads(Evidence, content)
    assert wire.canonical(found) == content
    assert replace(read_lock(recorded), evidence="") == found.lock
    assert found.previous == world.lock()
    [other] = found.beside
    assert (other.version, other.role) == ("churn/1", "live now and champion")
    difference = other.differences["accuracy"]
    assert difference.value == pytest.approx(0.02)
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low <= 0.02 <= difference.high
    assert "| `accuracy` | 0.94 (0.8752 to 0.98) | 0.92 (0.85 to 0.97) | +0.02 (" in done.body
    # Neither who asks nor when makes another change of it.
    again = world.deploy("churn/2", requested_by="Bob <bob@example.com>")
    assert again.files[path] == content
    assert again.pull_request is not None
    world.merge(again.pull_request.number)
    assert world.deploy("churn/2").is_noop
    back = world.rollback().pull_request
    assert back is not None
    world.merge(back.number)
    files = world.forge.read(overlay_path("churn", "prod"))
    assert wire.loads(Evidence, files[path]).lock.version == 1
    assert broken_seal(world.lock(), files[path]) == ""


def test_evidence_edited_on_base_is_no_ground_to_build_on(world: World) -> None:
    world.live("churn/1")
    world.live("churn/2")
    folder = clone(world)
    path = folder / evidence_path("churn", "prod")
    path.write_text(path.read_text().replace("0.92", "0.99"))
    git(folder, "commit", "--quiet", "-am", "Better")
    git(folder, "push", "--quiet")
    with pytest.raises(UserError, match=r"evidence\.json is sha256:.*edited by hand"):
        world.deploy("churn/3")
    # The way back is open all the same, and restores what was there.
    back = world.rollback().pull_request
    assert back is not None
    world.merge(back.number)
    files = world.forge.read(overlay_path("churn", "prod"))
    assert broken_seal(world.lock(), files[evidence_path("churn", "prod")]) == ""
    assert world.lock().version == 1


def test_the_same_version_keeps_the_plan_it_came_by(world: World) -> None:
    world.live("churn/1")
    world.live("churn/2", canary="40,100")
    assert world.deploy("churn/2").is_noop
    world.live("churn/2", canary="10,100")
    found = history(History(), forge=world.forge)
    assert [(d.previous, d.version) for d in found] == [(2, 2), (1, 2), (0, 1)]
    assert world.lock().canary == "10,100"
    assert world.deploy("churn/1").environment.canary.weights == PROD.canary.weights


def test_what_else_is_proposed_is_said(world: World) -> None:
    world.live("churn/1")
    world.deploy("churn/2")
    world.deploy("churn/3")
    assert world.deploy("churn/1").is_noop
    replaced, contrary = (event.text for event in world.events if isinstance(event, Note))
    assert replaced == "pull request #2 was: Deploy churn/2 to prod; this replaces it"
    assert contrary == "pull request #2 is open and says otherwise: Deploy churn/3 to prod"


def test_what_somebody_brought_by_hand_instead_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_nb.adapters.git.mirror.FRESH", 0.0)
    with GitHubDouble(tmp_path) as github:
        world = World(github.repository.path)
        world.elsewhere = RemoteForge.open(
            Gitops(repository=github.url, forge="github", token="secret:TOKEN"),
            folder=tmp_path,
            cache=tmp_path / "cache",
            author="Ann <ann@example.com>",
            environment=dict(os.environ),
            secret={"TOKEN": TOKEN}.__getitem__,
        )
        assert world.deploy("churn/1").pull_request
        folder = clone(world)
        git(folder, "merge", "--quiet", "--squash", "origin/mlops-nb/prod/churn")
        git(folder, "commit", "--quiet", "-m", "Churn goes live today")
        git(folder, "push", "--quiet", "origin", "main")
        assert world.deploy("churn/1").is_noop
    [told] = (event.text for event in world.events if isinstance(event, Note))
    assert told.startswith("pull request #1 is open for what is there already, brought by")
    assert told.endswith("/pull/1")


def test_nothing_secret_reaches_the_repository(world: World) -> None:
    done = world.deploy("churn/1")
    everything = done.body + "".join(str(content) for content in done.files.values())
    assert "key:secret" not in everything
    assert "s3://bucket/m-1" in everything
    assert "ann:pw" not in everything
    assert "https://mlflow.example.com" in everything


def test_the_first_deployment_says_that_it_is_no_canary(world: World) -> None:
    body = world.deploy("churn/1").body
    assert "**The first deployment is not a canary.**" in body
    assert "There is no earlier version" in body


def test_the_commit_carries_the_trailers(world: World) -> None:
    world.live("churn/1")
    world.deploy("churn/2")
    shown = git(world.path, "log", "-1", "--format=%(trailers:only)", "mlops-nb/prod/churn")
    trailers = dict(line.split(": ", 1) for line in shown.splitlines())
    assert trailers["Mlops-Action"] == "deploy"
    assert trailers["Mlops-Model-Version"] == "2"
    assert trailers["Mlops-Previous-Version"] == "1"
    assert trailers["Mlops-Model-Uri"] == "models:/churn/2"
    assert trailers["Mlops-Dataset"] == f"train sha256:{'e' * 64} s3://d/x"
    assert trailers["Mlops-Gates"].startswith("passed 1/1 sha256:")
    assert trailers["Mlops-Requested-By"] == "Ann <ann@example.com>"
    assert trailers["Mlops-Tool"] == "mlops_nb/0.1.0"
    assert trailers["Argocd-reference-commit-sha"] == "d" * 40


def test_a_dry_run_shows_everything_and_writes_nothing(world: World) -> None:
    before = git(world.path, "for-each-ref")
    done = world.deploy("churn/1", dry_run=True)
    assert done.pull_request is None
    assert "+++ b/models/churn/base/rollout.yaml" in done.diff
    assert "## churn: nothing → 1 in prod" in done.body
    assert git(world.path, "for-each-ref") == before
    assert world.events == []


def test_the_same_version_again_is_the_same_pull_request_whoever_asks(world: World) -> None:
    first = world.deploy("churn/1").pull_request
    again = world.deploy("churn/1", requested_by="Bob <bob@example.com>").pull_request
    assert first is not None
    assert again is not None
    assert (again.number, again.head, again.is_changed) == (first.number, first.head, False)


def test_a_version_that_is_live_needs_no_pull_request(world: World) -> None:
    world.live("churn/1")
    again = world.deploy("churn/1", requested_by="Bob <bob@example.com>")
    assert again.is_noop
    assert again.pull_request is None
    assert len(world.forge.pull_requests()) == 1


def test_a_newer_version_updates_the_open_pull_request(world: World) -> None:
    first = world.deploy("churn/1").pull_request
    newer = world.deploy("churn/2").pull_request
    assert first is not None
    assert newer is not None
    assert newer.number == first.number
    world.merge(newer.number)
    assert (world.lock().version, world.lock().previous) == (2, 0)


def test_a_refused_version_leaves_nothing_behind(world: World) -> None:
    before = git(world.path, "for-each-ref")
    with pytest.raises(GateFailed, match=r"not pass: accuracy >= 0\.9") as caught:
        world.deploy("churn/1", judge=failing)
    assert not caught.value.verdict.passed
    assert git(world.path, "for-each-ref") == before


def test_the_environments_own_gates_are_judged_too(world: World) -> None:
    asked: list[tuple[str, ...]] = []

    def judge(version: ModelVersion, gates: tuple[str, ...]) -> Verdict:
        asked.append(gates)
        return passing(version, gates)

    world.deploy("churn/1", replace(PROD, gates=("auc >= 0.8", "accuracy >= 0.9")), judge=judge)
    assert asked == [("accuracy >= 0.9", "auc >= 0.8")]


def test_pickled_models_need_leave(world: World) -> None:
    world.registry.pickled = True
    with pytest.raises(UserError, match="runs pickled code") as caught:
        world.deploy("churn/1")
    assert "allow_pickle" in caught.value.hint
    body = world.deploy("churn/1", replace(PROD, allow_pickle=True)).body
    assert "**Loading it runs pickled code**" in body


def test_an_environment_without_an_image_is_refused(world: World) -> None:
    with pytest.raises(UserError, match="names no model server image"):
        world.deploy("churn/1", replace(PROD, image=""))


def test_a_merge_moves_the_alias_and_repeating_it_mends_a_missed_one(world: World) -> None:
    pull = world.deploy("churn/1").pull_request
    assert pull is not None
    world.forge.merge(pull.number)
    merged = world.merge(pull.number)
    assert (merged.model, merged.environment, merged.version) == ("churn", "prod", 1)
    assert merged.alias == "champion"
    assert world.registry.aliases == {"churn@champion": 1}
    world.live("churn/2")
    assert world.merge(pull.number).version == 2
    assert world.registry.aliases == {"churn@champion": 2}


def test_edits_of_the_team_survive_the_next_deployment(world: World) -> None:
    world.live("churn/1")
    folder = clone(world)
    overlay = folder / overlay_path("churn", "prod") / "rollout.yaml"
    overlay.write_text(overlay.read_text().replace("value: 3\n", "value: 3   # enough\n"))
    base = folder / "models/churn/base/analysis.yaml"
    base.write_text(base.read_text().replace('"1.20"', '"1.50"'))
    git(folder, "commit", "--quiet", "-am", "Tune")
    git(folder, "push", "--quiet")
    world.live("churn/2")
    git(folder, "pull", "--quiet")
    assert "value: 3   # enough\n" in overlay.read_text()
    assert "models:/churn/2" in overlay.read_text()
    assert '"1.50"' in base.read_text()


def test_an_edit_on_base_after_the_proposal_is_a_conflict_that_deploying_resolves(
    world: World,
) -> None:
    world.live("churn/1")
    pull = world.deploy("churn/2").pull_request
    assert pull is not None
    folder = clone(world)
    overlay = folder / overlay_path("churn", "prod") / "rollout.yaml"
    overlay.write_text("# ours\n" + overlay.read_text())
    git(folder, "commit", "--quiet", "-am", "Comment")
    git(folder, "push", "--quiet")
    with pytest.raises(Conflict) as caught:
        world.merge(pull.number)
    assert "deploy again" in caught.value.hint
    world.live("churn/2")
    git(folder, "pull", "--quiet")
    assert overlay.read_text().startswith("# ours\n")
    assert world.lock().version == 2


def test_history_tells_who_deployed_what_with_which_data(world: World) -> None:
    world.live("churn/1", requested_by="Eve <eve@example.com>")
    world.live("churn/1", STAGE)
    world.live("fraud/5")
    world.live("churn/2")
    found = history(History(), forge=world.forge)
    assert [(d.model, d.environment, d.previous, d.version) for d in found] == [
        ("churn", "prod", 1, 2),
        ("fraud", "prod", 0, 5),
        ("churn", "stage", 0, 1),
        ("churn", "prod", 0, 1),
    ]
    oldest = found[-1]
    assert oldest.requested_by == "Eve <eve@example.com>"
    assert oldest.merged_by == "Ann <ann@example.com>"
    assert oldest.pull_request == 1
    assert oldest.lock is not None
    assert oldest.lock.datasets == (("train", "sha256:" + "e" * 64, "s3://d/x"),)
    assert oldest.lock.notebook == "churn.ipynb"
    assert oldest.lock.code_commit == "d" * 40 + "-dirty"
    only = history(History(model="churn", env="prod", limit=1), forge=world.forge)
    assert [(d.model, d.version) for d in only] == [("churn", 2)]
    assert history(History(), forge=LocalForge(clone(world))) == found


def test_history_of_merges_and_reverts_made_by_hand(world: World) -> None:
    world.live("churn/1")
    world.deploy("churn/2")
    folder = clone(world)
    git(folder, "merge", "--no-ff", "-m", "Take it", "origin/mlops-nb/prod/churn")
    git(folder, "revert", "--no-edit", "-m", "1", "HEAD")
    git(folder, "rm", "-r", "--quiet", overlay_path("churn", "prod"))
    git(folder, "commit", "--quiet", "-m", "Retire churn")
    git(folder, "push", "--quiet", "origin", "main")
    found = history(History(), forge=world.forge)
    assert [(d.action, d.previous, d.version) for d in found] == [
        ("remove", 1, 0),
        ("rollback", 2, 1),
        ("deploy", 1, 2),
        ("deploy", 0, 1),
    ]
    assert [d.pull_request for d in found] == [0, 0, 2, 1]
    assert found[1].requested_by == "Bob <bob@example.com>"
    assert found[2].requested_by == "Ann <ann@example.com>"
    assert found[2].merged_by == "Bob <bob@example.com>"


def test_a_version_typed_into_the_record_is_an_edit(world: World) -> None:
    world.live("churn/1")
    folder = clone(world)
    path = folder / lock_path("churn", "prod")
    path.write_text(path.read_text().replace("version: 1\n", "version: 33\n"))
    git(folder, "commit", "--quiet", "-am", "Fix")
    git(folder, "push", "--quiet", "origin", "main")
    edit, first = history(History(), forge=world.forge)
    assert (edit.action, edit.previous, edit.version) == ("edit", 1, 33)
    assert first.action == "deploy"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version: 1\n", "version: 33\n", "it says version 33, but models:/churn/1"),
        ("environment: prod\n", "environment: stage\n", "it is of churn in stage"),
        ("digest: sha256:", "digest: sha256:9", "one of them was edited by hand"),
    ],
)
def test_on_a_record_edited_by_hand_nothing_is_built(
    world: World, old: str, new: str, said: str
) -> None:
    world.live("churn/1")
    folder = clone(world)
    path = folder / lock_path("churn", "prod")
    path.write_text(path.read_text().replace(old, new))
    git(folder, "commit", "--quiet", "-am", "Fix")
    git(folder, "push", "--quiet", "origin", "main")
    before = git(world.path, "for-each-ref")
    for version in ("churn/2", "churn/33"):
        with pytest.raises(UserError, match=said) as caught:
            world.deploy(version)
        assert "restore" in caught.value.hint
    if "one of them" not in said:
        with pytest.raises(UserError, match=said):
            world.rollback()
    assert git(world.path, "for-each-ref") == before


def test_a_record_broken_by_hand_does_not_hide_the_others(world: World) -> None:
    world.live("churn/1")
    folder = clone(world)
    (folder / lock_path("churn", "prod")).write_text("version: [\n")
    git(folder, "commit", "--quiet", "-am", "Oops")
    git(folder, "push", "--quiet")
    found = history(History(), forge=world.forge)
    assert [d.action for d in found] == ["unreadable", "deploy"]
    with pytest.raises(UserError, match=r"model\.lock\.yaml is not valid YAML"):
        world.deploy("churn/2")


def test_history_of_an_unknown_name_suggests_a_known_one(world: World) -> None:
    assert history(History(), forge=world.forge) == []
    world.live("churn/1")
    with pytest.raises(NotFound, match="'chrun'") as caught:
        history(History(model="chrun"), forge=world.forge)
    assert caught.value.hint == "did you mean 'churn'?"
    with pytest.raises(NotFound) as caught:
        history(History(env="prd"), forge=world.forge)
    assert caught.value.hint == "did you mean 'prod'?"


def test_a_rollback_is_what_git_revert_gives(world: World) -> None:
    world.live("churn/1")
    world.live("fraud/1")
    world.live("churn/2", canary="20,100")
    merge_commit = git(world.path, "rev-parse", "main")
    world.live("fraud/2")
    folder = clone(world)
    git(folder, "revert", "--no-edit", "-m", "1", merge_commit)
    done = world.rollback(reason="p95 doubled\nat noon")
    assert done.pull_request is not None
    assert done.pull_request.branch == "mlops-nb/prod/churn"
    merged = world.merge(done.pull_request.number)
    assert git(world.path, "rev-parse", "main^{tree}") == git(
        folder, "rev-parse", "HEAD^{tree}"
    )
    assert (merged.version, merged.alias) == (1, "champion")
    assert world.registry.aliases["churn@champion"] == 1
    [newest, *_] = history(History(model="churn"), forge=world.forge)
    assert (newest.action, newest.previous, newest.version) == ("rollback", 2, 1)
    assert newest.requested_by == "Bob <bob@example.com>"
    assert newest.reason == "p95 doubled at noon"
    shown = git(world.path, "log", "-1", "--format=%(trailers:only)", "main^2")
    assert f"Mlops-Reverts: {merge_commit}" in shown
    assert "Mlops-Action: rollback" in shown


def test_a_rollback_of_several_versions_is_what_git_reverts_give(world: World) -> None:
    for version in (1, 2, 3):
        world.live(f"churn/{version}")
    folder = clone(world)
    merges = git(folder, "log", "--first-parent", "--format=%H", "-2").splitlines()
    for commit in merges:
        git(folder, "revert", "--no-edit", "-m", "1", commit)
    done = world.rollback(to=1)
    assert done.pull_request is not None
    assert all(sha[:12] in done.pull_request.body for sha in merges)
    world.merge(done.pull_request.number)
    assert git(world.path, "rev-parse", "main^{tree}") == git(
        folder, "rev-parse", "HEAD^{tree}"
    )


def test_rolling_back_twice_goes_back_two_versions(world: World) -> None:
    for version in (1, 2, 3):
        world.live(f"churn/{version}")
    for expected in (2, 1):
        pull = world.rollback().pull_request
        assert pull is not None
        world.merge(pull.number)
        assert world.lock().version == expected
    with pytest.raises(UserError, match="churn/1 is the first version that came to prod"):
        world.rollback()


def test_a_rollback_over_later_edits_keeps_them(world: World) -> None:
    world.live("churn/1")
    world.live("churn/2")
    folder = clone(world)
    overlay = folder / overlay_path("churn", "prod") / "rollout.yaml"
    overlay.write_text(
        overlay.read_text().replace("value: models:/churn/2", "value: models:/churn/2  # hm")
    )
    git(folder, "commit", "--quiet", "-am", "Comment")
    git(folder, "push", "--quiet")
    pull = world.rollback().pull_request
    assert pull is not None
    world.merge(pull.number)
    git(folder, "pull", "--quiet")
    assert "value: models:/churn/1  # hm" in overlay.read_text()
    assert (world.lock().version, world.lock().previous) == (1, 0)


def test_asking_twice_for_a_rollback_is_one_pull_request(world: World) -> None:
    world.live("churn/1")
    world.live("churn/2")
    first, again = world.rollback().pull_request, world.rollback().pull_request
    assert first is not None
    assert again is not None
    assert (first.number, first.head) == (again.number, again.head)
    assert again.state is PullRequestState.OPEN


def test_a_reason_given_later_is_in_the_history_and_repeating_keeps_it(world: World) -> None:
    world.live("churn/1")
    world.live("churn/2")
    world.rollback()
    later = world.rollback(reason="p95 doubled").pull_request
    again = world.rollback().pull_request
    assert later is not None
    assert again is not None
    assert later.is_changed
    assert "Reason: p95 doubled" in later.body
    assert (again.number, again.head, again.is_changed) == (1 + 2, later.head, False)
    world.merge(again.number)
    [newest, *_] = history(History(model="churn"), forge=world.forge)
    assert (newest.version, newest.reason) == (1, "p95 doubled")


def test_a_version_that_was_rolled_back_is_named_when_nothing_is_earlier(world: World) -> None:
    world.live("churn/1")
    world.live("churn/2")
    back = world.rollback().pull_request
    assert back is not None
    world.merge(back.number)
    with pytest.raises(UserError) as caught:
        world.rollback()
    assert "churn/1 is the first version that came to prod" in caught.value.message
    assert "version 2 came later and was rolled back" in caught.value.message
    assert caught.value.hint == "deploy another: mlops deploy churn/2 --to prod"
    with pytest.raises(NotFound, match="2 is no earlier version in prod than churn/1: it came"):
        world.rollback(to=2)


def test_what_cannot_be_rolled_back_says_why(world: World) -> None:
    world.live("churn/1")
    with pytest.raises(UserError, match="first version"):
        world.rollback()
    world.live("churn/2")
    with pytest.raises(UserError, match="churn/2 is what prod has now"):
        world.rollback(to=2)
    with pytest.raises(NotFound, match="no earlier version in prod than churn/2: earlier: 1"):
        world.rollback(to=9)
    with pytest.raises(NotFound) as caught:
        world.rollback("chrun")
    assert caught.value.hint == "did you mean 'churn'?"
    with pytest.raises(NotFound, match="churn is not deployed to prd") as caught:
        world.rollback(env="prd")
    assert caught.value.hint == "did you mean 'prod'?"


def test_two_environments_first_deployments_both_merge(world: World) -> None:
    one = world.deploy("churn/1").pull_request
    two = world.deploy("churn/1", STAGE).pull_request
    assert one is not None
    assert two is not None
    world.merge(one.number)
    world.merge(two.number)
    assert world.lock(environment="stage").version == 1
    assert world.registry.aliases == {"churn@champion": 1}


def test_a_dry_run_of_a_rollback_tells_what_it_would_meet_and_writes_nothing(
    world: World,
) -> None:
    world.live("churn/1")
    world.live("churn/2")
    merged = git(world.path, "rev-parse", "main")
    before = git(world.path, "for-each-ref")
    done = world.rollback(dry_run=True)
    assert (done.action, done.previous, done.version.version) == ("rollback", 2, 1)
    assert done.pull_request is None
    assert "+  value: models:/churn/1" in done.diff
    assert f"It reverts:\n\n- {merged[:12]} Merge pull request" in done.body
    assert (
        "- Traffic: **at once, without steps**: ReplicaSets made in between: 0 "
        "(rollbackWindow: 3 revisions)." in done.body
    )
    assert "- Model: churn/1 is in the registry under the same digest" in done.body
    assert "- Server image: its registry has it. It is the same as now." in done.body
    assert git(world.path, "for-each-ref") == before
    assert world.events == []


def test_a_rollback_tells_when_steps_would_run_again(world: World) -> None:
    for version in (1, 2):
        world.live(f"churn/{version}")
    back = world.rollback().pull_request
    assert back is not None
    world.merge(back.number)
    world.live("churn/3")
    # The pods of 2 were made between those of 1 and 3, though 3 replaced 1.
    assert (
        "at once, without steps**: ReplicaSets made in between: 1"
        in world.rollback(dry_run=True).body
    )
    for version in (4, 5):
        world.live(f"churn/{version}")
    told = world.rollback(to=1, dry_run=True).body
    assert (
        "through the canary's steps again** (5, 25, 50, 100 %): ReplicaSets made in between: 3"
        in told
    )
    assert "at once, without steps**" in world.rollback(to=3, dry_run=True).body


def test_a_rollback_over_an_edited_base_tells_that_its_pods_are_new(world: World) -> None:
    world.live("churn/1")
    world.live("churn/2")
    folder = clone(world)
    base = folder / "models/churn/base/rollout.yaml"
    base.write_text(base.read_text().replace("name: tmp\n", "name: scratch\n"))
    git(folder, "commit", "--quiet", "-am", "Name the folder")
    git(folder, "push", "--quiet")
    told = world.rollback(dry_run=True).body
    assert "It reverts:" in told
    assert "its pods are none of the last 3, as far as Git tells" in told
    overlay = folder / overlay_path("churn", "prod") / "rollout.yaml"
    overlay.write_text(overlay.read_text().replace("models:/churn/2", "models:/churn/2  # hm"))
    git(folder, "commit", "--quiet", "-am", "Comment")
    git(folder, "push", "--quiet")
    told = world.rollback(dry_run=True).body
    assert "the record of version 1 is rendered into them" in told


@pytest.mark.parametrize("how", ["gone", "without files", "another digest"])
def test_a_rollback_to_what_pods_cannot_fetch_is_refused(world: World, how: str) -> None:
    world.live("churn/1")
    world.live("churn/2")
    if how == "gone":
        world.registry.gone.add(1)
    elif how == "without files":
        world.registry.without_files.add(1)
    else:
        world.registry.digests[1] = "sha256:" + "f" * 64
    before = git(world.path, "for-each-ref")
    with pytest.raises(NotFound, match=r"churn/1 .*pods that return to it could not fetch it"):
        world.rollback()
    told = world.rollback(dry_run=True)
    assert "- Model: ⛔ **GONE: " in told.body
    assert "key:secret" not in told.body
    assert [e.text for e in world.events if isinstance(e, Note)][-1].endswith("is refused")
    assert git(world.path, "for-each-ref") == before


def test_an_image_that_is_gone_is_told_before_and_when_it_is_needed(world: World) -> None:
    world.live("churn/1")
    assert "There is no earlier version" in world.deploy("churn/2", STAGE, dry_run=True).body
    told = world.deploy("churn/2", dry_run=True).body
    assert "proposes the git revert. When this was asked for:\n\n- Model: churn/1 is in" in told
    assert "- Server image: its registry has it." in told
    world.images.gone.add(PROD.image)
    gone = f"- Server image: ⛔ **GONE: its registry has no {PROD.image}. New pods could not"
    assert gone in world.deploy("churn/2", dry_run=True).body
    world.live("churn/2")
    back = world.rollback()
    assert gone in back.body
    # A registry hides an image from some, too; nobody is kept from a return by that.
    assert back.pull_request is not None
    notes = [event.text for event in world.events if isinstance(event, Note)]
    assert any("new pods could not pull it" in note for note in notes)
    world.images.is_down = True
    told = world.rollback(dry_run=True).body
    assert "⚠️ whether it can be pulled could not be told: the image registry" in told


def test_what_was_told_of_the_way_back_changes_no_proposal(world: World) -> None:
    world.live("churn/1")
    pull = world.deploy("churn/2").pull_request
    world.images.is_down = True
    again = world.deploy("churn/2").pull_request
    assert pull is not None
    assert again is not None
    assert (again.is_changed, again.head) == (False, pull.head)


def test_another_way_out_and_another_registry_are_told(world: World) -> None:
    world.live("churn/1")
    told = world.deploy("churn/2", dry_run=True).body
    assert "- Ways out: anywhere: TCP " in told
    assert told.count(" The same as now.") == 1
    folder = clone(world)
    policy = folder / "models/churn/base/networkpolicy.yaml"
    more = "  - to:\n    - ipBlock: {cidr: 203.0.113.0/24}\n    ports:\n    - port: 9000\n"
    policy.write_text(policy.read_text() + more)
    git(folder, "commit", "--quiet", "-am", "Let it call home")
    git(folder, "push", "--quiet")
    moved = replace(PROD, image="other.example.com/s@sha256:" + "c" * 64)
    told = world.deploy("churn/2", moved, dry_run=True).body
    assert "203.0.113.0/24: TCP 9000" in told
    assert "⚠️ **Another registry than before**: reg.example.com." in told
    elsewhere = replace(PROD, metrics_url="http://vm.other:9999")
    assert "Ways out" in world.deploy("churn/2", elsewhere, dry_run=True).body


def test_a_tracking_server_elsewhere_is_a_new_way_out(world: World) -> None:
    world.live("churn/1")
    told = world.deploy("churn/2", tracking_uri="https://other.example.com:8443", dry_run=True)
    assert "- ⚠️ **New ways out**: anywhere: TCP 8443, TCP 443." in told.body
    assert "- No way out any more: anywhere: TCP 443." in told.body


@pytest.mark.parametrize("how", ["down", "elsewhere"])
def test_a_rollback_works_while_nobody_can_tell_what_the_registry_has(
    world: World, how: str
) -> None:
    world.live("churn/1")
    world.live("churn/2")
    world.registry.is_down = how == "down"
    if how == "elsewhere":
        world.tracking_uri = "https://other.example.com"
    pull = world.rollback().pull_request
    assert pull is not None
    assert "⚠️ **whether churn/1 can still be fetched could not be told**" in pull.body
    assert any("could not be told" in e.text for e in world.events if isinstance(e, Note))
