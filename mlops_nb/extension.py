"""What `%load_ext mlops_nb` adds to IPython; each loads what it needs when it is first used."""

from __future__ import annotations

import re
from typing import Any

_LINE = re.compile(r"(?:[\w, ]+=)?\s*[%!]?mlops\s+(?P<words>.*)")
# By name, so that nothing of it is loaded before there is such a value.
_DRAWN = {
    "gate": ("Verdict",),
    "model": ("ModelVersion",),
    "notebook": ("Notebook",),
    "delivery": ("Deployment", "Merged"),
    "rollout": ("Status",),
    "recurring": ("Scheduled", "ScheduleList"),
    "tracing": ("Trace",),
    "dora": ("DoraReport",),
    "verification": ("Verification", "Workflow"),
    "results": (
        "Comparison", "Deleted", "DeploymentHistory", "Diagnosis", "Ejected", "Followed",
        "Initialized", "ModelList", "Rendered", "RunList", "StatusList",
    ),
}  # fmt: skip
_FOLLOWED = {"run": "Run", "results": "SweepResult"}


def load(shell: Any) -> None:
    """Add `%mlops`, its completion and the display of its results to a shell."""
    on_display: set[tuple[str, int]] = set()

    def mlops(line: str) -> Any:
        """Do a verb of mlops: `%mlops --help` lists them."""
        from mlops_nb.magics import do

        return do(line, shell, on_display)

    def draw(value: Any) -> None:
        from mlops_nb.magics import draw

        draw(value, shell, on_display)

    shell.register_magic_function(mlops, "line", "mlops")
    _add_completion(shell)
    formatters = shell.display_formatter.formatters
    for module, names in _DRAWN.items():
        for name in names:
            where = f"mlops_nb.core.{module}"
            formatters["text/plain"].for_type_by_name(where, name, _write)
            formatters["text/html"].for_type_by_name(where, name, _html)
    for module, name in _FOLLOWED.items():
        shell.display_formatter.ipython_display_formatter.for_type_by_name(
            f"mlops_nb.core.{module}", name, draw
        )


def _write(value: object, printer: Any, _is_cycle: bool) -> None:  # noqa: FBT001  # IPython's protocol
    from mlops_nb.display import text
    from mlops_nb.errors import as_in_a_cell

    printer.text(as_in_a_cell(text(value)))


def _html(value: object) -> str:
    from mlops_nb.display import html
    from mlops_nb.errors import as_in_a_cell

    return as_in_a_cell(html(value))


def _add_completion(shell: Any) -> None:
    """Complete `%mlops` lines by the same rules as the shell's completion."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier="mlops_nb", priority=500)  # type: ignore[untyped-decorator]  # IPython's is
    def match(context: Any) -> Any:
        fragment: str = context.token
        found: list[str] = []
        if line := _LINE.fullmatch(context.text_until_cursor):
            from mlops_nb.magics import complete

            fragment, found = complete(line["words"])
        return {
            "completions": [SimpleCompletion(text=word, type="magic") for word in found],
            "matched_fragment": fragment,
            "suppress": bool(found),
        }

    if shell.Completer is not None:
        others = [
            matcher
            for matcher in shell.Completer.custom_matchers
            if getattr(matcher, "matcher_identifier", "") != "mlops_nb"
        ]
        shell.Completer.custom_matchers = [*others, match]
