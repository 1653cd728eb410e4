"""Data from real files, a real web server and a real S3 API."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from mlops_nb.adapters.data import stage
from mlops_nb.core.data import DataSource
from mlops_nb.errors import BackendError, BackendUnavailable, NotAllowed, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = b"age,income\n31,52000\n"
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
BIG = 50 * 2**20


class _Server(BaseHTTPRequestHandler):
    requests: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.requests.append(self.path)
        if path == "/private.csv" and "Authorization" not in self.headers:
            return self.send_error(401)
        if path.startswith("/status/"):
            return self.send_error(int(path.rpartition("/")[2]))
        if path in {"/big.bin", "/cut.bin"}:
            self.send_response(200)
            self.send_header("Content-Length", str(BIG))
            self.end_headers()
            blocks = 50 if path == "/big.bin" else 3
            for _ in range(blocks if with_body else 0):
                self.wfile.write(bytes(2**20))
            self.close_connection = True
            return None
        if path not in {"/train.csv", "/private.csv", "/two%20words.csv"}:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if with_body:
            self.wfile.write(CONTENT)
        return None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        return


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    requests: list[str] = []
    handler = type("Handler", (_Server,), {"requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def s3(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="lake")
    return client


def staged(uri: str, tmp_path: Path, name: str = "data") -> tuple[Path, Any]:
    return stage(DataSource(name=name, uri=uri), tmp_path / "staged", base=tmp_path)


@pytest.mark.parametrize(
    "form", ["{name}", "./{name}", "{path}", "{uri}", "file://localhost{path}"]
)
def test_a_local_file_is_used_where_it_lies(tmp_path: Path, form: str) -> None:
    file = tmp_path / "Größe train.csv"
    file.write_bytes(CONTENT)
    uri = form.format(name=file.name, path=file, uri=file.as_uri())

    path, dataset = staged(uri, tmp_path)

    assert path == file
    assert (dataset.name, dataset.uri) == ("data", file.as_uri())
    assert (dataset.digest, dataset.size) == (DIGEST, len(CONTENT))
    assert not (tmp_path / "staged").exists()


def _tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.csv", b'age,note\n31,x\n32,"two\nlines ""q"""\n\n', 2),
        ("a.CSV", b"", 0),
        ("a.jsonl", b'{"a": 1}\n{"a": 2}', 2),
        ("a.parquet", b"no parquet", None),
        ("a.bin", b"1\n2\n", None),
    ],
)
def test_rows_are_counted_where_the_format_tells(
    tmp_path: Path, name: str, content: bytes, rows: int | None
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_bytes(content)
    for uri in (f"d/{name}", "d"):
        _, found = stage(DataSource(name="t", uri=uri), tmp_path, base=tmp_path)
        assert found.rows == rows


def test_the_rows_of_a_parquet_file_are_those_it_names(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"a": range(7)}).to_parquet(tmp_path / "t.parquet")
    _, found = stage(DataSource(name="t", uri="t.parquet"), tmp_path, base=tmp_path)
    assert found.rows == 7


def test_a_folder_has_the_digest_of_all_that_is_in_it(tmp_path: Path) -> None:
    files = {"a.csv": b"1", "deep/b.csv": b"22"}
    _, first = staged(str(_tree(tmp_path / "one", files)), tmp_path)
    _, same = staged(str(_tree(tmp_path / "two", dict(reversed(files.items())))), tmp_path)
    _, changed = staged(str(_tree(tmp_path / "three", {**files, "a.csv": b"2"})), tmp_path)
    _, renamed = staged(
        str(_tree(tmp_path / "four", {"a.csv": b"1", "deep/c.csv": b"22"})), tmp_path
    )

    assert first.size == 3
    assert first.digest == same.digest
    assert len({first.digest, changed.digest, renamed.digest}) == 3


def test_linked_folders_count_but_do_not_go_in_circles(tmp_path: Path) -> None:
    outside = _tree(tmp_path / "outside", {"x.csv": b"1"})
    folder = _tree(tmp_path / "data", {"a.csv": b"1"})
    (folder / "link").symlink_to(outside)
    (folder / "circle").symlink_to(folder)
    _, before = staged(str(folder), tmp_path)
    (outside / "x.csv").write_bytes(b"2")

    _, after = staged(str(folder), tmp_path)

    assert before.size == 2
    assert before.digest != after.digest


def test_a_missing_file_is_named_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "train.csv").touch()

    with pytest.raises(UserError, match=r"data is not there: .*tarin\.csv") as caught:
        staged("tarin.csv", tmp_path)

    assert "train.csv" in caught.value.hint


@pytest.mark.parametrize("uri", ["", "ftp://host/x.csv", "file://other/x.csv", "gs://b/x"])
def test_an_address_that_cannot_be_read_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UserError, match="data"):
        staged(uri, tmp_path)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    folder = _tree(tmp_path / "data", {"a.csv": b"1"})
    (folder / "gone.csv").symlink_to("nowhere")

    with pytest.raises(UserError, match="leads nowhere"):
        staged("data", tmp_path)


def test_a_web_file_is_loaded_once(tmp_path: Path, web: tuple[str, list[str]]) -> None:
    host, requests = web

    path, dataset = staged(f"http://{host}/train.csv", tmp_path)
    first = len(requests)
    again, repeated = staged(f"http://{host}/train.csv", tmp_path)

    assert path == again == tmp_path / "staged/data/train.csv"
    assert path.read_bytes() == CONTENT
    assert dataset == repeated
    assert (dataset.digest, dataset.size) == (DIGEST, len(CONTENT))
    assert len(requests) == first


@pytest.mark.parametrize("written", ["two%20words.csv", "two words.csv"])
def test_a_web_address_may_be_quoted_or_not(
    tmp_path: Path, web: tuple[str, list[str]], written: str
) -> None:
    path, _ = staged(f"http://{web[0]}/{written}", tmp_path)

    assert path.name == "two words.csv"


def test_credentials_in_an_address_are_used_but_not_recorded(
    tmp_path: Path, web: tuple[str, list[str]]
) -> None:
    host, requests = web
    query = "X-Amz-Signature=5ecret5ignature&X-Amz-Credential=AK%2F1"

    _, dataset = staged(f"http://ann:pa55word@{host}/private.csv?{query}", tmp_path)

    assert dataset.digest == DIGEST
    assert dataset.uri == f"http://{host}/private.csv"
    assert any("X-Amz-Signature=5ecret5ignature" in request for request in requests)


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("missing.csv", UserError, "is not there"),
        ("private.csv", NotAllowed, "HTTP 401"),
        ("status/403", NotAllowed, "HTTP 403"),
        ("status/503", BackendUnavailable, "HTTP 503"),
        ("status/500", BackendError, "HTTP 500"),
        ("cut.bin", BackendUnavailable, "cut.bin"),
    ],
)
def test_what_the_web_server_refuses_is_told_without_credentials(
    tmp_path: Path, web: tuple[str, list[str]], path: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        staged(f"http://{web[0]}/{path}?X-Amz-Signature=5ecret5ignature", tmp_path)

    assert "the data data at http://" in str(caught.value)
    assert "5ecret5ignature" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert [p for p in tmp_path.rglob("*") if p.is_file() and not p.name.startswith(".")] == []


def test_a_server_that_is_not_there_can_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="does not answer"):
        staged("http://127.0.0.1:9/train.csv", tmp_path)


def test_what_an_interrupted_staging_left_is_replaced(
    tmp_path: Path, web: tuple[str, list[str]]
) -> None:
    left = tmp_path / "staged/data/.train.csv.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"age,inc")

    path, dataset = staged(f"http://{web[0]}/train.csv", tmp_path)

    assert path.read_bytes() == CONTENT
    assert dataset.digest == DIGEST
    assert not left.exists()


def test_what_is_loaded_is_told(tmp_path: Path, web: tuple[str, list[str]]) -> None:
    told: list[str] = []
    source = DataSource(name="train", uri=f"http://ann:pa55word@{web[0]}/train.csv")

    stage(source, tmp_path, base=tmp_path, tell=told.append)

    assert told == [f"loading train from http://{web[0]}/train.csv"]


_MEASURE = """
import resource, sys
from pathlib import Path
from mlops_nb.adapters.data import stage
from mlops_nb.core.data import DataSource
small, big, folder = sys.argv[1:]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stage(DataSource(name="small", uri=small), Path(folder), base=Path(folder))
before = peak()
_, dataset = stage(DataSource(name="big", uri=big), Path(folder), base=Path(folder))
print(dataset.size, (peak() - before) * (1 if sys.platform == "darwin" else 1024))
"""


def _growth(small: str, big: str, folder: Path) -> tuple[int, int]:
    """Give the size of the big data, and how many bytes more its staging took."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, small, big, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    size, growth = done.stdout.split()
    return int(size), int(growth)


def test_a_large_web_file_is_not_held_in_memory(
    tmp_path: Path, web: tuple[str, list[str]]
) -> None:
    size, growth = _growth(f"http://{web[0]}/train.csv", f"http://{web[0]}/big.bin", tmp_path)

    assert size == BIG
    assert growth < 30 * 2**20


def test_a_large_object_is_not_held_in_memory(tmp_path: Path, s3: Any) -> None:
    s3.put_object(Bucket="lake", Key="small.bin", Body=b"1")
    s3.put_object(Bucket="lake", Key="big.bin", Body=bytes(BIG))

    size, growth = _growth("s3://lake/small.bin", "s3://lake/big.bin", tmp_path)

    assert size == BIG
    assert growth < 30 * 2**20


def test_an_object_is_loaded(tmp_path: Path, s3: Any) -> None:
    s3.put_object(Bucket="lake", Key="raw/größe 1.csv", Body=CONTENT)

    path, dataset = staged("s3://lake/raw/größe 1.csv", tmp_path)

    assert path == tmp_path / "staged/data/größe 1.csv"
    assert path.read_bytes() == CONTENT
    assert (dataset.uri, dataset.digest) == ("s3://lake/raw/größe 1.csv", DIGEST)


@pytest.mark.parametrize("uri", ["s3://lake/parts", "s3://lake/parts/"])
def test_a_prefix_is_loaded_as_the_folder_it_is(tmp_path: Path, s3: Any, uri: str) -> None:
    files = {"a.csv": b"1", "deep/b.csv": b"22"}
    for name, content in files.items():
        s3.put_object(Bucket="lake", Key=f"parts/{name}", Body=content)
    s3.put_object(Bucket="lake", Key="parts/", Body=b"")
    s3.put_object(Bucket="lake", Key="parts-of-another/c.csv", Body=b"3")
    _, local = staged(str(_tree(tmp_path / "local", files)), tmp_path)

    path, dataset = staged(uri, tmp_path)

    assert path == tmp_path / "staged/data/parts"
    assert (path / "deep/b.csv").read_bytes() == b"22"
    assert (dataset.digest, dataset.size) == (local.digest, 3)


def test_a_changed_object_has_another_digest(tmp_path: Path, s3: Any) -> None:
    s3.put_object(Bucket="lake", Key="moving.csv", Body=b"1")
    _, before = staged("s3://lake/moving.csv", tmp_path, "one")
    s3.put_object(Bucket="lake", Key="moving.csv", Body=b"2")

    _, after = staged("s3://lake/moving.csv", tmp_path, "two")

    assert before.digest != after.digest


def test_an_object_cannot_leave_its_folder(tmp_path: Path, s3: Any) -> None:
    s3.put_object(Bucket="lake", Key="evil/../../../escaped.csv", Body=b"1")

    with pytest.raises((UserError, BackendError)):
        staged("s3://lake/evil", tmp_path)

    assert not list(tmp_path.rglob("escaped.csv"))


@pytest.mark.parametrize("uri", ["s3://lake/none.csv", "s3://no-such-bucket-here/x.csv"])
def test_a_missing_object_is_named(tmp_path: Path, s3: Any, uri: str) -> None:
    with pytest.raises(UserError, match=f"the data data at {uri} is not there"):
        staged(uri, tmp_path)


def test_credentials_in_an_object_address_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="credentials in its address") as caught:
        staged("s3://AKIA123:pa55word@lake/x.csv", tmp_path)

    assert "pa55word" not in str(caught.value)


def test_an_s3_server_that_is_not_there_can_be_tried_again(
    tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(BackendUnavailable, match=r"s3://lake/x\.csv does not answer"):
        staged("s3://lake/x.csv", tmp_path)


def test_without_credentials_the_way_to_give_them_is_told(
    tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(NotAllowed, match="refused") as caught:
        staged("s3://lake/x.csv", tmp_path)

    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
