"""Where in the source an object was made or a function stands.  Floor 4.

A snapshot gives constructors and functions a script id, line and column; the script's path is found by way of any
function of the script: function –shared→ function info –script→ script.  Maps no source maps.
"""

from __future__ import annotations

import numpy as np

from pytest_memory.heap.graph import HeapGraph

_SCRIPT_EDGES = ("script", "script_or_debug_info")


class Sources:
    """Places in one snapshot as ``path:line:column``, counted from 1 as editors do."""

    def __init__(self, graph: HeapGraph) -> None:
        self._graph = graph
        self._paths: dict[int, str | None] = {}
        locations = graph.snapshot.locations
        closure = graph.snapshot.node_type_code("closure")
        self._closures = locations[graph.snapshot.node_type[locations[:, 0]] == closure]

    def place(self, script_id: int, line: int, column: int) -> str | None:
        """``server.js:12:3``, ``server.js`` where V8 does not know the line, None when the script cannot be told."""
        if script_id < 0:
            return None
        if script_id not in self._paths:
            self._paths[script_id] = self._find_path(script_id)
        path = self._paths[script_id]
        return f"{path}:{line + 1}:{column + 1}" if path and line >= 0 and column >= 0 else path

    def place_of(self, node: int) -> str | None:
        """Where a function stands, or an object's constructor."""
        row = np.flatnonzero(self._graph.snapshot.locations[:, 0] == node)
        return self.place(*map(int, self._graph.snapshot.locations[row[0], 1:])) if len(row) else None

    def _find_path(self, script_id: int) -> str | None:
        snapshot = self._graph.snapshot
        for row in np.flatnonzero(self._closures[:, 1] == script_id)[:5]:
            info = self._follow(int(self._closures[row, 0]), ("shared",))
            script = self._follow(info, _SCRIPT_EDGES) if info is not None else None
            if script is not None:
                path = snapshot.strings[int(snapshot.node_name[script])]
                if path and not path.startswith(("system /", "(")):
                    return path
        return None

    def _follow(self, node: int, names: tuple[str, ...]) -> int | None:
        snapshot = self._graph.snapshot
        internal = snapshot.edge_type_code("internal")
        for edge in range(int(snapshot.first_edge[node]), int(snapshot.first_edge[node + 1])):
            if snapshot.edge_type[edge] == internal and snapshot.strings[int(snapshot.edge_name[edge])] in names:
                return int(snapshot.edge_to[edge])
        return None
