"""The load engine: `plan` and `wire` are pure, `worker` drives them in a process of its own.

Importing this package loads nothing heavy; the names below come from their modules when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_memory.load.generator import LoadGenerator, LoadRun
    from pytest_memory.load.plan import Target
    from pytest_memory.load.progress import LoadProgress
    from pytest_memory.load.result import LoadResult

__all__ = ["LoadGenerator", "LoadProgress", "LoadResult", "LoadRun", "Target"]

_HOMES = {
    "LoadGenerator": "generator",
    "LoadProgress": "progress",
    "LoadRun": "generator",
    "LoadResult": "result",
    "Target": "plan",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
