"""What only a pod can tell: whether its image, the tracking server and artifacts are there."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from mlops_nb import wire
from mlops_nb.adapters.kubeflow import pods
from mlops_nb.adapters.kubeflow.pipeline import document
from mlops_nb.adapters.kubeflow.states import run_state, steps
from mlops_nb.adapters.kubeflow.submission import of_pods, profile_of
from mlops_nb.core.checkup import checkup
from mlops_nb.core.quantity import format_duration
from mlops_nb.core.results import Diagnosis
from mlops_nb.core.run import Placement, RunState
from mlops_nb.errors import BackendError, MlopsError, NotFound

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

    from mlops_nb.adapters.kubeflow.connection import Connection
    from mlops_nb.core.settings import Settings
    from mlops_nb.ports import Surroundings

_POLL_SECONDS = 1.0
_STUCK_SECONDS = 20.0
_GRACE_SECONDS = 60.0
_MEND = {
    "image": "take an image that has them: see binder/pod.Dockerfile, and image in [kubeflow]",
    "tracking server": "set tracking_uri in [kubeflow] to the address by which pods reach it, "
    "and its credentials in [profiles.NAME.secrets]",
    "artifacts": "give pods what the artifact store asks for in [profiles.NAME.secrets], or "
    "let the tracking server pass files on: mlflow server --serve-artifacts",
}


def look_inside(project: Surroundings, connection: Connection, *, seconds: float) -> str:
    """Have one small pod try what every pod needs; say what it found.

    Nothing of it stays in Kubeflow.

    Args:
        project: whose own profile the pod has.
        connection: the Kubeflow Pipelines server.
        seconds: how long it may take.

    Raises:
        UserError: if no image or tracking server is named for pods.
        BackendError: if the pod did not come so far, or found what does not work.
    """
    settings, kubeflow = project.settings, of_pods(project)
    plan = checkup(
        profile_of(Placement(), settings),
        kubeflow,
        experiment=settings.experiment or settings.name,
        kernel=settings.kernel or "python3",
        # It ends by itself where nobody is left to take it away.
        seconds=seconds + _GRACE_SECONDS,
    )
    started = time.monotonic()
    run = connection.create_run(
        f"mlops-doctor-{secrets.token_hex(4)}",
        document(plan),
        {},
        experiment_id=connection.experiment_id(kubeflow.experiment or settings.name),
        service_account=plan.service_account,
    )
    address = str(run.run_id)
    try:
        ended = _ended(settings, connection, address, started + seconds)
        took = format_duration(time.monotonic() - started)
        found = _found(settings, connection, ended)
    finally:
        _remove(connection, address)
    return f"a pod ended after {took}; {'; '.join(found)}"


def _ended(
    settings: Settings, connection: Connection, address: str, deadline: float
) -> V2beta1Run:
    """Wait for the pod's end.

    Raises:
        BackendError: if it does not end in time, or what holds it up does not change.
    """
    trouble, since = "", time.monotonic()
    while not run_state(run := connection.run(address)).is_final:
        now, said = time.monotonic(), pods.trouble(settings.kubeflow, address)
        if said != trouble:
            trouble, since = said, now
        if now > deadline or (trouble and now > since + _STUCK_SECONDS):
            raise BackendError(
                f"the pod does not begin: {trouble or 'nobody here may see why'}",
                hint="it has the image and the pull secrets that [kubeflow] and its profile "
                "name; it asks for little",
            )
        time.sleep(_POLL_SECONDS)
    return run


def _found(settings: Settings, connection: Connection, run: V2beta1Run) -> list[str]:
    log = _log(settings, connection, run)
    told = [line for line in log.splitlines() if line.startswith('{"probes"')]
    if told:
        probes = wire.loads(Diagnosis, told[-1]).probes
        for probe in probes:
            if not probe.ok:
                raise BackendError(f"{probe.name}: {probe.detail}", hint=_MEND[probe.name])
        return [probe.detail for probe in probes]
    if run_state(run) is RunState.SUCCEEDED:
        return ["all it tried works; what it printed cannot be read from here"]
    trouble = pods.trouble(settings.kubeflow, str(run.run_id))
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
    raise BackendError(
        f"image: the pod tried nothing: {last or trouble or 'it said nothing'}",
        hint=_MEND["image"],
    )


def _log(settings: Settings, connection: Connection, run: V2beta1Run) -> str:
    pod = next((step.pod for step in steps(run) if step.name == "check"), "")
    if not pod:
        return ""
    try:
        return connection.node_log(str(run.run_id), pod)
    except (NotFound, BackendError):
        return pods.printed(settings.kubeflow, pod)


def _remove(connection: Connection, address: str) -> None:
    """Delete the run, and stop it before if it goes on."""
    for act in (connection.terminate, connection.delete_run):
        try:
            act(address)
        except MlopsError:
            # One that has ended cannot be stopped; what was found is told even if it stays.
            continue
