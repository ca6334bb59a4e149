"""Reading the runs kept below --memory-results.  Floor 5: finds the files; `history` makes sense of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_memory import store
from pytest_memory.errors import ResultFormatError
from pytest_memory.history import History, build_histories

RUN_FILES = "run-*.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedHistory:
    """The series of every test and metric, and what could not be read: one message a file."""

    histories: tuple[History, ...]
    run_count: int
    unreadable: tuple[str, ...] = ()


def load_history(directory: Path | str) -> LoadedHistory:
    """Every run kept in ``directory``, oldest first.

    A file that cannot be read is reported in ``unreadable`` and does not hide the others; no readable run at all
    raises ResultFormatError."""
    directory = Path(directory)
    runs, unreadable = [], []
    for path in sorted(directory.glob(RUN_FILES)):
        try:
            runs.append((path.name, store.read_document(path)))
        except ResultFormatError as error:
            unreadable.append(str(error))
    if not runs:
        raise ResultFormatError(
            f"{directory} holds no readable run; expected files named {RUN_FILES}",
            slug="result-not-a-file",
            hint=unreadable[0] if unreadable else "runs are kept there by pytest --memory-results=DIR",
        )
    return LoadedHistory(histories=build_histories(runs), run_count=len(runs), unreadable=tuple(unreadable))
