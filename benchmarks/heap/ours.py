"""Analyses one snapshot with pytest-memory, for heap.py: one process, one file, one line of JSON.

usage: python ours.py FILE [ANSWERS.json [IDS.json]]
       python ours.py --compare BEFORE AFTER
       python ours.py --first FILE                (seconds with everything a first analysis loads and compiles)
       python ours.py --first FILE NODE SECONDS RATE   (the same, after an app on that Node was loaded for so long;
                                                        requests/s, 0 for as many as it answers)
       python ours.py --explain NODE              (seconds that explaining a leak takes, at the end of its test)
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def peak_rss_bytes() -> int:
    """Of this program alone: what getrusage tells begins with the size of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def analyse(file: str) -> tuple[Any, dict[str, Any]]:
    started = time.perf_counter()
    import numpy.ma  # noqa: F401 - numba asks for it at the first read-only array

    import pytest_memory.heap.kernels_ready
    import pytest_memory.heap.paths
    import pytest_memory.heap.queries  # noqa: F401 - the peers have loaded their modules too when their clocks start
    from pytest_memory.heap import HeapSnapshot

    ready, cpu_ready = time.perf_counter(), time.process_time()
    snapshot = HeapSnapshot.load(file)
    graph = snapshot.graph
    rows = snapshot.classes()
    seconds = time.perf_counter() - ready
    summary = {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu_ready,
        "import_seconds": ready - started,
        "peak_rss_bytes": peak_rss_bytes(),
        "nodes": graph.snapshot.node_count,
        "edges": graph.snapshot.edge_count,
        "total_retained": int(graph.retained[graph.root]),
        "classes": len(rows),
    }
    return snapshot, summary


def answers(snapshot: Any, ids: list[int]) -> dict[str, Any]:
    """The same questions the peers answer, under DevTools' rules and under memlab's."""
    from pytest_memory.heap.graph import Rules, build_graph

    graph = snapshot.graph
    memlab_rules = Rules(weak_map_entries=False, fold_sizes=False, protect_shortcuts=False)
    memlab = build_graph(graph.snapshot, rules=memlab_rules)
    table = graph.classes
    return {
        "classes": [
            [c.name if c.script_id < 0 else [c.script_id, c.line, c.column, c.name], *map(int, totals)]
            for c, totals in zip(table.classes, table.totals)
            if totals[0]
        ],
        "objects": objects(graph, ids, distances=True),
        "distances": int(graph.distances.sum(dtype="int64")),
        "statistics": snapshot.to_dict()["statistics"],
        "memlab_objects": objects(memlab, ids, distances=False),
        "memlab_names": names(memlab),
        "memlab_total": int(memlab.retained[memlab.root]),
    }


def objects(graph: Any, ids: list[int], *, distances: bool) -> list[list[int]]:
    found = []
    for node_id in ids:
        node = graph.ord_of(node_id)
        row = [node_id, int(graph.size[node]), int(graph.retained[node])]
        found.append([*row, int(graph.distances[node])] if distances else row)
    return found


def names(graph: Any, limit: int = 200) -> list[list[Any]]:
    """Count, size and sum of retained sizes by type and name, the most numerous first: what memlab can tell."""
    import numpy as np

    snapshot = graph.snapshot
    key = snapshot.node_type.astype(np.int64) << 32 | snapshot.node_name
    values, where, counts = np.unique(key, return_inverse=True, return_counts=True)
    best = np.lexsort((values, -counts))[:limit]
    sizes, retained = np.zeros(len(values), np.int64), np.zeros(len(values), np.int64)
    np.add.at(sizes, where, graph.size)
    np.add.at(retained, where, graph.retained)
    types = snapshot.header.node_types
    return [
        [
            types[int(values[at] >> 32)],
            snapshot.strings[int(values[at] & 0xFFFFFFFF)],
            int(counts[at]),
            int(sizes[at]),
            int(retained[at]),
        ]
        for at in best
    ]


def compare(before: str, after: str) -> dict[str, Any]:
    import pytest_memory.heap.kernels_ready  # noqa: F401
    from pytest_memory.heap import HeapSnapshot

    started = time.perf_counter()
    comparison = HeapSnapshot.load(after).compare(HeapSnapshot.load(before))
    text = str(comparison)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "peak_rss_bytes": peak_rss_bytes(),
        "lines": text.count("\n"),
        "by_id": comparison.by_id,
    }


def first_analysis(file: str) -> float:
    started = time.perf_counter()
    from pytest_memory.heap import HeapSnapshot

    HeapSnapshot.load(file).classes()
    return time.perf_counter() - started


def first_analysis_after_load(file: str, node: str, seconds: float, rate: float) -> dict[str, Any]:
    """As the fixture does it: kernels are compiled beside, from when the app is there."""
    from pytest_memory import AppSpec, LoadGenerator, NodeApp
    from pytest_memory.heap import stop_warming, warm_kernels

    script = Path(__file__).with_name("hello.js")
    try:
        with NodeApp.start(AppSpec(command=str(script), node=node)) as app, LoadGenerator(app.url) as generator:
            warm_kernels()
            done = generator.run("/", duration=seconds, concurrency=10, rate=rate or None)
        if done.stats.errors:
            raise SystemExit(f"{done.stats.errors} of {done.stats.requests} requests failed")
        return {"seconds": first_analysis(file), "rps": done.rps}
    finally:
        stop_warming()


def explain_a_leak(node: str) -> dict[str, Any]:
    from pytest_memory import AppSpec, LoadGenerator, MemoryMonitor, NodeApp
    from pytest_memory.heap import stop_warming

    script = Path(__file__).with_name("keeps.js")
    try:
        with NodeApp.start(AppSpec(command=str(script), node=node)) as app, LoadGenerator(app.url) as generator:
            monitor = MemoryMonitor(app, explain=True)
            monitor.start()
            result = monitor.leak_test(lambda: generator.run("/", requests=500))
            monitor.stop()
    finally:
        stop_warming()
    if "Kept" not in [delta.name for delta in result.class_deltas]:
        raise SystemExit(f"the leak was not explained: {result.estimates}")
    (explaining,) = [phase for phase in monitor.phases if phase.name == "explain"]
    return {"seconds": explaining.end_s - explaining.start_s}


def main(arguments: list[str]) -> None:
    if arguments[0] == "--explain":
        print(json.dumps(explain_a_leak(arguments[1])))
        return
    if arguments[0] == "--compare":
        print(json.dumps(compare(*arguments[1:])))
        return
    if arguments[0] == "--first":
        file, *load = arguments[1:]
        if load:
            print(json.dumps(first_analysis_after_load(file, load[0], *map(float, load[1:]))))
        else:
            print(json.dumps({"seconds": first_analysis(file)}))
        return
    snapshot, summary = analyse(arguments[0])
    print(json.dumps(summary))
    if len(arguments) > 1:
        ids = json.loads(Path(arguments[2]).read_text())
        Path(arguments[1]).write_text(json.dumps(answers(snapshot, ids)))


if __name__ == "__main__":
    main(sys.argv[1:])
