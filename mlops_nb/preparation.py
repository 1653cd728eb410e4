"""Check a request to run a notebook: all that can be wrong is found before anything runs."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.core.data import DataSource
from mlops_nb.core.gate import Gate
from mlops_nb.core.model import check_model_name
from mlops_nb.core.notebook import Notebook
from mlops_nb.core.run import Limits, RunSpec
from mlops_nb.core.settings import Settings
from mlops_nb.core.verbs import Job
from mlops_nb.errors import BadParameter, NotANotebook, PlainSecret, UserError
from mlops_nb.redaction import strip_userinfo

if TYPE_CHECKING:
    from mlops_nb.core.request import Request


_LONGEST_SLUG = 40


def read_notebook(path: str) -> tuple[Notebook, bytes]:
    """Read a notebook file.

    Raises:
        NotANotebook: if there is no such file or it is no notebook.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        near = sorted(p.name for p in Path(path).parent.glob("*.ipynb"))
        close = difflib.get_close_matches(Path(path).name, near, n=1)
        listed = f"in that folder: {', '.join(near[:8])}" if near else "check the path"
        raise NotANotebook(
            f"there is no notebook {path}",
            hint=f"did you mean {close[0]}?" if close else listed,
        ) from None
    except OSError as error:
        raise NotANotebook(f"{path} cannot be read: {error.strerror}") from None
    return Notebook.parse(path, content), content


def slug(text: str) -> str:
    """Give a text as the beginning of an id: small letters, digits and single hyphens."""
    letters = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower())
    return "-".join(letters.split())[:_LONGEST_SLUG].strip("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What checking requests needs to know and whom it asks.

    Args:
        settings: the project's settings.
        read_parameters: reads a parameter file.
        find_credential: tells what kind of credential a parameter's literal looks like.
        look_up: finds a secret by reference, or raises UserError.
        locate: finds local data, or raises UserError.
        folder: the project's folder.
        requested_by: who asks.
    """

    settings: Settings
    read_parameters: Callable[[str], Mapping[str, object]]
    find_credential: Callable[[str, str], str]
    look_up: Callable[[str], object]
    locate: Callable[[DataSource], DataSource]
    folder: Path
    requested_by: str

    def job(self, verb: Request, spec: RunSpec, **more: Any) -> Job:
        """Give the job of a request that was checked; `more` are further words of the job."""
        words: dict[str, Any] = {
            "gates": verb.gates,
            "register": verb.register,
            "deploy": verb.deploy,
            "retries": verb.retries,
            "placement": verb.placement,
            **more,
        }
        return Job(spec=spec, project=str(self.folder), requested_by=self.requested_by, **words)


def prepare(verb: Request, notebook: Notebook, desk: Desk) -> RunSpec:
    """Check a request against the notebook and the settings.

    Args:
        verb: the request.
        notebook: what it is to run.
        desk: the project's side of it.

    Returns:
        what to run.

    Raises:
        UserError: of the class that tells what is wrong.
    """
    from_file = desk.read_parameters(verb.parameter_file) if verb.parameter_file else {}
    given = {**from_file, **verb.parameters}
    secrets = {
        name: value.removeprefix("secret:")
        for name, value in given.items()
        if isinstance(value, str) and value.startswith("secret:")
    }
    plain = {name: value for name, value in given.items() if name not in secrets}
    for name, uri in verb.data.items():
        if name in given:
            raise BadParameter(
                f"{name} is given both as a parameter and as data", hint="keep one of the two"
            )
        if strip_userinfo(uri) != uri:
            raise PlainSecret(
                f"the address of data {name} holds credentials; it would be kept with the run",
                hint="leave them out: S3 reads AWS_* variables, http(s) reads ~/.netrc",
            )
    notebook.check_names([*given, *verb.data])
    for name, value in plain.items():
        if isinstance(value, str) and (kind := desk.find_credential(name, value)):
            raise PlainSecret(
                f"the value of {name} looks like a credential ({kind}); it would be kept with "
                "the run",
                hint=f"put it into an environment variable and pass -p {name}=secret:VARIABLE",
            )
    bound = notebook.bind(plain)
    for name, value in bound.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise BadParameter(
                f"{name} = {value} cannot be stored with the run: JSON has no such number",
                hint="give a finite number, or None where the notebook allows it",
            )
    for reference in secrets.values():
        desk.look_up(reference)
    spec = RunSpec(
        notebook=str(Path(verb.notebook).resolve()),
        parameters=bound,
        secrets=secrets,
        data=tuple(
            desk.locate(DataSource(name=name, uri=uri)) for name, uri in verb.data.items()
        ),
        kernel=verb.kernel or desk.settings.kernel or notebook.kernel,
        limits=Limits(
            timeout=verb.timeout or desk.settings.limits.timeout,
            cell_timeout=verb.cell_timeout or desk.settings.limits.cell_timeout,
            memory=verb.memory or desk.settings.limits.memory,
        ),
    )
    _check_steps(verb, desk.settings)
    return spec


def _check_steps(verb: Request, settings: Settings) -> None:
    for text in (*verb.gates, *settings.gates.get(verb.register, ())):
        if Gate.parse(text).uses_champion and not verb.register:
            raise UserError(
                f"gate {text!r} compares with the champion, but of which model?",
                hint="name it with --register NAME",
            )
    if verb.register:
        check_model_name(verb.register)
    if verb.deploy:
        if not verb.register:
            raise UserError(
                f"--deploy {verb.deploy} needs a registered model", hint="add --register NAME"
            )
        settings.environment(verb.deploy).check_image()


def read_parameter_file(path: str) -> dict[str, object]:
    """Read parameters from a YAML or JSON file.

    Raises:
        UserError: if the file cannot be read or holds no mapping of names to values.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        # JSON is YAML; the 1.2 core schema keeps `on` and `no` the texts they are.
        values = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}", hint="check the path") from None
    except YAMLError as error:
        raise UserError(f"{path} is not YAML or JSON: {error}", hint="mend the line") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UserError(
            f"{path} does not hold parameters by name", hint="one `name: value` a line"
        )
    return values
