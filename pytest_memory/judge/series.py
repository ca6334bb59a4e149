"""One line per kind of memory, drawn from the rounds of a leak test.  Floor 3: pure, decides nothing.

`leak` judges these lines.  Here stands only what is read off the rounds: how much work had been done at each
reading, what the reading was, what the app gave back when it was left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_memory.model import JUDGED_KINDS, MemoryKind, Round, SettledMemory

Point = tuple[float, float]
"""(units of work done so far, value of the reading)."""


def _heap(memory: SettledMemory) -> float:
    # Compiled code comes and goes with the optimiser's mood and is nobody's leak.
    return memory.heap_used_bytes - memory.code_bytes


_READ: dict[MemoryKind, Callable[[SettledMemory], float | None]] = {
    "heap": _heap,
    "worker-heap": lambda memory: memory.worker_heap_used_bytes,
    "external": lambda memory: memory.external_bytes,
    "native": lambda memory: memory.native_bytes,
    "handles": lambda memory: memory.handles,
    "fds": lambda memory: memory.fds,
}
KINDS = JUDGED_KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """One stretch in which the app was left alone: the work done before it, the reading before it, and those
    taken during it with the seconds since its beginning."""

    units: float
    before: float
    readings: tuple[Point, ...]

    @property
    def duration_s(self) -> float:
        return self.readings[-1][0]

    @property
    def lowest(self) -> float:
        return min(value for _, value in self.readings)

    def fall_times_s(self, noise: float) -> tuple[float, ...]:
        """When memory fell, by more than a fiftieth of all that it gave back; never, if that is within ``noise``."""
        given = self.before - self.lowest
        if given <= noise:
            return ()
        level, times = self.before, []
        for at_s, value in self.readings:
            if level - value > 0.02 * given:
                times.append(at_s)
            level = min(level, value)
        return tuple(times)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One kind of memory over a leak test.

    ``before`` is the reading from before any work, where there is one; ``start`` that after the warm-up (no work
    counted yet); ``load`` those after rounds of work; ``rests`` what was seen while the app was left alone.
    ``load_s`` is the time it worked, ``lasted_s`` that and the readings in between: what expires does so in both."""

    kind: MemoryKind
    start: float
    load: tuple[Point, ...]
    rests: tuple[Rest, ...] = ()
    load_s: float = 0.0
    lasted_s: float = 0.0
    before: float | None = None

    @property
    def units(self) -> float:
        return self.load[-1][0] if self.load else 0.0

    @property
    def growth(self) -> float:
        return self.load[-1][1] - self.start if self.load else 0.0

    def window(self, begin: float, end: float = 1.0) -> list[Point]:
        """The readings between two shares (0..1) of the work done."""
        return [point for point in self.load if begin * self.units <= point[0] <= end * self.units]


@dataclass(slots=True)
class _Builder:
    kind: MemoryKind
    start: float
    units: float = 0.0
    load_s: float = 0.0
    lasted_s: float = 0.0
    last: float = 0.0
    load: list[Point] = field(default_factory=list)
    rests: list[Rest] = field(default_factory=list)
    resting: list[Point] = field(default_factory=list)
    rest_start_s: float = 0.0

    def add(self, one: Round, value: float) -> None:
        if one.idle:
            if not self.resting:
                self.rest_start_s = one.start_s
            self.resting.append((one.end_s - self.rest_start_s, value))
            return
        self.end_rest()
        self.units += one.units
        self.load_s += one.end_s - one.start_s
        self.lasted_s += one.end_s - one.start_s + one.memory.duration_s
        self.last = value
        self.load.append((self.units, value))

    def pass_over(self, one: Round) -> None:
        """A round whose reading could not be had: its work counts, and its rest is no rest."""
        if not one.idle:
            self.end_rest()
            self.units += one.units
            self.load_s += one.end_s - one.start_s
            self.lasted_s += one.end_s - one.start_s + one.memory.duration_s

    def end_rest(self) -> None:
        if self.resting:
            self.rests.append(Rest(units=self.units, before=self.last, readings=tuple(self.resting)))
            self.resting = []


def read_series(rounds: Sequence[Round], kind: MemoryKind, *, before: Round | None = None) -> Series | None:
    """The line of one kind of memory; None when it was not measured at the start (or there is nothing of it).

    A reading that could not be had later (a process that ended while it was read) leaves a gap.  The first round is
    the start: its reading follows the warm-up, and its units are not counted."""
    read = _READ[kind]
    values = [read(one.memory) for one in rounds]
    if not values or values[0] is None:
        return None
    if kind == "worker-heap" and not any(values):
        return None
    builder = _Builder(kind, float(values[0] or 0.0), last=float(values[0] or 0.0))
    for one, value in zip(rounds[1:], values[1:]):
        if value is None:
            builder.pass_over(one)
        else:
            builder.add(one, float(value))
    builder.end_rest()
    return Series(
        kind=kind,
        start=builder.start,
        load=tuple(builder.load),
        rests=tuple(builder.rests),
        load_s=builder.load_s,
        lasted_s=builder.lasted_s,
        before=None if before is None else read(before.memory),
    )
