"""Memory regression testing of Node.js apps with pytest.

The names below are what the fixtures hand out, usable without pytest; each is loaded when it is first used, because
every pytest run of an environment imports this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_memory.cdp.client import InspectorClient
    from pytest_memory.heap import HeapSnapshot
    from pytest_memory.heap.profiler import MemoryProfiler
    from pytest_memory.leakrun import LeakResult
    from pytest_memory.load import LoadGenerator, LoadResult, Target
    from pytest_memory.monitor import MemoryMonitor
    from pytest_memory.node.process import NodeApp
    from pytest_memory.node.spec import AppSpec

__all__ = [
    "AppSpec",
    "HeapSnapshot",
    "InspectorClient",
    "LeakResult",
    "LoadGenerator",
    "LoadResult",
    "MemoryMonitor",
    "MemoryProfiler",
    "NodeApp",
    "Target",
]

_HOMES = {
    "AppSpec": "node.spec",
    "HeapSnapshot": "heap",
    "InspectorClient": "cdp.client",
    "LeakResult": "leakrun",
    "LoadGenerator": "load",
    "LoadResult": "load",
    "MemoryMonitor": "monitor",
    "MemoryProfiler": "heap.profiler",
    "NodeApp": "node.process",
    "Target": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
