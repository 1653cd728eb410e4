"""Look at projects, notebooks and runs, from a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.core import verbs
from mlops_nb.sdk.asking import Paths, ask
from mlops_nb.viewing import this_notebook

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlops_nb.core.notebook import Notebook
    from mlops_nb.core.results import (
        Comparison,
        Diagnosis,
        Initialized,
        RunList,
        SweepResult,
    )
    from mlops_nb.core.run import Run


def init(*, gitops: Paths = "") -> Initialized:
    """Make the working folder a project: mlops.toml and, unless named, a GitOps repository."""
    result: Initialized = ask(verbs.Init(gitops=str(gitops)))
    return result


def doctor(*, timeout: float = 10.0, inside: bool = False) -> Diagnosis:
    """Try every configured part, each for at most `timeout` seconds.

    With `inside`, a pod on Kubeflow tries what pods need, too, in up to three minutes.
    """
    result: Diagnosis = ask(verbs.Doctor(timeout=timeout, inside=inside))
    return result


def inspect(notebook: Paths = "") -> Notebook:
    """Give a notebook's parameters; without a path, of the notebook this is called in."""
    result: Notebook = ask(verbs.Inspect(notebook=str(notebook) or this_notebook()))
    return result


def runs(notebook: str = "", *, state: str = "", limit: int = 20, after: str = "") -> RunList:
    """List runs, newest first; `after` is the `next` of a list, to go on with older ones."""
    verb = verbs.Runs(notebook=notebook, state=state, limit=limit, after=after)
    result: RunList = ask(verb)
    return result


def show(run: str) -> Run | SweepResult:
    """Give a run as it is now; of a sweep, its children too."""
    result: Run | SweepResult = ask(verbs.Show(run=run))
    return result


def logs(run: str, *, follow: bool = False) -> Iterator[str]:
    """Yield what a run printed, in lines; with `follow`, until it ends."""
    result: Iterator[str] = ask(verbs.Logs(run=run, follow=follow))
    return result


def compare(*runs: str) -> Comparison:
    """Give runs to be read side by side."""
    result: Comparison = ask(verbs.Compare(runs=runs))
    return result


def log_evaluation(
    *,
    label: Sequence[object],
    prediction: Sequence[object],
    score: Sequence[float] | None = None,
    **groups: Sequence[object],
) -> None:
    """Log predictions on the evaluation set to the active MLflow run, for gates to judge.

    The same as `mlflow.log_table` to `evaluation.json` with these columns, but checked.

    Args:
        label: true class of each row.
        prediction: predicted class of each row.
        score: score of the positive class of each row.
        **groups: group columns by name, one group a row.

    Raises:
        UserError: if the columns differ in length or are empty.
    """
    import mlflow

    from mlops_nb.core.evaluation import table_from_columns

    columns: dict[str, list[Any]] = {"label": list(label), "prediction": list(prediction)}
    if score is not None:
        columns["score"] = list(score)
    columns |= {name: list(values) for name, values in groups.items()}
    table_from_columns(columns)
    plain = {
        name: [value.item() if hasattr(value, "item") else value for value in values]
        for name, values in columns.items()
    }
    mlflow.log_table(plain, "evaluation.json")
