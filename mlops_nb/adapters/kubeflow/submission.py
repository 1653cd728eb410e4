"""What is submitted: checked, packed and laid out before anything is written anywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from mlops_nb import wire
from mlops_nb.adapters.kubeflow.bundle import Bundle, pack, recorded_as
from mlops_nb.adapters.kubeflow.pipeline import compile_plan, document, manifests
from mlops_nb.core.pipeline import Plan, plan
from mlops_nb.core.profile import Profile, override
from mlops_nb.core.run import Placement
from mlops_nb.core.settings import Kubeflow
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.core.data import DataSource
    from mlops_nb.core.settings import Settings
    from mlops_nb.core.verbs import Job
    from mlops_nb.ports import Surroundings

NAME = "kubeflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A job as Kubeflow is given it.

    Args:
        bundle: the notebook and what travels with it.
        plan: the steps.
        profile: what the training pod may use, with all overrides.
    """

    bundle: Bundle
    plan: Plan
    profile: Profile

    @property
    def placement(self) -> Placement:
        """Where it goes on and what it is given, for its record."""
        pod = self.plan.step("train").pod
        return Placement(
            on=NAME,
            profile=self.profile.name,
            gpu=pod.gpu,
            cpu=pod.cpu,
            memory=pod.memory,
            image=pod.image,
        )

    def document(self) -> Mapping[str, object]:
        """Give the pipeline as the API takes it: one document, with the platform's part."""
        return document(self.plan)

    def files(self, *, manifests_for: str | None = None) -> Mapping[str, bytes]:
        """Give what is submitted as files, with manifests for a namespace if one is given."""
        files = {
            "pipeline.yaml": compile_plan(self.plan).encode(),
            PurePath(recorded_as(self.bundle.digest)).name: self.bundle.content,
        }
        if manifests_for is not None:
            files["kubernetes.yaml"] = manifests(self.plan, manifests_for).encode()
        return files


def prepare(job: Job, notebook: bytes, project: Surroundings) -> Submission:
    """Check a job and lay out its pipeline.

    Raises:
        UserError: if pods could not reach something, the bundle is too large, or the profile
            or an image is missing.
        NotFound: if there is no such profile.
    """
    settings, kubeflow = project.settings, project.settings.kubeflow
    _check_reachable(job, settings)
    folder = Path(job.project)
    profile = profile_of(job.placement, settings)
    bundle = pack(
        Path(job.spec.notebook),
        notebook,
        root=folder,
        include=kubeflow.include,
        limit=kubeflow.bundle_limit,
    )
    spec = replace(
        job.spec,
        notebook=bundle.notebook,
        data=tuple(_from_anywhere(source, folder) for source in job.spec.data),
    )
    children = tuple(
        replace(child, spec=replace(spec, parameters=child.spec.parameters))
        for child in job.children
    )
    return Submission(
        bundle=bundle,
        plan=plan(
            replace(job, spec=spec, children=children, project=""),
            profile=profile,
            kubeflow=of_pods(project),
            bundle=bundle.digest,
            settings=wire.dumps(_settings_of_pods(settings, folder)),
            experiment=settings.experiment or settings.name,
            version=project.tool.rpartition("/")[2],
        ),
        profile=profile,
    )


def profile_of(placement: Placement, settings: Settings) -> Profile:
    """Give what a training pod may use, with all overrides.

    Raises:
        NotFound: if there is no such profile.
    """
    name = placement.profile or settings.kubeflow.profile
    return override(
        settings.profile(name) if name else Profile(name="default"),
        gpu=placement.gpu,
        memory=placement.memory,
        image=placement.image,
        cpu=placement.cpu,
    )


def of_pods(project: Surroundings) -> Kubeflow:
    """Give [kubeflow], with the project's own tracking server if it names none for pods."""
    kubeflow = project.settings.kubeflow
    return replace(kubeflow, tracking_uri=kubeflow.tracking_uri or project.tracking_uri)


def check_configured(kubeflow: Kubeflow) -> None:
    """Refuse to go on without a server.

    Raises:
        UserError: if none is configured.
    """
    if not kubeflow.is_configured:
        raise UserError(
            "no Kubeflow is configured",
            hint='set url = "https://…" in [kubeflow] of mlops.toml; to rehearse on this '
            "machine: mlops dev kubeflow",
        )


def _check_reachable(job: Job, settings: Settings) -> None:
    kubeflow = settings.kubeflow
    check_configured(kubeflow)
    if kubeflow.shares_machine:
        return
    for source in job.spec.data:
        if source.uri.startswith("file:") or "://" not in source.uri:
            raise UserError(
                f"pods cannot reach the data {source.name} at {source.uri}",
                hint="put it into object storage: --data NAME=s3://bucket/key",
            )
    if job.deploy and not settings.gitops.is_remote:
        raise UserError(
            f"pods cannot reach the GitOps repository {settings.gitops.repository}",
            hint="leave --deploy out, and propose it from here: "
            f"mlops deploy {job.register} --to {job.deploy}",
        )


def _from_anywhere(source: DataSource, folder: Path) -> DataSource:
    """Give data that pods on this machine find from their own folders."""
    if "://" in source.uri:
        return source
    return replace(source, uri=str(folder / source.uri))


def _settings_of_pods(settings: Settings, folder: Path) -> Settings:
    gitops = settings.gitops
    if gitops.repository and not gitops.is_remote:
        gitops = replace(gitops, repository=str((folder / gitops.repository).resolve()))
    # Profiles and the way to Kubeflow are none of a pod's business.
    return replace(settings, gitops=gitops, profiles={}, kubeflow=Kubeflow())
