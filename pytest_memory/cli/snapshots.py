"""Opening snapshot files for the commands, and printing what they hold.  Floor 7; analysed by `heap`, worded there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_memory.cli.live import ProgressLine
from pytest_memory.errors import ConfigError
from pytest_memory.report.text import fit

if TYPE_CHECKING:
    from pytest_memory.cli.output import Output
    from pytest_memory.heap import HeapComparison, HeapSnapshot
    from pytest_memory.model import Finding, RetainerPath

_MAX_FINDINGS = 10
_MAX_PATHS = 3


@contextlib.contextmanager
def open_snapshots(output: Output, *names: str) -> Iterator[list[HeapSnapshot]]:
    """Snapshots of these files, analysed, with progress on a terminal.

    Raises ConfigError for a file that cannot be opened, SnapshotFormatError for one that is no snapshot."""
    from pytest_memory.heap import HeapSnapshot

    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(ProgressLine(output, "reading"))
        snapshots = []
        for name in names:
            try:
                snapshot = HeapSnapshot.load(name)
            except OSError as error:
                raise ConfigError(
                    f"{name} cannot be read: {error.strerror or error}; expected a .heapsnapshot", slug="config-file"
                ) from None
            progress.label = Path(name).name
            snapshots.append(snapshot.analyse(progress.say_share))
        progress.__exit__()
        yield snapshots


def check_top(top: int) -> None:
    """Raise ConfigError for a number of rows that is none: before a large file is read."""
    if top < 1:
        raise ConfigError(
            f"--top is {top}; expected at least 1", slug="config-option", hint="it says how many rows a table has"
        )


def show_text(output: Output, title: str, text: str) -> None:
    """A titled block of ready lines, cut to the terminal."""
    if title:
        output.line()
        output.line(title, "bold")
    output.lines(fit(line, output.width) for line in text.split("\n"))


def show_comparison(output: Output, comparison: HeapComparison, *, top: int) -> None:
    """What grew, what that looks like, and who holds it."""
    show_text(output, "", comparison.table(limit=top))
    show_findings(output, comparison.findings())


def show_findings(output: Output, findings: Iterable[Finding]) -> None:
    """Recognised patterns with the paths that hold their objects."""
    from pytest_memory.report import advice

    found = advice.worst_first(findings)
    for finding in found[:_MAX_FINDINGS]:
        output.line()
        output.wrapped(advice.finding_sentence(finding), "red" if finding.severity == "critical" else "yellow")
        show_paths(output, finding.paths[:_MAX_PATHS])


def show_paths(output: Output, paths: Iterable[RetainerPath]) -> None:
    """Retainer paths, a line each."""
    from pytest_memory.heap.tables import path_line

    for path in paths:
        output.wrapped(f"  {path_line(path)}")


def refuse_empty(name: str, found: object) -> None:
    """Raise ConfigError when nothing of that class is in the snapshot."""
    if not found:
        raise ConfigError(f"no object of class {name!r} is in the snapshot; patterns such as 'Sess*' fit, too")


def read_profile(name: str) -> bytes:
    """The bytes of a .heapprofile.  Raises ConfigError when it cannot be read."""
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror or error}", slug="config-file") from None
