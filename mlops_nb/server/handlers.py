"""The routes below `mlops-nb/v1/`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar, cast

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado.web import HTTPError, authenticated

from mlops_nb.core.delivery import did_you_mean
from mlops_nb.core.events import Note
from mlops_nb.core.results import Fault, Refused
from mlops_nb.core.verbs import Status
from mlops_nb.errors import MlopsError, NotFound, UserError
from mlops_nb.server import asking
from mlops_nb.server.bus import Bus, Watchers
from mlops_nb.server.paths import Root
from mlops_nb.server.projects import Projects, executed, log_part, overview

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mlops_nb.core.events import Event
    from mlops_nb.core.verbs import Verb
    from mlops_nb.project import Project

Method = TypeVar("Method", bound="Callable[..., Awaitable[None]]")

RESOURCE = "mlops-nb"
NOTES = "Mlops-Nb-Notes"
_NOTES_BYTES = 4096
_PREFIX = r"/mlops-nb/v1"


def allowed(action: str) -> Callable[[Method], Method]:
    """Want a login, and the authorizer's leave for an action on our resource."""

    def decorate(method: Method) -> Method:
        asked: Any = authorized(action, resource=RESOURCE)
        guarded: Any = authenticated(asked(method))
        return cast("Method", guarded)

    return decorate


@dataclass(kw_only=True)
class Desk:
    """What all routes share.

    Args:
        projects: gives projects.
        bus: where events are told.
        watchers: who watches what goes on.
        parallel: how many requests are answered at once, of those that look and of the others.
        follow_links: whether links may lead out of the folder that JupyterLab shows.
    """

    projects: Projects
    bus: Bus
    watchers: Watchers
    parallel: int
    follow_links: bool
    looking: asyncio.Semaphore = field(init=False)
    doing: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        """Make room for as many."""
        self.looking = asyncio.Semaphore(self.parallel)
        self.doing = asyncio.Semaphore(self.parallel)


class Answering(APIHandler):
    """Does what is asked in a thread, and answers with a document or an error document."""

    desk: Desk

    def initialize(self, desk: Desk) -> None:
        """Take what all routes share."""
        self.desk = desk

    @property
    def root(self) -> Root:
        """The folder that JupyterLab shows."""
        return Root.of(self.contents_manager, follow_links=self.desk.follow_links)

    async def answer(
        self,
        work: Callable[[], str],
        room: asyncio.Semaphore,
        notes: Sequence[str] = (),
    ) -> None:
        """Answer with the document that `work` gives.

        Args:
            work: what is to be done.
            room: how many may be at it at once.
            notes: what a person should know, as far as `work` puts it there.
        """
        async with room:
            try:
                document = await _in_thread(work)
            except MlopsError as error:
                self._note(notes)
                self.refuse(error.http_status, Refused.of(error))
                return
        self._note(notes)
        self.finish(document)

    def _note(self, notes: Sequence[str]) -> None:
        told = list(notes)
        while told and len(json.dumps(told)) > _NOTES_BYTES:
            told.pop()
        if told:
            self.set_header(NOTES, json.dumps(told))

    def refuse(self, status: int, document: Refused) -> None:
        """Answer with an error document."""
        from mlops_nb import wire

        self.set_status(status)
        self.finish(wire.dumps(document))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with an error document where it is no error of ours, too."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        self.refuse(status_code, _foreign(status_code, error))


def _foreign(status: int, error: BaseException | None) -> Refused:
    """Tell of what Jupyter Server refuses, or of what nobody thought of."""
    said = HTTPStatus(status).phrase
    if isinstance(error, HTTPError):
        said = error.log_message or said
        hint = "log in again: reload the page" if status in {401, 403} else ""
        kind = "NotAllowed" if status in {401, 403} else "UserError"
        return Refused(error=Fault(type=kind, message=said, hint=hint, exit_code=4))
    message = f"{type(error).__name__}: {error}" if error else said
    hint = "that is a fault of mlops_nb: the server's log has its traceback"
    return Refused(error=Fault(type="MlopsError", message=message, hint=hint, exit_code=1))


async def _in_thread(work: Callable[[], str]) -> str:
    """Do blocking work; a thread that is still at it does not keep the server from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def settle(result: str | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result or "")
        else:
            done.set_exception(error)

    def run() -> None:
        result, fault = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # raised where it is waited for
            fault = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, fault)

    threading.Thread(target=run, daemon=True, name="mlops-nb").start()
    return await done


class ProjectRoute(Answering):
    """`GET project?path=`: what the settings say."""

    _track_activity = False

    @allowed("read")
    async def get(self) -> None:
        """Describe the project that a notebook or folder lies in."""
        from mlops_nb import wire

        path, root, desk = self.get_argument("path", ""), self.root, self.desk

        def work() -> str:
            project = desk.projects.open(root.project(path))
            return wire.dumps(overview(project, root, desk.bus))

        await self.answer(work, desk.looking)


class ResourceRoute(Answering):
    """`GET resource?run=&path=`: a run's executed notebook."""

    _track_activity = False

    @allowed("read")
    async def get(self) -> None:
        """Give the executed notebook."""
        from mlops_nb import wire

        ref, path = self.get_argument("run"), self.get_argument("path", "")
        root, desk = self.root, self.desk

        def work() -> str:
            project = desk.projects.open(root.project(path))
            return wire.dumps(executed(project, ref, root))

        await self.answer(work, desk.looking)


class LogRoute(Answering):
    """`GET log?run=&path=&from=`: what a run printed, a part at a time."""

    _track_activity = False

    @allowed("read")
    async def get(self) -> None:
        """Give the lines from a number on or, of a negative one, that many last ones."""
        from mlops_nb import wire

        ref, path = self.get_argument("run"), self.get_argument("path", "")
        start = self.get_argument("from", "0")
        root, desk = self.root, self.desk

        def work() -> str:
            project = desk.projects.open(root.project(path))
            if not re.fullmatch(r"-?\d{1,12}", start):
                raise UserError(f"from is {start!r}", hint="give the `next` of the part before")
            return wire.dumps(log_part(project, ref, int(start)))

        await self.answer(work, desk.looking)


class NoRoute(Answering):
    """Any other address."""

    @allowed("read")
    async def get(self, word: str) -> None:
        """Say that there is nothing."""
        self.refuse(404, Refused.of(_nothing(word)))

    @allowed("write")
    async def post(self, word: str) -> None:
        """Say that there is nothing."""
        self.refuse(404, Refused.of(_nothing(word)))


def _nothing(word: str) -> NotFound:
    hint = did_you_mean(word, asking.VERBS, otherwise="docs/server.md tells what there is")
    return NotFound(f"there is no verb {word!r} here", hint=hint)


class _Verbs(Answering):
    """`POST VERB`: what `mlops VERB` does."""

    async def do(self, word: str) -> None:
        """Do the verb of the body."""
        desk, root, body = self.desk, self.root, self.request.body
        notes: list[str] = []

        def tell(project: Project, event: Event) -> None:
            # A note is for who asked; everything else is for everybody.
            if isinstance(event, Note):
                notes.append(event.text)
            else:
                desk.bus.tell(project, event)

        def work() -> str:
            from mlops_nb import wire

            path, said = asking.read(body)
            folder = root.project(path)
            verb = asking.verb_of(word, said, root)
            project = desk.projects.open(folder)
            since = datetime.now(UTC)
            result = project.run(verb, lambda event: tell(project, event))
            document = wire.dumps(result)
            desk.watchers.see(project, result, since)
            _look(desk.watchers, project, verb, said)
            return document

        is_look = asking.action(word) == "read"
        await self.answer(work, desk.looking if is_look else desk.doing, notes)


def _look(watchers: Watchers, project: Project, verb: Verb, said: dict[str, Any]) -> None:
    if isinstance(verb, Status) and said.get("watch") is True:
        watchers.look(project, verb)


def _route_of(word: str) -> type[_Verbs]:
    """Make a verb's route: what a person needs to be allowed to differs."""

    class VerbRoute(_Verbs):
        _track_activity = asking.action(word) != "read"

        @allowed(asking.action(word))
        async def post(self) -> None:
            await self.do(word)

    return VerbRoute


def routes(desk: Desk) -> list[tuple[Any, ...]]:
    """Give the routes."""
    shared = {"desk": desk}
    return [
        (rf"{_PREFIX}/project", ProjectRoute, shared),
        (rf"{_PREFIX}/resource", ResourceRoute, shared),
        (rf"{_PREFIX}/log", LogRoute, shared),
        *((rf"{_PREFIX}/{word}", _route_of(word), shared) for word in asking.VERBS),
        (rf"{_PREFIX}/(.*)", NoRoute, shared),
    ]
