"""A stand-in for a cluster with Argo CD and Argo Rollouts: it follows Git and steps canaries.

    from mlops_nb.dev.cluster import Options, serve

    with serve(Options(environments=..., read=forge.read, head=...)) as server:
        requests.get(f"{server.url}/api/v1/applications")

No pod is run and no request is served: pods are ready after a while, and what a canary's
analyses measure is chosen, or asked of a real metrics server.
"""

from mlops_nb.dev.cluster.metrics import KINDS
from mlops_nb.dev.cluster.server import Options, Server, serve

__all__ = ["KINDS", "Options", "Server", "serve"]
