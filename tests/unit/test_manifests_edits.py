"""Whatever a team writes into an overlay stays there, byte by byte."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from test_manifests import LOCK, PROD, VERSION, next_version
from test_manifests_targets import DOWNLOAD

from mlops_nb.core.canary import CanaryLimits, CanaryPlan
from mlops_nb.core.change import overlay_path
from mlops_nb.manifests.render import render
from mlops_nb.manifests.yaml import Document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.delivery import Environment

OVERLAY = overlay_path("churn", "prod")
# Asked for by some environments only: their lines come and go.
OPTIONAL = re.compile(r"envFrom|imagePullSecrets|tolerations|dynamicStableScale")
environments = st.builds(
    lambda **more: replace(PROD, download_image=DOWNLOAD, **more),
    replicas=st.integers(1, 50),
    cpu=st.sampled_from(["500m", "1", "on", "1e3"]),
    gpu=st.sampled_from([0, 1, 8]),
    namespace=st.sampled_from(["ml", "on", "123", "a-b"]),
    host=st.sampled_from(["{model}.x.example.com", "models.example.com"]),
    gateway=st.sampled_from(["edge/public", "istio-system/yes"]),
    pull_secret=st.sampled_from(["", "harbor"]),
    model_secret=st.sampled_from(["", "store"]),
    dynamic_stable_scale=st.booleans(),
    limits=st.builds(CanaryLimits, p95_ratio=st.sampled_from([1.2, 2.0, 1e-05])),
    canary=st.builds(
        CanaryPlan,
        weights=st.sampled_from([(5, 100), (25, 100), (50, 100)]),
        minutes=st.sampled_from([1, 10, 60]),
    ),
)
comments = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(["# ours", "# 'a: b", "# - op: {", "#"])),
    max_size=12,
)


def rendered(
    environment: Environment, lock: LockFile, current: Mapping[str, bytes]
) -> dict[str, bytes]:
    version = replace(VERSION, version=lock.version, digest=lock.digest)
    return render(version, lock, environment, current)


def commented(text: bytes, added: list[tuple[int, str]], end: str) -> bytes:
    """Add comments on lines of their own, and behind the first line of what always stays."""
    lines = text.decode().splitlines()
    for position, comment in added:
        i = position % (len(lines) + 1)
        is_start = i == len(lines) or re.match(r"- op|[a-zA-Z]", lines[i])
        if is_start:
            lines.insert(i, comment)
        elif re.match(r"  path: ", lines[i]) and not OPTIONAL.search(lines[i]):
            lines[i] = f"{lines[i].partition('  #')[0]}  {comment}"
    return (end.join(lines) + end).encode()


def told(text: bytes) -> list[str]:
    return re.findall(r"# .*|#$", text.decode().replace("\r", ""), re.MULTILINE)


def meant(content: bytes) -> Any:
    found = yaml.safe_load(content)
    if isinstance(found, list):
        return sorted(found, key=lambda entry: (str(entry["path"]), entry["op"]))
    return found


@settings(max_examples=20, deadline=None)
@given(
    before=environments,
    after=environments,
    added=comments,
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_an_edit_keeps_every_comment_and_says_what_a_new_file_would_say(
    before: Environment, after: Environment, added: list[tuple[int, str]], end: str
) -> None:
    state = rendered(before, LOCK, {})
    names = ("rollout.yaml", "route.yaml", "network.yaml", "scrape.yaml", "kustomization.yaml")
    paths = [f"{OVERLAY}/{name}" for name in names]
    for path in paths:
        state[path] = commented(state[path], added, end)
    newer = next_version()
    change = rendered(after, newer, state)
    fresh = rendered(after, newer, {})
    for path in paths:
        new = change.get(path, state[path])
        assert told(new) == told(state[path])
        assert meant(new) == meant(fresh[path])
        assert new.count(b"\r\n") == (new.count(b"\n") if end == "\r\n" else 0)
    assert rendered(after, newer, {**state, **change}) == {}


def test_an_item_goes_behind_the_last_one_and_its_comment() -> None:
    for text, wanted in {
        "a:\n- x  # why\n# end\nb: 1\n": "a:\n- x  # why\n- z\n# end\nb: 1\n",
        "a:\n  - x": "a:\n  - x\n  - z",
        "a: [x]  # why\n": "a: [x, z]  # why\n",
        "b: 1\n": "b: 1\na:\n- z\n",
        "a: [z]\n": "a: [z]\n",
    }.items():
        document = Document(text.encode(), "x.yaml")
        document.add_items("a", ["z"])
        assert document.content().decode() == wanted


def test_a_value_is_set_where_it_is_and_nowhere_else() -> None:
    text = "a:\n  b: [1, {c: 'x'}]  # why\n"
    document = Document(text.encode(), "x.yaml")
    document.set_in(("a", "b", 1, "c"), "on")
    document.set_in(("a", "gone"), 1)
    document.set_in(("a", "b", 7), 1)
    assert document.content().decode() == text.replace("'x'", "'on'")
