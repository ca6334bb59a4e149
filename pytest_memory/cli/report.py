"""``pytest-memory report -i DIR -o FILE``: one HTML report of every result found.  Floor 7."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pytest_memory import store
from pytest_memory.cli.front import EXIT_FINE, Context
from pytest_memory.cli.measured import make_document
from pytest_memory.errors import ResultFormatError
from pytest_memory.model import ResultDocument, RunResult
from pytest_memory.units import format_size


def run(arguments: argparse.Namespace, context: Context) -> int:
    document = collect(Path(arguments.input), context)
    from pytest_memory.report import html, view

    path = Path(arguments.output)
    html.write_report(document, path)
    size = path.stat().st_size
    context.output.json({"report": str(path), "results": len(document.results), "size_bytes": size})
    context.output.wrapped(view.overview_sentence(document.results))
    context.output.line(f"report written to {path} ({format_size(size)})")
    return EXIT_FINE


def collect(source: Path, context: Context) -> ResultDocument:
    """All results below ``source``, of each test the newest.  Raises ResultFormatError when there is none.

    Files that are no results (a package.json, a baseline) are passed over; a broken one is said, not fatal."""
    newest: dict[str, RunResult] = {}
    document: ResultDocument | None = None
    for path in _result_files(source):
        try:
            document = store.read_document(path)
        except ResultFormatError as error:
            if source == path or _claims_results(path):
                context.output.note(f"left out: {error}")
            continue
        for result in document.results:
            known = newest.get(result.test_id)
            if known is None or result.started_at >= known.started_at:
                newest[result.test_id] = result
    if not newest:
        raise ResultFormatError(
            f"{source} holds no results; expected the JSON files of monitor, load, baseline, stress or pytest",
            slug="result-not-a-file",
            hint="they are written by -o FILE, or by pytest --memory-json and --memory-results",
        )
    return make_document(list(newest.values()))


def _result_files(source: Path) -> Iterator[Path]:
    if not source.exists():
        raise ResultFormatError(
            f"{source} does not exist; expected a directory or a file",
            slug="result-not-a-file",
            hint="results are written by -o FILE of each tool, or by pytest --memory-json and --memory-results",
        )
    if source.is_file():
        yield source
        return
    for path in sorted(source.rglob("*.json")):
        if "node_modules" not in path.parts and path.is_file():
            yield path


def _claims_results(path: Path) -> bool:
    """Whether a file that could not be read looks like one of ours that broke."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return True
    return b'"results"' in head and b'"version"' in head
