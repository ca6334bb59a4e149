"""Leak patterns seen between two snapshots, each by a small function.  Floor 4.

A finding says what grew, with the numbers its sentence is made of and who holds it; it is evidence, no verdict
(that is judge's) and no text (that is report.view's).  To add a pattern: one function below, its name in PATTERNS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pytest_memory.heap.compare import ClassComparison, Comparison
from pytest_memory.heap.graph import HeapGraph
from pytest_memory.heap.names import printable
from pytest_memory.heap.paths import path_steps, retainer_paths
from pytest_memory.heap.queries import collection_lengths, copies, duplicate_rows, object_row, object_shape
from pytest_memory.heap.sources import Sources
from pytest_memory.model import Finding, RetainerPath

Int64s = NDArray[np.int64]
Severity = Literal["info", "warning", "critical"]

LEAST_OBJECTS = 20
"""Fewer new objects than this are everyday business: lazily made singletons, caches of the runtime."""
LEAST_BYTES = 10_000
_MANY = 5
_SHAPE_SAMPLE = 2_000
_INTERNAL = ("(", "system /", "Node /")
_SEEN_BY_OTHERS = ("Function", "Object", "Array")


def find(comparison: Comparison, *, units: int = 0) -> tuple[Finding, ...]:
    """All patterns of one comparison, the most retained bytes first.

    ``units`` of work (requests) were done between the snapshots: growth that keeps pace with them, one object or
    entry for each, is critical; without them severity follows size.
    """
    sources = Sources(comparison.after)
    found = [finding for pattern in PATTERNS for finding in pattern(comparison, sources, units)]
    found.sort(key=lambda finding: -_number(finding, "retained_bytes"))
    return tuple(found)


def _number(finding: Finding, key: str) -> float:
    value = finding.evidence.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _severity(count: int, retained_bytes: int, units: int) -> Severity:
    if units and count >= 0.5 * units:
        return "critical"
    return "warning" if retained_bytes >= 10 * LEAST_BYTES else "info"


def _grew_large(row: ClassComparison) -> bool:
    return row.count_delta > 0 and row.size_delta_bytes >= LEAST_BYTES


def growing_classes(comparison: Comparison, sources: Sources, units: int) -> Iterator[Finding]:
    """Classes of the app of which more came than went."""
    rows = [row for row in comparison.classes if not row.heap_class.name.startswith(_INTERNAL)]
    rows = [row for row in rows if row.heap_class.name not in _SEEN_BY_OTHERS]
    rows = [row for row in rows if row.count_delta >= LEAST_OBJECTS or _grew_large(row)]
    if not comparison.by_id:  # two processes: one class may stand in scripts of different numbers
        grown = {delta.name for delta in comparison.class_deltas() if delta.count_delta > 0}
        rows = [row for row in rows if printable(row.heap_class.name) in grown]
    rows.sort(key=lambda row: -row.retained_delta_bytes)
    for row in rows[:_MANY]:
        new = comparison.new(row.heap_class.name)
        yield Finding(
            slug="growing-class",
            severity=_severity(row.count_delta, row.retained_delta_bytes, units),
            subject=printable(row.heap_class.name),
            evidence={
                "count_delta": row.count_delta,
                "size_delta_bytes": row.size_delta_bytes,
                "retained_bytes": row.retained_delta_bytes,
                "new": row.new,
                "deleted": row.deleted,
                "units": units,
            },
            location=sources.place(row.heap_class.script_id, row.heap_class.line, row.heap_class.column),
            paths=retainer_paths(comparison.after, new.ords, limit=3),
        )


def growing_collections(comparison: Comparison, _sources: Sources, units: int) -> Iterator[Finding]:
    """Maps, Sets, arrays and objects that are in both snapshots and have many more entries in the later one."""
    if not comparison.by_id:
        return
    before, after = comparison.before, comparison.after
    lengths = collection_lengths(after)
    large = np.flatnonzero((lengths >= LEAST_OBJECTS) & ~comparison.is_new)
    ids, by_id = before.ord_by_id
    at = np.minimum(np.searchsorted(ids, after.snapshot.node_id[large]), len(ids) - 1)
    large, at = large[ids[at] == after.snapshot.node_id[large]], at[ids[at] == after.snapshot.node_id[large]]
    earlier = collection_lengths(before)[by_id[at]]
    growth = lengths[large] - earlier
    for best in np.argsort(-growth, kind="stable")[:_MANY]:
        node, more = int(large[best]), int(growth[best])
        retained_delta = int(after.retained[node]) - int(before.retained[by_id[at[best]]])
        if more < LEAST_OBJECTS:
            return
        row = object_row(after, node)
        steps = path_steps(after, node)
        yield Finding(
            slug="growing-collection",
            severity=_severity(more, retained_delta, units),
            subject=f"{steps[-1][0]} : {row.name}" if steps and steps[-1][0] else row.name,
            evidence={
                "length_before": int(earlier[best]),
                "length_after": int(lengths[node]),
                "retained_bytes": retained_delta,
                "node_id": row.node_id,
                "units": units,
            },
            paths=(RetainerPath(steps=steps, count=1, retained_bytes=row.retained_bytes),),
        )


def growing_shapes(comparison: Comparison, _sources: Sources, units: int) -> Iterator[Finding]:
    """Objects without a class of their own, told apart by their properties: ``{id, user, expires}``.  More of a shape
    came than went: a cache that replaces its entries grows nothing."""
    graph = comparison.after
    new = comparison.new("Object").ords
    by_shape, scale = _sample_by_shape(graph, new)
    if not by_shape:
        return
    gone, gone_scale = _sample_by_shape(comparison.before, comparison.deleted("Object").ords)
    grown = {
        shape: round(scale * len(nodes)) - round(gone_scale * len(gone.get(shape, ())))
        for shape, nodes in by_shape.items()
    }
    most_bytes = graph.retained_together(new)
    for shape in sorted(grown, key=lambda shape: (-grown[shape], shape))[:_MANY]:
        count, nodes = grown[shape], np.array(by_shape[shape])
        if count < LEAST_OBJECTS or shape == "{}":
            continue
        retained = min(most_bytes, round(graph.retained_together(nodes) * count / len(nodes)))
        paths = retainer_paths(graph, nodes, limit=3, sample=100)
        yield Finding(
            slug="growing-shape",
            severity=_severity(count, retained, units),
            subject=shape,
            evidence={"new": count, "retained_bytes": retained, "units": units},
            paths=tuple(_scaled(path, count / len(nodes), most_bytes) for path in paths),
        )


def _sample_by_shape(graph: HeapGraph, ords: Int64s) -> tuple[dict[str, list[int]], float]:
    """An even sample of plain objects by shape, and how many objects each of it stands for."""
    by_shape: dict[str, list[int]] = {}
    if not len(ords):
        return by_shape, 1.0
    looked_at = ords[np.linspace(0, len(ords) - 1, min(_SHAPE_SAMPLE, len(ords)), dtype=np.int64)]
    for node in looked_at:
        by_shape.setdefault(object_shape(graph, int(node)), []).append(int(node))
    return by_shape, len(ords) / len(looked_at)


def _scaled(path: RetainerPath, factor: float, most_bytes: int) -> RetainerPath:
    """The path of a sample, counting for all of them."""
    retained_bytes = min(most_bytes, round(path.retained_bytes * factor))
    return replace(path, count=round(path.count * factor), retained_bytes=retained_bytes)


def growing_functions(comparison: Comparison, sources: Sources, units: int) -> Iterator[Finding]:
    """Functions made again and again at one place and kept: callbacks, listeners, timers."""
    graph = comparison.after
    snapshot = graph.snapshot
    new, gone = comparison.new("Function").ords, comparison.deleted("Function").ords
    if len(new) < LEAST_OBJECTS:
        return
    places = np.concatenate((_place_rows(graph, new), _place_rows(comparison.before, gone)))
    group = _group_places(places)
    grown = np.bincount(group[: len(new)], minlength=len(places)) - np.bincount(
        group[len(new) :], minlength=len(places)
    )
    for best in np.argsort(-grown, kind="stable")[:_MANY]:
        count = int(grown[best])
        if count < LEAST_OBJECTS:
            return
        mine = new[group[: len(new)] == best]
        all_bytes = graph.retained_together(mine)
        retained = round(all_bytes * count / len(mine))
        name = snapshot.strings[int(snapshot.node_name[mine[0]])]
        paths = retainer_paths(graph, mine, limit=3, sample=100)
        yield Finding(
            slug=_callback_slug(paths),
            severity=_severity(count, retained, units),
            subject=printable(name) or "(anonymous)",
            evidence={"count_delta": count, "retained_bytes": retained, "units": units},
            location=sources.place(*map(int, _place_rows(graph, mine[:1])[0])),
            paths=tuple(_scaled(path, count / len(mine), all_bytes) for path in paths),
        )


def _place_rows(graph: HeapGraph, ords: Int64s) -> Int64s:
    """Script, line and column of functions; those without a place fall together."""
    locations = graph.snapshot.locations
    order = np.argsort(locations[:, 0], kind="stable")
    if not len(order):
        return np.full((len(ords), 3), -1, np.int64)
    owners = locations[order, 0]
    at = np.minimum(np.searchsorted(owners, ords.astype(owners.dtype)), len(order) - 1)
    rows = locations[order[at]].astype(np.int64)
    return np.where((rows[:, 0] == ords)[:, None], rows[:, 1:], -1)


def _group_places(places: Int64s) -> Int64s:
    """The number of each row's group; equal rows are one.  Two columns at a time, which sorts much faster than rows."""
    narrow = places & 0xFFFFFFFF
    line = np.unique((narrow[:, 0] << 32) | narrow[:, 1], return_inverse=True)[1].ravel().astype(np.int64)
    return np.unique((line << 32) | narrow[:, 2], return_inverse=True)[1].ravel().astype(np.int64)


def _callback_slug(paths: tuple[RetainerPath, ...]) -> str:
    """What keeps the functions, going by the nearest holder: a timer, an emitter, or something else."""
    for edge, name in reversed(paths[0].steps if paths else ()):
        if edge == "_events":
            return "listener"
        if name in ("Timeout", "Immediate"):
            return "timer"
    return "growing-function"


def growing_duplicates(comparison: Comparison, _sources: Sources, units: int) -> Iterator[Finding]:
    """Strings there are more and more copies of."""
    before = {row.text: row for row in duplicate_rows(comparison.before)}
    grown = []
    for row in duplicate_rows(comparison.after):
        earlier = before.get(row.text)
        more = row.count - (earlier.count if earlier else 0)  # one may have been there alone: looked for below
        wasted = row.wasted_bytes - (earlier.wasted_bytes if earlier else 0)
        if more >= LEAST_OBJECTS and wasted >= LEAST_BYTES:
            grown.append((wasted, more, row))
    grown.sort(key=lambda one: (-one[0], one[2].text))
    for wasted, more, row in grown[:_MANY]:
        if row.text not in before:
            more -= copies(comparison.before, row.text)
        if more < LEAST_OBJECTS:
            continue
        yield Finding(
            slug="duplicate-strings",
            severity=_severity(0, wasted, 0),
            subject=printable(comparison.after.snapshot.strings[row.index], 60),
            evidence={"count_delta": more, "retained_bytes": wasted, "count": row.count, "units": units},
        )


def growing_detached(comparison: Comparison, _sources: Sources, units: int) -> Iterator[Finding]:
    """What the embedder calls detached: nobody's document or environment, yet still here."""
    for row in comparison.classes:
        if row.heap_class.name.startswith("Detached ") and row.count_delta >= LEAST_OBJECTS:
            yield Finding(
                slug="detached",
                severity=_severity(row.count_delta, row.retained_delta_bytes, units),
                subject=printable(row.heap_class.name),
                evidence={"count_delta": row.count_delta, "retained_bytes": row.retained_delta_bytes, "units": units},
            )


PATTERNS: tuple[Callable[[Comparison, Sources, int], Iterator[Finding]], ...] = (
    growing_collections,
    growing_classes,
    growing_shapes,
    growing_functions,
    growing_duplicates,
    growing_detached,
)
