"""A pod serves the model that was registered, and no other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import mlflow
import yaml
from sklearn.linear_model import LogisticRegression

from mlops_nb.adapters.mlflow.modelfiles import inspect_model
from mlops_nb.manifests.base import base_files
from mlops_nb.manifests.servers import SERVERS

if TYPE_CHECKING:
    from pathlib import Path


def download(folder: Path, digest: str) -> subprocess.CompletedProcess[str]:
    """Run what the pod's init container runs, its mount in the folder."""
    base = base_files("churn", SERVERS["mlserver"])["models/churn/base/rollout.yaml"]
    [container] = yaml.safe_load(base)["spec"]["template"]["spec"]["initContainers"]
    assert container["command"] == ["python", "-c"]
    script = container["args"][0].replace("/mnt/model", str(folder / "mnt"))
    variables = {
        "MODEL_URI": "models:/churn/1",
        "MODEL_DIGEST": digest,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    shutil.rmtree(folder / "mnt", ignore_errors=True)
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_model_that_was_changed_since_it_was_registered_is_not_served(
    tmp_path: Path, migrated_store: Path
) -> None:
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    files = tmp_path / "files"
    mlflow.sklearn.save_model(LogisticRegression(), files)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    client.create_registered_model("churn")
    client.create_model_version("churn", files.as_uri())
    digest = inspect_model(files).digest
    done = download(tmp_path, digest)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mnt" / "MLmodel").exists()
    with (files / "MLmodel").open("a") as file:
        file.write("# changed\n")
    done = download(tmp_path, digest)
    assert done.returncode != 0
    assert re.search(f"the model is sha256:[0-9a-f]{{64}}, not {digest}", done.stderr)
