"""``pytest-memory report -i DIR -o FILE``: one HTML report of every result found.  Floor 7."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_memory.cli.collect import collect
from pytest_memory.cli.front import EXIT_FINE, Context
from pytest_memory.units import format_size


def run(arguments: argparse.Namespace, context: Context) -> int:
    collected = collect(Path(arguments.input), context.output)
    from pytest_memory.report import html, view

    shown, path = collected.document.results, Path(arguments.output)
    html.write_report(collected.document, path)
    size = path.stat().st_size
    context.output.json({"report": str(path), "results": len(shown), "left_out": collected.older, "size_bytes": size})
    context.output.wrapped(view.overview_sentence(shown))
    context.output.line(f"report written to {path} ({format_size(size)})")
    return EXIT_FINE
