"""Garbage collections in the trace events of V8: what ``NodeTracing.dataCollected`` carries in, records out.

What it is: the reading of trace events of the category ``v8`` (Chrome's trace event format, `Heap::CollectGarbage` and
`GCTracer` of V8), pairs of begin and end made into pauses.  What it is not: the asking for them, which is `gc_trace`.
Floor 2: a function of values.

The same pauses as Node's own observer of ``gc`` entries tells, Node 18 to 26, but for two things.  A collection has a
reason here, so that those which an inspector forces are known for what they are and left out, whoever forced them.  And
the beginning of incremental marking is told until V8 13 (Node 24) and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_memory.model import GcKind

CATEGORY: Final = "v8"
"""The narrowest category that has the collections.  With ``devtools.timeline`` each would be two dozen events."""

_PAUSES: Final[dict[str, GcKind]] = {
    "MinorGC": "scavenge",
    "MajorGC": "mark-compact",
    "V8.GCIncrementalMarkingStart": "incremental",
    "V8.GCPhantomHandleProcessingCallback": "weak-callbacks",
}
# What happens inside of a MinorGC with --minor-ms (--minor-mc until V8 11).
_MINOR_MARKING: Final = frozenset({"V8.GCMinorMS", "V8.GCMinorMC"})
# A MajorGC that collects nothing but ends marking, or runs the finalizers of a collection (V8 10, Node 18).
_OTHERWISE: Final[dict[str, GcKind]] = {
    "incremental finalization step": "incremental",
    "invoke weak phantom callbacks": "weak-callbacks",
}
_ENDLESS: Final = 1e18  # JSON has numbers of any size, a clock has not
_FORCED: Final = frozenset({"low memory notification", "heap profiler", "sampling profiler"})
"""HeapProfiler.collectGarbage, a snapshot, the beginning of a sampling profile: somebody looked at the heap."""


@dataclass(frozen=True, slots=True)
class Pause:
    """One collection on the main thread, in microseconds of the app's monotonic clock (``process.hrtime``)."""

    kind: GcKind
    start_us: float
    duration_us: float


class PauseReader:
    """The pauses in the messages of one trace, in the order they came.

    A message ends where a buffer of Node's was full: the beginning of a collection may be in one and its end in the
    next."""

    def __init__(self) -> None:
        self._open: dict[str, _Begun] = {}

    def read(self, events: object) -> Iterator[Pause]:
        """The pauses of the main thread that end in one message's ``value``; what is of another shape is passed over.

        A process traces all its threads at once.  Its main thread is named in every message, and on Linux it has the
        number of the process."""
        listed = [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []
        yield from _read_pauses(listed, self._open)


def _read_pauses(listed: Sequence[dict[str, object]], open_: dict[str, _Begun]) -> Iterator[Pause]:
    main = _find_main_thread(listed)
    for event in listed:
        name, at_us = event.get("name"), _number_of(event, "ts")
        if event.get("tid") != main or not isinstance(name, str) or at_us is None:
            continue
        phase = event.get("ph")
        if phase == "B" and name in _PAUSES:
            open_[name] = _Begun(at_us, _text_of(event, "type"))
        elif phase == "E" and name in open_:
            begun = open_.pop(name)
            if begun.reason not in _FORCED and at_us >= begun.at_us:
                yield Pause(begun.kind_of(name), begun.at_us, at_us - begun.at_us)
        elif phase == "X" and name in _PAUSES and (duration_us := _number_of(event, "dur") or 0.0) >= 0:
            yield Pause(_PAUSES[name], at_us, duration_us)
        elif name in _MINOR_MARKING and "MinorGC" in open_:
            open_["MinorGC"].marks = True


@dataclass(slots=True)
class _Begun:
    """A collection that has not ended yet."""

    at_us: float
    reason: str
    marks: bool = False

    def kind_of(self, name: str) -> GcKind:
        if self.marks:
            return "minor-mark-compact"
        return _OTHERWISE.get(self.reason, _PAUSES[name])


def _find_main_thread(events: Sequence[dict[str, object]]) -> object:
    for event in events:
        if event.get("name") == "thread_name" and _text_of(event, "name") == "JavaScriptMainThread":
            return event.get("tid")
    return events[0].get("pid") if events else None


def _text_of(event: dict[str, object], argument: str) -> str:
    arguments = event.get("args")
    value = arguments.get(argument) if isinstance(arguments, dict) else None
    return value if isinstance(value, str) else ""


def _number_of(event: dict[str, object], key: str) -> float | None:
    value = event.get(key)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _ENDLESS
    return float(value) if is_number else None  # type: ignore[arg-type]
