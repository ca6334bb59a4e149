"""Where a load run is, for a live line.  Floor 2: a record.  No I/O: whoever shows it decides where."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_memory.units import format_count, format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """Where a run is: for a live line.  ``share`` (0..1) is None when the end is not known; ``ended`` is of the last
    one of a run, however that came to its end."""

    t_s: float
    requests: int
    errors: int
    active: int
    rps: float
    p99_s: float
    share: float | None = None
    warming_up: bool = False
    ended: bool = False

    def __str__(self) -> str:
        done = f"{self.share:4.0%}  " if self.share is not None else ""
        what = "warming up" if self.warming_up else f"{format_count(self.requests)} requests"
        errors = f", {format_count(self.errors)} errors" if self.errors else ""
        return f"{done}{what}, {self.rps:,.0f}/s, p99 {format_duration(self.p99_s)}{errors}"
