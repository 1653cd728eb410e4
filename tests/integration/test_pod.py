"""The wheel is whole, and in a pod the runner works without what only a desk needs."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from rehearsal import rehearsal
from shell import write_notebook
from tracking_server import tracking_server

from mlops_nb import wire
from mlops_nb.core.run import Run, RunSpec, RunState
from mlops_nb.core.settings import parse_settings
from mlops_nb.core.verbs import Job, Train
from mlops_nb.project import Project

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
POD = {"PATH": os.defpath, "HOME": "/nonexistent"}

pytestmark = pytest.mark.skipif(not UV.exists(), reason="uv is not in this environment")


def call(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True,
        env=environment or None,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    call(
        UV, "build", "--quiet", "--wheel", "--out-dir", out,
        **os.environ, HATCH_BUILD_NO_HOOKS="true",
    )  # fmt: skip
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def pod(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the Python of an environment made by the two lines the requirements file tells."""
    folder = tmp_path_factory.mktemp("pod") / "venv"
    call(UV, "venv", "--quiet", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    install = (UV, "pip", "install", "--quiet", "--python", python)
    needed = ROOT / "binder" / "requirements-pod.txt"
    call(*install, "-r", needed, "-c", ROOT / ".ci" / "constraints.txt")
    call(*install, "--no-deps", wheel)
    return python


def test_the_wheel_holds_the_typed_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"mlops_nb/__init__.py", "mlops_nb/py.typed"} <= names
    sources = {str(p.relative_to(ROOT)) for p in (ROOT / "mlops_nb").rglob("*.py")}
    assert sources <= names
    called = f"mlops_nb-{importlib.metadata.version('mlops-nb')}"
    config = f"{called}.data/data/etc/jupyter/jupyter_server_config.d/mlops_nb.json"
    assert {name.split("/")[0] for name in names - {config}} == {
        "mlops_nb",
        f"{called}.dist-info",
    }
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_the_runner_answers_in_a_pod(pod: Path) -> None:
    assert "run directory" in call(pod, "-m", "mlops_nb.runner", "--help", **POD)


def test_what_a_run_needs_can_be_loaded_in_a_pod(pod: Path) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for folder in ("core", "runner", "flows", "manifests")
        for path in sorted((ROOT / "mlops_nb" / folder).glob("*.py"))
    ]
    modules += ["mlops_nb.wire", "mlops_nb.redaction", "mlops_nb.adapters.lineage", "mlflow"]
    # papermill loads the engine as a plug-in, so that it has to come first.
    modules.insert(0, "papermill")
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    call(pod, "-c", code, *modules, **POD)


def test_a_notebook_runs_in_a_pod_against_a_tracking_server(
    pod: Path, tmp_path: Path, migrated_store: Path
) -> None:
    with tracking_server(tmp_path, migrated_store) as server:
        notebook = write_notebook(
            tmp_path / "nb.ipynb",
            "lr: float = 0.1",
            "import mlflow\nmlflow.log_metric('score', lr)",
        )
        directory = tmp_path / "run"
        directory.mkdir()
        shutil.copy(notebook, directory / "notebook.ipynb")
        spec = RunSpec(notebook=str(notebook), parameters={"lr": 0.5})
        job = Job(id="nb-1", spec=spec, project=str(tmp_path), gates=("score >= 0.4",))
        (directory / "job.json").write_text(wire.dumps(job))
        (tmp_path / "mlops.toml").write_text(f"[tracking]\nuri = '{server.wait()}'\n")
        home = {"HOME": str(tmp_path), "PATH": os.defpath}
        call(pod, "-m", "mlops_nb.runner", directory, **home)
    run = wire.loads(Run, (directory / "result.json").read_text())
    assert run.state is RunState.SUCCEEDED
    assert run.metrics == {"score": 0.5}
    assert run.verdict is not None
    assert run.verdict.passed
    assert run.url.startswith(server.uri)


def test_a_pipeline_runs_in_pods_that_have_no_more_than_they_need(
    pod: Path, tmp_path: Path, migrated_store: Path
) -> None:
    notebook = write_notebook(
        tmp_path / "nb.ipynb",
        "lr: float = 0.1",
        "import mlflow\nfrom beside import twice\nmlflow.log_metric('score', twice(lr))",
    )
    (tmp_path / "beside.py").write_text("def twice(x):\n    return 2 * x\n")
    servers = tmp_path / "servers"
    servers.mkdir()
    with rehearsal(servers, migrated_store, python=pod) as both:
        settings = parse_settings(both.settings(), path="mlops.toml", default_name="p")
        verb = Train(
            notebook=str(notebook),
            parameters={"lr": "0.5"},
            gates=("score >= 0.9",),
            on="kubeflow",
            wait=True,
        )
        run = Project(tmp_path, settings, {}).run(verb)
    assert (run.state, run.failure) == (RunState.SUCCEEDED, None)
    assert run.metrics == {"score": 1.0}
    assert run.verdict.passed


def test_a_literal_credential_is_found_in_a_pod(pod: Path) -> None:
    code = (
        "from mlops_nb.redaction import find_credential as f;"
        "print(f('x', 'AKIA' + 'IOSFODNN7EXAMPLE'))"
    )
    assert call(pod, "-c", code, **POD).strip() == "AWS Access Key"


def test_a_pod_holds_no_desk(pod: Path) -> None:
    listed = call(UV, "pip", "freeze", "--python", pod)
    names = {line.split("==")[0].split(" @")[0].lower() for line in listed.splitlines()}
    assert not names & {"jupyterlab", "kfp", "ipywidgets", "keyring", "mlflow", "pandas"}
    assert {"mlops-nb", "mlflow-skinny", "papermill", "ipykernel"} <= names


def test_the_command_tells_its_version() -> None:
    command = shutil.which("mlops", path=str(Path(sys.executable).parent))
    assert command
    assert call(command, "--version").split()[-1] == importlib.metadata.version("mlops-nb")
