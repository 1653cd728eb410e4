"""The extension of Jupyter Server that answers JupyterLab's panel."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Integer

from mlops_nb.server.bus import SCHEMA, SCHEMA_ID, Bus, Watchers
from mlops_nb.server.handlers import Desk, routes
from mlops_nb.server.projects import Projects


class MlopsApp(ExtensionApp):
    """Answers at `mlops-nb/v1/`; it loads what a verb needs when it is first asked for."""

    name = "mlops_nb"
    app_name = "MLOps"
    description = "Train, track and deploy notebooks from JupyterLab."

    follow_links = Bool(
        default_value=False,
        config=True,
        help="Whether links may lead out of the folder that JupyterLab shows.",
    )
    parallel = Integer(
        default_value=8,
        min=1,
        config=True,
        help="How many requests that look at something are answered at once; as many others "
        "may be done beside them.",
    )

    def initialize_handlers(self) -> None:
        """Add the routes."""
        self._server.event_logger.register_event_schema(SCHEMA)
        bus = Bus(self._send)
        self._watchers = Watchers(bus)
        desk = Desk(
            projects=Projects(),
            bus=bus,
            watchers=self._watchers,
            parallel=self.parallel,
            follow_links=self.follow_links,
        )
        self.handlers.extend(routes(desk))

    @property
    def _server(self) -> Any:
        return self.serverapp

    async def stop_extension(self) -> None:
        """Tell no more events; runs go on, as they are no children of the server's threads."""
        self._watchers.stop()

    def _send(self, data: dict[str, Any]) -> None:
        loop = self._server.io_loop.asyncio_loop
        # A server that is ending has nobody left to be told.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._emit, data)

    def _emit(self, data: dict[str, Any]) -> None:
        # A run that goes on is activity, for who stops idle servers.
        self._server.web_app.settings["last_activity_times"][self.name] = datetime.now(UTC)
        self._server.event_logger.emit(schema_id=SCHEMA_ID, data=data)
