"""Run a notebook once for each of many sets of parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.core.sweep import draw, expand, parse_best, read_csv, set_key
from mlops_nb.core.verbs import Train
from mlops_nb.errors import UserError
from mlops_nb.preparation import prepare, read_notebook

if TYPE_CHECKING:
    from mlops_nb.core.run import Run
    from mlops_nb.core.verbs import Sweep
    from mlops_nb.ports import Executor, Listener
    from mlops_nb.preparation import Desk


def sweep(verb: Sweep, *, run_id: str, desk: Desk, executor: Executor, tell: Listener) -> Run:
    """Start a sweep: one run with a child for each set of parameters.

    Raises:
        UserError: before anything runs, if one of the sets is wrong.
    """
    notebook, content = read_notebook(verb.notebook)
    if verb.best:
        parse_best(verb.best)
    is_secret = {
        name: value
        for name, value in verb.parameters.items()
        if isinstance(value, str) and value.startswith("secret:")
    }
    axes = {name: value for name, value in verb.parameters.items() if name not in is_secret}
    rows = read_csv(_read(verb.file)) if verb.file else [{}]
    every = [
        values
        for row in rows
        # A cell of the file is one value, whatever it looks like.
        for values in expand(notebook, {**{name: [cell] for name, cell in row.items()}, **axes})
    ]
    sets = list({set_key(values): values for values in every}.values())
    if verb.random:
        sets = draw(sets, verb.random, verb.seed)
    train = Train(
        notebook=verb.notebook,
        data=verb.data,
        timeout=verb.timeout,
        cell_timeout=verb.cell_timeout,
        memory=verb.memory,
        kernel=verb.kernel,
    )
    specs = [
        prepare(replace(train, parameters={**values, **is_secret}), notebook, desk)
        for values in sets
    ]
    children = tuple(
        desk.job(train, spec, id=f"{run_id}.{number}", parent=run_id)
        for number, spec in enumerate(specs, start=1)
    )
    whole = replace(specs[0], parameters={}, secrets={}, data=())
    job = desk.job(
        train,
        whole,
        id=run_id,
        children=children,
        parallel=verb.parallel,
        best=verb.best,
        placement=verb.placement,
    )
    return executor.submit(job, content, tell)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read: {error}", hint="give a CSV file, one set a row"
        ) from None
