"""Model servers: how each is started, asked whether it is ready, and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlops_nb.errors import UserError
from mlops_nb.manifests.yaml import parse

if TYPE_CHECKING:
    from mlops_nb.core.delivery import Environment
    from mlops_nb.core.model import ModelVersion

SERVER_LABEL = "mlops-nb.io/server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A counter of a server.

    Args:
        name: its name.
        labels: matchers that choose its series, such as `code="500"`.
    """

    name: str
    labels: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A model server.

    Args:
        name: as mlops.toml names it.
        flavors: ways a model may have been saved for it to be served; empty for any.
        ready: path that answers once it can serve.
        port: port of requests.
        metrics_port: port of metrics.
        requests: counters of requests that add up to all of them.
        outcomes: counter of failed ones, or of served ones.
        counts_served: whether it counts served ones, so that the others have failed.
        histograms: latency histograms, without `_bucket`, by what they measure.
        mean: counter of microseconds spent, where it has no histogram.
        has_mlflow: whether its image can download a model.
        is_llm: whether it serves language models.
    """

    name: str
    flavors: frozenset[str] = frozenset()
    ready: str
    port: int = 8080
    metrics_port: int
    requests: tuple[Counter, ...]
    outcomes: Counter
    counts_served: bool = False
    histograms: Mapping[str, Counter]
    mean: str = ""
    has_mlflow: bool = False
    is_llm: bool = False

    @property
    def scraped(self) -> str:
        """Name of the port that metrics are read from."""
        return "http" if self.metrics_port == self.port else "metrics"

    def serves(self, flavor: str) -> bool:
        """Tell whether a model saved so can be served; an unknown one is given the chance."""
        return not flavor or not self.flavors or flavor in self.flavors


# Health probes are no traffic, so only inference paths count.
_INFERENCE = 'path=~".*/(infer|invocations)"'
_MLSERVER = Server(
    name="mlserver",
    ready="/v2/health/ready",
    metrics_port=8082,
    requests=(Counter(name="rest_server_requests_total", labels=_INFERENCE),),
    outcomes=Counter(
        name="rest_server_requests_total", labels=f'{_INFERENCE},status_code=~"5.."'
    ),
    histograms={"p95": Counter(name="rest_server_request_duration_seconds", labels=_INFERENCE)},
    has_mlflow=True,
)
_TRITON = Server(
    name="triton",
    flavors=frozenset({"onnx"}),
    ready="/v2/health/ready",
    metrics_port=8002,
    requests=(
        Counter(name="nv_inference_request_success"),
        Counter(name="nv_inference_request_failure"),
    ),
    outcomes=Counter(name="nv_inference_request_failure"),
    histograms={},
    mean="nv_inference_request_duration_us",
)
_VLLM = Server(
    name="vllm",
    flavors=frozenset({"transformers"}),
    ready="/health",
    metrics_port=8080,
    requests=(Counter(name="http_requests_total", labels='handler=~"/v1/.*"'),),
    # Grouped by vLLM; requests that were wrong ("4xx") are no failures of the model.
    outcomes=Counter(name="http_requests_total", labels='handler=~"/v1/.*",status="5xx"'),
    histograms={
        "ttft": Counter(name="vllm:time_to_first_token_seconds"),
        "tpot": Counter(name="{{args.tpot-metric}}"),
        "p95": Counter(name="vllm:e2e_request_latency_seconds"),
    },
    is_llm=True,
)
_KSERVE = Server(
    name="kserve",
    flavors=frozenset({"sklearn", "xgboost", "lightgbm"}),
    ready="/v2/health/ready",
    metrics_port=8080,
    # It counts no failures, but only what was predicted comes to postprocessing.
    requests=(Counter(name="request_preprocess_seconds_count"),),
    outcomes=Counter(name="request_postprocess_seconds_count"),
    counts_served=True,
    histograms={"p95": Counter(name="request_predict_seconds")},
)
SERVERS = {server.name: server for server in (_MLSERVER, _TRITON, _VLLM, _KSERVE)}
_BY_FLAVOR = {"transformers": "vllm"}


def fitted(
    environment: Environment, version: ModelVersion, current: Mapping[str, bytes]
) -> Environment:
    """Give the environment with the server of this version and that server's image.

    Args:
        environment: as mlops.toml says.
        version: what is deployed.
        current: files of the model on base, by path.

    Raises:
        UserError: if the server cannot serve the version, or the model's base is another
            server's.
    """
    path = base_path(version.name, environment.target)
    there = _server_of(current, path)
    default = _BY_FLAVOR.get(version.flavor, "mlserver")
    if not environment.server and there and SERVERS[there].serves(version.flavor):
        default = there
    name = environment.server or default
    if not SERVERS[name].serves(version.flavor):
        raise UserError(
            f"{version} was saved as {version.flavor}, which {name} does not serve",
            hint=f'set server = "{_BY_FLAVOR.get(version.flavor, "mlserver")}" in '
            f"[environments.{environment.name}], or leave it out",
        )
    if there and there != name:
        raise UserError(
            f"{path} starts {there}; {version} in {environment.name} takes {name}",
            hint=f'set server = "{there}" in [environments.{environment.name}], or rewrite '
            f"{path} for {name}: moved away, it is written anew",
        )
    return replace(environment, server=name, image=environment.image_of(name))


def base_path(model: str, target: str) -> str:
    """Name the folder of a model's base; the two targets have little in common."""
    return f"models/{model}/base" if target == "rollout" else f"models/{model}/base-{target}"


def _server_of(current: Mapping[str, bytes], folder: str) -> str:
    """Give the server that a base was written for; empty where there is none yet."""
    for name in ("rollout.yaml", "serviceaccount.yaml"):
        path = f"{folder}/{name}"
        if path in current:
            document = parse(current[path], path)
            labels = (document or {}).get("metadata", {}).get("labels") or {}
            if (found := labels.get(SERVER_LABEL)) in SERVERS:
                return str(found)
    return ""
