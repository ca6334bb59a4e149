"""How large the report of a large session is, and how long it takes to write and to open.

    python benchmarks/report.py --tests 200 --samples 10000

The bars: at most 12 MB, and open (drawn, with the first test's charts) within 2 s.  Opening is measured in Chromium
through Playwright, each time in a page of its own, where both are installed; the median counts.  Exit status 1 when a
bar is missed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import result_factory

from pytest_memory.report import html

MAX_BYTES = 12_000_000
MAX_OPEN_S = 2.0
FIRST_CHART = "details[open] .js-plotly-plot .main-svg"


def open_times_s(path: Path, repeats: int) -> list[float]:
    """Seconds from the request for the page to its first chart; empty where there is no browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return []
    chromium = shutil.which("chromium")
    with sync_playwright() as playwright:
        if chromium is None and not Path(playwright.chromium.executable_path).exists():
            return []
        browser = playwright.chromium.launch(
            executable_path=chromium or playwright.chromium.executable_path,
            args=["--headless", "--no-sandbox", "--disable-gpu"],
        )
        times = []
        for _ in range(repeats):
            page = browser.new_page()
            began = time.perf_counter()
            page.goto(path.as_uri())
            page.locator(FIRST_CHART).first.wait_for()
            times.append(time.perf_counter() - began)
            page.close()
        browser.close()
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    document = result_factory.many(arguments.tests, arguments.samples)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "report.html"
        began = time.perf_counter()
        html.write_report(document, path)
        print(f"written in {time.perf_counter() - began:.1f} s, {path.stat().st_size / 1e6:.1f} MB (bar 12 MB)")
        missed = path.stat().st_size > MAX_BYTES
        if times := open_times_s(path, arguments.repeats):
            median = statistics.median(times)
            print(f"opened in {median:.2f} s, from {min(times):.2f} to {max(times):.2f} s (bar {MAX_OPEN_S:.0f} s)")
            missed = missed or median > MAX_OPEN_S
        else:
            print("not opened: no Chromium, or no playwright")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
