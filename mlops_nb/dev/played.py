"""`mlops dev cluster`: deployments as they would go on in a cluster, on this machine.

It starts a stand-in for Argo CD and Argo Rollouts that follows the project's GitOps repository.
"""

from __future__ import annotations

import json
import re
import signal
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from mlops_nb.core.settings import FILE_NAME
from mlops_nb.dev.cluster import KINDS, Options, serve
from mlops_nb.errors import BackendUnavailable, UserError
from mlops_nb.project import Project

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from mlops_nb.core.delivery import Environment

_PORT = 8085
_MARK = "# written by `mlops dev cluster`"


def add_parser(parsers: Any) -> None:
    """Add the words of `mlops dev cluster`."""
    parser = parsers.add_parser(
        "cluster",
        help="a stand-in for Argo CD and Argo Rollouts that follows the GitOps repository",
        description="Play a cluster until interrupted: Argo CD that follows the project's "
        "GitOps repository, and Argo Rollouts that steps its canaries, in time-lapse. No pod "
        "is run; what canaries measure is chosen, or asked of a real metrics server. Writes "
        f"argocd into the environments of {FILE_NAME} that name none.",
        epilog="examples: mlops dev cluster --speed 600, mlops dev cluster set churn slow",
    )
    parser.set_defaults(act=_serve)
    add = parser.add_argument
    add("--port", type=int, help=f"on 127.0.0.1 ({_PORT}; of `set`, what {FILE_NAME} says)")
    add("--env", action="append", default=[], metavar="ENV", help="only it; else every one")
    add("--speed", type=float, default=120.0, metavar="N", help="times faster than life (120)")
    add("--metrics", default="good", choices=KINDS, help="what canaries measure (good)")
    add("--metrics-url", default="", metavar="URL", help="a Prometheus to ask instead")
    doing = parser.add_subparsers(dest="do", metavar="set")
    set_ = doing.add_parser("set", help="let a model's canaries be of another kind from now on")
    set_.add_argument("model", metavar="MODEL")
    set_.add_argument("kind", choices=KINDS, help=", ".join(KINDS))
    set_.set_defaults(act=_set)


def told_to_stop() -> threading.Event:
    """Give what is set by Ctrl-C, by SIGTERM, and by the terminal's end unless under nohup."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: over.set())
    return over


def wait(over: threading.Event) -> None:
    """Stay until it is over; in steps, because signals are heeded between them."""
    while not over.wait(1):
        pass


def _serve(given: argparse.Namespace) -> None:
    given.port = _PORT if given.port is None else given.port
    project = Project.open()
    if not project.is_initialized:
        raise UserError(f"{project.folder} is no project yet", hint="run `mlops init`")
    if given.speed <= 0:
        raise UserError(f"speed {given.speed:g} stands still", hint="give e.g. --speed 60")
    if given.metrics_url and not re.match(r"https?://\S", given.metrics_url):
        raise UserError(
            f"{given.metrics_url!r} is no address", hint="e.g. http://127.0.0.1:8428"
        )
    environments = _environments(project, given.env)
    forge = project.forge

    def head() -> str:
        newest = next(iter(forge.log("**")), None)
        return newest.sha if newest else ""

    options = Options(
        environments=environments,
        read=forge.read,
        head=head,
        port=given.port,
        speed=given.speed,
        metrics=given.metrics,
        metrics_url=given.metrics_url,
    )
    with serve(options) as server:
        written = _introduce(project, environments, server.url)
        measured = given.metrics_url or f"{given.metrics} (mlops dev cluster set MODEL KIND)"
        print(f"a stand-in for Argo CD and Argo Rollouts: {server.url}")
        print("it runs no pod and serves no request; what is deployed already counts as live")
        print(f"follows: {', '.join(environments)}; time: {given.speed:g} times faster")
        print(f"canaries measure: {measured}")
        if written:
            print(f"wrote argocd of {', '.join(written)} into {project.folder / FILE_NAME}")
        print("next: mlops deploy MODEL --to ENV\nCtrl-C stops it", flush=True)
        wait(told_to_stop())


def _environments(project: Project, wanted: list[str]) -> Mapping[str, Environment]:
    known = project.settings.environments
    found = {name: project.settings.environment(name) for name in wanted} or dict(known)
    if not found:
        raise UserError(
            f"{project.folder / FILE_NAME} names no environment",
            hint="add one, e.g. [environments.prod]",
        )
    return found


def _introduce(
    project: Project, environments: Mapping[str, Environment], url: str
) -> list[str]:
    """Tell the project where the stand-in is; give the environments for which that is new.

    Raises:
        UserError: if one names another cluster: it is not to be forgotten.
    """
    path = project.folder / FILE_NAME
    text = path.read_text(encoding="utf-8")
    written: list[str] = []
    for name, environment in environments.items():
        if (other := _leads_to(environment)) == url:
            continue
        if other:
            raise UserError(
                f"{path} names {other} in [environments.{name}]",
                hint=f'set argocd = "{url}" there, or give the port it names: --port',
            )
        head = re.compile(rf"^(\[environments\.{re.escape(name)}\][^\n]*\n)", re.MULTILINE)
        text, count = head.subn(rf'\1argocd = "{url}"   {_MARK}\n', text)
        if not count:
            raise UserError(
                f"{path} has no line [environments.{name}]",
                hint=f'set argocd = "{url}" where that environment is',
            )
        written.append(name)
    if written:
        path.write_text(text, encoding="utf-8")
    return written


def _set(given: argparse.Namespace) -> None:
    url = f"http://127.0.0.1:{given.port}" if given.port else _known_url()
    request = urllib.request.Request(  # noqa: S310  # on this machine
        f"{url}/dev/metrics/{given.model}",
        data=json.dumps({"metrics": given.kind}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5):  # noqa: S310  # likewise
            print(f"canaries of {given.model} measure: {given.kind}")
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{url} refuses that: {error.reason}", hint="is it the stand-in?"
        ) from None
    except OSError:
        raise BackendUnavailable(
            f"no stand-in answers at {url}", hint="start it: mlops dev cluster"
        ) from None


def _known_url() -> str:
    for environment in Project.open().settings.environments.values():
        if (url := _leads_to(environment)).startswith("http://127.0.0.1:"):
            return url
    return f"http://127.0.0.1:{_PORT}"


def _leads_to(environment: Environment) -> str:
    return environment.access.leads_to if environment.access else ""
