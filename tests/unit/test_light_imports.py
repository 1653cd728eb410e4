"""`import mlops_nb` and `%load_ext mlops_nb` must not cost a user seconds."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    "anywidget", "boto3", "detect_secrets", "fsspec", "git", "ipywidgets", "jupyter_client",
    "keyring", "kfp", "kubernetes", "mlflow", "nbformat", "numpy", "pandas", "papermill",
    "psutil", "pydantic", "requests", "rich", "ruamel", "sklearn",
}  # fmt: skip


def loaded_by(code: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_import_loads_nothing_heavy() -> None:
    bare = loaded_by("pass")
    added = loaded_by("import mlops_nb") - bare
    assert added - set(sys.stdlib_module_names) == {"mlops_nb"}


def test_loading_the_extension_loads_nothing_heavy() -> None:
    shell = "from IPython.core.interactiveshell import InteractiveShell\n"
    before = loaded_by(shell + "ip = InteractiveShell()")
    after = loaded_by(
        shell + "ip = InteractiveShell()\nip.extension_manager.load_extension('mlops_nb')"
    )
    assert not (after - before) & HEAVY
    assert "mlops_nb" in after


def test_public_names_are_these() -> None:
    import mlops_nb

    assert set(mlops_nb.__all__) == {
        "cancel", "compare", "deploy", "doctor", "history", "init", "inspect",
        "load_ipython_extension", "log_evaluation", "logs", "merge", "models", "register",
        "retry", "rollback", "runs", "show", "sweep", "train",
    }  # fmt: skip
    for name in mlops_nb.__all__:
        assert callable(getattr(mlops_nb, name))
