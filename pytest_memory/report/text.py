"""The memory section of a terminal: one line a test, worst first, fitted to the width.  Floor 4: pure.

Lines come with pytest's markup names (``{"red": True}``), which the CLI maps to rich styles.  Nothing here words a
number: sentences are `report.view`'s, this module only fits them into columns.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from pytest_memory.model import LoadStats, Outcome, ResultDocument, RunResult
from pytest_memory.report import tables, view

Line = tuple[Mapping[str, bool], str]

MIN_WIDTH = 40
_SPARK_MIN_WIDTH = 100  # below this the name and the number need the room
_SPARK_CELLS = 16
_DEFAULT_LINES = 10
_BARS = "▁▂▃▄▅▆▇█"

_MARKUP: Mapping[Outcome, Mapping[str, bool]] = {
    "critical": {"red": True, "bold": True},
    "not-measured": {"red": True},
    "inconclusive": {"yellow": True},
    "warning": {"yellow": True},
    "pass": {"green": True},
}


def terminal_section(results: Sequence[RunResult], width: int, verbosity: int = 0) -> list[Line]:
    """The lines of the memory section, without its heading.

    Worst first; at most ten unless verbose; with ``verbosity`` below zero nothing at all when every test passed.
    ``width`` is the terminal's columns; below 40 lines are cut as if it were 40."""
    if not results or (verbosity < 0 and all(result.verdict.outcome == "pass" for result in results)):
        return []
    width = max(width, MIN_WIDTH)
    worst_first = view.ordered(results)
    unhealthy = sum(result.verdict.outcome != "pass" for result in worst_first)
    limit = len(worst_first) if verbosity > 0 else max(_DEFAULT_LINES, min(unhealthy, 3 * _DEFAULT_LINES))
    rows = [view.result_row(result, _SPARK_CELLS) for result in worst_first[:limit]]
    number_width = min(max((cell_width(row.headline) for row in rows), default=0), width // 2)
    lines: list[Line] = []
    for row, result in zip(rows, worst_first, strict=False):
        lines.append((_MARKUP.get(row.outcome, {}), _row_line(row, width, number_width)))
        if row.outcome != "pass" and result.test_outcome == "passed":  # no failure text has said why
            lines.extend(({}, f"    {line}") for line in wrap(row.sentence, width - 4))
    if len(worst_first) > limit:
        lines.append(({}, fit(f"  … {len(worst_first) - limit} more (-v shows all)", width)))
    lines.extend(({"bold": True}, line) for line in wrap(view.overview_sentence(worst_first), width))
    return lines


def _row_line(row: view.ResultRow, width: int, number_width: int) -> str:
    health_width = 12 if width >= 72 else 0
    left = f"{row.mark} {row.health:<{health_width}} " if health_width else f"{row.mark} "
    spark = f"  {sparkline(row.curve):<{_SPARK_CELLS}}" if width >= _SPARK_MIN_WIDTH else ""
    number = pad_left(fit(row.headline, number_width), number_width)
    room = width - cell_width(left) - cell_width(number) - cell_width(spark) - 2
    full_name = f"{row.file}::{row.name}" if row.file else row.name
    name = full_name if cell_width(full_name) <= room else row.name
    return f"{left}{pad_right(fit(name, room), room)}  {number}{spark}".rstrip()


def sparkline(curve: Sequence[float | None]) -> str:
    """A curve as block characters, lowest to highest value; a space where nothing was measured."""
    known = [value for value in curve if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    if high - low <= 0.01 * abs(high):
        return "".join(" " if value is None else _BARS[0] for value in curve)  # noise is not worth drawing tall
    scale = (len(_BARS) - 1) / (high - low)
    return "".join(" " if value is None else _BARS[round((value - low) * scale)] for value in curve)


def load_text(load: LoadStats, width: int = 80) -> str:
    """A load run for people: one sentence, what it leaves out, and the targets of a mix as a table."""
    width = max(width, MIN_WIDTH)
    sentences = [view.load_sentence(load), *view.load_details(load)]
    lines = [line for sentence in sentences for line in wrap(sentence, width)]
    if len(load.targets) > 1:
        lines.extend(fit(line, width) for line in view.table_lines(tables.load_table([load]), title=False))
    return "\n".join(lines)


def document_text(document: ResultDocument, width: int = 80) -> str:
    """All results of a document for a terminal that takes no markup (the CLI's plain output)."""
    return "\n".join(line for _, line in terminal_section(document.results, width, verbosity=1))


# --- columns ------------------------------------------------------------------------------------------------------


def cell_width(text: str) -> int:
    """How many terminal columns a text takes: two for wide East Asian characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def fit(text: str, width: int) -> str:
    """The text in at most ``width`` columns, its middle left out: both the file and the parameters matter."""
    if cell_width(text) <= width:
        return text
    if width < 2:
        return "…"[:width]
    head = _take(text, (width - 1) // 2)
    tail = _take(text[::-1], width - 1 - cell_width(head))[::-1]
    return f"{head}…{tail}"


def _take(text: str, width: int) -> str:
    used = 0
    for position, char in enumerate(text):
        used += cell_width(char)
        if used > width:
            return text[:position]
    return text


def pad_left(text: str, width: int) -> str:
    """Right-align in ``width`` columns."""
    return " " * (width - cell_width(text)) + text


def pad_right(text: str, width: int) -> str:
    """Left-align in ``width`` columns."""
    return text + " " * (width - cell_width(text))


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width`` columns, broken at spaces; a longer word is cut."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        word = fit(word, width)
        if line and cell_width(line) + 1 + cell_width(word) > width:
            lines.append(line)
            line = f"  {word}" if cell_width(word) + 2 <= width else word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines
