"""When a run is not worth going on with: too many requests fail, or nothing is answered.  Floor 2: pure arithmetic.

No clock and no sockets: whoever drives clients says what was counted, and when something was last heard.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_memory.load.messages import TargetCounts

# An error rate is not judged on fewer requests than this.
LEAST_JUDGED_REQUESTS = 20
# Requests waited for so many timeouts, and none answered: stop rather than time out thousands of requests one by one.
STALLED_TIMEOUTS = 3


class ErrorShare:
    """How many requests have failed so far, of those that count: a warm-up may fail as it likes.  Without a
    ``limit`` there are never too many."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._requests = self._errors = 0

    def add(self, targets: Sequence[TargetCounts], *, measured: bool) -> None:
        """Take in what was counted since the last time."""
        if measured:
            self._requests += sum(counts.requests for counts in targets)
            self._errors += sum(counts.errors for counts in targets)

    def is_too_large(self, targets: Sequence[TargetCounts] = (), *, measured: bool = True) -> bool:
        """Whether the limit is broken, with what was counted since the last `add`."""
        if self._limit is None or not measured:
            return False
        requests = self._requests + sum(counts.requests for counts in targets)
        errors = self._errors + sum(counts.errors for counts in targets)
        return requests >= LEAST_JUDGED_REQUESTS and errors > self._limit * requests


class JointErrors:
    """The errors of a run that several processes share: none of them knows whether the whole has too many.

    Judged whenever all that still run have reported once more: one that reports first is not taken for all."""

    def __init__(self, processes: int, limit: float | None) -> None:
        self._share = ErrorShare(limit)
        self._running = set(range(processes))
        self._heard: set[int] = set()

    def add(self, process: int, targets: Sequence[TargetCounts], *, measured: bool) -> bool:
        """Take in a report; True when there are too many errors to go on."""
        self._share.add(targets, measured=measured)
        self._heard.add(process)
        if not self._heard >= self._running:
            return False
        self._heard.clear()
        return self._share.is_too_large()

    def ended(self, process: int) -> None:
        """A process is through and reports no more."""
        self._running.discard(process)


class Silence:
    """For how long requests have been waited for since the last answer; with none under way all is quiet."""

    def __init__(self) -> None:
        self._looked_ns = 0
        self._total_ns = 0

    def look(self, now_ns: int, *, waiting_since_ns: int | None, answered_ns: int) -> None:
        """Look again: the oldest request that waits has done so since ``waiting_since_ns`` (None: there is none)."""
        if answered_ns >= self._looked_ns:
            self._total_ns = 0
        since_ns = now_ns if waiting_since_ns is None else waiting_since_ns
        self._total_ns += max(0, now_ns - max(since_ns, self._looked_ns, answered_ns))
        self._looked_ns = now_ns

    def is_stalled(self, timeout_s: float) -> bool:
        """Whether that is too long to go on waiting."""
        return self._total_ns > STALLED_TIMEOUTS * timeout_s * 1e9
