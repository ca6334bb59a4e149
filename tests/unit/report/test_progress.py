"""The live line at every width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.load.progress import LoadProgress
from pytest_memory.progress import Progress
from pytest_memory.report.progress import current, load_remaining_s, progress_line
from pytest_memory.report.text import cell_width

ROUND = Progress(phase="leak test, round 7", elapsed_s=12.3, remaining_s=87.7, at_most=True, heap_used_bytes=14_100_000)


def load(**more):
    return LoadProgress(
        **{"t_s": 12.0, "requests": 1234, "errors": 0, "active": 4, "rps": 103, "p99_s": 0.0042, **more}
    )


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "leak test, round 7  12 s, at most 1 min 28 s left  heap 14.1 MB"),
        (50, "leak test, round 7  12 s  heap 14.1 MB"),
        (30, "leak test, round 7  12 s"),
        (18, "leak test, round 7"),
        (11, "leak …und 7"),
        (0, ""),
        (-5, ""),
    ],
)
def test_what_there_is_no_room_for_goes_the_phase_last(width, line):
    assert progress_line(ROUND, width) == line


def test_a_load_run_tells_what_it_has_sent_where_there_is_room():
    progress = current([], load(share=0.4))
    assert progress_line(progress, 80) == "load  12 s, 18 s left  40%  1,234 requests, 103/s, p99 4.20 ms"
    assert progress_line(progress, 55) == "load  12 s  40%  1,234 requests, 103/s, p99 4.20 ms"
    assert progress_line(progress, 40) == "load  12 s, 18 s left  40%  1,2… 4.20 ms"


@pytest.mark.parametrize(
    ("phase", "said"), [("", "measuring"), ("settle", "settling"), ("\x1b[31m\nidle", "�[31m idle")]
)
def test_phases_are_said_in_words_and_never_move_the_cursor(phase, said):
    line = progress_line(Progress(phase=phase, elapsed_s=0.4), 80)
    assert line.endswith("  0 s")
    assert "\x1b" not in line
    assert "\n" not in line
    assert len(line) == len(said) + 5


@given(
    st.text(max_size=60),
    st.floats(0, 1e6),
    st.one_of(st.none(), st.floats(0, 1e6)),
    st.one_of(st.none(), st.integers(0, 2**53)),
    st.text(max_size=60),
    st.integers(0, 120),
)
def test_every_line_fits(phase, elapsed_s, remaining_s, heap, detail, width):
    progress = Progress(phase=phase, elapsed_s=elapsed_s, remaining_s=remaining_s, heap_used_bytes=heap, detail=detail)
    assert cell_width(progress_line(progress, width)) <= width


def test_a_phase_with_a_name_comes_before_a_load_run_and_that_before_none():
    own = Progress(phase="", elapsed_s=1.0, heap_used_bytes=5.0)
    snapshot = Progress(phase="snapshot before", elapsed_s=2.0)
    assert current([None, None], None) is None
    assert current([own], None) == own
    assert current([own, None], load()).phase == "load"
    assert current([own], load()).heap_used_bytes == 5.0
    assert (current([own, snapshot], load(t_s=0.3)).phase, current([own, snapshot], None).heap_used_bytes) == (
        "snapshot before",
        5.0,
    )
    assert "1,234 requests" in current([snapshot], load()).detail
    assert current([ROUND], load(t_s=0.3)).detail == "", "the short runs of a round would only flicker"


def test_how_long_a_load_run_goes_on():
    assert load_remaining_s(load(share=0.25)) == pytest.approx(36.0)
    assert load_remaining_s(load(share=None)) is None
    assert load_remaining_s(load(share=0.0)) is None
    assert load_remaining_s(load(share=0.5, warming_up=True)) is None
