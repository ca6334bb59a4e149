"""Heap snapshots: parse, graph, compare, paths, findings, capture.

Light to import: the analysis loads numpy and numba when a snapshot is first asked something.
"""

from pytest_memory.heap.analysis import HeapComparison, HeapSnapshot
from pytest_memory.heap.warm import stop_warming, warm_kernels

__all__ = ["HeapComparison", "HeapSnapshot", "stop_warming", "warm_kernels"]
