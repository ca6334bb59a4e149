"""How often the leak judge is right about buffers that are flushed by count, on simulated apps.

Each app keeps what it was asked until so many units have come, then drops it; half of them and more leak besides.
Portion of work, period (200 to 20,000 units), height (0.1 to 5 MB), leak and speed are drawn from a seed, so that
every beat between a portion and a period is met.  A run of 100 s takes a tenth of a second: the clock is simulated,
the plan and the judge are the real ones.  Prints the verdicts, and each that was wrong.

    python benchmarks/sawtooth_simulation.py [--apps 500] [--seed 11]

No bar and exit status 0: what is wrong here is told in docs/accuracy.md ("What it cannot see").
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.leak_simulator import SimulatedApp, simulate

from pytest_memory.judge import worst

PORTIONS = (500, 1000, 2000, 2500, 5000)
ROUND_PERIODS = (300, 700, 1200, 1500, 2000, 3000, 4000, 6000, 7000, 9000)
LEAKS = (0, 0, 14, 30, 100, 300)
SPEEDS = (300.0, 800.0, 1500.0, 3000.0)
LONGEST_PORTION_S = 10.0


@dataclass(frozen=True)
class Buffer:
    """An app: bytes leaked per unit beside a buffer of ``height_bytes``, flushed every ``period`` units."""

    portion: int
    period: int
    height_bytes: float
    leak: float
    speed: float

    def retained(self, units: float, _t_s: float) -> float:
        return self.height_bytes / self.period * (units % self.period) + self.leak * units


def draw(chance: random.Random) -> Buffer:
    while True:
        period = chance.choice([int(10 ** chance.uniform(2.3, 4.3)), chance.choice(ROUND_PERIODS)])
        buffer = Buffer(
            portion=chance.choice(PORTIONS),
            period=period,
            height_bytes=10 ** chance.uniform(5, 6.7),
            leak=chance.choice(LEAKS),
            speed=chance.choice(SPEEDS),
        )
        if buffer.portion / buffer.speed <= LONGEST_PORTION_S:
            return buffer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    verdicts: Counter[tuple[str, str]] = Counter()
    for number in range(options.apps):
        app = draw(chance)
        stop, _ = simulate(SimulatedApp(app.retained, rate=app.speed, portion=app.portion), seed=number)
        truth, said = "leak" if app.leak else "ok", worst([estimate.outcome for estimate in stop.estimates])
        verdicts[truth, said] += 1
        if (truth, said) in (("leak", "pass"), ("ok", "critical")):
            heap = stop.estimates[0]
            print(f"WRONG {said}: {app}, {heap.slope:.1f} B/unit ({heap.reason}, {heap.rounds} rounds)")
    for truth in ("leak", "ok"):
        said_of = {said: count for (true, said), count in sorted(verdicts.items()) if true == truth}
        print(f"{truth:5}", ", ".join(f"{count} {said}" for said, count in said_of.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
