"""A heap snapshot of more than 2^24 nodes: whether every number about it is right, and what it takes.

    python benchmarks/heap_large.py [--sessions 8500000] [--directory DIR]

Writes the file itself, not with Node, whose heap would take tens of gigabytes of memory for it: an array of sessions,
each with a user of its own, a link to the next session and one back from the user, weak.  Every answer about such a
heap can be computed in one's head; one that is wrong is printed, and the exit status is 1.

17 million nodes and 34 million edges are a file of 0.9 GB, deleted afterwards.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parent.parent
if TYPE_CHECKING:
    from pytest_memory.heap import HeapSnapshot

NODE_FIELDS = ("type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness")
NODE_TYPES = ("object", "synthetic")
EDGE_TYPES = ("element", "property", "shortcut", "weak")
STRINGS = ("", "global", "Array", "Session", "User", "sessions", "user", "next", "session")
WIDTH = len(NODE_FIELDS)
ELEMENT, PROPERTY, SHORTCUT, WEAK = range(len(EDGE_TYPES))
FIRST_SESSION = 3
"""Ordinal 0 is the root, 1 the global object, 2 the array; then come session, user, session, user, …"""
GLOBAL_BYTES, ARRAY_BYTES, USER_BYTES = 64, 32, 56
SAMPLE = 1000


def session_bytes(number: int) -> int:
    return 40 + 8 * (number % 3)


def sessions_bytes(count: int) -> int:
    """The sum of the first ``count`` sessions."""
    whole, rest = divmod(count, 3)
    return whole * sum(map(session_bytes, range(3))) + sum(map(session_bytes, range(rest)))


# --- the file -------------------------------------------------------------------------------------------------------


def write_snapshot(file: Path, sessions: int) -> None:
    meta = {
        "node_fields": NODE_FIELDS,
        "node_types": [NODE_TYPES, "string", "number", "number", "number", "number", "number"],
        "edge_fields": ["type", "name_or_index", "to_node"],
        "edge_types": [EDGE_TYPES, "string_or_number", "node"],
        "location_fields": ["object_index", "script_id", "line", "column"],
    }
    counts = {"node_count": FIRST_SESSION + 2 * sessions, "edge_count": 1 + 4 * sessions}
    with file.open("w", encoding="ascii", buffering=1 << 20) as out:
        out.write(f'{{"snapshot":{json.dumps({"meta": meta, **counts})},\n"nodes":[')
        out.writelines(node_rows(sessions))
        out.write('],\n"edges":[')
        out.writelines(edge_rows(sessions))
        out.write(f'],\n"locations":[],\n"strings":{json.dumps(STRINGS)}}}')


def node_rows(sessions: int) -> Iterator[str]:
    yield f"1,0,1,0,1,0,0,0,1,3,{GLOBAL_BYTES},1,0,0,0,2,5,{ARRAY_BYTES},{sessions},0,0"
    for number in range(sessions):
        node_id = 2 * (FIRST_SESSION + 2 * number) + 1
        edges = 2 if number + 1 < sessions else 1
        yield f",0,3,{node_id},{session_bytes(number)},{edges},0,0,0,4,{node_id + 2},{USER_BYTES},1,0,0"


def edge_rows(sessions: int) -> Iterator[str]:
    yield f"{SHORTCUT},1,{WIDTH},{PROPERTY},5,{2 * WIDTH}"
    for number in range(sessions):
        yield f",{ELEMENT},{number},{WIDTH * (FIRST_SESSION + 2 * number)}"
    for number in range(sessions):
        session = WIDTH * (FIRST_SESSION + 2 * number)
        following = f",{PROPERTY},7,{session + 2 * WIDTH}" if number + 1 < sessions else ""
        yield f",{PROPERTY},6,{session + WIDTH}{following},{WEAK},8,{session}"


# --- the answers ----------------------------------------------------------------------------------------------------


def wrong_answers(snapshot: HeapSnapshot, sessions: int) -> list[str]:
    """Every answer that is not what the file was made of."""
    graph = snapshot.graph
    user_bytes = USER_BYTES * sessions
    held_bytes = sessions_bytes(sessions) + user_bytes
    classes = {row.name: (row.count, row.size_bytes, row.retained_bytes) for row in snapshot.classes()}
    (collection, *_) = snapshot.largest_collections(limit=1)
    (path, *_) = snapshot.retainer_paths(2 * (FIRST_SESSION + 2 * (sessions - 1)) + 1)
    same = snapshot.compare(snapshot)
    answers: list[tuple[str, object, object]] = [
        ("nodes", graph.snapshot.node_count, FIRST_SESSION + 2 * sessions),
        ("edges", graph.snapshot.edge_count, 1 + 4 * sessions),
        ("total bytes", snapshot.total_bytes, GLOBAL_BYTES + ARRAY_BYTES + held_bytes),
        ("class Session", classes.get("Session"), (sessions, sessions_bytes(sessions), held_bytes)),
        ("class User", classes.get("User"), (sessions, user_bytes, user_bytes)),
        ("class Array", classes.get("Array"), (1, ARRAY_BYTES, ARRAY_BYTES + held_bytes)),
        ("largest collection", (collection.container.node_id, collection.length), (5, sessions)),
        ("way to the last session", path.steps[-2:], (("sessions", "Array"), (f"[{sessions - 1}]", "Session"))),
        ("compared with itself", (same.new().count, same.kept("User").count), (0, sessions)),
    ]
    for number in {*range(0, sessions, max(1, sessions // SAMPLE)), sessions - 1}:
        session = graph.ord_of(2 * (FIRST_SESSION + 2 * number) + 1)
        expected = (FIRST_SESSION + 2 * number, session_bytes(number) + USER_BYTES, USER_BYTES, 3, 4)
        retained, distances = graph.retained, graph.distances
        found = (session, retained[session], retained[session + 1], distances[session], distances[session + 1])
        answers.append((f"session {number:,}", tuple(map(int, found)), expected))
    return [f"{what}: {found}; expected {expected}" for what, found, expected in answers if found != expected]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=8_500_000, help="two nodes and four edges each")
    parser.add_argument("--directory", type=Path, help="where the file is made (default: TMPDIR)")
    options = parser.parse_args()
    from pytest_memory.heap import HeapSnapshot

    with tempfile.TemporaryDirectory(prefix="heap-large-", dir=options.directory) as directory:
        file = Path(directory, "large.heapsnapshot")
        write_snapshot(file, options.sessions)
        print(f"{2 * options.sessions + FIRST_SESSION:,} nodes in {file.stat().st_size / 1e6:,.0f} MB", flush=True)
        began = time.perf_counter()
        snapshot = HeapSnapshot.load(file).analyse()
        print(f"analysed in {time.perf_counter() - began:.1f} s, {peak_mb():,.0f} MB", flush=True)
        wrong = wrong_answers(snapshot, options.sessions)
        print(f"asked in {time.perf_counter() - began:.1f} s, {peak_mb():,.0f} MB")
    for line in wrong:
        print(line)
    print("every answer is right" if not wrong else f"{len(wrong)} answers are wrong")
    return 1 if wrong else 0


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
