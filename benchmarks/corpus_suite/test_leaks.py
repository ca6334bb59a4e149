"""The one test every corpus app gets: what a user writes for an endpoint, with nothing set that has a default.

`benchmarks/corpus.py` says by environment variables which app; the app's case.json says what is requested.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_memory.load import LoadGenerator
    from pytest_memory.monitor import MemoryMonitor

DIRECTORY = Path(os.environ["CORPUS_CASE"])
CASE = json.loads((DIRECTORY / "case.json").read_text(encoding="utf-8"))
APP_ENV = {name: os.environ[name] for name in ("VARIANT", "REDIS_PORT") if name in os.environ}


@pytest.mark.node_app(
    CASE.get("entry", "app.js"),
    cwd=str(DIRECTORY),
    env={"NODE_ENV": "production", **APP_ENV},
    node=os.environ.get("CORPUS_NODE"),
    ready="/health",
)
@pytest.mark.no_leaks
def test_app_does_not_leak(memory_monitor: MemoryMonitor, load_generator: LoadGenerator) -> None:
    load = CASE["load"]
    memory_monitor.leak_test(
        lambda: load_generator.run(
            CASE["endpoint"],
            method=CASE.get("method"),
            headers=CASE.get("headers"),
            json=CASE.get("body"),
            requests=load["requests"],
            concurrency=load["concurrency"],
        )
    )
