"""What every request to run a notebook once says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlops_nb.core.run import Placement
from mlops_nb.errors import UserError


def at_least(least: float, **numbers: float | None) -> None:
    """Refuse a number that is too small, by its word."""
    for name, number in numbers.items():
        if number is not None and number < least:
            raise UserError(
                f"{name.replace('_', '-')} is {number:g}", hint=f"give {least:g} or more"
            )


def above_zero(**numbers: float | None) -> None:
    """Refuse a number that is not above 0, by its word."""
    for name, number in numbers.items():
        if number is not None and number <= 0:
            raise UserError(
                f"{name.replace('_', '-')} is {number:g}",
                hint="give more than 0, or leave it out",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A notebook to run, with what, within which limits, and where.

    Args:
        notebook: path of the notebook.
        parameters: values by name; text is read as its parameter's type says.
        data: uri by parameter name.
        timeout: seconds for a whole run.
        cell_timeout: seconds for any one cell.
        memory: bytes a kernel may use.
        kernel: kernelspec name.
        on: executor: `local` or `kubeflow`; empty takes the project's.
        profile: named resources of mlops.toml, for executors that have them.
        gpu: accelerators instead of the profile's.
        cpu: CPU request instead of the profile's.
        image: container image instead of the profile's.
    """

    notebook: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    cell_timeout: float | None = None
    memory: int | None = None
    kernel: str = ""
    on: str = ""
    profile: str = ""
    gpu: int | None = None
    cpu: str = ""
    image: str = ""

    def __post_init__(self) -> None:
        """Refuse limits under which nothing runs."""
        above_zero(timeout=self.timeout, cell_timeout=self.cell_timeout, memory=self.memory)
        at_least(0, gpu=self.gpu)

    @property
    def placement(self) -> Placement:
        """Where it is to go on."""
        return Placement(
            on=self.on,
            profile=self.profile,
            gpu=self.gpu,
            cpu=self.cpu,
            memory=self.memory,
            image=self.image,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Work):
    """A notebook to run once, and the steps after it.

    Args:
        parameter_file: YAML or JSON file with more parameters; `parameters` win.
        gates: expressions to judge by, besides those of mlops.toml for `register`.
        register: name to register the model under; empty registers none.
        deploy: environment to propose the registered model to; empty proposes none.
        retries: how often a run that failed for no fault of the notebook's is started again.
    """

    parameter_file: str = ""
    gates: tuple[str, ...] = ()
    register: str = ""
    deploy: str = ""
    retries: int = 0

    def __post_init__(self) -> None:
        """Refuse limits under which nothing runs."""
        Work.__post_init__(self)
        at_least(0, retries=self.retries)
