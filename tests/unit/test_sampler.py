"""The sampler's clock: what the app says of its own time, put on ours."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest
from support.sampled import SampledNobody

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.errors import InspectorCommandError, InspectorTimeout
from pytest_memory.sampler import Sampler
from pytest_memory.watch import Draft, Watch


class Inspector:
    """Answers when told to, and does not trace."""

    closed = False
    exiting = False

    def __init__(self) -> None:
        self.asked: list[Future[dict[str, Any]]] = []
        self.takes_probe = True
        self.tracing = threading.Lock()

    def evaluate(self, *args: object, **options: object) -> list[float]:
        if not self.takes_probe:
            raise InspectorTimeout("the app is blocked")
        return [0.0, 0.0, False]

    def call(self, method: str, *args: object, **options: object) -> dict[str, Any]:
        raise InspectorCommandError(f"{method} was refused by Node")

    def submit(self, method: str, params: object = None) -> Future[dict[str, Any]]:
        self.asked.append(Future())
        return self.asked[-1]

    def on_exit(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.farewell = callback
        return lambda: None

    def together(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def test_a_late_answer_is_timed_by_its_arrival_not_by_when_it_is_looked_at() -> None:
    inspector = Inspector()
    watch = Watch(1, cast(InspectorClient, inspector), "me")
    future = watch.request(full=False)
    assert future is not None
    draft = Draft()
    watch.collect(draft, future, 0.0, listener=cast(Any, None))
    assert draft.blocked

    # Its clock began now; the answer comes at once, and is collected a tick later.
    began = time.monotonic()
    inspector.asked[-1].set_result({})
    time.sleep(0.3)
    assert watch._match_clocks(0.0) <= began + 0.1


def test_who_is_woken_before_the_arrival_is_noted_takes_the_time_as_it_is() -> None:
    watch = Watch(1, cast(InspectorClient, Inspector()), "me")
    assert watch.request(full=False) is not None
    before = time.monotonic()
    assert before - 0.1 <= watch._match_clocks(0.0) <= time.monotonic()


def answer(*events: float, now_ms: float = 0.0) -> dict[str, Any]:
    """A reading of the probe with these events: (start_ms, duration_ms, kind) each."""
    return {"result": {"value": [now_ms, 1, 2, 3, 4, -1, -1, 0, *events]}}


class Obedient(Inspector):
    """Answers at once: a reading for a pause, nothing of use for all else."""

    def __init__(self, *readings: dict[str, Any]) -> None:
        super().__init__()
        self.readings = list(readings)
        self.verbs: list[str] = []
        self.methods: list[str] = []
        self.obeys = True

    def submit(self, method: str, params: Any = None) -> Future[dict[str, Any]]:
        future = super().submit(method, params)
        self.methods.append(method)
        if not self.obeys:
            return future
        expression = (params or {}).get("expression", "")
        self.verbs.extend(verb for verb in ("pause", "resume", "read") if f"{verb}(" in expression)
        asks = any(f"{verb}(" in expression for verb in ("pause", "read", "remove"))
        future.set_result(self.readings.pop(0) if asks and self.readings else {})
        return future


FRESH_MS = -10_000.0  # however long a slow machine takes to read it


class Noting(Obedient):
    """On the machine's clock; opens the file it is given, and notes what it is told to."""

    def evaluate(self, *args: object, **options: object) -> list[float]:
        _, path, _ = json.loads(cast(str, args[0]).rpartition("(...")[2].rstrip(")"))
        self.file = Path(path).open("r+b", buffering=0)  # noqa: SIM115 - as long as the test
        self.written = 0
        return [0.0, time.monotonic() * 1000, True]

    def note(self, used: float, *, age_ms: float, delay_ms: float = -1.0) -> None:
        self.written += 1
        self.file.seek(self.written % 64 * 64)
        at_ms = time.monotonic() * 1000 - age_ms
        self.file.write(struct.pack("=8d", self.written, at_ms, used, 2.0, 3.0, 4.0, delay_ms, self.written))


@pytest.fixture
def noting() -> Iterator[tuple[Watch, Noting]]:
    inspector = Noting()
    watch = Watch(1, cast(InspectorClient, inspector), "me", notes_every_s=0.1)
    yield watch, inspector
    watch.let_go(Sampler(SampledNobody()))
    inspector.file.close()


def test_what_the_app_has_noted_is_a_sample(noting: tuple[Watch, Noting]) -> None:
    watch, inspector = noting
    draft = Draft()
    watch.read_note(draft, Sampler(SampledNobody()))
    assert not draft.noted
    inspector.note(7.0, age_ms=FRESH_MS, delay_ms=3.0)
    watch.read_note(draft, Sampler(SampledNobody()))
    assert draft.noted
    assert draft.values == {
        "heap_used_bytes": 7,
        "heap_total_bytes": 2,
        "external_bytes": 3,
        "array_buffers_bytes": 4,
        "loop_delay_s": 0.003,
    }


@pytest.mark.parametrize(("asked_ms", "told_s"), [(-1.0, 0.9), (300.0, 0.9), (1200.0, 1.2)])
def test_a_late_note_is_no_sample_but_its_delay_is_not_lost(
    noting: tuple[Watch, Noting], asked_ms: float, told_s: float
) -> None:
    """Noting it was the end of the delay, which the answer to a question knows no more."""
    watch, inspector = noting
    draft = Draft()
    inspector.note(7.0, age_ms=10_000.0, delay_ms=900.0)
    watch.read_note(draft, Sampler(SampledNobody()))
    assert not draft.noted
    inspector.readings = [{"result": {"value": [0.0, 1, 2, 3, 4, asked_ms, -1, 0]}}]
    future = watch.request(full=False)
    assert future is not None
    watch.collect(draft, future, 0.0, Sampler(SampledNobody()))
    assert draft.values["heap_used_bytes"] == 1
    assert draft.values["loop_delay_s"] == told_s


def reading_of(used: float, delay_ms: float = -1.0) -> dict[str, Any]:
    return {"result": {"value": [0.0, used, 2, 3, 4, delay_ms, -1, 0]}}


def late_question(watch: Watch, inspector: Noting, draft: Draft) -> Future[dict[str, Any]]:
    """Asked, and not answered in time."""
    inspector.obeys = False
    future = watch.request(full=False)
    assert future is not None
    watch.collect(draft, future, 0.0, Sampler(SampledNobody()))
    inspector.obeys = True
    return future


def test_a_late_answer_does_not_stand_for_what_has_been_noted_since(noting: tuple[Watch, Noting]) -> None:
    watch, inspector = noting
    late = late_question(watch, inspector, Draft())
    late.set_result(reading_of(1.0, delay_ms=700.0))
    inspector.note(9.0, age_ms=FRESH_MS, delay_ms=30.0)
    draft = Draft()
    watch.read_note(draft, Sampler(SampledNobody()))
    assert not watch.has_open_answers
    assert (draft.values["heap_used_bytes"], draft.values["loop_delay_s"], draft.noted) == (9, 0.7, True)


def test_a_question_that_is_still_open_does_not_block_what_has_been_noted(noting: tuple[Watch, Noting]) -> None:
    watch, inspector = noting
    draft = Draft()
    late = late_question(watch, inspector, draft)
    assert draft.blocked
    draft = Draft()
    inspector.note(9.0, age_ms=FRESH_MS)
    watch.read_note(draft, Sampler(SampledNobody()))
    again = watch.request(full=True)
    assert again is late
    watch.collect(draft, again, 0.0, Sampler(SampledNobody()))
    assert not draft.blocked
    late.set_result(reading_of(1.0))
    watch.collect(draft, again, 0.0, Sampler(SampledNobody()))
    assert draft.values["heap_used_bytes"] == 9


def test_logged_objects_are_let_go_with_the_next_question_that_is_asked(noting: tuple[Watch, Noting]) -> None:
    watch, inspector = noting
    late = late_question(watch, inspector, Draft())
    inspector.methods.clear()
    assert watch.request(full=False, logged=True) is late
    assert inspector.methods == []
    late.set_result(reading_of(1.0))
    watch.read_note(Draft(), Sampler(SampledNobody()))
    watch.request(full=False, logged=False)
    assert inspector.methods == ["Runtime.discardConsoleEntries", "Runtime.evaluate"]


def test_a_delay_of_before_a_pause_is_not_told_behind_it(noting: tuple[Watch, Noting]) -> None:
    watch, inspector = noting
    inspector.note(7.0, age_ms=FRESH_MS, delay_ms=900.0)
    watch.resume_probe()
    draft = Draft()
    watch.read_note(draft, Sampler(SampledNobody()))
    assert draft.values.get("loop_delay_s") is None
    assert not draft.noted


def watch_of(sampler: Sampler, inspector: Inspector) -> Watch:
    watch = Watch(1, cast(InspectorClient, inspector), "me")
    sampler._begin_watching(watch)
    return watch


@pytest.mark.parametrize("at_ms", [0.0, 4_000.0, -9e9])
def test_what_the_pause_brings_came_before_whatever_the_apps_clock_says(at_ms: float) -> None:
    sampler = Sampler(SampledNobody())
    watch = watch_of(sampler, Obedient(answer(at_ms, 5.0, 4.0), answer(at_ms, 7.0, 4.0)))
    with sampler.quiet():
        pass
    before = sampler.gc_events_before_pause
    assert before == 1
    future = watch.request(full=False)
    assert future is not None
    watch.collect(Draft(), future, 0.0, sampler)
    assert [event.duration_s for event in sampler.gc_events[before:]] == [0.007]


def test_a_question_still_open_is_answered_before_the_pause() -> None:
    sampler = Sampler(SampledNobody())
    inspector = Inspector()
    watch = watch_of(sampler, inspector)
    future = watch.request(full=False)
    assert future is not None
    watch.collect(Draft(), future, 0.0, sampler)  # the loop is blocked
    future.set_result(answer(1.0, 3.0, 1.0))
    watch.inspector = cast(InspectorClient, Obedient(answer(2.0, 5.0, 1.0)))
    with sampler.quiet():
        assert [event.duration_s for event in sampler.gc_events] == [0.003, 0.005]
    assert sampler.gc_events_before_pause == 2


def test_a_pause_that_is_answered_while_the_app_is_settled_still_tells_of_what_came_before(monkeypatch: Any) -> None:
    monkeypatch.setattr("pytest_memory.sampler._MAX_PAUSE_S", 0.01)
    sampler = Sampler(SampledNobody())
    inspector = Inspector()
    watch_of(sampler, inspector)
    with sampler.quiet():
        assert not sampler.gc_events
        inspector.asked[-1].set_result(answer(1.0, 9.0, 4.0))
    assert [event.duration_s for event in sampler.gc_events] == [0.009]
    assert sampler.gc_events_before_pause == 1


def test_quiet_within_quiet_is_quiet_until_the_outer_one_ends() -> None:
    sampler = Sampler(SampledNobody())
    inspector = Obedient(answer())
    watch_of(sampler, inspector)
    with sampler.quiet():
        with sampler.quiet():
            pass
        assert inspector.verbs == ["resume", "pause"]
    assert inspector.verbs == ["resume", "pause", "resume"]


def test_an_interrupt_while_waiting_for_the_pause_does_not_leave_the_sampler_deaf(monkeypatch: Any) -> None:
    sampler = Sampler(SampledNobody())
    inspector = Obedient()
    watch_of(sampler, inspector)
    monkeypatch.setattr(sampler, "_ask_all", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt), sampler.quiet():
        pass
    assert inspector.verbs == ["resume", "resume"]
    assert not sampler._quiet.is_set()


def test_what_another_settles_is_a_sample_without_a_heap_not_the_end_of_the_probe() -> None:
    sampler = Sampler(SampledNobody())
    watch = watch_of(sampler, Obedient({"result": {"type": "object", "subtype": "null", "value": None}}))
    future = watch.request(full=False)
    assert future is not None
    draft = Draft()
    watch.collect(draft, future, 0.0, sampler)
    assert watch.probed
    assert not draft.values
    assert not draft.blocked


@pytest.mark.parametrize(
    ("reply", "probed"),
    [
        ({"result": {"type": "undefined"}}, False),
        ({"result": {"type": "object", "subtype": "error"}, "exceptionDetails": {"text": "EMFILE"}}, True),
    ],
)
def test_a_reading_that_fails_once_is_asked_again_and_a_probe_that_is_gone_is_not(
    reply: dict[str, Any], probed: bool
) -> None:
    sampler = Sampler(SampledNobody())
    watch = watch_of(sampler, Obedient(reply))
    future = watch.request(full=False)
    assert future is not None
    watch.collect(Draft(), future, 0.0, sampler)
    assert watch.probed is probed


def test_a_process_that_ends_without_its_last_answer_leaves_its_collections_unknown() -> None:
    sampler = Sampler(SampledNobody())
    watch = watch_of(sampler, Inspector())
    future = watch.request(full=False)
    assert future is not None
    watch.collect(Draft(), future, 0.0, sampler)
    sampler._forget_others([])
    assert sampler.gc_dropped == 1


def test_who_did_not_take_the_probe_is_asked_again_later_and_until_then_collections_are_not_observed(
    monkeypatch: Any,
) -> None:
    sampler = Sampler(SampledNobody())
    inspector = Inspector()
    inspector.takes_probe = False
    watch = watch_of(sampler, inspector)
    assert not sampler.gc_observed
    assert not watch.wants_probe(cast(InspectorClient, inspector))
    monkeypatch.setattr("pytest_memory.watch._REINSTALL_S", 0.0)
    assert watch.wants_probe(cast(InspectorClient, inspector))


def test_a_process_found_while_the_app_is_settled_is_not_watched_until_then() -> None:
    sampler = Sampler(SampledNobody())
    found_before, found_meanwhile = Obedient(answer()), Obedient()
    watch_of(sampler, found_before)
    assert found_before.verbs == ["resume"]
    with sampler.quiet():
        sampler._begin_watching(Watch(2, cast(InspectorClient, found_meanwhile), "me"))
        assert found_meanwhile.verbs == []
    assert found_before.verbs == ["resume", "pause", "resume"]
    assert found_meanwhile.verbs == ["resume"]


def observed(sampler: Sampler, inspector: Inspector) -> Watch:
    """Its session refuses to trace."""
    watch = watch_of(sampler, inspector)
    assert watch.probed
    assert not watch.traces
    return watch


def test_an_observed_process_that_ends_and_waits_for_us_gives_its_last_reading() -> None:
    sampler = Sampler(SampledNobody())
    inspector = Obedient()
    observed(sampler, inspector)
    inspector.readings.append(answer(1.0, 3.0, 4.0))
    inspector.farewell()
    sampler._forget_others([])
    assert [event.duration_s for event in sampler.gc_events] == [0.003]
    assert sampler.gc_dropped == 0


def test_an_observed_process_that_is_killed_takes_its_last_collections_with_it() -> None:
    sampler = Sampler(SampledNobody())
    observed(sampler, Obedient())
    sampler._forget_others([])
    assert sampler.gc_dropped == 1


def test_what_a_process_collected_before_it_was_watched_is_in_no_event() -> None:
    sampler = Sampler(SampledNobody())
    watch_of(sampler, Obedient())
    assert sampler.gc_dropped == 0, "those there are at the start begin with it"
    sampler._has_begun = True
    sampler._begin_watching(Watch(2, cast(InspectorClient, Obedient()), "me"))
    assert sampler.gc_dropped == 1


def test_processes_that_began_and_ended_between_two_looks_are_counted_once() -> None:
    app = SampledNobody()
    sampler = Sampler(app)
    watch_of(sampler, Obedient())
    app.announced_pids = frozenset({1, 7, 8})
    sampler._count_unmet()
    assert sampler.gc_dropped == 2
    sampler._count_unmet()
    assert sampler.gc_dropped == 2


def test_what_happened_before_the_window_is_counted_before_it() -> None:
    app = SampledNobody()
    sampler = Sampler(app)
    app.announced_pids = frozenset({7})
    with sampler.quiet():
        pass
    assert sampler.gc_dropped_before_pause == sampler.gc_dropped == 1


def test_a_node_process_that_cannot_be_asked_is_not_observed() -> None:
    sampler = Sampler(SampledNobody())
    watch_of(sampler, Obedient())
    assert sampler.gc_observed
    refusing = Watch(2, None, "me", refuses=True)
    sampler._watches[2] = refusing
    assert not sampler.gc_observed
    refusing.let_go(sampler)
    assert sampler.gc_dropped == 1


def test_what_was_logged_is_let_go_where_something_was_printed_or_nobody_knows() -> None:
    app = SampledNobody()
    sampler = Sampler(app)
    assert sampler._may_have_logged(full=False), "an attached app: nobody knows"
    for printed in (100, 101):
        app.printed_bytes = printed
        assert [sampler._may_have_logged(full=False) for _ in range(2)] == [True, False]
    assert sampler._may_have_logged(full=True), "it may print elsewhere"


def test_a_node_process_that_ended_while_it_could_not_be_asked_is_unknown_not_deaf() -> None:
    """Of one that is about to end nobody gets an answer: that makes limits uncertain, not unmeasured."""
    sampler = Sampler(SampledNobody())
    watch_of(sampler, Obedient())
    with subprocess.Popen(["true"]) as ended:
        pass
    sampler._watches[ended.pid] = Watch(ended.pid, None, "me", refuses=True)
    assert not sampler.gc_observed
    sampler._forget_ended()
    assert sampler.gc_observed
    assert sampler.gc_dropped == 1
