"""What one Kubeflow pipeline is made of, told without Kubeflow."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from mlops_nb.core.argument import as_argument, shield
from mlops_nb.core.profile import Profile, is_pinned
from mlops_nb.core.quantity import format_duration, format_size
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_nb.core.run import RunSpec
    from mlops_nb.core.settings import Kubeflow
    from mlops_nb.core.verbs import Job

ARGUMENT_LIMIT = 64 * 1024
"""Bytes of one argument, quoted as on its way. The kernel takes 128 KiB."""

WORDS_LIMIT = 96 * 1024
"""Bytes of a step's arguments together."""

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
RUN_VARIABLE = "KFP_RUN_ID"
"""Variable of every pod with the server's run id; it wins over `--pipeline-run`."""

PIPELINE_RUN = "{{$.pipeline_job_uuid}}"
"""The same as a word, which kfp's local runner fills in. Kubeflow's server does so in inputs of
steps alone, where it would make each training another one."""

_CPU = "500m"
_MEMORY = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A word that whoever starts the pipeline fills in."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A word that an earlier step gives."""

    step: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A word that is another one for each child of a sweep."""

    name: str = "child"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A word that is the path of the file for one of the step's own results."""

    name: str


Word = str | Parameter | Result | Item | Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One pod: its words and what it may use.

    Args:
        name: prepare, train, validate, register or deploy.
        place: `once`; `each` is once for each child of a sweep; `passed` only if the gates did.
        words: arguments of `python -m mlops_nb.runner.pod`, the first is the name.
        pod: what it may use, with the image and all plain environment variables.
        is_bounded: whether the pod's memory is its limit, too, not only asked for.
        is_cached: whether the same work done before is taken instead.
    """

    name: str
    place: Literal["once", "each", "passed"] = "once"
    words: tuple[Word, ...]
    pod: Profile
    is_bounded: bool = False
    is_cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one compiled pipeline is made of.

    Args:
        name: name of the pipeline, from the notebook's.
        description: one line for people.
        steps: in the order they run in.
        items: JSON of each child of a sweep; empty if it is none.
        parallel: how many children run at once.
        service_account: Kubernetes service account to submit with; no part of the pipeline.
        warnings: what whoever asked should know.
    """

    name: str
    description: str
    steps: tuple[Step, ...]
    items: tuple[str, ...] = ()
    parallel: int = 1
    service_account: str = ""
    warnings: tuple[str, ...] = ()

    def step(self, name: str) -> Step:
        """Give a step; there is one of the name."""
        return next(step for step in self.steps if step.name == name)

    def fresh(self) -> Plan:
        """Give the pipeline with no result taken from an earlier run: a schedule is to run."""
        return replace(self, steps=tuple(replace(step, is_cached=False) for step in self.steps))


def plan(
    job: Job,
    *,
    profile: Profile,
    kubeflow: Kubeflow,
    bundle: str,
    settings: str,
    experiment: str,
    version: str,
) -> Plan:
    """Lay out the pipeline of a job.

    Args:
        job: the run and the steps after it; a sweep if it has children.
        profile: what the training pod may use.
        kubeflow: settings of the server.
        bundle: sha256 of the notebook and the files that travel with it.
        settings: the project's settings as JSON text, for gates and environments.
        experiment: MLflow experiment.
        version: version of this tool.

    Raises:
        UserError: if no image, tracking server or secret's variable is named for the pods, or
            an argument is too long for one.
    """
    light = light_pod(profile, kubeflow)
    _check(job, profile)
    words = _Words(job, bundle=bundle, settings=settings, experiment=experiment)
    full = replace(
        profile,
        image=light.image,
        env=light.env,
        retries=max(job.retries, profile.retries),
    )
    with_data = replace(light, volumes=_volumes_with_data(words.job, profile))
    tried = kubeflow.check_imports
    steps = [
        Step(name="prepare", words=words.prepare(is_tried=tried), pod=with_data),
        Step(
            name="train",
            place="each" if words.items else "once",
            words=words.train(),
            pod=full,
            is_bounded=True,
            # A child of a sweep is recorded by its own pod, which a cached one would not have.
            is_cached=not words.items,
        ),
    ]
    if job.gates or job.register:
        steps.append(Step(name="validate", words=words.validate(), pod=light))
    if job.register:
        steps.append(Step(name="register", place="passed", words=words.register(), pod=light))
    if job.deploy:
        steps.append(Step(name="deploy", place="passed", words=words.deploy(), pod=light))
    _check_lengths(steps, words.items)
    notebook = PurePath(job.spec.notebook)
    return Plan(
        name=_name(notebook.stem),
        description=f"{notebook.name}, by mlops-nb {version}",
        steps=tuple(steps),
        items=words.items,
        parallel=job.parallel,
        service_account=profile.service_account or kubeflow.service_account,
        warnings=_warnings(job, profile, light.image),
    )


def light_pod(profile: Profile, kubeflow: Kubeflow) -> Profile:
    """Give what a pod that does not train may use: the profile's image and secrets.

    Raises:
        UserError: if no image or tracking server is named for the pods, or the profile sets a
            variable that they have already.
    """
    image = profile.image or kubeflow.image
    _check_pods(profile, kubeflow, image)
    variables = {TRACKING_VARIABLE: kubeflow.tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    return Profile(
        name=profile.name,
        image=image,
        cpu=_CPU,
        memory=_MEMORY,
        env={**variables, **profile.env},
        secrets=profile.secrets,
        pull_secrets=profile.pull_secrets,
    )


class _Words:
    """The words of each step of one job."""

    def __init__(self, job: Job, *, bundle: str, settings: str, experiment: str) -> None:
        self.job = _whole(job)
        self.items = _items(job.children, self.job.spec)
        self._bundle = bundle
        self._common = {"--pipeline-run": PIPELINE_RUN, "--experiment": experiment}
        self._job = {"--job": as_argument(self.job)}
        self._judged: dict[str, Word] = {**self._job, "--settings": shield(settings)}

    def prepare(self, *, is_tried: bool) -> tuple[Word, ...]:
        given: dict[str, Word] = {
            "--run": Parameter(name="run_id"),
            "--bundle-run": Parameter(name="bundle_run"),
            "--bundle": self._bundle,
            **self._job,
        }
        words = self._step("prepare", given, out="datasets")
        return words if is_tried else (*words, "--no-import-check")

    def train(self) -> tuple[Word, ...]:
        given: dict[str, Word] = {
            "--bundle": self._bundle,
            "--spec": as_argument(self.job.spec),
            **({"--child": Item()} if self.items else {}),
            "--datasets": Result(step="prepare", name="datasets"),
        }
        return self._step("train", given, out="trained")

    def validate(self) -> tuple[Word, ...]:
        given = {**self._judged, "--trained": Result(step="train", name="trained")}
        return self._step("validate", given, out="passed")

    def register(self) -> tuple[Word, ...]:
        given = {**self._judged, "--trained": Result(step="train", name="trained")}
        return self._step("register", given, out="version")

    def deploy(self) -> tuple[Word, ...]:
        given = {**self._judged, "--version": Result(step="register", name="version")}
        return self._step("deploy", given)

    def _step(self, name: str, given: Mapping[str, Word], out: str = "") -> tuple[Word, ...]:
        options: dict[str, Word] = {**self._common, **given}
        if out:
            options[f"--out-{out}"] = Output(name=out)
        return (name, *(word for option in options.items() for word in option))


def _items(children: Sequence[Job], shared: RunSpec) -> tuple[str, ...]:
    """Give each child's own: its number, its parameters and what else it does not share."""
    items = []
    for place, child in enumerate(children, start=1):
        # A repeated sweep has only its rest; the children keep their numbers.
        number = child.id.rpartition(".")[2]
        own = {
            f.name: getattr(child.spec, f.name)
            for f in fields(child.spec)
            if f.name == "parameters" or getattr(child.spec, f.name) != getattr(shared, f.name)
        }
        told = {"number": int(number) if number.isdecimal() else place, "spec": own}
        items.append(as_argument(told))
    return tuple(items)


def _whole(job: Job) -> Job:
    """Give a sweep's job without its children, with what they have in common as its spec."""
    if not job.children:
        return job
    data = dict.fromkeys(source for child in job.children for source in child.spec.data)
    spec = replace(job.children[0].spec, parameters={}, data=tuple(data))
    return replace(job, spec=spec, children=())


def _check_pods(profile: Profile, kubeflow: Kubeflow, image: str) -> None:
    if not image:
        raise UserError(
            f"no image for profile {profile.name}",
            hint='set image = "registry/name@sha256:…" in [kubeflow], or give --image',
        )
    tracking = kubeflow.tracking_uri
    if not tracking:
        raise UserError(
            "no tracking server for pods",
            hint="set tracking_uri in [kubeflow] to its address as pods reach it",
        )
    if not (kubeflow.shares_machine or re.match(r"(https?|databricks)\b", tracking)):
        raise UserError(
            f"pods cannot reach the tracking server {tracking}: it is a file of this machine",
            hint="set tracking_uri in [kubeflow] to a server's http address",
        )
    for name in (*profile.env, *profile.secrets):
        if name in {TRACKING_VARIABLE, RUN_VARIABLE}:
            raise UserError(
                f"profile {profile.name} sets {name}, which every pod has already",
                hint="take it out; the tracking server is tracking_uri in [kubeflow]",
            )


def _check(job: Job, profile: Profile) -> None:
    if job.deploy and not job.register:
        raise UserError(
            f"nothing to deploy to {job.deploy}: the run registers no model",
            hint="add --register NAME",
        )
    for spec in (job.spec, *(child.spec for child in job.children)):
        for parameter, name in spec.secrets.items():
            if name not in profile.secrets:
                raise UserError(
                    f"parameter {parameter!r} needs the secret {name}, which profile "
                    f"{profile.name} gives no pod",
                    hint=f"add to [profiles.{profile.name}.secrets]: "
                    f'{name} = "secret-name/key"',
                )


def _check_lengths(steps: Sequence[Step], items: Sequence[str]) -> None:
    for step in steps:
        sizes = [
            (len(json.dumps(word)), str(flag))
            for flag, word in zip(step.words, step.words[1:], strict=False)
            if isinstance(word, str)
        ]
        longest, flag = max(sizes)
        hint = (
            "shorten mlops.toml"
            if flag == "--settings"
            else "write large parameters into a file and pass it with --data"
        )
        _check_length(f"{step.name}: {flag} is", longest, ARGUMENT_LIMIT, hint)
        # The pod that prepares the step's own is told all of them as one.
        told = f"{step.name}: all arguments, {flag} foremost, are"
        _check_length(told, sum(size for size, _ in sizes), WORDS_LIMIT, hint)
    # Every pod of the loop is told all of them at once.
    told = f"the sweep's {len(items)} children are"
    hint = "sweep in parts, or pass large parameters as a file with --data"
    _check_length(told, len(json.dumps(items)), ARGUMENT_LIMIT, hint)


def _check_length(told: str, size: int, limit: int, hint: str) -> None:
    if size > limit:
        raise UserError(
            f"{told} {format_size(size)}, a pod takes {format_size(limit)} at most", hint=hint
        )


def _warnings(job: Job, profile: Profile, image: str) -> tuple[str, ...]:
    warnings = []
    if not is_pinned(image):
        warnings.append(
            f"image {image} has no digest: what it holds may change from run to run"
        )
    timeout = job.spec.limits.timeout
    if timeout and profile.timeout and timeout > profile.timeout:
        warnings.append(
            f"profile {profile.name} ends the pod after {format_duration(profile.timeout)}, "
            f"before the run's own {format_duration(timeout)}"
        )
    return tuple(warnings)


def _volumes_with_data(job: Job, profile: Profile) -> Mapping[str, str]:
    """Give the volumes that data lies on: its digest is taken before training."""
    paths = [PurePath(source.uri.removeprefix("file://")) for source in job.spec.data]
    return {
        claim: mount
        for claim, mount in profile.volumes.items()
        if any(path.is_relative_to(mount) for path in paths)
    }


def _name(stem: str) -> str:
    letters = "".join(c if c.isascii() and c.isalnum() else " " for c in stem.lower())
    return "-".join(letters.split())[:40].strip("-") or "notebook"
