"""From the paths that JupyterLab names to files of this machine, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.errors import NotAllowed, NotFound, UserError

if TYPE_CHECKING:
    from typing import Any


class Root:
    """The folder that JupyterLab shows.

    Args:
        folder: where it is; None if it is no folder of this machine.
        follow_links: whether links may lead out of it.
        shows_hidden: whether JupyterLab opens what begins with a dot.
    """

    def __init__(
        self, folder: Path | None, *, follow_links: bool = False, shows_hidden: bool = False
    ) -> None:
        self._folder = folder
        self._follow_links = follow_links
        self._shows_hidden = shows_hidden

    @classmethod
    def of(cls, manager: Any, *, follow_links: bool) -> Root:
        """Give the folder of a contents manager."""
        has_files = hasattr(manager, "root_dir") and hasattr(manager, "_get_os_path")
        folder = Path(manager.root_dir).absolute() if has_files else None
        hidden = bool(getattr(manager, "allow_hidden", False))
        return cls(folder, follow_links=follow_links, shows_hidden=hidden)

    @property
    def folder(self) -> Path:
        """Where it is.

        Raises:
            UserError: if JupyterLab's files are not files of this machine.
        """
        if self._folder is None:
            raise UserError(
                "this server's files are no files of its machine, so nothing here can run them",
                hint="type the verb in a notebook's cell: %mlops",
            )
        return self._folder

    def file(self, path: str, *, suffix: str = "") -> Path:
        """Give a file.

        Args:
            path: as JupyterLab names it, from the folder it shows.
            suffix: how its name has to end.

        Raises:
            UserError: if that is no path below the folder, or not of this suffix.
            NotFound: if there is no such file.
            NotAllowed: if a link leads out of the folder.
        """
        found = self.place(path)
        if suffix and found.suffix != suffix:
            raise UserError(
                f"{path!r} is no notebook", hint=f"name a file that ends in {suffix}"
            )
        if not found.is_file():
            raise NotFound(
                f"there is no file {path!r}", hint="was it renamed, or not saved yet?"
            )
        return found

    def project(self, path: str) -> Path:
        """Give the folder of a notebook, or the folder itself.

        Raises:
            UserError: if that is no path below the folder that JupyterLab shows.
            NotFound: if there is no such folder.
            NotAllowed: if a link leads out of it.
        """
        found = self.place(path)
        folder = found if found.is_dir() else found.parent
        if not folder.is_dir():
            raise NotFound(f"there is no folder {path!r}", hint="was it renamed?")
        return folder

    def place(self, path: str) -> Path:
        """Give where a path leads, whether there is something or not.

        Raises:
            UserError: if that is no path below the folder.
            NotAllowed: if a link leads out of it.
        """
        if path.startswith(("/", "~")) or "\0" in path or ".." in path.split("/"):
            raise UserError(
                f"{path!r} is no path below the folder that JupyterLab shows",
                hint="name it from there: work/churn.ipynb",
            )
        found = self.folder / path
        try:
            place = found.resolve()
            found.exists()
        except (OSError, RuntimeError, ValueError) as error:
            # Names that are too long, no text, or links that go in circles.
            raise UserError(
                f"{path!r} cannot be looked at: {error}", hint="rename it"
            ) from None
        if not self._follow_links and not place.is_relative_to(self.folder.resolve()):
            raise NotAllowed(
                f"{path!r} leads out of the folder that JupyterLab shows",
                hint="copy it there, or set c.MlopsApp.follow_links = True",
            )
        return found

    def path(self, file: Path) -> str | None:
        """Give what JupyterLab calls a file or folder; None if it does not show it."""
        if self._folder is None:
            return None
        for folder in (self._folder, self._folder.resolve()):
            if file.is_relative_to(folder):
                parts = file.relative_to(folder).parts
                hidden = any(part.startswith(".") for part in parts)
                return None if hidden and not self._shows_hidden else "/".join(parts)
        return None
