"""The GitOps repository as a bare repository on this machine, by GitPython."""

from mlops_nb.adapters.git.forge import LocalForge

__all__ = ["LocalForge"]
