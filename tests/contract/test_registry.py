"""What every registry promises: the fake, a local MLflow store, a real MLflow server."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from fake_registry import FakeRegistry
from tracking_server import Server, tracking_server

from mlops_nb.adapters.mlflow import MlflowRegistry
from mlops_nb.core.data import Dataset
from mlops_nb.core.events import Progress
from mlops_nb.core.gate import Check, Outcome, Verdict
from mlops_nb.core.lineage import CodeState
from mlops_nb.core.model import ModelRef, ModelVersion
from mlops_nb.core.run import Failure, Run, RunState
from mlops_nb.errors import NotFound, UserError
from mlops_nb.ports import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONFORMS: tuple[type[Registry], ...] = (FakeRegistry, MlflowRegistry)
_MLMODEL = """\
flavors:
  onnx:
    data: model.onnx
  python_function:
    loader_module: mlflow.onnx
"""


class Notebook(Protocol):
    """What a notebook logs by itself."""

    def log_metrics(self, tracking_id: str, metrics: dict[str, float]) -> None: ...
    def log_model(self, tracking_id: str, name: str) -> None: ...
    def lose_files(self, version: ModelVersion) -> None: ...


@dataclass
class MlflowNotebook:
    uri: str
    scratch: Path

    def log_metrics(self, tracking_id: str, metrics: dict[str, float]) -> None:
        from mlflow import MlflowClient

        for name, value in metrics.items():
            MlflowClient(self.uri, self.uri).log_metric(tracking_id, name, value)

    def log_model(self, tracking_id: str, name: str) -> None:
        from mlflow import MlflowClient

        client = MlflowClient(self.uri, self.uri)
        folder = self.scratch / uuid.uuid4().hex
        folder.mkdir()
        (folder / "MLmodel").write_text(_MLMODEL)
        (folder / "model.onnx").write_bytes(b"not really")
        experiment = client.get_run(tracking_id).info.experiment_id
        model = client.create_logged_model(experiment, name=name, source_run_id=tracking_id)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")

    def lose_files(self, version: ModelVersion) -> None:
        from mlflow import MlflowClient
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        client = MlflowClient(self.uri, self.uri)
        place = client.get_model_version_download_uri(version.name, str(version.version))
        folder = get_artifact_repository(place, tracking_uri=self.uri)
        folder.delete_artifacts()  # type: ignore[no-untyped-call]  # MLflow has no types for it


@dataclass
class Bench:
    registry: Registry
    notebook: Notebook


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: making one takes seconds, copying it does not."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    MlflowRegistry(f"sqlite:///{path}", "unused").runs(limit=1)
    return path


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Server]:
    """A tracking server that starts while the other registries are tried."""
    with tracking_server(tmp_path_factory.mktemp("server"), template) as started:
        yield started


@pytest.fixture(scope="module", params=["fake", "sqlite", "server"])
def make(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    template: Path,
    server: Server,
) -> Callable[[], Bench]:
    if request.param == "fake":

        def fake() -> Bench:
            registry = FakeRegistry()
            return Bench(registry, registry)

        return fake
    folder = tmp_path_factory.mktemp("größe #1 50% of it")
    if request.param == "sqlite":
        shutil.copy(template, folder / "mlflow.db")
        uri = f"sqlite:///{folder}/mlflow.db"
    else:
        uri = server.wait()

    def real() -> Bench:
        registry = MlflowRegistry(uri, f"e-{uuid.uuid4().hex}", str(folder / "artifacts"))
        return Bench(registry, MlflowNotebook(uri, folder))

    return real


@pytest.fixture
def bench(make: Callable[[], Bench]) -> Bench:
    return make()


@pytest.fixture
def model() -> str:
    """Name a model that no other test of the shared store uses."""
    return f"m-{uuid.uuid4().hex[:12]}"


def new_run(name: str = "", **changes: object) -> Run:
    run = Run(
        id=name or f"churn-{uuid.uuid4().hex[:8]}",
        notebook="/home/ada/My work/churn.ipynb",
        state=RunState.RUNNING,
        parameters={"lr": 0.05, "deep": True, "layers": [1, 2], "token": "secret:API"},
    )
    return replace(run, **changes)  # type: ignore[arg-type]  # names and values are the test's


def done(run: Run, state: RunState = RunState.SUCCEEDED) -> Run:
    return replace(run, state=state, cells=4, cells_done=4, peak_memory=123_456_789)


def test_a_run_is_found_again_as_it_ended(bench: Bench, tmp_path: Path) -> None:
    executed = tmp_path / "somewhere.ipynb"
    executed.write_bytes(b"{}")
    ended = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=30)
    run = bench.registry.begin(new_run(), {"mlops_nb.requested_by": "Ada <ada@x.org>"})
    bench.notebook.log_metrics(run.tracking_id, {"accuracy": 0.9, "auc": 0.95})
    data = Dataset(name="train", uri="s3://b/k.csv", digest="sha256:" + "ab" * 32, size=12)
    failure = Failure(
        reason="cell 4 raised ValueError", cell=4, ename="ValueError", traceback="line\n" * 4000
    )
    checks = tuple(
        Check(gate=f"accuracy >= 0.{n}", outcome=Outcome.FAILED, value=0.9, reason="is below")
        for n in range(100)
    )
    last = replace(
        done(run, RunState.FAILED),
        datasets=(data,),
        failure=failure,
        verdict=Verdict(checks=checks),
        ended=ended,
        cells_done=3,
    )
    result = bench.registry.finish(last, {"mlops_nb/executed.ipynb": executed})
    assert result.metrics == {"accuracy": 0.9, "auc": 0.95}
    again = bench.registry.finish(last, {"mlops_nb/executed.ipynb": executed})
    assert again == result
    found = bench.registry.find(run.id)
    assert found.state is RunState.FAILED
    assert found.tracking_id == run.tracking_id
    assert found.notebook == "/home/ada/My work/churn.ipynb"
    assert found.parameters == {
        "lr": 0.05, "deep": True, "layers": [1, 2], "token": "secret:API"
    }  # fmt: skip
    assert found.metrics == {"accuracy": 0.9, "auc": 0.95}
    assert found.failure == failure
    assert found.verdict == Verdict(checks=checks)
    assert found.datasets == (data,)
    assert found.ended == ended
    assert found.started is not None
    assert (found.cells_done, found.cells, found.peak_memory) == (3, 4, 123_456_789)
    assert bench.registry.file(run.tracking_id, "mlops_nb/executed.ipynb") == b"{}"


def test_what_a_run_is_made_of_is_recorded_with_it(bench: Bench) -> None:
    made = replace(
        new_run(), defaults={"depth": 3, "names": ["a"], "none": None}, children=8,
        code_commit="0" * 40 + "-dirty", code_note="the diff was cut",
    )  # fmt: skip
    code = CodeState(commit="0" * 40, is_dirty=True, note="the diff was cut")
    run = bench.registry.begin(made, code.tags())
    found = bench.registry.find(run.id)
    assert found.defaults == {"depth": 3, "names": ["a"], "none": None}
    assert found.children == 8
    assert (found.code_commit, found.code_note) == (code.stamp, code.note)


def test_a_run_in_progress_is_running(bench: Bench) -> None:
    run = bench.registry.begin(new_run(), {})
    bench.notebook.log_metrics(run.tracking_id, {"loss": 2.0})
    bench.notebook.log_metrics(run.tracking_id, {"loss": 1.5})
    assert bench.registry.metrics(run.tracking_id) == {"loss": 1.5}
    found = bench.registry.find(run.id)
    assert (found.state, found.ended) == (RunState.RUNNING, None)


def test_a_run_placed_elsewhere_is_found_by_its_address_and_seen_from_afar(
    bench: Bench,
) -> None:
    address = str(uuid.uuid4())
    assert bench.registry.tagged("mlops_nb.address", address) is None
    run = bench.registry.begin(new_run(executor="kubeflow", address=address), {})
    found = bench.registry.tagged("mlops_nb.address", address)
    assert found is not None
    assert (found.id, found.executor, found.address) == (run.id, "kubeflow", address)
    progress = Progress(
        run=run.id,
        time=datetime.now(UTC),
        cell=3,
        cells=7,
        done=2,
        elapsed=12.5,
        last_line="epoch 4",
        peak_memory=5_000,
    )
    bench.registry.progress(run.tracking_id, progress)
    seen = bench.registry.find(run.id)
    assert (seen.cells_done, seen.cells, seen.last_line, seen.peak_memory) == (
        2, 7, "epoch 4", 5_000,
    )  # fmt: skip
    bench.registry.finish(replace(done(run), pull_request=4), {})
    ended = bench.registry.find(run.id)
    assert (ended.pull_request, ended.cells_done, ended.last_line) == (4, 4, "")


def test_a_run_of_the_same_work_is_known(bench: Bench) -> None:
    digest, data = (
        uuid.uuid4().hex,
        Dataset(name="t", uri="s3://b/t", digest="sha256:1", size=1),
    )
    other = replace(data, digest="sha256:2")

    def recorded(bundle: str = digest, dataset: Dataset = data, **changes: object) -> Run:
        run = bench.registry.begin(new_run("", **changes), {"mlops_nb.bundle": bundle})
        return replace(run, datasets=(dataset,))

    first = recorded()
    bench.notebook.log_metrics(first.tracking_id, {"auc": 0.9})
    bench.registry.finish(done(first), {})
    for run in (
        recorded(bundle="another"),
        recorded(dataset=other),
        recorded(parameters={"lr": 1}),
        recorded(),
    ):
        bench.registry.finish(done(run, RunState.FAILED), {})
    cached = recorded()
    bench.registry.finish(cached, {})
    assert bench.registry.find(cached.id).state is RunState.RUNNING
    twin = bench.registry.twin(cached.tracking_id)
    assert twin is not None
    assert (twin.id, twin.metrics) == (first.id, {"auc": 0.9})
    assert bench.registry.twin(first.tracking_id) is None


def test_a_start_repeated_after_an_interruption_is_the_same_run(bench: Bench) -> None:
    first = new_run()
    run = bench.registry.begin(first, {})
    assert bench.registry.begin(first, {}).tracking_id == run.tracking_id
    assert bench.registry.begin(run, {}).tracking_id == run.tracking_id
    assert len(bench.registry.runs(limit=10)) == 1


def test_a_run_done_again_loses_what_came_of_it_before(bench: Bench) -> None:
    run = bench.registry.begin(new_run(), {})
    failed = replace(
        done(run, RunState.FAILED),
        failure=Failure(reason="x" * 12_000),
        verdict=Verdict(checks=(Check(gate="a >= 1", outcome=Outcome.FAILED, value=0.5),)),
    )
    bench.registry.finish(failed, {})
    bench.registry.begin(run, {})
    found = bench.registry.find(run.id)
    assert (found.state, found.failure) == (RunState.RUNNING, None)
    assert found.verdict is None
    bench.registry.finish(done(run), {})
    found = bench.registry.find(run.id)
    assert (found.state, found.failure) == (RunState.SUCCEEDED, None)


def test_a_later_end_keeps_the_verdict_and_the_time(bench: Bench) -> None:
    run = bench.registry.begin(new_run(), {})
    verdict = Verdict(checks=(Check(gate="a >= 1", outcome=Outcome.PASSED, value=1.5),))
    first = bench.registry.finish(replace(done(run), verdict=verdict), {})
    assert first.ended is not None
    bench.registry.finish(done(run), {})
    found = bench.registry.find(run.id)
    assert found.verdict == verdict
    assert abs(found.ended - first.ended) < timedelta(milliseconds=2)  # type: ignore[operator]  # it ended


def test_parameters_of_any_length_come_back_whole(bench: Bench) -> None:
    parameters = {f"p{n}": "ü" * 300 for n in range(120)} | {"long": "x" * 20_000}
    run = bench.registry.begin(new_run(parameters=parameters), {})
    assert bench.registry.find(run.id).parameters == parameters


def test_runs_are_listed_newest_first_and_filtered(bench: Bench) -> None:
    begun = []
    for n in range(5):
        notebook = "/a/other's.ipynb" if n == 3 else "/a/churn.ipynb"
        run = bench.registry.begin(new_run(notebook=notebook), {})
        begun.append(run)
        if n % 2:
            bench.registry.finish(done(run, RunState.CANCELLED), {})
        time.sleep(0.002)
    ids = [run.id for run in begun]
    assert [run.id for run in bench.registry.runs(limit=10)] == ids[::-1]
    assert [run.id for run in bench.registry.runs(limit=2)] == ids[:-3:-1]
    running = bench.registry.runs(limit=10, state=RunState.RUNNING)
    assert {run.id for run in running} == {ids[0], ids[2], ids[4]}
    named = bench.registry.runs(limit=10, notebook="other's.ipynb")
    assert [run.id for run in named] == [ids[3]]
    assert bench.registry.runs(limit=10, notebook="none.ipynb") == []
    third = bench.registry.find(ids[2])
    older = bench.registry.runs(limit=10, until=third.started)
    assert [run.id for run in older] == ids[2::-1]


def test_a_deleted_run_is_nowhere_until_it_is_restored(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("hello")
    run = bench.registry.begin(new_run(), {})
    bench.notebook.log_metrics(run.tracking_id, {"auc": 0.7})
    bench.registry.finish(done(run), {"mlops_nb/log.txt": log})
    before = bench.registry.find(run.id)
    bench.registry.delete(run.tracking_id)
    assert bench.registry.runs(limit=10) == []
    with pytest.raises(NotFound):
        bench.registry.find(run.id)
    with pytest.raises(NotFound):
        bench.registry.delete(run.tracking_id)
    assert [one.id for one in bench.registry.restore(run.id)] == [run.id]
    assert bench.registry.find(run.id) == before
    assert bench.registry.file(run.tracking_id, "mlops_nb/log.txt") == b"hello"
    with pytest.raises(NotFound, match=f"no run '{run.id}' was deleted"):
        bench.registry.restore(run.id)
    bench.registry.delete(run.tracking_id)
    assert [one.id for one in bench.registry.restore(run.tracking_id)] == [run.id]


def test_a_sweep_is_restored_with_its_children(bench: Bench) -> None:
    outer = bench.registry.begin(new_run(best="max:accuracy"), {})
    inner = bench.registry.begin(new_run(f"{outer.id}.1", parent=outer.id), {})
    for run in (inner, outer):
        bench.registry.finish(done(run), {})
        bench.registry.delete(run.tracking_id)
    assert [one.id for one in bench.registry.restore(outer.id)] == [outer.id, inner.id]
    assert bench.registry.find(inner.id).parent == outer.id


def test_a_sweeps_children_bear_its_id(bench: Bench) -> None:
    outer = bench.registry.begin(new_run(best="max:accuracy"), {})
    children = [
        bench.registry.begin(new_run(f"{outer.id}.{n}", parent=outer.id), {}) for n in (1, 2)
    ]
    found = bench.registry.runs(limit=10, parent=outer.id)
    assert {run.id for run in found} == {child.id for child in children}
    assert {run.parent for run in found} == {outer.id}
    # A parent's end is not its children's.
    bench.registry.finish(done(outer), {})
    assert bench.registry.find(children[0].id).state is RunState.RUNNING
    assert bench.registry.find(outer.id).best == "max:accuracy"
    assert bench.registry.find(outer.id[:-1]).id == outer.id


def test_a_run_is_found_by_a_unique_beginning(bench: Bench) -> None:
    one = bench.registry.begin(new_run("my_nb-aaaa11"), {})
    bench.registry.begin(new_run("my_nb-aaaa22"), {})
    bench.registry.begin(new_run("myxnb-aaaa11"), {})
    assert bench.registry.find("my_nb-aaaa1").id == one.id
    assert bench.registry.find(one.tracking_id).id == one.id
    assert bench.registry.find(one.tracking_id[:12]).id == one.id
    with pytest.raises(UserError, match=r"2 runs"):
        bench.registry.find("my_nb-aaaa")


@pytest.mark.parametrize("ref", ["my_nb-aaba11", "my_", "", "x' or '1'='1", "%%%%"])
def test_an_unknown_run_is_not_found(bench: Bench, ref: str) -> None:
    bench.registry.begin(new_run("my_nb-aaaa11"), {})
    with pytest.raises(NotFound) as caught:
        bench.registry.find(ref)
    if ref == "my_nb-aaba11":
        assert "my_nb-aaaa11" in caught.value.hint


def test_files_are_kept_and_replaced(bench: Bench) -> None:
    run = bench.registry.begin(new_run(), {})
    assert bench.registry.file(run.tracking_id, "mlops_nb/verdict.json") is None
    bench.registry.attach(run.tracking_id, "mlops_nb/verdict.json", b"1")
    bench.registry.attach(run.tracking_id, "mlops_nb/verdict.json", b"\x00\xff")
    assert bench.registry.file(run.tracking_id, "mlops_nb/verdict.json") == b"\x00\xff"
    assert bench.registry.file(run.tracking_id, "mlops_nb") is None


def test_an_evaluation_table_is_read(bench: Bench) -> None:
    run = bench.registry.begin(new_run(), {})
    assert bench.registry.table(run.tracking_id) is None
    document = {"columns": ["label", "prediction", "sex"], "data": [[1, 0, "f"], [0, 0, "m"]]}
    content = json.dumps(document).encode()
    bench.registry.attach(run.tracking_id, "evaluation.json", content)
    table = bench.registry.table(run.tracking_id)
    assert table is not None
    assert (table.label, table.prediction) == ((1, 0), (0, 0))
    assert table.groups == {"sex": ("f", "m")}
    bench.registry.attach(run.tracking_id, "evaluation.json", b'{"columns": ["label"]}')
    with pytest.raises(UserError, match=r"evaluation\.json"):
        bench.registry.table(run.tracking_id)


def test_an_evaluation_table_may_be_csv(bench: Bench) -> None:
    run = bench.registry.begin(new_run(), {})
    content = b",label,prediction,score,paid\n0,1,0,0.25,True\n1,0,0,1,False\n"
    bench.registry.attach(run.tracking_id, "evaluation.csv", content)
    table = bench.registry.table(run.tracking_id)
    assert table is not None
    assert (table.label, table.score) == ((1, 0), (0.25, 1.0))
    assert list(table.groups) == ["paid"]


def test_a_model_is_registered_once_with_its_lineage(bench: Bench, model: str) -> None:
    run = bench.registry.begin(new_run(), {"mlops_nb.notebook_digest": "sha256:11"})
    bench.registry.tag(run.tracking_id, {"mlops_nb.git": "later"})
    bench.notebook.log_model(run.tracking_id, "model")
    run = bench.registry.finish(done(run), {})
    version = bench.registry.register(run, model)
    assert str(version) == f"{model}/1"
    assert (version.run, version.tracking_id) == (run.id, run.tracking_id)
    assert version.digest.startswith("sha256:")
    assert version.flavor == "onnx"
    assert not version.uses_pickle
    assert version.aliases == ("candidate",)
    assert version.tags["mlops_nb.notebook_digest"] == "sha256:11"
    assert version.tags["mlops_nb.git"] == "later"
    assert version.created is not None
    assert bench.registry.register(run, model) == version
    assert bench.registry.versions(model) == [version]
    assert bench.registry.find(run.id).model == f"{model}/1"


def test_candidate_moves_to_the_version_registered_last(bench: Bench, model: str) -> None:
    for _ in range(2):
        run = bench.registry.begin(new_run(), {})
        bench.notebook.log_model(run.tracking_id, "model")
        bench.registry.register(bench.registry.finish(done(run), {}), model)
    bench.registry.point(model, "champion", 1)
    first, second = ModelRef(name=model, version=1), ModelRef(name=model, version=2)
    assert bench.registry.resolve(ModelRef(name=model)).version == 2
    assert bench.registry.resolve(first).aliases == ("champion",)
    assert bench.registry.resolve(second).aliases == ("candidate",)
    assert bench.registry.resolve(ModelRef(name=model, alias="champion")).version == 1
    assert [v.version for v in bench.registry.versions(model)] == [2, 1]
    assert {str(v) for v in bench.registry.versions()} >= {f"{model}/1", f"{model}/2"}
    bench.registry.point(model, "champion", 2)
    assert bench.registry.resolve(second).aliases == ("candidate", "champion")
    assert bench.registry.resolve(first).aliases == ()
    bench.registry.mark(model, 1, {"mlops_nb.deployed.prod": "live"})
    bench.registry.mark(model, 1, {"mlops_nb.deployed.prod": "replaced"})
    assert bench.registry.resolve(first).tags["mlops_nb.deployed.prod"] == "replaced"
    assert "mlops_nb.deployed.prod" not in bench.registry.resolve(second).tags


def test_what_is_not_registered_is_not_found(bench: Bench, model: str) -> None:
    assert bench.registry.versions(model) == []
    with pytest.raises(NotFound, match=model):
        bench.registry.resolve(ModelRef(name=model))
    with pytest.raises(NotFound):
        bench.registry.point(model, "champion", 1)
    run = bench.registry.begin(new_run(), {})
    bench.notebook.log_model(run.tracking_id, "model")
    bench.registry.register(bench.registry.finish(done(run), {}), model)
    with pytest.raises(NotFound, match="champion"):
        bench.registry.resolve(ModelRef(name=model, alias="champion"))
    with pytest.raises(NotFound, match=f"{model}/7"):
        bench.registry.resolve(ModelRef(name=model, version=7))
    with pytest.raises(NotFound):
        bench.registry.point(model, "champion", 7)
    with pytest.raises(NotFound):
        bench.registry.mark(model, 7, {"mlops_nb.deployed.prod": "live"})


def test_a_version_whose_files_were_deleted_is_told_from_one_that_has_them(
    bench: Bench, model: str
) -> None:
    run = bench.registry.begin(new_run(), {})
    bench.notebook.log_model(run.tracking_id, "model")
    version = bench.registry.register(bench.registry.finish(done(run), {}), model)
    assert bench.registry.has_files(version)
    bench.notebook.lose_files(version)
    assert not bench.registry.has_files(version)


def test_a_run_without_one_model_is_not_registered(bench: Bench, model: str) -> None:
    run = bench.registry.begin(new_run(), {})
    with pytest.raises(UserError, match=rf"{run.id} logged no model"):
        bench.registry.register(done(run), model)
    bench.notebook.log_model(run.tracking_id, "first")
    bench.notebook.log_model(run.tracking_id, "second")
    with pytest.raises(UserError, match="2 models: first, second"):
        bench.registry.register(done(run), model)
    assert bench.registry.versions(model) == []


def test_the_store_can_be_tried(bench: Bench) -> None:
    assert bench.registry.check()


def test_a_run_on_a_server_has_a_page(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = server.wait()
    registry = MlflowRegistry(uri.replace("//", "//ada:secret@"), "pages")
    run = registry.begin(new_run(), {})
    log = tmp_path / "log.txt"
    log.write_text("printed")
    registry.finish(done(run), {"mlops_nb/log.txt": log})
    assert registry.file(run.tracking_id, "mlops_nb/log.txt") == b"printed"
    experiment = registry.environment(run)["MLFLOW_EXPERIMENT_ID"]
    assert run.url == f"{uri}/#/experiments/{experiment}/runs/{run.tracking_id}"
    assert registry.find(run.id).url == run.url
    # What a verb prints on standard output is one JSON document.
    assert capfd.readouterr().out == ""
