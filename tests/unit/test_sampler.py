"""The sampler's clock: what the app says of its own time, put on ours."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any, cast

import pytest

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.sampler import Sampler, _Draft, _Watch


class Inspector:
    """Answers when told to."""

    closed = False

    def __init__(self) -> None:
        self.asked: list[Future[dict[str, Any]]] = []

    def evaluate(self, *args: object, **options: object) -> bool:
        return True

    def submit(self, method: str, params: object = None) -> Future[dict[str, Any]]:
        self.asked.append(Future())
        return self.asked[-1]


def test_a_late_answer_is_timed_by_its_arrival_not_by_when_it_is_looked_at() -> None:
    inspector = Inspector()
    watch = _Watch(1, cast(InspectorClient, inspector))
    future = watch.request(full=False)
    assert future is not None
    draft = _Draft()
    watch.collect(draft, future, 0.0, sampler=cast(Any, None))
    assert draft.blocked

    # Its clock began now; the answer comes at once, and is collected a tick later.
    began = time.monotonic()
    inspector.asked[-1].set_result({})
    time.sleep(0.3)
    assert watch._match_clocks(0.0) <= began + 0.1


def test_who_is_woken_before_the_arrival_is_noted_takes_the_time_as_it_is() -> None:
    watch = _Watch(1, cast(InspectorClient, Inspector()))
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

    def submit(self, method: str, params: Any = None) -> Future[dict[str, Any]]:
        future = super().submit(method, params)
        expression = (params or {}).get("expression", "")
        self.verbs.extend(verb for verb in ("pause", "resume", "read", "setImmediate") if f"{verb}(" in expression)
        asks = "pause(" in expression or "read(" in expression
        future.set_result(self.readings.pop(0) if asks and self.readings else {})
        return future


def watch_of(sampler: Sampler, inspector: Inspector) -> _Watch:
    watch = _Watch(1, cast(InspectorClient, inspector))
    sampler._begin_watching(watch)
    return watch


@pytest.mark.parametrize("at_ms", [0.0, 4_000.0, -9e9])
def test_what_the_pause_brings_came_before_whatever_the_apps_clock_says(at_ms: float) -> None:
    sampler = Sampler(cast(Any, None))
    watch = watch_of(sampler, Obedient(answer(at_ms, 5.0, 4.0), answer(at_ms, 7.0, 4.0)))
    with sampler.quiet() as before:
        assert before == 1
    future = watch.request(full=False)
    assert future is not None
    watch.collect(_Draft(), future, 0.0, sampler)
    assert [event.duration_s for event in sampler.gc_events[before:]] == [0.007]


def test_a_question_still_open_is_answered_before_the_pause() -> None:
    sampler = Sampler(cast(Any, None))
    inspector = Inspector()
    watch = watch_of(sampler, inspector)
    future = watch.request(full=False)
    assert future is not None
    watch.collect(_Draft(), future, 0.0, sampler)  # the loop is blocked
    future.set_result(answer(1.0, 3.0, 1.0))
    watch.inspector = cast(InspectorClient, Obedient(answer(2.0, 5.0, 1.0)))
    with sampler.quiet() as before:
        assert [event.duration_s for event in sampler.gc_events] == [0.003, 0.005]
        assert before == 2


def test_a_process_found_while_the_app_is_settled_is_not_watched_until_then() -> None:
    sampler = Sampler(cast(Any, None))
    found_before, found_meanwhile = Obedient(answer()), Obedient()
    watch_of(sampler, found_before)
    assert found_before.verbs == ["resume"]
    with sampler.quiet():
        sampler._begin_watching(_Watch(2, cast(InspectorClient, found_meanwhile)))
        assert found_meanwhile.verbs == []
    assert found_before.verbs == ["resume", "setImmediate", "pause", "resume"]
    assert found_meanwhile.verbs == ["resume"]
