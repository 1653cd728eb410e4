"""A Docker engine for tests, and a base image where none can be pulled."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BASE_TAG = "mlops-nb-test-base"
_HOST = "DOCKER_HOST"
_START_SECONDS = 30.0
_PULL_SECONDS = 120.0
_PATH = "/usr/local/bin:/usr/bin:/bin"
_EXPECTED = ("dl", "gcc_s", "m", "nss_*", "pthread", "resolv", "rt", "stdc++", "util")


@contextmanager
def docker_engine(folder: Path) -> Iterator[Mapping[str, str]]:
    """Give the environment in which `docker` reaches an engine: one that answers, or our own.

    Skips the test where neither is to be had.
    """
    if sys.platform != "linux":
        pytest.skip("containers reach this machine's servers by its own network on Linux alone")
    if shutil.which("docker") is None:
        pytest.skip("no docker command: install Docker to test the image of pods")
    if _answers(os.environ):
        yield os.environ
        return
    dockerd = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if dockerd is None or os.getuid() != 0:
        pytest.skip("no Docker engine answers, and none can be started: dockerd, as root")
    with _own_engine(dockerd, folder) as environment:
        yield environment


def _answers(environment: Mapping[str, str]) -> bool:
    asked = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        env=environment, capture_output=True, check=False, timeout=30,
    )  # fmt: skip
    return asked.returncode == 0


@contextmanager
def _own_engine(dockerd: str, folder: Path) -> Iterator[Mapping[str, str]]:
    """Run an engine that keeps everything in a folder and leaves the host's network alone."""
    socket = folder / "docker.sock"
    # A client without the newer builder's plugin would refuse to build at all.
    environment = {**os.environ, _HOST: f"unix://{socket}", "DOCKER_BUILDKIT": "0"}
    # In a namespace of its own, so that no mount outlives it.
    words = ["unshare", "--mount", dockerd]
    words += ["--host", environment[_HOST], "--pidfile", str(folder / "docker.pid")]
    words += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    words += ["--bridge", "none", "--iptables=false", "--ip-forward=false"]
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(environment):
            if process.poll() is not None or time.monotonic() > deadline:
                told = (folder / "dockerd.log").read_text().splitlines()[-1:]
                pytest.skip(f"dockerd does not start here: {' '.join(told)}")
            time.sleep(0.2)
        yield environment
    finally:
        process.terminate()
        process.wait(60)
        # It is a gigabyte, and pytest would keep it.
        shutil.rmtree(folder / "data", ignore_errors=True)


def base_image(folder: Path, environment: Mapping[str, str]) -> tuple[str, bool]:
    """Give an image with this Python's version; tell whether it was made here, not pulled."""
    wanted = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    for ask in (["image", "inspect", wanted], ["pull", "--quiet", wanted]):
        try:
            found = subprocess.run(
                ["docker", *ask],
                env=environment, capture_output=True, check=False, timeout=_PULL_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            continue
        if found.returncode == 0:
            return wanted, False
    archive = folder / "base.tar"
    _archive_of_this_python(archive)
    subprocess.run(
        ["docker", "import", "--change", f"ENV PATH={_PATH}", archive, BASE_TAG],
        env=environment, capture_output=True, check=True,
    )  # fmt: skip
    return BASE_TAG, True


def _archive_of_this_python(path: Path) -> None:
    """Put the Python of this test, a shell, Git and what they load into an archive."""
    program = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    library = Path(sysconfig.get_path("stdlib"))
    modules = [
        file
        for file in library.rglob("*")
        if file.is_file()
        and not {"site-packages", "dist-packages", "test", "__pycache__"} & set(file.parts)
    ]
    called = (shutil.which(name) for name in ("sh", "git"))
    programs = [program, *(Path(found) for found in called if found)]
    loading = [*programs, *(file for file in modules if ".so" in file.suffixes)]
    with tarfile.open(path, "w") as archive:
        for file in {*programs, *modules, *_loaded(loading)}:
            archive.add(file.resolve(), arcname=str(file), filter=_readable)
        archive.addfile(_link("usr/local/bin/python", str(program)))
        if programs[1] != Path("/bin/sh"):
            archive.addfile(_link("bin/sh", str(programs[1])))
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(folder)
        users = b"root:x:0:0:root:/root:/bin/sh\n"
        listed = tarfile.TarInfo("etc/passwd")
        listed.size = len(users)
        archive.addfile(listed, io.BytesIO(users))


def _loaded(files: Iterable[Path]) -> set[Path]:
    """Give the shared libraries of files, with those that wheels expect of any Linux."""
    told = subprocess.run(
        ["ldd", *files], capture_output=True, text=True, check=False
    ).stdout  # fmt: skip
    found = {Path(name) for name in re.findall(r"(/\S+) \(0x", told)}
    folder = next(path.parent for path in found if path.name.startswith("libc.so"))
    return found | {file for name in _EXPECTED for file in folder.glob(f"lib{name}.so.*")}


def _readable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mode |= 0o555 if entry.mode & 0o100 else 0o444
    entry.uid = entry.gid = 0
    return entry


def _link(name: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry
