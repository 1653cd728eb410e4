from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.core.profile import (
    SHARED_MEMORY,
    Profile,
    Toleration,
    advise,
    cost,
    is_pinned,
    override,
)
from mlops_nb.core.quantity import format_size
from mlops_nb.core.settings import parse_settings
from mlops_nb.errors import UserError

GIB = 2**30
DIGEST = "@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        ({"image": "a b"}, "image = 'a b': not an image reference", "registry.example.com"),
        ({"image": "x@sha256:12"}, "not an image reference", "sha256"),
        ({"gpu": -1}, "gpu = -1: less than none", "0 for a pod without GPU"),
        ({"gpu_resource": "gpu"}, "gpu_resource = 'gpu': not a resource", "amd.com/gpu"),
        ({"cpu": "lots"}, "cpu = 'lots': not a CPU quantity", "500m"),
        ({"cpu": "0"}, "cpu = '0': not a CPU quantity", "500m"),
        ({"cpu": "1.5m"}, "cpu = '1.5m': not a CPU quantity", "500m"),
        ({"memory": 0}, "memory = 0: not above 0", "24Gi"),
        ({"shm": 2 * GIB, "memory": GIB}, "shm = '2 GiB': more than the memory, 1 GiB", "less"),
        ({"price": -1.0}, "price = -1.0", "0 or more"),
        ({"price": float("nan")}, "price = nan", "0 or more"),
        ({"timeout": 0.0}, "timeout = 0.0: not above 0", "2h"),
        ({"max_wait": -1.0}, "max_wait = -1.0: not above 0", "2h"),
        ({"retries": -1}, "retries = -1: less than none", "0 or more"),
        ({"backoff": float("inf")}, "backoff = inf", "0 or more"),
        ({"node_selector": {"a b": "x"}}, "node_selector = 'a b': not a key", "example.com"),
        ({"labels": {"queue": "a b"}}, "labels.queue = 'a b': not a label value", "63"),
        ({"annotations": {"/x": "y"}}, "annotations = '/x': not a key", "example.com"),
        ({"pull_secrets": ("Reg",)}, "pull_secrets = 'Reg': not a name", "lower-case"),
        ({"service_account": "a_b"}, "service_account = 'a_b': not a name", "lower-case"),
        ({"env": {"1A": "x"}}, "env = '1A': not a name of an environment", "AWS_REGION"),
        ({"secrets": {"A": "b"}}, "secrets = 'A': its value is not secret-name/key", "A = "),
        (
            {"secrets": {"A": "s/k"}, "env": {"A": "x"}},
            "env = 'A': is among the secrets, too",
            "keep one",
        ),
        ({"volumes": {"Data": "/mnt"}}, "volumes = 'Data': not a name", "lower-case"),
        ({"volumes": {"data": "mnt"}}, "volumes.data = 'mnt': not an absolute", "/mnt/data"),
        (
            {"volumes": {"a": "/mnt", "b": "/mnt"}},
            "volumes.b = '/mnt': mounted twice",
            "of its own",
        ),
        (
            {"volumes": {"a": SHARED_MEMORY}, "shm": GIB},
            "volumes.a = '/dev/shm': mounted twice",
            "of its own",
        ),
        (
            {"tolerations": (Toleration(operator="Is", key="a"),)},
            "tolerations = 'Is': not an operator",
            "Exists",
        ),
        (
            {"tolerations": (Toleration(key="a", effect="NoRun"),)},
            "tolerations = 'NoRun': not an effect",
            "NoSchedule",
        ),
        (
            {"tolerations": (Toleration(key="a", operator="Exists", value="b"),)},
            "Exists takes no value",
            "Equal",
        ),
        ({"tolerations": (Toleration(),)}, "Equal needs a key", "every taint"),
        ({"tolerations": (Toleration(key="a b"),)}, "not a taint's key", "nvidia.com/gpu"),
    ],
)
def test_what_could_not_become_a_pod_is_refused(
    wrong: dict[str, object], message: str, hint: str
) -> None:
    with pytest.raises(UserError) as error:
        Profile(name="big", **wrong)  # type: ignore[arg-type]  # wrong on purpose
    assert error.value.message.startswith("profile big: ")
    assert message in error.value.message
    assert hint in error.value.hint


def test_a_secret_written_in_place_of_its_reference_is_not_shown() -> None:
    with pytest.raises(UserError) as error:
        Profile(name="big", secrets={"TOKEN": "hunter2-hunter2"})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "image",
    [
        "python:3.11",
        "ghcr.io/a/b_c:V1",
        "localhost:5000/x",
        f"r.io/x{DIGEST}",
        f"r/x:1{DIGEST}",
    ],
)
def test_images_as_registries_name_them_are_taken(image: str) -> None:
    assert Profile(name="p", image=image).image == image
    assert is_pinned(image) == (DIGEST in image)


def test_a_run_asks_for_more_in_place_of_the_profiles_own() -> None:
    profile = Profile(name="small", gpu=1, memory=8 * GIB, cpu="2", image="a:1")
    assert override(profile) == profile
    asked = override(profile, gpu=0, memory=16 * GIB, cpu="500m", image="b:2")
    assert (asked.gpu, asked.memory, asked.cpu, asked.image) == (0, 16 * GIB, "500m", "b:2")
    assert asked.name == "small"
    with pytest.raises(UserError, match="cpu = 'many'"):
        override(profile, cpu="many")


def test_cost_is_the_price_of_an_hour_by_the_time() -> None:
    assert cost(Profile(name="p", price=1.2), 5400) == pytest.approx(1.8)
    assert cost(Profile(name="p"), 5400) == 0
    assert cost(Profile(name="p", price=1.2), -1) == 0


LARGE = Profile(name="gpu-large", gpu=1, memory=80 * GIB, price=4.0)
SMALL = Profile(name="gpu-small", gpu=1, memory=24 * GIB, price=1.2)
MIDDLE = Profile(name="gpu-middle", gpu=1, memory=40 * GIB, price=2.0)
NO_GPU = Profile(name="cpu", memory=16 * GIB, price=0.1)
SLICE = Profile(name="slice", gpu=1, gpu_resource="nvidia.com/mig-1g.10gb", memory=16 * GIB)


@pytest.mark.parametrize(
    ("used", "peak", "advice"),
    [
        (LARGE, 11 * GIB, "asked 80 GiB, used 11 GiB: profile gpu-small would do"),
        (LARGE, 30 * GIB, "asked 80 GiB, used 30 GiB: profile gpu-middle would do"),
        (LARGE, 60 * GIB, ""),
        (SMALL, 2 * GIB, "asked 24 GiB, used 2 GiB: --memory 3Gi would do"),
        (NO_GPU, 100 * 2**20, "asked 16 GiB, used 100 MiB: --memory 120Mi would do"),
        (LARGE, 0, ""),
        (Profile(name="open"), 11 * GIB, ""),
    ],
)
def test_advice_names_the_smallest_profile_that_would_do(
    used: Profile, peak: int, advice: str
) -> None:
    assert advise(used, peak, [LARGE, SMALL, MIDDLE, NO_GPU, SLICE]) == advice


@given(
    peak=st.integers(0, 200 * GIB),
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=6),
)
def test_a_profile_that_is_advised_holds_what_was_used(peak: int, sizes: list[int]) -> None:
    profiles = [Profile(name=f"p{n}", memory=size * GIB) for n, size in enumerate(sizes)]
    advice = advise(profiles[0], peak, profiles)
    for profile in profiles:
        if f"profile {profile.name} would" in advice:
            assert profile.memory is not None
            assert profiles[0].memory is not None
            assert peak <= profile.memory < profiles[0].memory


NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)


@given(
    gpu=st.integers(0, 8),
    memory=st.integers(1, 512),
    seconds=st.integers(1, 10**6),
    labels=st.dictionaries(NAMES, VALUES, max_size=3),
    secrets=st.dictionaries(
        st.from_regex(r"[A-Z_]{1,6}", fullmatch=True), st.tuples(NAMES, VALUES), max_size=3
    ),
    pull=st.lists(NAMES, max_size=2),
)
def test_a_profile_written_as_settings_is_read_back_the_same(
    gpu: int,
    memory: int,
    seconds: int,
    labels: dict[str, str],
    secrets: dict[str, tuple[str, str]],
    pull: list[str],
) -> None:
    profile = Profile(
        name="p",
        gpu=gpu,
        memory=memory * GIB,
        timeout=float(seconds),
        labels=labels,
        secrets={name: "/".join(reference) for name, reference in secrets.items()},
        pull_secrets=tuple(pull),
        tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists"),),
    )
    lines = [
        "[profiles.p]",
        f"gpu = {gpu}",
        f"memory = '{format_size(memory * GIB)}'",
        f"timeout = {seconds}",
        f"pull_secrets = {pull!r}",
        "tolerations = [{ key = 'nvidia.com/gpu', operator = 'Exists' }]",
        "[profiles.p.labels]",
        *(f"{name} = '{value}'" for name, value in labels.items()),
        "[profiles.p.secrets]",
        *(f"{name} = '{value}'" for name, value in profile.secrets.items()),
    ]
    settings = parse_settings("\n".join(lines), path="mlops.toml", default_name="x")
    assert settings.profile("p") == profile
