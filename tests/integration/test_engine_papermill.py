"""The engine beside papermill: same outputs, same parameters, same seams; and old notebooks."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat as untyped_nbformat
import papermill
import pytest
from one_execution import Cell, is_alive, notebook_of, run_notebook, write
from papermill.exceptions import PapermillExecutionError
from papermill.parameterize import parameterize_notebook

from mlops_nb.core.run import RunState
from mlops_nb.errors import NotANotebook, UserError
from mlops_nb.runner.document import invalid, load, new_cell, save
from mlops_nb.runner.parametrize import parametrize

nbformat: Any = untyped_nbformat

ORDINARY: list[Cell] = [
    new_cell("markdown", "# Ordinary", []),
    new_cell("code", "n = 3  # rows\nname: str = 'x'", ["parameters"]),
    "print('n is', n)\nprint('and', name)",
    "import pandas as pd\nframe = pd.DataFrame({'a': range(n)})\nframe",
    "from IPython.display import *\ndisplay(HTML('<b>x</b>'), Markdown('y'))",
    "import sys\nprint('to stderr', file=sys.stderr)",
    "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
    "handle = display('old', display_id='h')\nhandle.update('new')",
    "for i in range(5): print(f'\\r{i}', end='')",
    "!echo shell",
    "n * 2",
]
VALUES: dict[str, Any] = {"n": 4, "name": 'qu"ote ä\n', "extra": [1.5, None, True, {"a": "b"}]}


def joined(value: Any) -> Any:
    return "".join(value) if isinstance(value, list) else value


def outputs(notebook: dict[str, Any]) -> list[Any]:
    return [
        [
            (
                output["output_type"],
                output.get("name"),
                joined(output.get("text")),
                {kind: joined(data) for kind, data in output.get("data", {}).items()},
                output.get("execution_count"),
                output.get("ename"),
            )
            for output in cell.get("outputs", ())
        ]
        for cell in notebook["cells"]
    ]


def test_the_outputs_are_papermills(tmp_path: Path) -> None:
    path = write(tmp_path / "in.ipynb", *ORDINARY)
    theirs = papermill.execute_notebook(
        path, tmp_path / "theirs.ipynb", VALUES, progress_bar=False, coalesce_streams=True
    )
    ours = run_notebook(tmp_path, parametrize(load(path)[0], VALUES, {}))
    assert ours.outcome.state is RunState.SUCCEEDED
    assert (ours.outcome.cells_done, ours.outcome.cells) == (10, 10)
    assert outputs(ours.notebook) == outputs(theirs)
    sources = [joined(cell["source"]).strip() for cell in ours.notebook["cells"]]
    assert sources == [cell.source.strip() for cell in theirs.cells]
    told, known = ours.notebook["metadata"]["papermill"], theirs.metadata.papermill
    assert set(known) - {"input_path", "output_path"} <= set(told)
    assert told["parameters"] == VALUES
    assert set(ours.code[0]["metadata"]["papermill"]) == set(theirs.cells[1].metadata.papermill)


@pytest.mark.parametrize(
    "cells",
    [
        ["print(1)"],
        ["a = 1", new_cell("code", "n = 1", ["parameters"]), "print(n)"],
        [
            new_cell("code", "n = 1", ["parameters"]),
            "x = 1",
            new_cell("code", "n = 2", ["injected-parameters"]),
        ],
    ],
)
def test_parameters_stand_where_papermill_puts_them(cells: list[Any]) -> None:
    given = notebook_of(*cells)
    theirs = parameterize_notebook(
        papermill.iorw.load_notebook_node(nbformat.from_dict(json.loads(json.dumps(given)))),
        VALUES,
    )
    ours = parametrize(given, VALUES, {})
    assert [cell["source"].strip() for cell in ours["cells"]] == [
        cell.source.strip() for cell in theirs.cells
    ]
    assert invalid(ours) == ""


def test_parametrizing_without_importing_papermill() -> None:
    code = (
        "import sys; from mlops_nb.runner.parametrize import parametrize\n"
        "cells = []; nb = {'metadata': {}, 'cells': cells}\n"
        "print(parametrize(nb, {'n': 1}, {})['cells'][0]['source'])\n"
        "assert 'nbclient' not in sys.modules and 'papermill' not in sys.modules\n"
        "import papermill; assert papermill.execute_notebook"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "n = 1" in done.stdout


def test_a_secret_is_a_name_in_the_notebook(tmp_path: Path) -> None:
    given = notebook_of("print(len(token))")
    made = parametrize(given, {}, {"token": "MLOPS_SECRET_TOKEN"})
    assert made["metadata"]["papermill"]["parameters"] == {"token": "secret:MLOPS_SECRET_TOKEN"}
    ran = run_notebook(tmp_path, made, env={"MLOPS_SECRET_TOKEN": "hunter2"})
    assert ran.text(1) == "7\n"
    assert "hunter2" not in json.dumps(ran.notebook)
    spoken = {"name": "ir", "display_name": "R", "language": "R"}
    in_r = parametrize(given | {"metadata": {"kernelspec": spoken}}, {"n": 1}, {"token": "T"})
    assert in_r["cells"][0]["source"].endswith('n = 1\ntoken = Sys.getenv("T")\n')
    spoken = {"name": "jl", "display_name": "J", "language": "julia"}
    with pytest.raises(UserError, match="the secret token cannot be passed"):
        parametrize(given | {"metadata": {"kernelspec": spoken}}, {}, {"token": "T"})
    spoken = {"name": "k", "display_name": "K", "language": "klingon"}
    with pytest.raises(UserError, match="klingon"):
        parametrize(given | {"metadata": {"kernelspec": spoken}}, {"n": 1}, {})


def test_papermill_runs_with_this_engine(tmp_path: Path) -> None:
    path = write(tmp_path / "in.ipynb", *ORDINARY)
    with (tmp_path / "printed").open("w") as printed:
        made = papermill.execute_notebook(
            path,
            tmp_path / "out.ipynb",
            VALUES,
            engine_name="mlops_nb",
            progress_bar=False,
            stdout_file=printed,
            cwd=tmp_path,
        )
    assert "n is 4\n" in (tmp_path / "printed").read_text()
    written = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    nbformat.validate(written)
    assert outputs(written) == outputs(made)
    assert outputs(written)[-1][0][3] == {"text/plain": "8"}
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "in.ipynb",
        "out.ipynb",
        "printed",
    ]
    with pytest.raises(UserError, match="no option colour"):
        papermill.execute_notebook(
            path, None, engine_name="mlops_nb", progress_bar=False, colour="red"
        )


@pytest.mark.parametrize(
    ("source", "ename"),
    [("1 / 0", "ZeroDivisionError"), ("import os; os._exit(7)", "KernelDied")],
)
def test_papermill_is_told_of_failures(tmp_path: Path, source: str, ename: str) -> None:
    path = write(tmp_path / "in.ipynb", "print('kept')", source)
    with pytest.raises(PapermillExecutionError) as raised:
        papermill.execute_notebook(
            path, tmp_path / "out.ipynb", engine_name="mlops_nb", progress_bar=False
        )
    assert raised.value.ename == ename
    written = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert [cell.cell_type for cell in written.cells] == [
        "markdown",
        "code",
        "markdown",
        "code",
    ]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, None)],
    ids=["SIGTERM", "SIGINT"],
)
def test_papermill_stopped_by_a_signal_saves(
    tmp_path: Path, number: signal.Signals, code: int | None
) -> None:
    path = write(
        tmp_path / "in.ipynb",
        "import os, pathlib\nprint('kept')",
        "import time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)",
    )
    command = [sys.executable, "-m", "papermill", "--engine", "mlops_nb", "--no-progress-bar"]
    with subprocess.Popen(
        [*command, path, tmp_path / "out.ipynb"], cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + 60
        pid = ""
        while not pid and time.monotonic() < until:
            time.sleep(0.05)
            pid = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""
        process.send_signal(number)
    assert process.returncode == code if code else process.returncode != 0
    assert not is_alive(int(pid))
    written = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    statuses = [cell.metadata.papermill.status for cell in written.cells]
    assert statuses == ["completed", "failed"]
    assert written.cells[1].outputs[0].ename == "KeyboardInterrupt"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.ipynb", "out.ipynb", "pid"]


def old_notebook(minor: int) -> str:
    cell = {"cell_type": "code", "metadata": {}, "source": ["print(", "1)"], "outputs": []}
    return json.dumps(
        {
            "nbformat": 4,
            "nbformat_minor": minor,
            "metadata": {},
            "cells": [
                cell | {"execution_count": None} | ({"id": "one"} if minor == 5 else {}),
                {"cell_type": "markdown", "metadata": {}, "source": "text"}
                | ({"id": "two"} if minor == 5 else {}),
            ],
        }
    )


OF_FORMAT_3 = {
    "nbformat": 3,
    "nbformat_minor": 0,
    "metadata": {"name": "old"},
    "worksheets": [
        {
            "metadata": {},
            "cells": [
                {
                    "cell_type": "code",
                    "language": "python",
                    "input": ["print(1)"],
                    "outputs": [{"output_type": "stream", "stream": "stdout", "text": "1\n"}],
                    "collapsed": False,
                    "metadata": {},
                    "prompt_number": 1,
                },
                {"cell_type": "heading", "level": 2, "source": ["Old"], "metadata": {}},
            ],
        }
    ],
}


@pytest.mark.parametrize("minor", range(6))
def test_every_minor_of_format_4_is_read_as_nbformat_does(tmp_path: Path, minor: int) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text(old_notebook(minor))
    read, notes = load(path)
    assert notes == ["n.ipynb names no kernel; it runs with python3"]
    nbformat.validate(nbformat.from_dict(read))
    assert path.read_text() == old_notebook(minor)
    assert [cell["source"] for cell in read["cells"]] == ["print(1)", "text"]


def test_an_old_notebook_without_a_kernel_runs(tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(OF_FORMAT_3))
    read, notes = load(path)
    assert notes[0] == "old.ipynb has the old notebook format 3; it runs as 4.5"
    ran = run_notebook(tmp_path, read)
    assert ran.text(0) == "1\n"
    assert joined(ran.notebook["cells"][1]["source"]) == "## Old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"cells": [\n"caf\xe9"]}', r"is not UTF-8: byte 0xe9 in line 2"),
        (b'{"cells": [\n<<<<<<< HEAD', r"is not JSON: Expecting value at line 2 column 1"),
        (b"[]", "holds no JSON object"),
        (b'{"nbformat": 2, "worksheets": []}', "nbformat is 2"),
        (b'{"a": 1}', "nbformat is None"),
        (b'{"nbformat": 3, "worksheets": 1}', "format 3"),
        (
            b'{"nbformat": 4, "cells": [{"cell_type": "poem", "source": ""}]}',
            "not a valid notebook",
        ),
        (b'{"nbformat": 4, "cells": [5]}', "not a valid notebook"),
        (
            b'{"nbformat": 4, "metadata": {"kernelspec": 5}, "cells": []}',
            "not a valid notebook",
        ),
    ],
)
def test_what_is_no_notebook(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    with pytest.raises(NotANotebook, match=message):
        load(path)


def test_a_missing_notebook(tmp_path: Path) -> None:
    with pytest.raises(NotANotebook, match="No such file"):
        load(tmp_path / "no.ipynb")


def test_what_is_saved_is_what_nbformat_would_save(tmp_path: Path) -> None:
    notebook = notebook_of("print(1)\nprint(2)", new_cell("markdown", "a\n\nb", []))
    notebook["cells"][0]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "1\n2\n"},
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {
                "text/plain": "a\nb",
                "image/png": "iVBOR",
                "image/svg+xml": "<svg>\n</svg>",
                "application/json": {"a": "b\nc"},
                "application/vnd.x+json": "1\n2",
            },
        },
    ]
    save(notebook, tmp_path / "ours.ipynb")
    nbformat.write(nbformat.from_dict(notebook), tmp_path / "theirs.ipynb")
    assert (tmp_path / "ours.ipynb").read_text() == (tmp_path / "theirs.ipynb").read_text()
    modes = {(tmp_path / f"{name}.ipynb").stat().st_mode for name in ("ours", "theirs")}
    assert len(modes) == 1
