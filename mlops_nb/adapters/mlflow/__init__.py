"""Runs, their files and the registered models, kept by MLflow."""

from __future__ import annotations

from mlops_nb.adapters.mlflow.registry import MlflowRegistry

__all__ = ["MlflowRegistry"]
