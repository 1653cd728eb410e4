"""A project whose runs go on in a stand-in for Kubeflow, with a real tracking server."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracking_server import tracking_server

from mlops_nb.dev.kubeflow import Options, Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Rehearsal:
    """The two servers.

    Args:
        tracking_uri: address of the MLflow server.
        kubeflow: the stand-in.
    """

    tracking_uri: str
    kubeflow: Server

    def settings(self, more: str = "") -> str:
        """Give an mlops.toml whose runs go there; `more` is further TOML."""
        return (
            f'[tracking]\nuri = "{self.tracking_uri}"\n'
            f'[kubeflow]\nurl = "{self.kubeflow.url}"\nimage = "this-machine"\n'
            f"shares_machine = true\n{more}"
        )


@contextmanager
def rehearsal(
    folder: Path, store: Path, python: Path | str = sys.executable, plugin: str = ""
) -> Iterator[Rehearsal]:
    """Start both servers; they are gone, with every pod, at the end.

    Args:
        folder: where they keep what they keep.
        store: a migrated MLflow store, copied.
        python: the interpreter of the pods.
        plugin: MLflow experiment of Kubeflow's own MLflow plugin; empty is a Kubeflow without.
    """
    (folder / "mlflow").mkdir()
    with tracking_server(folder / "mlflow", store) as tracking:
        options = Options(
            folder=folder / "kubeflow",
            grace=5,
            accelerators=2,
            python=str(python),
            mlflow=tracking.uri if plugin else "",
            mlflow_experiment=plugin or "Default",
        )
        with serve(options) as kubeflow:
            yield Rehearsal(tracking.wait(), kubeflow)
