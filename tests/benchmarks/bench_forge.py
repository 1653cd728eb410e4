"""What a proposal costs in a large repository: ours, first time and again, beside git by hand.

    python tests/benchmarks/bench_forge.py [FILES] [COMMITS]

The server is GitHub's double: git's own http-backend on this machine. By hand is a clone, then
edit, commit and push, as a script in CI does; and again in a clone that is there already.

After that the whole of `mlops deploy`, as a process: registry, gate, manifests, evidence and
pull request, of a model that a notebook trained.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from forge_doubles import TOKEN, GitHubDouble

from mlops_nb.adapters.git import RemoteForge
from mlops_nb.core.change import ChangeSet, lock_path
from mlops_nb.core.gitops import Gitops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.ports import Forge


def fill(repository: Path, files: int, commits: int) -> None:
    """Write files of 200 models, and a history in which each commit changes a lock file."""
    models = 200
    lines = []
    for n in range(commits):
        lines.append(
            "commit refs/heads/main\n"
            f"committer Bob <bob@example.com> {1_700_000_000 + n} +0000\n"
            f"data 8\ncommit {n % 10}"
        )
        if n:
            path = lock_path(f"m{n % models}", "prod")
            lines.append(f"M 100644 inline {path}\ndata {len(str(n)) + 9}\nversion: {n}")
            continue
        for i in range(files):
            text = f"# file {i}\n" + f"key{i}: {'x' * 60}\n" * 20
            path = f"models/m{i % models}/overlays/e{i // models % 10}/f{i}.yaml"
            lines.append(f"M 100644 inline {path}\ndata {len(text)}\n{text}")
    stream = "\n".join(lines) + "\ndone\n"
    git(repository, "fast-import", "--quiet", "--force", "--done", text=stream)
    git(repository, "repack", "-a", "-d", "-q")


def git(folder: Path, *words: str, text: str = "") -> None:
    who = ("-c", "user.name=Bob", "-c", "user.email=bob@example.com")
    subprocess.run(
        ["git", *who, *words],
        cwd=folder,
        input=text,
        text=True,
        check=True,
        capture_output=True,
    )


def open_forge(url: str, folder: Path) -> Forge:
    return RemoteForge.open(
        Gitops(repository=url, forge="github", token="secret:T"),
        folder=folder,
        cache=folder / "cache",
        author="Ann <ann@example.com>",
        environment=dict(os.environ),
        secret={"T": TOKEN}.__getitem__,
    )


def propose(forge: Forge, text: str) -> None:
    """Do what `deploy` asks of a forge."""
    forge.read("models/m7")
    forge.read("clusters/prod")
    branch = "mlops-nb/prod/m7"
    forge.find(branch)
    files = {lock_path("m7", "prod"): text.encode(), "models/m7/overlays/prod/new": b"x"}
    forge.propose(ChangeSet(branch=branch, title=text, body="body", files=files))


def by_hand(work: Path, text: str) -> None:
    path = work / lock_path("m7", "prod")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    git(work, "checkout", "--quiet", "-B", "mlops-nb/prod/by-hand")
    git(work, "add", str(path))
    git(work, "commit", "--quiet", "-m", text)
    git(work, "push", "--quiet", "--force", "origin", "HEAD")


@contextmanager
def timed(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"{what:<44} {time.perf_counter() - started:6.2f} s", flush=True)


NOTEBOOK = """
import mlflow, numpy, pandas
from sklearn.linear_model import LogisticRegression
rows = numpy.random.default_rng(0).normal(size=(400, 3))
truth = rows.sum(axis=1) > 0
fitted = LogisticRegression().fit(rows, truth)
found = fitted.predict(rows)
mlflow.log_metric("accuracy", float((found == truth).mean()))
mlflow.sklearn.log_model(fitted, name="model", serialization_format="skops")
table = {"label": truth.astype(int), "prediction": found.astype(int)}
mlflow.log_table(pandas.DataFrame(table), "evaluation.json")
"""


def whole_deploy(folder: Path, url: str) -> None:
    """Time `mlops deploy` as people type it."""
    folder.mkdir()
    environment = {**os.environ, "T": TOKEN, "HTTPS_PROXY": "http://127.0.0.1:9"}
    program = str(Path(sys.executable).with_name("mlops"))

    def mlops(*words: str) -> None:
        done = subprocess.run(
            [program, *words],
            check=False,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr)

    cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "source": NOTEBOOK}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}}
    cells = [{**cell, "execution_count": None}]
    (folder / "credit.ipynb").write_text(json.dumps({**notebook, "cells": cells}))
    mlops("init")
    settings = (folder / "mlops.toml").read_text()
    local = 'repository = ".mlops/gitops.git"'
    remote = f'repository = "{url}"\nforge = "github"\ntoken = "secret:T"'
    (folder / "mlops.toml").write_text(settings.replace(local, remote))
    train = ("train", "credit.ipynb", "--gate", "accuracy >= 0.8", "--register", "credit")
    for _ in range(2):
        mlops(*train)
    with timed("mlops deploy, first time (mirror made)"):
        mlops("deploy", "credit/1", "--to", "prod")
    with timed("mlops deploy, again: a newer version"):
        mlops("deploy", "credit/2", "--to", "prod")
    with timed("mlops deploy, again: the same version"):
        mlops("deploy", "credit/2", "--to", "prod")


def main(files: int, commits: int) -> None:
    with tempfile.TemporaryDirectory() as name, GitHubDouble(Path(name)) as double:
        folder = Path(name)
        fill(double.repository.path, files, commits)
        url = double.url.replace("://", f"://ann:{TOKEN}@")
        with timed("deploy's part, first time (mirror made)"):
            propose(open_forge(double.url, folder), "version: 1")
        with timed("deploy's part, again: a newer version"):
            propose(open_forge(double.url, folder), "version: 2")
        with timed("deploy's part, again: the same version"):
            propose(open_forge(double.url, folder), "version: 2")
        with timed("merge"):
            open_forge(double.url, folder).merge(1)
        with timed("the newest 50 of history"):
            log = open_forge(double.url, folder).log(lock_path("*", "prod"))
            for commit, _ in zip(log, range(50), strict=False):
                dict(commit.files)
        size = sum(p.stat().st_size for p in (folder / "cache").rglob("*") if p.is_file())
        print(f"{'the mirror':<44} {size / 2**20:6.1f} MiB")
        with timed("by hand, first time: clone --depth 1 …"):
            git(folder, "clone", "--quiet", "--depth", "1", url, "shallow")
            by_hand(folder / "shallow", "version: 4")
        with timed("by hand, first time: clone …"):
            git(folder, "clone", "--quiet", url, "whole")
            by_hand(folder / "whole", "version: 5")
        with timed("by hand, again: pull, edit, commit, push"):
            git(folder / "whole", "checkout", "--quiet", "main")
            git(folder / "whole", "pull", "--quiet")
            by_hand(folder / "whole", "version: 6")
        whole_deploy(folder / "project", double.url)


if __name__ == "__main__":
    told = [int(word) for word in sys.argv[1:]]
    main(*(told or [20_000, 2_000]))
