"""Heap snapshots: parse, graph, compare, paths, findings, capture."""
