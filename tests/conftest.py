"""What every test folder shares."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

# No test asks a server outside of this machine for anything.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# Background jobs of a shell ignore Ctrl-C, those of nohup the terminal's end, and so would
# their children: what the tests start and stop by these.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write tests/golden anew instead of comparing",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, bytes], None]:
    """Compare bytes with a file of tests/golden, or write it with --update-golden."""
    folder = Path(__file__).parent / "golden"

    def check(name: str, content: bytes) -> None:
        path = folder / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        assert path.exists(), f"{path} is missing: run with --update-golden, read the diff"
        assert content.decode() == path.read_bytes().decode()

    return check


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow sqlite store; a copy of it saves each test the seconds of its making."""
    folder = tmp_path_factory.mktemp("store")
    path = folder / "mlflow.db"
    code = f"import mlflow; mlflow.MlflowClient('sqlite:///{path}').search_experiments()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=folder)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of a file; without one they are skipped, but not in CI."""
    from lab import FLAGS, chromium
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of nobody's, for one test."""
    from lab import MILLISECONDS

    context = browser.new_context(viewport={"width": 1180, "height": 900})
    context.set_default_timeout(MILLISECONDS)
    yield context.new_page()
    context.close()
