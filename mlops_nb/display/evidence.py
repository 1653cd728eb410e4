"""What reviewers read of a pull request, for who reads it elsewhere than on a forge."""

from __future__ import annotations

import io
import re

from mlops_nb.display.tables import width

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>.*?</details>", re.DOTALL)
_TAG = re.compile(r"</?[a-z]+>")


def readable(body: str) -> str:
    """Give a body's Markdown as plain text, folded parts by their headings alone."""
    from rich.console import Console
    from rich.markdown import Markdown

    text = _DETAILS.sub(lambda part: f"({_TAG.sub('', part[1])}: in the pull request)", body)
    out = io.StringIO()
    console = Console(
        file=out, width=width(), no_color=True, highlight=False, legacy_windows=False
    )
    console.print(Markdown(_COMMENT.sub("", text), hyperlinks=False))
    plain = "\n".join(line.rstrip() for line in out.getvalue().splitlines())
    return re.sub(r"\n{3,}", "\n\n", plain).strip("\n")
