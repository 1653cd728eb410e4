"""Every part is tried, none keeps the others from being told of."""

from __future__ import annotations

import subprocess
import sys
import threading

from mlops_nb.errors import BackendUnavailable
from mlops_nb.flows.doctor import doctor


def down() -> str:
    raise BackendUnavailable("http://h does not answer", hint="start it")


def denied() -> str:
    raise PermissionError(13, "Permission denied", "/var/mlops")


def test_each_part_is_told_with_what_was_found_and_how_to_mend_it() -> None:
    hang = threading.Event()
    parts = {
        "slow": lambda: str(hang.wait(60)),
        "settings": lambda: "mlops.toml",
        "tracking": down,
        "folder": denied,
    }
    diagnosis = doctor(parts, timeout=0.5)
    hang.set()
    found = {probe.name: probe for probe in diagnosis.probes}
    assert list(found) == list(parts)
    assert not diagnosis.healthy
    assert (found["settings"].ok, found["settings"].detail) == (True, "mlops.toml")
    assert found["slow"].detail == "no answer within 0.5 s"
    assert "--timeout" in found["slow"].hint
    assert (found["tracking"].ok, found["tracking"].hint) == (False, "start it")
    assert "/var/mlops" in found["folder"].detail


def test_some_parts_may_take_longer_than_the_others() -> None:
    hang = threading.Event()
    parts = {"pod": lambda: str(hang.wait(0.3)), "tracking": lambda: str(hang.wait(30))}
    pod, tracking = doctor(parts, timeout=0.1, patience={"pod": 30}).probes
    hang.set()
    assert (pod.ok, tracking.ok) == (True, False)


def test_all_well_is_healthy() -> None:
    assert doctor({"one": lambda: "1"}, timeout=30).healthy
    assert doctor({}, timeout=30).healthy


def test_a_part_that_never_answers_does_not_keep_the_process_alive() -> None:
    code = (
        "import threading\nfrom mlops_nb.flows.doctor import doctor\n"
        "found = doctor({'never': lambda: str(threading.Event().wait())}, timeout=0.1)\n"
        "print(found.probes[0].detail)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "no answer within 0.1 s\n"
