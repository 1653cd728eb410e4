"""A pull request is verified as the repository's CI does it, with a real MLflow store."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from shell import MLOPS

import mlops_nb
from mlops_nb import wire
from mlops_nb.adapters.git import Checkout, LocalForge
from mlops_nb.adapters.mlflow import MlflowRegistry
from mlops_nb.core import verbs
from mlops_nb.core.change import evidence_path, lock_path, overlay_path
from mlops_nb.core.evidence import Evidence
from mlops_nb.core.run import Run, RunState
from mlops_nb.core.settings import parse_settings
from mlops_nb.core.verification import Verification
from mlops_nb.display import html, text
from mlops_nb.errors import UserError
from mlops_nb.manifests.lock import lock_text, read_lock, sealed
from mlops_nb.manifests.workflow import workflow
from mlops_nb.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OVERLAY = overlay_path("churn", "prod")
LOCK, EVIDENCE = lock_path("churn", "prod"), evidence_path("churn", "prod")
IMAGE = "reg.example.com/mlserver@sha256:" + "b" * 64
MLMODEL = """\
flavors:
  onnx:
    data: model.onnx
  python_function:
    loader_module: mlflow.onnx
"""
TOML = f"""\
[tracking]
uri = "sqlite:///mlflow.db"
experiment = "churn-models"
artifacts = "artifacts"
[gitops]
repository = "gitops.git"
[models.churn]
gates = ["accuracy >= 0.7"]
[environments.prod]
image = "{IMAGE}"
alias = "champion"
gates = ["auc >= champion - 0.2"]
"""


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=Bob", "-c", "user.email=bob@example.com", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class World:
    """A project with its GitOps repository and its store, and the CI of that repository."""

    folder: Path
    project: Project
    checkouts: int = 0

    def propose(self, version: int) -> None:
        self.project.run(verbs.Deploy(model=f"churn/{version}", to="prod"))

    def merge(self, number: int) -> None:
        self.project.run(verbs.Merge(number=number))

    def clone(self) -> Path:
        """Check base out."""
        self.checkouts += 1
        folder = self.folder / f"checkout-{self.checkouts}"
        repository = f"file://{self.folder / 'gitops.git'}"
        git(self.folder, "clone", "--quiet", repository, str(folder))
        return folder

    def checkout(self, *, merged: bool = False) -> Path:
        """Check the proposal out: its branch, or as GitHub merges it to try it."""
        folder = self.clone()
        if merged:
            git(folder, "merge", "--quiet", "--no-ff", "origin/mlops-nb/prod/churn")
        else:
            git(folder, "checkout", "--quiet", "--detach", "origin/mlops-nb/prod/churn")
        return folder

    def run_script(
        self, folder: Path, script: list[str], **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the lines of a workflow where only the store's address is known."""
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "GIT_"))},
            "PATH": f"{MLOPS.parent}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
            "PYTHONWARNINGS": "ignore",
            "COLUMNS": "200",
            **env,
        }
        return subprocess.run(
            ["bash", "-e", "-c", "\n".join(script)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def verify(self, folder: Path, **words: Any) -> Verification:
        """Verify where nothing but the store's address is known."""
        uri = f"sqlite:///{self.folder / 'mlflow.db'}"
        settings = parse_settings("", path="", default_name="ci")
        ci = Project(folder, settings, {"MLFLOW_TRACKING_URI": uri})
        result = ci.run(verbs.VerifyPr(repo=str(folder), **words))
        assert isinstance(result, Verification)
        return result


def register(project: Project, number: int, right: int) -> None:
    """Have a run that logged a model and an evaluation table, and register it."""
    from mlflow import MlflowClient

    registry = project.registry
    assert isinstance(registry, MlflowRegistry)
    run = Run(id=f"churn-{number:06x}", notebook="churn.ipynb", state=RunState.RUNNING)
    run = registry.begin(replace(run, parameters={"depth": number}), {})
    uri = project.tracking_uri
    client = MlflowClient(uri, uri)
    client.log_metric(run.tracking_id, "loss", 1 / number)
    client.log_metric(run.tracking_id, "auc", 0.5)
    rows = [[n % 2, n % 2 if n < right else 1 - n % 2, 0.4 + 0.2 * (n % 2)] for n in range(200)]
    columns = ["label", "prediction", "score"]
    table = json.dumps({"columns": columns, "data": rows}).encode()
    registry.attach(run.tracking_id, "evaluation.json", table)
    folder = project.folder / f"model-{number}"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "model.onnx").write_bytes(f"not really {number}".encode())
    experiment = client.get_run(run.tracking_id).info.experiment_id
    model = client.create_logged_model(experiment, name="m", source_run_id=run.tracking_id)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    registry.finish(replace(run, state=RunState.SUCCEEDED), {})
    project.register(registry.find(run.tracking_id), "churn", ())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Path:
    """Three registered versions; each test has a repository of its own for them."""
    folder = tmp_path_factory.mktemp("verify")
    shutil.copy(migrated_store, folder / "mlflow.db")
    project = opened(folder)
    for number, right in ((1, 180), (2, 190), (3, 195)):
        register(project, number, right)
    return folder


def opened(folder: Path) -> Project:
    settings = parse_settings(TOML, path="mlops.toml", default_name="p")
    return Project(folder, settings, {})


@pytest.fixture
def world(template: Path) -> World:
    shutil.rmtree(template / "gitops.git", ignore_errors=True)
    for checkout in template.glob("checkout-*"):
        shutil.rmtree(checkout)
    LocalForge.create(template / "gitops.git")
    world = World(template, opened(template))
    world.propose(1)
    world.merge(1)
    world.propose(2)
    return world


def script_of(forge: str) -> list[str]:
    """Give the lines that a workflow runs, but for the one that installs this tool."""
    document: Any = yaml.safe_load(workflow(forge, "0.1.0").content)
    if forge == "github":
        steps = document["jobs"]["verify-pr"]["steps"]
        lines = [step["run"] for step in steps if "run" in step]
    else:
        job = document["verify-pr"]
        lines = [*job["before_script"], *job["script"]]
    install, *rest = lines
    assert install == 'python -m pip install "mlops-nb==0.1.0"'
    return rest


GITHUB = {"GITHUB_BASE_REF": "main"}


def commit(folder: Path, path: str, change: Callable[[str], str]) -> None:
    file = folder / path
    file.write_text(change(file.read_text()))
    git(folder, "commit", "--quiet", "--all", "--message", "By hand")


def refused(done: Verification) -> list[tuple[str, str]]:
    return [(found.check, found.detail) for found in done.every if not found.passed]


def test_the_workflows_pass_a_proposal_as_it_was_made(world: World) -> None:
    done = world.run_script(world.checkout(merged=True), script_of("github"), **GITHUB)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "churn in prod: deploy, 1 → 2"
    assert "2 of 2 pass, judged anew" in done.stdout
    assert done.stdout.splitlines()[-1] == "✔ passed: 7 checks"
    folder = world.checkout()
    git(folder, "update-ref", "-d", "refs/remotes/origin/main")
    done = world.run_script(folder, script_of("gitlab"), BASE="main")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_refuses_an_edited_a_tampered_and_a_stale_proposal(world: World) -> None:
    folder = world.checkout()
    commit(folder, f"{OVERLAY}/rollout.yaml", lambda t: t.replace("value: 3\n", "value: 9\n"))
    done = world.run_script(folder, script_of("github"), **GITHUB)
    assert done.returncode == 3
    assert "✘ manifests" in done.stdout
    assert "rollout.yaml was edited by hand: it has 'value: 9' for 'value: 3'" in done.stdout

    folder = world.checkout()
    commit(folder, EVIDENCE, lambda t: t.replace('"value": 0.95', '"value": 0.99'))
    done = world.run_script(folder, script_of("github"), **GITHUB)
    assert done.returncode == 3
    assert "✘ evidence" in done.stdout
    assert "its record names sha256:" in done.stdout

    folder = world.checkout()
    world.propose(3)
    world.merge(2)
    git(folder, "fetch", "--quiet")
    done = world.run_script(folder, script_of("github"), **GITHUB)
    assert done.returncode == 3
    assert "stale: the evidence compares with churn/1, base runs churn/3" in done.stdout
    assert "→ propose it anew: mlops deploy churn/VERSION --to prod" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("✘ refused: 1 of ")


def test_the_readmes_lines_work_as_printed(world: World) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    _, _, section = readme.partition("\n## Pull requests that a machine checks")
    blocks = re.findall(
        r"^```(\w+)\n(.*?)^```$", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL
    )
    done = world.run_script(
        world.checkout(), [code for kind, code in blocks if kind == "sh"], **GITHUB
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for kind, code in blocks:
        for line in code.splitlines() if kind == "console" else []:
            assert line in done.stdout.splitlines()
    assert "pull_request" in done.stdout
    assert "merge_request_event" in done.stdout


def reseal(folder: Path, change: Callable[[Evidence], Evidence]) -> None:
    """Write other evidence, and a record that names it, as a forger would."""
    evidence = change(wire.loads(Evidence, (folder / EVIDENCE).read_bytes()))
    for path, content in sealed({}, evidence.lock, wire.canonical(evidence)).items():
        (folder / path).write_bytes(content)
    git(folder, "commit", "--quiet", "--all", "--message", "By hand")


def test_evidence_that_was_written_and_sealed_anew_is_held_against_the_registry(
    world: World,
) -> None:
    def metrics(evidence: Evidence) -> Evidence:
        better = replace(evidence.metrics["accuracy"], value=0.99)
        return replace(evidence, metrics={**evidence.metrics, "accuracy": better})

    def gates(evidence: Evidence) -> Evidence:
        checks = tuple(replace(check, value=0.999) for check in evidence.verdict.checks)
        return replace(evidence, verdict=replace(evidence.verdict, checks=checks))

    def data(evidence: Evidence) -> Evidence:
        lock = replace(evidence.lock, parameters={"depth": "7"})
        return replace(evidence, lock=lock)

    def digest(evidence: Evidence) -> Evidence:
        return replace(evidence, lock=replace(evidence.lock, digest="sha256:" + "f" * 64))

    def hidden(evidence: Evidence) -> Evidence:
        return replace(evidence, changed=())

    said = []
    for change in (metrics, gates, data, digest, hidden):
        folder = world.checkout()
        reseal(folder, change)
        said.append(dict(refused(world.verify(folder))))
    assert said[0] == {"metrics": "accuracy is 0.95, not 0.99, says the registry"}
    assert said[1]["gates"] == "accuracy >= 0.7: judged anew the value is 0.95, not 0.999"
    assert said[2]["registry"].startswith("parameters is {'depth': '2'}, not {'depth': '7'}")
    assert said[3]["registry"].startswith("digest is ")
    assert "rollout.yaml was edited by hand" in said[3]["manifests"]
    assert said[4]["metrics"].startswith("changed is (ParameterChange(name='depth'")


def test_gates_are_those_of_the_evidence_and_those_that_are_given(world: World) -> None:
    folder = world.checkout()
    done = world.verify(folder, gates=("accuracy >= 0.99",))
    assert not done.passed
    [(check, detail)] = refused(done)
    assert check == "gates"
    assert "1 of 3 gates did not pass: accuracy >= 0.99: accuracy is 0.95 on 200 rows" in detail
    [deployment] = done.deployments
    assert deployment.verdict is not None
    assert [c.gate for c in deployment.verdict.refused] == ["accuracy >= 0.99"]
    assert wire.loads(Verification, wire.dumps(done)) == done
    assert "✘</span> refused: 1 of 7 checks did not pass" in html(done)
    run = world.project.registry.find(world.project.registry.versions("churn")[1].tracking_id)
    assert run.verdict is None or "accuracy >= 0.99" not in str(run.verdict)


def test_settings_that_are_known_are_those_of_the_evidence(world: World) -> None:
    folder = world.checkout()
    project = world.project
    assert project.run(verbs.VerifyPr(repo=str(folder))).passed
    other = parse_settings(
        TOML.replace('alias = "champion"', 'alias = "champion"\nreplicas = 4'),
        path="mlops.toml",
        default_name="p",
    )
    done = Project(world.folder, other, {}).run(verbs.VerifyPr(repo=str(folder)))
    assert refused(done) == [("settings", "replicas is 3, mlops.toml says 4")]


def test_a_change_of_nothing_of_ours_passes_without_a_registry(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world.clone()
    commit(folder, "README.md", lambda t: t + "More.\n")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = mlops_nb.verify_pr(".")
    assert isinstance(done, Verification)
    assert done.passed
    assert text(done) == "✔ passed: it touches no deployment"
    git(folder, "checkout", "--quiet", "origin/mlops-nb/prod/churn")
    with pytest.raises(UserError, match="no tracking server is named") as caught:
        mlops_nb.verify_pr(".")
    assert "MLFLOW_TRACKING_URI" in caught.value.hint
    assert not (folder / ".mlops" / "mlflow.db").exists()


def test_what_comes_along_with_a_deployment_is_refused_and_alone_it_is_not(
    world: World,
) -> None:
    folder = world.checkout()
    commit(folder, "README.md", lambda t: t + "More.\n")
    commit(folder, "models/churn/base/rollout.yaml", lambda t: t + "# mine\n")
    found = dict(refused(world.verify(folder)))
    assert found["files"].startswith("README.md: part of no deployment")
    assert "base/rollout.yaml was edited by hand: it has '# mine' for" in found["manifests"]
    git(folder, "checkout", "--quiet", "main")
    tune = lambda t: t.replace("value: 3\n", "value: 3   # enough\n")  # noqa: E731
    commit(folder, f"{OVERLAY}/rollout.yaml", tune)
    done = world.verify(folder)
    assert [(d.action, d.version) for d in done.deployments] == [("edit", 1)]
    assert done.passed
    commit(folder, f"{OVERLAY}/rollout.yaml", lambda t: t.replace("churn/1", "churn/3"))
    [(check, detail)] = refused(world.verify(folder))
    assert check == "manifests"
    assert "model.lock.yaml says models:/churn/1" in detail


def test_a_return_passes_if_what_it_restores_stood_on_base(world: World) -> None:
    world.merge(2)
    world.project.run(verbs.Rollback(model="churn", env="prod"))
    folder = world.checkout()
    done = world.verify(folder)
    assert [(d.action, d.previous, d.version) for d in done.deployments] == [("rollback", 2, 1)]
    assert done.passed, text(done)
    # The same by Git alone, and one that is not quite what stood there.
    git(folder, "checkout", "--quiet", "main")
    git(folder, "revert", "--no-edit", "-m", "1", "HEAD")
    done = world.verify(folder)
    assert done.passed, text(done)
    assert "as they stood on base at" in text(done)
    commit(folder, f"{OVERLAY}/rollout.yaml", lambda t: t.replace("value: 3\n", "value: 9\n"))
    [(check, detail)] = refused(world.verify(folder))
    assert (check, "it has 'value: 9' for 'value: 3'" in detail) == ("manifests", True)
    # The way back is open while the registry is away.
    git(folder, "reset", "--quiet", "--hard", "HEAD~1")
    away = parse_settings('[tracking]\nuri = "http://127.0.0.1:9"', path="", default_name="p")
    done = Project(folder, away, {}).run(verbs.VerifyPr(repo=str(folder)))
    assert done.passed
    assert "could not be asked" in text(done)


def test_a_return_rendered_into_later_edits_passes(world: World) -> None:
    world.merge(2)
    folder = world.clone()
    hm = lambda t: t.replace("models:/churn/2", "models:/churn/2  # hm")  # noqa: E731
    commit(folder, f"{OVERLAY}/rollout.yaml", hm)
    git(folder, "push", "--quiet", "origin", "main")
    world.project.run(verbs.Rollback(model="churn", env="prod"))
    done = world.verify(world.checkout())
    assert done.passed, text(done)
    assert "rendered into later edits" in text(done)


def test_a_record_that_is_removed_broken_or_bare_of_evidence_is_told_apart(
    world: World,
) -> None:
    folder = world.clone()
    git(folder, "rm", "--quiet", LOCK)
    git(folder, "commit", "--quiet", "--message", "Half")
    [(check, detail)] = refused(world.verify(folder))
    assert detail == f"{LOCK} is removed, but {EVIDENCE} is there"
    git(folder, "rm", "-r", "--quiet", OVERLAY)
    git(folder, "commit", "--quiet", "--message", "Retire")
    done = world.verify(folder)
    assert [(d.action, d.previous, d.version) for d in done.deployments] == [("remove", 1, 0)]
    assert done.passed
    folder = world.checkout()
    commit(folder, LOCK, lambda _: "version: [\n")
    [(check, detail)] = refused(world.verify(folder))
    assert (check, "is not valid YAML" in detail) == ("record", True)
    folder = world.checkout()
    lock = read_lock((folder / LOCK).read_bytes())
    (folder / LOCK).write_bytes(lock_text(replace(lock, evidence="")))
    git(folder, "rm", "--quiet", EVIDENCE)
    git(folder, "commit", "--quiet", "--all", "--message", "Bare")
    assert ("evidence", "the record names none") in refused(world.verify(folder))


def test_a_checkout_that_cannot_be_compared_says_what_to_fetch(world: World) -> None:
    repository = f"file://{world.folder / 'gitops.git'}"
    shallow = world.folder / "checkout-shallow"
    git(world.folder, "clone", "--quiet", "--depth", "1", repository, str(shallow))
    with pytest.raises(UserError, match="a part of the history") as caught:
        Checkout(shallow, "", "HEAD", "main")
    assert "fetch-depth: 0" in caught.value.hint
    folder = world.checkout()
    for base in ("origin/nope", "--all"):
        with pytest.raises(UserError, match="has no commit") as caught:
            Checkout(folder, base, "HEAD", "main")
        assert "--base origin/main" in caught.value.hint
    with pytest.raises(UserError, match="is not a Git repository") as caught:
        Checkout(folder / "models", "", "HEAD", "main")
    assert "--repo" in caught.value.hint


@pytest.mark.parametrize(
    ("forge", "schema"), [("github", "github-workflows"), ("gitlab", "gitlab-ci")]
)
def test_the_workflows_are_what_their_forge_reads(
    forge: str, schema: str, tmp_path: Path
) -> None:
    given = mlops_nb.verify_pr(workflow=forge)
    assert not isinstance(given, Verification)
    assert text(given) + "\n" == given.content
    file = tmp_path / Path(given.path).name
    file.write_text(given.content)
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*check, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_github_workflow_may_read_and_nothing_else() -> None:
    content = workflow("github", "0.1.0").content
    document: Mapping[Any, Any] = yaml.safe_load(content)
    # YAML 1.1, as PyYAML reads it, takes `on` for true.
    assert document[True] == "pull_request"
    assert document["permissions"] == {"contents": "read"}
    [job] = document["jobs"].values()
    uses = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(len(name.partition("@")[2]) == 40 for name in uses)
    scripts = " ".join(step.get("run", "") for step in job["steps"])
    assert "${{" not in scripts
