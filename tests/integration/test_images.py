"""What the port of image registries promises: of a real registry, and of the fake."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from fake_images import FakeImages
from scripted_server import says, scripted
from shell import free_port

from mlops_nb.adapters.images import OciImages
from mlops_nb.errors import BackendError, BackendUnavailable, NotAllowed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.ports import Images

UNPACKED = Path(__file__).parents[2] / ".venv" / "registry" / "usr" / "bin" / "docker-registry"
PROGRAM = shutil.which("docker-registry") or (str(UNPACKED) if UNPACKED.exists() else "")
USER, PASSWORD = "ann", "secret-of-ann"
HASHED = "ann:$2b$05$Ztmsk6tvNDizuTfT3qVgi.tvdfqXF5K.W4SPO06eB73K/MSeYnf/.\n"
GONE = "sha256:" + "0" * 64

pytestmark = pytest.mark.skipif(
    not PROGRAM, reason="there is no docker-registry here: `.ci/setup test` gets it"
)


@contextmanager
def registry(folder: Path, *, login: bool = False) -> Iterator[str]:
    """Run a registry; give its host and port."""
    port = free_port()
    (folder / "htpasswd").write_text(HASHED)
    auth = {"htpasswd": {"realm": "images", "path": str(folder / "htpasswd")}}
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **({"auth": auth} if login else {}),
    }
    path = folder / "config.yml"
    path.write_text(json.dumps(config))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(path)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/v2/", timeout=1)
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def push(host: str, name: str) -> str:
    """Put the smallest image into a registry, as the distribution specification says."""
    auth = (USER, PASSWORD)

    def blob(content: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        began = requests.post(f"http://{host}/v2/{name}/blobs/uploads/", auth=auth, timeout=5)
        where = began.headers["Location"]
        done = requests.put(
            where, params={"digest": digest}, data=content, auth=auth, timeout=5
        )
        assert done.status_code == 201, done.text
        return {"digest": digest, "size": len(content)}

    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", **blob(b"{}")},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", **blob(b"layer")}],
    }
    done = requests.put(
        f"http://{host}/v2/{name}/manifests/latest",
        data=json.dumps(manifest),
        headers={"Content-Type": str(manifest["mediaType"])},
        auth=auth,
        timeout=5,
    )
    assert done.status_code == 201, done.text
    return f"{host}/{name}@{done.headers['Docker-Content-Digest']}"


@pytest.fixture(params=["oci", "fake"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Images, str]]:
    if request.param == "fake":
        image = "reg.example.com/ml/serve@sha256:" + "a" * 64
        yield FakeImages(gone={f"{image.partition('@')[0]}@{GONE}"}), image
        return
    with registry(tmp_path) as host:
        yield OciImages(), push(host, "ml/serve")


def test_an_image_is_there_or_not(world: tuple[Images, str]) -> None:
    images, image = world
    assert images.has(image)
    assert not images.has(f"{image.partition('@')[0]}@{GONE}")


@pytest.mark.parametrize("kind", ["oci", "fake"])
def test_a_registry_that_is_away_is_no_answer(kind: str) -> None:
    images: Images = OciImages() if kind == "oci" else FakeImages(is_down=True)
    with pytest.raises(BackendUnavailable, match="does not answer"):
        images.has(f"127.0.0.1:{free_port()}/ml/serve@{GONE}")


def test_a_registry_with_a_login_is_asked_with_dockers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".docker").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    with registry(tmp_path, login=True) as host:
        image = push(host, "ml/serve")
        with pytest.raises(NotAllowed, match="does not show ml/serve to this login") as error:
            OciImages().has(image)
        assert error.value.hint == f"log in: docker login {host}"
        told = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        config = home / ".docker" / "config.json"
        config.write_text(json.dumps({"auths": {host: {"auth": told}}}))
        assert OciImages().has(image)
        assert not OciImages().has(f"{host}/ml/serve@{GONE}")
        wrong = b64encode(f"{USER}:other".encode()).decode()
        config.write_text(json.dumps({"auths": {host: {"auth": wrong}}}))
        with pytest.raises(NotAllowed):
            OciImages().has(image)


def test_what_is_no_registry_is_no_answer_either(tmp_path: Path) -> None:
    with scripted(otherwise=says({}, status=501)) as (url, _):
        host = url.removeprefix("http://")
        with pytest.raises(BackendError, match="answers 501"):
            OciImages().has(f"{host}/ml/serve@{GONE}")
