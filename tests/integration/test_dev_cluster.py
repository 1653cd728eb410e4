"""The stand-in for a cluster, held to official schemas and to clients that do not know it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import requests
from played import BY_HAND, JUDGED, TOKEN, World, played
from ruamel.yaml import YAML
from shell import Shell

from mlops_nb.core.analysis import Phase
from mlops_nb.core.rollout import RolloutPhase
from mlops_nb.dev.cluster.judging import AnalysisRun, merged_spec
from mlops_nb.dev.cluster.overlay import CannotBuild, build
from mlops_nb.dev.cluster.rollout import LiveRollout
from mlops_nb.manifests.analysis import analysis_templates
from mlops_nb.manifests.servers import SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.core.analysis import Metric
    from mlops_nb.core.rollout import Rollout

SCHEMAS = Path(__file__).parents[2] / ".." / "shared" / "schemas"
GROUP = {"group": "argoproj.io", "version": "v1alpha1", "namespace": "models"}


@pytest.fixture
def world() -> Iterator[World]:
    with played() as world:
        yield world


def schema(kind: str) -> Any:
    name = f"argoproj.io/v1alpha1/{kind}"
    index = json.loads((SCHEMAS / "index.json").read_text())
    return json.loads((SCHEMAS / index[name]["file"]).read_text())


def ask(world: World, path: str, **query: str) -> Any:
    answer = requests.get(
        world.server.url + path,
        params=query,
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=5,
    )
    return answer.status_code, answer.json()


def kubernetes(world: World) -> Any:
    from kubernetes.client import ApiClient, Configuration

    config = Configuration(host=world.server.url, api_key={"authorization": f"Bearer {TOKEN}"})
    return ApiClient(config)


@pytest.mark.skipif(
    not (SCHEMAS / "index.json").exists(),
    reason="the custom resources' schemas are not beside this repository (../shared/schemas)",
)
@pytest.mark.parametrize("kind", ["good", "slow", "none"])
def test_what_it_shows_passes_the_official_schemas(world: World, kind: str) -> None:
    world.live(1)
    world.measure(kind)
    world.merge(2, JUDGED)
    seen = set()
    for _ in range(2):
        world.until(lambda r: bool(r.analyses) or r.stable == r.wanted)
        for plural, name in (("rollouts", "Rollout"), ("analysisruns", "AnalysisRun")):
            _, found = ask(world, f"/apis/argoproj.io/v1alpha1/namespaces/models/{plural}")
            for each in found["items"]:
                jsonschema.validate(each, schema(name))
                seen.add(each["status"]["phase"])
        _, application = ask(world, "/api/v1/applications/churn-prod")
        jsonschema.validate(application, schema("Application"))
        world.until(
            lambda r: (
                r.phase in {RolloutPhase.DEGRADED, RolloutPhase.PAUSED}
                or (r.phase is RolloutPhase.HEALTHY and r.wanted.version == 2)
            )
        )
    assert seen & {"Healthy", "Degraded", "Paused"}


def test_a_client_generated_from_argo_cds_description_works_unchanged(world: World) -> None:
    import argocd_python_client
    from argocd_python_client.api.application_service_api import ApplicationServiceApi

    world.live(1)
    world.measure("slow")
    world.merge(2, JUDGED)
    world.until(lambda r: r.is_aborted)
    config = argocd_python_client.Configuration(host=world.server.url)
    header = {"header_name": "Authorization", "header_value": f"Bearer {TOKEN}"}
    with argocd_python_client.ApiClient(config, **header) as client:
        api = ApplicationServiceApi(client)
        found = api.application_service_get("churn-prod", project=["models-prod"])
        assert (found.status.sync.status, found.status.health.status) == ("Synced", "Degraded")
        assert [each.id for each in found.status.history] == [0, 1]
        tree = api.application_service_resource_tree("churn-prod")
        run = next(node for node in tree.nodes if node.kind == "AnalysisRun")
        assert run.parent_refs[0].kind == "Rollout"
        wanted = {**GROUP, "resource_name": "churn", "kind": "Rollout"}
        live = json.loads(api.application_service_get_resource("churn-prod", **wanted).manifest)
        assert live["status"]["abort"] is True
        actions = api.application_service_list_resource_actions("churn-prod", **wanted).actions
        assert {a.name for a in actions if not getattr(a, "disabled", False)} == {
            "retry", "promote-full", "skip-current-step",
        }  # fmt: skip
        windows = api.application_service_get_application_sync_windows("churn-prod")
        assert windows.can_sync is True


def test_the_kubernetes_client_works_unchanged_and_strategic_merges_are_refused(
    world: World,
) -> None:
    from kubernetes.client import ApiException, AppsV1Api, CustomObjectsApi

    world.live(1)
    world.merge(2, BY_HAND)
    rollout = world.until(lambda r: r.phase is RolloutPhase.PAUSED)
    client = kubernetes(world)
    sets = AppsV1Api(client).list_namespaced_replica_set(
        "models", label_selector=f"rollouts-pod-template-hash={rollout.wanted.template}"
    )
    [one] = sets.items
    assert one.metadata.owner_references[0].kind == "Rollout"
    variables = {e.name: e.value for e in one.spec.template.spec.init_containers[0].env}
    assert variables["MODEL_URI"] == "models:/churn/2"
    custom = CustomObjectsApi(client)
    place = ("argoproj.io", "v1alpha1", "models", "rollouts")
    [live] = custom.list_namespaced_custom_object(*place)["items"]
    assert live["status"]["pauseConditions"][0]["reason"] == "CanaryPauseStep"
    with pytest.raises(ApiException) as error:
        custom.get_namespaced_custom_object(*place, "fraud")
    assert error.value.status == 404
    refused = requests.patch(
        f"{world.server.url}/apis/argoproj.io/v1alpha1/namespaces/models/rollouts/churn/status",
        data=json.dumps({"status": {"abort": True}}),
        headers={
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/strategic-merge-patch+json",
        },
        timeout=5,
    )
    assert (refused.status_code, refused.json()["reason"]) == (415, "UnsupportedMediaType")


def test_who_names_no_project_is_not_told_what_exists(world: World) -> None:
    world.live(1)
    assert ask(world, "/api/v1/applications/fraud-prod")[0] == 403
    assert ask(world, "/api/v1/applications/fraud-prod", project="models-prod")[0] == 404
    assert ask(world, "/api/v1/applications/churn-prod", project="other")[0] == 404
    answer = requests.get(f"{world.server.url}/api/v1/applications", timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (401, 16)


class Measurements:
    """Gives what a test says next of each metric; the last of it again and again."""

    def __init__(self, **values: list[list[float]]) -> None:
        self.values = values

    def measure(self, model: str, metric: Metric) -> list[float]:
        series = self.values[metric.name]
        return series.pop(0) if len(series) > 1 else series[0]


def stepping(source: Measurements) -> LiveRollout:
    """Give a rollout whose canary is judged step by step, and in the background of all."""

    def template(name: str, **more: object) -> dict[str, Any]:
        metric = {
            "name": name,
            "interval": "10s",
            "successCondition": "len(result) > 0 && result[0] <= 1",
            "failureCondition": "len(result) > 0 && result[0] > 1",
            "provider": {"prometheus": {"query": name}},
            **more,
        }
        return {"spec": {"metrics": [metric]}}

    def manifest(image: str) -> dict[str, Any]:
        canary = {
            "analysis": {"templates": [{"templateName": "behind"}], "startingStep": 1},
            "steps": [
                {"setWeight": 10},
                {"analysis": {"templates": [{"templateName": "step"}]}},
                {"setWeight": 50},
                {"pause": {"duration": "1m"}},
            ],
        }
        pod = {"spec": {"containers": [{"image": image}]}}
        return {
            "metadata": {"name": "churn"},
            "spec": {
                "selector": {"matchLabels": {}},
                "template": pod,
                "strategy": {"canary": canary},
            },
        }

    rollout = LiveRollout("churn", "models", source)
    templates = {"step": template("step", count=2), "behind": template("behind")}
    rollout.apply(manifest("old"), templates, 0)
    rollout.tick(100)
    rollout.apply(manifest("new"), templates, 100)
    rollout.tick(200)
    return rollout


def test_an_analysis_in_the_background_aborts_at_any_step() -> None:
    rollout = stepping(Measurements(step=[[0.5]], behind=[[0.5], [0.5], [0.5], [9.0]]))
    for now in (201, 211, 212):
        rollout.tick(now)
    assert rollout.status["weight"] == 50
    rollout.tick(240)
    rollout.tick(241)
    assert rollout.is_aborted
    assert rollout.why.endswith(
        'Background analysis phase error/failed: Metric "behind" assessed Failed due to failed '
        "(1) > failureLimit (0)"
    )


def test_resumed_everything_without_a_verdict_is_measured_again() -> None:
    rollout = stepping(Measurements(step=[[], [0.5]], behind=[[], [0.5]]))
    rollout.tick(201)
    rollout.tick(202)
    assert rollout.status["pauseConditions"][0]["reason"] == "InconclusiveAnalysis"
    rollout.patch({"status": {"pauseConditions": None}}, is_status=True, now=203)
    for now in range(203, 300):
        rollout.tick(now)
    assert rollout.stable == rollout.current
    assert [run.name.partition(".")[2] for run in rollout.runs] == ["", "", "1", "1"]


def serves(number: int, rollout: Rollout) -> bool:
    """Whether a version has all of the traffic."""
    return rollout.stable == rollout.wanted and rollout.wanted.version == number


def test_a_return_within_the_window_plays_no_step_and_a_later_one_plays_all(
    world: World,
) -> None:
    world.live(1)
    for number in (2, 3, 4):
        world.merge(number, JUDGED)
        world.until(partial(serves, number))
    world.merge(2, JUDGED)
    rollout = world.until(partial(serves, 2))
    assert not rollout.analyses
    world.merge(5, JUDGED)
    world.until(partial(serves, 5))
    world.merge(1, JUDGED)
    rollout = world.until(partial(serves, 1))
    assert [a.weight for a in rollout.analyses if a.weight] == [5, 25]


def test_real_metrics_are_asked_for_with_the_manifests_own_queries() -> None:
    from scripted_server import says, scripted

    sample = {"metric": {}, "value": [1, "3.79"]}
    vector = {"status": "success", "data": {"resultType": "vector", "result": [sample]}}
    with (
        scripted(otherwise=says(vector)) as (url, script),
        played(metrics_url=url) as world,
    ):
        world.live(1)
        world.merge(2, JUDGED)
        rollout = world.until(lambda r: r.is_aborted)
    assert "p95-latency-ratio 3.79 > 1.2" in rollout.why
    assert any(
        "rest_server_request_duration_seconds_bucket" in path and "rollouts_pod" in path
        for _, path, _, _ in script.asked
    )


@pytest.mark.parametrize(
    ("away", "phase"), [(0, Phase.SUCCESSFUL), (125, Phase.SUCCESSFUL), (200, Phase.ERROR)]
)
def test_an_outage_of_two_minutes_is_no_verdict(away: int, phase: Phase) -> None:
    text = analysis_templates("churn", SERVERS["mlserver"])
    compared = next(iter(YAML(typ="safe").load_all(text)))["spec"]
    hashes = [{"name": f"{pods}-hash", "value": pods} for pods in ("canary", "stable")]
    run = AnalysisRun({"name": "churn-1"}, merged_spec([compared], hashes, {}), "churn", now=0)
    clock = 0

    class Server:
        def measure(self, model: str, metric: Metric) -> list[float]:
            if 300 <= clock < 300 + away:
                raise ValueError("Connection refused")
            return [0.0]

    for second in range(1_200):
        clock = second
        run.tick(second, Server())
    assert run.phase is phase


def test_metrics_that_are_away_for_longer_than_two_minutes_abort() -> None:
    with played(metrics_url="http://127.0.0.1:9") as world:
        world.live(1)
        world.merge(2, JUDGED)
        rollout = world.until(lambda r: r.is_aborted)
    assert "Connection refused" in rollout.why
    assert "consecutiveErrors (19) > consecutiveErrorLimit (18)" in rollout.message


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "there is no o/kustomization.yaml"),
        ({"o/kustomization.yaml": b"resources: [x.yaml]"}, "there is no o/x.yaml"),
        ({"o/kustomization.yaml": b"images: []"}, "images is not known"),
        ({"o/kustomization.yaml": b"a: [\n"}, "o/kustomization.yaml"),
        (
            {
                "o/kustomization.yaml": b"resources: [x.yaml]\npatches: [{path: p.yaml}]",
                "o/x.yaml": b"kind: A\nmetadata: {name: a}\n",
                "o/p.yaml": b"- {op: test, path: /kind, value: B}\n",
            },
            "o/p.yaml: test /kind does not fit",
        ),
    ],
)
def test_what_it_cannot_build_is_refused_by_name(files: dict[str, bytes], said: str) -> None:
    with pytest.raises(CannotBuild) as error:
        build(files, "o")
    assert said in str(error.value)


@contextmanager
def project(folder: Path, settings: str) -> Iterator[Shell]:
    shell = Shell(folder)
    (folder / "mlops.toml").write_text(settings)
    shell.type("init")
    yield shell


@pytest.mark.parametrize(
    ("settings", "words", "said"),
    [
        ("[environments.prod]\n", ["--speed", "0"], "speed 0 stands still"),
        ("[environments.prod]\n", ["--metrics-url", "vm:1"], "'vm:1' is no address"),
        ("[environments.prod]\n", ["--env", "prd"], "did you mean 'prod'?"),
        (
            '[environments.prod]\nargocd = "https://argocd.example.com"\n',
            [],
            "names https://argocd.example.com in [environments.prod]",
        ),
        ("[environments]\nprod = {}\n", [], "has no line [environments.prod]"),
        ("[environments.prod]\n", ["set", "churn", "slow"], "no stand-in answers at"),
    ],
)
def test_wrong_words_are_told_and_change_nothing(
    tmp_path: Path, settings: str, words: list[str], said: str
) -> None:
    gitops = '[gitops]\nrepository = "gitops.git"\n'
    with project(tmp_path, gitops + settings) as shell:
        port = [] if "set" in words else ["--port", "0"]
        code = 4 if "set" in words else 2
        done = shell.type("dev", "cluster", *port, *words, code=code)
    assert said in done.stderr
    assert (tmp_path / "mlops.toml").read_text() == gitops + settings
