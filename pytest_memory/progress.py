"""Where a long measurement is, for a live line.  Floor 1: records; the clock is handed in, who shows them decides how.

Whoever shows a line asks (`Stages.now`), a few times a second; who measures only says which stage it is in.  So a line
nobody sees costs nothing, and a terminal that is slow or stopped holds up nobody who measures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """``phase`` lasts ``elapsed_s`` so far, and ``remaining_s`` more (None: nobody knows; ``at_most``: or less).

    An empty ``phase`` is the test's own code, with no name.  ``heap_used_bytes`` is the newest that is known."""

    phase: str
    elapsed_s: float
    remaining_s: float | None = None
    at_most: bool = False
    heap_used_bytes: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    name: str
    began_s: float
    step: str = ""
    longest_s: float | None = None


class Stages:
    """The stages a measurement is in, the innermost last: entered and left by one thread, looked at from any."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: tuple[_Stage, ...] = ()

    def begin(self) -> None:
        """The measurement begins, with no name for what it is in."""
        self._open = (_Stage(name="", began_s=self._clock()),)

    def end(self) -> None:
        """It is over, whatever it was in."""
        self._open = ()

    @contextlib.contextmanager
    def within(self, name: str) -> Iterator[None]:
        outer = self._open
        self._open = (*outer, _Stage(name=name, began_s=self._clock()))
        try:
            yield
        finally:
            self._open = outer

    def tell(self, step: str, longest_s: float | None = None) -> None:
        """The innermost stage is at ``step`` ("round 7") and lasts ``longest_s`` from its begin at most (None: nobody
        knows)."""
        if self._open:
            self._open = (*self._open[:-1], replace(self._open[-1], step=step, longest_s=longest_s))

    def now(self) -> Progress | None:
        """Where it is; None when it is in nothing."""
        opened = self._open
        if not opened:
            return None
        stage = opened[-1]
        elapsed_s = self._clock() - stage.began_s
        left_s = None if stage.longest_s is None else stage.longest_s - elapsed_s
        return Progress(
            phase=f"{stage.name}, {stage.step}" if stage.step else stage.name,
            elapsed_s=elapsed_s,
            remaining_s=left_s if left_s is not None and left_s > 0 else None,  # a rest under way is not cut short
            at_most=True,
        )
