"""The GitOps repository and its pull requests: on this machine, or at a forge."""

from mlops_nb.adapters.git.checkout import Checkout
from mlops_nb.adapters.git.forge import LocalForge
from mlops_nb.adapters.git.remote import RemoteForge

__all__ = ["Checkout", "LocalForge", "RemoteForge"]
