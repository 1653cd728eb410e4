"""A stand-in for Kubeflow Pipelines: it speaks the v2 API and runs what is submitted, here.

    from mlops_nb.dev.kubeflow import Options, serve

    with serve(Options(folder=folder)) as server:
        client = kfp.Client(host=server.url)

In a shell: `python -m mlops_nb.dev.kubeflow --folder DIR`. The folder may hold `secrets.json`
and `configmaps.json`, each an object of objects: `{"name": {"key": "value"}}`.
"""

from mlops_nb.dev.kubeflow.options import Options
from mlops_nb.dev.kubeflow.server import Server, serve

__all__ = ["Options", "Server", "serve"]
