"""Is the measuring itself the leak?  What being watched does to an idle, healthy server.

One server that nobody uses is settled and read as often as in a leak test, with the sampler running beside it; its
twin is left alone and read twice only.  What the first gained over the second, in the second half of the time, is
ours: that is the half a leak test judges (in the first, what reading needs is compiled: some 5 KB).

    python benchmarks/observer_effect.py [--seconds 60] [--node PATH]

Exit status 1 when watching adds more than half of the 12 KB of heap that a leak test takes for nothing, or a handle, or
a descriptor.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_memory.judge.leak import RESOLUTION
from pytest_memory.model import SettledMemory
from pytest_memory.monitor import MemoryMonitor
from pytest_memory.node.process import NodeApp
from pytest_memory.node.spec import AppSpec
from pytest_memory.settle import settle_app

SERVER = """
const http = require('node:http');
http.createServer((request, response) => response.end('ok')).listen(Number(process.env.PORT), '127.0.0.1');
"""
ALLOWED_HEAP_BYTES = RESOLUTION["heap"] / 2.0


@dataclass(frozen=True)
class Drift:
    """What one server gained between its first and its last reading."""

    readings: int
    heap: int
    external: int
    native: int
    handles: int
    fds: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--node", default=shutil.which("node"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "server.js"
        script.write_text(SERVER, encoding="utf-8")
        spec = AppSpec(command=str(script), node=arguments.node, precise=True)
        watched = _watch(spec, arguments.seconds)
        alone = _leave_alone(spec, arguments.seconds)
    print(f"second half of {arguments.seconds:.0f} s idle: watched ({watched.readings} readings), left alone")
    for name in ("heap", "external", "native", "handles", "fds"):
        print(f"{name:10} gained {getattr(watched, name):>20,} {getattr(alone, name):>20,}")
    ours = watched.heap - alone.heap
    print(f"heap gained by watching: {ours:,} bytes (at most {ALLOWED_HEAP_BYTES:,.0f})")
    return int(ours > ALLOWED_HEAP_BYTES or watched.handles > alone.handles or watched.fds > alone.fds)


def _watch(spec: AppSpec, seconds: float) -> Drift:
    with NodeApp.start(spec) as app, MemoryMonitor(app) as monitor:
        readings = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            readings.append(monitor.settle())
            time.sleep(0.35)
        half = len(readings) // 2
        return _drift(readings[half], readings[-1], len(readings) - half)


def _leave_alone(spec: AppSpec, seconds: float) -> Drift:
    with NodeApp.start(spec) as app:
        for _ in range(5):
            first = settle_app(app)
        time.sleep(seconds / 2.0)
        return _drift(first, settle_app(app), 1)


def _drift(first: SettledMemory, last: SettledMemory, readings: int) -> Drift:
    return Drift(
        readings=readings,
        heap=last.heap_used_bytes - first.heap_used_bytes,
        external=last.external_bytes - first.external_bytes,
        native=last.native_bytes - first.native_bytes,
        handles=(last.handles or 0) - (first.handles or 0),
        fds=(last.fds or 0) - (first.fds or 0),
    )


if __name__ == "__main__":
    raise SystemExit(main())
