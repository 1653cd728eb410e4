"""Make a folder a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.gitops import Gitops
from mlops_nb.core.results import Initialized
from mlops_nb.core.settings import FILE_NAME, parse_settings, template
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlops_nb.core.verbs import Init

_LOCAL_REPOSITORY = ".mlops/gitops.git"
# MLServer with its MLflow runtime; a digest, because a tag can be moved by others.
_IMAGE = (
    "docker.io/seldonio/mlserver"
    "@sha256:07890828601515d48c0fb73842aaf197cbcf245a5c855c789e890282b15ce390"
)


def init(
    verb: Init, *, folder: Path, name: str, create_repository: Callable[[Path], bool]
) -> Initialized:
    """Write mlops.toml and make the GitOps repository it names; keep what is there.

    Args:
        verb: the request.
        folder: the project's folder.
        name: the project's name.
        create_repository: makes a bare GitOps repository, tells whether it was missing.

    Raises:
        BadSettings: if there is an mlops.toml that cannot be read.
        UserError: if mlops.toml names another repository.
    """
    # A URL that cannot be one is refused before it stands in a file.
    Gitops(repository=verb.gitops)
    path = folder / FILE_NAME
    created = []
    if not path.exists():
        path.write_text(template(name, verb.gitops or _LOCAL_REPOSITORY, _IMAGE))
        created.append(FILE_NAME)
    settings = parse_settings(path.read_text(), path=str(path), default_name=name)
    told = settings.gitops.repository
    if verb.gitops and folder / told != folder / verb.gitops:
        raise UserError(
            f"--gitops {verb.gitops}: {path} already names {told or 'no repository'}",
            hint=f'write repository = "{verb.gitops}" below its [gitops]',
        )
    if settings.gitops.is_remote:
        return Initialized(
            folder=str(folder), settings=str(path), repository=told, created=tuple(created)
        )
    repository = folder / (told or _LOCAL_REPOSITORY)
    if create_repository(repository):
        created.append(
            str(repository.relative_to(folder))
            if repository.is_relative_to(folder)
            else str(repository)
        )
    return Initialized(
        folder=str(folder),
        settings=str(path),
        repository=str(repository),
        created=tuple(created),
    )
