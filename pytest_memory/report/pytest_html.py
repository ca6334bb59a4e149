"""Memory in pytest-html's report: a section in each test's row, a column, an overview in the summary.  Floor 6.

Imported only when pytest-html writes a report.  Rows are inserted by pytest-html as text in which scripts never run,
the summary's scripts do run: so rows hold words, tables and a static drawing, and the summary holds the figures' data
and the script that mounts them when a row comes into view.  Of a test that was run again, the last run has figures, the
others keep their drawing; pytest-html gives each of its rows the sections of all runs: a row's cell names its own, and
the script hides the others.  Nothing here imports pytest or pytest-html.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from pytest_memory import store
from pytest_memory.model import ResultDocument, RunResult
from pytest_memory.report import assets, figures, view, words
from pytest_memory.report.parts import make_part

MAX_OVERVIEW_ROWS = 10
PLOTLY_FILE = "pytest-memory-plotly.min.js"
_COLUMN = 2  # after the result and the name of the test


def row_extras(result: RunResult, *, directory: Path | None = None) -> list[dict[str, Any]]:
    """The extras of a test's report: one HTML section, in pytest-html's own form and JSON-basic for pytest-xdist.

    ``directory`` is where the report will lie; kept files are linked relative to it."""
    section = assets.render(
        "row.html.jinja", part=make_part(result, directory=directory), key=_key(result), run=_run(result)
    )
    extra = {"name": "memory", "format_type": "html", "content": section, "mime_type": None, "extension": None}
    return [extra]


def summary_html(document: ResultDocument, *, assets_directory: Path | None = None) -> str:
    """The memory overview with the figures of every row.

    plotly's script is part of the text, or, with ``assets_directory`` (the "assets" directory beside a report that is
    not self-contained), a file there.  Raises StoreError when that cannot be written."""
    results = view.ordered(document.results)
    made = {_key(result): {"run": _run(result), "figures": figures.result_figures(result)} for result in results}
    shown = results[:MAX_OVERVIEW_ROWS]
    has_figures = any(of_test["figures"] for of_test in made.values())
    return assets.render(
        "summary.html.jinja",
        style=assets.inline(assets.text_of("rows.css")),
        sentence=view.overview_sentence(results),
        counts=[count for count in view.class_counts(results) if count[2]],
        marks=words.HEALTH_MARKS,
        rows=[view.result_row(result) for result in shown],
        omitted=len(results) - len(shown),
        figures=made,
        plotly_source=_plotly_file(assets_directory) if has_figures and assets_directory else "",
        plotly=assets.inline(assets.plotly_script() if has_figures and not assets_directory else ""),
        script=assets.inline(assets.text_of("mount.js") + assets.text_of("rows.js")),
    )


def _plotly_file(directory: Path) -> str:
    store.write_atomic(directory / PLOTLY_FILE, assets.plotly_script().encode("utf-8"))
    return f"{directory.name}/{PLOTLY_FILE}"


def _key(result: RunResult) -> str:
    return words.clean(result.test_id, 1000)


def _run(result: RunResult) -> str:
    """Which run of its test a result is: a rerun has the name of the runs before it, but never their readings.

    Rows are made beside the test, figures at the end from what has travelled: only what travels unchanged counts."""
    readings = [reading for reading in (result.start_memory, result.end_memory) if reading is not None]
    told = [result.started_at, f"{result.duration_s:.3f}"]
    told += [f"{reading.t_s:.6f} {reading.heap_used_bytes} {reading.rss_bytes}" for reading in readings]
    return f"{zlib.crc32(' '.join(told).encode('utf-8')):08x}"


def table_header(cells: list[str]) -> None:
    """Insert the heading of the memory column (``pytest_html_results_table_header``)."""
    cells.insert(_COLUMN, '<th class="col-memory">Memory</th>')


def table_row(cells: list[str], result: RunResult | None) -> None:
    """Insert a test's cell of the memory column (``pytest_html_results_table_row``); empty where nothing was measured.

    A row without cells was removed by somebody and stays away."""
    if cells:
        cells.insert(_COLUMN, str(Markup('<td class="col-memory">{}</td>').format(_cell(result))))


def _cell(result: RunResult | None) -> Markup:
    if result is None:
        return Markup()
    row = view.result_row(result, 1)
    text = f"{row.mark} {row.headline or row.health}"
    cell = Markup('<span class="{}" title="{}" data-memory-run="{}">{}</span>')
    return cell.format(row.outcome, row.sentence, _run(result), escape(text))
