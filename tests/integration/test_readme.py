"""What the README says is done as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kernels import Kernel
from shell import Shell, rehearsing

from mlops_nb.core.settings import Settings, parse_settings
from mlops_nb.core.verbs import Verb
from mlops_nb.grammar import Help, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def text() -> str:
    return README.read_text(encoding="utf-8")


def section(heading: str) -> str:
    _, _, after = text().partition(f"\n## {heading}")
    return after.partition("\n## ")[0]


def tour() -> list[str]:
    """Give the tour's cells, and the Python program that does the same."""
    return [code for kind, code in FENCE.findall(section("A tour")) if kind == "python"]


def verbs() -> Iterator[tuple[str, str]]:
    """Give every verb of the grammar with its sentence."""
    for class_ in Verb.__args__:
        (name,) = (str(f.default) for f in fields(class_) if f.name == "verb")
        with pytest.raises(Help) as help_:
            parse(f"{name} --help")
        sentence = str(help_.value).split("\n\n")[1].replace("\n", " ")
        yield name, sentence[0].lower() + sentence[1:].rstrip(".")


def verb_table() -> str:
    rows = "".join(f"| `{name}` | {sentence} |\n" for name, sentence in verbs())
    return f"| verb | what it does |\n|---|---|\n{rows}"


def test_the_table_of_verbs_is_the_grammar(request: pytest.FixtureRequest) -> None:
    start, end = "<!-- verbs -->\n", "<!-- /verbs -->"
    before, _, rest = text().partition(start)
    written, _, after = rest.partition(end)
    if request.config.getoption("--update-golden"):
        README.write_text(f"{before}{start}{verb_table()}{end}{after}", encoding="utf-8")
        written = verb_table()
    assert written == verb_table()


def test_every_line_is_one_that_the_grammar_reads() -> None:
    typed = re.findall(r"^ *(?:\$ |%)?mlops (.+)$", text(), re.MULTILINE)
    quoted = re.findall(r"`%?mlops ([^`]+)`", text())
    lines = [line for line in typed + quoted if not re.fullmatch(r"VERB .*", line)]
    assert len(lines) > 8
    for line in lines:
        if line.startswith("dev "):
            # A server, no verb; the sections that have one are done line by line below.
            continue
        with suppress(Help):
            parse(line.replace("…", ""))


def typed(heading: str) -> list[str]:
    """Give the lines that a section has people type in a shell."""
    blocks = [code for kind, code in FENCE.findall(section(heading)) if kind == "sh"]
    # A block is copied as a whole: no line may follow a server before that has started.
    assert [code for code in blocks if "&\n" in code and not code.endswith("&\n")] == []
    return [line for code in blocks for line in code.splitlines()]


def test_the_section_on_kubeflow_works_as_printed(tmp_path: Path, migrated_store: Path) -> None:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    shutil.copy(ROOT / "examples" / "credit.ipynb", tmp_path)
    shell = Shell(tmp_path)
    said = ""
    with ExitStack() as stack:
        for line in typed("On Kubeflow"):
            words = shlex.split(line)[1:]
            if words[-1] == "&":
                # Other ports than its own: two test runs may share a machine.
                stack.enter_context(rehearsing(shell, *words[:-1]))
                continue
            done = shell.type(*words)
            said += done.stdout + done.stderr
    for told in (
        "✔ registered credit/1",
        "✔ pull request #1: credit/1",
        "★ best: ",
        "exec-train:",
    ):
        assert told in said


def test_the_section_on_the_cluster_works_as_printed(
    tmp_path: Path, migrated_store: Path
) -> None:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    shutil.copy(ROOT / "examples" / "credit.ipynb", tmp_path)
    shell = Shell(tmp_path)
    shell.env["COLUMNS"] = "200"
    said, is_slow, began = "", False, 0.0
    with ExitStack() as stack:
        for line in typed("In the cluster"):
            words = shlex.split(line)[1:]
            if words[-1] == "&":
                began = time.monotonic()
                stack.enter_context(rehearsing(shell, *words[:-1]))
                continue
            is_slow |= words[-1] == "slow"
            done = shell.type(*words, code=3 if is_slow and "--watch" in words else 0)
            said += done.stdout + done.stderr
        took = time.monotonic() - began
        _check_that_every_way_leads_to_the_same(shell)
    assert took < 120
    blocks = FENCE.findall(section("In the cluster"))
    (shown,) = [code for kind, code in blocks if kind == "console"]
    for line in shown.splitlines():
        assert line in said
    for told in (
        "▶ credit in prod canary: step 4 of 7: 25 % of the traffic goes to 2",
        "credit@champion → credit/2",
        "pull request #4 reverts credit/3",
        "rollback credit 3 → 2",
        "serves 100 % of the traffic now",
        "back again by #4",
        "3 deployments since",
    ):
        assert told in said


def _check_that_every_way_leads_to_the_same(shell: Shell) -> None:
    """Trace a version from each part of its way."""

    def traced(ref: str) -> Any:
        return json.loads(shell.type("trace", ref, "--json").stdout)

    whole = traced("credit/2")
    (chain,) = whole["chains"]
    (run,) = whole["runs"]
    deployed = chain["deployments"][-1]
    template = chain["serving"][0]["template"]
    for ref in (
        chain["run"],
        chain["tracking_id"][:12],
        chain["digest"],
        deployed["commit"][:8],
        f"#{deployed['pull_request']}",
        f"app.kubernetes.io/name=credit,rollouts-pod-template-hash={template}",
    ):
        found = traced(ref)
        assert (found["chains"], [r["id"] for r in found["runs"]]) == ([chain], [run["id"]])
    for ref in ("credit.ipynb", deployed["lock"]["image"]):
        assert chain in traced(ref)["chains"]


def test_the_settings_shown_are_ones_that_are_read() -> None:
    def shown(heading: str) -> Settings:
        blocks = FENCE.findall(section(heading))
        (toml,) = [code for kind, code in blocks if kind == "toml"]
        return parse_settings(toml, path="mlops.toml", default_name="p")

    settings = shown("On Kubeflow")
    assert settings.profile(settings.kubeflow.profile).gpu == 1
    assert shown("In the cluster").environment("prod").has_cluster


def test_the_forges_shown_are_ones_that_are_known() -> None:
    blocks = [
        code for kind, code in FENCE.findall(section("Pull requests at")) if kind == "toml"
    ]
    read = [parse_settings(toml, path="mlops.toml", default_name="p").gitops for toml in blocks]
    assert [gitops.kind for gitops in read] == ["github", "github", "git"]
    assert all(gitops.is_remote for gitops in read)


def test_the_tour_works_as_printed(tmp_path: Path, migrated_store: Path) -> None:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    shutil.copy(ROOT / "examples" / "credit.ipynb", tmp_path)
    with Kernel(tmp_path, Shell(tmp_path).env) as kernel:
        said = []
        for code in tour():
            cell = kernel.run(code)
            assert not cell.error, f"{code}\n{cell.error}"
            said.append(cell.printed + cell.result + "".join(
                m["content"]["data"]["text/plain"]
                for m in cell.of("display_data", "update_display_data")[-1:]
            ))  # fmt: skip
    init, inspected, trained, deployed, merged, history, by_python, canary = said
    assert "credit in prod unseen: Git says 1" in canary
    assert "is a project" in init
    assert "n_estimators" in inspected
    assert "credit/1" in trained
    assert "pull request #1" in deployed
    assert "credit in prod is now version 1" in merged
    assert "Ann Lee" in history
    assert 0.65 <= float(by_python) < 1


def test_the_error_shown_is_the_one_that_comes(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "credit.ipynb", tmp_path)
    (shown,) = [
        code for kind, code in FENCE.findall(section("Parameters")) if kind == "console"
    ]
    line, _, told = shown.partition("\n")
    done = Shell(tmp_path).type(*line.removeprefix("$ mlops ").split(), code=2)
    assert done.stdout + done.stderr == told
    assert not (tmp_path / ".mlops" / "runs").exists()
