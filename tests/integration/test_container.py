"""The image of pods, built as its recipe says, runs a compiled pipeline in real containers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker_engine import base_image, docker_engine
from shell import write_notebook
from tracking_server import tracking_server

from mlops_nb.adapters.kubeflow.bundle import recorded_as
from mlops_nb.adapters.kubeflow.pipeline import compile_plan
from mlops_nb.adapters.kubeflow.submission import prepare
from mlops_nb.core.run import RunSpec, RunState
from mlops_nb.core.settings import parse_settings
from mlops_nb.core.verbs import Job
from mlops_nb.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlops_nb.core.run import Run

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
RECIPE = "binder/pod.Dockerfile"
IMAGE = "mlops-nb-test-pod:latest"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not UV.exists(), reason="uv is not in this environment"),
]

RUN = """
import sys
from kfp import components, local
# Containers are to find this machine's servers.
local.init(runner=local.DockerRunner(network_mode="host"), pipeline_root=sys.argv[2])
components.load_component_from_file(sys.argv[1])(run_id=sys.argv[3], bundle_run=sys.argv[4])
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    with docker_engine(tmp_path_factory.mktemp("engine")) as environment:
        yield environment


@pytest.fixture(scope="module")
def image(engine: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the image as its recipe says, from what Git would give and a wheel of it."""
    context = tmp_path_factory.mktemp("context")
    for name in (RECIPE, "binder/requirements-pod.txt", ".dockerignore"):
        (context / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, context / name)
    no_panel = os.environ | {"HATCH_BUILD_NO_HOOKS": "true"}
    call(UV, "build", "--quiet", "--wheel", "--out-dir", context / "dist", environment=no_panel)
    base, is_made_here = base_image(tmp_path_factory.mktemp("base"), engine)
    words: list[str | Path] = ["--file", RECIPE, "--build-arg", f"BASE={base}", "--tag", IMAGE]
    if is_made_here:
        # Who cannot pull an image may not reach an index from a build, either.
        needed: list[str | Path] = ["--requirement", "binder/requirements-pod.txt"]
        needed += ["--constraint", ".ci/constraints.txt", "--dest", context / "dist"]
        call(sys.executable, "-m", "pip", "download", "--quiet", *needed)
        words += ["--network", "host", "--build-arg", "PIP_NO_INDEX=1"]
    call("docker", "build", *words, ".", cwd=context, environment=engine)
    yield IMAGE
    call("docker", "image", "rm", "--force", IMAGE, environment=engine)


def call(
    *command: str | Path, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_container_is_nobody_in_particular_and_holds_no_desk(
    image: str, engine: Mapping[str, str]
) -> None:
    code = "import importlib.util as u, os; print(os.getuid(), u.find_spec('jupyterlab'))"
    words = ["run", "--rm", "--network", "none", image, "python", "-c", code]
    assert call("docker", *words, environment=engine).split() == ["1000", "None"]


def test_a_compiled_pipeline_runs_in_containers(
    image: str,
    engine: Mapping[str, str],
    tmp_path: Path,
    migrated_store: Path,
) -> None:
    notebook = write_notebook(
        tmp_path / "nb.ipynb",
        "lr: float = 0.1",
        "import mlflow, os\nfrom beside import twice\nmlflow.log_metric('score', twice(lr))\n"
        "mlflow.set_tag('user', os.getuid())",
    )
    (tmp_path / "beside.py").write_text("def twice(x):\n    return 2 * x\n")
    servers = tmp_path / "servers"
    servers.mkdir()
    with tracking_server(servers, migrated_store) as server:
        text = (
            f'[tracking]\nuri = "{server.wait()}"\n'
            f'[kubeflow]\nurl = "http://127.0.0.1:1"\nimage = "{image}"\n'
        )
        settings = parse_settings(text, path="mlops.toml", default_name="p")
        project = Project(tmp_path, settings, {})
        job = Job(
            id="nb-3fa9c1",
            spec=RunSpec(notebook=str(notebook), parameters={"lr": 0.5}),
            project=str(tmp_path),
            gates=("score >= 0.9",),
        )
        run = executed(job, notebook.read_bytes(), project, engine)
        tags = project.registry.tagged("user", "1000")
    assert (run.state, run.failure) == (RunState.SUCCEEDED, None)
    assert run.metrics == {"score": 1.0}
    assert run.verdict is not None
    assert run.verdict.passed
    assert tags == run


def executed(job: Job, notebook: bytes, project: Project, engine: Mapping[str, str]) -> Run:
    """Record a job as a submission does, and run its pipeline by kfp's runner for Docker."""
    made = prepare(job, notebook, project)
    run = project.registry.begin(job.queued(""), {})
    project.registry.attach(
        run.tracking_id, recorded_as(made.bundle.digest), made.bundle.content
    )
    file = project.folder / "pipeline.yaml"
    file.write_text(compile_plan(made.plan))
    outputs = project.folder / "outputs"
    outputs.mkdir()
    # The user of the containers is not the one of the test.
    outputs.chmod(0o777)
    call(sys.executable, "-c", RUN, file, outputs, run.id, run.tracking_id, environment=engine)
    return project.registry.find(run.id)
