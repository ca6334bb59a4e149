"""``pytest-memory heap FILE``: what a heap snapshot (or an allocation profile) holds.  Floor 7."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from pytest_memory.cli.front import EXIT_FINE, Context
from pytest_memory.cli.snapshots import check_top, open_snapshots, read_profile, refuse_empty, show_paths, show_text

if TYPE_CHECKING:
    from pytest_memory.heap import HeapSnapshot


def run(arguments: argparse.Namespace, context: Context) -> int:
    check_top(arguments.top)
    if arguments.file.endswith(".heapprofile"):
        return _run_profile(arguments, context)
    with open_snapshots(context.output, arguments.file) as (snapshot,):
        if arguments.class_name:
            _show_class(context, snapshot, arguments.class_name, arguments.top)
        elif arguments.strings:
            _show_strings(context, snapshot, arguments.top)
        else:
            _show_summary(context, snapshot, arguments.top)
    return EXIT_FINE


def _show_summary(context: Context, snapshot: HeapSnapshot, top: int) -> None:
    output = context.output
    if output.as_json:
        output.json(snapshot.to_dict(limit=top))
        return
    from pytest_memory.heap import tables

    show_text(output, "", tables.statistics_table(snapshot.statistics))
    show_text(output, "classes by retained size", tables.class_table(snapshot.classes(limit=top)))
    half = max(5, top // 2)
    show_text(output, "largest objects", tables.object_table(snapshot.largest_objects(limit=half)))
    show_text(output, "largest collections", tables.collection_table(snapshot.largest_collections(limit=half)))
    show_text(output, "who holds most", tables.dominator_table(snapshot.dominator_tree(depth=3, per_node=4)))


def _show_class(context: Context, snapshot: HeapSnapshot, name: str, top: int) -> None:
    output = context.output
    rows = snapshot.classes(name)
    refuse_empty(name, rows)
    objects, paths = snapshot.largest_objects(name, limit=top), snapshot.retainer_paths(name)
    if output.as_json:
        output.json(
            {
                "classes": [asdict(row) for row in rows],
                "objects": [asdict(row) for row in objects],
                "paths": [asdict(path) for path in paths],
            }
        )
        return
    from pytest_memory.heap import tables

    show_text(output, "", tables.class_table(rows[:top]))
    show_text(output, "largest", tables.object_table(objects))
    output.line()
    output.line("held by", "bold")
    show_paths(output, paths)


def _show_strings(context: Context, snapshot: HeapSnapshot, top: int) -> None:
    rows = snapshot.duplicate_strings(limit=top)
    context.output.json([asdict(row) for row in rows])
    from pytest_memory.heap import tables

    show_text(context.output, "", tables.string_table(rows))


def _run_profile(arguments: argparse.Namespace, context: Context) -> int:
    from pytest_memory.heap.allocations import parse_profile, site_table

    profile = parse_profile(read_profile(arguments.file), name=arguments.file)
    sites = profile.top_sites(arguments.top)
    context.output.json({"total_bytes": profile.total_bytes, "sites": [asdict(site) for site in sites]})
    show_text(context.output, "", site_table(sites, profile.total_bytes))
    return EXIT_FINE
