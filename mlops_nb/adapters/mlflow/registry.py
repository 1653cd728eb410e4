"""The Registry port over an MLflow store."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb import wire
from mlops_nb.adapters.mlflow import concealment, models, recording, records
from mlops_nb.adapters.mlflow.connection import Connection
from mlops_nb.adapters.mlflow.modelfiles import inspect_model
from mlops_nb.adapters.mlflow.tables import read_table
from mlops_nb.core.evidence import SIGNATURE
from mlops_nb.errors import NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

    from mlops_nb.core.events import Progress
    from mlops_nb.core.gate import EvaluationTable
    from mlops_nb.core.model import ModelRef, ModelVersion
    from mlops_nb.core.run import Run, RunState

_CANDIDATE = "candidate"
_SHORTEST_BEGINNING = 4
_ENOUGH = 50
_MLFLOW_ID = re.compile(r"[0-9a-f]{32}")


class MlflowRegistry:
    """Runs and models in an MLflow store: a local sqlite file or a tracking server.

    Args:
        uri: `sqlite:////absolute/path` or http(s) address.
        experiment: MLflow experiment of the runs; made on first use.
        artifacts: folder for the files of a new experiment on a local store; empty takes
            `artifacts` beside the sqlite file.
        timeout: seconds a server may take to answer one request.

    Raises:
        UserError: if the address is of neither kind.
    """

    def __init__(
        self, uri: str, experiment: str, artifacts: str = "", timeout: float = 10
    ) -> None:
        self._store = Connection(uri, timeout)
        self._name = experiment
        self._artifacts = artifacts
        self._experiment_id = ""

    def begin(self, run: Run, tags: Mapping[str, str]) -> Run:
        """Record a run that is about to start; give it with its `tracking_id` and `url`.

        A run that is recorded already, under its `tracking_id` or its id, is taken up again.
        Long parameters are cut as MLflow does and kept whole in `mlops_nb/parameters.json`.

        Raises:
            BackendUnavailable: if the tracking server does not answer.
        """
        from mlflow.entities import Param

        with self._store.calls("record the run") as client:
            experiment = self._experiment(client)
            user = tags.get("mlops_nb.requested_by") or records.user_name()
            known = self._recorded(client, run)
            every = {**records.first_tags(run, user), **tags}
            if run.parent and (outer := self._by_id(client, run.parent)):
                every["mlflow.parentRunId"] = outer.info.run_id
            if known is None:
                # Its own tag goes with it: an interrupted start is found again by it.
                known = client.create_run(
                    experiment, run_name=run.id, tags={records.RUN: run.id}
                )
            else:
                every |= records.cleared_tags()
            tracking_id = known.info.run_id
            whole = {name: str(value) for name, value in run.parameters.items()}
            params = [
                Param(name, text[: records.LONGEST_PARAMETER])
                for name, text in whole.items()
                if name not in known.data.params
            ]
            recording.log(client, tracking_id, params=params, tags=every)
            if any(len(text) > records.LONGEST_PARAMETER for text in whole.values()):
                content = json.dumps(dict(run.parameters), indent=1).encode()
                recording.put(client, tracking_id, "mlops_nb/parameters.json", content)
            # One that somebody else began, such as Kubeflow's MLflow plugin, gets our name.
            name = None if records.RUN in known.data.tags else run.id
            client.update_run(tracking_id, status="RUNNING", name=name)
            return replace(
                run,
                tracking_id=tracking_id,
                url=self._url(known.info.experiment_id, tracking_id),
            )

    def environment(self, run: Run) -> Mapping[str, str]:
        """Give the variables with which a kernel's own logging lands in this run.

        The first run the notebook starts is this one; further ones become its children.
        """
        with self._store.calls("find the experiment") as client:
            experiment = client.get_run(run.tracking_id).info.experiment_id
            name = client.get_experiment(experiment).name
        context = {
            "mlflow.parentRunId": run.tracking_id,
            "mlflow.source.name": Path(run.notebook).name,
            "mlflow.source.type": "NOTEBOOK",
        }
        return {
            "MLFLOW_TRACKING_URI": self._store.uri,
            "MLFLOW_RUN_ID": run.tracking_id,
            "MLFLOW_EXPERIMENT_ID": experiment,
            # Another name in the user's environment would contradict the id.
            "MLFLOW_EXPERIMENT_NAME": name,
            "MLFLOW_RUN_CONTEXT": json.dumps(context),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def metrics(self, tracking_id: str) -> Mapping[str, float]:
        """Give the last value of every metric the run logged so far.

        A notebook that logged nothing to the run itself but to one MLflow run it started is
        read there.
        """
        with self._store.calls("read the metrics") as client:
            return recording.metrics_of(client, client.get_run(tracking_id))

    def finish(self, run: Run, files: Mapping[str, Path]) -> Run:
        """Record how a run stands: state, datasets, failure, verdict, memory, files by path.

        Runs the notebook started and left behind running end with it, if it is final.
        """
        ended = run.ended or datetime.now(UTC)
        with self._store.calls("record the end of the run") as client:
            before = client.get_run(run.tracking_id)
            recording.log(client, run.tracking_id, tags=records.last_tags(run))
            if run.datasets:
                client.log_inputs(
                    run.tracking_id, [recording.dataset_input(d) for d in run.datasets]
                )
            for path, file in files.items():
                recording.upload(client, run.tracking_id, path, file)
            if not run.state.is_final:
                return run
            status = records.STATUS[run.state]
            if run.ended is None and before.info.status == status and before.info.end_time:
                ended = datetime.fromtimestamp(before.info.end_time / 1000, UTC)
            milliseconds = int(ended.timestamp() * 1000)
            for child in recording.running_below(client, before):
                client.set_terminated(child, status, milliseconds)
            client.set_terminated(run.tracking_id, status, milliseconds)
            found = client.get_run(run.tracking_id)
            return replace(run, ended=ended, metrics=recording.metrics_of(client, found))

    def conceal(self, tracking_id: str, redact: Callable[[str], str]) -> Sequence[str]:
        """Take known secrets out of the tags and text files that the notebook recorded.

        Runs the notebook started are looked through as well.
        """
        with self._store.calls("take secrets out of the record") as client:
            first = client.get_run(tracking_id)
            runs = [first, *recording.children(client, first)]
            return [what for run in runs for what in concealment.conceal(client, run, redact)]

    def runs(
        self,
        *,
        limit: int,
        notebook: str = "",
        state: RunState | None = None,
        parent: str = "",
        until: datetime | None = None,
    ) -> Sequence[Run]:
        """Give recorded runs, newest first."""
        wanted = [f"tags.`{records.MANAGED}` = 'true'"]
        if notebook:
            wanted.append(
                f"tags.`{records.NOTEBOOK_NAME}` = {recording.quoted(Path(notebook).name)}"
            )
        if state:
            wanted.append(f"attributes.status = '{records.STATUS[state]}'")
        if parent:
            wanted.append(f"tags.`{records.PARENT}` = {recording.quoted(parent)}")
        if until:
            wanted.append(f"attributes.start_time <= {int(until.timestamp() * 1000)}")
        with self._store.calls("list runs") as client:
            return [
                self._run(found)
                for found in recording.search(client, self._experiment(client), wanted, limit)
            ]

    def find(self, ref: str) -> Run:
        """Give the run with this id, MLflow id, or unique beginning of either.

        Raises:
            NotFound: if there is none.
            UserError: if the beginning fits several.
        """
        with self._store.calls(f"find run {ref}") as client:
            if exact := self._by_id(client, ref):
                return self._run(exact)
            found = self._beginning_with(client, ref)
            if not found:
                raise self._no_run(client, ref)
        ids = sorted(run.id for run in found.values())
        # A sweep's children bear its id: the beginning of all of them means the sweep.
        outer = [run for run in found.values() if run.id == ids[0]]
        if all(run.id == ids[0] or run.parent == ids[0] for run in found.values()):
            return outer[0]
        raise UserError(
            f"{ref!r} is the beginning of {len(ids)} runs: {', '.join(ids[:5])}",
            hint="type more of it",
        )

    def delete(self, tracking_id: str) -> None:
        """Hide a run, and the runs its notebook started, until it is restored.

        Raises:
            NotFound: if there is none.
        """
        with self._store.calls("delete the run") as client:
            run = recording.managed(client, tracking_id)
            if run is None:
                raise NotFound(f"there is no run {tracking_id!r} in {self._store.shown}")
            for child in recording.children(client, run):
                client.delete_run(child.info.run_id)
            client.delete_run(tracking_id)

    def restore(self, ref: str) -> Sequence[Run]:
        """Bring back a deleted run by its id or MLflow id; of a sweep, its children, too.

        Raises:
            NotFound: if none of this id was deleted.
        """
        name = "attributes.run_id" if _MLFLOW_ID.fullmatch(ref) else f"tags.`{records.RUN}`"
        with self._store.calls(f"restore run {ref}") as client:
            wanted = f"{name} = {recording.quoted(ref)}"
            restored = []
            for found in recording.deleted(client, self._experiment(client), wanted):
                restored += self._restored(client, found)
        if not restored:
            raise NotFound(
                f"no run {ref!r} was deleted in {self._store.shown}, experiment {self._name}",
                hint="name it by its whole id; `mlops runs` shows what is there",
            )
        return restored

    def _restored(self, client: MlflowClient, run: MlflowRun) -> list[Run]:
        experiment, run_id = run.info.experiment_id, run.info.run_id
        client.restore_run(run_id)
        own = recording.quoted(run.data.tags.get(records.RUN, run_id))
        back = [self._run(client.get_run(run_id))]
        wanted = f"tags.`{records.PARENT}` = {own}"
        for child in recording.deleted(client, experiment, wanted):
            back += self._restored(client, child)
        # What the notebook itself started has no id of ours.
        for child in recording.deleted(
            client, experiment, f"tags.`mlflow.parentRunId` = '{run_id}'"
        ):
            client.restore_run(child.info.run_id)
        return back

    def tagged(self, name: str, value: str) -> Run | None:
        """Give the newest run with this tag; None if there is none."""
        wanted = [f"tags.`{name}` = {recording.quoted(value)}"]
        with self._store.calls(f"find the run whose {name} is {value}") as client:
            found = recording.search(client, self._experiment(client), wanted, 1)
            return self._run(found[0]) if found else None

    def twin(self, tracking_id: str) -> Run | None:
        """Give the newest other run that did the same work and succeeded; None if none did.

        The same work is the same bundle with the same parameters on the same data.
        """
        with self._store.calls("find a run of the same work") as client:
            own = client.get_run(tracking_id)
            digest = own.data.tags.get(records.BUNDLE, "")
            wanted = [
                f"tags.`{records.BUNDLE}` = {recording.quoted(digest)}",
                "attributes.status = 'FINISHED'",
            ]
            for found in recording.search(client, self._experiment(client), wanted, _ENOUGH):
                run = self._run(found)
                is_same = records.work(found.data.tags) == records.work(own.data.tags)
                ran_itself = run.cells_done and not run.cached_from
                if is_same and ran_itself and run.tracking_id != tracking_id:
                    return run
            return None

    def progress(self, tracking_id: str, progress: Progress) -> None:
        """Record how far a run is, for who watches it from another machine."""
        with self._store.calls("record the progress") as client:
            tags = records.spread(records.PROGRESS, wire.dumps(progress))
            recording.log(client, tracking_id, tags=tags)

    def table(self, tracking_id: str) -> EvaluationTable | None:
        """Give the evaluation table the run logged; None if it logged none.

        It is looked for in the run itself, then in the MLflow runs the notebook started.

        Raises:
            UserError: if it cannot be read as such, or several of those runs have one.
        """
        with self._store.calls("read the evaluation table") as client:
            places = [
                (tracking_id, name) for name in recording.table_names(client, tracking_id)[:1]
            ]
            if not places:
                for child in recording.children(client, client.get_run(tracking_id)):
                    inner = child.info.run_id
                    places += [(inner, n) for n in recording.table_names(client, inner)[:1]]
            if len(places) > 1:
                raise UserError(
                    f"{len(places)} MLflow runs of the notebook logged an evaluation table",
                    hint="log it once, before the notebook starts a second MLflow run",
                )
            if not places:
                return None
            content = recording.content_of(client, *places[0])
        return None if content is None else read_table(places[0][1], content)

    def file(self, tracking_id: str, path: str) -> bytes | None:
        """Give a file the run recorded; None if there is none."""
        with self._store.calls(f"read {path}") as client:
            return recording.content_of(client, tracking_id, path)

    def attach(self, tracking_id: str, path: str, content: bytes) -> None:
        """Record a file with the run; the same path again replaces it."""
        with self._store.calls(f"record {path}") as client:
            recording.put(client, tracking_id, path, content)

    def tag(self, tracking_id: str, tags: Mapping[str, str]) -> None:
        """Record tags with the run."""
        with self._store.calls("tag the run") as client:
            recording.log(client, tracking_id, tags=tags)

    def check(self) -> str:
        """Write to the store and its artifacts, take it back, and say what was found.

        Raises:
            BackendError: if either fails.
        """
        with self._store.calls("write a file to the artifact store") as client:
            recording.probe(client, self._experiment(client), self._store.uri)
        done = "a file was written, read and deleted"
        return f"{self._store.shown}, experiment {self._name}: {done}"

    def register(self, run: Run, name: str) -> ModelVersion:
        """Register the model the run logged, with lineage tags, and point `@candidate` at it.

        The model is looked for in the run itself, then in the MLflow runs the notebook
        started. The same run registered twice under one name is one version.

        Raises:
            UserError: if the run logged no model, or more than one.
        """
        with self._store.calls(f"register {name}") as client, self._store.alone():
            recorded = client.get_run(run.tracking_id)
            model = models.only_model(client, recorded, run.id)
            version = models.registered(client, name, model.run_id)
            if version is None or "mlops_nb.digest" not in version.tags:
                with models.folder_of(model.location, self._store.uri) as folder:
                    files = inspect_model(folder)
                tags = {
                    **records.lineage(recorded.data.tags),
                    records.TRACKING_ID: run.tracking_id,
                    **({"mlops_nb.model_id": model.model_id} if model.model_id else {}),
                    "mlops_nb.digest": files.digest,
                    "mlops_nb.flavor": files.flavor,
                    "mlops_nb.uses_pickle": str(files.uses_pickle).lower(),
                    **({SIGNATURE: files.signature} if files.signature else {}),
                }
                if version is None:
                    is_local = self._store.path is not None
                    version = models.create(client, name, model, tags, is_local=is_local)
                # A version the notebook registered by itself has none of them yet.
                for key, value in tags.items():
                    if version.tags.get(key) != value:
                        client.set_model_version_tag(name, version.version, key, value)
            number = int(version.version)
            client.set_registered_model_alias(name, _CANDIDATE, str(number))
            client.set_tag(run.tracking_id, records.MODEL, f"{name}/{number}")
            return models.version_of(client, name, number)

    def versions(self, name: str = "") -> Sequence[ModelVersion]:
        """Give the versions of a model, or of all models, newest first."""
        with self._store.calls("list models") as client:
            aliases = models.aliases_of(client, name)
            wanted = f"name = {recording.quoted(name)}" if name else None
            found = recording.every(
                lambda token: client.search_model_versions(wanted, page_token=token)
            )
            versions = [records.read_version(v, aliases.get(v.name, {})) for v in found]
        oldest = datetime.min.replace(tzinfo=UTC)
        return sorted(versions, key=lambda v: (v.created or oldest, v.version), reverse=True)

    def resolve(self, ref: ModelRef) -> ModelVersion:
        """Give the version; a bare name means the newest.

        Raises:
            NotFound: if there is no such model, version or alias.
        """
        versions = self.versions(ref.name)
        if not versions:
            known = sorted({version.name for version in self.versions()})
            close = difflib.get_close_matches(ref.name, known, n=1)
            raise NotFound(
                f"there is no model {ref.name!r} with a version in {self._store.shown}",
                hint=f"did you mean {close[0]!r}?"
                if close
                else f"there are: {', '.join(known[:10])}"
                if known
                else "register one: `mlops register RUN --name NAME`",
            )
        if ref.version is None and ref.alias is None:
            return max(versions, key=lambda version: version.version)
        for version in versions:
            if version.version == ref.version or (ref.alias and ref.alias in version.aliases):
                return version
        aliases = sorted(alias for version in versions for alias in version.aliases)
        raise NotFound(
            f"there is no {ref}; model {ref.name} has versions "
            f"{', '.join(str(version.version) for version in versions[:10])}",
            hint=f"its aliases: {', '.join(aliases)}" if aliases else "it has no aliases yet",
        )

    def has_files(self, version: ModelVersion) -> bool:
        """Tell whether a registered version's files are still where the registry says.

        Raises:
            BackendError: if that cannot be seen from here.
        """
        with self._store.calls(f"look for the files of {version}") as client:
            return models.has_files(
                client, version, self._store.uri, is_local=self._store.path is not None
            )

    def point(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version.

        Raises:
            NotFound: if there is no such version.
        """
        with self._store.calls(f"point {name}@{alias} at version {version}") as client:
            models.version_of(client, name, version)
            client.set_registered_model_alias(name, alias, str(version))

    def mark(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Record tags with a version.

        Raises:
            NotFound: if there is no such version.
        """
        with self._store.calls(f"tag {name}/{version}") as client:
            models.version_of(client, name, version)
            for key, value in tags.items():
                client.set_model_version_tag(name, str(version), key, value)

    def _experiment(self, client: MlflowClient) -> str:
        """Give the id of the experiment, made if it is not there."""
        if not self._experiment_id:
            location = self._artifact_location()
            self._experiment_id = recording.experiment(client, self._name, location)
        return self._experiment_id

    def _artifact_location(self) -> str | None:
        """Give the folder of a local store's files; a server knows its own place."""
        if self._store.path is None:
            return None
        folder = self._artifacts or self._store.path.parent / "artifacts"
        return Path(folder).absolute().as_uri()

    def _url(self, experiment: str, tracking_id: str) -> str:
        if self._store.path is not None:
            return ""
        return f"{self._store.shown.rstrip('/')}/#/experiments/{experiment}/runs/{tracking_id}"

    def _run(self, found: MlflowRun) -> Run:
        return records.read_run(found, self._url(found.info.experiment_id, found.info.run_id))

    def _recorded(self, client: MlflowClient, run: Run) -> MlflowRun | None:
        if run.tracking_id:
            return client.get_run(run.tracking_id)
        return self._by_id(client, run.id)

    def _by_id(self, client: MlflowClient, ref: str) -> MlflowRun | None:
        """Give the run of this id in the experiment, or of this MLflow id in any."""
        if _MLFLOW_ID.fullmatch(ref):
            # Who has a registered version need not know which experiment it came from.
            return recording.managed(client, ref)
        wanted = f"tags.`{records.RUN}` = {recording.quoted(ref)}"
        found = recording.search(client, self._experiment(client), [wanted], 1)
        return found[0] if found else None

    def _beginning_with(self, client: MlflowClient, ref: str) -> dict[str, Run]:
        """Give the runs whose id or MLflow id begins so, by MLflow id."""
        if len(ref) < _SHORTEST_BEGINNING or not re.fullmatch(r"[\w.-]+", ref):
            return {}
        found = recording.beginning_with(client, self._experiment(client), ref, _ENOUGH)
        return {run.info.run_id: self._run(run) for run in found}

    def _no_run(self, client: MlflowClient, ref: str) -> NotFound:
        wanted = [f"tags.`{records.MANAGED}` = 'true'"]
        newest = [
            self._run(run).id
            for run in recording.search(client, self._experiment(client), wanted, _ENOUGH)
        ]
        close = difflib.get_close_matches(ref, newest, n=1)
        return NotFound(
            f"there is no run {ref!r} in {self._store.shown}, experiment {self._name}",
            hint=f"did you mean {close[0]}?"
            if close
            else f"the newest: {', '.join(newest[:3])}"
            if newest
            else "nothing was run yet: `mlops train NOTEBOOK`",
        )
