"""All runs of the server: started, stopped, tried again, and healed after a restart."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow.cache import Cache
from mlops_nb.dev.kubeflow.containers import Containers
from mlops_nb.dev.kubeflow.execution import Execution
from mlops_nb.dev.kubeflow.plugin import MlflowPlugin
from mlops_nb.dev.kubeflow.pods import Pods, reap
from mlops_nb.dev.kubeflow.records import FINAL, Pod, Run
from mlops_nb.dev.kubeflow.refusal import invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_nb.dev.kubeflow.faults import Faults
    from mlops_nb.dev.kubeflow.options import Options
    from mlops_nb.dev.kubeflow.state import Store

_KIND = "runs"
_SOON = 0.1


class Engine:
    """Carries runs through, and knows them all."""

    def __init__(
        self, options: Options, store: Store, faults: Faults, report: Callable[[str], None]
    ) -> None:
        self._store = store
        self._report = report
        self._pods = Pods(options, store, faults)
        self._plugin = MlflowPlugin(options.mlflow, options.mlflow_experiment)
        self._containers = Containers(options, Cache(store), self._pods, self._plugin)
        self._runs: dict[str, Run] = {}
        self._changed: set[str] = set()
        self._live: dict[str, tuple[Execution, asyncio.Task[None]]] = {}
        self._recover()

    def _recover(self) -> None:
        """Fail what was under way when an earlier server died."""
        now = time.time()
        for body in self._store.all("pods"):
            pod = Pod(**body)
            if pod.phase in {"Pending", "Running"}:
                reap(pod)
                pod.phase, pod.reason, pod.finished = "Failed", "NodeLost", now
                pod.message = "the server was restarted"
                pod.exit_code, pod.exit_reason = 137, "Error"
                self._store.put("pods", pod.name, pod.to_json())
        for body in self._store.all(_KIND):
            run = Run.of_json(body)
            self._runs[run.id] = run
            if run.state not in FINAL:
                for node in run.nodes.values():
                    if node.state not in FINAL and node.state != "OMITTED":
                        node.move("FAILED", now)
                run.move("FAILED", now)
                self._store.put(_KIND, run.id, run.to_json())

    def save(self, run: Run) -> None:
        """Write what is known of a run soon: a large one changes hundreds of times a second."""
        if run.id not in self._changed:
            self._changed.add(run.id)
            asyncio.get_running_loop().call_later(_SOON, self._write, run)

    def _write(self, run: Run) -> None:
        """Write what is known of a run, unless it was deleted meanwhile."""
        if run.id in self._changed:
            self._changed.discard(run.id)
            if run.id in self._runs:
                self._store.put(_KIND, run.id, run.to_json())

    def all(self) -> list[Run]:
        """Give all runs, oldest first."""
        return list(self._runs.values())

    def find(self, run_id: str) -> Run:
        """Give a run."""
        if run_id not in self._runs:
            raise not_found("Run", run_id)
        return self._runs[run_id]

    def start(self, run: Run) -> None:
        """Take on a run and set it going."""
        self._plugin.begin(run)
        self._runs[run.id] = run
        self._store.put(_KIND, run.id, run.to_json())
        self._go(run)

    def _go(self, run: Run) -> None:
        execution = Execution(run, self._containers, self.save, self._report)
        task = asyncio.ensure_future(self._carry(run, execution))
        self._live[run.id] = (execution, task)
        task.add_done_callback(lambda _: self._ended(run))

    async def _carry(self, run: Run, execution: Execution) -> None:
        await execution.go()
        await asyncio.to_thread(self._plugin.end, run)

    def _ended(self, run: Run) -> None:
        """Let go of a run that is over; of one that was deleted meanwhile nothing stays."""
        self._live.pop(run.id, None)
        if run.id not in self._runs:
            self._forget_pods(run.id)

    def _forget_pods(self, run_id: str) -> None:
        for body in self._store.all("pods"):
            if body["run_id"] == run_id:
                self._store.delete("pods", body["name"])

    def terminate(self, run_id: str) -> None:
        """Tell a run to end; its pods have the grace period for it."""
        run = self.find(run_id)
        if run_id not in self._live or run.state in FINAL:
            raise invalid(f"Failed to terminate a run {run_id}. Row not found")
        execution, _ = self._live[run_id]
        execution.stopping = True
        if run.state != "CANCELING":
            run.move("CANCELING", time.time())
        self.save(run)
        self._pods.stop_run(run_id)

    def retry(self, run_id: str) -> None:
        """Do again what failed in a run, and what came after it."""
        run = self.find(run_id)
        if run.state != "FAILED" or run_id in self._live:
            text = f"Failed to retry run {run_id}: workflow must be Failed/Error to retry"
            raise invalid(text)
        gone = {
            node.id for node in run.nodes.values() if node.state not in {"SUCCEEDED", "SKIPPED"}
        }
        # An exit handler has told of the failure; it is to tell of the retry's end, too.
        for name in list(run.nodes):
            task, hook, _ = name.partition(".onExit")
            if hook and run.nodes[task].id in gone:
                gone.add(run.nodes[name].id)
                run.kept.pop(name, None)
        run.nodes = {name: node for name, node in run.nodes.items() if node.id not in gone}
        for node in run.nodes.values():
            node.children = [child for child in node.children if child not in gone]
        for body in self._store.all("pods"):
            if body["run_id"] == run_id and body["node_id"] in gone:
                self._store.delete("pods", body["name"])
        self._plugin.reopen(run)
        self._go(run)

    def delete(self, run_id: str) -> None:
        """Forget a run and its pods, and stop it if it is under way."""
        self.find(run_id)
        if run_id in self._live:
            self._live[run_id][0].stopping = True
            self._pods.stop_run(run_id)
        self._forget_pods(run_id)
        del self._runs[run_id]
        self._store.delete(_KIND, run_id)

    async def stop(self) -> None:
        """End every run and every process."""
        for execution, _ in self._live.values():
            execution.stopping = True
        self._pods.stop_all()
        await asyncio.gather(*(task for _, task in self._live.values()))
        for run in self._runs.values():
            self._write(run)
