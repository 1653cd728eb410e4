"""From any part of a model's way, notebook to traffic, to all the others."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from mlops_nb.core.change import PullRequest, read_branch
from mlops_nb.core.delivery import Deployed
from mlops_nb.core.run import Run
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlops_nb.core.model import ModelVersion

MODEL, VERSION, RUN, TRACKING = "model", "model version", "run", "MLflow run"
NOTEBOOK, CODE, GITOPS = "notebook", "commit of the code", "commit of the GitOps repository"
PULL, IMAGE, FILES, DATA, PODS = "pull request", "image", "model's files", "data", "pods"

# Git shows no fewer digits of a commit.
_SHORTEST = 7
_DIGITS = re.compile(r"(?:sha256:)?[0-9a-f]{7,}")
_PULL = re.compile(r"[#!](\d+)|https?://\S+/(?:pulls?|merge_requests)/(\d+)(?:[/?#]\S*)?")
_TITLE = re.compile(r"(?:Deploy \S+/(\d+) to \S+|Roll back \S+ in \S+ to (\d+))")
_LABELS = {
    "app.kubernetes.io/name": MODEL,
    "mlops-nb.io/model": MODEL,
    "mlops-nb.io/version": VERSION,
    "mlops-nb.io/model-uri": VERSION,
    "mlops-nb.io/run": RUN,
    "mlops-nb.io/tracking-id": TRACKING,
    "rollouts-pod-template-hash": PODS,
    "serving.kserve.io/inferenceservice": MODEL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPull:
    """A pull request that would bring a version to an environment.

    Args:
        environment: where.
        number: its number.
        url: where a person looks at it.
    """

    environment: str
    number: int
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Pods that serve a version now.

    Args:
        environment: where.
        weight: percent of the traffic.
        template: hash of their pod template, as Argo Rollouts labels them.
    """

    environment: str
    weight: int
    template: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A model version, with what it came from and where it went.

    Args:
        model: the registered model.
        version: its version.
        digest: of its files.
        aliases: names that point at it now.
        registered: when it was registered; None where the registry was not asked or lost it.
        run: id of the run that made it, for people.
        tracking_id: MLflow's id of that run.
        notebook: path of the notebook.
        notebook_digest: digest of its sources.
        code_commit: commit of the notebook's repository; `…-dirty` if it had changes.
        code_repository: its remote.
        datasets: (name, digest, uri) of each.
        deployments: commits of base that brought it, or left it by a rollback; newest first.
        open_pulls: pull requests that would bring it.
        serving: where pods serve it now, as far as clusters could be asked.
    """

    model: str
    version: int
    digest: str = ""
    aliases: tuple[str, ...] = ()
    registered: datetime | None = None
    run: str = ""
    tracking_id: str = ""
    notebook: str = ""
    notebook_digest: str = ""
    code_commit: str = ""
    code_repository: str = ""
    datasets: tuple[tuple[str, str, str], ...] = ()
    deployments: tuple[Deployed, ...] = ()
    open_pulls: tuple[OpenPull, ...] = ()
    serving: tuple[Serving, ...] = ()

    def __str__(self) -> str:
        """Give `name/version`."""
        return f"{self.model}/{self.version}"

    @property
    def images(self) -> tuple[str, ...]:
        """Images it was deployed with."""
        return tuple(dict.fromkeys(d.lock.image for d in self._own if d.lock))

    @property
    def _own(self) -> Iterator[Deployed]:
        return (d for d in self.deployments if d.version == self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What belongs together with what was asked for.

    Args:
        ref: what was asked for.
        meant: what that is, in words: `run`, `commit of the code`.
        chains: model versions it belongs to, newest first.
        runs: runs it belongs to, those without a model among them, newest first.
        notes: what could not be asked, or was left out.
    """

    ref: str
    meant: tuple[str, ...]
    chains: tuple[Chain, ...] = ()
    runs: tuple[Run, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Clue:
    kind: str
    text: str


class Clues:
    """What a reference may mean.

    Args:
        ref: a notebook, run, model version, commit, pull request, digest, or pod label; of
            commits, digests and MLflow runs at least 7 digits.

    Raises:
        UserError: if it is a label that no pod of ours tells anything by.
    """

    def __init__(self, ref: str) -> None:
        self.ref = ref.strip()
        self._clues = tuple(_read(self.ref))

    @property
    def asks_pods(self) -> bool:
        """Whether only a cluster knows what is meant."""
        return any(clue.kind == PODS for clue in self._clues)

    def of_chain(self, chain: Chain) -> set[str]:
        """Give what it means of a model version; empty if it does not belong to it."""
        return self._meant(list(_names_of_chain(chain)))

    def of_run(self, run: Run) -> set[str]:
        """Give what it means of a run; empty if it does not belong to it."""
        return self._meant(list(_names_of_run(run)))

    def _meant(self, names: Sequence[_Clue]) -> set[str]:
        found = [{n.kind for n in names if _fits(clue, n)} for clue in self._clues]
        return set().union(*found) if all(found) else set()


def _read(ref: str) -> Iterator[_Clue]:
    if "=" in ref and "://" not in ref:
        yield from _read_labels(ref)
    elif pull := _PULL.fullmatch(ref):
        yield _Clue(PULL, pull[1] or pull[2])
    elif "@sha256:" in ref:
        yield _Clue(IMAGE, ref.partition("@")[2])
    else:
        yield _Clue("", ref.removeprefix("models:/"))


def _read_labels(ref: str) -> Iterator[_Clue]:
    told = dict(part.partition("=")[::2] for part in ref.replace(" ", "").split(","))
    known = {key: value for key, value in told.items() if key in _LABELS and value}
    if not known:
        raise UserError(
            f"{ref!r} has no label that tells a model",
            hint=f"give one of {', '.join(_LABELS)} with its value",
        )
    for key, value in known.items():
        yield _Clue(_LABELS[key], value.removeprefix("models:/"))


def _fits(clue: _Clue, name: _Clue) -> bool:
    if clue.kind not in {"", name.kind}:
        return False
    wanted, text = clue.text, name.text
    if name.kind == NOTEBOOK:
        return text == wanted or text.endswith(f"/{wanted}")
    if name.kind == VERSION and clue.kind and wanted.isdecimal():
        return text.endswith(f"/{wanted}")
    if name.kind in {TRACKING, CODE, GITOPS, IMAGE, FILES, DATA} and _DIGITS.fullmatch(wanted):
        return text.removeprefix("sha256:").startswith(wanted.removeprefix("sha256:"))
    return text == wanted


def _names_of_chain(chain: Chain) -> Iterator[_Clue]:
    yield _Clue(MODEL, chain.model)
    yield _Clue(VERSION, str(chain))
    for alias in chain.aliases:
        yield _Clue(VERSION, f"{chain.model}@{alias}")
    yield from _names(
        (RUN, chain.run),
        (TRACKING, chain.tracking_id),
        (NOTEBOOK, chain.notebook),
        (CODE, chain.code_commit),
        (FILES, chain.digest),
        *((DATA, digest) for _, digest, _ in chain.datasets),
    )
    for image in chain.images:
        yield _Clue(IMAGE, image.partition("@")[2])
    for deployed in chain.deployments:
        yield _Clue(GITOPS, deployed.commit)
        if deployed.pull_request:
            yield _Clue(PULL, str(deployed.pull_request))
    for pull in chain.open_pulls:
        yield _Clue(PULL, str(pull.number))
    for serving in chain.serving:
        yield from _names((PODS, serving.template))


def _names_of_run(run: Run) -> Iterator[_Clue]:
    yield from _names(
        (RUN, run.id),
        (TRACKING, run.tracking_id),
        (NOTEBOOK, run.notebook),
        (CODE, run.code_commit),
        *((DATA, dataset.digest) for dataset in run.datasets),
    )


def _names(*pairs: tuple[str, str]) -> Iterator[_Clue]:
    return (_Clue(kind, text) for kind, text in pairs if text)


def chains_of(
    versions: Iterable[ModelVersion],
    deployed: Iterable[Deployed],
    pulls: Iterable[PullRequest],
) -> tuple[Chain, ...]:
    """Join what the registry, base's commits and the pull requests each know.

    A version that only one of them knows is a chain, too: Git outlives the registry.

    Args:
        versions: as the registry has them, newest first.
        deployed: as base records them, newest first.
        pulls: pull requests of the GitOps repository.
    """
    chains = {(v.name, v.version): _of_version(v) for v in versions}
    brought: Mapping[tuple[str, int], list[Deployed]] = defaultdict(list)
    for each in deployed:
        for number in {each.version, each.previous if each.action == "rollback" else 0} - {0}:
            brought[each.model, number].append(each)
    for (model, number), rows in brought.items():
        known = chains.get((model, number), Chain(model=model, version=number))
        chains[model, number] = _with_record(replace(known, deployments=tuple(rows)))
    for pull in pulls:
        about, number = read_branch(pull.branch), _proposed(pull)
        if pull.state == "open" and about and number:
            key = about[0], number
            known = chains.get(key, Chain(model=about[0], version=number))
            opened = OpenPull(environment=about[1], number=pull.number, url=pull.url)
            chains[key] = replace(known, open_pulls=(*known.open_pulls, opened))
    return tuple(chains.values())


def _of_version(version: ModelVersion) -> Chain:
    tags = version.tags
    commit = tags.get("mlflow.source.git.commit", "")
    is_dirty = commit and tags.get("mlflow.source.git.dirty") == "true"
    return Chain(
        model=version.name,
        version=version.version,
        digest=version.digest,
        aliases=version.aliases,
        registered=version.created,
        run=version.run,
        tracking_id=version.tracking_id,
        notebook=tags.get("mlops_nb.notebook", ""),
        notebook_digest=tags.get("mlops_nb.notebook_digest", ""),
        code_commit=f"{commit}-dirty" if is_dirty else commit,
        code_repository=tags.get("mlflow.source.git.repoURL", ""),
    )


def _with_record(chain: Chain) -> Chain:
    """Fill in what the newest record of the version in Git knows, and the registry does not."""
    lock = next(
        (d.lock for d in chain.deployments if d.lock and d.version == chain.version), None
    )
    if lock is None:
        return chain
    return replace(
        chain,
        digest=chain.digest or lock.digest,
        run=chain.run or lock.run,
        tracking_id=chain.tracking_id or lock.tracking_id,
        notebook=chain.notebook or lock.notebook,
        notebook_digest=chain.notebook_digest or lock.notebook_digest,
        code_commit=chain.code_commit or lock.code_commit,
        code_repository=chain.code_repository or lock.code_repository,
        datasets=lock.datasets,
    )


def _proposed(pull: PullRequest) -> int:
    match = _TITLE.fullmatch(pull.title)
    return int(match[1] or match[2]) if match else 0
