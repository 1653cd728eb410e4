"""A cluster through the Kubernetes API, for who has a kubeconfig but no access to Argo CD."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.core.rollout import Operation
from mlops_nb.errors import BackendError, BackendUnavailable, MlopsError, NotAllowed, NotFound
from mlops_nb.manifests.live import TEMPLATE_LABEL, read_application, read_rollout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.core.access import ClusterAccess
    from mlops_nb.core.delivery import Environment
    from mlops_nb.core.rollout import Application, Rollout

_GROUP, _VERSION = "argoproj.io", "v1alpha1"
_HOME_OF_ARGOCD = "argocd"
_TIMEOUT = 10.0
_LONGEST = 400


class Rollouts:
    """The Rollouts of an environment's namespace.

    Args:
        environment: the environment.
        kubeconfig: path of the kubeconfig; empty takes ~/.kube/config.
        context: context of the kubeconfig; empty takes its current one.
    """

    def __init__(
        self, environment: Environment, kubeconfig: str = "", context: str = ""
    ) -> None:
        self._environment = environment
        self._kubeconfig = kubeconfig
        self._context = context
        self._client: Any = None

    @classmethod
    def open(
        cls,
        environment: Environment,
        access: ClusterAccess,
        *,
        look_up: Callable[[str], str],  # noqa: ARG003  # a kubeconfig brings its own login
        variables: Mapping[str, str],
        folder: Path,
    ) -> Rollouts:
        """Make one of what mlops.toml says.

        Args:
            environment: the environment.
            access: kubeconfig and context.
            look_up: not needed: the kubeconfig knows how to log in.
            variables: of the process.
            folder: the project's; paths are relative to it.
        """
        told = access.kubeconfig
        path = (
            str(folder / Path(told).expanduser()) if told else variables.get("KUBECONFIG", "")
        )
        return cls(environment, path, access.context)

    def application(self, model: str) -> Application | None:
        """Give Argo CD's own resource, where it is in this cluster and may be read."""
        name = self._environment.application_of(model)
        try:
            found = self._custom(
                f"read application {name}",
                "get_namespaced_custom_object",
                _HOME_OF_ARGOCD,
                "applications",
                name,
            )
        except (NotFound, NotAllowed):
            return None
        return read_application(found, {})

    def rollout(self, model: str) -> Rollout | None:
        """Give the live rollout of a model; None if there is none."""
        try:
            live = self._live(model)
        except NotFound:
            return None
        status = live.get("status", {})
        current, stable = status.get("currentPodHash", ""), status.get("stableRS", "")
        space = self._environment.namespace
        runs = self._custom(
            f"list the analyses of {model}",
            "list_namespaced_custom_object",
            space,
            "analysisruns",
            label_selector=f"{TEMPLATE_LABEL}={current}",
        )
        return read_rollout(live, self._replica_sets(model, {current, stable}), runs["items"])

    def act(self, model: str, operation: Operation) -> None:
        """Patch a rollout as `kubectl argo rollouts` does (pkg/kubectl-argo-rollouts/cmd)."""
        live = self._live(model)
        spec, status = _patches(live, operation)
        action = f"{operation} the rollout of {model}"
        space = self._environment.namespace
        for patch, part in ((status, "/status"), (spec, "")):
            if patch:
                self._merge(action, f"{space}/rollouts/{model}{part}", patch)

    def check(self) -> str:
        """Say which cluster lets its rollouts be read."""
        space = self._environment.namespace
        action = f"list the rollouts in namespace {space}"
        found = self._custom(action, "list_namespaced_custom_object", space, "rollouts")
        count = len(found["items"])
        where = self._client.configuration.host
        return f"Kubernetes at {where}: {count} rollouts in namespace {space}"

    def _live(self, model: str) -> Mapping[str, Any]:
        return self._custom(
            f"read the rollout of {model}",
            "get_namespaced_custom_object",
            self._environment.namespace,
            "rollouts",
            model,
        )

    def _replica_sets(self, model: str, templates: set[str]) -> list[Mapping[str, Any]]:
        from kubernetes.client import AppsV1Api

        api = AppsV1Api(self._connected())
        wanted = f"{TEMPLATE_LABEL} in ({','.join(sorted(t for t in templates if t))})"
        found = self._asked(
            f"list the replica sets of {model}",
            api.list_namespaced_replica_set,
            self._environment.namespace,
            label_selector=wanted,
        )
        sets: list[Mapping[str, Any]] = api.api_client.sanitize_for_serialization(found)[
            "items"
        ]
        return [each for each in sets if _belongs(each, model)]

    def _custom(
        self, action: str, method: str, namespace: str, plural: str, *more: str, **words: Any
    ) -> Mapping[str, Any]:
        from kubernetes.client import CustomObjectsApi

        call = getattr(CustomObjectsApi(self._connected()), method)
        answer: Mapping[str, Any] = self._asked(
            action, call, _GROUP, _VERSION, namespace, plural, *more, **words
        )
        return answer

    def _merge(self, action: str, place: str, patch: Mapping[str, Any]) -> None:
        """Send a merge patch: not every release of the client can be told of its kind."""
        self._asked(
            action,
            self._connected().call_api,
            f"/apis/{_GROUP}/{_VERSION}/namespaces/{place}",
            "PATCH",
            header_params={
                "Accept": "application/json",
                "Content-Type": "application/merge-patch+json",
            },
            body=patch,
            auth_settings=["BearerToken"],
            response_type="object",
            _return_http_data_only=True,
        )

    def _asked(
        self, action: str, call: Callable[..., Any], *values: object, **words: Any
    ) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call(*values, _request_timeout=_TIMEOUT, **words)
        except ApiException as error:
            raise self._ours(
                error.status or 0, str(error.body or error.reason), action
            ) from error
        except HTTPError as error:
            raise BackendUnavailable(
                f"Kubernetes at {self._connected().configuration.host} does not answer: could "
                f"not {action}: {type(error).__name__}",
                hint="is it reachable from here? `mlops doctor` tries it",
            ) from error

    def _ours(self, status: int, said: str, action: str) -> MlopsError:
        place = f"Kubernetes at {self._connected().configuration.host}"
        said = " ".join(said.split())[:_LONGEST]
        if status in {401, 403}:
            return NotAllowed(
                f"{place} does not let you {action}",
                hint="ask for a role that may get and list rollouts, analysisruns and "
                "replicasets there and, to steer, patch rollouts and rollouts/status",
            )
        if status == 404:
            return NotFound(f"{place} could not {action}: not found")
        if status == 429 or status >= 502:
            return BackendUnavailable(f"{place} does not answer: could not {action}: {status}")
        return BackendError(f"{place} could not {action}: {said or status}")

    def _connected(self) -> Any:
        if self._client is None:
            self._client = _connect(self._kubeconfig, self._context)
        return self._client


def _connect(kubeconfig: str, context: str) -> Any:
    from kubernetes.client import ApiClient, Configuration
    from kubernetes.config import ConfigException, load_kube_config
    from yaml import YAMLError

    loaded, path = Configuration(), kubeconfig or "~/.kube/config"
    try:
        load_kube_config(
            path, context=context or None, client_configuration=loaded, persist_config=False
        )
    except ConfigException as error:
        raise NotAllowed(
            f"the kubeconfig {path} does not tell where the cluster is: {error}",
            hint="mend kubeconfig or context in mlops.toml",
        ) from None
    except (OSError, YAMLError, ValueError, TypeError, KeyError) as error:
        raise BackendError(
            f"the kubeconfig {path} cannot be read: {type(error).__name__}",
            hint="`kubectl config view` says what is wrong",
        ) from None
    loaded.retries = 2
    return ApiClient(loaded)


def _belongs(replica_set: Mapping[str, Any], model: str) -> bool:
    owners = replica_set["metadata"].get("ownerReferences") or []
    return any(o["kind"] == "Rollout" and o["name"] == model for o in owners)


def _patches(
    live: Mapping[str, Any], operation: Operation
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Give what is merged into a Rollout, and into its status."""
    match operation:
        case Operation.ABORT:
            return {}, {"status": {"abort": True}}
        case Operation.RETRY:
            return {}, {"status": {"abort": False}}
        case Operation.PROMOTE_FULL:
            return {}, {"status": {"promoteFull": True}}
        case Operation.RESUME:
            spec = {"spec": {"paused": False}} if live["spec"].get("paused") else {}
            return spec, {"status": {"pauseConditions": None}}
        case Operation.SKIP_STEP:
            steps = live["spec"]["strategy"]["canary"].get("steps", [])
            step = min(live["status"].get("currentStepIndex", 0) + 1, len(steps))
            told = {"pauseConditions": None, "controllerPause": False, "currentStepIndex": step}
            return {}, {"status": told}
