"""Words to verbs: one grammar for shell and magic."""

from __future__ import annotations

import difflib
import shlex
from typing import TYPE_CHECKING

from mlops_nb import completion
from mlops_nb.core import verbs
from mlops_nb.core.quantity import parse_duration
from mlops_nb.core.run import RunState
from mlops_nb.errors import UserError
from mlops_nb.words import (
    Adder,
    Form,
    Help,
    Parser,
    checked,
    data_words,
    environment_word,
    from_one,
    gate_words,
    limit_words,
    notebook_word,
    parameter_words,
    place_words,
    pod_words,
    run_word,
    schedule_word,
    time_words,
    wait_words,
    work_words,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["Help", "parse", "parser"]


def parser(prog: str = "mlops") -> argparse.ArgumentParser:
    """Make the parser of the whole grammar.

    Args:
        prog: what stands before the verb: `mlops` in a shell, `%mlops` in a notebook.
    """
    top = Parser(
        prog=prog,
        description="From a notebook to production traffic.",
        epilog=f"Start with `{prog} init`, then `{prog} train NOTEBOOK`; "
        f"`{prog} VERB --help` shows each verb with an example.",
    )
    added = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for add in (_making, _running, _scheduling, _looking, _delivering, _leaving):
        add(Adder(added, prog))
    return top


def _making(add: Adder) -> None:
    verb = add.verb("init", "make this folder a project", "init", "init --gitops ~/gitops.git")
    verb.add_argument(
        "--gitops", default="", metavar="PATH|URL", help="bare GitOps repository to use or make"
    )
    verb = add.verb("doctor", "try every configured part and say how to mend it", "doctor")
    verb.add_argument(
        "--timeout",
        type=checked(parse_duration),
        default=10.0,
        metavar="TIME",
        help="for each",
    )
    verb.add_argument(
        "--inside",
        action="store_true",
        help="have a pod on Kubeflow try its image, the tracking server and the artifacts, too",
    )
    verb = add.verb("inspect", "show a notebook's parameters", "inspect churn.ipynb")
    notebook_word(verb, optional=True)


def _running(add: Adder) -> None:
    verb = add.verb(
        "train",
        "run a notebook; judge, register and propose its model if asked",
        "train churn.ipynb -p lr=0.05",
        "train churn.ipynb --gate 'accuracy >= 0.9' --register churn --deploy prod",
        "train churn.ipynb --on kubeflow --profile gpu-small --detach",
    )
    notebook_word(verb, optional=True)
    work_words(verb)
    wait_words(verb)
    place_words(verb)
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
    notebook_word(verb, optional=True)
    parameter_words(verb, "one value, a list 0.1,0.01 or a range 2..8; may be repeated")
    action = verb.add_argument(
        "--file", default="", metavar="CSV", help="sets of parameters, one a row"
    )
    action.completer = completion.files  # type: ignore[attr-defined]
    verb.add_argument(
        "--random",
        type=from_one,
        default=0,
        metavar="N",
        help="draw N of the sets instead of all",
    )
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawing")
    verb.add_argument("--parallel", type=int, default=1, metavar="N", help="runs at once")
    action = verb.add_argument("--best", default="", metavar="max:METRIC", help="or min:METRIC")
    action.completer = completion.bests  # type: ignore[attr-defined]
    place_words(verb)
    data_words(verb)
    wait_words(verb)
    limit_words(verb)


def _scheduling(add: Adder) -> None:
    verb = add.verb(
        "schedule",
        "run a notebook again and again, at set times",
        "schedule churn.ipynb --cron '0 3 * * 1' --on kubeflow",
        "schedule churn.ipynb --cron '30 6 * * mon-fri' --timezone UTC+1 --latest "
        "--gate 'auc >= champion' --register churn --deploy prod",
        "schedule update churn --cron @daily",
        "schedule pause churn",
    )
    notebook_word(verb, optional=True)
    time_words(verb, is_update=False)
    verb.add_argument(
        "--name", default="", metavar="NAME", help="of the schedule; else the notebook's"
    )
    work_words(verb)
    place_words(verb)
    verb = add.verb(
        "schedule update",
        "take the notebook as it is now into a schedule, and words that are given",
        "schedule update churn",
        "schedule update churn --cron '0 4 * * 1' -p lr=0.05",
    )
    schedule_word(verb)
    time_words(verb, is_update=True)
    work_words(verb, retries=None)
    pod_words(verb)
    verb = add.verb(
        "schedule pause", "keep a schedule from starting runs", "schedule pause churn"
    )
    schedule_word(verb)
    verb = add.verb(
        "schedule resume", "let a schedule start runs again", "schedule resume churn"
    )
    schedule_word(verb)
    verb = add.verb(
        "schedule delete", "delete a schedule; its runs stay", "schedule delete churn"
    )
    schedule_word(verb)
    add.verb("schedules", "list schedules, with their next and last runs", "schedules")


def _looking(add: Adder) -> None:
    verb = add.verb(
        "runs", "list runs, newest first", "runs", "runs churn.ipynb --state failed"
    )
    notebook_word(verb, optional=True)
    states = [str(state) for state in RunState]
    verb.add_argument(
        "--state", default="", choices=states, metavar="STATE", help=", ".join(states)
    )
    verb.add_argument("--limit", type=int, default=20, metavar="N", help="how many at most")
    verb.add_argument(
        "--after", default="", metavar="PLACE", help="go on where a list ended, as it says"
    )
    verb = add.verb("show", "show a run; of a sweep, its children too", "show churn-3fa9c1")
    run_word(verb)
    verb = add.verb("logs", "show what a run printed", "logs -f churn-3fa9c1")
    run_word(verb)
    verb.add_argument("-f", "--follow", action="store_true", help="until the run ends")
    verb = add.verb("cancel", "stop a run", "cancel churn-3fa9c1")
    run_word(verb)
    verb = add.verb(
        "delete",
        "delete runs that ended; what is recorded of them can be brought back",
        "delete churn-3fa9c1 churn-77b0e2",
        "delete --restore churn-3fa9c1",
    )
    run_word(verb, "runs", nargs="+")
    verb.add_argument("--restore", action="store_true", help="bring them back")
    verb = add.verb(
        "retry",
        "do again what failed: a notebook, the step after it, a sweep's rest, or a canary",
        "retry churn-3fa9c1",
        "retry churn --env prod",
    )
    run_word(verb)
    environment_word(
        verb, "--env", default="", help="of a model's aborted or undecided canary; else a run's"
    )
    wait_words(verb)
    verb = add.verb(
        "compare",
        "put runs' parameters and metrics side by side",
        "compare churn-3fa9c1 churn-77b0e2",
    )
    run_word(verb, "runs", nargs="+")


def _delivering(add: Adder) -> None:
    verb = add.verb(
        "register",
        "register a run's model if its gates pass",
        "register churn-3fa9c1 --name churn",
    )
    run_word(verb)
    verb.add_argument("--name", required=True, metavar="NAME", help="registered model")
    gate_words(verb)
    verb = add.verb("models", "list registered models", "models", "models churn")
    verb.add_argument("name", nargs="?", default="", metavar="NAME")
    verb = add.verb(
        "deploy",
        "propose a model version to an environment",
        "deploy churn --to prod --dry-run",
        "deploy churn/7 --to prod --canary 10,50,100",
    )
    verb.add_argument("model", metavar="MODEL", help="NAME, NAME/VERSION or NAME@ALIAS")
    environment_word(verb, "--to", required=True, help="environment")
    verb.add_argument(
        "--canary",
        metavar="5,25,50,100",
        help="percent of the traffic, step by step",
    )
    verb.add_argument("--dry-run", action="store_true", help="show the change, write nothing")
    verb = add.verb("merge", "merge a pull request of the GitOps repository", "merge 3")
    verb.add_argument("number", type=int, metavar="NUMBER")
    _steering(add)
    verb = add.verb(
        "history",
        "tell who deployed which model when, and with what data",
        "history",
        "history churn --env prod",
        "history --limit 1000 --csv",
        csv="one line a deployment, after a line of headings",
    )
    verb.add_argument("model", nargs="?", default="", metavar="MODEL")
    environment_word(verb, "--env", default="", help="only this environment")
    verb.add_argument("--limit", type=int, default=50, metavar="N", help="how many at most")
    _tracing(add)
    verb = add.verb(
        "rollback",
        "propose the return to an earlier version",
        "rollback churn --env prod --dry-run",
        "rollback churn --env prod --to 5 --reason 'p95 doubled'",
    )
    verb.add_argument("model", metavar="MODEL")
    environment_word(verb, "--env", required=True, help="environment")
    verb.add_argument(
        "--to", type=from_one, default=0, metavar="VERSION", help="else the one before"
    )
    verb.add_argument("--reason", default="", metavar="TEXT", help="for the record")
    verb.add_argument(
        "--dry-run",
        action="store_true",
        help="show the change, whether steps run again and whether the model is still there",
    )

    _verifying(add)


def _tracing(add: Adder) -> None:
    verb = add.verb(
        "trace",
        "tell what belongs together: notebook, run, version, commit, pull request, image, pods",
        "trace churn/7",
        "trace churn.ipynb",
        "trace '#12'",
        "trace 9f31c0de",
        "trace rollouts-pod-template-hash=5d4f8c9b7",
    )
    action = verb.add_argument(
        "ref",
        metavar="REF",
        help="notebook, run, model version, commit, pull request, digest or pod label",
    )
    action.completer = completion.traceable  # type: ignore[attr-defined]
    verb = add.verb(
        "dora",
        "give deployment frequency, lead time, change fail rate and recovery time",
        "dora",
        "dora churn --env prod --since 30d",
        "dora --csv",
        csv="one line a model and environment, after a line of headings; times are seconds",
    )
    verb.add_argument("model", nargs="?", default="", metavar="MODEL")
    environment_word(verb, "--env", default="", help="only this environment")
    verb.add_argument(
        "--since",
        type=checked(parse_duration),
        default=90 * 86_400.0,
        metavar="TIME",
        help="how far to look back (90d)",
    )


def _verifying(add: Adder) -> None:
    verb = add.verb(
        "verify-pr",
        "verify a pull request of the GitOps repository: for its CI",
        "verify-pr",
        "verify-pr --repo deploy --base origin/main --head HEAD",
        "verify-pr --gate 'accuracy >= 0.9' --json",
        "verify-pr --workflow github",
    )
    action = verb.add_argument(
        "--repo", default=".", metavar="PATH", help="clone of the repository; else this folder"
    )
    action.completer = completion.files  # type: ignore[attr-defined]
    verb.add_argument(
        "--base", default="", metavar="REF", help="branch the cluster follows; else origin's"
    )
    verb.add_argument(
        "--head", default="HEAD", metavar="REF", help="what is proposed; else HEAD"
    )
    gate_words(verb)
    verb.add_argument(
        "--workflow",
        default="",
        choices=["github", "gitlab"],
        metavar="github|gitlab",
        help="print the file that has the repository's CI do this, and verify nothing",
    )


def _steering(add: Adder) -> None:
    verb = add.verb(
        "status",
        "tell where deployments stand: proposed, merged, synced, canary, healthy",
        "status",
        "status churn --env prod --watch",
    )
    verb.add_argument("model", nargs="?", default="", metavar="MODEL")
    environment_word(verb, "--env", default="", help="only this environment")
    verb.add_argument(
        "--watch", action="store_true", help="stay until it is healthy or was aborted"
    )
    _interval_word(verb, 2.0)
    verb.add_argument(
        "--timeout", type=checked(parse_duration), metavar="TIME", help="watch no longer"
    )
    verb = add.verb(
        "promote",
        "let a canary go on to its next step",
        "promote churn --env prod",
        "promote churn --env prod --full",
    )
    verb.add_argument("model", metavar="MODEL")
    environment_word(verb, "--env", required=True, help="environment")
    verb.add_argument("--full", action="store_true", help="give it all of the traffic at once")
    verb = add.verb(
        "abort",
        "end a canary: the stable version gets all traffic back",
        "abort churn --env prod --reason 'wrong prices'",
    )
    verb.add_argument("model", metavar="MODEL")
    environment_word(verb, "--env", required=True, help="environment")
    verb.add_argument("--reason", default="", metavar="TEXT", help="for the record")
    verb = add.verb(
        "follow",
        "open the revert of what the cluster aborted, point aliases at what it runs",
        "follow --once",
        "follow churn --env prod --interval 1m",
    )
    verb.add_argument("model", nargs="?", default="", metavar="MODEL")
    environment_word(verb, "--env", default="", help="only this environment")
    verb.add_argument("--once", action="store_true", help="look once, for cron or CI")
    _interval_word(verb, 30.0)


def _interval_word(verb: argparse.ArgumentParser, seconds: float) -> None:
    verb.add_argument(
        "--interval",
        type=checked(parse_duration),
        default=seconds,
        metavar="TIME",
        help=f"between two looks ({seconds:g}s)",
    )


def _leaving(add: Adder) -> None:
    verb = add.verb(
        "eject",
        "write what a submission consists of, to go on without this tool",
        "eject churn.ipynb --gate 'auc >= 0.8' --register churn --to pipeline",
        "eject churn.ipynb --kubernetes --model churn/3 --env prod",
    )
    notebook_word(verb, optional=True)
    verb.add_argument(
        "--to", default="", metavar="FOLDER", help="folder to write; else NOTEBOOK-ejected"
    )
    verb.add_argument(
        "--kubernetes",
        action="store_true",
        help="manifests, too, for a Kubeflow that keeps its pipelines in Kubernetes",
    )
    verb.add_argument(
        "--model",
        default="",
        metavar="MODEL",
        help="write the deployment of this version, too: NAME, NAME/VERSION or NAME@ALIAS",
    )
    environment_word(verb, "--env", default="", help="environment of that deployment")
    work_words(verb)
    place_words(verb)


def parse(words: str | Sequence[str], prog: str = "mlops") -> tuple[verbs.Verb, Form]:
    """Read a line.

    Args:
        words: the line, or its words, without the program's name.
        prog: what stands before the verb, for help and errors.

    Returns:
        the verb, and how its result is to be shown.

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
    words = completion.joined(list(words))
    if words and not words[0].startswith("-") and words[0] not in verbs.BY_NAME:
        close = difflib.get_close_matches(words[0], verbs.BY_NAME, n=1)
        raise UserError(
            f"{prog}: there is no verb {words[0]!r}",
            hint=f"did you mean {close[0]!r}?"
            if close
            else f"one of {', '.join(verbs.BY_NAME)}",
        )
    read, unknown = parser(prog).parse_known_args(words)
    given = vars(read)
    if unknown:
        raise UserError(
            f"{prog} {given['verb']}: unrecognized: {' '.join(unknown)}",
            hint=f"see {prog} {given['verb']} --help",
        )
    form = given.pop("form")
    class_ = verbs.BY_NAME[given["verb"]]
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    return class_(**values), form
