"""What every pod needs, tried in one: a kernel, the tracking server, its artifact store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlops_nb
from mlops_nb.core.results import Diagnosis
from mlops_nb.flows.doctor import doctor
from mlops_nb.runner.kernelspec import find

if TYPE_CHECKING:
    from mlops_nb.core.results import Probe
    from mlops_nb.ports import Registry

_SECONDS = 60.0


def check_up(registry: Registry, kernel: str) -> Diagnosis:
    """Try one after the other, up to the first that fails.

    Args:
        registry: runs and models, as this pod reaches them.
        kernel: name of the kernelspec that notebooks ask for.
    """

    def has_kernel() -> str:
        find(kernel)
        return f"it has mlops-nb {mlops_nb.__version__} and the kernel {kernel}"

    def can_track() -> str:
        registry.runs(limit=1)
        return "the tracking server answers"

    found: list[Probe] = []
    parts = {"image": has_kernel, "tracking server": can_track, "artifacts": registry.check}
    for name, part in parts.items():
        found.extend(doctor({name: part}, timeout=_SECONDS).probes)
        if not found[-1].ok:
            break
    return Diagnosis(probes=tuple(found))
