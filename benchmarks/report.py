"""How large the report of a large session is, and how long it takes to write and to open.

    python benchmarks/report.py --tests 200 --samples 10000

The bars: at most 12 MB, and open (with the first test's charts drawn) within 2 s.  Opening is timed by the page itself
in Chromium, where it is installed, each time in a tab of its own; the median counts.  No inspector is attached
meanwhile, as no reader has one: with one, V8 parses plotly's 4.8 MB again for the place of every exception that is
thrown and caught in them.  Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from websocket import create_connection

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import result_factory

from pytest_memory.report import html

MAX_BYTES = 12_000_000
MAX_OPEN_S = 2.0
DRAWN = "(performance.getEntriesByName('pytest-memory-drawn')[0] || {}).startTime"
LOOK_EVERY_S = 3.0  # an inspector is attached for a moment then: seldom, so that it has no part in what it looks at
LATEST_S = 60.0


def open_times_s(path: Path, repeats: int) -> list[float]:
    """Seconds from the request for the page to its first test's charts; empty where there is no browser."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return []
    with tempfile.TemporaryDirectory() as profile:
        arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
            "--remote-allow-origins=*",
        ]
        command = [chromium, *arguments, f"--user-data-dir={profile}", "about:blank"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                port = debugging_port(Path(profile))
                return [open_time_s(path, f"http://127.0.0.1:{port}/json") for _ in range(repeats)]
            finally:
                browser.terminate()
                browser.wait(30)


def debugging_port(profile: Path) -> int:
    """The port Chromium chose, which it writes into its profile."""
    deadline = time.monotonic() + LATEST_S
    file = profile / "DevToolsActivePort"
    while not file.exists() or not file.read_text().strip():
        assert time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.1)
    return int(file.read_text().split()[0])


def open_time_s(path: Path, control: str) -> float:
    """Open the page in a new tab, let it be, and ask it afterwards."""
    tab = httpx.put(f"{control}/new?about:blank").json()
    ask(tab, "Page.navigate", url=path.as_uri())
    deadline = time.monotonic() + LATEST_S
    while True:
        time.sleep(LOOK_EVERY_S)
        drawn_ms = ask(tab, "Runtime.evaluate", expression=DRAWN)["result"].get("value")
        if drawn_ms is not None:
            break
        assert time.monotonic() < deadline, "no chart was drawn"
    httpx.get(f"{control}/close/{tab['id']}")
    return float(drawn_ms) / 1000


def ask(tab: dict[str, Any], method: str, **params: Any) -> dict[str, Any]:
    connection = create_connection(tab["webSocketDebuggerUrl"], timeout=LATEST_S)
    try:
        connection.send(json.dumps({"id": 1, "method": method, "params": params}))
        while (answer := json.loads(connection.recv())).get("id") != 1:
            pass
        return dict(answer["result"])
    finally:
        connection.close()


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
            print("not opened: no Chromium")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
