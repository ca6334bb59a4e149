"""How fast and how honest the load engine is, beside autocannon and wrk.

Against one Node hello-world, in one run, interleaved: every round has each client once, in rotating order, and what
is compared are medians of the rounds' ratios, so that a busy machine slows all alike.

Bars: requests/s at least 1.3 × autocannon's and 0.9 × wrk's, CPU per request at most autocannon's, p50 and
p99 within 15 % of wrk's at the same fixed rate.

About the fixed rate: wrk has no option for one (wrk2, which has, is packaged nowhere we could rely on), but it asks
its script how long to wait before each request.  So there are two readings, and both are shown:

- the same think time in both, ``delay()`` returning a constant: each connection asks about as often, and both count
  from when the request was really written;
- arrivals on a schedule: the script gives each connection that becomes free the next slot, one every 1/rate seconds.
  That is ``rate=`` in ours, which counts from the slot, so that a stall of the machine delays all that was due
  meanwhile; wrk counts from its own late write and does not see it.  On a busy machine ours must show a larger p99.

The server has the first CPU and each client in its turn the others (``--no-pin`` leaves that to the system).

    python benchmarks/load.py [--rounds 5] [--seconds 4] [--flat 10000000] [--no-pin] [--only PART]

autocannon is installed by npm into a cache directory; wrk is used when it is on PATH (Debian: apt install wrk).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from pytest_memory.load import LoadGenerator, LoadProgress

AUTOCANNON = "autocannon@9"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pytest-memory" / "benchmarks"

SERVER = """
const http = require('http');
const body = JSON.stringify({ items: Array.from({ length: 14 }, (_, id) => ({ id, name: `item number ${id}` })) });
const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
const server = http.createServer((req, res) => { res.writeHead(200, headers); res.end(body); });
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""

WRK_SCHEDULE = """
local ffi = require('ffi')
ffi.cdef 'typedef struct { long s; long ns; } timespec_t; int clock_gettime(int clock, timespec_t *time);'
local time, period_ms, slot_ms = ffi.new('timespec_t'), 1000 / RATE, 0
function delay()
  ffi.C.clock_gettime(1, time)
  local now_ms = tonumber(time.s) * 1e3 + tonumber(time.ns) / 1e6
  slot_ms = math.max(slot_ms + period_ms, now_ms)
  return math.floor(slot_ms - now_ms + 0.5)
end
"""

WRK_DONE = """
function done(summary, latency, requests)
  print(string.format('JSON{"requests":%d,"seconds":%.6f,"p50":%.1f,"p99":%.1f}',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Measured:
    """One run of one client.  Latencies in microseconds; None where the client cannot say (autocannon: whole ms)."""

    rps: float
    cpu_us: float
    p50_us: float | None = None
    p99_us: float | None = None


@dataclass(frozen=True)
class Pace:
    """How requests follow each other: as fast as possible, after a think time, or at a rate."""

    rate: int | None = None
    think_ms: int | None = None


FLAT_OUT = Pace()
Client = Callable[[str, int, int, Pace], Measured]  # url, connections, seconds


def children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_outside(command: list[str]) -> tuple[str, float]:
    """Output of a finished child, and the CPU seconds it used."""
    before = children_cpu_s()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, children_cpu_s() - before


def make_wrk(directory: Path) -> Client | None:
    wrk = shutil.which("wrk")
    if wrk is None:
        return None

    def run(url: str, connections: int, seconds: int, pace: Pace) -> Measured:
        script = directory / "pace.lua"
        delay = ""
        if pace.rate is not None:
            delay = WRK_SCHEDULE.replace("RATE", str(pace.rate))
        elif pace.think_ms is not None:
            delay = f"function delay() return {pace.think_ms} end\n"
        script.write_text(delay + WRK_DONE)
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
        output, cpu_s = run_outside(command)
        found = json.loads(output.partition("JSON")[2].splitlines()[0])
        return Measured(
            rps=found["requests"] / found["seconds"],
            cpu_us=cpu_s / found["requests"] * 1e6,
            p50_us=found["p50"],
            p99_us=found["p99"],
        )

    return run


def make_autocannon() -> Client | None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return None
    script = CACHE / "node_modules" / "autocannon" / "autocannon.js"
    if not script.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([npm, "install", "--prefix", str(CACHE), "--no-audit", "--no-fund", AUTOCANNON], check=True)

    def run(url: str, connections: int, seconds: int, pace: Pace) -> Measured:
        command = [node, str(script), "-j", "-c", str(connections), "-d", str(seconds), url]
        output, cpu_s = run_outside(command)
        found = json.loads(output)
        total = found["requests"]["total"]
        return Measured(rps=total / found["duration"], cpu_us=cpu_s / total * 1e6)

    return run


def make_ours(load: LoadGenerator) -> Client:
    def run(url: str, connections: int, seconds: int, pace: Pace) -> Measured:
        load.run(url, requests=connections, concurrency=connections)  # the process is up, as theirs are when they time
        process = psutil.Process(load.worker_pids[0])
        before = process.cpu_times()
        think = None if pace.think_ms is None else f"{pace.think_ms}ms"
        result = load.run(url, duration=seconds, concurrency=connections, rate=pace.rate, think_time=think)
        after = process.cpu_times()
        cpu_s = after.user + after.system - before.user - before.system
        assert result.ok, result
        return Measured(
            rps=result.rps, cpu_us=cpu_s / result.requests * 1e6, p50_us=result.p50_s * 1e6, p99_us=result.p99_s * 1e6
        )

    return run


def interleaved(
    clients: dict[str, Client], rounds: int, url: str, connections: int, seconds: int, pace: Pace
) -> dict[str, list[Measured]]:
    """``rounds`` measurements of each client, the order turning so that none is always first."""
    names = list(clients)
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(clients[name](url, connections, seconds, pace))
    return found


def ratio(found: dict[str, list[Measured]], other: str, value_of: Callable[[Measured], float | None]) -> float | None:
    """The median over the rounds of ours / theirs."""
    if other not in found:
        return None
    pairs = [(value_of(ours), value_of(theirs)) for ours, theirs in zip(found["ours"], found[other])]
    ratios = [ours / theirs for ours, theirs in pairs if ours is not None and theirs]
    return statistics.median(ratios) if ratios else None


def median_of(runs: list[Measured], value_of: Callable[[Measured], float | None]) -> float | None:
    values = [value for value in map(value_of, runs) if value is not None]
    return statistics.median(values) if values else None


def shown(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def print_table(title: str, found: dict[str, list[Measured]]) -> None:
    print(f"\n{title}")
    print(f"  {'client':<12}{'requests/s':>12}{'CPU µs/req':>12}{'p50 µs':>10}{'p99 µs':>10}")
    for name, runs in found.items():
        row = (median_of(runs, lambda run: run.rps), median_of(runs, lambda run: run.cpu_us))
        latencies = (median_of(runs, lambda run: run.p50_us), median_of(runs, lambda run: run.p99_us))
        print(
            f"  {name:<12}{shown(row[0]):>12}{shown(row[1], 1):>12}{shown(latencies[0]):>10}{shown(latencies[1]):>10}"
        )


def print_bar(what: str, value: float | None, good: Callable[[float], bool], bar: str) -> bool:
    if value is None:
        print(f"  –     {what}: not measured")
        return True
    print(f"  {'ok  ' if good(value) else 'MISS'}  {what}: {value:.2f} (bar {bar})")
    return good(value)


def saturated(clients: dict[str, Client], url: str, rounds: int, seconds: int) -> list[bool]:
    """As many requests as each client manages."""
    kept = []
    for connections in (10, 100):
        found = interleaved(clients, rounds, url, connections, seconds, FLAT_OUT)
        print_table(f"as fast as possible, {connections} connections, median of {rounds} × {seconds} s", found)
        kept += [
            print_bar(
                "requests/s, ours / autocannon",
                ratio(found, "autocannon", lambda run: run.rps),
                lambda x: x >= 1.3,
                "≥ 1.3",
            ),
            print_bar("requests/s, ours / wrk", ratio(found, "wrk", lambda run: run.rps), lambda x: x >= 0.9, "≥ 0.9"),
            print_bar(
                "CPU per request, ours / autocannon",
                ratio(found, "autocannon", lambda run: run.cpu_us),
                lambda x: x <= 1,
                "≤ 1",
            ),
        ]
    return kept


def at_a_rate(clients: dict[str, Client], url: str, rounds: int, seconds: int) -> list[bool]:
    """The same pace in ours and in wrk: what latency do they see?"""
    kept = []
    both = {name: client for name, client in clients.items() if name != "autocannon"}
    if "wrk" not in both:
        print("\nwrk is not on PATH: latencies are not compared")
        return []
    paces = ((10, Pace(think_ms=10)), (100, Pace(think_ms=100)), (10, Pace(rate=500)), (100, Pace(rate=1000)))
    for connections, pace in paces:
        found = interleaved(both, rounds, url, connections, seconds, pace)
        how = f"{pace.rate}/s on a schedule" if pace.rate else f"each waiting {pace.think_ms} ms after a response"
        print_table(f"same pace: {connections} connections, {how}, median of {rounds} × {seconds} s", found)
        for name, value_of in (("p50", lambda run: run.p50_us), ("p99", lambda run: run.p99_us)):
            kept.append(
                print_bar(
                    f"{name}, ours / wrk", ratio(found, "wrk", value_of), lambda x: 0.85 <= x <= 1.15, "0.85 … 1.15"
                )
            )
    return kept


def flat(load: LoadGenerator, url: str, requests: int) -> bool:
    """The load process's memory over many requests."""
    load.run(url, requests=min(requests, 200_000), concurrency=20)
    process = psutil.Process(load.worker_pids[0])
    start = largest = process.memory_info().rss
    shown_at = 0
    print(f"\nmemory of the load process over {requests:,} requests\n  {'requests':>12}{'RSS in MB':>12}")

    def look(seen: LoadProgress) -> None:
        nonlocal largest, shown_at
        rss = process.memory_info().rss
        largest = max(largest, rss)
        if seen.requests >= shown_at:
            print(f"  {seen.requests:>12,}{rss / 1e6:>12.1f}", flush=True)
            shown_at = seen.requests + requests // 20

    result = load.run(url, requests=requests, concurrency=20, interval="1s", progress=look)
    assert result.requests == requests, result
    assert result.ok, result
    print(f"  start {start / 1e6:.1f} MB, largest {largest / 1e6:.1f} MB, {result.rps:,.0f} requests/s")
    return print_bar("growth in MB", (largest - start) / 1e6, lambda x: x < 3, "< 3")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each run; whole, as wrk wants them")
    parser.add_argument("--flat", type=int, default=0, metavar="REQUESTS", help="also watch the memory over so many")
    parser.add_argument("--only", choices=("saturated", "rate", "flat"))
    parser.add_argument("--no-pin", dest="pin", action="store_false", help="let the system choose the CPUs")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    server = subprocess.Popen(["node", "-e", SERVER], stdout=subprocess.PIPE, text=True)
    if options.pin and len(cpus) > 1:
        os.sched_setaffinity(server.pid, cpus[:1])
        os.sched_setaffinity(0, cpus[1:])
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/"
        with LoadGenerator() as load, tempfile.TemporaryDirectory() as directory:
            made = {"ours": make_ours(load), "autocannon": make_autocannon(), "wrk": make_wrk(Path(directory))}
            clients = {name: client for name, client in made.items() if client is not None}
            load.run(url, duration="2s")  # the server's code is warm before anybody is measured
            kept: list[bool] = []
            if options.only in (None, "saturated"):
                kept += saturated(clients, url, options.rounds, options.seconds)
            if options.only in (None, "rate"):
                kept += at_a_rate(clients, url, options.rounds, options.seconds)
            if options.flat or options.only == "flat":
                kept.append(flat(load, url, options.flat or 1_000_000))
    finally:
        server.kill()
        server.wait()
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
