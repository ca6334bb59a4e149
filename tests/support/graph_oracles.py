"""Slow, plainly right answers to what heap.kernels computes.  Graphs are lists of successor lists, root 0."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

Graph = Sequence[Sequence[int]]


def reachable(graph: Graph, start: int = 0, without: int | None = None) -> set[int]:
    """All nodes on ways from ``start`` that avoid ``without``."""
    if start == without:
        return set()
    seen, waiting = {start}, [start]
    while waiting:
        for target in graph[waiting.pop()]:
            if target not in seen and target != without:
                seen.add(target)
                waiting.append(target)
    return seen


def dominator_sets(graph: Graph) -> dict[int, set[int]]:
    """For every reachable node the nodes that dominate it, itself included: those without which it is lost."""
    everything = reachable(graph)
    dominated_by: dict[int, set[int]] = {node: {node} for node in everything}
    for candidate in everything:
        for lost in everything - reachable(graph, without=candidate):
            dominated_by[lost].add(candidate)
    return dominated_by


def immediate_dominators(graph: Graph) -> dict[int, int]:
    """The closest strict dominator of every reachable node; the root's is the root."""
    sets = dominator_sets(graph)
    result = {0: 0}
    for node, dominators in sets.items():
        strict = dominators - {node}
        if strict:
            # Dominators form a chain: the closest one has the most dominators itself.
            result[node] = max(strict, key=lambda other: len(sets[other]))
    return result


def retained_sizes(graph: Graph, sizes: Sequence[int]) -> dict[int, int]:
    """What is lost with each node: the sum over everything it dominates."""
    sets = dominator_sets(graph)
    return {node: sum(sizes[other] for other in sets if node in sets[other]) for node in sets}


def distances(graph: Graph, starts: Sequence[int]) -> dict[int, int]:
    """Steps from the nearest start, which is at 1."""
    found = dict.fromkeys(starts, 1)
    queue = deque(found)
    while queue:
        node = queue.popleft()
        for target in graph[node]:
            if target not in found:
                found[target] = found[node] + 1
                queue.append(target)
    return found
