"""Argo CD's REST API: applications, their live rollouts and analyses, and rollouts' actions.

Paths and fields are those of assets/swagger.json of Argo CD v3.5.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from mlops_nb.errors import (
    BackendError,
    BackendUnavailable,
    MlopsError,
    NotAllowed,
    NotFound,
)
from mlops_nb.manifests.live import read_application, read_rollout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlops_nb.core.access import ClusterAccess
    from mlops_nb.core.delivery import Environment
    from mlops_nb.core.rollout import Application, Operation, Rollout

TOKEN_VARIABLE = "ARGOCD_AUTH_TOKEN"  # noqa: S105  # the variable's name, which argocd reads too
_GROUP, _VERSION = "argoproj.io", "v1alpha1"
_TIMEOUT = 10.0
_LONGEST = 400
_MOST_RUNS = 8
_SECONDS_FRESH = 10.0


class ArgoCd:
    """An Argo CD that follows an environment.

    Args:
        environment: the environment.
        access: Argo CD's address.
        token: gives the bearer token; asked again when it is refused.
        ca: file with the certificates to trust instead of the public ones; empty for these.
    """

    def __init__(
        self,
        environment: Environment,
        access: ClusterAccess,
        token: Callable[[], str],
        ca: str = "",
    ) -> None:
        self._environment = environment
        self._project = environment.argocd_project
        self._url = access.argocd.rstrip("/")
        self._read_token = token
        self._token = ""
        self._refreshed: dict[str, float] = {}
        self._session = requests.Session()
        # What only reads is sent again; an action is never sent twice.
        retries = Retry(
            total=3,
            backoff_factor=0.3,
            backoff_max=3,
            status_forcelist=(429, 502, 503, 504),
            allowed_methods=("GET",),
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retries))
        # Given so, the header is not replaced by what a .netrc says.
        self._session.auth = self._sign
        self._verify: bool | str = ca or True

    @classmethod
    def open(
        cls,
        environment: Environment,
        access: ClusterAccess,
        *,
        look_up: Callable[[str], str],
        variables: Mapping[str, str],
        folder: Path,
    ) -> ArgoCd:
        """Make one of what mlops.toml says.

        Args:
            environment: the environment.
            access: address and login.
            look_up: gives the value of a secret by its name.
            variables: of the process.
            folder: the project's; paths are relative to it.
        """

        def token() -> str:
            if access.argocd_token:
                return look_up(access.argocd_token.removeprefix("secret:"))
            if access.argocd_token_file:
                return _content(folder / Path(access.argocd_token_file).expanduser())
            return variables.get(TOKEN_VARIABLE, "")

        ca = access.argocd_ca
        return cls(
            environment, access, token, str(folder / Path(ca).expanduser()) if ca else ""
        )

    def application(self, model: str) -> Application | None:
        """Give what Argo CD says of a model; None if it knows none of the name."""
        name = self._environment.application_of(model)
        path = f"/api/v1/applications/{quote(name, safe='')}"
        try:
            found = self._get(f"read application {name}", path, **self._refresh(name))
        except NotFound:
            return None
        windows = self._get(f"read the sync windows of {name}", f"{path}/syncwindows")
        return read_application(found, windows, f"{self._url}/applications/{name}")

    def rollout(self, model: str) -> Rollout | None:
        """Give the live rollout of a model; None if there is none."""
        name = self._environment.application_of(model)
        path = f"/api/v1/applications/{quote(name, safe='')}"
        try:
            tree = self._get(f"read the resources of {name}", f"{path}/resource-tree")
        except NotFound:
            return None
        nodes = tree.get("nodes") or []
        node = _rollout_node(nodes, model)
        if node is None:
            return None
        live = self._resource(path, node)
        status = live.get("status", {})
        hashes = {status.get("currentPodHash"), status.get("stableRS")} - {None, ""}
        # Both are named by Argo Rollouts: ROLLOUT-HASH, and ROLLOUT-HASH-REVISION[-STEP].
        sets = [
            n
            for n in nodes
            if n.get("kind") == "ReplicaSet"
            and n["name"] in {f"{node['name']}-{each}" for each in hashes}
        ]
        prefix = f"{node['name']}-{status.get('currentPodHash')}-"
        runs = sorted(
            (
                n
                for n in nodes
                if n.get("kind") == "AnalysisRun" and n["name"].startswith(prefix)
            ),
            key=lambda n: (n.get("createdAt", ""), n["name"]),
        )[-_MOST_RUNS:]
        return read_rollout(
            live,
            [self._resource(path, n) for n in sets],
            [self._resource(path, n) for n in runs],
        )

    def act(self, model: str, operation: Operation) -> None:
        """Tell a model's rollout what to do, by Argo CD's action of the same name."""
        name = self._environment.application_of(model)
        path = f"/api/v1/applications/{quote(name, safe='')}"
        tree = self._get(f"read the resources of {name}", f"{path}/resource-tree")
        node = _rollout_node(tree.get("nodes") or [], model)
        if node is None:
            raise NotFound(
                f"application {name} has no rollout", hint=f"look at {self._url}/applications"
            )
        self._ask(
            f"{operation} the rollout of {model}",
            "POST",
            f"{path}/resource/actions/v2",
            json={
                "name": name,
                "project": self._project,
                "namespace": node.get("namespace", ""),
                "resourceName": node["name"],
                "group": _GROUP,
                "version": _VERSION,
                "kind": "Rollout",
                "action": str(operation),
            },
        )

    def check(self) -> str:
        """Say who is let in, and by which Argo CD."""
        version = self._get("ask for its version", "/api/version").get("Version", "?")
        user = self._get("ask who is logged in", "/api/v1/session/userinfo")
        if not user.get("loggedIn"):
            raise self._logged_out("ask who is logged in")
        return (
            f"Argo CD {version} at {self._url}, as {user.get('username') or 'somebody'}, "
            f"project {self._project}"
        )

    def _refresh(self, name: str) -> dict[str, str]:
        """Have it compare with Git now, not within minutes; a watch asks for it seldom."""
        last, now = self._refreshed.get(name, -_SECONDS_FRESH), time.monotonic()
        if now - last < _SECONDS_FRESH:
            return {}
        self._refreshed[name] = now
        return {"refresh": "normal"}

    def _resource(self, path: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
        kind, name = node["kind"], node["name"]
        answer = self._get(
            f"read {kind} {name}",
            f"{path}/resource",
            namespace=node.get("namespace", ""),
            resourceName=name,
            group=node.get("group", ""),
            version=node.get("version", ""),
            kind=kind,
        )
        try:
            live = json.loads(answer["manifest"])
        except (KeyError, ValueError):
            live = None
        if not isinstance(live, dict):
            raise BackendError(f"Argo CD at {self._url} gave {kind} {name} as no manifest")
        return live

    def _get(self, action: str, path: str, **query: str) -> Mapping[str, Any]:
        return self._ask(action, "GET", path, params={"project": self._project, **query})

    def _ask(self, action: str, method: str, path: str, **words: Any) -> Mapping[str, Any]:
        response = self._sent(action, method, path, words)
        if response.status_code == 401:
            # Somebody may have put a fresh one in its place.
            self._token = ""
            response = self._sent(action, method, path, words)
        if response.status_code >= 300:
            raise self._refusal(response, action)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise BackendError(
                f"what Argo CD at {self._url} answered cannot be read: could not {action}",
                hint="argocd in mlops.toml is the address of its server, not of a login page",
            )
        return answer

    def _sent(
        self, action: str, method: str, path: str, words: Mapping[str, Any]
    ) -> requests.Response:
        if isinstance(self._verify, str) and not Path(self._verify).is_file():
            raise BackendError(
                f"the file {self._verify} with the certificates to trust does not exist: could "
                f"not {action}",
                hint=f"mend argocd_ca below [environments.{self._environment.name}]",
            )
        try:
            return self._session.request(
                method,
                self._url + path,
                timeout=_TIMEOUT,
                verify=self._verify,
                allow_redirects=False,
                **words,
            )
        except requests.exceptions.SSLError as error:
            raise BackendError(
                f"the certificate of {self._url} is not trusted: could not {action}",
                hint=f"set argocd_ca below [environments.{self._environment.name}] to the file "
                "of your company's CA",
            ) from error
        except requests.exceptions.RequestException as error:
            raise BackendUnavailable(
                f"Argo CD at {self._url} does not answer: could not {action}: "
                f"{type(error).__name__}",
                hint="is it reachable from here? `mlops doctor` tries it",
            ) from error

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self._token = self._token or self._read_token().strip()
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _refusal(self, response: requests.Response, action: str) -> MlopsError:
        status, said = response.status_code, self._said(response)
        if status == 401:
            return self._logged_out(action)
        if 300 <= status < 400:
            target = urlsplit(response.headers.get("Location", ""))
            return BackendError(
                f"Argo CD at {self._url} sends on to {target.scheme}://{target.hostname}"
                f"{target.path}: could not {action}",
                hint="put the server's own address as argocd in mlops.toml; a login page "
                "before it must let its API through",
            )
        place = f"Argo CD at {self._url}"
        if status == 403:
            return NotAllowed(
                f"{place} does not let you {action}: {said}",
                hint=f"ask its owner for a role in project {self._project} that may `get` its "
                "applications and, to steer, `action/argoproj.io/Rollout/*`",
            )
        if status == 404:
            return NotFound(f"{place} could not {action}: {said or 'not found'}")
        if status == 429 or status >= 502:
            return BackendUnavailable(
                f"{place} does not answer: could not {action}: status {status}",
                hint="repeat it in a while",
            )
        return BackendError(f"{place} could not {action}: {said or f'status {status}'}")

    def _logged_out(self, action: str) -> NotAllowed:
        return NotAllowed(
            f"Argo CD at {self._url} refuses the login: could not {action}",
            hint="put a fresh token of a project role or account where argocd_token below "
            f"[environments.{self._environment.name}] says, or into {TOKEN_VARIABLE}",
        )

    def _said(self, response: requests.Response) -> str:
        try:
            answer = response.json()
        except ValueError:
            return ""
        said = " ".join(str(answer.get("message") or answer.get("error") or "").split())
        if self._token:
            said = said.replace(self._token, "…")
        return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def _rollout_node(nodes: list[Mapping[str, Any]], model: str) -> Mapping[str, Any] | None:
    found = [n for n in nodes if n.get("kind") == "Rollout" and n.get("group") == _GROUP]
    return next((n for n in found if n["name"] == model), found[0] if found else None)


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotAllowed(
            f"the token for Argo CD cannot be read from {path}: {error}",
            hint="mend argocd_token_file in mlops.toml",
        ) from None
