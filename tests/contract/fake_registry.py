"""A registry in memory: it keeps the promises of test_registry.py without a store."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_nb.adapters.mlflow.tables import NAMES, read_table
from mlops_nb.core.events import Progress, advance
from mlops_nb.core.model import ModelRef, ModelVersion
from mlops_nb.core.run import Run, RunState
from mlops_nb.errors import BackendUnavailable, NotFound, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mlops_nb.core.gate import EvaluationTable


@dataclass
class Recorded:
    """What the registry holds of one run.

    Args:
        run: as it was last recorded.
        tags: given by `begin` and `tag`.
        metrics: what the notebook logged.
        files: content by path.
        models: names of the models the notebook logged.
    """

    run: Run
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)


class FakeRegistry:
    """A registry in memory. `recorded` is by tracking id; `down` makes every call fail."""

    def __init__(self) -> None:
        self.recorded: dict[str, Recorded] = {}
        self.deleted: dict[str, Recorded] = {}
        self.registered: list[ModelVersion] = []
        self.aliases: dict[tuple[str, str], int] = {}
        self.down = False
        self.without_files: set[str] = set()

    def log_metrics(self, tracking_id: str, metrics: Mapping[str, float]) -> None:
        """Log as the notebook would."""
        self._of(tracking_id).metrics.update(metrics)

    def log_model(self, tracking_id: str, name: str) -> None:
        """Log a model as the notebook would."""
        self._of(tracking_id).models.append(name)

    def lose_files(self, version: ModelVersion) -> None:
        """Delete a version's files, as a store that cleans up would."""
        self.without_files.add(str(version))

    def begin(self, run: Run, tags: Mapping[str, str]) -> Run:
        self._answer()
        known = next((r for r in self.recorded.values() if r.run.id == run.id), None)
        tracking_id = run.tracking_id or (
            known.run.tracking_id if known else hashlib.md5(run.id.encode()).hexdigest()  # noqa: S324  # an id
        )
        run = replace(run, tracking_id=tracking_id)
        started = replace(run, state=RunState.RUNNING, started=datetime.now(UTC), ended=None)
        entry = self.recorded.setdefault(tracking_id, Recorded(run=started))
        entry.run = replace(
            entry.run, state=RunState.RUNNING, ended=None, failure=None, verdict=None
        )
        entry.tags.update(tags)
        return run

    def environment(self, run: Run) -> Mapping[str, str]:
        self._answer()
        return {"MLFLOW_RUN_ID": run.tracking_id}

    def metrics(self, tracking_id: str) -> Mapping[str, float]:
        return dict(self._of(tracking_id).metrics)

    def finish(self, run: Run, files: Mapping[str, Path]) -> Run:
        entry = self._of(run.tracking_id)
        run = replace(
            run,
            metrics=dict(entry.metrics),
            ended=run.ended or entry.run.ended or datetime.now(UTC),
        )
        verdict = run.verdict or entry.run.verdict
        entry.run = replace(
            run, verdict=verdict, started=entry.run.started, model=entry.run.model, directory=""
        )
        entry.files.update({path: file.read_bytes() for path, file in files.items()})
        return run

    def delete(self, tracking_id: str) -> None:
        self._answer()
        if tracking_id not in self.recorded:
            raise NotFound(f"there is no run {tracking_id!r}")
        self.deleted[tracking_id] = self.recorded.pop(tracking_id)

    def restore(self, ref: str) -> Sequence[Run]:
        self._answer()
        back = [e for e in self.deleted.values() if ref in {e.run.id, e.run.tracking_id}]
        if not back:
            raise NotFound(f"no run {ref!r} was deleted")
        back += [e for e in self.deleted.values() if e.run.parent == back[0].run.id]
        for entry in back:
            self.recorded[entry.run.tracking_id] = self.deleted.pop(entry.run.tracking_id)
        return [entry.run for entry in back]

    def tagged(self, name: str, value: str) -> Run | None:
        address = "mlops_nb.address"
        runs = [
            entry.run
            for entry in self.recorded.values()
            if {address: entry.run.address, **entry.tags}.get(name) == value
        ]
        return runs[-1] if runs else None

    def twin(self, tracking_id: str) -> Run | None:
        own = self._of(tracking_id)
        for entry in reversed(self.recorded.values()):
            run = entry.run
            is_same = (run.parameters, run.datasets) == (own.run.parameters, own.run.datasets)
            is_same &= entry.tags.get("mlops_nb.bundle") == own.tags.get("mlops_nb.bundle")
            is_done = run.state is RunState.SUCCEEDED and run.cells_done
            if is_same and is_done and run.tracking_id != tracking_id:
                return replace(run, metrics=dict(entry.metrics))
        return None

    def progress(self, tracking_id: str, progress: Progress) -> None:
        entry = self._of(tracking_id)
        entry.run = advance(entry.run, progress)

    def conceal(self, tracking_id: str, redact: Callable[[str], str]) -> Sequence[str]:
        entry = self._of(tracking_id)
        entry.tags.update({name: redact(text) for name, text in entry.tags.items()})
        return []

    def runs(
        self,
        *,
        limit: int,
        notebook: str = "",
        state: RunState | None = None,
        parent: str = "",
        until: datetime | None = None,
    ) -> Sequence[Run]:
        self._answer()
        found = [replace(e.run, metrics=dict(e.metrics)) for e in self.recorded.values()]
        wanted = [
            run
            for run in reversed(found)
            if (not notebook or run.notebook.rpartition("/")[2] == notebook.rpartition("/")[2])
            and (state is None or run.state is state)
            and (not parent or run.parent == parent)
            and (until is None or (run.started is not None and run.started <= until))
        ]
        return wanted[:limit]

    def find(self, ref: str) -> Run:
        runs = self.runs(limit=10_000)
        for run in runs:
            if ref in {run.id, run.tracking_id}:
                return run
        fits = [r for r in runs if r.id.startswith(ref) or r.tracking_id.startswith(ref)]
        if len(ref) < 4 or not fits:
            close = difflib.get_close_matches(ref, [run.id for run in runs], n=1)
            raise NotFound(
                f"there is no run {ref!r}", hint=f"did you mean {close[0]}?" if close else ""
            )
        first = min(fits, key=lambda run: run.id)
        if all(run is first or run.parent == first.id for run in fits):
            return first
        raise UserError(f"{ref!r} is the beginning of {len(fits)} runs", hint="type more of it")

    def table(self, tracking_id: str) -> EvaluationTable | None:
        files = self._of(tracking_id).files
        return next((read_table(name, files[name]) for name in NAMES if name in files), None)

    def file(self, tracking_id: str, path: str) -> bytes | None:
        return self._of(tracking_id).files.get(path)

    def attach(self, tracking_id: str, path: str, content: bytes) -> None:
        self._of(tracking_id).files[path] = content

    def tag(self, tracking_id: str, tags: Mapping[str, str]) -> None:
        self._of(tracking_id).tags.update(tags)

    def check(self) -> str:
        self._answer()
        return "memory"

    def register(self, run: Run, name: str) -> ModelVersion:
        entry = self._of(run.tracking_id)
        if len(entry.models) != 1:
            raise UserError(
                f"run {run.id} logged {len(entry.models) or 'no'} "
                f"model{'s' if entry.models else ''}: {', '.join(sorted(entry.models))}"
            )
        of_name = [v for v in self.registered if v.name == name]
        version = next((v for v in of_name if v.tracking_id == run.tracking_id), None)
        if version is None:
            version = ModelVersion(
                name=name,
                version=len(of_name) + 1,
                source=f"memory:{run.tracking_id}/{entry.models[0]}",
                digest=f"sha256:{hashlib.sha256(entry.models[0].encode()).hexdigest()}",
                flavor="onnx",
                run=run.id,
                tracking_id=run.tracking_id,
                tags={"mlops_nb.run": run.id, **entry.tags},
                created=datetime.now(UTC),
            )
            self.registered.append(version)
        self.aliases[name, "candidate"] = version.version
        entry.run = replace(entry.run, model=str(version))
        return self._with_aliases(version)

    def versions(self, name: str = "") -> Sequence[ModelVersion]:
        self._answer()
        found = [v for v in reversed(self.registered) if not name or v.name == name]
        return [self._with_aliases(version) for version in found]

    def resolve(self, ref: ModelRef) -> ModelVersion:
        versions = self.versions(ref.name)
        bare = ref.version is None and ref.alias is None
        for version in versions:
            if bare or version.version == ref.version or ref.alias in version.aliases:
                return version
        raise NotFound(f"there is no {ref}", hint="`mlops models` lists them")

    def has_files(self, version: ModelVersion) -> bool:
        self._answer()
        return str(version) not in self.without_files

    def point(self, name: str, alias: str, version: int) -> None:
        self.resolve(ModelRef(name=name, version=version))
        self.aliases[name, alias] = version

    def mark(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        found = self.resolve(ModelRef(name=name, version=version))
        place = next(
            i
            for i, v in enumerate(self.registered)
            if (v.name, v.version) == (found.name, found.version)
        )
        held = self.registered[place]
        self.registered[place] = replace(held, tags={**held.tags, **tags})

    def _with_aliases(self, version: ModelVersion) -> ModelVersion:
        names = [
            alias
            for (name, alias), number in self.aliases.items()
            if (name, number) == (version.name, version.version)
        ]
        return replace(version, aliases=tuple(sorted(names)))

    def _of(self, tracking_id: str) -> Recorded:
        self._answer()
        if tracking_id not in self.recorded:
            raise NotFound(f"there is no run {tracking_id!r}")
        return self.recorded[tracking_id]

    def _answer(self) -> None:
        if self.down:
            raise BackendUnavailable("the registry is down", hint="start it again")
