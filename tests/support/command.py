"""Running the command line as a person does: a process of its own, with a deadline."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.apps import node_under_test

PACKAGE_ROOT = Path(__file__).parents[2]
APPS = Path(__file__).parents[1] / "apps"
COMMAND = (sys.executable, "-m", "pytest_memory")


def environment(**more: str) -> dict[str, str]:
    """Ours, without what would change the tool's defaults."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COLUMNS"))}
    return {**kept, "PYTHONPATH": str(PACKAGE_ROOT), **more}


def run_command(
    *arguments: str | Path,
    cwd: Path,
    stdin: str = "",
    timeout_s: float = 300.0,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """``pytest-memory ARGUMENTS``; both outputs as text."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment(**(env or {})),
        check=False,
    )


@dataclass(frozen=True)
class RunningApp:
    """An app that is not ours: how to reach it from outside."""

    pid: int
    url: str
    inspector: str

    def serves(self) -> bool:
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            return int(answer.status) == 200


@contextlib.contextmanager
def run_app(script: Path) -> Iterator[RunningApp]:
    """Start ``node --inspect script`` as anybody would, without this package, until the block ends."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    process = subprocess.Popen(
        [node_under_test(), "--inspect=127.0.0.1:0", str(script)],
        env=environment(PORT=str(port)),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        announced = re.search(r"ws://([^/]+)/", process.stderr.readline())
        assert announced is not None
        app = RunningApp(process.pid, f"http://127.0.0.1:{port}", announced[1])
        _wait_until_it_serves(app)
        yield app
    finally:
        process.kill()
        process.communicate()


def _wait_until_it_serves(app: RunningApp, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            assert app.serves()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
