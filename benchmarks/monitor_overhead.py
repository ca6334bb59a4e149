"""What being watched costs the app, and whether samples arrive on time.

One hello-world server under one load without a pause; a monitor at 100 ms is switched on and off, in the order off,
on, on, off, …, so that a drift of the machine meets both alike.  The server counts its requests and its time itself,
so that nothing of how a load begins or ends is measured.  Prints requests per second of both, the paired ratios with
the interval of their median, the app's own CPU time per request (which other processes of the machine disturb less),
the CPU time that watching costs an idle app, and the share of samples within 20 ms of schedule.
Bars: the monitor costs less than 1 % of throughput; at least 98 % of the samples are on time.

    python benchmarks/monitor_overhead.py [--pairs 60] [--seconds 1] [--interval 100ms] [--node PATH]
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_memory import AppSpec, LoadGenerator, NodeApp
from pytest_memory.model import Sample
from pytest_memory.sampler import Sampler
from pytest_memory.units import parse_duration

SERVER = """
globalThis.served = 0;
require('http').createServer((request, response) => { globalThis.served += 1; response.end('hello world'); })
  .listen(Number(process.env.PORT), '127.0.0.1');
"""
COUNT = "((cpu) => [globalThis.served, performance.now(), cpu.user + cpu.system])(process.cpuUsage())"
WARMUP_S = 3.0
ON_TIME_S = 0.020
LOSS_BAR = 0.01
ON_TIME_BAR = 0.98


@dataclass(frozen=True)
class Run:
    """One stretch of the load."""

    rps: float
    app_cpu_us: float
    """A request."""
    samples: tuple[Sample, ...] = ()
    missed: int = 0


def read_cpu_us(app: NodeApp) -> float:
    """CPU time the app has used; the kernel's own count of it moves in steps of 10 ms."""
    return float(app.evaluate(COUNT)[2])


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


def measure(app: NodeApp, seconds: float, interval_s: float | None) -> Run:
    """A stretch between two looks at the app's own counts; the monitor starts before the first."""
    sampler = Sampler(app, interval_s=interval_s) if interval_s is not None else None
    if sampler is not None:
        sampler.start()
    try:
        requests, at_ms, cpu_us = app.evaluate(COUNT)
        time.sleep(seconds)
        requests_after, at_ms_after, cpu_us_after = app.evaluate(COUNT)
    finally:
        if sampler is not None:
            sampler.stop()
    served = max(1, requests_after - requests)
    samples = tuple(sampler.samples[1:-1]) if sampler is not None else ()
    missed = sampler.missed if sampler is not None else 0
    return Run(1000 * served / (at_ms_after - at_ms), (cpu_us_after - cpu_us) / served, samples, missed)


def measure_pairs(app: NodeApp, pairs: int, seconds: float, interval_s: float) -> list[tuple[Run, Run]]:
    """(watched, alone) of each pair, under the load that runs meanwhile."""
    measured = []
    for number in range(pairs):
        order = (interval_s, None) if number % 2 else (None, interval_s)
        runs = {interval: measure(app, seconds, interval) for interval in order}
        measured.append((runs[interval_s], runs[None]))
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--interval", default="100ms")
    parser.add_argument("--node")
    options = parser.parse_args()
    interval_s = parse_duration(options.interval, plain_unit="s")
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "server.js")
        script.write_text(SERVER)
        with NodeApp.start(AppSpec(command=str(script), node=options.node)) as app, LoadGenerator(app.url) as load:
            _ = app.inspector  # attached in both, as it is whenever somebody may look
            idle_cost = measure_idle_cost(app, interval_s)
            # Longer than needed: stopped when the last pair has been measured.
            loading = load.start("/", duration=60 + 10 * options.pairs * options.seconds, concurrency=10)
            try:
                time.sleep(WARMUP_S)
                pairs = measure_pairs(app, options.pairs, options.seconds, interval_s)
            finally:
                loading.stop()
    return report(pairs, options.interval, idle_cost)


def interval_of_median(ordered: list[float]) -> tuple[float, float]:
    """About 95 %, from the order of the values alone."""
    count = len(ordered)
    reach = math.ceil(0.98 * math.sqrt(count))
    return ordered[max(0, count // 2 - reach)], ordered[min(count - 1, count // 2 + reach)]


def report(pairs: list[tuple[Run, Run]], interval: str, idle_cost: float) -> int:
    rates = sorted(watched.rps / alone.rps for watched, alone in pairs)
    cpu = sorted(watched.app_cpu_us / alone.app_cpu_us for watched, alone in pairs)
    samples = [sample for watched, _ in pairs for sample in watched.samples]
    missed = sum(watched.missed for watched, _ in pairs)
    on_time = sum(sample.late_s <= ON_TIME_S for sample in samples) / max(1, len(samples) + missed)
    print(f"hello world, 10 connections, {len(pairs)} pairs of runs, monitor at {interval}")
    print(f"  requests/s  watched {statistics.median(w.rps for w, _ in pairs):9,.0f}", end="")
    print(f"   alone {statistics.median(a.rps for _, a in pairs):9,.0f}")
    for name, ratios in (("throughput watched/alone ", rates), ("app CPU per request ratio", cpu)):
        low, high = interval_of_median(ratios)
        print(f"  {name}  median {statistics.median(ratios):.4f} (95 %: {low:.4f} to {high:.4f})", end="")
        print(f"   all {ratios[0]:.3f} to {ratios[-1]:.3f}")
    print(f"  CPU that watching takes from an idle app: {idle_cost:.2%} of a core")
    print(f"  samples {len(samples)}, skipped {missed}, within {ON_TIME_S * 1000:.0f} ms of schedule {on_time:.2%}")
    loss = 1 - statistics.median(rates)
    print(f"  loss of throughput {loss:.2%} (bar: < {LOSS_BAR:.0%}); on time {on_time:.2%} (bar: >= {ON_TIME_BAR:.0%})")
    return 0 if loss < LOSS_BAR and on_time >= ON_TIME_BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
