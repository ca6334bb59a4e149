"""What being watched costs the app, and whether samples arrive on time.

Two hello-world servers share one CPU, each under full load, and the monitor watches now the one, now the other.  The
scheduler gives both the same share of that CPU, so what watching takes shows in the requests that the watched one
answers less *at the same time*; whatever else the machine does, or its host takes away, meets both alike.  Each has
half a CPU, so it is asked half as often as the interval says, for everything every two seconds instead of one, and for
collections every ten instead of five: as often in what it works as it would be on a CPU of its own.  (One server,
watched and not in turn, differs by a quarter from one second to the next on a shared machine: hundreds of pairs prove
nothing about one per cent.) The servers count their requests and CPU time themselves, so that nothing of how a load
begins or ends is measured.

Prints the ratio of their throughputs, watched to not, with the interval of its median; the same between stretches in
which nobody is watched, which is how exact all this is; the ratio of CPU times per request; the CPU time that watching
takes from an idle app; and, with the whole interval, the share of samples within 20 ms of schedule.
Bars: the monitor costs less than 1 % of throughput; at least 98 % of the samples are on time.

    python benchmarks/monitor_overhead.py [--rounds 12] [--seconds 10] [--interval 100ms] [--node PATH]
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_memory import AppSpec, LoadGenerator, NodeApp
from pytest_memory.sampler import FULL_SAMPLE_EVERY_S, Sampler
from pytest_memory.units import parse_duration

SERVER = """
globalThis.served = 0;
require('http').createServer((request, response) => { globalThis.served += 1; response.end('hello world'); })
  .listen(Number(process.env.PORT), '127.0.0.1');
"""
COUNT = "((cpu) => [globalThis.served, cpu.user + cpu.system])(process.cpuUsage())"
WARMUP_S = 3.0
CPU_SHARE = 0.5
BEGINNING_S = 0.5
ON_TIME_S = 0.020
ON_TIME_SECONDS = 30.0
LOSS_BAR = 0.01
ON_TIME_BAR = 0.98


@dataclass(frozen=True)
class Stretch:
    """Both servers over the same time: requests and CPU time per request of the first in those of the second."""

    served: float
    app_cpu: float


@dataclass(frozen=True)
class Round:
    """A watched, B watched, and twice nobody."""

    watched: tuple[Stretch, Stretch]
    alone: tuple[Stretch, Stretch]


def read_cpu_us(app: NodeApp) -> float:
    """CPU time the app has used; the kernel's own count of it moves in steps of 10 ms."""
    return float(app.evaluate(COUNT)[1])


def measure_idle_cost(app: NodeApp, interval_s: float, seconds: float = 5.0) -> float:
    """Share of a core that watching takes from an app with nothing else to do."""
    shares = []
    for watched in (False, True):
        sampler = Sampler(app, interval_s=interval_s)
        if watched:
            sampler.start()
        before_us, began = read_cpu_us(app), time.perf_counter()
        time.sleep(seconds)
        shares.append((read_cpu_us(app) - before_us) / 1e6 / (time.perf_counter() - began))
        if watched:
            sampler.stop()
    alone, watched_share = shares
    return watched_share - alone


def measure(apps: Sequence[NodeApp], seconds: float, interval_s: float, watched: NodeApp | None) -> Stretch:
    """A stretch between two looks at the apps' own counts; the monitor starts a little before the first, so that what
    is seen is being watched and not the beginning of it."""
    full_interval_s = FULL_SAMPLE_EVERY_S / CPU_SHARE
    sampler = Sampler(watched, interval_s=interval_s, full_interval_s=full_interval_s) if watched is not None else None
    if sampler is not None:
        sampler.start()
    try:
        time.sleep(BEGINNING_S)
        before = [app.evaluate(COUNT) for app in apps]
        time.sleep(seconds)
        after = [app.evaluate(COUNT) for app in apps]
    finally:
        if sampler is not None:
            sampler.stop()
    served, cpu_us = ([now[i] - then[i] for then, now in zip(before, after)] for i in (0, 1))
    per_request = [used / max(1, count) for used, count in zip(cpu_us, served)]
    return Stretch(
        served=max(1, served[0]) / max(1, served[1]),
        app_cpu=per_request[0] / per_request[1],
    )


def measure_on_time(app: NodeApp, seconds: float, interval_s: float) -> tuple[int, float]:
    """How many samples there were to be, and the share of them that was taken near its time."""
    sampler = Sampler(app, interval_s=interval_s)
    sampler.start()
    time.sleep(seconds)
    sampler.stop()
    samples = sampler.samples[1:-1]
    due = len(samples) + sampler.missed
    return due, sum(sample.late_s <= ON_TIME_S for sample in samples) / max(1, due)


def measure_rounds(apps: Sequence[NodeApp], rounds: int, seconds: float, interval_s: float) -> list[Round]:
    measured = []
    for number in range(rounds):
        turns = [apps[0], apps[1], None, None]
        turns = turns[number % 4 :] + turns[: number % 4]
        stretches = [(app, measure(apps, seconds, interval_s, app)) for app in turns]
        first, second = (next(one for app, one in stretches if app is mine) for mine in apps)
        nobody = [one for app, one in stretches if app is None]
        measured.append(Round((first, second), (nobody[0], nobody[1])))
    return measured


def share_a_cpu(apps: Sequence[NodeApp]) -> None:
    """The main threads of both on the first CPU; the load and the monitor on the others, where there are any."""
    cpus = sorted(os.sched_getaffinity(0))
    for app in apps:
        os.sched_setaffinity(app.pid, cpus[:1])
    if len(cpus) > 1:
        os.sched_setaffinity(0, cpus[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument(
        "--seconds",
        type=float,
        default=10.0,
        help="of each of a round's four stretches; a multiple of ten, or what is asked every ten seconds is not in it",
    )
    parser.add_argument("--interval", default="100ms")
    parser.add_argument("--node")
    options = parser.parse_args()
    interval_s = parse_duration(options.interval, plain_unit="s")
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        script = Path(directory, "server.js")
        script.write_text(SERVER)
        spec = AppSpec(command=str(script), node=options.node)
        apps = [stack.enter_context(NodeApp.start(spec)) for _ in range(2)]
        for app in apps:
            _ = app.inspector  # attached in both, as it is whenever somebody may look
        idle_cost = measure_idle_cost(apps[0], interval_s)
        share_a_cpu(apps)
        loads = [stack.enter_context(LoadGenerator(app.url)) for app in apps]
        # Longer than needed: stopped when the last round has been measured.
        lasting = 60 + 10 * options.rounds * options.seconds
        running = [load.start("/", duration=lasting, concurrency=10) for load in loads]
        try:
            time.sleep(WARMUP_S)
            rounds = measure_rounds(apps, options.rounds, options.seconds, interval_s / CPU_SHARE)
            due, on_time = measure_on_time(apps[0], ON_TIME_SECONDS, interval_s)
        finally:
            for run in running:
                run.stop()
    return report(rounds, options.interval, idle_cost, due, on_time)


def interval_of_median(ordered: list[float]) -> tuple[float, float]:
    """About 95 %, from the order of the values alone."""
    count = len(ordered)
    reach = math.ceil(0.98 * math.sqrt(count))
    return ordered[max(0, count // 2 - reach)], ordered[min(count - 1, count // 2 + reach)]


def compare(pairs: Iterable[tuple[Stretch, Stretch]], value_of: Callable[[Stretch], float]) -> list[float]:
    """Of each pair the ratio of watched to not: what the two servers differ by anyway is in both, and falls out."""
    return sorted(math.sqrt(value_of(first) / value_of(second)) for first, second in pairs)


def report(rounds: list[Round], interval: str, idle_cost: float, due: int, on_time: float) -> int:
    watched, alone = [one.watched for one in rounds], [one.alone for one in rounds]
    rates = compare(watched, lambda stretch: stretch.served)
    print(f"two hello worlds on one CPU, 10 connections each, {len(rounds)} rounds, monitor at {interval} of CPU time")
    for name, ratios in (
        ("throughput, watched / not", rates),
        ("throughput, nobody watched", compare(alone, lambda stretch: stretch.served)),
        ("app CPU per request, watched / not", compare(watched, lambda stretch: stretch.app_cpu)),
        ("app CPU per request, nobody watched", compare(alone, lambda stretch: stretch.app_cpu)),
    ):
        low, high = interval_of_median(ratios)
        print(f"  {name:36} median {statistics.median(ratios):.4f} (95 %: {low:.4f} to {high:.4f})", end="")
        print(f"   all {ratios[0]:.3f} to {ratios[-1]:.3f}")
    print(f"  CPU that watching takes from an idle app: {idle_cost:.2%} of a core")
    print(f"  of {due} samples every {interval}, within {ON_TIME_S * 1000:.0f} ms of schedule {on_time:.2%}")
    loss = 1 - statistics.median(rates)
    print(f"  loss of throughput {loss:.2%} (bar: < {LOSS_BAR:.0%}); on time {on_time:.2%} (bar: >= {ON_TIME_BAR:.0%})")
    return 0 if loss < LOSS_BAR and on_time >= ON_TIME_BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
