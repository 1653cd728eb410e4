"""The examples as they stand, and the demo's story with what it leaves behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Shell, outputs

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, str]:
    """Give the workspace that the demo leaves, and what it printed."""
    workspace = tmp_path_factory.mktemp("demo") / "workspace"
    shell = Shell(workspace.parent)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py"), str(workspace)],
        cwd=workspace.parent,
        env=shell.env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shell.folder = workspace
    return shell, done.stdout + done.stderr


def test_the_demo_tells_the_whole_journey(demo: tuple[Shell, str]) -> None:
    _shell, said = demo
    for told in (
        "mlops.toml, .mlops/gitops.git",
        "accuracy = 0.74",
        "4 of 4 gates passed",
        "registered credit/1",
        "pull request #1: credit/1 → prod",
        "credit@champion → credit/1",
        "credit@champion → credit/2",
        "min(recall, by=age_group) >= 0.6",
        "3 of 4 gates passed",
        "nothing was registered or deployed",
    ):
        assert told in said
    assert re.search(r"merged #3: .*\n.*credit in prod is now version 1", said)


def test_the_readme_shows_what_the_demo_prints(demo: tuple[Shell, str]) -> None:
    _shell, said = demo
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("What `make demo` prints")[2].partition("```console\n")[2]

    def told(text: str) -> list[str]:
        named = re.sub(r"─+", "─", re.sub(r"credit-[0-9a-f]{6}", "credit-ID", text))
        # Columns are as wide as the terminal lets them.
        return [" ".join(line.split()) for line in named.splitlines() if line.strip()]

    printed = told(said)
    for line in told(shown.partition("```")[0]):
        beginning, _, cut = line.partition(" …")
        assert any(p == line or (not cut and p.startswith(beginning)) for p in printed), line


def test_what_the_demo_leaves_is_a_project_to_go_on_in(demo: tuple[Shell, str]) -> None:
    shell, _said = demo
    runs = shell.json("runs")["runs"]
    assert [(run["state"], run["verdict"]["checks"][2]["outcome"]) for run in runs] == [
        ("succeeded", "failed"),
        ("succeeded", "passed"),
        ("succeeded", "passed"),
    ]
    refused = shell.type("register", runs[0]["id"], "--name", "credit", code=3)
    assert "is not registered as credit" in refused.stderr
    assert "recall" in refused.stderr
    again = shell.json("register", runs[1]["id"], "--name", "credit")
    assert again["version"] == 2
    deployments = shell.json("history")["deployments"]
    assert [(d["action"], d["previous"], d["version"]) for d in deployments] == [
        ("rollback", 2, 1),
        ("deploy", 1, 2),
        ("deploy", 0, 1),
    ]
    assert {d["requested_by"] for d in deployments} == {"Ann Lee <ann@example.com>"}
    first = deployments[2]["lock"]
    assert first["run"] == runs[2]["id"]
    assert first["notebook"] == "credit.ipynb"
    assert len(first["code_commit"]) == 40
    assert [name for name, _digest, _uri in first["datasets"]] == ["data"]
    assert len(first["gates"]) == 4
    assert deployments[0]["reason"] == "complaints about approvals"
    versions = shell.json("models", "credit")["versions"]
    assert [(v["version"], "champion" in v["aliases"]) for v in versions] == [
        (2, False),
        (1, True),
    ]


def test_a_second_deploy_of_the_same_version_changes_nothing(demo: tuple[Shell, str]) -> None:
    shell, _said = demo
    assert shell.json("deploy", "credit/1", "--to", "prod")["files"] == {}
    first = shell.json("deploy", "credit/2", "--to", "prod")["pull_request"]
    second = shell.json("deploy", "credit/2", "--to", "prod")["pull_request"]
    assert (second["number"], second["head"]) == (first["number"], first["head"])
    assert not second["is_changed"]


def test_a_clone_of_the_gitops_repository_is_plain_git(
    demo: tuple[Shell, str], tmp_path: Path
) -> None:
    shell, _said = demo
    clone = tmp_path / "clone"
    git = ("git", "-c", "safe.directory=*")
    subprocess.run(
        [*git, "clone", "-q", str(shell.folder / ".mlops" / "gitops.git"), str(clone)],
        check=True,
        env=shell.env,
    )
    log = subprocess.run(
        [*git, "-C", str(clone), "log", "--merges", "--format=%s"],
        capture_output=True,
        text=True,
        check=True,
        env=shell.env,
    ).stdout.splitlines()
    assert [line.partition(":")[0] for line in log] == [
        "Merge pull request #3",
        "Merge pull request #2",
        "Merge pull request #1",
    ]
    lock = clone / "models" / "credit" / "overlays" / "prod" / "model.lock.yaml"
    assert "version: 1\n" in lock.read_text()


def test_digits_becomes_an_onnx_model_that_passes_its_gates(
    tmp_path: Path, migrated_store: Path
) -> None:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    shell = Shell(tmp_path)
    notebook = tmp_path / "digits.ipynb"
    notebook.write_bytes((EXAMPLES / "digits.ipynb").read_bytes())
    gates = ("accuracy >= 0.94", "min(accuracy, by=digit) >= 0.75", "parity_error <= 0.001")
    words = [word for gate in gates for word in ("--gate", gate)]
    run = shell.train(notebook, *words, "--register", "digits")
    assert run["model"] == "digits/1"
    assert [check["outcome"] for check in run["verdict"]["checks"]] == ["passed"] * 3
    assert any(outputs(shell.run_folder(run["id"]) / "executed.ipynb"))
    (version,) = shell.json("models")["versions"]
    assert (version["flavor"], version["uses_pickle"]) == ("onnx", False)
    assert version["aliases"] == ["candidate"]
