"""The paths of the API, and what answers each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow.experiments import Experiments
from mlops_nb.dev.kubeflow.faults import Faults
from mlops_nb.dev.kubeflow.kube import Kube
from mlops_nb.dev.kubeflow.options import Json
from mlops_nb.dev.kubeflow.pipelines import Pipelines
from mlops_nb.dev.kubeflow.recurring import Recurring
from mlops_nb.dev.kubeflow.refusal import Refusal, invalid
from mlops_nb.dev.kubeflow.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = Callable[["Call"], Json]

NOT_FOUND = Refusal(5, "Not Found")
_V2 = "/apis/v2beta1"
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Call:
    """A request: the names of its path, its query, its JSON body, its uploaded file."""

    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Json
    file: tuple[str, bytes] | None

    def upload(self) -> tuple[bytes, str]:
        """Give the uploaded file and its name."""
        if self.file is None:
            raise invalid("Failed to read the file: no multipart field uploadfile")
        return self.file[1], self.file[0]


@dataclass(frozen=True)
class Desk:
    """Those who answer."""

    experiments: Experiments
    pipelines: Pipelines
    runs: Runs
    recurring: Recurring
    kube: Kube
    faults: Faults
    multi_user: bool


class Routes:
    """The table of what answers which request."""

    def __init__(self, desk: Desk) -> None:
        table = [*_simple(desk), *_pipelines(desk), *_runs(desk), *_kube(desk), *_faults(desk)]
        self._table = [(method, _pattern(path), answer) for method, path, answer in table]

    def find(self, method: str, path: str) -> tuple[Answer, dict[str, str]]:
        """Give what answers a request, and the names in its path."""
        for verb, pattern, answer in self._table:
            match = pattern.fullmatch(path)
            if match and verb == method:
                return answer, match.groupdict()
        raise NOT_FOUND


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(_NAME.sub(r"(?P<\1>[^/:]+)", path))


def _done(act: Callable[[Call], None]) -> Answer:
    """Answer what gives nothing with an empty object."""

    def answer(call: Call) -> Json:
        act(call)
        return {}

    return answer


def _simple(desk: Desk) -> list[tuple[str, str, Answer]]:
    healthz: Json = {"multi_user": True} if desk.multi_user else {}
    healthz = {**healthz, "pipeline_store": "database"}
    known = desk.experiments
    path, one = f"{_V2}/experiments", f"{_V2}/experiments/{{id}}"
    return [
        ("GET", f"{_V2}/healthz", lambda _: healthz),
        ("POST", path, lambda call: known.create(call.body)),
        ("GET", path, lambda call: known.list(call.query)),
        ("GET", one, lambda call: known.get(call.names["id"])),
        ("DELETE", one, _done(lambda call: known.delete(call.names["id"]))),
        (
            "POST",
            f"{one}:archive",
            _done(lambda call: known.move(call.names["id"], "ARCHIVED")),
        ),
        (
            "POST",
            f"{one}:unarchive",
            _done(lambda call: known.move(call.names["id"], "AVAILABLE")),
        ),
    ]


def _pipelines(desk: Desk) -> list[tuple[str, str, Answer]]:
    known = desk.pipelines
    path, one = f"{_V2}/pipelines", f"{_V2}/pipelines/{{id}}"
    version = f"{one}/versions/{{version}}"
    return [
        ("POST", f"{path}/upload", lambda call: known.upload(*call.upload(), call.query)),
        (
            "POST",
            f"{path}/upload_version",
            lambda call: known.upload_version(*call.upload(), call.query),
        ),
        ("POST", path, lambda call: known.create(call.body)),
        ("GET", path, lambda call: known.list(call.query)),
        (
            "GET",
            f"{path}/names/{{name}}",
            lambda call: known.named(call.names["name"], call.query),
        ),
        ("GET", one, lambda call: known.get(call.names["id"])),
        ("DELETE", one, _done(lambda call: known.delete(call.names["id"], call.query))),
        (
            "POST",
            f"{one}/versions",
            lambda call: known.create_version(call.names["id"], call.body),
        ),
        ("GET", f"{one}/versions", lambda call: known.versions(call.names["id"], call.query)),
        ("GET", version, lambda call: known.version(call.names["id"], call.names["version"])),
        (
            "DELETE",
            version,
            _done(lambda call: known.delete_version(call.names["id"], call.names["version"])),
        ),
    ]


def _runs(desk: Desk) -> list[tuple[str, str, Answer]]:
    runs, recurring = desk.runs, desk.recurring
    path, one = f"{_V2}/runs", f"{_V2}/runs/{{id}}"
    again, each = f"{_V2}/recurringruns", f"{_V2}/recurringruns/{{id}}"

    def verb(word: str) -> tuple[str, str, Answer]:
        return "POST", f"{one}:{word}", _done(lambda call: runs.do(call.names["id"], word))

    def switch(word: str, mode: str) -> tuple[str, str, Answer]:
        act = _done(lambda call: recurring.switch(call.names["id"], mode))
        return "POST", f"{each}:{word}", act

    return [
        ("POST", path, lambda call: runs.create(call.body, call.query)),
        ("GET", path, lambda call: runs.list(call.query)),
        ("GET", one, lambda call: runs.shown(runs.find(call.names["id"]))),
        ("DELETE", one, _done(lambda call: runs.delete(call.names["id"]))),
        *(verb(word) for word in ("terminate", "retry", "archive", "unarchive")),
        ("POST", again, lambda call: recurring.create(call.body)),
        ("GET", again, lambda call: recurring.list(call.query)),
        ("GET", each, lambda call: recurring.get(call.names["id"])),
        ("DELETE", each, _done(lambda call: recurring.delete(call.names["id"]))),
        switch("enable", "ENABLE"),
        switch("disable", "DISABLE"),
    ]


def _kube(desk: Desk) -> list[tuple[str, str, Answer]]:
    kube = desk.kube
    space = "/api/v1/namespaces/{space}"
    return [
        ("GET", f"{space}/pods", lambda call: kube.list(call.names["space"], call.query)),
        (
            "GET",
            f"{space}/pods/{{name}}",
            lambda call: kube.get(call.names["space"], call.names["name"]),
        ),
        ("GET", f"{space}/events", lambda call: kube.events(call.names["space"], call.query)),
    ]


def _faults(desk: Desk) -> list[tuple[str, str, Answer]]:
    faults = desk.faults
    return [
        ("GET", "/dev/faults", lambda _: faults.listed()),
        ("POST", "/dev/faults", _done(lambda call: faults.add(call.body))),
        ("DELETE", "/dev/faults", _done(lambda _: faults.clear())),
        ("POST", "/dev/pods", _done(lambda call: faults.add_pod(call.body))),
    ]
