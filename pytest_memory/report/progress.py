"""The live line in words: phase, elapsed, remaining, heap now, on one line of a given width.  Floor 4: pure.

pytest's line and the command line's are both made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_memory.progress import Progress
from pytest_memory.report import words
from pytest_memory.report.text import cell_width, fit
from pytest_memory.units import format_duration, format_size

if TYPE_CHECKING:
    from pytest_memory.load.progress import LoadProgress

_SAID: Mapping[str, str] = {"": "measuring", "settle": "settling", "explain": "looking for the cause"}
_GAP = "  "
_LEAST_DETAIL = 12  # columns; less of it says nothing
_LONG_RUN_S = 1.0  # the load runs of a leak test's rounds are shorter, and would only flicker


def progress_line(progress: Progress, width: int) -> str:
    """``"leak test, round 7  12 s, at most 88 s left  heap 14.1 MB"``: what there is room for, the phase above all."""
    phase = phase_text(progress.phase)
    elapsed, heap = _seconds(progress.elapsed_s), ""
    times = elapsed
    if progress.remaining_s is not None:
        times += f", {'at most ' if progress.at_most else ''}{_seconds(progress.remaining_s)} left"
    if progress.heap_used_bytes is not None:
        heap = f"heap {format_size(progress.heap_used_bytes)}"
    detail = words.clean(progress.detail, 400)
    for whole in (_joined(phase, times, heap, detail), _joined(phase, elapsed, heap, detail)):
        if cell_width(whole) <= width:
            return whole
    for line in (_joined(phase, times, heap), _joined(phase, elapsed, heap), _joined(phase, elapsed)):
        room = width - cell_width(line) - len(_GAP)
        if room >= -len(_GAP):
            return _joined(line, fit(detail, room) if room >= _LEAST_DETAIL else "")
    return fit(phase, width) if width > 0 else ""


def phase_text(phase: str) -> str:
    """A phase in words, whoever named it."""
    return words.clean(_SAID.get(phase, phase))


def current(seen: Sequence[Progress | None], load: LoadProgress | None) -> Progress | None:
    """What one line shows of all that goes on: a phase with a name, else a load run, else that something is measured.

    With the heap of whoever knows it."""
    known = [one for one in seen if one is not None]
    named = [one for one in known if one.phase]
    shown: Progress | None
    if named:
        shown = named[-1]
        if load is not None and load.t_s >= _LONG_RUN_S:
            shown = replace(shown, detail=str(load))
    elif load is not None:
        shown = of_load(load)
    else:
        shown = known[-1] if known else None
    heaps = [one.heap_used_bytes for one in known if one.heap_used_bytes is not None]
    return replace(shown, heap_used_bytes=heaps[-1]) if shown is not None and heaps else shown


def of_load(load: LoadProgress) -> Progress:
    """A load run as a phase; what it has sent is its detail."""
    return Progress(phase="load", elapsed_s=load.t_s, remaining_s=load_remaining_s(load), detail=str(load).strip())


def load_remaining_s(load: LoadProgress) -> float | None:
    """How long a load run goes on: the rest of its time, or, of so many requests, as long as the rest will take."""
    if load.warming_up or not load.share:
        return None
    return load.t_s * (1 - load.share) / load.share


def _joined(*parts: str) -> str:
    return _GAP.join(part for part in parts if part)


def _seconds(seconds: float) -> str:
    """Whole seconds: finer ones only flicker."""
    return f"{seconds:.0f} s" if seconds < 59.5 else format_duration(round(seconds))
