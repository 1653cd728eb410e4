"""What the files of a logged model say about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTION = "MLmodel"
_PICKLES = {".pkl", ".pickle", ".cloudpickle", ".joblib", ".dill", ".pt", ".pth"}
_NATIVE = {
    "mlflow.catboost",
    "mlflow.lightgbm",
    "mlflow.onnx",
    "mlflow.pytorch",
    "mlflow.sklearn",
    "mlflow.xgboost",
}
# MLflow writes it into a local model's folder when somebody loads a registered version.
_NOT_OF_THE_MODEL = "registered_model_meta"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What is known of a model from its files.

    Args:
        digest: `sha256:` and 64 hex digits over the sorted relative paths and files' digests.
        flavor: how it was saved.
        uses_pickle: whether loading it runs pickled code, as far as that cannot be excluded.
        signature: file that signs the others, as OpenSSF Model Signing writes it; empty if
            there is none.
    """

    digest: str
    flavor: str
    uses_pickle: bool
    signature: str = ""


def inspect_model(folder: Path) -> ModelFiles:
    """Read a folder with an MLmodel file.

    Raises:
        UserError: if the MLmodel file cannot be read.
    """
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != _NOT_OF_THE_MODEL
    )
    digest = hashlib.sha256()
    for name in files:
        with (folder / name).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    flavors = _flavors(folder / DESCRIPTION)
    return ModelFiles(
        digest=f"sha256:{digest.hexdigest()}",
        flavor=next((f for f in flavors if f != "python_function"), "python_function"),
        uses_pickle=_uses_pickle(flavors, files),
        signature=next((name for name in files if name.endswith(".sig")), ""),
    )


def _flavors(path: Path) -> dict[str, dict[str, Any]]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        flavors = document["flavors"]
        return {str(name): dict(flavors[name] or {}) for name in flavors}
    except (YAMLError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the model's {DESCRIPTION} file cannot be read: {error}",
            hint="log the model with the log_model of an mlflow flavor",
        ) from error


def _uses_pickle(flavors: dict[str, dict[str, Any]], files: list[str]) -> bool:
    """Tell whether pickled code cannot be excluded: an unknown way of loading counts."""
    for name in files:
        path = PurePosixPath(name)
        if path.suffix in _PICKLES or path.match("pytorch_model*.bin"):
            return True
    formats = {
        str(f["serialization_format"]) for f in flavors.values() if "serialization_format" in f
    }
    if formats & {"pickle", "cloudpickle"}:
        return True
    if "transformers" in flavors:
        return not any(name.endswith(".safetensors") for name in files)
    loader = str(flavors.get("python_function", {}).get("loader_module", ""))
    known = {f"mlflow.{name}" for name in flavors} & _NATIVE
    return not known or bool(loader and loader.removesuffix("._pyfunc") not in _NATIVE)
