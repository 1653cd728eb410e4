"""Argo CD's part of an environment: one Application for each model that has an overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.manifests.yaml import emit, flow

if TYPE_CHECKING:
    from mlops_nb.core.delivery import Environment


def cluster_files(environment: Environment) -> dict[str, bytes]:
    """Write the files that make Argo CD follow the environment's overlays, by path."""
    folder = f"clusters/{environment.name}"
    return {
        f"{folder}/applicationset.yaml": emit(_application_set(environment), comment=_APPLY),
        f"{folder}/appproject.yaml": emit(_project(environment), comment=_MAY),
    }


_APPLY = """\
Written once by mlops_nb; yours to edit. A cluster follows this environment after
`kubectl apply -n argocd -f` of this folder; repoURL is how Argo CD reaches this repository."""
_MAY = """\
Written once by mlops_nb; yours to edit. What models may bring into the cluster: nothing
cluster-wide, and no Secret from Git."""


def _application_set(environment: Environment) -> dict[str, object]:
    name = f"models-{environment.name}"
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {
            "goTemplate": True,
            "goTemplateOptions": ["missingkey=error"],
            "generators": [
                {
                    "git": {
                        "repoURL": environment.repository,
                        "revision": "HEAD",
                        "directories": [{"path": f"models/*/overlays/{environment.name}"}],
                    }
                }
            ],
            "template": {
                "metadata": {"name": f"{{{{index .path.segments 1}}}}-{environment.name}"},
                "spec": {
                    "project": name,
                    "source": {
                        "repoURL": environment.repository,
                        "targetRevision": "HEAD",
                        "path": "{{.path.path}}",
                    },
                    "destination": {
                        "server": "https://kubernetes.default.svc",
                        "namespace": environment.namespace,
                    },
                    # The rollout moves the weights of the route; Git does not say them.
                    "ignoreDifferences": [
                        {
                            "group": "gateway.networking.k8s.io",
                            "kind": "HTTPRoute",
                            "jqPathExpressions": [".spec.rules[].backendRefs[].weight"],
                        },
                        {
                            "group": "networking.istio.io",
                            "kind": "VirtualService",
                            "jqPathExpressions": [".spec.http[].route[].weight"],
                        },
                    ],
                    "syncPolicy": {
                        "automated": flow({"prune": True, "selfHeal": True}),
                        "syncOptions": [
                            "RespectIgnoreDifferences=true",
                            "ApplyOutOfSyncOnly=true",
                            "ServerSideApply=true",
                        ],
                    },
                },
            },
        },
    }


def _project(environment: Environment) -> dict[str, object]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": f"models-{environment.name}", "namespace": "argocd"},
        "spec": {
            "description": f"Models of environment {environment.name}",
            "sourceRepos": [environment.repository],
            "destinations": [
                {
                    "server": "https://kubernetes.default.svc",
                    "namespace": environment.namespace,
                }
            ],
            "clusterResourceWhitelist": [],
            "namespaceResourceBlacklist": [flow({"group": "", "kind": "Secret"})],
        },
    }
