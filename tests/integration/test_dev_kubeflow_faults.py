"""The stand-in for Kubeflow fails on demand: requests, connections, states."""

import json
import time
import urllib.error
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest
from test_dev_kubeflow import Rehearsal, rehearsal, three

RUNS = "/apis/v2beta1/runs"


def ask(r: Rehearsal, fault: dict[str, Any]) -> None:
    assert r.post("/dev/faults", fault) == (200, "{}")


@pytest.mark.parametrize(
    ("status", "code"), [(401, 16), (403, 7), (404, 5), (500, 13), (503, 14)]
)
def test_a_status_as_often_as_asked(tmp_path: Path, status: int, code: int) -> None:
    with rehearsal(tmp_path) as r:
        ask(r, {"match": f"GET {RUNS}", "status": status, "times": 2})
        for _ in range(2):
            with pytest.raises(kfp_server_api.ApiException) as failed:
                r.client.list_runs()
            assert failed.value.status == status
            assert json.loads(failed.value.body)["code"] == code
        assert r.client.list_runs().runs is None


def test_what_is_below_a_path_is_meant_too_but_no_other_method(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run_id = r.submit(three)
        ask(r, {"match": f"GET {RUNS}", "status": 500})
        assert r.get(f"{RUNS}/{run_id}")[0] == 500
        ask(r, {"match": f"POST {RUNS}/*:archive", "status": 500})
        assert r.get(f"{RUNS}/{run_id}")[0] == 200
        assert r.post(f"{RUNS}/{run_id}:archive")[0] == 500
        assert r.post(f"{RUNS}/{run_id}:archive")[0] == 200


def test_slow(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        ask(r, {"match": f"GET {RUNS}", "slow": 0.5})
        began = time.monotonic()
        assert r.client.list_runs().runs is None
        assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("after", [False, True])
def test_a_lost_answer_with_the_work_done_or_not(tmp_path: Path, after: bool) -> None:
    with rehearsal(tmp_path) as r:
        ask(r, {"match": "POST /apis/v2beta1/experiments", "drop": True, "after": after})
        with pytest.raises((RemoteDisconnected, urllib.error.URLError, ConnectionError)):
            r.post("/apis/v2beta1/experiments", {"display_name": "churn"})
        names = [e.display_name for e in r.client.list_experiments().experiments]
        assert ("churn" in names) is after


def test_a_state_that_nobody_knows(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        run_id = r.finish(three).run_id
        ask(r, {"match": f"GET {RUNS}", "state": "BOGUS"})
        body = json.loads(r.get(f"{RUNS}/{run_id}")[1])
        assert body["state"] == "BOGUS"
        assert r.client.get_run(run_id).state == "SUCCEEDED"


def test_faults_are_listed_and_cleared(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as r:
        ask(r, {"match": f"GET {RUNS}", "status": 500, "times": 9})
        r.post("/dev/pods", {"task": "a*", "oom": True})
        listed = json.loads(r.get("/dev/faults")[1])
        assert listed == {
            "requests": [{"match": f"GET {RUNS}", "status": 500, "times": 9}],
            "pods": [{"task": "a*", "oom": True, "times": 1}],
        }
        assert r.get("/dev/faults", "DELETE")[0] == 200
        assert r.client.list_runs().runs is None


@pytest.mark.parametrize(
    ("path", "fault", "words"),
    [
        ("/dev/faults", {"match": "GET /"}, "needs one of"),
        ("/dev/faults", {"status": 500}, "with match"),
        ("/dev/faults", {"match": "GET /", "status": 500, "times": 0}, "times is 0"),
        ("/dev/faults", {"match": "GET /", "colour": 1}, "no colour"),
        ("/dev/pods", {"task": "x"}, "needs one of"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(
    tmp_path: Path, path: str, fault: dict[str, Any], words: str
) -> None:
    with rehearsal(tmp_path) as r:
        status, text = r.post(path, fault)
        assert status == 400
        assert words in json.loads(text)["message"]
        assert r.client.list_runs().runs is None
