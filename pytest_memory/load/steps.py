"""Steps as a load process keeps them: ready to be sent, with what their responses need.  Floor 2: no I/O.

What a job says of a step is worked out once, not with each of a million requests.
"""

from __future__ import annotations

from pytest_memory.load.messages import Flow, Step, TargetCounts
from pytest_memory.load.template import is_static, render_request
from pytest_memory.load.wire import IDEMPOTENT_METHODS


class LiveStep:
    """A step ready to be sent: its bytes if it has no holes, and what its response needs."""

    __slots__ = ("counts", "expect", "full", "hold_ns", "idempotent", "method", "payload", "step", "stream")

    def __init__(self, step: Step, counts: TargetCounts, *, full: bool, dynamic: bool) -> None:
        self.step = step
        self.counts = counts
        self.method = step.method
        self.expect = frozenset(step.expect) if step.expect is not None else None
        self.idempotent = step.method in IDEMPOTENT_METHODS
        self.stream = step.stream
        self.hold_ns = int(1e9 * (step.stream.hold_s or 0.0)) if step.stream is not None else 0
        self.full = full
        self.payload: bytes | None = None
        if not dynamic and is_static(step.head, step.cookies, step.body):
            self.payload = render_request(step.method, step.head, step.cookies, step.body, {})


class LiveFlow:
    """The steps one client takes in order."""

    __slots__ = ("keep_cookies", "static", "steps")

    def __init__(self, flow: Flow, counts: list[TargetCounts], *, follow: bool) -> None:
        self.keep_cookies = flow.keep_cookies
        self.steps = [
            LiveStep(
                step,
                counts[step.target],
                full=bool(step.saves or step.check or step.stream or flow.keep_cookies or follow),
                dynamic=flow.keep_cookies,
            )
            for step in flow.steps
        ]
        self.static = all(step.payload is not None for step in self.steps)
