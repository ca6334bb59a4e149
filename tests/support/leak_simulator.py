"""Apps made of arithmetic, for leak tests on a clock of their own: a run of 100 s takes milliseconds.

`simulate` executes a leak plan as `leakrun` does, against a `SimulatedApp` whose memory is a function of the work
done and the time gone by.  Everything random comes from one seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pytest_memory.leaktest import History, LeakPlan, RunRound, Stop, is_warm, next_step
from pytest_memory.model import Round, SettledMemory

BASE_BYTES = 5_000_000


@dataclass
class SimulatedApp:
    """An app with ``rate`` units a second, called in operations of ``portion`` units.

    ``retained(units, t_s)`` is its live heap above the base; ``other`` names further kinds ("external_bytes",
    "rss_bytes", "handles", …) the same way.  ``noise_bytes`` is the standard deviation of a settled reading,
    ``slowing_units`` the work after which the app is at half its speed."""

    retained: Callable[[float, float], float] = lambda units, t_s: 0.0
    rate: float = 4000.0
    portion: int = 500
    noise_bytes: float = 300.0
    warming_bytes: float = 200_000.0
    settle_s: float = 0.04
    error_share: float = 0.0
    dies_after_units: float = float("inf")
    other: dict[str, Callable[[float, float], float]] = field(default_factory=dict)
    on_work: Callable[[float, float, float], None] | None = None
    slowing_units: float = float("inf")

    def read(self, units: float, t_s: float, chance: random.Random) -> SettledMemory:
        warm = self.warming_bytes * (1.0 - 2.0 ** (-units / 80.0))
        heap = BASE_BYTES + warm + self.retained(units, t_s) + abs(chance.gauss(0.0, self.noise_bytes))
        memory = SettledMemory(
            t_s=t_s,
            heap_used_bytes=round(heap),
            heap_total_bytes=round(heap * 1.3),
            external_bytes=1_000_000,
            array_buffers_bytes=0,
            rss_bytes=50_000_000,
            native_bytes=40_000_000,
            handles=1,
            fds=25,
            duration_s=self.settle_s,
        )
        return replace(memory, **{name: round(of(units, t_s)) for name, of in self.other.items()})


def simulate(app: SimulatedApp, plan: LeakPlan | None = None, *, seed: int = 1) -> tuple[Stop, History]:
    """Run a whole leak test; returns its last step and everything that happened."""
    plan = plan or LeakPlan()
    chance = random.Random(seed)
    history = History()
    units, now = 0.0, 0.0
    while True:
        step = next_step(plan, history)
        if isinstance(step, Stop):
            return step, history
        began, done = now, 0
        if isinstance(step, RunRound):
            done = step.repeat * app.portion
            speed = app.rate * chance.uniform(0.8, 1.1) / (1.0 + units / app.slowing_units)
            if app.on_work:
                app.on_work(units, done, now)
            units += done
            now += done / speed
        else:
            now += step.seconds
        if units > app.dies_after_units:
            history = replace(history, died=True)
            continue
        memory = app.read(units, now, chance)
        one = Round(
            index=len(history.warmup) + len(history.rounds),
            units=done,
            errors=round(done * app.error_share),
            start_s=began,
            end_s=now,
            memory=memory,
            idle=not isinstance(step, RunRound),
        )
        now += app.settle_s
        repeat = step.repeat if isinstance(step, RunRound) else history.last_repeat  # longest_s is never reached
        history = replace(history, last_repeat=repeat, elapsed_s=now)
        if history.rounds or is_warm(plan, history, one):
            history = replace(history, rounds=(*history.rounds, one))
        else:
            history = replace(history, warmup=(*history.warmup, one))
