"""Views inside a cell that answer: a notebook's form, a run, a canary.

Each is made of ipywidgets, so it works wherever these do; beside the widget a cell's output has
the same as HTML and text, for saved notebooks, nbconvert and terminals.
"""

from __future__ import annotations

import contextvars
import threading
import time
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets

from mlops_nb.core.events import RolloutMoved, advance
from mlops_nb.core.results import SweepResult
from mlops_nb.core.rollout import Action
from mlops_nb.core.verbs import Abort, Cancel, Inspect, Promote, Retry, Show, Status, Train
from mlops_nb.display import html, text
from mlops_nb.errors import GateFailed, MlopsError, NotFound, as_in_a_cell
from mlops_nb.project import Project
from mlops_nb.viewing import is_kernel, is_live

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.core.declaration import Parameter
    from mlops_nb.core.events import Event
    from mlops_nb.core.notebook import Notebook
    from mlops_nb.core.rollout import Status as Standing
    from mlops_nb.core.run import Run

_SECONDS_BETWEEN = 0.25
_LOOK_SECONDS = 60.0
_WIDE = ipywidgets.Layout(width="auto")


class Shown(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A view of a value, which is in every output beside the widget.

    Args:
        value: what is shown, as `mlops_nb.display` draws it.
        parts: widgets above it.
    """

    def __init__(self, value: object, *parts: Any) -> None:
        self._value = value
        self._drawn = ipywidgets.HTML(as_in_a_cell(html(value)))
        self._trouble = ipywidgets.HTML()
        super().__init__([*parts, self._drawn, self._trouble])

    @property
    def value(self) -> object:
        """What is shown."""
        return self._value

    def draw(self, value: object) -> None:
        """Show another value."""
        self._value = value
        self._drawn.value = as_in_a_cell(html(value))

    def attempt(self, act: Callable[[], None]) -> None:
        """Do what was asked for; what refuses it is shown, with its next step."""
        self._trouble.value = ""
        try:
            act()
        except MlopsError as error:
            said = escape(as_in_a_cell(str(error))).replace("\n", "<br>")
            verdict = html(error.verdict) if isinstance(error, GateFailed) else ""
            self._trouble.value = f"<div role='alert'>✘ {said}</div>{verdict}"

    def button_for(self, label: str, act: Callable[[], None], style: str = "") -> Any:
        """Give a button; what it does is refused in words, below the view."""
        button = ipywidgets.Button(description=label, button_style=style)
        button.on_click(lambda _: self.attempt(act))
        return button

    @property
    def trouble(self) -> str:
        """What was refused last, as HTML; empty if nothing was."""
        return str(self._trouble.value)

    def __repr__(self) -> str:
        """Give it as a terminal shows it."""
        return as_in_a_cell(text(self._value)) if is_kernel() else text(self._value)

    def _repr_mimebundle_(self, **words: Any) -> Any:
        data = super()._repr_mimebundle_(**words)
        return {**data, "text/plain": repr(self), "text/html": as_in_a_cell(html(self._value))}


class LiveRun(Shown):
    """A run that goes on: its view and a button that cancels it.

    Args:
        run: its id, or the run.
    """

    def __init__(self, run: str | Run, project: Project | None = None) -> None:
        self._project = project or Project.open()
        found = self._project.run(Show(run=run if isinstance(run, str) else run.id))
        self._cancel = self.button_for("Cancel", self._ask_to_cancel, "danger")
        super().__init__(found, self._cancel)
        if self.run.state.is_final or not self.run.is_at_hand:
            self._end(found)
        elif is_live():
            _start(self._follow)
        else:
            # Nobody would be there to see a batch's view go on.
            self._follow()

    @property
    def run(self) -> Run:
        """The run as it was last shown."""
        value = self.value
        return value.run if isinstance(value, SweepResult) else value  # type: ignore[return-value]

    def _ask_to_cancel(self) -> None:
        self._cancel.disabled = True
        self._project.run(Cancel(run=self.run.id))

    def _follow(self) -> None:
        def follow() -> None:
            drawn = 0.0
            shown: Any = self.value
            for event in self._project.executor.watch(self.run.id):
                run = advance(shown.run if isinstance(shown, SweepResult) else shown, event)
                shown = replace(shown, run=run) if isinstance(shown, SweepResult) else run
                if time.monotonic() - drawn >= _SECONDS_BETWEEN:
                    drawn = time.monotonic()
                    self.draw(shown)
            self._end(self._project.run(Show(run=self.run.id)))

        self.attempt(follow)

    def _end(self, value: Run | SweepResult) -> None:
        self.draw(value)
        self._cancel.layout.display = "none"


class RunForm(Shown):
    """A form of a notebook's parameters, with a button that runs it.

    Args:
        notebook: its path.
    """

    def __init__(self, notebook: str) -> None:
        verb = Inspect(notebook=notebook)
        self._project = Project.open_for(verb)
        found: Notebook = self._project.run(verb)
        self._path = notebook
        self.fields = {each.name: _field(each) for each in found.parameters}
        self._defaults = {name: field.value for name, field in self.fields.items()}
        self.gates = ipywidgets.Textarea(
            description="gates", placeholder="accuracy >= 0.9", layout=_WIDE
        )
        self.register = ipywidgets.Text(description="register as", layout=_WIDE)
        self.button = self.button_for("Run", self._run, "primary")
        self.started: LiveRun | None = None
        self._asked = (*self.fields.values(), self.gates, self.register, self.button)
        super().__init__(found, *self._asked)

    def _run(self) -> None:
        changed = {
            name: field.value
            for name, field in self.fields.items()
            if field.value != self._defaults[name]
        }
        gates = tuple(line.strip() for line in self.gates.value.splitlines() if line.strip())
        run: Run = self._project.run(
            Train(
                notebook=self._path,
                parameters=changed,
                gates=gates,
                register=self.register.value.strip(),
                wait=False,
            )
        )
        self.started = LiveRun(run, self._project)
        self.children = [*self._asked, self._trouble, self.started]


class Canary(Shown):
    """A model in an environment: what Git says, what the cluster runs, and what may be done.

    Args:
        model: the registered model.
        env: its environment.
    """

    def __init__(self, model: str, env: str) -> None:
        self._project = Project.open()
        self._model, self._env = model, env
        self._buttons = {
            Action.PROMOTE: self.button_for("Promote", lambda: self._steer(Promote)),
            Action.ABORT: self.button_for("Abort", lambda: self._steer(Abort), "danger"),
            Action.RETRY: self.button_for("Try again", self._try_again),
        }
        standing = self._look()
        super().__init__(standing, ipywidgets.HBox(list(self._buttons.values())))
        self._stand(standing)
        if is_live() and self._project.cluster(env) is not None:
            _start(self._follow)

    def _look(self) -> Standing:
        found = self._project.run(Status(model=self._model, env=self._env)).statuses
        if not found:
            raise NotFound(f"{self._model} is not in {self._env}", hint="see: mlops status")
        standing: Standing = found[0]
        return standing

    def _steer(self, verb: type[Promote | Abort]) -> None:
        self._stand(self._project.run(verb(model=self._model, env=self._env)))

    def _try_again(self) -> None:
        self._stand(self._project.run(Retry(run=self._model, env=self._env)))

    def _stand(self, standing: Standing) -> None:
        self.draw(standing)
        for action, button in self._buttons.items():
            button.layout.display = "" if action in standing.actions else "none"

    def _follow(self) -> None:
        def tell(event: Event) -> None:
            if isinstance(event, RolloutMoved):
                self._stand(event.status)

        looking = Status(model=self._model, env=self._env, watch=True, timeout=_LOOK_SECONDS)

        def follow() -> None:
            while self._project.run(looking, tell).timed_out:
                pass

        self.attempt(follow)


def _field(parameter: Parameter) -> Any:
    """Give the widget of a parameter: a list of its choices, a tick, or text."""
    told = parameter.default if parameter.has_default else ""
    more = {
        "description": parameter.name,
        "tooltip": parameter.help or parameter.type,
        "layout": _WIDE,
        "style": {"description_width": "initial"},
    }
    if parameter.choices:
        choices = list(parameter.choices)
        value = told if told in choices else choices[0]
        return ipywidgets.Dropdown(options=choices, value=value, **more)
    if isinstance(told, bool):
        return ipywidgets.Checkbox(value=told, indent=False, **more)
    shown = parameter.default_text if told is None else str(told)
    return ipywidgets.Text(value=shown, placeholder=parameter.help, **more)


def _start(target: Callable[[], None]) -> None:
    """Follow something from a thread that carries the cell's context."""
    threading.Thread(
        target=contextvars.copy_context().run,
        args=(target,),
        daemon=True,
        name="mlops-nb-widget",
    ).start()
