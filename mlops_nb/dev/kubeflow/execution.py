"""One run under way: its DAGs, branches, loops and exit handlers, each when its time comes."""

from __future__ import annotations

import asyncio
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow.condition import BadCondition, holds
from mlops_nb.dev.kubeflow.inputs import (
    Result,
    Surroundings,
    gathered,
    handed_up,
    items_of,
    missing,
    resolve,
)
from mlops_nb.dev.kubeflow.ir import Pipeline, dependencies, is_exit
from mlops_nb.dev.kubeflow.options import Json
from mlops_nb.dev.kubeflow.tree import Tree
from mlops_nb.dev.kubeflow.values import BadValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.dev.kubeflow.containers import Containers
    from mlops_nb.dev.kubeflow.records import Run


@dataclass
class Scope:
    """One DAG under way.

    Args:
        name: the name of its node.
        component: what it runs.
        given: its inputs.
        ends: its tasks, each a future of how it ended.
        failed: whether one of its tasks failed, so that no other one starts.
    """

    name: str
    component: Json
    given: Json
    ends: dict[str, asyncio.Future[Result]] = field(default_factory=dict)
    failed: bool = False

    @property
    def tasks(self) -> Json:
        """Give the tasks of the DAG."""
        return dict(self.component["dag"].get("tasks", {}))

    def results(self) -> dict[str, Result]:
        """Give how the tasks that ended ended."""
        return {key: end.result() for key, end in self.ends.items() if end.done()}


class Execution:
    """The one who carries a run through.

    Args:
        run: the run; what happens is written into it.
        containers: does the tasks that are containers.
        save: called whenever the run has changed.
        report: told of the server's own mistakes.
    """

    def __init__(
        self,
        run: Run,
        containers: Containers,
        save: Callable[[Run], None],
        report: Callable[[str], None],
    ) -> None:
        self._run = run
        self._containers = containers
        self._save = save
        self._report = report
        self._pipeline = Pipeline(run.manifest)
        self._tree = Tree(run, save)
        self.stopping = False

    async def go(self) -> None:
        """Take the run to its end; it never raises."""
        run = self._run
        if not self.stopping:
            run.move("RUNNING", time.time())
        self._tree.open(run.workflow, run.workflow)
        try:
            state = await self._root()
        except Exception:  # noqa: BLE001 # whatever happens, the run must come to an end
            self._report(traceback.format_exc())
            self.stopping = True
            self._containers.stop(run.id)
            state = "FAILED"
        self._tree.close_all()
        self._tree.move(run.workflow, state)
        run.move(state, time.time())
        self._save(run)

    async def _root(self) -> str:
        name = f"{self._run.workflow}.root"
        self._tree.open(f"{name}-driver", "root-driver", state="SUCCEEDED")
        given = {"parameters": self._run.parameters, "artifacts": {}}
        self._tree.open(name, "root", parent=f"{name}-driver")
        result = await self._dag(name, self._pipeline.spec["root"], given)
        return "FAILED" if self.stopping else result.state

    async def _dag(self, name: str, component: Json, given: Json) -> Result:
        """Do the tasks of a DAG, each as soon as those before it are done."""
        scope = Scope(name, component, given)
        scope.ends = {
            key: asyncio.ensure_future(self._task(scope, key, task))
            for key, task in scope.tasks.items()
            if not is_exit(task)
        }
        results = await asyncio.gather(*scope.ends.values())
        failed = [result for result in results if result.state == "FAILED"]
        state = "FAILED" if failed or self.stopping else "SUCCEEDED"
        self._tree.move(name, state)
        if failed:
            return Result(state, error=failed[0].error)
        return Result(state, handed_up(component, scope.results()))

    async def _task(self, scope: Scope, key: str, task: Json) -> Result:
        """Do one task of a DAG once those before it are done."""
        for before in sorted(dependencies(task)):
            if (await scope.ends[before]).state != "SUCCEEDED":
                self._tree.omit(scope.name, key)
                return Result("OMITTED")
        if scope.failed or self.stopping:
            return Result("OMITTED")
        return await self._started(scope, key, task)

    async def _started(self, scope: Scope, key: str, task: Json) -> Result:
        """Do one task now, and then the exit handler that hangs on it."""
        try:
            result = await self._attempt(scope, key, task)
        except (BadValue, BadCondition) as error:
            self._fail_driver(f"{scope.name}.{key}-driver", error)
            result = Result("FAILED", error=str(error))
        scope.failed = scope.failed or result.state == "FAILED"
        for name, handler in scope.tasks.items():
            if is_exit(handler) and key in dependencies(handler) and not self.stopping:
                await self._exit(scope, key, result, name, handler)
        return result

    async def _exit(
        self, scope: Scope, key: str, result: Result, name: str, handler: Json
    ) -> None:
        """Run an exit handler: an Argo hook of the task that it waits for."""
        hook = f"{scope.name}.{key}.onExit"
        self._tree.open(hook, f"{key}.onExit", parent=f"{scope.name}.{key}")
        inside = Scope(hook, scope.component, scope.given, dict(scope.ends))
        known: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        known.set_result(result)
        inside.ends[key] = known
        try:
            ended = (await self._attempt(inside, name, handler)).state
        except (BadValue, BadCondition) as error:
            self._fail_driver(f"{hook}.{name}-driver", error)
            ended = "FAILED"
        self._tree.move(hook, ended)

    def _fail_driver(self, name: str, error: Exception) -> None:
        self._containers.explain(self._run, name, f"KFP driver: {error}")
        self._tree.move(name, "FAILED")

    async def _attempt(self, scope: Scope, key: str, task: Json) -> Result:
        """Resolve a task's inputs, judge its condition, and do it."""
        name = f"{scope.name}.{key}"
        if name in self._run.kept:
            return Result("SUCCEEDED", self._run.kept[name])
        component = self._pipeline.component(task)
        parent = self._tree.parent(scope.name, sorted(dependencies(task)))
        if "parameterIterator" in task:
            return await self._loop(scope, key, task, component)
        self._tree.open(f"{name}-driver", f"{key}-driver", parent=parent)
        inputs = resolve(task, component, self._around(scope, key, task))
        condition = task.get("triggerPolicy", {}).get("condition", "")
        applies = not condition or holds(condition, inputs["parameters"])
        if applies and "dag" not in component and missing(component, inputs):
            raise BadValue(
                f"task {key} gets no value for {', '.join(missing(component, inputs))}"
            )
        self._tree.move(f"{name}-driver", "SUCCEEDED")
        self._tree.open(name, key, parent=f"{name}-driver")
        if not applies:
            self._tree.move(name, "SKIPPED")
            return Result("SKIPPED")
        if "dag" in component:
            return await self._dag(name, component, inputs)
        result = await self._containers.do(self, name, key, task, inputs)
        self._tree.move(name, result.state)
        return result

    def _around(self, scope: Scope, key: str, task: Json) -> Surroundings:
        facts = self.facts(key, task)
        return Surroundings(scope.given, scope.results(), facts)

    async def _loop(self, scope: Scope, key: str, task: Json, component: Json) -> Result:
        """Do a task once for each item of a list, some of them at a time."""
        name = f"{scope.name}.{key}"
        parent = self._tree.parent(scope.name, sorted(dependencies(task)))
        self._tree.open(name, key, parent=parent)
        driver = f"{name}.iteration-driver"
        self._tree.open(driver, "iteration-driver", parent=name)
        try:
            inputs = resolve(task, component, self._around(scope, key, task))
            iterator = task["parameterIterator"]
            items = items_of(iterator, inputs)
            condition = task.get("triggerPolicy", {}).get("condition", "")
            applies = not condition or holds(condition, inputs["parameters"])
        except (BadValue, BadCondition, ValueError) as error:
            self._fail_driver(driver, error)
            self._tree.move(name, "FAILED")
            return Result("FAILED", error=str(error))
        self._tree.move(driver, "SUCCEEDED")
        group = f"{name}.iteration-iterations"
        self._tree.open(group, "iteration-iterations", parent=driver)
        if not applies:
            self._tree.move(group, "SKIPPED")
            return Result("SUCCEEDED")
        limit = int(task.get("iteratorPolicy", {}).get("parallelismLimit", 0))
        room = asyncio.Semaphore(limit or max(len(items), 1))

        async def one(number: int, item: object) -> Result:
            async with room:
                given = {**inputs["parameters"], iterator["itemInput"]: item}
                around = {"parameters": given, "artifacts": inputs["artifacts"]}
                return await self._round(name, number, component, around)

        rounds = await asyncio.gather(*(one(*pair) for pair in enumerate(items)))
        failed = [result for result in rounds if result.state == "FAILED"]
        state = "FAILED" if failed or self.stopping else "SUCCEEDED"
        self._tree.move(group, state)
        self._tree.move(name, state)
        if failed:
            return Result("FAILED", error=failed[0].error)
        return Result(state, gathered(component, list(rounds)))

    async def _round(self, name: str, number: int, component: Json, given: Json) -> Result:
        """Do one round of a loop."""
        if self.stopping:
            return Result("OMITTED")
        display = f"iteration-iterations({number}:{number})"
        outer = f"{name}.{display}"
        self._tree.open(outer, display, parent=f"{name}.iteration-iterations")
        driver = f"{outer}.iteration-item-driver"
        self._tree.open(driver, "iteration-item-driver", parent=outer, state="SUCCEEDED")
        item = f"{outer}.iteration-item"
        self._tree.open(item, "iteration-item", parent=driver)
        result = await self._dag(item, component, given)
        self._tree.move(outer, result.state)
        return result

    def facts(self, key: str, task: Json) -> Json:
        """Give the placeholders that do not depend on inputs."""
        run = self._run
        return {
            "pipeline_job_name": run.body["display_name"],
            "pipeline_job_uuid": run.id,
            "pipeline_job_resource_name": run.workflow,
            "pipeline_job_create_time_utc": run.body["created_at"],
            "pipeline_job_schedule_time_utc": run.body["scheduled_at"],
            "pipeline_task_name": task.get("taskInfo", {}).get("name", key),
        }

    @property
    def run(self) -> Run:
        """Give the run."""
        return self._run

    @property
    def pipeline(self) -> Pipeline:
        """Give the run's pipeline."""
        return self._pipeline

    @property
    def tree(self) -> Tree:
        """Give the run's nodes."""
        return self._tree

    def keep(self, name: str, outputs: Json) -> None:
        """Remember what a container task gave, for a retry."""
        self._run.kept[name] = outputs
        self._save(self._run)
