"""The asking for a trace: the order of commands, and what becomes of it when Node or the connection says no."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest
from support.sampled import SampledNobody

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.errors import InspectorClosed, InspectorCommandError, InspectorTimeout
from pytest_memory.gc_trace import GcTrace
from pytest_memory.sampler import Sampler
from pytest_memory.watch import Draft, Watch

SCAVENGE = [
    {"pid": 1, "tid": 1, "ts": 1000, "ph": "B", "name": "MinorGC", "args": {}},
    {"pid": 1, "tid": 1, "ts": 1500, "ph": "E", "name": "MinorGC", "args": {}},
]


class Inspector:
    """Keeps what it is asked; a test answers."""

    closed = False
    exiting = False

    def __init__(self, *, refuses: Exception | None = None) -> None:
        self.tracing = threading.Lock()
        self.asked: list[tuple[str, Future[dict[str, Any]]]] = []
        self.refuses = refuses
        self.tell: Callable[[dict[str, Any]], None] = lambda _: None
        self.subscribed = False

    def evaluate(self, *args: object, **options: object) -> list[float]:
        return [0.0, 0.0, False]

    def call(self, method: str, *args: object, **options: object) -> dict[str, Any]:
        if self.refuses is not None:
            raise self.refuses
        return {}

    def submit(self, method: str, params: object = None) -> Future[dict[str, Any]]:
        if self.closed:
            raise InspectorClosed("gone")
        self.asked.append((method, Future()))
        return self.asked[-1][1]

    def on_exit(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.farewell = callback
        return lambda: None

    def together(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def on(self, event: str, callback: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        self.tell, self.subscribed = callback, True
        return lambda: setattr(self, "subscribed", False)

    def answer(self) -> str:
        """The oldest command not answered yet; its name."""
        method, future = next((method, future) for method, future in self.asked if not future.done())
        future.set_result({})
        return method


def opened(inspector: Inspector) -> GcTrace:
    trace = GcTrace.open(cast(InspectorClient, inspector), timeout_s=1.0)
    assert trace is not None
    return trace


def test_what_was_noted_is_awaited_behind_a_command_sent_after_the_end_was_answered() -> None:
    """The data come behind the answer: a command sent together with the end would be answered before them."""
    inspector = Inspector()
    trace = opened(inspector)
    trace.begin()
    trace.end()
    assert [inspector.answer(), inspector.answer()] == ["NodeTracing.start", "NodeTracing.stop"]
    assert not trace.wait(0.0)
    inspector.tell({"value": SCAVENGE})
    assert not trace.wait(0.0)
    assert inspector.answer() == "Runtime.getHeapUsage"
    assert trace.wait(0.0)
    assert [pause.duration_us for pause in trace.take()] == [500]
    assert list(trace.take()) == []


def test_a_flush_ends_it_and_begins_it_anew_and_only_while_it_runs() -> None:
    inspector = Inspector()
    trace = opened(inspector)
    trace.flush()
    assert not inspector.asked
    trace.begin()
    trace.begin()
    trace.flush()
    assert [method for method, _ in inspector.asked] == ["NodeTracing.start", "NodeTracing.stop", "NodeTracing.start"]


def test_a_flush_of_much_alone_is_one_where_the_last_message_was_long() -> None:
    inspector = Inspector()
    trace = opened(inspector)
    trace.begin()

    def flushes() -> int:
        return sum(method == "NodeTracing.stop" for method, _ in inspector.asked)

    trace.flush(only_much=True)
    assert flushes() == 0
    inspector.tell({"value": SCAVENGE * 10_000})
    trace.flush(only_much=True)
    assert flushes() == 1
    inspector.tell({"value": SCAVENGE})
    trace.flush(only_much=True)
    assert flushes() == 1
    trace.flush()
    assert flushes() == 2


@pytest.mark.parametrize(
    ("refusal", "then"),
    [
        (InspectorCommandError("traced already"), []),  # what is traced through this session goes on
        (InspectorTimeout("blocked"), ["NodeTracing.stop"]),  # a late beginning is not left running
    ],
)
def test_a_session_that_cannot_be_traced_is_left_as_it_was(refusal: Exception, then: list[str]) -> None:
    inspector = Inspector(refuses=refusal)
    assert GcTrace.open(cast(InspectorClient, inspector), timeout_s=1.0) is None
    assert [method for method, _ in inspector.asked] == then
    assert not inspector.tracing.locked()


def test_a_beginning_that_is_refused_is_a_loss_and_a_connection_that_ends_is_none() -> None:
    inspector = Inspector()
    trace = opened(inspector)
    trace.begin()
    inspector.asked[-1][1].set_exception(InspectorCommandError("somebody traces through this session"))
    assert trace.lost

    ended = Inspector()
    trace = opened(ended)
    trace.begin()
    ended.closed = True
    ended.asked[-1][1].set_exception(InspectorClosed("gone"))
    assert not trace.lost


def test_where_the_connection_has_ended_nobody_waits() -> None:
    inspector = Inspector()
    trace = opened(inspector)
    trace.begin()
    inspector.closed = True
    trace.end()
    assert trace.wait(0.0)
    trace.close()
    assert not inspector.tracing.locked()
    assert not inspector.subscribed


def test_collections_of_an_app_that_works_on_when_it_is_to_pause_are_not_all_known(monkeypatch: Any) -> None:
    monkeypatch.setattr("pytest_memory.sampler._MAX_PAUSE_S", 0.0)
    monkeypatch.setattr("pytest_memory.sampler.MAX_ANSWER_S", 0.0)
    sampler = Sampler(SampledNobody())
    inspector = Inspector()
    watch = Watch(1, cast(InspectorClient, inspector), "me")
    assert watch.traces
    sampler._begin_watching(watch)
    with sampler.quiet():
        assert sampler.gc_dropped == 1
        assert [method for method, _ in inspector.asked][-1] == "NodeTracing.stop"
    assert sampler.gc_dropped_before_pause == 1


def test_who_would_not_be_traced_any_more_makes_collections_not_observed() -> None:
    sampler = Sampler(SampledNobody())
    inspector = Inspector()
    sampler._begin_watching(Watch(1, cast(InspectorClient, inspector), "me"))
    assert sampler.gc_observed
    inspector.asked[-1][1].set_exception(InspectorCommandError("refused"))
    assert not sampler.gc_observed


def test_a_probe_that_is_gone_leaves_the_session_to_the_next() -> None:
    inspector = Inspector()
    watch = Watch(1, cast(InspectorClient, inspector), "me")
    future = watch.request(full=False)
    assert future is not None
    future.set_result({"result": {"type": "undefined"}})
    watch.collect(cast(Any, None), future, 0.0, cast(Any, None))
    assert not watch.probed
    assert not inspector.tracing.locked()


def watched(sampler: Sampler, inspector: Inspector) -> Watch:
    watch = Watch(1, cast(InspectorClient, inspector), "me")
    sampler._begin_watching(watch)
    future = watch.request(full=False)
    assert future is not None
    future.set_result({"result": {"value": [0.0, 1, 2, 3, 4, -1, -1, 0]}})
    watch.collect(Draft(), future, 0.0, sampler)  # now it is known when its collections were
    return watch


def test_what_a_killed_process_told_is_kept_and_what_it_did_not_tell_is_said_to_be_unknown() -> None:
    sampler, inspector = Sampler(SampledNobody()), Inspector()
    watched(sampler, inspector)
    inspector.tell({"value": SCAVENGE})
    inspector.closed = True
    sampler._forget_others([])
    assert [event.kind for event in sampler.gc_events] == ["scavenge"]
    assert sampler.gc_dropped == 1
    assert not inspector.tracing.locked()
    assert not inspector.subscribed


def test_a_process_that_ends_and_waits_for_us_tells_all() -> None:
    sampler, inspector = Sampler(SampledNobody()), Inspector()
    watched(sampler, inspector)
    answering = threading.Thread(target=inspector.farewell)
    answering.start()
    while answering.is_alive():
        with contextlib.suppress(StopIteration):
            if inspector.answer() == "NodeTracing.stop":
                inspector.tell({"value": SCAVENGE})
    sampler._forget_others([])
    assert [event.kind for event in sampler.gc_events] == ["scavenge"]
    assert sampler.gc_dropped == 0


@pytest.mark.parametrize("answers", [0, 1])
def test_an_end_that_nobody_answers_tells_nothing_and_that_is_said(answers: int) -> None:
    """Killed a moment before it was settled: between the end and its answer, or before the data came."""
    sampler, inspector = Sampler(SampledNobody()), Inspector()
    watch = watched(sampler, inspector)
    for _, future in inspector.asked:
        if not future.done():
            future.set_result({})
    watch.end_trace()
    for _ in range(answers):
        assert inspector.answer() == "NodeTracing.stop"
    inspector.closed = True
    inspector.asked[-1][1].set_exception(InspectorClosed("gone"))
    assert watch.take_pauses(sampler, 0.0)
    assert sampler.gc_dropped == 1
    sampler._forget_others([])
    assert sampler.gc_dropped == 1, "once is enough"


def test_a_process_that_told_all_is_not_begun_anew_when_the_others_are() -> None:
    """It has ended, and is forgotten within a second: the app is settled meanwhile."""
    sampler, inspector = Sampler(SampledNobody()), Inspector()
    watch = watched(sampler, inspector)
    watch.end_trace()
    while not watch.take_pauses(sampler, 0.0):
        inspector.answer()
    inspector.exiting = True
    watch.resume_probe()
    inspector.closed = True
    watch.resume_probe()
    sampler._forget_others([])
    assert sampler.gc_dropped == 0


def test_a_refused_beginning_is_not_forgotten_when_the_sampler_stops() -> None:
    sampler, inspector = Sampler(SampledNobody()), Inspector()
    watch = watched(sampler, inspector)
    begin = next(future for method, future in inspector.asked if method == "NodeTracing.start")
    begin.set_exception(InspectorCommandError("somebody traces through this session"))
    watch.end_trace()
    watch.let_go(sampler)
    assert not watch.traces
    assert not sampler.gc_observed
    assert sampler.gc_dropped == 1


def test_a_new_connection_to_a_process_leaves_a_gap_that_is_said() -> None:
    sampler, inspector = Sampler(SampledNobody()), Inspector()
    watched(sampler, inspector)
    inspector.tell({"value": SCAVENGE})
    sampler._begin_watching(Watch(1, cast(InspectorClient, Inspector()), "me"))
    assert [event.kind for event in sampler.gc_events] == ["scavenge"]
    assert sampler.gc_dropped == 1
    assert not inspector.tracing.locked()


def test_a_watch_that_two_threads_let_go_frees_its_session_once() -> None:
    sampler, inspector = Sampler(SampledNobody()), Inspector()
    watch = watched(sampler, inspector)
    trace = watch._trace
    assert trace is not None
    watch.let_go(sampler)
    assert inspector.tracing.acquire(blocking=False), "another sampler's"
    watch.let_go(sampler)
    assert inspector.tracing.locked()
