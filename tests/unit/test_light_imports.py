"""`import mlops_nb` and `%load_ext mlops_nb` must not cost a user seconds."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    "anywidget", "boto3", "croniter", "detect_secrets", "fsspec", "git", "ipywidgets",
    "jupyter_client", "keyring", "kfp", "kubernetes", "mlflow", "nbformat", "numpy",
    "pandas", "papermill", "psutil", "pydantic", "requests", "rich", "ruamel", "sklearn",
}  # fmt: skip


def loaded_by(code: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_loads_nothing_heavy() -> None:
    added = loaded_by("import mlops_nb") - loaded_by("pass")
    foreign = {name for name in added if name.partition(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"mlops_nb"}


def test_loading_the_extension_loads_itself_alone() -> None:
    shell = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "import IPython.core.completer, typing, re\n"
        "ip = InteractiveShell()\n"
    )
    load = "ip.extension_manager.load_extension('mlops_nb')"
    assert loaded_by(shell + load) - loaded_by(shell) == {"mlops_nb", "mlops_nb.extension"}


def test_a_line_of_another_magic_completes_without_loading_the_grammar() -> None:
    shell = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "ip = InteractiveShell()\n"
        "ip.extension_manager.load_extension('mlops_nb')\n"
        "from IPython.core.completer import provisionalcompleter\n"
        "with provisionalcompleter():\n"
        "    list(ip.Completer.completions('%timei', 6))"
    )
    assert not loaded_by(shell) & {"mlops_nb.grammar", "argcomplete"}


def test_a_verb_that_looks_at_runs_loads_nothing_heavy() -> None:
    parse = "from mlops_nb.grammar import parse\nparse('runs')\nimport mlops_nb.project"
    top = {name.partition(".")[0] for name in loaded_by(parse)}
    assert not top & HEAVY


def test_public_names_are_these() -> None:
    import mlops_nb

    assert set(mlops_nb.__all__) == {
        "abort", "canary", "cancel", "compare", "delete", "delete_schedule", "deploy", "doctor",
        "dora", "eject", "follow", "form", "history", "init", "inspect",
        "load_ipython_extension", "live", "log_evaluation", "logs", "merge", "models",
        "pause_schedule", "promote", "register", "resume_schedule", "retry", "rollback", "runs",
        "schedule", "schedules", "show", "status", "sweep", "trace", "train", "update_schedule",
        "verify_pr",
    }  # fmt: skip
    for name in mlops_nb.__all__:
        assert callable(getattr(mlops_nb, name))
