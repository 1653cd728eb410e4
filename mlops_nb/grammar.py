"""Words to verbs: one grammar for shell and magic."""

from __future__ import annotations

import argparse
import difflib
import shlex
from typing import TYPE_CHECKING, Any, NoReturn

from mlops_nb import completion
from mlops_nb.core import verbs
from mlops_nb.core.quantity import parse_duration, parse_size
from mlops_nb.core.run import RunState
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Help(Exception):
    """Help was asked for; the text is the argument."""


class _Parser(argparse.ArgumentParser):
    """Raises UserError instead of ending the process: a kernel survives a typo."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}", hint=f"see {self.prog} --help")

    def exit(self, _status: int = 0, message: str | None = None) -> NoReturn:
        raise Help(message or "")

    def print_help(self, _file: Any = None) -> NoReturn:
        raise Help(self.format_help())


class _Assign(argparse.Action):
    """Collects `name=value`."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name, equals, value = str(values).partition("=")
        if not equals or not name.strip():
            raise UserError(
                f"{option_string} {values!r} is not name=value",
                hint=f"e.g. {option_string} lr=0.1",
            )
        collected = dict(getattr(namespace, self.dest) or {})
        if name in collected:
            raise UserError(f"{option_string} {name} is given twice", hint="keep one of them")
        setattr(namespace, self.dest, {**collected, name: value})


def _checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let our errors through argparse, which knows only its own."""

    def read(text: str) -> Any:
        return parse(text)

    return read


def parser(prog: str = "mlops") -> argparse.ArgumentParser:
    """Make the parser of the whole grammar.

    Args:
        prog: what stands before the verb: `mlops` in a shell, `%mlops` in a notebook.
    """
    top = _Parser(
        prog=prog,
        description="From a notebook to production traffic.",
        epilog=f"Start with `{prog} init`, then `{prog} train NOTEBOOK`; "
        f"`{prog} VERB --help` shows each verb with an example.",
    )
    added = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for add in (_making, _running, _looking, _delivering):
        add(_Adder(added, prog))
    return top


class _Adder:
    """Adds verbs that all have `--json` and an example."""

    def __init__(self, parsers: Any, prog: str) -> None:
        self._parsers = parsers
        self._prog = prog

    def verb(self, name: str, help_: str, *examples: str) -> argparse.ArgumentParser:
        lines = "\n".join(f"  {self._prog} {example}" for example in examples)
        added: argparse.ArgumentParser = self._parsers.add_parser(
            name,
            help=help_,
            description=help_[0].upper() + help_[1:] + ".",
            epilog=f"examples:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.add_argument(
            "--json",
            action="store_true",
            help="one JSON document on stdout, messages on stderr; docs/json.md describes it",
        )
        return added


def _notebook(verb: argparse.ArgumentParser, *, optional: bool) -> None:
    action = verb.add_argument(
        "notebook",
        nargs="?" if optional else None,
        default="",
        metavar="NOTEBOOK",
        help="the notebook"
        + (" (inside a notebook: this one, if left out)" if optional else ""),
    )
    action.completer = completion.notebooks  # type: ignore[attr-defined]  # argcomplete's protocol


def _run_argument(verb: argparse.ArgumentParser, name: str = "run", **words: Any) -> None:
    action = verb.add_argument(
        name, metavar="RUN", help="id of a run, or its beginning", **words
    )
    action.completer = completion.runs  # type: ignore[attr-defined]


def _environment(verb: argparse.ArgumentParser, flag: str, **words: Any) -> None:
    action = verb.add_argument(flag, metavar="ENV", **words)
    action.completer = completion.environments  # type: ignore[attr-defined]


def _wait_words(verb: argparse.ArgumentParser) -> None:
    wait = verb.add_mutually_exclusive_group()
    wait.add_argument(
        "--wait",
        action="store_true",
        default=None,
        help="stay until the run ends (the shell does unless told not to)",
    )
    wait.add_argument(
        "--detach",
        action="store_false",
        dest="wait",
        help="return at once; the run goes on (a live notebook does unless told not to)",
    )


def _limit_words(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--timeout",
        type=_checked(parse_duration),
        metavar="TIME",
        help="for the whole run: 30m, 2h",
    )
    verb.add_argument(
        "--cell-timeout", type=_checked(parse_duration), metavar="TIME", help="for any one cell"
    )
    verb.add_argument(
        "--memory",
        type=_checked(parse_size),
        metavar="SIZE",
        help="stop the kernel above it: 8GiB",
    )
    action = verb.add_argument("--kernel", default="", metavar="NAME", help="kernelspec to use")
    action.completer = completion.kernels  # type: ignore[attr-defined]


def _place_words(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--on",
        default="",
        choices=["local", "kubeflow"],
        metavar="WHERE",
        help="local, or kubeflow: as a pipeline on a cluster",
    )
    action = verb.add_argument(
        "--profile", default="", metavar="NAME", help="resources named in mlops.toml"
    )
    action.completer = completion.profiles  # type: ignore[attr-defined]
    verb.add_argument(
        "--gpu", type=int, metavar="N", help="accelerators instead of the profile's"
    )
    verb.add_argument("--cpu", default="", metavar="N", help="CPU instead of the profile's")
    verb.add_argument(
        "--image", default="", metavar="IMAGE", help="container image instead of the profile's"
    )


def _data_words(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--data",
        action=_Assign,
        default={},
        metavar="NAME=URI",
        help="stage a path, file://, s3:// or http(s):// address; its local path is passed to "
        "the parameter NAME",
    )


def _parameter_words(verb: argparse.ArgumentParser, help_: str) -> None:
    action = verb.add_argument(
        "-p",
        "--parameter",
        dest="parameters",
        action=_Assign,
        default={},
        metavar="NAME=VALUE",
        help=help_,
    )
    action.completer = completion.parameters  # type: ignore[attr-defined]


def _gate_words(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--gate",
        dest="gates",
        action="append",
        default=[],
        metavar="EXPR",
        help="must hold for the run's model: 'accuracy >= 0.9', 'auc >= champion - 0.005', "
        "'gap(accuracy, by=sex) <= 0.05'; may be repeated",
    )


def _making(add: _Adder) -> None:
    verb = add.verb("init", "make this folder a project", "init", "init --gitops ~/gitops.git")
    verb.add_argument(
        "--gitops", default="", metavar="PATH", help="bare GitOps repository to use or make"
    )
    verb = add.verb("doctor", "try every configured part and say how to mend it", "doctor")
    verb.add_argument(
        "--timeout",
        type=_checked(parse_duration),
        default=10.0,
        metavar="TIME",
        help="for each",
    )
    verb = add.verb("inspect", "show a notebook's parameters", "inspect churn.ipynb")
    _notebook(verb, optional=True)


def _running(add: _Adder) -> None:
    verb = add.verb(
        "train",
        "run a notebook; judge, register and propose its model if asked",
        "train churn.ipynb -p lr=0.05",
        "train churn.ipynb --gate 'accuracy >= 0.9' --register churn --deploy prod",
        "train churn.ipynb --on kubeflow --profile gpu-small --detach",
    )
    _notebook(verb, optional=True)
    _parameter_words(verb, "value of a parameter; secret:NAME passes a secret; may be repeated")
    action = verb.add_argument(
        "-f", "--file", dest="parameter_file", default="", metavar="FILE", help="YAML or JSON"
    )
    action.completer = completion.files  # type: ignore[attr-defined]
    _data_words(verb)
    _gate_words(verb)
    verb.add_argument(
        "--register", default="", metavar="NAME", help="register the model as NAME"
    )
    _environment(verb, "--deploy", default="", help="propose it to ENV, too")
    _wait_words(verb)
    _limit_words(verb)
    verb.add_argument(
        "--retries",
        type=int,
        default=0,
        metavar="N",
        help="start again up to N times when the kernel dies",
    )
    _place_words(verb)
    verb.add_argument(
        "--dry-run", action="store_true", help="show what would be submitted, submit nothing"
    )
    verb.add_argument(
        "--key", default="", metavar="KEY", help="the same key again gives the same run"
    )
    verb = add.verb(
        "sweep",
        "run a notebook for each of many sets of parameters",
        "sweep churn.ipynb -p lr=0.1,0.01 -p depth=2..8 --parallel 2 --best max:accuracy",
        "sweep churn.ipynb --file sets.csv",
        "sweep churn.ipynb -p lr=0.1,0.01 --on kubeflow --parallel 4",
    )
    _notebook(verb, optional=True)
    _parameter_words(verb, "one value, a list 0.1,0.01 or a range 2..8; may be repeated")
    action = verb.add_argument(
        "--file", default="", metavar="CSV", help="sets of parameters, one a row"
    )
    action.completer = completion.files  # type: ignore[attr-defined]
    verb.add_argument(
        "--random", type=int, default=0, metavar="N", help="draw N of the sets instead of all"
    )
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawing")
    verb.add_argument("--parallel", type=int, default=1, metavar="N", help="runs at once")
    action = verb.add_argument("--best", default="", metavar="max:METRIC", help="or min:METRIC")
    action.completer = completion.bests  # type: ignore[attr-defined]
    _place_words(verb)
    _data_words(verb)
    _wait_words(verb)
    _limit_words(verb)


def _looking(add: _Adder) -> None:
    verb = add.verb(
        "runs", "list runs, newest first", "runs", "runs churn.ipynb --state failed"
    )
    _notebook(verb, optional=True)
    states = [str(state) for state in RunState]
    verb.add_argument(
        "--state", default="", choices=states, metavar="STATE", help=", ".join(states)
    )
    verb.add_argument("--limit", type=int, default=20, metavar="N", help="how many at most")
    verb = add.verb("show", "show a run; of a sweep, its children too", "show churn-3fa9c1")
    _run_argument(verb)
    verb = add.verb("logs", "show what a run printed", "logs -f churn-3fa9c1")
    _run_argument(verb)
    verb.add_argument("-f", "--follow", action="store_true", help="until the run ends")
    verb = add.verb("cancel", "stop a run", "cancel churn-3fa9c1")
    _run_argument(verb)
    verb = add.verb(
        "retry",
        "do again what failed: the notebook, the step after it, or a sweep's rest",
        "retry churn-3fa9c1",
    )
    _run_argument(verb)
    _wait_words(verb)
    verb = add.verb(
        "compare",
        "put runs' parameters and metrics side by side",
        "compare churn-3fa9c1 churn-77b0e2",
    )
    _run_argument(verb, "runs", nargs="+")


def _delivering(add: _Adder) -> None:
    verb = add.verb(
        "register",
        "register a run's model if its gates pass",
        "register churn-3fa9c1 --name churn",
    )
    _run_argument(verb)
    verb.add_argument("--name", required=True, metavar="NAME", help="registered model")
    _gate_words(verb)
    verb = add.verb("models", "list registered models", "models", "models churn")
    verb.add_argument("name", nargs="?", default="", metavar="NAME")
    verb = add.verb(
        "deploy",
        "propose a model version to an environment",
        "deploy churn --to prod --dry-run",
        "deploy churn/7 --to prod --canary 10,50,100",
    )
    verb.add_argument("model", metavar="MODEL", help="NAME, NAME/VERSION or NAME@ALIAS")
    _environment(verb, "--to", required=True, help="environment")
    verb.add_argument(
        "--canary",
        default="",
        metavar="5,25,50,100",
        help="percent of the traffic, step by step",
    )
    verb.add_argument("--dry-run", action="store_true", help="show the change, write nothing")
    verb = add.verb("merge", "merge a pull request of the local GitOps repository", "merge 3")
    verb.add_argument("number", type=int, metavar="NUMBER")
    verb = add.verb(
        "history",
        "tell who deployed which model when, and with what data",
        "history",
        "history churn --env prod",
    )
    verb.add_argument("model", nargs="?", default="", metavar="MODEL")
    _environment(verb, "--env", default="", help="only this environment")
    verb.add_argument("--limit", type=int, default=50, metavar="N", help="how many at most")
    verb = add.verb(
        "rollback",
        "propose the return to an earlier version",
        "rollback churn --env prod",
        "rollback churn --env prod --to 5 --reason 'p95 doubled'",
    )
    verb.add_argument("model", metavar="MODEL")
    _environment(verb, "--env", required=True, help="environment")
    verb.add_argument(
        "--to", type=int, default=0, metavar="VERSION", help="else the one before"
    )
    verb.add_argument("--reason", default="", metavar="TEXT", help="for the record")


def parse(words: str | Sequence[str], prog: str = "mlops") -> tuple[verbs.Verb, bool]:
    """Read a line.

    Args:
        words: the line, or its words, without the program's name.
        prog: what stands before the verb, for help and errors.

    Returns:
        the verb, and whether JSON was asked for.

    Raises:
        UserError: if the line is wrong.
        Help: if help was asked for.
    """
    if isinstance(words, str):
        try:
            words = shlex.split(words)
        except ValueError as error:
            raise UserError(
                f"{prog} {words}: {error}", hint="close the quotation mark"
            ) from None
    if words and not words[0].startswith("-") and words[0] not in verbs.BY_NAME:
        close = difflib.get_close_matches(words[0], verbs.BY_NAME, n=1)
        raise UserError(
            f"{prog}: there is no verb {words[0]!r}",
            hint=f"did you mean {close[0]!r}?"
            if close
            else f"one of {', '.join(verbs.BY_NAME)}",
        )
    read, unknown = parser(prog).parse_known_args(list(words))
    given = vars(read)
    if unknown:
        raise UserError(
            f"{prog} {given['verb']}: unrecognized: {' '.join(unknown)}",
            hint=f"see {prog} {given['verb']} --help",
        )
    wants_json = given.pop("json")
    class_ = verbs.BY_NAME[given["verb"]]
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    return class_(**values), wants_json
