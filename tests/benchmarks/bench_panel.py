"""What the panel costs: JupyterLab's start with and without it, a click, a list of 10,000 runs.

    python tests/benchmarks/bench_panel.py [RUNS]

The panel is the one of `make panel`; the browser is Debian's Chromium, without a screen.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "ui"))
from bench_runs import fill
from lab import FLAGS, MILLISECONDS, Lab, chromium, served, write_notebook
from playwright.sync_api import Browser, Page, sync_playwright

WITHOUT = (
    "--ServerApp.jpserver_extensions={'mlops_nb': False}",
    "--LabApp.extra_labextensions_path=[]",
)
ROUNDS = 5


def shown(label: str, seconds: list[float]) -> None:
    middle = statistics.median(seconds)
    print(
        f"{label:<44} {middle:6.2f} s   ({min(seconds):.2f} to {max(seconds):.2f})", flush=True
    )


def start(folder: Path, *words: str) -> float:
    """Give how long JupyterLab takes to its first answer."""
    began = time.perf_counter()
    with served(folder / "work", folder / "home", *words):
        return time.perf_counter() - began


def opened(lab: Lab, browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1180, "height": 900}).new_page()
    page.set_default_timeout(MILLISECONDS)
    lab.open(page, "one.ipynb")
    page.evaluate("void jupyterapp.commands.execute('mlops-nb:open')")
    page.locator("#mlops-parameter-lr").wait_for()
    return page


def click(page: Page) -> float:
    """Give the time from a click on Run to the first cell that is told to run."""
    panel = page.locator("#mlops-nb-panel")
    panel.get_by_role("tab", name="Run", exact=True).click()
    panel.locator("#mlops-parameter-lr").wait_for()
    began = time.perf_counter()
    panel.locator("#mlops-view").get_by_role("button", name="Run", exact=True).click()
    panel.get_by_text("cell 1 of 2").or_(panel.get_by_text("cell 2 of 2")).wait_for()
    taken = time.perf_counter() - began
    panel.get_by_text("succeeded").wait_for()
    return taken


def listed(page: Page) -> float:
    """Give the time from a click on Runs to the first row of all runs."""
    panel = page.locator("#mlops-nb-panel")
    panel.get_by_role("tab", name="Runs").click()
    back = panel.get_by_role("button", name="← All runs")
    if back.count():
        back.click()
    panel.get_by_label("Whose runs").wait_for()
    panel.get_by_label("Whose runs").select_option("here")
    panel.locator(".mlops-RunRow").first.wait_for()
    began = time.perf_counter()
    panel.get_by_label("Whose runs").select_option("all")
    # Those of this notebook may still be drawn; the others come with the new list.
    panel.locator(".mlops-RunRow", has_text="churn-").first.wait_for()
    return time.perf_counter() - began


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "work").mkdir()
        write_notebook(folder / "work" / "one.ipynb", "lr = 0.1", "import time; time.sleep(1)")
        (folder / "home").mkdir()
        fill(folder / "work", runs)
        start(folder)
        pairs = [(start(folder), start(folder, *WITHOUT)) for _ in range(ROUNDS)]
        shown("JupyterLab's first answer, with the panel", [first for first, _ in pairs])
        shown("without its server extension", [second for _, second in pairs])
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        with served(folder / "work", folder / "home") as lab:
            page = opened(lab, browser)
            shown("click on Run to the first cell", [click(page) for _ in range(ROUNDS)])
            shown(
                f"list of {runs} runs to its first rows", [listed(page) for _ in range(ROUNDS)]
            )
            drawn = page.locator(".mlops-RunRow").count()
            print(f"{'rows drawn of them':<44} {drawn:6}")
        browser.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
