"""Finds how a kernel is started."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from string import Template
from typing import Any

from jupyter_core.paths import jupyter_path

from mlops_nb.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSpec:
    """A kernel that is installed here.

    Args:
        name: the kernelspec's name.
        directory: its resource directory.
        argv: command line with `{connection_file}` in it.
        env: variables it asks for; may refer to others as `${NAME}`.
        interrupt_mode: `signal` or `message`.
        is_ipykernel: whether it is IPython's own kernel, started as always.
    """

    name: str
    directory: Path
    argv: tuple[str, ...]
    env: Mapping[str, str]
    interrupt_mode: str
    is_ipykernel: bool

    @property
    def executable(self) -> str:
        """The program that runs the kernel; for Python kernels its interpreter."""
        return self.argv[0]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Give the kernel's environment: `given` and what the spec adds to it."""
        added = {
            name: Template(value).safe_substitute(given) for name, value in self.env.items()
        }
        return {**given, **added}


def find(name: str) -> KernelSpec:
    """Give the kernelspec of this name.

    Raises:
        UserError: if there is none, or it is not started as a process on this machine.
    """
    for folder in jupyter_path("kernels"):
        directory = Path(folder) / name
        if (directory / "kernel.json").is_file():
            return _read(name, directory)
    return _by_library(name)


def _read(name: str, directory: Path) -> KernelSpec:
    file = directory / "kernel.json"
    try:
        document = json.loads(file.read_text("utf-8"))
        return _spec(name, directory, document["argv"], document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"the kernel {name!r} cannot be started: {file} is broken ({error})",
            hint=f"install the kernel {name!r} again",
        ) from error


def _by_library(name: str) -> KernelSpec:
    """Ask jupyter_client, which also knows the kernel of this very environment."""
    library: Any = import_module("jupyter_client.kernelspec")
    known = library.KernelSpecManager()
    try:
        spec = known.get_kernel_spec(name)
    except library.NoSuchKernel as error:
        names = ", ".join(sorted(known.find_kernel_specs())) or "none"
        raise UserError(
            f"there is no kernel named {name!r}; installed: {names}",
            hint=f"pass --kernel with one of these, or install {name!r}",
        ) from error
    return _spec(name, Path(spec.resource_dir), spec.argv, spec.to_dict())


def _spec(
    name: str, directory: Path, argv: Sequence[str], document: Mapping[str, Any]
) -> KernelSpec:
    provisioner = (document.get("metadata") or {}).get("kernel_provisioner") or {}
    if provisioner.get("provisioner_name", "local-provisioner") != "local-provisioner":
        raise UserError(
            f"the kernel {name!r} is not started on this machine but by"
            f" {provisioner['provisioner_name']}",
            hint="pass --kernel with a kernel of this machine",
        )
    words = [str(word) for word in argv]
    version = sys.version_info
    if words[0] in {"python", "python3", f"python{version.major}.{version.minor}"}:
        words[0] = sys.executable
    return KernelSpec(
        name=name,
        directory=directory,
        argv=tuple(words),
        env={str(key): str(value) for key, value in (document.get("env") or {}).items()},
        interrupt_mode=str(document.get("interrupt_mode") or "signal"),
        is_ipykernel=words[1:3] == ["-m", "ipykernel_launcher"] and os.name == "posix",
    )
