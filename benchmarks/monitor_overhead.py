"""What being watched costs the app, and whether samples arrive on time.

One hello-world server, loaded without a pause; short runs with and without a monitor at 100 ms take turns, so that
a drift of the machine meets both alike.  Prints requests per second of both, the paired ratios, the app's own CPU time
per request (which other processes of the machine disturb less), and the share of samples within 20 ms of schedule.
Bars: the monitor costs less than 1 % of throughput; at least 98 % of the samples are on time.

    python benchmarks/monitor_overhead.py [--pairs 12] [--seconds 3] [--interval 100ms] [--node PATH]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from pytest_memory import AppSpec, LoadGenerator, NodeApp
from pytest_memory.model import Sample
from pytest_memory.sampler import Sampler
from pytest_memory.units import parse_duration

SERVER = """
require('http').createServer((request, response) => { response.end('hello world'); })
  .listen(Number(process.env.PORT), '127.0.0.1');
"""
ON_TIME_S = 0.020
LOSS_BAR = 0.01
ON_TIME_BAR = 0.98


@dataclass(frozen=True)
class Run:
    """One stretch of load."""

    rps: float
    app_cpu_us: float
    samples: tuple[Sample, ...] = ()
    missed: int = 0


def measure(app: NodeApp, load: LoadGenerator, seconds: float, interval_s: float | None) -> Run:
    process = psutil.Process(app.pid)
    sampler = Sampler(app, interval_s=interval_s) if interval_s is not None else None
    if sampler is not None:
        sampler.start()
    try:
        before = sum(process.cpu_times()[:2])
        stats = load.run("/", duration=seconds, concurrency=10).stats
        cpu_s = sum(process.cpu_times()[:2]) - before
    finally:
        if sampler is not None:
            sampler.stop()
    samples = tuple(sampler.samples[1:-1]) if sampler is not None else ()
    return Run(stats.rps, 1e6 * cpu_s / max(1, stats.requests), samples, sampler.missed if sampler else 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--interval", default="100ms")
    parser.add_argument("--node")
    options = parser.parse_args()
    interval_s = parse_duration(options.interval, plain_unit="s")
    pairs: list[tuple[Run, Run]] = []
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "server.js")
        script.write_text(SERVER)
        with NodeApp.start(AppSpec(command=str(script), node=options.node)) as app, LoadGenerator(app.url) as load:
            _ = app.inspector  # attached in both, as it is whenever somebody may look
            measure(app, load, options.seconds, None)
            for number in range(options.pairs):
                order = (interval_s, None) if number % 2 else (None, interval_s)
                runs = {interval: measure(app, load, options.seconds, interval) for interval in order}
                pairs.append((runs[interval_s], runs[None]))
    return report(pairs, options.interval)


def report(pairs: list[tuple[Run, Run]], interval: str) -> int:
    rates = sorted(watched.rps / alone.rps for watched, alone in pairs)
    cpu = sorted(watched.app_cpu_us / alone.app_cpu_us for watched, alone in pairs)
    samples = [sample for watched, _ in pairs for sample in watched.samples]
    missed = sum(watched.missed for watched, _ in pairs)
    on_time = sum(sample.late_s <= ON_TIME_S for sample in samples) / max(1, len(samples) + missed)
    print(f"hello world, 10 connections, {len(pairs)} pairs of runs, monitor at {interval}")
    print(f"  requests/s  watched {statistics.median(w.rps for w, _ in pairs):9,.0f}", end="")
    print(f"   alone {statistics.median(a.rps for _, a in pairs):9,.0f}")
    print(f"  throughput watched/alone   median {statistics.median(rates):.4f}   {rates[0]:.3f} to {rates[-1]:.3f}")
    print(f"  app CPU per request ratio  median {statistics.median(cpu):.4f}   {cpu[0]:.3f} to {cpu[-1]:.3f}")
    print(f"  samples {len(samples)}, skipped {missed}, within {ON_TIME_S * 1000:.0f} ms of schedule {on_time:.2%}")
    loss = 1 - statistics.median(rates)
    print(f"  loss of throughput {loss:.2%} (bar: < {LOSS_BAR:.0%}); on time {on_time:.2%} (bar: >= {ON_TIME_BAR:.0%})")
    return 0 if loss < LOSS_BAR and on_time >= ON_TIME_BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
