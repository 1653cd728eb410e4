"""Write what a submission consists of, so that it can go on without this tool."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from mlops_nb.core.results import Ejected
from mlops_nb.errors import Conflict, UserError
from mlops_nb.preparation import prepare, read_notebook, slug

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.core.delivery import Deployment
    from mlops_nb.core.settings import Settings
    from mlops_nb.core.verbs import Eject
    from mlops_nb.ports import Executor
    from mlops_nb.preparation import Desk

_SUMS = "SHA256SUMS"


def eject(
    verb: Eject,
    *,
    desk: Desk,
    executor: Executor,
    tracking_uri: str,
    deployment: Deployment | None,
) -> Ejected:
    """Write the pipeline, the notebook's bundle and the model's deployment into a folder.

    The same again, over files that nobody changed, brings them up to date.

    Raises:
        UserError: before anything is written, if the request is wrong.
        Conflict: if the folder holds other files, or changed ones.
    """
    if verb.on not in {"", "kubeflow"}:
        raise UserError(
            f"a run on {verb.on} submits nothing to go on with", hint="leave --on out"
        )
    notebook, content = read_notebook(verb.notebook)
    spec = prepare(verb, notebook, desk)
    name = slug(PurePath(verb.notebook).stem) or "notebook"
    job = desk.job(verb, spec, id=name, placement=replace(verb.placement, on="kubeflow"))
    files = dict(executor.render(job, content, kubernetes=verb.kubernetes))
    if deployment is not None:
        files |= {f"deployment/{path}": own for path, own in deployment.files.items() if own}
    commands = _commands(name, files, desk.settings, tracking_uri)
    files["README.md"] = _readme(notebook.path, commands).encode()
    folder = Path(verb.to) if verb.to else Path(verb.notebook).with_name(f"{name}-ejected")
    _write(folder, files)
    return Ejected(folder=str(folder), files=tuple(sorted(files)), commands=commands)


def _commands(
    name: str, files: Mapping[str, bytes], settings: Settings, tracking_uri: str
) -> tuple[str, ...]:
    experiment = settings.experiment or settings.name
    kubeflow = settings.kubeflow
    bundle = next((path for path in files if path.endswith(".tar.gz")), "")
    uri, server = shlex.quote(tracking_uri), shlex.quote(kubeflow.url)
    make = f"mlflow runs create --experiment-name {shlex.quote(experiment)} --run-name {name}"
    upload = "mlflow artifacts log-artifact --run-id $RUN --artifact-path mlops_nb"
    where = f" --namespace {shlex.quote(kubeflow.namespace)}" if kubeflow.namespace else ""
    group = shlex.quote(kubeflow.experiment or settings.name)
    submit = f"kfp --endpoint {server}{where} run create --experiment-name {group}"
    lines = [
        f"export MLFLOW_TRACKING_URI={uri}",
        f"RUN=$({make}-bundle | grep -o '[0-9a-f]\\{{32\\}}' | head -1)",
        f"{upload} --local-file {bundle}",
        f"{submit} --run-name {name} --package-file pipeline.yaml bundle_run=$RUN",
    ]
    if "kubernetes.yaml" in files:
        lines.append("kubectl apply -f kubernetes.yaml")
    return tuple(lines)


def _readme(notebook: str, commands: tuple[str, ...]) -> str:
    typed = "\n".join(commands)
    return f"""\
# {PurePath(notebook).name}, as a pipeline of its own

The bundle is the notebook and the files that it needs. Its pods take it from an MLflow run; the
first lines make one. In this folder, with `pip install mlflow kfp`:

```sh
{typed}
```

`sha256sum -c {_SUMS}` tells whether these files are as they were written.
"""


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files, instead of those that were written before and not changed since."""
    stale = _written_before(folder)
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {path}\n"
        for path, content in sorted(files.items())
    )
    try:
        for path in stale:
            (folder / path).unlink()
        for path, content in {**files, _SUMS: sums.encode()}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror}", hint="give another folder: --to"
        ) from None


def _written_before(folder: Path) -> list[str]:
    """Give the paths of files that were written here before.

    Raises:
        Conflict: if one of them was changed, or other files are there.
    """
    if folder.is_file():
        raise Conflict(f"{folder} is a file", hint="give a folder: --to")
    if not folder.exists():
        return []
    there = {str(p.relative_to(folder)): p for p in folder.rglob("*") if not p.is_dir()}
    sums = there.pop(_SUMS, None)
    recorded = {}
    for line in sums.read_text().splitlines() if sums else ():
        digest, _, path = line.partition("  ")
        recorded[path] = digest
    for path, file in sorted(there.items()):
        if path not in recorded:
            raise Conflict(
                f"{folder} holds {path}, which was not ejected", hint="give another --to"
            )
        if hashlib.sha256(file.read_bytes()).hexdigest() != recorded[path]:
            raise Conflict(
                f"{path} in {folder} was changed since it was ejected",
                hint="keep your change and give another --to",
            )
    return [*there]
