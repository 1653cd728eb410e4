"""A local MLflow store shared by processes, and servers that do not answer or refuse."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from mlops_nb.adapters.mlflow import MlflowRegistry
from mlops_nb.adapters.mlflow.modelfiles import inspect_model
from mlops_nb.adapters.mlflow.tables import read_table
from mlops_nb.core.run import Run, RunState
from mlops_nb.errors import BackendError, BackendUnavailable, NotAllowed, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_REGISTER = """
import json, sys
from dataclasses import replace
from pathlib import Path
from mlops_nb.adapters.mlflow import MlflowRegistry
from mlops_nb.core.run import Run, RunState

folder = Path(sys.argv[1])
registry = MlflowRegistry(f"sqlite:///{folder}/new/mlflow.db", "churn")
run = registry.begin(Run(id="churn-1", notebook="/a/churn.ipynb", state=RunState.RUNNING), {})
own = registry.begin(
    Run(id=f"own-{sys.argv[2]}", notebook="/a/churn.ipynb", state=RunState.RUNNING), {})
registry.attach(own.tracking_id, "model/MLmodel", b"flavors: {onnx: {data: model.onnx}}")
own = registry.finish(replace(own, state=RunState.SUCCEEDED), {})
versions = [str(registry.register(own, "alone")), str(registry.register(own, "alone"))]
(folder / f"ready{sys.argv[2]}").touch()
while not all((folder / f"ready{n}").exists() for n in (1, 2)):
    pass
shared = registry.find("own-1")
versions.append(str(registry.register(shared, "both")))
print(json.dumps(versions))
"""


def test_two_processes_make_one_store_and_one_version(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _REGISTER, str(tmp_path), str(n)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment,
            text=True,
        )
        for n in (1, 2)
    ]
    answers = [process.communicate(timeout=180) for process in processes]
    assert [error for _, error in answers] == ["", ""]
    versions = [json.loads(output) for output, _ in answers]
    assert sorted(v[0] for v in versions) == ["alone/1", "alone/2"]
    assert all(v[0] == v[1] for v in versions)
    assert {v[2] for v in versions} == {"both/1"}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "artifacts", "mlflow.db", "mlflow.db.lock"
    ]  # fmt: skip
    # Nothing of MLflow's own defaults lies about.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "ready1", "ready2"]


def test_the_users_own_mlflow_settings_stay_as_they_are(tmp_path: Path) -> None:
    import mlflow

    before, environment = mlflow.get_tracking_uri(), dict(os.environ)
    broken = tmp_path / "mlflow.db"
    broken.write_text("no database")
    with pytest.raises(BackendError, match=r"mlflow\.db could not list runs"):
        MlflowRegistry(f"sqlite:///{broken}", "churn").runs(limit=1)
    assert mlflow.get_tracking_uri() == before
    assert dict(os.environ) == environment


def test_what_a_notebook_itself_began_is_deleted_and_restored_with_its_run(
    tmp_path: Path, migrated_store: Path
) -> None:
    from mlflow import MlflowClient

    (tmp_path / "mlflow.db").write_bytes(migrated_store.read_bytes())
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    registry, client = MlflowRegistry(uri, "churn"), MlflowClient(uri, uri)
    queued = Run(id="churn-1", notebook="/a/churn.ipynb", state=RunState.QUEUED)
    run = registry.begin(queued, {})
    experiment = client.get_run(run.tracking_id).info.experiment_id
    inner = client.create_run(experiment, tags={"mlflow.parentRunId": run.tracking_id})
    both = (run.tracking_id, inner.info.run_id)
    registry.finish(replace(run, state=RunState.SUCCEEDED), {})
    registry.delete(run.tracking_id)
    assert {client.get_run(one).info.lifecycle_stage for one in both} == {"deleted"}
    assert [one.id for one in registry.restore("churn-1")] == ["churn-1"]
    assert {client.get_run(one).info.lifecycle_stage for one in both} == {"active"}


def test_a_store_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match="'ftp://tracking'"):
        MlflowRegistry("ftp://ada:secret@tracking", "churn")


def test_a_server_that_is_down_is_named_without_its_password() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    registry = MlflowRegistry(f"http://ada:secret@127.0.0.1:{port}", "churn", timeout=2)
    with pytest.raises(BackendUnavailable) as caught:
        registry.metrics("0" * 32)
    assert f"http://127.0.0.1:{port}" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.hint


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"no")

        do_POST = do_GET  # noqa: N815  # the base class names them

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002  # likewise

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, NotAllowed), (403, NotAllowed), (503, BackendUnavailable), (404, BackendError)],
)
def test_a_server_that_refuses(status: int, error: type[BackendError]) -> None:
    with answering(status) as uri:
        with pytest.raises(error) as caught:
            MlflowRegistry(uri, "churn", timeout=2).versions()
        assert uri in caught.value.message


def test_an_address_without_an_answer_gives_up(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BackendUnavailable, match=uri):
            MlflowRegistry(uri, "churn", timeout=1).check()


@pytest.mark.parametrize(
    ("flavors", "file", "pickled"),
    [
        ("{onnx: {data: m}, python_function: {loader_module: mlflow.onnx}}", "m.onnx", False),
        (
            "{xgboost: {data: m}, python_function: {loader_module: mlflow.xgboost}}",
            "m.ubj",
            False,
        ),
        ("{sklearn: {serialization_format: skops}}", "model.skops", False),
        ("{sklearn: {serialization_format: cloudpickle}}", "model", True),
        ("{sklearn: {serialization_format: skops}}", "model.pkl", True),
        ("{lightgbm: {data: m}}", "model.joblib", True),
        ("{pytorch: {}}", "data/model.pth", True),
        ("{transformers: {}}", "model/model.safetensors", False),
        ("{transformers: {}}", "model/pytorch_model.bin", True),
        ("{python_function: {loader_module: mlflow.pyfunc.model}}", "python_model.json", True),
        ("{python_function: {loader_module: my_code}, onnx: {}}", "m.onnx", True),
        ("{my_flavor: {}}", "m.bin", True),
    ],
)
def test_pickles_are_noticed(tmp_path: Path, flavors: str, file: str, pickled: bool) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(b"x")
    (tmp_path / "MLmodel").write_text(f"flavors: {flavors}")
    before = inspect_model(tmp_path)
    assert before.uses_pickle is pickled
    # Loading a registered version leaves this in a local model's folder.
    (tmp_path / "registered_model_meta").write_text("model_name: churn")
    assert inspect_model(tmp_path) == before
    (tmp_path / file).write_bytes(b"y")
    assert inspect_model(tmp_path).digest != before.digest
    assert before.signature == ""
    (tmp_path / "model.sig").write_text("{}")
    assert inspect_model(tmp_path).signature == "model.sig"


@pytest.mark.parametrize("text", ["", "flavors: [", "run_id: 1"])
def test_a_model_without_flavors_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(UserError, match="MLmodel"):
        inspect_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation.json", b"[1]"),
        ("evaluation.json", b'{"columns": ["label", "prediction"], "data": [[1]]}'),
        ("evaluation.json", b"\xff"),
        ("evaluation.csv", b"label,prediction\n1\n"),
        ("evaluation.csv", b""),
        ("evaluation.parquet", b"PAR1"),
    ],
)
def test_a_table_that_is_none_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(UserError, match=name):
        read_table(name, content)
