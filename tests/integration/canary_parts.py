"""The real parts that a canary is judged with: servers, a proxy, metrics, and requests."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A small scikit-learn model as a runtime of MLServer, with faults to choose.
RUNTIME = """\
import asyncio
import os

import numpy
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from sklearn.linear_model import LogisticRegression


class Runtime(MLModel):
    async def load(self):
        x = numpy.random.RandomState(0).rand(50, 2)
        self.model = LogisticRegression().fit(x, x[:, 0] > 0.5)
        self.asked = 0
        return True

    async def predict(self, payload):
        self.asked += 1
        await asyncio.sleep(float(os.environ["SECONDS"]))
        if self.asked % 10 == 0 and os.environ["FAILS"]:
            raise RuntimeError("one in ten")
        x = NumpyCodec.decode_input(payload.inputs[0])
        y = self.model.predict(x).astype(int)
        answer = NumpyCodec.encode_output("y", y)
        return InferenceResponse(model_name=self.name, outputs=[answer])
"""
QUESTION = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [0.1, 0.9]}]}
)


def found(name: str) -> str:
    """Give the path of a program that the tests' set-up brings; empty if it is not there."""
    own = [f"{sys.prefix}/servers/bin", f"{sys.prefix}/tools/usr/bin"]
    return shutil.which(name, path=os.pathsep.join([*own, os.environ["PATH"]])) or ""


def missing() -> str:
    """Name what cannot be had here; empty if everything is there."""
    names = ("mlserver", "traefik", "prometheus", "victoria-metrics")
    return ", ".join(name for name in names if not found(name))


def free_ports(count: int) -> list[int]:
    with_sockets = [socket.socket() for _ in range(count)]
    for one in with_sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in with_sockets]
    for one in with_sockets:
        one.close()
    return ports


@dataclass
class Processes:
    """Servers of one test; they end with it."""

    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, words: Sequence[str], **variables: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                list(words),
                cwd=self.folder,
                env={**os.environ, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.started.append(process)

    def wait(self, url: str, name: str) -> None:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            with suppress(requests.RequestException):
                if requests.get(url, timeout=1).ok:
                    return
            time.sleep(0.1)
        raise AssertionError((self.folder / f"{name}.log").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        for process in self.started:
            process.kill()
        for process in self.started:
            process.wait()


@dataclass
class ModelServer:
    """One MLServer, started as the manifest starts it but for its runtime and ports."""

    name: str
    seconds: float = 0.12
    fails: bool = False
    http: int = 0
    metrics: int = 0

    def start(self, processes: Processes, container: Mapping[str, Any]) -> None:
        folder = processes.folder / self.name
        folder.mkdir()
        (folder / "runtime.py").write_text(RUNTIME)
        self.http, grpc, self.metrics = free_ports(3)
        told = {entry["name"]: entry["value"] for entry in container["env"]}
        variables = {
            **told,
            "HOME": str(folder),
            "MLSERVER_MODEL_URI": str(folder),
            "MLSERVER_MODEL_IMPLEMENTATION": "runtime.Runtime",
            "MLSERVER_PARALLEL_WORKERS": "0",
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": str(self.http),
            "MLSERVER_GRPC_PORT": str(grpc),
            "MLSERVER_METRICS_PORT": str(self.metrics),
            "PYTHONPATH": str(folder),
            "SECONDS": str(self.seconds),
            "FAILS": "yes" if self.fails else "",
        }
        words = [w.replace("/mnt/model", str(folder)) for w in container["command"]]
        processes.start(self.name, [found(words[0]), *words[1:]], **variables)


def start_metrics(processes: Processes, servers: Sequence[ModelServer]) -> dict[str, str]:
    """Start Prometheus and VictoriaMetrics, which both scrape the servers; give their URLs."""
    folder = processes.folder
    jobs = [
        {
            "job_name": "pods",
            "static_configs": [
                {
                    "targets": [f"127.0.0.1:{server.metrics}"],
                    # As the scrape of the manifests names it.
                    "labels": {"rollouts_pod_template_hash": server.name},
                }
                for server in servers
            ],
        }
    ]
    scrape = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    config = folder / "scrape.yaml"
    config.write_text(yaml.safe_dump(scrape))
    first, second = free_ports(2)
    processes.start(
        "prometheus",
        [
            found("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/prometheus",
            f"--web.listen-address=127.0.0.1:{first}",
        ],
    )
    processes.start(
        "victoria-metrics",
        [
            found("victoria-metrics"),
            f"-promscrape.config={config}",
            f"-storageDataPath={folder}/victoria",
            f"-httpListenAddr=127.0.0.1:{second}",
            "-search.latencyOffset=0s",
            "-retentionPeriod=1d",
        ],
    )
    urls = {
        "prometheus": f"http://127.0.0.1:{first}",
        "victoria-metrics": f"http://127.0.0.1:{second}",
    }
    for name, url in urls.items():
        processes.wait(f"{url}/api/v1/query?query=up", name)
    return urls


def start_proxy(
    processes: Processes, stable: ModelServer, canaries: Sequence[ModelServer], weight: int
) -> int:
    """Start a proxy that gives each canary its share of the requests to `<canary>.test`."""
    services: dict[str, Any] = {
        server.name: {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{server.http}"}]}}
        for server in (stable, *canaries)
    }
    for canary in canaries:
        shares = [
            {"name": stable.name, "weight": 100 - weight},
            {"name": canary.name, "weight": weight},
        ]
        services[f"split-{canary.name}"] = {"weighted": {"services": shares}}
    routers = {
        canary.name: {"rule": f"Host(`{canary.name}.test`)", "service": f"split-{canary.name}"}
        for canary in canaries
    }
    config = processes.folder / "routes.yaml"
    config.write_text(yaml.safe_dump({"http": {"routers": routers, "services": services}}))
    [port] = free_ports(1)
    processes.start(
        "traefik",
        [
            found("traefik"),
            f"--entryPoints.web.address=127.0.0.1:{port}",
            f"--providers.file.filename={config}",
            "--global.checkNewVersion=false",
            "--global.sendAnonymousUsage=false",
        ],
    )
    return port


class Requests:
    """People who ask through the proxy until they are told to stop.

    Args:
        port: the proxy's.
        hosts: whom they ask for.
        people: how many ask each host.
    """

    def __init__(self, port: int, hosts: Sequence[str], people: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(host,), daemon=True)
            for host in hosts
            for _ in range(people)
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, host: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        headers = {"Host": host, "Content-Type": "application/json"}
        while not self._over.is_set():
            try:
                connection.request("POST", "/v2/models/churn/infer", QUESTION, headers)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()
                time.sleep(0.1)
        connection.close()


def query(url: str, expression: str) -> Any:
    """Give the answer of an instant query, an error's included."""
    words = {"query": expression}
    return requests.get(f"{url}/api/v1/query", params=words, timeout=20).json()
