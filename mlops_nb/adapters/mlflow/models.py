"""Single steps on logged and registered models, by an MLflow client."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops_nb.adapters.mlflow import recording, records
from mlops_nb.adapters.mlflow.modelfiles import DESCRIPTION
from mlops_nb.errors import BackendError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

    from mlops_nb.core.model import ModelVersion

_DEPTH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A model as a run logged it.

    Args:
        name: what its logger called it.
        run_id: MLflow id of the run that logged it.
        location: address of its folder.
        source: what the registry is to record.
        model_id: MLflow's id of it; None for plain files of a run.
    """

    name: str
    run_id: str
    location: str
    source: str
    model_id: str | None = None


def only_model(client: MlflowClient, run: MlflowRun, run_name: str) -> Logged:
    """Give the model a run logged, or its MLflow children, where it logged none itself.

    Raises:
        UserError: if there is none, or more than one.
    """
    found = _models(client, run)
    if not found:
        for child in recording.children(client, run):
            found += _models(client, child)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(
            f"run {run_name} logged no model",
            # A model that is logged before anything else belongs to no run in MLflow.
            hint="log it in the notebook, after its first metric or mlflow.start_run(), e.g. "
            'mlflow.onnx.log_model(model, name="model")',
        )
    names = ", ".join(sorted(model.name for model in found))
    raise UserError(
        f"run {run_name} logged {len(found)} models: {names}",
        hint="log only the one to register; autolog(log_models=False) logs none by itself",
    )


def _models(client: MlflowClient, run: MlflowRun) -> list[Logged]:
    run_id = run.info.run_id
    logged = recording.every(
        lambda token: client.search_logged_models(
            [run.info.experiment_id],
            filter_string=f"source_run_id = '{run_id}'",
            page_token=token,
        )
    )
    models = [
        Logged(
            name=model.name,
            run_id=run_id,
            location=model.artifact_location,
            source=model.model_uri,
            model_id=model.model_id,
        )
        for model in logged
        if str(model.status) == "READY"
    ]
    for folder in _folders(client, run_id, "", _DEPTH):
        location = f"{run.info.artifact_uri}/{folder}" if folder else run.info.artifact_uri
        models.append(
            Logged(name=folder or ".", run_id=run_id, location=location, source=location)
        )
    return models


def _folders(client: MlflowClient, run_id: str, path: str, depth: int) -> Iterator[str]:
    there = client.list_artifacts(run_id, path or None)
    if any(PurePosixPath(info.path).name == DESCRIPTION for info in there):
        yield path
    elif depth:
        for info in there:
            if info.is_dir and info.path != "mlops_nb":
                yield from _folders(client, run_id, info.path, depth - 1)


@contextmanager
def folder_of(location: str, tracking_uri: str) -> Iterator[Path]:
    """Give a model's files for a while, as a local folder."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as place:
        yield Path(
            download_artifacts(artifact_uri=location, dst_path=place, tracking_uri=tracking_uri)
        )


def registered(client: MlflowClient, name: str, run_id: str) -> MlflowVersion | None:
    """Give the first version of a model made from this MLflow run; None if there is none."""
    wanted = f"name = {recording.quoted(name)} and run_id = '{run_id}'"
    found = recording.every(
        lambda token: client.search_model_versions(wanted, page_token=token)
    )
    return min(found, key=lambda version: int(version.version), default=None)


def create(
    client: MlflowClient, name: str, model: Logged, tags: Mapping[str, str], *, is_local: bool
) -> MlflowVersion:
    """Register a version; of several processes that do so at once, all get the first one's.

    Args:
        client: of the store.
        name: registered model.
        model: what is registered.
        tags: its lineage.
        is_local: whether the store is a file of this machine.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        name,
        # Without a server MLflow looks models:/ addresses up in the process' own tracking
        # address, which is the user's.
        model.location if is_local else model.source,
        run_id=model.run_id,
        tags=dict(tags),
        model_id=model.model_id,
        await_creation_for=0,
    )
    first = registered(client, name, model.run_id) or made
    if int(first.version) < int(made.version):
        client.delete_model_version(name, made.version)
    return first


def version_of(client: MlflowClient, name: str, number: int) -> ModelVersion:
    """Give a version as it is registered now."""
    found = client.get_model_version(name, str(number))
    return records.read_version(found, client.get_registered_model(name).aliases)


def has_files(
    client: MlflowClient, version: ModelVersion, tracking_uri: str, *, is_local: bool
) -> bool:
    """Tell whether a version's folder still holds a model.

    Args:
        client: of the store.
        version: the version.
        tracking_uri: address of the store.
        is_local: whether the store is a file of this machine.

    Raises:
        BackendError: if the folder is one of the server's own machine.
    """
    from mlflow.artifacts import list_artifacts
    from mlflow.exceptions import MlflowException

    try:
        place = client.get_model_version_download_uri(version.name, str(version.version))
        there = list_artifacts(artifact_uri=place, tracking_uri=tracking_uri)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    is_there = any(PurePosixPath(info.path).name == DESCRIPTION for info in there)
    if not (is_there or is_local) and urlsplit(place).scheme in {"", "file"}:
        raise BackendError(
            f"the files of {version} are at {place} on the tracking server's machine",
            hint="look there, or have the server serve its artifacts",
        )
    return is_there


def aliases_of(client: MlflowClient, name: str) -> dict[str, Mapping[str, int]]:
    """Give the aliases of a model, or of all models, by its name."""
    wanted = f"name = {recording.quoted(name)}" if name else None
    found = recording.every(
        lambda token: client.search_registered_models(wanted, page_token=token)
    )
    return {model.name: model.aliases for model in found}
