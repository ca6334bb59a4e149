"""Coverage-guided fuzzing of the snapshot parser and what is built on it, with atheris.  Run by ``make fuzz``.

    python tests/fuzz_snapshot.py [-max_total_time=300] [libFuzzer's options]

Whatever the bytes are: an answer that holds together, or SnapshotFormatError.  Anything else ends the run and leaves
the input in a file ``crash-…``.  Half of the inputs become well-formed files of
arbitrary graphs, or hardly any would come past the parser's checks.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import pytest_memory.heap.kernels_ready  # noqa: E402, F401 - before instrumentation, which numba does not compile

with atheris.instrument_imports(include=["pytest_memory.heap"]):
    from pytest_memory.errors import SnapshotFormatError
    from pytest_memory.heap import compare, findings, paths, queries
    from pytest_memory.heap.graph import build_graph
    from pytest_memory.heap.snapshot import parse_snapshot

from support.snapshot_builder import EDGE_TYPES, NODE_FIELDS, NODE_TYPES, OLD_NODE_FIELDS, SnapshotBuilder  # noqa: E402 - tests are no package

_NAMES = (
    "", "App", "system / ExternalStringData", "(Document DOM trees)", "(map descriptors)", "system / NativeContext",
    "Array", "elements", "Detached <div>", '"\\\ud800', "12",
    "7 / part of key (K @3) -> value (V @5) pair in WeakMap (table @7)",
    "8 / part of key (K @3) -> value (V @5) pair in WeakMap (table @7)",
)  # fmt: skip


def seed(fields: tuple[str, ...] = NODE_FIELDS) -> bytes:
    heap = SnapshotBuilder(node_fields=fields, newlines=True)
    app = heap.node("object", "App", size=16)
    table = heap.node("array", "", size=64)
    entry = heap.node("native", "Detached <div>", size=8, detachedness=2)
    heap.edge(heap.root, "shortcut", "app", app)
    heap.edge(app, "property", "table", table)
    heap.edge(table, "element", 1, entry)
    heap.edge(entry, "weak", "back", app)
    heap.location(app, 1, 2, 3)
    return heap.to_bytes()


def any_graph(data: atheris.FuzzedDataProvider) -> bytes:
    """A well-formed file of a graph nobody would think of: cycles, selves, every type, equal ids."""
    heap = SnapshotBuilder(node_fields=NODE_FIELDS if data.ConsumeBool() else OLD_NODE_FIELDS)
    for _ in range(data.ConsumeIntInRange(0, 12)):
        kind = NODE_TYPES[data.ConsumeIntInRange(0, len(NODE_TYPES) - 1)]
        name = _NAMES[data.ConsumeIntInRange(0, len(_NAMES) - 1)]
        size = data.ConsumeIntInRange(0, 10**17 if data.ConsumeBool() else 40)
        heap.node(
            kind,
            name,
            size=size,
            node_id=data.ConsumeIntInRange(0, 60),
            detachedness=data.ConsumeIntInRange(0, 300) if data.ConsumeBool() else 0,
        )
    last = len(heap.nodes) - 1
    for _ in range(data.ConsumeIntInRange(0, 40)):
        kind = EDGE_TYPES[data.ConsumeIntInRange(0, len(EDGE_TYPES) - 1)]
        name: str | int = _NAMES[data.ConsumeIntInRange(0, len(_NAMES) - 1)]
        if kind in ("element", "hidden"):
            name = data.ConsumeIntInRange(0, 100)
        heap.edge(data.ConsumeIntInRange(0, last), kind, name, data.ConsumeIntInRange(0, last))
    for _ in range(data.ConsumeIntInRange(0, 3)):
        heap.location(data.ConsumeIntInRange(0, last), data.ConsumeIntInRange(0, 3), 1, 2)
    return heap.to_bytes()


def test_one_input(raw: bytes) -> None:
    data = atheris.FuzzedDataProvider(raw)
    text = any_graph(data) if data.ConsumeBool() else data.ConsumeBytes(len(raw))
    try:
        ask_everything(text)
    except SnapshotFormatError as error:
        assert 0 <= error.byte_offset <= len(text), error  # noqa: PT017


def ask_everything(text: bytes) -> None:
    snapshot = parse_snapshot(text)
    graph = build_graph(snapshot)
    count = snapshot.node_count
    assert sorted(graph.tree.tree_order.tolist()) == list(range(count))
    assert int(graph.retained[graph.root]) == int(graph.size.sum())
    assert int(graph.size.sum()) == int(snapshot.node_size.sum())
    assert len(graph.distances) == count
    answers: list[Any] = [queries.statistics(graph), queries.class_rows(graph, None, limit=10)]
    answers += [queries.largest_objects(graph, None), queries.largest_collections(graph)]
    answers += [queries.duplicate_strings(graph), queries.find_strings(graph, "A"), queries.dominator_rows(graph)]
    answers += [paths.retainer_paths(graph, range(count))]
    comparison = compare.Comparison(graph, graph)
    answers += [comparison.class_deltas(), findings.find(comparison)]
    assert comparison.new().count == 0
    repr(answers)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pytest-memory-fuzz-") as corpus:
        for number, fields in enumerate((NODE_FIELDS, OLD_NODE_FIELDS)):
            Path(corpus, f"seed-{number}").write_bytes(seed(fields) + b"\0")
        # FuzzedDataProvider takes its numbers from the end: a last byte of 0 is the raw file.
        atheris.Setup([*sys.argv, corpus], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
