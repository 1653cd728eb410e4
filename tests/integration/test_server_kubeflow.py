"""A run that JupyterLab's panel starts on Kubeflow is told of as one on this machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rehearsal import rehearsal
from served import served
from shell import write_notebook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rehearsal import Rehearsal


@pytest.fixture
def servers(tmp_path: Path, migrated_store: Path) -> Iterator[Rehearsal]:
    (tmp_path / "servers").mkdir()
    with rehearsal(tmp_path / "servers", migrated_store) as both:
        yield both


def test_a_run_on_kubeflow_is_told_of_and_opened(tmp_path: Path, servers: Rehearsal) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "mlops.toml").write_text(servers.settings("[profiles.small]\nprice = 0.5\n"))
    write_notebook(root / "nb.ipynb", "n: int = 1", "print('n is', n)")
    with served(root, tmp_path / "home") as client, client.listening() as events:
        answer = client.post(
            "train", notebook="nb.ipynb", on="kubeflow", profile="small", parameters={"n": 4}
        )
        run = answer.json()
        assert (run["executor"], run["directory"]) == ("kubeflow", "")
        assert events.until_ended(run["id"])["state"] == "succeeded"
        assert [each["number"] for each in events.seen] == list(range(1, len(events.seen) + 1))
        shown = client.do("show", run=run["id"])
        assert shown["state"] == "succeeded"
        found = client.get("resource", run=run["id"], path="nb.ipynb").json()
        assert (found["path"], found["cell"]) == (None, None)
        printed = [
            output["text"]
            for cell in found["content"]["cells"]
            for output in cell.get("outputs", ())
        ]
        assert "n is 4\n" in printed
        assert client.get("log", run=run["id"], path="").json()["lines"] == ["n is 4"]
