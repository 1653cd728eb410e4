"""`mlops doctor --inside`: one small pod tells whether pods find what they need."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rehearsal import Rehearsal, rehearsal

from mlops_nb.adapters.kubeflow.connection import Connection
from mlops_nb.adapters.kubeflow.inside import look_inside
from mlops_nb.core import verbs
from mlops_nb.core.settings import Settings, parse_settings
from mlops_nb.errors import BackendError
from mlops_nb.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlops_nb.core.results import Probe


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, migrated_store: Path
) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path_factory.mktemp("servers"), migrated_store) as both:
        yield both


@pytest.fixture
def settings(servers: Rehearsal) -> Settings:
    return parse_settings(servers.settings(), path="mlops.toml", default_name="p")


def pods_tracking(settings: Settings, uri: str) -> Settings:
    return replace(settings, kubeflow=replace(settings.kubeflow, tracking_uri=uri))


def probe(folder: Path, settings: Settings) -> Probe:
    """Ask the doctor; give what the pod found."""
    diagnosis = Project(folder, settings, {}).run(verbs.Doctor(inside=True, timeout=60))
    found: dict[str, Probe] = {each.name: each for each in diagnosis.probes}
    return found["inside a pod"]


def left(servers: Rehearsal) -> list[str]:
    """Give the names of the runs that are still in Kubeflow."""
    return [run.display_name for run in Connection(servers.kubeflow.url).runs()]


def test_a_pod_tells_what_it_found_and_leaves_nothing(
    tmp_path: Path, servers: Rehearsal, settings: Settings
) -> None:
    found = probe(tmp_path, settings)
    assert found.ok, found
    assert "the kernel python3; the tracking server answers" in found.detail
    assert "experiment p: a file was written, read and deleted" in found.detail
    assert left(servers) == []


def test_a_tracking_server_out_of_reach_for_pods_alone_is_named(
    tmp_path: Path, servers: Rehearsal, settings: Settings
) -> None:
    found = probe(tmp_path, pods_tracking(settings, "http://127.0.0.1:9"))
    assert not found.ok
    assert found.detail.startswith(
        "tracking server: MLflow at http://127.0.0.1:9 does not answer"
    )
    assert found.hint.startswith("set tracking_uri in [kubeflow] to the address by which pods")
    assert left(servers) == []


def test_artifacts_that_cannot_be_written_are_named(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, migrated_store: Path
) -> None:
    folder = tmp_path_factory.mktemp("full")
    with rehearsal(folder, migrated_store) as servers:
        # Where files would go, nothing can be written.
        (folder / "mlflow" / "artifacts").write_text("")
        settings = parse_settings(servers.settings(), path="mlops.toml", default_name="p")
        found = probe(tmp_path, settings)
    assert not found.ok
    assert found.detail.startswith(
        f"artifacts: MLflow at {servers.tracking_uri} could not write a file"
    )
    assert "[profiles.NAME.secrets]" in found.hint


def test_a_pod_without_the_runner_is_told_from_one_that_finds_nothing(
    tmp_path: Path, servers: Rehearsal, settings: Settings
) -> None:
    lacking = replace(settings, kernel="julia-9")
    found = probe(tmp_path, lacking)
    assert not found.ok
    assert found.detail.startswith("image: ")
    assert "julia-9" in found.detail
    assert "binder/pod.Dockerfile" in found.hint


def test_a_pod_that_does_not_begin_is_given_up_and_taken_away(
    tmp_path: Path, servers: Rehearsal, settings: Settings
) -> None:
    servers.kubeflow.faults.add_pod({"task": "check", "waiting": "ImagePullBackOff"})
    connection = Connection(servers.kubeflow.url)
    try:
        with pytest.raises(BackendError, match="the pod does not begin"):
            look_inside(Project(tmp_path, settings, {}), connection, seconds=2)
    finally:
        servers.kubeflow.faults.clear()
    assert left(servers) == []


def test_without_kubeflow_there_is_no_inside(tmp_path: Path) -> None:
    found = probe(tmp_path, Settings(name="p", tracking_uri=f"sqlite:///{tmp_path}/m.db"))
    assert (found.ok, found.detail) == (False, "no Kubeflow is configured")
    assert "mlops dev kubeflow" in found.hint


def test_what_pods_lack_is_said_before_one_is_started(
    tmp_path: Path, servers: Rehearsal, settings: Settings
) -> None:
    lacking = replace(settings, kubeflow=replace(settings.kubeflow, image=""))
    found = probe(tmp_path, lacking)
    assert (found.ok, found.detail) == (False, "no image for profile default")
    assert left(servers) == []
