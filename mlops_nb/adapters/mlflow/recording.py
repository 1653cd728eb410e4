"""Single steps on runs and their files, by an MLflow client."""

from __future__ import annotations

import itertools
import json
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from mlops_nb.adapters.mlflow import records
from mlops_nb.adapters.mlflow.tables import NAMES
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Param
    from mlflow.entities import Run as MlflowRun

    from mlops_nb.core.data import Dataset

T = TypeVar("T")

_BATCH = 50
_PAGE = 1000


def experiment(client: MlflowClient, name: str, location: str | None) -> str:
    """Give the id of an experiment, made if it is not there.

    Args:
        client: of the store.
        name: of the experiment.
        location: where a new one keeps files; None leaves it to the server.

    Raises:
        UserError: if it was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            found = client.get_experiment_by_name(name)
            if found is None or error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    if found.lifecycle_stage != "active":
        raise UserError(
            f"experiment {name!r} was deleted in MLflow",
            hint=f"`mlflow experiments restore -x {found.experiment_id}`, or name another one "
            "below [tracking] in mlops.toml",
        )
    return str(found.experiment_id)


def probe(client: MlflowClient, experiment: str, tracking_uri: str) -> None:
    """Write to the store and to its files, read it, and take the file away again.

    Raises:
        OSError: if what is read is not what was written.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    now = datetime.now(UTC).isoformat()
    client.set_experiment_tag(experiment, "mlops_nb.checked", now)
    location = client.get_experiment(experiment).artifact_location
    repository: Any = get_artifact_repository(location, tracking_uri=tracking_uri)
    # A pod and a laptop may do this at once.
    place = f"mlops_nb-check-{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "probe.txt"
        file.write_text(now)
        repository.log_artifact(str(file), place)
        file.unlink()
        read = Path(repository.download_artifacts(f"{place}/{file.name}", folder)).read_text()
    repository.delete_artifacts(place)
    if read != now:
        raise OSError(f"{location} gave back another file than it was given")


def quoted(text: str) -> str:
    """Give a text as MLflow's filters take it."""
    return f'"{text}"' if "'" in text else f"'{text}'"


def every(page: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the items of all pages of an MLflow search."""
    token: str | None = None
    while True:
        found = page(token)
        yield from found
        token = found.token
        if not token:
            return


def log(
    client: MlflowClient,
    run_id: str,
    *,
    params: Sequence[Param] = (),
    tags: Mapping[str, str],
) -> None:
    """Record parameters and tags, in as few requests as MLflow takes."""
    from mlflow.entities import RunTag

    pairs = [RunTag(name, value) for name, value in tags.items()]
    parts = itertools.zip_longest(_batches(params), _batches(pairs), fillvalue=())
    for some_params, some_tags in parts:
        client.log_batch(run_id, params=list(some_params), tags=list(some_tags))


def _batches(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[at : at + _BATCH] for at in range(0, len(items), _BATCH)]


def upload(client: MlflowClient, run_id: str, path: str, file: Path) -> None:
    """Record a file under a path whose last part may differ from the file's name."""
    target = PurePosixPath(path)
    folder = str(target.parent) if target.parent.parts else None
    if file.name == target.name:
        client.log_artifact(run_id, str(file), folder)
        return
    with tempfile.TemporaryDirectory() as staging:
        link = Path(staging) / target.name
        link.symlink_to(file.resolve())
        client.log_artifact(run_id, str(link), folder)


def put(client: MlflowClient, run_id: str, path: str, content: bytes) -> None:
    """Record content under a path."""
    with tempfile.TemporaryDirectory() as staging:
        file = Path(staging) / PurePosixPath(path).name
        file.write_bytes(content)
        upload(client, run_id, path, file)


def content_of(client: MlflowClient, run_id: str, path: str) -> bytes | None:
    """Give a recorded file; None if there is none."""
    target = PurePosixPath(path)
    folder = str(target.parent) if target.parent.parts else None
    there = client.list_artifacts(run_id, folder)
    if not any(info.path == str(target) and not info.is_dir for info in there):
        return None
    with tempfile.TemporaryDirectory() as place:
        return Path(client.download_artifacts(run_id, path, place)).read_bytes()


def table_names(client: MlflowClient, run_id: str) -> list[str]:
    """Give the evaluation tables of a run, in the order they are preferred."""
    there = {info.path for info in client.list_artifacts(run_id) if not info.is_dir}
    return [name for name in NAMES if name in there]


def search(
    client: MlflowClient, experiment: str, wanted: Sequence[str], limit: int
) -> list[MlflowRun]:
    """Give the newest runs that meet all conditions."""
    found: list[MlflowRun] = []
    token = None
    while len(found) < limit:
        page = client.search_runs(
            [experiment],
            " and ".join(wanted),
            max_results=min(_PAGE, limit - len(found)),
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            break
    return found


def deleted(client: MlflowClient, experiment: str, wanted: str) -> list[MlflowRun]:
    """Give the deleted runs that meet a condition."""
    from mlflow.entities import ViewType

    return list(
        every(
            lambda token: client.search_runs(
                [experiment], wanted, run_view_type=ViewType.DELETED_ONLY, page_token=token
            )
        )
    )


def managed(client: MlflowClient, tracking_id: str) -> MlflowRun | None:
    """Give a run of ours by its MLflow id, whatever its experiment; None if there is none."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_run(tracking_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    is_ours = found.data.tags.get(records.MANAGED) == "true"
    return found if is_ours and found.info.lifecycle_stage == "active" else None


def beginning_with(
    client: MlflowClient, experiment: str, ref: str, limit: int
) -> list[MlflowRun]:
    """Give our runs whose id or MLflow id begins so."""
    found = [
        run
        for name in (f"tags.`{records.RUN}`", "attributes.run_id")
        for run in search(
            client,
            experiment,
            [f"{name} LIKE '{ref}%'", f"tags.`{records.MANAGED}` = 'true'"],
            limit,
        )
    ]
    # An underscore stands for any character in LIKE.
    return [
        run
        for run in found
        if run.data.tags[records.RUN].startswith(ref) or run.info.run_id.startswith(ref)
    ]


def children(client: MlflowClient, run: MlflowRun) -> list[MlflowRun]:
    """Give the MLflow runs the notebook started besides its own; not a sweep's children."""
    found = search(
        client,
        run.info.experiment_id,
        [f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"],
        _PAGE,
    )
    # Kubeflow's own MLflow plugin ends what it began.
    return [
        child
        for child in found
        if not {records.RUN, "kfp.pipeline_run_id"} & set(child.data.tags)
    ]


def running_below(client: MlflowClient, run: MlflowRun) -> list[str]:
    """Give the ids of runs the notebook left behind running, at any depth."""
    running = []
    todo = [run]
    while todo:
        for child in children(client, todo.pop()):
            todo.append(child)
            if child.info.status == "RUNNING":
                running.append(child.info.run_id)
    return running


def metrics_of(client: MlflowClient, run: MlflowRun) -> dict[str, float]:
    """Give a run's metrics; where it has none, those of the only child that has some."""
    own = dict(run.data.metrics)
    if own:
        return own
    logged = [child.data.metrics for child in children(client, run) if child.data.metrics]
    return dict(logged[0]) if len(logged) == 1 else {}


def dataset_input(dataset: Dataset) -> DatasetInput:
    """Give a dataset as MLflow's run input; its whole digest is in the profile."""
    from mlflow.entities import Dataset as MlflowDataset
    from mlflow.entities import DatasetInput, InputTag

    scheme = dataset.uri.partition("://")[0] if "://" in dataset.uri else "local"
    return DatasetInput(
        dataset=MlflowDataset(
            name=dataset.name,
            digest=dataset.digest[:35],  # MLflow takes 36 characters
            source_type="local" if scheme == "file" else scheme,
            source=json.dumps({"uri": dataset.uri}),
            profile=json.dumps(
                {"digest": dataset.digest, "size": dataset.size, "num_rows": dataset.rows}
            ),
        ),
        tags=[InputTag("mlflow.data.context", "training")],
    )
