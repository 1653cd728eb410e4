"""The steps after the notebook: a step that failed is repeated without training again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from shell import Shell, write_notebook

if TYPE_CHECKING:
    from pathlib import Path

DECLARED = "score: float = 0.8\nmark: str = 'executed'"
MODEL = """
import mlflow, pathlib
path = pathlib.Path(mark)
path.write_text(path.read_text() + 'x' if path.exists() else 'x')
class Constant(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [1] * len(model_input)
mlflow.log_metric('score', score)
mlflow.pyfunc.log_model(name='m', python_model=Constant(), pip_requirements=[])
"""


@pytest.fixture
def shell(tmp_path: Path, migrated_store: Path) -> Shell:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    shell = Shell(tmp_path)
    write_notebook(tmp_path / "nb.ipynb", DECLARED, MODEL)
    return shell


TRAIN = ("train", "nb.ipynb", "--gate", "score >= 0.5", "--register", "m", "--deploy", "prod")


def test_a_deployment_that_failed_is_proposed_without_training_again(shell: Shell) -> None:
    no_repository = shell.type(*TRAIN, code=2)
    assert "mlops init" in no_repository.stderr
    assert not (shell.folder / "executed").exists()
    shell.type("init")
    done = shell.type(*TRAIN, "--json", code=2)
    run = json.loads(done.stdout)
    assert run["failure"]["step"] == "deploy"
    assert "pickle" in done.stderr
    assert run["model"] == "m/1"
    settings = shell.folder / "mlops.toml"
    text = settings.read_text()
    settings.write_text(text.replace("allow_pickle = false", "allow_pickle = true"))
    shell.type("retry", run["id"])
    again = shell.json("show", run["id"])
    assert (again["state"], again["model"], again["pull_request"]) == ("succeeded", "m/1", 1)
    assert (shell.folder / "executed").read_text() == "x"
    assert len(shell.json("models")["versions"]) == 1


def test_gates_stand_for_the_model_and_the_environment(shell: Shell) -> None:
    shell.type("init")
    settings = shell.folder / "mlops.toml"
    text = settings.read_text().replace("allow_pickle = false", "allow_pickle = true")
    text = text.replace('# gates = ["accuracy >= 0.95"]', 'gates = ["score >= 0.9"]')
    settings.write_text(text + "\n[models.m]\ngates = ['score >= 0.7']\n")
    low = shell.train(shell.folder / "nb.ipynb", "-p", "score=0.6", "--register", "m", code=3)
    assert low["state"] == "succeeded"
    assert low["verdict"]["checks"][0]["gate"] == "score >= 0.7"
    refused = shell.type("register", low["id"], "--name", "m", code=3)
    assert "score >= 0.7  0.6    0.7" in refused.stdout
    assert "1 of 1 gates did not pass: score >= 0.7" in refused.stderr
    middle = shell.train(shell.folder / "nb.ipynb", "-p", "score=0.8", "--register", "m")
    assert middle["model"] == "m/1"
    stricter = shell.type("deploy", "m", "--to", "prod", code=3)
    assert "score >= 0.9" in stricter.stderr
    assert shell.type("history").stdout.startswith("nothing was deployed yet")
