"""Importing this compiles every kernel, or loads it from the cache.  Floor 1.  For heap.warm."""

from pytest_memory.heap import bytescan, canary, columns, ephemerons, jumps, kernels, nesting, spreading, tallies

__all__ = ["bytescan", "canary", "columns", "ephemerons", "jumps", "kernels", "nesting", "spreading", "tallies"]
