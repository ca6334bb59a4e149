"""Printing comparisons of result files, and the exit status they come to.  Floor 7; worded by `report.changes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from pytest_memory.cli.front import EXIT_BROKEN, EXIT_FINE, EXIT_INCONCLUSIVE, Context
from pytest_memory.cli.measured import show_table
from pytest_memory.report import changes

if TYPE_CHECKING:
    from pytest_memory.compare import ComparedTest

_EXPENDABLE = (5, 3, 1)  # the interval, percent, the earlier value


def comparison_status(compared: Sequence[ComparedTest]) -> int:
    """1 when something is worse for sure; 4 when nothing could be compared; else 0."""
    if any(one.worse for one in compared):
        return EXIT_BROKEN
    comparable = [one for one in compared if one.presence == "both" and not one.differs]
    return EXIT_FINE if comparable else EXIT_INCONCLUSIVE


def comparisons_document(compared: Sequence[ComparedTest]) -> dict[str, object]:
    """The comparison for programs."""
    return {"tests": msgspec.to_builtins(compared), "worse": sum(bool(one.worse) for one in compared)}


def show_comparisons(
    context: Context, compared: Sequence[ComparedTest], *, tables: bool = True, as_json: bool = True
) -> int:
    """Print every test's sentence (and table), the summary last; returns the exit status.

    Without ``as_json`` the comparison is only printed for people: it is part of another document."""
    output = context.output
    if as_json:
        output.json(comparisons_document(compared))
    for one in compared:
        output.wrapped(changes.comparison_sentence(one), "red bold" if one.worse else "")
        if tables and one.changes:
            show_table(output, changes.comparison_table(one), expendable=_EXPENDABLE, title=False)
            output.line()
    output.wrapped(changes.comparisons_sentence(compared), "bold")
    return comparison_status(compared)
