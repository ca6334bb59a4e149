"""When a run stops early: errors over the processes of a run, silence over the requests that wait."""

from __future__ import annotations

import pytest

from pytest_memory.load.hopeless import ErrorShare, JointErrors, Silence
from pytest_memory.load.messages import TargetCounts

S = 10**9


def counts(requests: int, errors: int) -> list[TargetCounts]:
    return [TargetCounts(requests=requests, errors=errors)]


@pytest.mark.parametrize(
    ("limit", "requests", "errors", "too_many"),
    [(0.1, 19, 19, False), (0.1, 20, 2, False), (0.1, 20, 3, True), (0.0, 20, 1, True), (None, 100, 100, False)],
)
def test_errors_are_judged_on_enough_requests(limit: float | None, requests: int, errors: int, too_many: bool) -> None:
    share = ErrorShare(limit)
    assert share.is_too_large(counts(requests, errors)) is too_many
    share.add(counts(requests, errors), measured=True)
    assert share.is_too_large() is too_many


def test_a_warm_up_may_fail() -> None:
    share = ErrorShare(0.1)
    assert not share.is_too_large(counts(100, 100), measured=False)
    share.add(counts(100, 100), measured=False)
    assert not share.is_too_large(counts(100, 5))
    assert share.is_too_large(counts(100, 50))


def test_one_process_is_not_taken_for_all() -> None:
    errors = JointErrors(2, 0.6)
    assert not errors.add(0, counts(50, 50), measured=True)
    assert not errors.add(0, counts(50, 50), measured=True)
    assert not errors.add(1, counts(100, 0), measured=True)
    assert not errors.add(1, counts(10, 10), measured=True)
    assert errors.add(0, counts(100, 100), measured=True)


def test_a_process_that_is_through_is_not_waited_for() -> None:
    errors = JointErrors(2, 0.6)
    assert not errors.add(0, counts(5, 0), measured=True)
    errors.ended(0)
    assert errors.add(1, counts(100, 90), measured=True)


def test_silence_is_waiting_without_an_answer() -> None:
    silence = Silence()
    silence.look(10 * S, waiting_since_ns=9 * S, answered_ns=0)
    silence.look(12 * S, waiting_since_ns=9 * S, answered_ns=0)
    assert not silence.is_stalled(1.0)
    silence.look(13 * S, waiting_since_ns=9 * S, answered_ns=0)
    assert silence.is_stalled(1.0)
    silence.look(14 * S, waiting_since_ns=None, answered_ns=int(13.5 * S))
    assert not silence.is_stalled(0.1)


def test_time_in_which_nothing_waits_is_no_silence() -> None:
    silence = Silence()
    for second in range(0, 100, 10):
        silence.look(second * S, waiting_since_ns=None, answered_ns=0)
        silence.look((second + 1) * S, waiting_since_ns=int((second + 0.9) * S), answered_ns=0)
    assert not silence.is_stalled(0.5)
    assert silence.is_stalled(0.3)
