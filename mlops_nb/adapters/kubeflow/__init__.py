"""Runs as Kubeflow pipelines."""
