"""Notes of the probe: the latest whole one, no delay lost, no file left."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.node import notes as module
from pytest_memory.node.notes import Note, Notes, read_notes

PLACES = 64


def note(number: float, *, used: float = 1000.0, delay_ms: float = -1.0, last: float | None = None) -> bytes:
    return struct.pack("=8d", number, 12.5, used, 2000.0, 300.0, 40.0, delay_ms, number if last is None else last)


def file_of(*written: bytes) -> bytes:
    """As the probe writes them, from the first on."""
    places = [bytes(64)] * PLACES
    for number, one in enumerate(written, 1):
        places[number % PLACES] = one
    return b"".join(places)


def test_the_latest_note_is_read_once() -> None:
    data = file_of(note(1, used=10), note(2, used=20, delay_ms=1.5))
    latest, number = read_notes(data, 0)
    assert latest == Note(
        at_ms=12.5,
        heap_used_bytes=20,
        heap_total_bytes=2000,
        external_bytes=300,
        array_buffers_bytes=40,
        loop_delay_s=0.0015,
    )
    assert number == 2
    assert read_notes(data, number) == (None, 2)


def test_a_delay_is_not_lost_where_the_reader_comes_late() -> None:
    data = file_of(note(1, delay_ms=900), note(2, delay_ms=680), note(3, delay_ms=0), note(4))
    latest, number = read_notes(data, 1)
    assert number == 4
    assert latest is not None
    assert latest.loop_delay_s == 0.68


@pytest.mark.parametrize("count", [63, 64, 65, 200])
def test_places_are_used_again(count: int) -> None:
    latest, number = read_notes(file_of(*(note(n, used=n) for n in range(1, count + 1))), count - 1)
    assert (latest and latest.heap_used_bytes, number) == (count, count)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(4096),
        file_of(note(1))[:-1][:64],
        note(3, last=2),
        note(1)[:-1],
        note(1, used=float("nan")),
        note(1, used=float("inf")),
    ],
    ids=["nothing", "new file", "cut", "half overwritten", "half", "no number", "no size"],
)
def test_what_is_no_whole_note_is_none(data: bytes) -> None:
    assert read_notes(data, 0) == (None, 0)


@given(st.binary(max_size=4200), st.integers(0, 100))
def test_any_bytes_are_read(data: bytes, after: int) -> None:
    latest, number = read_notes(data, after)
    assert (number > after) == (latest is not None)


@pytest.mark.parametrize(
    ("every_s", "age_ms", "fresh"),
    [
        (0.1, 10, True),
        (0.1, 20, True),
        (0.1, 20.5, False),
        (0.9, 20.5, False),
        (0.01, 5, True),
        (0.01, 5.5, False),
        (0.1, -3, True),
    ],
)
def test_an_old_note_is_no_sample_in_time(every_s: float, age_ms: float, fresh: bool) -> None:
    notes = Notes(every_s)
    try:
        noted = Note(7000.0, 1, 2, 3, 4, None)
        assert notes.is_fresh(noted, 7000.0 + age_ms) is fresh
    finally:
        notes.close()


def test_where_no_file_can_be_made_there_are_no_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY", tmp_path / "missing")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing too"))
    assert Notes.open(0.1) is None
    assert Notes.open(None) is None


def test_a_hidden_file_is_read_and_no_name_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY", tmp_path)
    notes = Notes(0.1)
    assert notes.take() is None
    with notes.path.open("r+b") as app:
        notes.hide()
        assert not list(tmp_path.iterdir())
        app.seek(64)
        app.write(note(1, used=77))
        app.flush()
        taken = notes.take()
    assert taken is not None
    assert taken.heap_used_bytes == 77
    notes.close()
    notes.close()
    assert notes.take() is None


def test_where_no_memory_is_mounted_the_usual_directory_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY", tmp_path / "missing")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    notes = Notes(0.1)
    try:
        assert notes.path.parent == tmp_path
        assert os.stat(notes.path).st_mode & 0o777 == 0o600
    finally:
        notes.close()
    assert not list(tmp_path.iterdir())
