"""What is asked of a Kubeflow Pipelines server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import kfp_server_api as api
import tenacity

from mlops_nb.adapters.kubeflow.transport import PATIENCE, Credentials, Transport
from mlops_nb.errors import BackendError, BackendUnavailable, Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

_POSTS = 3
_PAGE_SIZE = 100


class Connection:
    """A Kubeflow Pipelines server.

    A request is repeated where that is safe: one that only reads, and any that was refused
    before something was sent. Refused credentials are renewed once.

    Args:
        url: where its API is; empty if the credentials know.
        namespace: profile of the person, sent to servers in multi-user mode alone.
        credentials: who asks; None where nobody wants to know.
        ca: path of the certificates to trust instead of the public ones; empty for these.
        verify: whether the server's certificate is checked.
        timeout: seconds to connect, and seconds without a byte of answer.
        patience: seconds that `patient` waits for a server that does not answer.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "",
        credentials: Credentials | None = None,
        ca: str = "",
        verify: bool = True,
        timeout: float = 10.0,
        patience: float = PATIENCE,
    ) -> None:
        self.namespace = namespace
        self.credentials = credentials
        self.timeout = timeout
        self._multi_user: bool | None = None
        transport = Transport(
            url,
            namespace=namespace,
            credentials=credentials,
            ca=ca,
            verify=verify,
            timeout=timeout,
            patience=patience,
        )
        self.url, self.ca, self.verify = transport.url, transport.ca, transport.verify
        self.patient = transport.patient
        self._ask = transport.ask
        self._client = client = transport.client
        self._runs = api.RunServiceApi(client)
        self._recurring = api.RecurringRunServiceApi(client)
        self._experiments = api.ExperimentServiceApi(client)
        self._pipelines = api.PipelineServiceApi(client)
        self._uploads = api.PipelineUploadServiceApi(client)
        self._healthz = api.HealthzServiceApi(client)

    def healthz(self) -> bool:
        """Tell whether the server is in multi-user mode."""
        answer = self._ask(
            "ask for its health", self._healthz.healthz_service_get_healthz, reads=True
        )
        self._multi_user = bool(answer.multi_user)
        return self._multi_user

    def experiments(self) -> Sequence[str]:
        """Give ids of the newest hundred experiments, newest first."""
        operation = self._experiments.experiment_service_list_experiments
        answer = self._page("list experiments", operation)
        return [found.experiment_id for found in answer.experiments or []]

    def experiment_id(self, name: str, *, create: bool = True) -> str:
        """Give the id of an experiment, made if it must be.

        Raises:
            NotFound: if there is none and none may be made.
        """
        if found := self._experiment(name):
            return found
        if not create:
            raise NotFound(f"KFP at {self.url} has no experiment {name!r}")
        body = api.V2beta1Experiment(display_name=name, **self._scope())
        operation = self._experiments.experiment_service_create_experiment
        try:
            made = self._ask(f"make the experiment {name!r}", operation, body)
        except (Conflict, BackendUnavailable):
            # Somebody was quicker, or the answer was lost.
            if found := self._experiment(name):
                return found
            raise
        return str(made.experiment_id)

    def create_run(
        self,
        display_name: str,
        pipeline_spec: Mapping[str, object],
        parameters: Mapping[str, object],
        experiment_id: str,
        service_account: str = "",
        pipeline_root: str = "",
    ) -> api.V2beta1Run:
        """Start a run; the same display name in the same experiment is one run."""
        body = api.V2beta1Run(
            display_name=display_name,
            experiment_id=experiment_id,
            pipeline_spec=pipeline_spec,
            runtime_config=api.V2beta1RuntimeConfig(
                parameters=dict(parameters), pipeline_root=pipeline_root or None
            ),
            service_account=service_account or None,
        )
        action = f"submit run {display_name!r}"
        return self._only_one(
            lambda: self._ask(action, self._runs.run_service_create_run, body),
            lambda: self.runs(named=display_name, experiment_id=experiment_id),
            lambda run: self.delete_run(run.run_id),
        )

    def attempt_run(self, display_name: str, experiment_id: str, pipeline_id: str) -> None:
        """Ask for a run of an uploaded pipeline, once."""
        reference = api.V2beta1PipelineVersionReference(
            pipeline_id=pipeline_id, pipeline_version_id=pipeline_id
        )
        body = api.V2beta1Run(
            display_name=display_name,
            experiment_id=experiment_id,
            pipeline_version_reference=reference,
        )
        self._ask("make runs", self._runs.run_service_create_run, body)

    def run(self, run_id: str) -> api.V2beta1Run:
        """Give a run with its tasks."""
        return self._ask(
            f"read run {run_id}", self._runs.run_service_get_run, run_id, reads=True
        )

    def runs(self, *, named: str = "", experiment_id: str = "") -> Sequence[api.V2beta1Run]:
        """Give the newest hundred runs of a name or an experiment or of all, newest first."""
        operation = self._runs.run_service_list_runs
        answer = self._page("list runs", operation, experiment_id, named=named)
        return answer.runs or []

    def terminate(self, run_id: str) -> None:
        """Stop a run; refused by the server for one that has ended."""
        self._ask(f"stop run {run_id}", self._runs.run_service_terminate_run, run_id)

    def retry(self, run_id: str) -> None:
        """Do the failed steps of a run again, under the same id."""
        self._ask(f"retry run {run_id}", self._runs.run_service_retry_run, run_id)

    def delete_run(self, run_id: str) -> None:
        """Delete a run and its workflow."""
        self._ask(f"delete run {run_id}", self._runs.run_service_delete_run, run_id)

    def node_log(self, run_id: str, node_id: str) -> str:
        """Give what a node printed so far.

        Raises:
            NotFound: if its pod is gone and the server keeps no archive of logs.
        """
        path = "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log"
        try:
            answer = self._ask(
                f"read the log of {node_id} of run {run_id}",
                self._client.call_api,
                path,
                "GET",
                path_params={"run_id": run_id, "node_id": node_id},
                auth_settings=["Bearer"],
                reads=True,
                _preload_content=False,
                _return_http_data_only=True,
            )
        except BackendError as error:
            if "not found" in error.message:
                # The server calls a pod that is gone a bad request.
                raise NotFound(error.message) from error
            raise
        return bytes(answer.data).decode(errors="replace")

    def pipeline_named(self, name: str) -> api.V2beta1Pipeline | None:
        """Give the pipeline of this name; None if there is none."""
        operation = self._pipelines.pipeline_service_get_pipeline_by_name
        try:
            return self._ask(
                f"look for pipeline {name!r}", operation, name, reads=True, **self._scope()
            )
        except NotFound:
            return None

    def upload_pipeline(
        self, name: str, package: Path, description: str = ""
    ) -> api.V2beta1Pipeline:
        """Upload a compiled pipeline under a new name, with its first version."""
        return self._ask(
            f"upload pipeline {name!r}",
            self._uploads.upload_pipeline,
            str(package),
            name=name,
            **_given(description=description, **self._scope()),
        )

    def upload_version(
        self, pipeline_id: str, name: str, package: Path, description: str = ""
    ) -> api.V2beta1PipelineVersion:
        """Upload a compiled pipeline as a new version."""
        return self._ask(
            f"upload pipeline version {name!r}",
            self._uploads.upload_pipeline_version,
            str(package),
            name=name,
            pipelineid=pipeline_id,
            **_given(description=description),
        )

    def versions(self, pipeline_id: str) -> Sequence[api.V2beta1PipelineVersion]:
        """Give the newest hundred versions of a pipeline, newest first."""
        answer = self._ask(
            f"list versions of pipeline {pipeline_id}",
            self._pipelines.pipeline_service_list_pipeline_versions,
            pipeline_id,
            reads=True,
            sort_by="created_at desc",
            page_size=_PAGE_SIZE,
        )
        return answer.pipeline_versions or []

    def delete_pipeline(self, pipeline_id: str) -> None:
        """Delete a pipeline with its versions."""
        pipelines, action = self._pipelines, f"delete pipeline {pipeline_id}"
        while versions := self.versions(pipeline_id):
            for version in versions:
                remove = pipelines.pipeline_service_delete_pipeline_version
                self._ask(action, remove, pipeline_id, version.pipeline_version_id)
        self._ask(action, pipelines.pipeline_service_delete_pipeline, pipeline_id)

    def create_recurring(
        self, recurring: api.V2beta1RecurringRun, instead_of: Collection[str] = ()
    ) -> api.V2beta1RecurringRun:
        """Start a schedule, one for a name and experiment; those of the ids do not count."""
        name, experiment = recurring.display_name, recurring.experiment_id
        operation = self._recurring.recurring_run_service_create_recurring_run
        return self._only_one(
            lambda: self._ask(f"make schedule {name!r}", operation, recurring),
            lambda: [
                each
                for each in self.recurring_runs(named=name, experiment_id=experiment)
                if each.recurring_run_id not in instead_of
            ],
            lambda made: self.delete_recurring(made.recurring_run_id),
        )

    def recurring_run(self, recurring_run_id: str) -> api.V2beta1RecurringRun:
        """Give a schedule."""
        operation = self._recurring.recurring_run_service_get_recurring_run
        action = f"read schedule {recurring_run_id}"
        return self._ask(action, operation, recurring_run_id, reads=True)

    def recurring_runs(
        self, *, named: str = "", experiment_id: str = ""
    ) -> Iterator[api.V2beta1RecurringRun]:
        """Yield the schedules of a name or an experiment, or all, newest first."""
        operation = self._recurring.recurring_run_service_list_recurring_runs
        token = ""
        while True:
            answer = self._page(
                "list schedules", operation, experiment_id, named=named, page_token=token
            )
            yield from answer.recurring_runs or []
            token = answer.next_page_token or ""
            if not token:
                return

    def enable_recurring(self, recurring_run_id: str) -> None:
        """Let a schedule start runs."""
        operation = self._recurring.recurring_run_service_enable_recurring_run
        self._ask(f"resume schedule {recurring_run_id}", operation, recurring_run_id)

    def disable_recurring(self, recurring_run_id: str) -> None:
        """Keep a schedule from starting runs."""
        operation = self._recurring.recurring_run_service_disable_recurring_run
        self._ask(f"pause schedule {recurring_run_id}", operation, recurring_run_id)

    def delete_recurring(self, recurring_run_id: str) -> None:
        """Delete a schedule; its runs stay."""
        operation = self._recurring.recurring_run_service_delete_recurring_run
        self._ask(f"delete schedule {recurring_run_id}", operation, recurring_run_id)

    def _scope(self) -> dict[str, str]:
        """Give the namespace where the server wants one: alone, it refuses it."""
        if not self.namespace:
            return {}
        multi_user = self.healthz() if self._multi_user is None else self._multi_user
        return {"namespace": self.namespace} if multi_user else {}

    def _page(
        self,
        action: str,
        operation: Callable[..., Any],
        experiment_id: str = "",
        *,
        named: str = "",
        page_token: str = "",
    ) -> Any:
        """Ask for a page of a list, newest first: of an experiment, or of all there are."""
        scope = {"experiment_id": experiment_id} if experiment_id else self._scope()
        wanted = self._named(named) if named else ""
        return self._ask(
            action,
            operation,
            reads=True,
            sort_by="created_at desc",
            page_size=_PAGE_SIZE,
            **_given(page_token=page_token, filter=wanted),
            **scope,
        )

    def _experiment(self, name: str) -> str:
        """Give the id of an experiment; empty if there is none."""
        operation = self._experiments.experiment_service_list_experiments
        answer = self._page(f"look for experiment {name!r}", operation, named=name)
        return str(answer.experiments[0].experiment_id) if answer.experiments else ""

    def _named(self, name: str) -> str:
        equals = api.V2beta1PredicateOperation.EQUALS
        predicate = api.V2beta1Predicate(
            operation=equals, key="display_name", string_value=name
        )
        wanted = api.V2beta1Filter(predicates=[predicate])
        return json.dumps(self._client.sanitize_for_serialization(wanted))

    def _only_one(
        self,
        make: Callable[[], T],
        find: Callable[[], Sequence[T]],
        remove: Callable[[T], None],
    ) -> T:
        """Give what `make` makes, or what is there already.

        After a lost answer nobody knows whether it was made: it is looked for, and made again
        only if it is not there. Where the lost request arrives late, the older one stays.
        """
        if found := find():
            return found[-1]
        looks = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda found: not found),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=self.timeout / 2),
            stop=tenacity.stop_after_attempt(3),
            retry_error_callback=lambda _: (),
        )
        for posts in range(_POSTS):
            try:
                made = make()
            except BackendUnavailable:
                if found := looks(find):
                    return found[-1]
                if posts == _POSTS - 1:
                    raise
            else:
                *later, first = (find() if posts else []) or [made]
                for each in later:
                    remove(each)
                return first
        raise AssertionError("the last request gives or raises")


def _given(**arguments: str) -> dict[str, Any]:
    """Give the arguments that are not empty: servers take an empty one for a value."""
    return {name: value for name, value in arguments.items() if value}
