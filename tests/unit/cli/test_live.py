"""The live table and the progress line, drawn at several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pytest_memory.cli.live import LiveTable, ProgressLine
from pytest_memory.cli.output import Output
from pytest_memory.load.progress import LoadProgress
from pytest_memory.model import GcEvent, Sample
from pytest_memory.progress import Progress


def filled(pids: tuple[int, ...] = (1,)) -> LiveTable:
    table = LiveTable("monitor server.js", 60.0)
    for second in range(30):
        for pid in pids:
            table.take(
                Sample(
                    t_s=float(second),
                    pid=pid,
                    heap_used_bytes=10_000_000 + second * 100_000,
                    heap_total_bytes=20_000_000,
                    rss_bytes=50_000_000,
                )
            )
    table.take_gc_events(
        (
            GcEvent(t_s=1, pid=1, kind="mark-compact", duration_s=0.01),
            GcEvent(t_s=2, pid=1, kind="scavenge", duration_s=0.002),
        )
    )
    return table


def drawn(table: LiveTable, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table.render(width))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 60, 100])
def test_table_fits(width: int) -> None:
    lines = drawn(filled(), width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "heap used" in text
    assert "12.9 MB" in text
    assert "+2.90 MB" in text
    assert "2 (1 major)" in text


def test_the_headline_names_the_phase() -> None:
    table = filled()
    table.status = "1,234 requests"
    for phase, said in (("leak test, round 7", " · leak test, round 7"), ("settle", " · settling"), ("", "")):
        table.watch(lambda phase=phase: Progress(phase=phase, elapsed_s=1.0))  # type: ignore[misc]
        assert drawn(table, 100)[0].rstrip() == f"monitor server.js  29.0 s, 31.0 s left{said} · 1,234 requests"


def test_processes_are_summed() -> None:
    assert any("RSS" in line and "100 MB" in line for line in drawn(filled((1, 2)), 100))


def test_what_was_not_measured_is_a_dash() -> None:
    assert any("external" in line and "–" in line for line in drawn(filled(), 100))


def test_before_the_first_sample() -> None:
    assert "monitor x" in drawn(LiveTable("monitor x", None), 80)[0]


def test_a_process_that_ended_is_no_longer_counted() -> None:
    table = filled((1, 2))
    for second in range(30, 40):
        table.take(Sample(t_s=float(second), pid=1, rss_bytes=50_000_000))
    assert any("RSS" in line and "50.0 MB" in line for line in drawn(table, 100))


def test_worker_heaps_count_as_heap_between_their_answers_too() -> None:
    table = LiveTable("monitor server.js", 60.0)
    for index, workers in enumerate((5_000_000, None, None, 64_000_000, None)):
        table.take(Sample(t_s=index * 0.5, pid=1, heap_used_bytes=8_000_000, worker_heap_used_bytes=workers))
    for width in (40, 100):
        lines = drawn(table, width)
        assert max(map(len, lines)) <= width
        (heap,) = [line for line in lines if line.startswith("heap used + workers")]
        assert "72.0 MB" in heap
        assert "+59.0 MB" in heap


def test_progress_line_is_silent_without_a_terminal() -> None:
    err = io.StringIO()
    with ProgressLine(Output(out=io.StringIO(), err=err), "load") as progress:
        progress.say("half way")
    assert err.getvalue() == ""


def test_progress_line_tells_what_is_left_of_a_load_run_and_the_heap_of_a_monitor() -> None:
    line = ProgressLine(Output(out=io.StringIO(), err=io.StringIO()), "load")
    assert (line.seen().remaining_s, line.seen().heap_used_bytes) == (None, None)
    line.say_load(LoadProgress(t_s=2.0, requests=10, errors=0, active=1, rps=5, p99_s=0.01, share=0.2))
    line.watch(lambda: Progress(phase="warm-up", elapsed_s=1.0, heap_used_bytes=5_000_000))
    seen = line.seen()
    assert seen.remaining_s == pytest.approx(8.0, abs=1.0)
    assert (seen.phase, seen.heap_used_bytes) == ("load", 5_000_000)
    assert seen.detail.startswith("20%  10 requests")
