"""The words of the grammar that several verbs share, and how each is read."""

from __future__ import annotations

import argparse
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

from mlops_nb import completion
from mlops_nb.core.quantity import parse_duration, parse_size
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable


class Help(Exception):
    """Help was asked for; the text is the argument."""


class Form(StrEnum):
    """How a face shows what a verb gives."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


class Parser(argparse.ArgumentParser):
    """Raises UserError instead of ending the process: a kernel survives a typo."""

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # A shell's variable that was never set is no wish for what leaving the word out means.
        is_a_word = action.nargs != argparse.PARSER and action.dest != "reason"
        if is_a_word and "" in arg_strings:
            about = (action.help or "").partition(";")[0]
            raise UserError(
                f"{self.prog}: {'/'.join(action.option_strings) or action.metavar} is empty",
                hint=f"give {action.metavar}"
                + (f" ({about})" if about else "")
                + ("" if action.required else ", or leave it out"),
            )
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Refuse the line."""
        raise UserError(f"{self.prog}: {message}", hint=f"see {self.prog} --help")

    def exit(self, _status: int = 0, message: str | None = None) -> NoReturn:
        """Give the message as help."""
        raise Help(message or "")

    def print_help(self, _file: Any = None) -> NoReturn:
        """Give the help."""
        raise Help(self.format_help())


class Assign(argparse.Action):
    """Collects `name=value`."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add one to those given before."""
        name, equals, value = str(values).partition("=")
        if not equals or not name.strip():
            example = "train=train.csv" if self.dest == "data" else "lr=0.1"
            raise UserError(
                f"{option_string} {values!r} is not name=value",
                hint=f"e.g. {option_string} {example}",
            )
        collected = dict(getattr(namespace, self.dest) or {})
        if name in collected:
            raise UserError(f"{option_string} {name} is given twice", hint="keep one of them")
        setattr(namespace, self.dest, {**collected, name: value})


def checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let our errors through argparse, which knows only its own."""

    def read(text: str) -> Any:
        return parse(text)

    return read


def from_one(text: str) -> int:
    """Read a number from 1 on: where 0 is the default, nobody types it to mean that."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


class Adder:
    """Adds verbs that all have `--json` and an example."""

    def __init__(self, parsers: Any, prog: str) -> None:
        self._parsers = parsers
        self._prog = prog

    def verb(
        self, name: str, help_: str, *examples: str, csv: str = ""
    ) -> argparse.ArgumentParser:
        """Add a verb with one sentence of help and lines that show it.

        Args:
            name: what is typed.
            help_: the sentence.
            examples: the lines.
            csv: what its `--csv` gives; empty where it has none.
        """
        lines = "\n".join(f"  {self._prog} {example}" for example in examples)
        added: argparse.ArgumentParser = self._parsers.add_parser(
            name,
            help=help_,
            description=help_[0].upper() + help_[1:] + ".",
            epilog=f"examples:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        forms = added.add_mutually_exclusive_group()
        forms.add_argument(
            "--json",
            dest="form",
            action="store_const",
            const=Form.JSON,
            default=Form.TEXT,
            help="one JSON document on stdout, messages on stderr; docs/json.md describes it",
        )
        if csv:
            forms.add_argument(
                "--csv", dest="form", action="store_const", const=Form.CSV, help=csv
            )
        return added


def notebook_word(verb: argparse.ArgumentParser, *, optional: bool) -> None:
    """Add the notebook."""
    action = verb.add_argument(
        "notebook",
        nargs="?" if optional else None,
        default="",
        metavar="NOTEBOOK",
        help="the notebook"
        + (" (inside a notebook: this one, if left out)" if optional else ""),
    )
    action.completer = completion.notebooks  # type: ignore[attr-defined]  # argcomplete's protocol


def run_word(verb: argparse.ArgumentParser, name: str = "run", **words: Any) -> None:
    """Add a run, or several."""
    action = verb.add_argument(
        name, metavar="RUN", help="id of a run, or its beginning", **words
    )
    action.completer = completion.runs  # type: ignore[attr-defined]


def environment_word(verb: argparse.ArgumentParser, flag: str, **words: Any) -> None:
    """Add an environment."""
    action = verb.add_argument(flag, metavar="ENV", **words)
    action.completer = completion.environments  # type: ignore[attr-defined]


def wait_words(verb: argparse.ArgumentParser) -> None:
    """Add whether to stay."""
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


def limit_words(verb: argparse.ArgumentParser) -> None:
    """Add what a run may use on any executor."""
    verb.add_argument(
        "--timeout",
        type=checked(parse_duration),
        metavar="TIME",
        help="for the whole run: 30m, 2h",
    )
    verb.add_argument(
        "--cell-timeout", type=checked(parse_duration), metavar="TIME", help="for any one cell"
    )
    verb.add_argument(
        "--memory",
        type=checked(parse_size),
        metavar="SIZE",
        help="stop the kernel above it: 8GiB",
    )
    action = verb.add_argument("--kernel", default="", metavar="NAME", help="kernelspec to use")
    action.completer = completion.kernels  # type: ignore[attr-defined]


def place_words(verb: argparse.ArgumentParser) -> None:
    """Add where a run is to go on, and with what."""
    verb.add_argument(
        "--on",
        default="",
        choices=["local", "kubeflow"],
        metavar="WHERE",
        help="local, or kubeflow: as a pipeline on a cluster",
    )
    pod_words(verb)


def pod_words(verb: argparse.ArgumentParser) -> None:
    """Add what a run is given on a cluster."""
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


def data_words(verb: argparse.ArgumentParser) -> None:
    """Add data to stage."""
    verb.add_argument(
        "--data",
        action=Assign,
        default={},
        metavar="NAME=URI",
        help="stage a path, file://, s3:// or http(s):// address; its local path is passed to "
        "the parameter NAME",
    )


def parameter_words(verb: argparse.ArgumentParser, help_: str) -> None:
    """Add parameters."""
    action = verb.add_argument(
        "-p",
        "--parameter",
        dest="parameters",
        action=Assign,
        default={},
        metavar="NAME=VALUE",
        help=help_,
    )
    action.completer = completion.parameters  # type: ignore[attr-defined]


def gate_words(verb: argparse.ArgumentParser) -> None:
    """Add gates."""
    verb.add_argument(
        "--gate",
        dest="gates",
        action="append",
        default=[],
        metavar="EXPR",
        help="must hold for the run's model: 'accuracy >= 0.9', 'auc >= champion - 0.005', "
        "'gap(accuracy, by=sex) <= 0.05'; may be repeated",
    )


def work_words(verb: argparse.ArgumentParser, *, retries: int | None = 0) -> None:
    """Add what a run does: its parameters and data, the steps after it, its limits."""
    parameter_words(verb, "value of a parameter; secret:NAME passes a secret; may be repeated")
    action = verb.add_argument(
        "-f", "--file", dest="parameter_file", default="", metavar="FILE", help="YAML or JSON"
    )
    action.completer = completion.files  # type: ignore[attr-defined]
    data_words(verb)
    gate_words(verb)
    verb.add_argument(
        "--register", default="", metavar="NAME", help="register the model as NAME"
    )
    environment_word(verb, "--deploy", default="", help="propose it to ENV, too")
    limit_words(verb)
    verb.add_argument(
        "--retries",
        type=int,
        default=retries,
        metavar="N",
        help="start again up to N times when the kernel dies",
    )


def schedule_word(verb: argparse.ArgumentParser) -> None:
    """Add a schedule."""
    action = verb.add_argument("name", metavar="NAME", help="name of the schedule")
    action.completer = completion.schedules  # type: ignore[attr-defined]


def time_words(verb: argparse.ArgumentParser, *, is_update: bool) -> None:
    """Add when a schedule starts runs, and of which notebook."""
    verb.add_argument(
        "--cron",
        default="",
        required=not is_update,
        metavar="'M H D M W'",
        help="minute, hour, day of month, month, day of week: '0 3 * * 1' is 03:00 on Mondays; "
        "or @daily, @weekly, …",
    )
    action = verb.add_argument(
        "--timezone",
        default="" if is_update else "UTC",
        metavar="ZONE",
        help="of these times: UTC, UTC+1, Europe/Berlin" + ("" if is_update else "; else UTC"),
    )
    action.completer = completion.zones  # type: ignore[attr-defined]
    off = None if is_update else False
    catchup = verb.add_mutually_exclusive_group()
    catchup.add_argument(
        "--catchup", action="store_true", default=off, help="make up for times it missed"
    )
    catchup.add_argument(
        "--no-catchup", action="store_false", dest="catchup", default=off, help="let them be"
    )
    version = verb.add_mutually_exclusive_group()
    version.add_argument(
        "--latest",
        action="store_true",
        default=off,
        help="the notebook becomes a pipeline; each run takes its newest version",
    )
    version.add_argument(
        "--pinned",
        action="store_false",
        dest="latest",
        default=off,
        help="each run takes the notebook as it is now" + ("" if is_update else " (so it is)"),
    )
