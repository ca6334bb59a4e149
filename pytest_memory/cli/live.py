"""What moves on the terminal while something is measured: the live table, the progress line.  Floor 7.

Silent when stderr is no terminal.  Shown on stderr, so that stdout holds the result alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_memory import units
from pytest_memory.progress import Progress
from pytest_memory.report import words
from pytest_memory.report.progress import load_remaining_s, phase_text, progress_line
from pytest_memory.report.series import STALE_S, HeapReader, bucket_peaks
from pytest_memory.report.text import fit, sparkline

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from pytest_memory.cli.output import Output
    from pytest_memory.load.progress import LoadProgress
    from pytest_memory.model import GcEvent, Sample

_FRAMES_PER_S = 4
_KEPT_SAMPLES = 10_000  # of the curve; a day at 1 s is thinned to the latest three hours
_SPARK_CELLS = 40
_NARROW = 60  # below this many columns only now and growth are shown

_HEAP_FIELD = "heap_used_bytes"
_ROWS = (
    ("", _HEAP_FIELD),  # its name depends
    ("heap total", "heap_total_bytes"),
    ("external", "external_bytes"),
    ("ArrayBuffers", "array_buffers_bytes"),
    ("RSS", "rss_bytes"),
)


class LiveTable:
    """The monitor's table: kept up to date by `take`, drawn by `show`."""

    def __init__(self, title: str, duration_s: float | None) -> None:
        self.title = title
        self.duration_s = duration_s
        self.status = ""
        self._lock = threading.Lock()
        self._latest: dict[int, Sample] = {}
        self._read_heap = HeapReader()
        self._with_workers = False
        self._first: dict[str, float] = {}
        self._range: dict[str, tuple[float, float]] = {}
        self._curve: deque[float | None] = deque(maxlen=_KEPT_SAMPLES)
        self._now_s = 0.0
        self._gc_events: tuple[GcEvent, ...] = ()
        self._look: Callable[[], Progress | None] = lambda: None

    def watch(self, look: Callable[[], Progress | None]) -> None:
        """Name the phase that ``look`` (a monitor's `progress`) tells."""
        self._look = look

    def take(self, sample: Sample) -> None:
        """A sample was taken (called on the sampling thread)."""
        with self._lock:
            stale = [pid for pid, known in self._latest.items() if sample.t_s - known.t_s > STALE_S]
            for pid in stale:
                del self._latest[pid]
            self._with_workers = self._with_workers or bool(sample.worker_heap_used_bytes)
            # The heap as it counts against limits: with that of the worker threads.
            self._latest[sample.pid] = replace(sample, heap_used_bytes=self._read_heap(sample))
            self._now_s = sample.t_s
            for _, field in _ROWS:
                total = self._total(field)
                if total is not None:
                    self._first.setdefault(field, total)
                    low, high = self._range.get(field, (total, total))
                    self._range[field] = (min(low, total), max(high, total))
            self._curve.append(self._total(_HEAP_FIELD))

    def take_gc_events(self, events: tuple[GcEvent, ...]) -> None:
        self._gc_events = events

    def _total(self, field: str) -> float | None:
        values = [getattr(sample, field) for sample in self._latest.values()]
        known = [value for value in values if value is not None]
        return float(sum(known)) if known else None

    def render(self, width: int) -> RenderableType:
        """The table at this moment, for a terminal of ``width`` columns."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        narrow = width < _NARROW
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("", no_wrap=True)
        for name in ("now", "growth") if narrow else ("now", "growth", "lowest", "highest"):
            table.add_column(name, justify="right", no_wrap=True)
        with self._lock:
            heap_name = words.heap_name(with_workers=self._with_workers)
            for label, field in _ROWS:
                table.add_row(*self._cells(label or heap_name, field, narrow))
            curve = list(self._curve)
            lines: list[RenderableType] = [
                Text(fit(self._headline(), width), style="bold"),
                table,
                Text(fit(self._gc_line(), width)),
            ]
        if any(value is not None for value in curve):
            drawn = sparkline(bucket_peaks(curve, min(_SPARK_CELLS, width - 6)))
            lines.append(Text(f"heap  {drawn}", style="cyan", no_wrap=True))
        return Group(*lines)

    def _cells(self, label: str, field: str, narrow: bool) -> list[str]:
        now = self._total(field)
        if now is None:
            return [label, "–", "–"] if narrow else [label, "–", "–", "–", "–"]
        growth = now - self._first[field]
        low, high = self._range[field]
        cells = [label, units.format_size(now), f"{'+' if growth > 0 else ''}{units.format_size(growth)}"]
        return cells if narrow else [*cells, units.format_size(low), units.format_size(high)]

    def _headline(self) -> str:
        elapsed = units.format_duration(round(self._now_s, 1))
        left = ""
        if self.duration_s is not None:
            left = f", {units.format_duration(max(0.0, round(self.duration_s - self._now_s)))} left"
        where = self._look()
        phase = phase_text(where.phase) if where is not None and where.phase else ""
        return " · ".join(part for part in (f"{self.title}  {elapsed}{left}", phase, self.status) if part)

    def _gc_line(self) -> str:
        events = self._gc_events
        if not events:
            return "GC    none yet"
        major = sum(1 for event in events if event.kind == "mark-compact")
        paused_s = sum(event.duration_s for event in events)
        longest_s = max(event.duration_s for event in events)
        return (
            f"GC    {len(events)} ({major} major), {units.format_duration(paused_s)}, "
            f"max {units.format_duration(longest_s)}"
        )


@contextlib.contextmanager
def showing(output: Output, table: LiveTable) -> Iterator[None]:
    """Draw ``table`` while inside; it disappears at the end, the result takes its place."""
    if not output.can_show_progress:
        yield
        return
    from rich.live import Live

    console = make_console()
    with Live(
        console=console,
        refresh_per_second=_FRAMES_PER_S,
        transient=True,
        get_renderable=lambda: table.render(console.width),
    ):
        yield


def make_console() -> Console:
    """rich's console on stderr; it obeys NO_COLOR by itself."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


class ProgressLine:
    """One line that is rewritten in place: ``baseline  42 s  heap 12.3 MB  GET /``.  Silent without a terminal."""

    def __init__(self, output: Output, label: str) -> None:
        self._output = output
        self.label = label
        self._began = time.monotonic()
        self._live: Any = None
        self._text = ""
        self._ends_s: float | None = None
        self._look: Callable[[], Progress | None] = lambda: None

    def __enter__(self) -> ProgressLine:
        if self._output.can_show_progress:
            from rich.live import Live
            from rich.text import Text

            console = make_console()
            self._live = Live(
                console=console,
                refresh_per_second=_FRAMES_PER_S,
                transient=True,
                get_renderable=lambda: Text(progress_line(self.seen(), console.width), no_wrap=True),
            )
            self._live.start()
        return self

    def seen(self) -> Progress:
        """What the line shows now."""
        now_s = time.monotonic()
        where = self._look()
        return Progress(
            phase=self.label,
            elapsed_s=now_s - self._began,
            remaining_s=None if self._ends_s is None else max(0.0, self._ends_s - now_s),
            heap_used_bytes=where.heap_used_bytes if where is not None else None,
            detail=self._text,
        )

    def watch(self, look: Callable[[], Progress | None]) -> None:
        """Show the heap that ``look`` (a monitor's `progress`) knows."""
        self._look = look

    def say(self, text: object, *, label: str | None = None) -> None:
        """Replace what the line says."""
        self._text = str(text)
        if label is not None:
            self.label = label

    def say_share(self, what: str, share: float) -> None:
        """Replace what the line says by a stage of work: not every one knows how far it is, and begins with 0."""
        self.say(f"{what} {share:.0%}" if share else what)

    def say_load(self, load: LoadProgress) -> None:
        """Replace what the line says by how far a load run is, and when it will be through."""
        self.say(str(load).strip())
        remaining_s = load_remaining_s(load)
        self._ends_s = None if remaining_s is None else time.monotonic() + remaining_s

    def __exit__(self, *exc_info: object) -> None:
        if self._live is not None:
            self._live.stop()
