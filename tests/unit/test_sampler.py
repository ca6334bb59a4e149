"""The sampler's clock: what the app says of its own time, put on ours."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any, cast

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.sampler import _Draft, _Watch


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
