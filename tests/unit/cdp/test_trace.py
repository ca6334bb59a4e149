"""Collections read out of V8's trace events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memory.cdp.trace import Pause, PauseReader
from pytest_memory.model import GcKind

PID = 4321


def event(name: str, phase: str, at_us: float, **extra: Any) -> dict[str, Any]:
    return {"pid": PID, "tid": PID, "ts": at_us, "ph": phase, "cat": "v8", "name": name, "dur": 0, "args": {}, **extra}


def collection(name: str, start_us: float, end_us: float, reason: str = "allocation failure") -> list[dict[str, Any]]:
    return [event(name, "B", start_us, args={"type": reason}), event(name, "E", end_us)]


def test_a_begin_and_an_end_are_one_pause() -> None:
    told = [*collection("MinorGC", 1000, 1700), *collection("MajorGC", 5000, 9000)]
    assert list(PauseReader().read(told)) == [Pause("scavenge", 1000, 700), Pause("mark-compact", 5000, 4000)]


def test_an_event_that_has_its_duration_is_one_pause() -> None:
    told = [
        event("V8.GCIncrementalMarkingStart", "X", 10, dur=300),
        event("V8.GCPhantomHandleProcessingCallback", "X", 900, dur=20),
        event("V8.GCIncrementalMarking", "X", 1000, dur=50),  # a step: not told by Node's observer either
    ]
    assert list(PauseReader().read(told)) == [Pause("incremental", 10, 300), Pause("weak-callbacks", 900, 20)]


@pytest.mark.parametrize("reason", ["low memory notification", "heap profiler", "sampling profiler"])
def test_what_an_inspector_forces_is_not_the_apps(reason: str) -> None:
    told = [*collection("MajorGC", 1, 2, reason), *collection("MajorGC", 3, 5, "testing")]
    assert list(PauseReader().read(told)) == [Pause("mark-compact", 3, 2)]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("incremental finalization step", "incremental"), ("invoke weak phantom callbacks", "weak-callbacks")],
)
def test_what_is_traced_as_a_collection_and_collects_nothing_is_none(reason: str, kind: GcKind) -> None:
    assert list(PauseReader().read(collection("MajorGC", 1, 2, reason))) == [Pause(kind, 1, 1)]


@pytest.mark.parametrize("name", ["V8.GCMinorMS", "V8.GCMinorMC"])
def test_a_minor_collection_that_marks_is_told_by_what_happens_inside(name: str) -> None:
    begin, end = collection("MinorGC", 100, 200)
    told = [begin, event(name, "X", 110, dur=80), end, *collection("MinorGC", 300, 400)]
    assert [pause.kind for pause in PauseReader().read(told)] == ["minor-mark-compact", "scavenge"]


def test_a_collection_that_ends_in_the_next_message_is_one() -> None:
    """Node sends a buffer when it is full, in the middle of whatever is noted."""
    reader = PauseReader()
    begin, end = collection("MajorGC", 100, 400)
    assert list(reader.read([*collection("MinorGC", 1, 2), begin])) == [Pause("scavenge", 1, 1)]
    assert list(reader.read([end, *collection("MinorGC", 500, 600)])) == [
        Pause("mark-compact", 100, 300),
        Pause("scavenge", 500, 100),
    ]


def test_other_threads_collections_are_not_the_main_threads() -> None:
    worker = [{**told, "tid": PID + 7} for told in collection("MajorGC", 1, 2)]
    assert list(PauseReader().read([*worker, *collection("MinorGC", 3, 4)])) == [Pause("scavenge", 3, 1)]


def test_where_the_main_thread_has_another_number_it_is_known_by_its_name() -> None:
    name = event("thread_name", "M", 0, tid=9, args={"name": "JavaScriptMainThread"})
    other = event("thread_name", "M", 0, tid=PID, args={"name": "WorkerThread"})
    mine = [{**told, "tid": 9} for told in collection("MajorGC", 1, 2)]
    told = [other, *collection("MinorGC", 3, 4), *mine, name]
    assert list(PauseReader().read(told)) == [Pause("mark-compact", 1, 1)]


def test_a_collection_cut_off_at_either_side_is_none() -> None:
    begin, end = collection("MinorGC", 1, 2)
    assert list(PauseReader().read([end, begin])) == []


@pytest.mark.parametrize(
    "odd", [None, {}, 7, "x", [None, 3, [], "MinorGC"], [{"ph": "B"}], [{"name": "MinorGC", "ph": "B"}]]
)
def test_whatever_is_of_another_shape_is_passed_over(odd: object) -> None:
    assert list(PauseReader().read(odd)) == []


ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.dictionaries(st.text(), st.none())
)
KEYS = ["name", "ph", "ts", "tid", "pid", "dur", "args"]


@given(
    st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, ODD))
        | st.builds(
            event,
            st.sampled_from(["MinorGC", "MajorGC", "V8.GCIncrementalMarkingStart", "thread_name"]),
            st.sampled_from(["B", "E", "X", "M", "?"]),
            st.floats() | st.integers(),
            dur=ODD,
            tid=st.sampled_from([PID, 1, None]),
            args=ODD | st.fixed_dictionaries({"type": ODD, "name": ODD}),
        ),
        max_size=12,
    )
)
def test_no_event_breaks_it_and_every_pause_has_a_time(told: list[Any]) -> None:
    for pause in PauseReader().read(told):
        assert pause.duration_us >= 0
        assert abs(pause.start_us) < 1e19
