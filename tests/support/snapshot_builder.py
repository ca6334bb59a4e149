"""Builds small heap snapshots in the format V8 writes, node by node.

    heap = SnapshotBuilder()
    app = heap.node("object", "App", size=16)
    heap.edge(heap.root, "element", 1, app)
    bytes_of_file = heap.to_bytes()

The first node is the root ("synthetic", empty name).  Fields can be left out or added to look like another V8.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

NODE_TYPES = (
    "hidden", "array", "string", "object", "code", "closure", "regexp", "number", "native", "synthetic",
    "concatenated string", "sliced string", "symbol", "bigint", "object shape",
)  # fmt: skip
EDGE_TYPES = ("context", "element", "property", "internal", "hidden", "shortcut", "weak")
NODE_FIELDS = ("type", "name", "id", "self_size", "edge_count", "detachedness")
OLD_NODE_FIELDS = ("type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness")


@dataclass
class Node:
    kind: str
    name: str
    size: int
    node_id: int
    detachedness: int
    edges: list[tuple[str, str | int, int]] = field(default_factory=list)


class SnapshotBuilder:
    def __init__(self, node_fields: tuple[str, ...] = NODE_FIELDS, newlines: bool = False) -> None:
        self.node_fields = node_fields
        self.newlines = newlines
        self.nodes: list[Node] = []
        self.locations: list[tuple[int, int, int, int]] = []
        self.strings: list[str] = ["<dummy>"]
        self._string_index: dict[str, int] = {}
        self.root = self.node("synthetic", "")

    def node(self, kind: str, name: str, *, size: int = 0, node_id: int | None = None, detachedness: int = 0) -> int:
        """Add a node, answer its ordinal.  Ids count up in odd numbers, as V8's do."""
        self.nodes.append(Node(kind, name, size, 2 * len(self.nodes) + 1 if node_id is None else node_id, detachedness))
        return len(self.nodes) - 1

    def edge(self, source: int, kind: str, name: str | int, target: int) -> None:
        self.nodes[source].edges.append((kind, name, target))

    def location(self, node: int, script_id: int, line: int, column: int) -> None:
        self.locations.append((node, script_id, line, column))

    def string(self, text: str) -> int:
        if text not in self._string_index:
            self._string_index[text] = len(self.strings)
            self.strings.append(text)
        return self._string_index[text]

    def to_document(self) -> dict[str, Any]:
        """The document as V8 orders it; change it before ``dump`` to make broken files."""
        nodes: list[int] = []
        edges: list[int] = []
        width = len(self.node_fields)
        for node in self.nodes:
            values = {
                "type": NODE_TYPES.index(node.kind),
                "name": self.string(node.name),
                "id": node.node_id,
                "self_size": node.size,
                "edge_count": len(node.edges),
                "trace_node_id": 0,
                "detachedness": node.detachedness,
            }
            nodes += [values[name] for name in self.node_fields]
            for kind, name, target in node.edges:
                index = name if isinstance(name, int) else self.string(name)
                edges += [EDGE_TYPES.index(kind), index, target * width]
        kinds: dict[str, Any] = {"type": list(NODE_TYPES), "name": "string"}
        field_types = [kinds.get(name, "number") for name in self.node_fields]
        return {
            "snapshot": {
                "meta": {
                    "node_fields": list(self.node_fields),
                    "node_types": field_types,
                    "edge_fields": ["type", "name_or_index", "to_node"],
                    "edge_types": [list(EDGE_TYPES), "string_or_number", "node"],
                    "trace_function_info_fields": ["function_id", "name"],
                    "trace_node_fields": ["id", "children"],
                    "sample_fields": ["timestamp_us", "last_assigned_id"],
                    "location_fields": ["object_index", "script_id", "line", "column"],
                },
                "node_count": len(self.nodes),
                "edge_count": len(edges) // 3,
                "trace_function_count": 0,
            },
            "nodes": nodes,
            "edges": edges,
            "trace_function_infos": [],
            "trace_tree": [],
            "samples": [],
            "locations": [value for row in self.locations for value in (row[0] * width, *row[1:])],
            "strings": self.strings,
        }

    def to_bytes(self) -> bytes:
        return dump(self.to_document(), newlines=self.newlines)


def dump(document: dict[str, Any], *, newlines: bool = False) -> bytes:
    """Write a document as V8 does: no spaces, and in older versions every record on a line of its own."""
    text = json.dumps(document, separators=(",", ":"))
    # Its escapes have capitals; the first alternative is a backslash of the text itself.
    text = re.sub(r"\\(\\|u[0-9a-f]{4})", lambda found: "\\" + found[1][0] + found[1][1:].upper(), text)
    if newlines:
        text = text.replace('],"', '],\n"').replace(',"', ',\n"')
    return text.encode()
