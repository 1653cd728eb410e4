"""Manifests: the only place that writes YAML; pure, one module for each target."""
