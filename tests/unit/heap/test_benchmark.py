"""What benchmarks/heap.py calls equal to the byte: the comparison of counts, without its peers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "heap.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip("benchmarks/ is not part of a source distribution")
    spec = importlib.util.spec_from_file_location("heap_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def runs(benchmark: ModuleType, **changed: dict[str, int]) -> dict[str, Any]:
    """A run of each that found the same; memlab, under its rules, 7 bytes less."""
    figures = {"nodes": 1000, "edges": 3000, "root_retained_bytes": 50_000}
    took = {"seconds": 1.0, "cpu_seconds": 1.0, "peak_rss_bytes": 1}
    own = {"ours": {}, "devtools": {}, "memlab": {"root_retained_bytes": 49_993}}
    return {who: benchmark.Run(**took, **{**figures, **own[who], **changed.get(who, {})}) for who in own}


def test_equal_counts_are_no_difference(benchmark: ModuleType) -> None:
    assert benchmark.differences_in_counts(runs(benchmark), 49_993) == []


@pytest.mark.parametrize(
    ("who", "field", "value", "said"),
    [
        ("devtools", "nodes", 999, "nodes: ours 1,000, devtools 999"),
        ("devtools", "edges", 3001, "edges: ours 3,000, devtools 3,001"),
        ("devtools", "root_retained_bytes", 1, "bytes retained by the root: ours 50,000, devtools 1"),
        ("memlab", "nodes", 1001, "nodes: ours 1,000, memlab 1,001"),
        ("memlab", "edges", 2999, "edges: ours 3,000, memlab 2,999"),
        ("memlab", "root_retained_bytes", 50_000, "bytes retained by the root: ours 49,993, memlab 50,000"),
    ],
)
def test_each_count_of_each_peer_is_compared(
    benchmark: ModuleType, who: str, field: str, value: int, said: str
) -> None:
    assert benchmark.differences_in_counts(runs(benchmark, **{who: {field: value}}), 49_993) == [said]
