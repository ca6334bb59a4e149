"""Who keeps an object alive: shortest ways from the root, folded to what a programmer wrote, grouped.  Floor 3.

A way follows distances (steps from the global object) downwards, so it is a shortest one and cannot run in
circles.  V8's own nodes in between (hash tables, element stores, contexts) are folded into the reference:
``sessions : Map → table[12] → Session`` instead of ``Map → table → (array) → 12 → Session``.  A step repeated
along a chain is written once, with a star: ``next* : Link``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.graph import HeapGraph
from pytest_memory.heap.marks import NO_DISTANCE
from pytest_memory.heap.names import printable, reference, without_indexes
from pytest_memory.model import RetainerPath
from pytest_memory.values import check_not_negative

Int64s = NDArray[np.int64]

MAX_STEPS = 60
"""Longer ways are cut in the middle: a linked list of a million nodes has a way of a million steps."""
SAMPLE = 500
"""Objects looked at: enough to rank ways, few enough to answer in milliseconds."""
MAX_WALKED = 10_000
"""Steps walked for one question, half a second: down a long chain, a few objects must do."""
_MAX_WALK = 5_000
_NO_START, _CUT = -1, -2
_DICTIONARY_EDGES = 64
"""A plain object with more properties than this is used as a dictionary: its keys are indexes, not names."""
_FOLDED_TYPES = ("hidden", "array", "object shape", "code")
_GLOBAL_NAMES = ("global", "Window")
_TIMER_STORES = ("timerListMap", "timerListQueue", "immediateQueue")
"""Where lib/internal/timers.js keeps what is to be called; reached through whichever of its functions is nearest."""


def retainer_paths(
    graph: HeapGraph, ords: Int64s | Iterable[int], *, limit: int = 5, sample: int = SAMPLE
) -> tuple[RetainerPath, ...]:
    """The commonest ways to some objects, each with how many of them it leads to.

    With more than ``sample`` objects, or very long ways, an even sample is looked at and counts are scaled up to all
    of them.
    """
    check_not_negative(limit, "limit")
    chosen = np.asarray(list(ords) if not isinstance(ords, np.ndarray) else ords, np.int64)
    if not len(chosen):
        return ()
    looked_at = chosen[np.linspace(0, len(chosen) - 1, min(sample, len(chosen)), dtype=np.int64)]
    known: dict[int, tuple[int, int]] = {}
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    examples: dict[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = {}
    walked = seen = 0
    # Shuffled, always alike: where the walking ends early, what was looked at is still an even sample.
    for node in np.random.default_rng(0).permutation(looked_at):
        if walked >= MAX_WALKED:
            break
        way = _walk_up(graph, int(node), known)
        walked, seen = walked + len(way), seen + 1
        steps = _written(graph, way)
        key = tuple((without_indexes(edge), name) for edge, name in steps)
        groups.setdefault(key, []).append(int(node))
        examples.setdefault(key, steps)
    scale = len(chosen) / seen
    # What one retains within another is counted once, and a sample never stands for more than all of them retain.
    most_bytes = graph.retained_together(chosen)
    found = [
        RetainerPath(
            steps=examples[key] if len(nodes) == 1 else key,
            count=round(len(nodes) * scale),
            retained_bytes=min(most_bytes, round(graph.retained_together(np.array(nodes)) * scale)),
        )
        for key, nodes in groups.items()
    ]
    found.sort(key=lambda path: (-path.count, -path.retained_bytes, path.steps))
    return tuple(found[:limit])


def path_steps(graph: HeapGraph, node: int) -> tuple[tuple[str, str], ...]:
    """The shortest way to one object, root first: (reference, class) pairs."""
    return _written(graph, _walk_up(graph, node, {}))


def _written(graph: HeapGraph, way: list[tuple[int, int]]) -> tuple[tuple[str, str], ...]:
    steps = _join_repeated(_from_timers(_fold(graph, way)))
    if len(steps) > MAX_STEPS:
        half = MAX_STEPS // 2
        left_out = len(steps) - 2 * half
        steps = [*steps[:half], (f"… {left_out:,} more …", ""), *steps[-half:]]
    return tuple(steps)


def _from_timers(steps: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The way without its beginning in the runtime, ``(global) → clearInterval() → timerListMap``, where it has one."""
    if steps and steps[0][1] == "(global)":
        for at, (edge, _) in enumerate(steps[:4]):
            if edge in _TIMER_STORES:
                return [("", "(timers)"), *steps[at + 1 :]]
    return steps


def _join_repeated(steps: list[tuple[str, str]]) -> list[tuple[str, str]]:
    joined: list[tuple[str, str]] = []
    for edge, name in steps:
        last = joined[-1] if joined else ("", "")
        if edge and last[1] == name and last[0] in (edge, edge + "*"):
            joined[-1] = (edge + "*", name)
        else:
            joined.append((edge, name))
    return joined


def _walk_up(graph: HeapGraph, node: int, known: dict[int, tuple[int, int]]) -> list[tuple[int, int]]:
    """(edge, node) pairs from the root down; the edge of the first is _NO_START when the way has no visible start,
    _CUT when it is longer than what is walked.  ``known`` keeps the step up from each node that was on a way."""
    way: list[tuple[int, int]] = []
    while node != graph.root:
        if len(way) >= _MAX_WALK:
            way.append((_CUT, node))
            break
        step = known.get(node)
        if step is None:
            step = known[node] = _step_up(graph, node)
        edge, holder = step
        way.append((edge, node))
        if edge < 0:
            break
        node = holder
    way.reverse()
    return way


def _step_up(graph: HeapGraph, node: int) -> tuple[int, int]:
    """The reference from the holder nearest to the root, and that holder; (_NO_START, -1) when there is none."""
    first, retainer_edge, retainer_from = graph.retainers
    distances, flags = graph.distances, graph.edge_flags
    row = slice(int(first[node]), int(first[node + 1]))
    edges, sources = retainer_edge[row], retainer_from[row]
    counted = (flags[edges] != 0) & (distances[sources] != NO_DISTANCE) & (distances[sources] < distances[node])
    from_root = (sources == graph.root) & (flags[edges] != 0)
    best = np.flatnonzero(from_root if from_root.any() else counted)
    if not len(best):
        return _NO_START, -1
    at = int(best[np.argmin(distances[sources[best]])])
    return int(edges[at]), int(sources[at])


def _fold(graph: HeapGraph, way: list[tuple[int, int]]) -> list[tuple[str, str]]:
    snapshot = graph.snapshot
    folded_types = {snapshot.node_type_code(name) for name in _FOLDED_TYPES}
    steps: list[tuple[str, str]] = []
    pending = ""
    for at, (edge, node) in enumerate(way):
        if edge == _CUT:
            steps.append(("… more …", ""))
        text = _edge_text(graph, way[at - 1][1] if at else graph.root, edge)
        is_context = snapshot.strings[int(snapshot.node_name[node])].startswith("system / Context")
        is_last = at == len(way) - 1
        if (int(snapshot.node_type[node]) in folded_types or is_context) and not is_last:
            pending = "" if is_context else pending + text
            continue
        joined = text if pending == "" or not text.startswith("[") else pending + text
        pending = ""
        steps.append((joined, node_label(graph, node)))
    return steps


def _edge_text(graph: HeapGraph, owner: int, edge: int) -> str:
    if edge < 0:
        return ""
    snapshot = graph.snapshot
    kind = snapshot.header.edge_types[int(snapshot.edge_type[edge])]
    if kind in ("element", "hidden"):
        return reference(kind, int(snapshot.edge_indexes(np.array([edge]))[0]))
    text = snapshot.strings[int(snapshot.edge_name[edge])]
    return f"[{printable(text, 60)}]" if kind == "property" and _is_dictionary(graph, owner) else reference(kind, text)


def edge_between(graph: HeapGraph, owner: int, node: int) -> str:
    """The reference of ``owner`` to ``node`` as it is written, "" when there is none."""
    snapshot = graph.snapshot
    first, stop = int(snapshot.first_edge[owner]), int(snapshot.first_edge[owner + 1])
    edges = first + np.flatnonzero(snapshot.edge_to[first:stop] == node)
    return _edge_text(graph, owner, int(edges[0])) if len(edges) else ""


def _is_dictionary(graph: HeapGraph, owner: int) -> bool:
    snapshot = graph.snapshot
    if snapshot.first_edge[owner + 1] - snapshot.first_edge[owner] < _DICTIONARY_EDGES:
        return False
    return snapshot.strings.raw(int(snapshot.node_name[owner])) == b"Object"


def node_label(graph: HeapGraph, node: int) -> str:
    """A node in one word: its class, functions by name, the global object as "(global)"."""
    snapshot = graph.snapshot
    name = snapshot.strings[int(snapshot.node_name[node])]
    kind = snapshot.header.node_types[int(snapshot.node_type[node])]
    if kind == "object" and (name in _GLOBAL_NAMES or name.startswith("global ")):
        return "(global)"
    if kind == "closure":
        return f"{printable(name, 80)}()" if name else "(anonymous)()"
    if kind in ("object", "native", "synthetic"):
        return printable(
            graph.classes.classes[int(graph.classes.class_of[node])].name if kind != "synthetic" else name, 100
        )
    return printable(f"({kind})", 100)
