"""Heap answers as tables of plain text.  Floor 4: yields lines, prints nothing.

Numbers right, names left, sizes in short form; everything in them went through names.printable.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_memory.heap.compare import Comparison
from pytest_memory.heap.names import printable
from pytest_memory.heap.queries import ClassRow, CollectionRow, DominatorRow, ObjectRow, Statistics, StringRow
from pytest_memory.model import ClassDelta, RetainerPath
from pytest_memory.units import format_count, format_size
from pytest_memory.values import check_not_negative

_NAME_WIDTH = 60


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need; the first on the left, the others on the right."""
    widths = [max(len(line[at]) for line in [head, *rows]) for at in range(len(head))]
    lines = []
    for line in [head, *rows]:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)


def signed(value: int) -> str:
    return f"{value:+,}" if value else "0"


def signed_size(size_bytes: int) -> str:
    return ("+" if size_bytes > 0 else "") + format_size(size_bytes)


def class_table(rows: Sequence[ClassRow]) -> str:
    return format_table(
        ("class", "objects", "size", "retained"),
        [
            (
                printable(row.name, _NAME_WIDTH),
                format_count(row.count),
                format_size(row.size_bytes),
                format_size(row.retained_bytes),
            )
            for row in rows
        ],
    )


def delta_table(rows: Sequence[ClassDelta]) -> str:
    return format_table(
        ("class", "new", "deleted", "objects", "size", "retained"),
        [
            (
                printable(row.name, _NAME_WIDTH),
                format_count(row.new),
                format_count(row.deleted),
                signed(row.count_delta),
                signed_size(row.size_delta_bytes),
                signed_size(row.retained_delta_bytes or 0),
            )
            for row in rows
        ],
    )


def comparison_table(comparison: Comparison, *, limit: int = 20) -> str:
    check_not_negative(limit, "limit")
    deltas = comparison.class_deltas()
    lines = [delta_table(deltas[:limit]) if deltas else "no class differs in its objects or their size"]
    if len(deltas) > limit:
        lines.append(f"… {len(deltas) - limit:,} more classes changed")
    if not comparison.by_id:
        lines.append("the snapshots do not share object ids: new and deleted are differences of counts")
    return "\n".join(lines)


def object_table(rows: Sequence[ObjectRow]) -> str:
    return format_table(
        ("object", "id", "distance", "size", "retained"),
        [(_name(row), f"@{row.node_id}", str(row.distance), *_sizes(row)) for row in rows],
    )


def collection_table(rows: Sequence[CollectionRow]) -> str:
    return format_table(
        ("collection", "id", "entries", "size", "retained"),
        [
            (_name(row.container), f"@{row.container.node_id}", format_count(row.length), *_sizes(row.container))
            for row in rows
        ],
    )


def string_table(rows: Sequence[StringRow]) -> str:
    return format_table(
        ("string", "copies", "size", "wasted"),
        [
            (
                repr(printable(row.text, _NAME_WIDTH)) + ("…" if row.truncated else ""),
                format_count(row.count),
                format_size(row.size_bytes),
                format_size(row.wasted_bytes),
            )
            for row in rows
        ],
    )


def dominator_table(rows: Sequence[DominatorRow]) -> str:
    return format_table(
        ("dominator tree", "id", "nodes", "size", "retained"),
        [
            (
                "  " * row.depth + (_name(row.node) or "(root)"),
                f"@{row.node.node_id}",
                format_count(row.dominated),
                *_sizes(row.node),
            )
            for row in rows
        ],
    )


def statistics_table(figures: Statistics) -> str:
    parts = (
        ("code", figures.code_bytes),
        ("strings", figures.string_bytes),
        ("arrays", figures.js_array_bytes),
        ("typed arrays and buffers", figures.typed_array_bytes),
        ("other native", figures.native_bytes - figures.typed_array_bytes),
        ("system", figures.system_bytes),
        ("objects and the rest", figures.other_bytes),
        ("total", figures.total_bytes),
    )
    table = format_table(
        ("kind", "size", "share"),
        [(name, format_size(size), f"{100 * size / max(1, figures.total_bytes):.1f} %") for name, size in parts],
    )
    if not figures.orphan_count:
        return table
    return f"{table}\nnodes hung under the root, as nothing else retains them: {format_count(figures.orphan_count)}"


def path_line(path: RetainerPath) -> str:
    """``(global) → app → sessions : Map → table[] → Session``, with the count when it is not one."""
    parts = []
    for edge, name in path.steps:
        if name == "(global)" or not edge:
            parts.append(name)
        elif edge.endswith("]"):
            parts.append(f"{edge} → {name}")
        else:
            parts.append(f"{edge} : {name}" if name else edge)
    text = " → ".join(parts)
    return f"{format_count(path.count)} × {text}" if path.count != 1 else text


def _name(row: ObjectRow) -> str:
    return printable(row.name, _NAME_WIDTH)


def _sizes(row: ObjectRow) -> tuple[str, str]:
    return format_size(row.size_bytes), format_size(row.retained_bytes)
