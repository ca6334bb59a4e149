"""How fast and how honest the load engine is, beside autocannon and wrk.

In one run, interleaved: every round has each client once, in rotating order, and what is compared are medians of the
rounds' ratios, so that a busy machine slows all alike.  On a virtual machine the host may take the CPUs away in the
middle of a round: that is shown ("stolen"), and such rounds are compared only where there are no others.  Latencies
at a fixed rate, which leave room on both CPUs, are measured by both clients at the same time on the same server: a
stall of the machine is then a stall for both (one after the other, two runs of wrk differ by more than the bar).

All send the same request, a line and a Host header (autocannon adds "Connection: keep-alive").

Bars, against a Node hello-world: requests/s at least 1.3 × autocannon's and 0.9 × wrk's, CPU per request at most
autocannon's, p50 and p99 within 15 % of wrk's at the same fixed rate.

About requests/s: a Node server on one CPU needs nearly as long for a request as autocannon does.  It is the limit of
ours and of wrk, so what wrk gains over autocannon is shown too; ours gains more where its polling (`load.busy_poll`)
saves the server the waking of a sleeping client.  The bars are held on the
lightest hello-world that node:http can serve (it is told the length).  For information there are the hello-world of
Node's documentation, whose headers cost the server a third more, and 450 bytes of JSON; and a canned
answer over node:net, which leaves the server idle enough to show what each client can do.

About the fixed rate: wrk has no option for one (wrk2, which has, is packaged nowhere we could rely on), but it asks
its script how many milliseconds to wait before each request.  So there are two readings:

- the same think time in both, evenly between half and one and a half of a mean: connections × 1/mean is the rate, and
  both count from when a request was really written until its response is complete.  The bar is held on this.  (With
  one and the same think time for all, the connections of both fall into step and ask in bursts, and how they do is
  what would be compared.)
- arrivals on a schedule: the script gives each connection that becomes free the next slot, one every 1/rate seconds.
  That is ``rate=`` in ours, which counts from the slot, so that a stall of the machine delays all that was due
  meanwhile; wrk counts from its own late write and does not see it.  Two different figures, shown for information:
  on a busy machine ours must be the larger.

The servers have the first CPU and each client in its turn the others (``--no-pin`` leaves that to the system).

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil

from pytest_memory.load import LoadGenerator, LoadProgress

STOLEN_AT_MOST = 0.02
AUTOCANNON = "autocannon@9"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pytest-memory" / "benchmarks"

HELLO_WORLD = """
const headers = { 'content-type': 'text/plain', 'content-length': 14 };
const server = require('node:http').createServer((req, res) => {
  res.writeHead(200, headers);
  res.end('Hello, World!\\n');
});
"""

# https://nodejs.org/api/synopsis.html
DOCUMENTED = """
const server = require('node:http').createServer((req, res) => {
  res.statusCode = 200;
  res.setHeader('Content-Type', 'text/plain');
  res.end('Hello, World!\\n');
});
"""

JSON_450_BYTES = """
const body = JSON.stringify({ items: Array.from({ length: 14 }, (_, id) => ({ id, name: `item number ${id}` })) });
const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
const server = require('node:http').createServer((req, res) => { res.writeHead(200, headers); res.end(body); });
"""

CANNED = """
const answer = 'HTTP/1.1 200 OK\\r\\ncontent-type: text/plain\\r\\ncontent-length: 14\\r\\n\\r\\nHello, World!\\n';
const server = require('node:net').createServer({ noDelay: true }, (socket) => {
  socket.on('data', () => socket.write(answer, 'latin1'));
  socket.on('error', () => {});
});
"""

SERVERS = {
    "hello-world": HELLO_WORLD,
    "for information: the hello-world of Node's documentation": DOCUMENTED,
    "for information: 450 bytes of JSON": JSON_450_BYTES,
    "for information: a canned answer": CANNED,
}
LISTEN = "server.listen(0, '127.0.0.1', () => console.log(server.address().port));"

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
    stolen: float = 0.0  # the share of the CPUs' time that a virtual machine's host kept for itself


@dataclass(frozen=True)
class Pace:
    """How requests follow each other: as fast as possible, after a think time, or at a rate."""

    rate: int | None = None
    think_ms: tuple[int, int] | None = None  # evenly between


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
            delay = "function delay() return math.random({}, {}) end\n".format(*pace.think_ms)
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
        # As short as theirs: what every header costs the server would be taken for the client's.
        request = httpx.Request("GET", url)
        # Its process is up, as theirs are when they time; and where it is paced its connections are, because wrk asks
        # delay() between connecting and the first request of each, so that no burst begins its run.
        paced = pace != FLAT_OUT
        load.run(request, requests=connections, concurrency=connections, keep_connections=paced)
        process = psutil.Process(load.worker_pids[0])
        before = process.cpu_times()
        options: dict[str, Any] = {"duration": seconds, "concurrency": connections, "rate": pace.rate}
        if pace.think_ms is not None:
            think_s = [one_ms / 1000 for one_ms in pace.think_ms]
            options |= {"think_time": tuple(think_s), "ramp_up": sum(think_s) / 2}
        result = load.run(request, **options)
        after = process.cpu_times()
        cpu_s = after.user + after.system - before.user - before.system
        assert not result.errors, result
        if result.dropped > result.requests / 100:
            print(f"  (a stall of the machine: ours dropped {result.dropped} of {result.requests} arrivals)")
        return Measured(
            rps=result.rps, cpu_us=cpu_s / result.requests * 1e6, p50_us=result.p50_s * 1e6, p99_us=result.p99_s * 1e6
        )

    return run


def stolen_since(before: Any) -> float:
    """The share of the CPUs' time that the host took; 0 where the system does not say."""
    after = psutil.cpu_times()
    passed = sum(after) - sum(before)
    return (getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)) / passed if passed else 0.0


def interleaved(
    clients: dict[str, Client], rounds: int, url: str, connections: int, seconds: int, pace: Pace
) -> dict[str, list[Measured]]:
    """``rounds`` measurements of each client, the order turning so that none is always first."""
    names = list(clients)
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            before = psutil.cpu_times()
            measured = clients[name](url, connections, seconds, pace)
            found[name].append(replace(measured, stolen=stolen_since(before)))
    return found


def at_the_same_time(
    clients: dict[str, Client], rounds: int, url: str, connections: int, seconds: int, pace: Pace
) -> dict[str, list[Measured]]:
    """``rounds`` measurements of all clients beside each other on one server."""
    found: dict[str, list[Measured]] = {name: [] for name in clients}
    with ThreadPoolExecutor(len(clients)) as pool:
        for _ in range(rounds):
            before = psutil.cpu_times()
            runs = {name: pool.submit(run, url, connections, seconds, pace) for name, run in clients.items()}
            measured = {name: run.result() for name, run in runs.items()}
            stolen = stolen_since(before)
            for name, one in measured.items():
                found[name].append(replace(one, stolen=stolen))
    return found


def ratio(
    found: dict[str, list[Measured]], other: str, value_of: Callable[[Measured], float | None], one: str = "ours"
) -> float | None:
    """The median over the rounds of ours (or another ``one``'s) / theirs."""
    if other not in found or one not in found:
        return None
    rounds = list(zip(found[one], found[other]))
    whole = [(mine, theirs) for mine, theirs in rounds if max(mine.stolen, theirs.stolen) <= STOLEN_AT_MOST]
    pairs = [(value_of(mine), value_of(theirs)) for mine, theirs in whole or rounds]
    ratios = [mine / theirs for mine, theirs in pairs if mine is not None and theirs]
    return statistics.median(ratios) if ratios else None


def median_of(runs: list[Measured], value_of: Callable[[Measured], float | None]) -> float | None:
    values = [value for value in map(value_of, runs) if value is not None]
    return statistics.median(values) if values else None


def shown(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def print_table(title: str, found: dict[str, list[Measured]]) -> None:
    print(f"\n{title}")
    print(f"  {'client':<12}{'requests/s':>12}{'CPU µs/req':>12}{'p50 µs':>10}{'p99 µs':>10}{'stolen %':>10}")
    for name, runs in found.items():
        row = (median_of(runs, lambda run: run.rps), median_of(runs, lambda run: run.cpu_us))
        latencies = (median_of(runs, lambda run: run.p50_us), median_of(runs, lambda run: run.p99_us))
        stolen = median_of(runs, lambda run: run.stolen * 100)
        print(
            f"  {name:<12}{shown(row[0]):>12}{shown(row[1], 1):>12}{shown(latencies[0]):>10}{shown(latencies[1]):>10}"
            f"{shown(stolen, 1):>10}"
        )


def print_bar(what: str, value: float | None, good: Callable[[float], bool], bar: str) -> bool:
    if value is None:
        print(f"  –     {what}: not measured")
        return True
    print(f"  {'ok  ' if good(value) else 'MISS'}  {what}: {value:.2f} (bar {bar})")
    return good(value)


def saturated(clients: dict[str, Client], urls: dict[str, str], rounds: int, seconds: int) -> list[bool]:
    """As many requests as each client manages."""
    kept = []
    (_, hello), *others = urls.items()
    for connections in (10, 100):
        found = interleaved(clients, rounds, hello, connections, seconds, FLAT_OUT)
        print_table(f"hello-world, flat out, {connections} connections, median of {rounds} × {seconds} s", found)
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
        most = ratio(found, "autocannon", lambda run: run.rps, one="wrk")
        print(f"        requests/s, wrk / autocannon, which is what the server leaves to gain: {shown(most, 2)}")
    for name, url in others:
        found = interleaved(clients, rounds, url, 10, seconds, FLAT_OUT)
        print_table(f"{name}, flat out, 10 connections, median of {rounds} × {seconds} s", found)
        for other in ("autocannon", "wrk"):
            print(f"        requests/s, ours / {other}: {shown(ratio(found, other, lambda run: run.rps), 2)}")
    return kept


def at_a_rate(clients: dict[str, Client], url: str, rounds: int, seconds: int) -> list[bool]:
    """The same pace in ours and in wrk: what latency do they see?"""
    kept = []
    both = {name: client for name, client in clients.items() if name != "autocannon"}
    if "wrk" not in both:
        print("\nwrk is not on PATH: latencies are not compared")
        return []
    percentiles = (("p50", lambda run: run.p50_us), ("p99", lambda run: run.p99_us))
    for connections, mean_ms in ((10, 20), (10, 10), (100, 100)):
        think_ms = (mean_ms // 2, mean_ms * 3 // 2)
        found = at_the_same_time(both, rounds, url, connections, seconds, Pace(think_ms=think_ms))
        how = f"each waiting {think_ms[0]} … {think_ms[1]} ms after a response"
        print_table(f"from written to complete: {connections} connections, {how}, {rounds} × {seconds} s", found)
        for name, value_of in percentiles:
            value = ratio(found, "wrk", value_of)
            kept.append(print_bar(f"{name}, ours / wrk", value, lambda x: 0.85 <= x <= 1.15, "0.85 … 1.15"))
    for connections, rate in ((10, 500), (100, 1000)):
        found = at_the_same_time(both, rounds, url, connections, seconds, Pace(rate=rate))
        how = f"{connections} connections, {rate}/s on a schedule, {rounds} × {seconds} s"
        print_table(f"for information, ours from the slot, wrk from its write: {how}", found)
        for name, value_of in percentiles:
            print(f"        {name}, ours / wrk: {shown(ratio(found, 'wrk', value_of), 2)}")
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


def url_of(server: subprocess.Popen[str]) -> str:
    """Where a server listens, once it does."""
    assert server.stdout is not None
    return f"http://127.0.0.1:{int(server.stdout.readline())}/"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each run; whole, as wrk wants them")
    parser.add_argument("--flat", type=int, default=0, metavar="REQUESTS", help="also watch the memory over so many")
    parser.add_argument("--only", choices=("saturated", "rate", "flat"))
    parser.add_argument("--no-pin", dest="pin", action="store_false", help="let the system choose the CPUs")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    servers = [
        subprocess.Popen(["node", "-e", script + LISTEN], stdout=subprocess.PIPE, text=True)
        for script in SERVERS.values()
    ]
    if options.pin and len(cpus) > 1:
        for server in servers:
            os.sched_setaffinity(server.pid, cpus[:1])
        os.sched_setaffinity(0, cpus[1:])
        # Ours sees only the clients' CPUs and would think that the server, too, has to live on them.
        os.environ["PYTEST_MEMORY_BUSY_POLL"] = "1"
    try:
        urls = {name: url_of(server) for name, server in zip(SERVERS, servers)}
        hello = next(iter(urls.values()))
        with LoadGenerator() as load, tempfile.TemporaryDirectory() as directory:
            made = {"ours": make_ours(load), "autocannon": make_autocannon(), "wrk": make_wrk(Path(directory))}
            clients = {name: client for name, client in made.items() if client is not None}
            for url in urls.values():
                load.run(url, duration="2s")  # the server's code is warm before anybody is measured
            kept: list[bool] = []
            if options.only in (None, "saturated"):
                kept += saturated(clients, urls, options.rounds, options.seconds)
            if options.only in (None, "rate"):
                kept += at_a_rate(clients, hello, options.rounds, options.seconds)
            if options.flat or options.only == "flat":
                kept.append(flat(load, hello, options.flat or 1_000_000))
    finally:
        for server in servers:
            server.kill()
            server.wait()
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
