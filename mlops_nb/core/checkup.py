"""The pipeline of one small pod that tries what every pod needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_nb.core.pipeline import PIPELINE_RUN, Plan, Step, light_pod

if TYPE_CHECKING:
    from mlops_nb.core.profile import Profile
    from mlops_nb.core.settings import Kubeflow


def checkup(
    profile: Profile, kubeflow: Kubeflow, *, experiment: str, kernel: str, seconds: float
) -> Plan:
    """Lay out the pipeline of the pod.

    Args:
        profile: whose image and secrets it has.
        kubeflow: settings of the server.
        experiment: MLflow experiment that it writes to.
        kernel: kernelspec that it looks for.
        seconds: after which it is ended.

    Raises:
        UserError: if no image or tracking server is named for the pods.
    """
    words = {"--pipeline-run": PIPELINE_RUN, "--experiment": experiment, "--kernel": kernel}
    pod = replace(light_pod(profile, kubeflow), timeout=seconds)
    told = (word for pair in words.items() for word in pair)
    step = Step(name="check", words=("check", *told), pod=pod)
    return Plan(
        name="mlops-nb-check",
        description="what every pod needs, tried by mlops doctor",
        steps=(step,),
        service_account=profile.service_account or kubeflow.service_account,
    )
