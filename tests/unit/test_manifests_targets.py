"""Every target, router, server and monitor builds what the cluster accepts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from test_manifests import (
    LOCK,
    PROD,
    SCHEMAS,
    VERSION,
    built,
    check_against_schemas,
    check_conditions,
    documents,
    next_version,
    of_kind,
)

from mlops_nb.core.canary import CanaryLimits, CanaryPlan
from mlops_nb.core.change import lock_path, overlay_path
from mlops_nb.errors import UserError
from mlops_nb.manifests.lock import lock_text
from mlops_nb.manifests.render import render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.delivery import Environment

OVERLAY = overlay_path("churn", "prod")
DOWNLOAD = "harbor.example.com/ml/mlflow@sha256:" + "d" * 64
FLAVORS = {"mlserver": "sklearn", "triton": "onnx", "vllm": "transformers", "kserve": "xgboost"}
FULL = replace(
    PROD,
    download_image=DOWNLOAD,
    gpu=2,
    shm="8Gi",
    quality_job="harbor.example.com/ml/quality@sha256:" + "e" * 64,
    pull_secret="harbor-pull",
    model_secret="model-store",
    secret_store="vault",
    kserve_version="0.21",
)
needs_schemas = pytest.mark.skipif(
    not (SCHEMAS / "index.json").exists(),
    reason="the custom resources' schemas are not beside this repository (../shared/schemas)",
)


def rendered(
    environment: Environment = PROD,
    lock: LockFile = LOCK,
    current: Mapping[str, bytes] | None = None,
    flavor: str = "",
) -> dict[str, bytes]:
    flavor = flavor or FLAVORS[environment.server or "mlserver"]
    version = replace(VERSION, version=lock.version, digest=lock.digest, flavor=flavor)
    return render(version, lock, environment, current or {})


def everything(environment: Environment, folder: Path, **more: Any) -> list[Any]:
    files = rendered(environment, **more)
    found = built(files, folder)
    return [*found, *(d for path, d in documents(files) if path.startswith("clusters/"))]


@needs_schemas
@pytest.mark.parametrize("server", FLAVORS)
@pytest.mark.parametrize("router", ["gateway", "istio", "none"])
def test_each_router_and_server_builds_valid_manifests(
    tmp_path: Path, router: str, server: str
) -> None:
    monitor = "podmonitor" if router == "istio" else "vmpodscrape"
    environment = replace(FULL, router=router, server=server, monitor=monitor)
    found = everything(environment, tmp_path)
    kinds = {document["kind"] for document in found}
    assert check_against_schemas(found) == kinds
    route = {"gateway": "HTTPRoute", "istio": "VirtualService", "none": "Service"}[router]
    scrape = {"podmonitor": "PodMonitor", "vmpodscrape": "VMPodScrape"}[monitor]
    assert kinds >= {"Rollout", "AnalysisTemplate", "ExternalSecret", route, scrape}
    rollout = of_kind(found, "Rollout")
    canary = rollout["spec"]["strategy"]["canary"]
    assert ("trafficRouting" in canary) == (router != "none")
    pod = rollout["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "harbor-pull"}]
    [download], [container] = pod["initContainers"], pod["containers"]
    assert download["envFrom"] == [{"secretRef": {"name": "model-store"}}]
    assert download["image"] == DOWNLOAD
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    ports = {port["name"] for port in container["ports"]}
    scraped = of_kind(found, scrape)["spec"]["podMetricsEndpoints"][0]["port"]
    assert scraped in ports
    policy = next(
        d for d in found if d["kind"] == "NetworkPolicy" and d["metadata"]["name"] == "churn"
    )
    assert policy["spec"]["ingress"][1]["ports"] == [{"protocol": "TCP", "port": scraped}]
    for template in (d for d in found if d["kind"] == "AnalysisTemplate"):
        if template["metadata"]["name"] != "churn-quality":
            check_conditions(template["spec"])
    used = {
        used["templateName"]
        for step in canary["steps"]
        if "analysis" in step
        for used in step["analysis"]["templates"]
    }
    assert used == {"churn-canary", "churn-quality"}
    assert "set-by-the-overlay" not in json.dumps(found)


@needs_schemas
@pytest.mark.parametrize(
    ("server", "kind"), [("mlserver", "InferenceService"), ("vllm", "LLMInferenceService")]
)
def test_kserve_is_given_valid_manifests(tmp_path: Path, server: str, kind: str) -> None:
    environment = replace(FULL, target="kserve", server=server)
    first = rendered(environment)
    found = built(first, tmp_path / "1")
    assert check_against_schemas(found) == {document["kind"] for document in found}
    assert {document["kind"] for document in found} >= {kind, "NetworkPolicy", "ServiceAccount"}
    second = {**first, **rendered(environment, next_version(), first)}
    found = built(second, tmp_path / "2")
    assert check_against_schemas(found) == {document["kind"] for document in found}
    assert of_kind(found, "ServiceAccount")["secrets"] == [{"name": "model-store"}]
    assert of_kind(found, "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress", "Egress"]


def kserve_steps(environment: Environment, name: str) -> list[dict[str, Any]]:
    """Deploy version 8, then 9 at 5 %, 25 % and 100 %; give the file after each."""
    state = rendered(environment)
    after = [yaml.safe_load(state.get(f"{OVERLAY}/{name}", b""))]
    for weights in ((5, 25, 50, 100), (25, 50, 100), (100,)):
        plan = replace(environment, canary=CanaryPlan(weights=weights))
        lock = replace(next_version(), canary=",".join(map(str, weights)))
        change = rendered(plan, lock, state)
        assert change
        state |= change
        assert rendered(plan, lock, state) == {}
        after.append(yaml.safe_load(state.get(f"{OVERLAY}/{name}", b"")))
    return after


def test_kserve_is_given_one_share_after_the_other_and_then_the_new_version_alone() -> None:
    environment = replace(PROD, target="kserve", kserve_version="0.21")
    steps = kserve_steps(environment, "inferenceservice.yaml")
    told = [
        (
            step["spec"]["predictor"]["name"],
            [(c["trafficPercent"], c["predictor"]["name"]) for c in step["spec"]["canary"]],
        )
        for step in steps
    ]
    assert told == [("v8", []), ("v8", [(5, "v9")]), ("v8", [(25, "v9")]), ("v9", [])]
    model = steps[-1]["spec"]["predictor"]["model"]
    assert model["storageUri"] == LOCK.source
    assert (model["runtime"], model["image"]) == ("kserve-mlserver", PROD.image)
    assert steps[0]["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"


def test_kserve_without_a_canary_of_its_own_is_given_the_new_version_at_once() -> None:
    environment = replace(PROD, target="kserve", kserve_version="0.20")
    first = rendered(environment)
    text = rendered(environment, next_version(), first)[f"{OVERLAY}/inferenceservice.yaml"]
    spec = yaml.safe_load(text)["spec"]
    assert (spec["predictor"]["name"], spec["canary"]) == ("v9", [])


def test_a_pair_of_llm_services_shares_a_route_by_weight_until_the_old_one_is_stopped() -> None:
    environment = replace(FULL, target="kserve", server="vllm")
    stable, other = (kserve_steps(environment, name) for name in ("llm.yaml", "llm-other.yaml"))
    told = [
        [
            (
                service["metadata"]["name"],
                service["spec"]["router"]["route"]["weight"],
                service["metadata"]["annotations"].get("serving.kserve.io/stop", ""),
            )
            for service in pair
            if service
        ]
        for pair in zip(stable, other, strict=True)
    ]
    assert told == [
        [("churn-v8", 100, "")],
        [("churn-v8", 95, ""), ("churn-v9", 5, "")],
        [("churn-v8", 75, ""), ("churn-v9", 25, "")],
        [("churn-v9", 100, ""), ("churn-v8", 1, "true")],
    ]
    groups = {s["spec"]["router"]["route"]["group"] for s in stable + other if s}
    assert groups == {"churn"}


@pytest.mark.parametrize(
    ("name", "more", "flavor", "files"),
    [
        ("istio", {"router": "istio"}, "sklearn", ("route.yaml", "rollout.yaml")),
        ("none", {"router": "none"}, "sklearn", ("route.yaml", "network.yaml")),
        ("podmonitor", {"monitor": "podmonitor"}, "sklearn", ("scrape.yaml",)),
        ("vllm", {"server": "vllm", "gpu": 2}, "transformers", ("base/rollout.yaml",
          "base/analysis.yaml", "rollout.yaml")),
        ("triton", {"server": "triton"}, "onnx", ("base/rollout.yaml", "base/analysis.yaml")),
        ("kserve-server", {"server": "kserve"}, "xgboost", ("base/rollout.yaml",
          "base/analysis.yaml")),
        ("extras", {}, "sklearn", ("quality.yaml", "quality-network.yaml", "pull-secret.yaml",
          "model-secret.yaml", "rollout.yaml")),
        ("kserve", {"target": "kserve"}, "sklearn", ("inferenceservice.yaml",
          "kustomization.yaml")),
        ("kserve-llm", {"target": "kserve", "server": "vllm", "gpu": 2}, "transformers",
         ("llm.yaml",)),
    ],
)  # fmt: skip
def test_each_kind_of_environment_is_as_it_was_agreed(
    name: str,
    more: dict[str, Any],
    flavor: str,
    files: tuple[str, ...],
    golden: Callable[[str, bytes], None],
) -> None:
    start = FULL if name == "extras" else replace(PROD, download_image=DOWNLOAD)
    found = rendered(replace(start, **more), flavor=flavor)
    for file in files:
        path = f"models/churn/{file}" if "/" in file else f"{OVERLAY}/{file}"
        golden(f"targets/{name}/{file}", found[path])


def test_the_server_follows_from_how_the_model_was_saved() -> None:
    images = {"vllm": "reg.example.com/vllm@sha256:" + "1" * 64}
    environment = replace(PROD, images=images, download_image=DOWNLOAD)
    lock = replace(LOCK, image=images["vllm"])
    base = "models/churn/base/rollout.yaml"
    assert b"server: vllm" in rendered(environment, lock, flavor="transformers")[base]
    for flavor in ("sklearn", "xgboost", "onnx", "python_function"):
        assert b"server: mlserver" in rendered(environment, flavor=flavor)[base]


def test_a_model_may_change_how_it_is_saved_as_long_as_its_server_takes_it() -> None:
    first = rendered(flavor="sklearn")
    assert rendered(PROD, next_version(), first, "onnx")
    llm = replace(PROD, server="vllm", download_image=DOWNLOAD)
    with pytest.raises(UserError, match=r"base starts mlserver; churn/9 in prod takes vllm"):
        rendered(llm, next_version(), first, "transformers")
    with pytest.raises(UserError, match="saved as sklearn, which triton does not serve"):
        rendered(replace(PROD, server="triton"), flavor="sklearn")


def test_two_environments_may_route_differently_on_one_base(tmp_path: Path) -> None:
    files = rendered()
    stage = replace(PROD, name="stage", router="none", replicas=1)
    more = rendered(stage, replace(LOCK, environment="stage"), files)
    assert not any("/base/" in path for path in more)
    found = built({**files, **more}, tmp_path, overlay_path("churn", "stage"))
    assert "trafficRouting" not in of_kind(found, "Rollout")["spec"]["strategy"]["canary"]


def test_what_is_no_longer_asked_for_leaves_the_overlay_and_nothing_else_does() -> None:
    path = f"{OVERLAY}/rollout.yaml"
    first = rendered(FULL)
    ours = b"# ours\n- op: add\n  path: /metadata/labels/team  # us\n  value: ml\n"
    first[path] += ours
    plain = replace(FULL, gpu=0, pull_secret="", model_secret="", secret_store="")
    after = rendered(plain, LOCK, first)[path]
    assert after.endswith(ours)
    for word in (b"imagePullSecrets", b"envFrom", b"tolerations", b"nvidia.com/gpu"):
        assert word in first[path]
        assert word not in after
    assert rendered(FULL, LOCK, {**first, path: after})[path].count(b"imagePullSecrets") == 1


def test_a_router_that_changed_says_which_file_is_in_its_way() -> None:
    with pytest.raises(
        UserError, match=r"route\.yaml holds HTTPRoute; .* takes VirtualService"
    ):
        rendered(replace(PROD, router="istio"), LOCK, rendered())


def test_hand_made_folders_are_not_built_upon() -> None:
    theirs = {
        "models/churn/base/kustomization.yaml": b"resources: [deployment.yaml]\n",
        "models/churn/base/deployment.yaml": b"kind: Deployment\n",
    }
    with pytest.raises(UserError, match=r"models/churn/base is there, but not rollout\.yaml"):
        rendered(current=theirs)
    overlay = {f"{OVERLAY}/kustomization.yaml": b"resources: [deployment.yaml]\n"}
    with pytest.raises(UserError, match=r"does not build on \.\./\.\./base"):
        rendered(current=overlay)
    # What lies elsewhere is no business of ours.
    assert rendered(current={"models/churn/README.md": b"x"})


def test_a_record_that_contradicts_the_overlay_is_not_believed() -> None:
    state = rendered()
    state[lock_path("churn", "prod")] = lock_text(
        replace(LOCK, version=7, uri="models:/churn/7")
    )
    with pytest.raises(UserError, match=r"says models:/churn/7, but .* runs models:/churn/8"):
        rendered(PROD, next_version(), state)


def test_what_the_cluster_would_refuse_is_refused_here_whoever_wrote_it() -> None:
    state = rendered()
    base = "models/churn/base/rollout.yaml"
    broken = state[base].replace(b"stableService: churn-stable", b"stableService: churn-canary")
    with pytest.raises(UserError, match="are both churn-canary") as caught:
        rendered(PROD, next_version(), {**state, base: broken})
    assert "nothing was written" in caught.value.hint
    moved = state[base].replace(
        b"- name: server", b"- name: sidecar\n        image: x\n      - name: server"
    )
    with pytest.raises(UserError, match="does not fit the base"):
        rendered(PROD, next_version(), {**state, base: moved})


def test_a_server_without_mlflow_needs_an_image_that_has_it() -> None:
    with pytest.raises(UserError, match="triton cannot download a model"):
        rendered(replace(PROD, server="triton"), flavor="onnx")


@pytest.mark.parametrize("source", ["mlflow-artifacts:/1/models/m-1", "/mlruns/1", ""])
def test_kserve_is_not_sent_to_where_it_cannot_read(source: str) -> None:
    with pytest.raises(UserError, match="KServe cannot read that"):
        rendered(replace(PROD, target="kserve"), replace(LOCK, source=source))


def test_limits_reach_the_analysis_as_they_stand_in_the_settings(tmp_path: Path) -> None:
    limits = CanaryLimits(
        p95_ratio=1.5, error_difference=0.00001, p95_seconds=0.25, quality=0.8
    )
    environment = replace(FULL, limits=limits)
    found = built(rendered(environment), tmp_path)
    canary = of_kind(found, "Rollout")["spec"]["strategy"]["canary"]
    step, guard = canary["steps"][1]["analysis"], canary["analysis"]
    values = {a["name"]: a.get("value") for a in [*step["args"], *guard["args"]]}
    assert values["max-latency-ratio"] == "1.5"
    assert values["max-error-delta"] == "0.00001"
    assert values["max-latency-seconds"] == "0.25"
    assert "dryRun" not in step
    assert "dryRun" not in guard
    template = next(d for d in found if d["metadata"]["name"] == "churn-quality")
    job = template["spec"]["metrics"][0]["provider"]["job"]["spec"]["template"]["spec"]
    variables = {entry["name"]: entry["value"] for entry in job["containers"][0]["env"]}
    assert variables == {"MODEL_URL": "http://churn-canary", "LEAST_SCORE": "0.8"}


def test_new_metrics_are_at_first_observed_and_not_judged(tmp_path: Path) -> None:
    canary = of_kind(built(rendered(FULL), tmp_path), "Rollout")["spec"]["strategy"]["canary"]
    assert canary["steps"][1]["analysis"]["dryRun"] == [{"metricName": "quality"}]
    assert canary["analysis"]["dryRun"] == [{"metricName": "p95-latency-seconds"}]
