"""Results as real runs leave them, made without running anything: for tests of reports, and of what reads results.

Numbers are drawn from a seeded generator, so that golden texts stay the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from pytest_memory.judge import combine
from pytest_memory.model import (
    AppInfo,
    Artifact,
    Check,
    ClassDelta,
    Environment,
    Finding,
    GcEvent,
    Growth,
    HeapNode,
    Latency,
    LeakEstimate,
    LoadPoint,
    LoadStats,
    Note,
    Phase,
    ProcessInfo,
    ResultDocument,
    RetainerPath,
    Round,
    RunResult,
    Sample,
    SettledMemory,
    TargetStats,
)

MB = 1_000_000
PID = 4711
HEAP_LIMIT = 512 * MB
XSS_ID = """tests/test_xss.py::test_names[<script>window.pwned=1</script>"'><img src=x onerror=window.pwned=2>&amp;]"""

ENVIRONMENT = Environment(
    node_version="v22.11.0",
    v8_version="12.4.254.21-node.21",
    os="Linux 6.1",
    arch="x86_64",
    cpu="AMD EPYC 7763",
    cpu_count=4,
    memory_bytes=16_000 * MB,
    python_version="3.11.7",
    plugin_version="0.1.0",
    pytest_version="9.2.0",
    commit="0f3a9c1",
)
APP = AppInfo(
    command="node server.js",
    pid=PID,
    url="http://127.0.0.1:34567",
    node_version="v22.11.0",
    v8_version="12.4.254.21-node.21",
    precise=True,
    heap_limit_bytes=HEAP_LIMIT,
    processes=(ProcessInfo(pid=PID, ppid=4700, role="app", command="node server.js"),),
)


def settled(t_s: float, heap: float, *, rss: float | None = None, external: float = 2 * MB) -> SettledMemory:
    """A settled reading with ``heap`` bytes in use."""
    return SettledMemory(
        t_s=t_s,
        heap_used_bytes=round(heap),
        heap_total_bytes=round(heap * 1.25),
        external_bytes=round(external),
        array_buffers_bytes=round(external / 4),
        rss_bytes=round(heap * 1.3 + 38 * MB if rss is None else rss),
        handles=4,
        fds=22,
        collections=3,
        duration_s=0.21,
    )


def samples(
    count: int, *, start: float, end: float, interval_s: float = 0.1, saw: float = 2 * MB, seed: int = 1, pid: int = PID
) -> tuple[Sample, ...]:
    """Samples from ``start`` to ``end`` bytes of heap with the teeth of garbage collection and one spike."""
    generator = random.Random(seed)
    spike = count * 2 // 3
    out = []
    for index in range(count):
        base = start + (end - start) * index / max(count - 1, 1)
        heap = base + saw * (index % 17) / 17 + generator.uniform(0, saw / 10) + (3 * saw if index == spike else 0)
        blocked = index % 997 == 500
        out.append(
            Sample(
                t_s=round(index * interval_s, 3),
                pid=pid,
                rss_bytes=round(heap * 1.3 + 38 * MB),
                heap_used_bytes=None if blocked else round(heap),
                heap_total_bytes=None if blocked else round(base * 1.3 + saw),
                external_bytes=None if blocked else round(2 * MB + saw / 4 * math.sin(index / 40)),
                loop_delay_s=None if blocked else 0.002,
                handles=4,
                cpu_s=index * interval_s * 0.4,
                blocked=blocked,
            )
        )
    return tuple(out)


def gc_events(duration_s: float, count: int = 60, seed: int = 2) -> tuple[GcEvent, ...]:
    """Scavenges all along, and some mark-compacts."""
    generator = random.Random(seed)
    return tuple(
        GcEvent(
            t_s=round(duration_s * (index + 0.5) / count, 3),
            pid=PID,
            kind="mark-compact" if index % 10 == 9 else "scavenge",
            duration_s=round(
                generator.uniform(0.004, 0.03) if index % 10 == 9 else generator.uniform(0.0005, 0.003), 6
            ),
        )
        for index in range(count)
    )


def load(requests: int = 2000, errors: int = 0, duration_s: float = 20.0, slow: float = 1.0) -> LoadStats:
    """A finished load run with a series of one point a second."""
    latency = Latency(
        count=requests,
        mean_s=0.0052 * slow,
        min_s=0.001 * slow,
        p50_s=0.0041 * slow,
        p75_s=0.006 * slow,
        p90_s=0.0093 * slow,
        p95_s=0.012 * slow,
        p99_s=0.0204 * slow,
        p999_s=0.04 * slow,
        max_s=0.0561 * slow,
    )
    seconds = max(1, round(duration_s))
    points = tuple(
        LoadPoint(
            t_s=float(second),
            requests=requests // seconds,
            errors=errors // seconds,
            p50_s=0.004 * slow * (1 + 0.2 * math.sin(second)),
            p99_s=0.018 * slow * (1 + 0.4 * math.sin(second / 2)),
            active=10,
        )
        for second in range(seconds)
    )
    return LoadStats(
        requests=requests,
        errors=errors,
        duration_s=duration_s,
        bytes_sent=requests * 210,
        bytes_received=requests * 640,
        status={"200": requests - errors, "500": errors},
        errors_by_kind={"http-500": errors} if errors else {},
        first_error="500 Internal Server Error from /api/orders" if errors else None,
        latency=latency,
        series=points,
        concurrency=10,
        description="GET /api/orders",
        targets=(
            TargetStats(name="GET /api/orders", requests=requests * 3 // 4, errors=errors, latency=latency),
            TargetStats(name="POST /api/orders", requests=requests // 4, errors=0, latency=latency),
        ),
    )


def healthy(test_id: str = "tests/test_api.py::test_checkout", *, count: int = 200, seed: int = 3) -> RunResult:
    """Heap growth well under the limit of the marker."""
    start, end = settled(1, 12.1 * MB), settled(count * 0.1, 13.3 * MB)
    checks = (
        Check(
            metric="max_heap_growth",
            outcome="pass",
            reason="within-limit",
            measured=1.2 * MB,
            limit=50.0 * MB,
            limit_text="50MB",
            detail={"start": 12.1 * MB, "end": 13.3 * MB, "units": 2000},
        ),
        Check(
            metric="health:rss",
            outcome="pass",
            reason="within-limit",
            measured=3.1 * MB,
            limit=100.0 * MB,
            source="default",
            detail={"start": 53.0 * MB, "end": 56.1 * MB, "units": 2000},
        ),
        Check(
            metric="max_gc_pause",
            outcome="pass",
            reason="within-limit",
            measured=0.03,
            limit=0.2,
            limit_text="200ms",
            unit="s",
        ),
    )
    return RunResult(
        test_id=test_id,
        started_at="2026-05-01T10:00:00+00:00",
        duration_s=count * 0.1,
        interval_s=0.1,
        test_outcome="passed",
        verdict=combine(checks),
        app=APP,
        environment=ENVIRONMENT,
        samples=samples(count, start=12 * MB, end=13 * MB, seed=seed),
        gc_events=gc_events(count * 0.1),
        phases=(
            Phase(name="warm-up", start_s=0, end_s=count * 0.02),
            Phase(name="load", start_s=count * 0.02, end_s=count * 0.09),
            Phase(name="settle", start_s=count * 0.09, end_s=count * 0.1),
        ),
        start_memory=start,
        end_memory=end,
        growth=(
            Growth(metric="heap_used", start=start.heap_used_bytes, end=end.heap_used_bytes, units=2000),
            Growth(metric="rss", start=start.rss_bytes, end=end.rss_bytes, units=2000),
            Growth(metric="external", start=start.external_bytes, end=end.external_bytes, units=2000),
        ),
        load=(load(),),
    )


def over_limit(test_id: str = "tests/test_api.py::test_upload", *, count: int = 200) -> RunResult:
    """A broken limit without a leak test."""
    base = healthy(test_id, count=count)
    checks = (
        Check(
            metric="max_heap_growth",
            outcome="critical",
            reason="over-limit",
            measured=61.2 * MB,
            limit=50.0 * MB,
            limit_text="50MB",
            detail={"start": 12.1 * MB, "end": 73.3 * MB, "units": 2000},
        ),
        Check(
            metric="health:rss",
            outcome="warning",
            reason="over-threshold-warning",
            measured=104.0 * MB,
            limit=100.0 * MB,
            source="default",
            detail={"start": 53.7 * MB, "end": 157.7 * MB, "units": 2000},
        ),
    )
    return replace(
        base,
        verdict=combine(checks),
        test_outcome="failed",
        samples=samples(count, start=12.1 * MB, end=73 * MB, seed=7),
        end_memory=settled(20, 73.3 * MB),
        growth=(
            Growth(metric="heap_used", start=12.1 * MB, end=73.3 * MB, units=2000),
            Growth(metric="rss", start=53.7 * MB, end=157.7 * MB, units=2000),
        ),
    )


def rounds(count: int, *, start: float, step: float, units: int = 250, seed: int = 5) -> tuple[Round, ...]:
    """Rounds of a leak test whose settled heap grows by about ``step`` bytes each."""
    generator = random.Random(seed)
    return tuple(
        Round(
            index=index + 1,
            units=units,
            errors=0,
            start_s=2.0 + index * 2,
            end_s=4.0 + index * 2,
            memory=settled(4.0 + index * 2, start + step * (index + 1) + generator.uniform(-4000, 4000)),
            peak_rss_bytes=round(start * 1.5 + 40 * MB),
        )
        for index in range(count)
    )


def heap_tree() -> tuple[HeapNode, ...]:
    """The heap of an app whose sessions stay: what the treemap shows."""
    names = ("sessions : Map", "system / Context", "(compiled code)", "Router", "Buffer")
    boxes = [HeapNode(name="(heap)", parent=-1, retained_bytes=14_000_000)]
    boxes += [
        HeapNode(name=name, parent=0, retained_bytes=5_000_000 // number) for number, name in enumerate(names, start=1)
    ]
    boxes += [
        HeapNode(name="Session", parent=1, retained_bytes=4_100_000, count=2100),
        HeapNode(name="(string)", parent=6, retained_bytes=2_900_000, count=4200),
        HeapNode(name="table : (array)", parent=1, retained_bytes=700_000),
        HeapNode(name="Layer", parent=4, retained_bytes=600_000, count=61),
    ]
    return tuple(boxes)


def leaking(test_id: str = "tests/test_api.py::test_orders_do_not_leak", *, count: int = 200) -> RunResult:
    """A failed leak test with its culprit found."""
    made = rounds(8, start=12.1 * MB, step=256_000)
    estimate = LeakEstimate(
        kind="heap",
        outcome="critical",
        reason="grows",
        slope=1024.0,
        low=1009.0,
        high=1041.0,
        limit=100.0,
        median_step=256_000,
        late_slope=1020.0,
        shape="linear",
        rounds=8,
        units=2000,
        growth=2_048_000,
        units_to_heap_limit=480_000,
    )
    flat = LeakEstimate(
        kind="external",
        outcome="pass",
        reason="below-limit",
        slope=0.4,
        low=-3.0,
        high=4.0,
        limit=100.0,
        shape="flat",
        rounds=8,
        units=2000,
        growth=800,
    )
    checks = (
        Check(
            metric="no_leaks:heap",
            outcome="critical",
            reason="grows",
            measured=1024.0,
            limit=100.0,
            limit_text="100 B/request",
            unit="bytes/request",
            low=1009.0,
            high=1041.0,
        ),
    )
    path = RetainerPath(
        steps=(
            ("", "(GC roots)"),
            ("global", "Object"),
            ("app", "Application"),
            ("sessions", "Map"),
            ("table", "Object[]"),
            ("", "Session"),
        ),
        count=2000,
        retained_bytes=2_048_000,
    )
    return replace(
        healthy(test_id, count=count),
        verdict=combine(checks, (estimate, flat)),
        test_outcome="failed",
        samples=samples(count, start=12.1 * MB, end=14.2 * MB, seed=11),
        rounds=made,
        start_memory=settled(2.0, 12.1 * MB),
        end_memory=made[-1].memory,
        growth=(Growth(metric="heap_used", start=12.1 * MB, end=made[-1].memory.heap_used_bytes, units=2000),),
        class_deltas=(
            ClassDelta(
                name="Session",
                count_delta=2000,
                size_delta_bytes=192_000,
                retained_delta_bytes=2_048_000,
                count_after=2100,
                size_after_bytes=201_600,
                new=2000,
            ),
            ClassDelta(
                name="(string)",
                count_delta=4000,
                size_delta_bytes=720_000,
                retained_delta_bytes=720_000,
                count_after=31_000,
                new=4010,
                deleted=10,
            ),
            ClassDelta(
                name="Object", count_delta=2000, size_delta_bytes=112_000, count_after=9_000, new=2100, deleted=100
            ),
        ),
        heap_tree=heap_tree(),
        findings=(
            Finding(
                slug="growing-class",
                severity="critical",
                subject="Session",
                evidence={
                    "count_delta": 2000,
                    "size_delta_bytes": 192_000,
                    "retained_bytes": 2_048_000,
                    "new": 2000,
                    "deleted": 0,
                    "units": 2000,
                },
                location="src/sessions.js:41:18",
                paths=(path,),
            ),
            Finding(
                slug="growing-collection",
                severity="warning",
                subject="sessions : Map",
                evidence={
                    "length_before": 100,
                    "length_after": 2100,
                    "retained_bytes": 2_048_000,
                    "node_id": 40213,
                    "units": 2000,
                },
                location="src/sessions.js:12:20",
            ),
        ),
        artifacts=(
            Artifact(kind="heapsnapshot", path=".memory/test_orders/before.heapsnapshot", size_bytes=11_800_000),
            Artifact(kind="heapsnapshot", path=".memory/test_orders/after.heapsnapshot", size_bytes=13_900_000),
        ),
        notes=(Note(slug="late-samples", detail={"late": 31, "samples": 200}),),
    )


def sawtooth(test_id: str = "tests/test_api.py::test_cache_fills") -> RunResult:
    """A healthy leak test whose memory rises and is given back."""
    estimate = LeakEstimate(
        kind="heap",
        outcome="pass",
        reason="given-back",
        slope=3.1,
        low=-12.0,
        high=8.0,
        limit=100.0,
        give_back=0.97,
        shape="sawtooth",
        rounds=8,
        units=2000,
        growth=6200,
    )
    return replace(
        healthy(test_id),
        verdict=combine((), (estimate,)),
        rounds=rounds(8, start=12.1 * MB, step=700),
        samples=samples(200, start=12.1 * MB, end=12.2 * MB, saw=9 * MB, seed=13),
    )


def inconclusive(test_id: str = "tests/test_api.py::test_too_noisy") -> RunResult:
    """A leak test that cannot tell."""
    estimate = LeakEstimate(
        kind="heap",
        outcome="inconclusive",
        reason="noisy",
        slope=120.0,
        low=-80.0,
        high=320.0,
        limit=100.0,
        shape="noisy",
        rounds=8,
        units=2000,
    )
    return replace(
        healthy(test_id), verdict=combine((), (estimate,)), rounds=rounds(8, start=12.1 * MB, step=30_000, seed=9)
    )


def crashed(test_id: str = "tests/test_api.py::test_import_crashes") -> RunResult:
    """The app ran out of memory half way."""
    check = Check(metric="app", outcome="critical", reason="app-died", unit="count", source="run")
    tail = "\n".join(
        [
            "<--- Last few GCs --->",
            "[4711:0x5f] 18231 ms: Mark-Compact 509.1 (514.2) -> 508.8 (514.4) MB, 612.11 / 0.00 ms",
            "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
        ]
    )
    app = AppInfo(command="node server.js", pid=PID, exit_status=134, output_tail=tail, heap_limit_bytes=HEAP_LIMIT)
    return replace(
        healthy(test_id, count=90),
        verdict=combine((check,)),
        test_outcome="failed",
        app=app,
        samples=samples(90, start=12 * MB, end=500 * MB, seed=17),
        end_memory=None,
        growth=(),
        findings=(Finding(slug="app-died", severity="critical", subject="exit status 134", evidence={"after_s": 9.1}),),
    )


def unmeasured(test_id: str = "tests/test_api.py::test_never_started") -> RunResult:
    """Nothing could be measured."""
    return RunResult(
        test_id=test_id,
        test_outcome="failed",
        environment=ENVIRONMENT,
        notes=(Note(slug="measurement-doubtful", detail={"message": "the inspector did not answer within 5.0 s"}),),
    )


def compared(test_id: str = "tests/test_api.py::test_against_baseline") -> RunResult:
    """A test held against a stored baseline: one breach, one within, one missing."""
    checks = (
        Check(
            metric="baseline:heap_bytes",
            outcome="critical",
            reason="baseline-breach",
            measured=16.4 * MB,
            limit=13.2 * MB,
            limit_text="10%",
            source="option",
            detail={"baseline": 12.0 * MB, "change": 4.4 * MB, "change_percent": 36.7, "tolerance": 1.2 * MB},
        ),
        Check(
            metric="baseline:rss_bytes",
            outcome="pass",
            reason="baseline-within",
            measured=56.0 * MB,
            limit=67.0 * MB,
            source="baseline",
            detail={"baseline": 55.0 * MB, "change": 1.0 * MB, "change_percent": 1.8, "tolerance": 12.0 * MB},
        ),
        Check(
            metric="baseline:latency_p99_s",
            outcome="inconclusive",
            reason="baseline-not-comparable",
            unit="s",
            source="baseline",
            detail={"difference": "cpu", "before": "AMD EPYC 7763", "after": "Intel Xeon 8370C"},
        ),
        Check(metric="baseline:gc_count", outcome="pass", reason="baseline-missing", unit="count", source="baseline"),
    )
    return replace(healthy(test_id), verdict=combine(checks), test_outcome="failed")


def xss() -> RunResult:
    """Markup in every name a user or an app can choose."""
    hostile = "<script>window.pwned=3</script>\"'</td><img src=x onerror=window.pwned=4>\x1b[31m\u202e"
    base = leaking(XSS_ID)
    path = RetainerPath(steps=(("</script>", hostile), (hostile, "Leaf")), count=2, retained_bytes=10)
    return replace(
        base,
        unit="request",
        app=AppInfo(command=hostile, url="javascript:window.pwned=5", pid=1),
        class_deltas=(ClassDelta(name=hostile, count_delta=5, size_delta_bytes=5000),),
        heap_tree=(
            HeapNode(name=hostile, parent=-1, retained_bytes=5000),
            HeapNode(name=hostile, parent=0, retained_bytes=4000, count=2),
        ),
        findings=(
            Finding(slug="growing-class", severity="critical", subject=hostile, location=hostile, paths=(path,)),
            Finding(slug=hostile, severity="info", subject=hostile, evidence={hostile: hostile}),
        ),
        artifacts=(Artifact(kind=hostile, path="javascript:window.pwned=6//" + hostile),),
        notes=(Note(slug="x", detail={"message": hostile}),),
        phases=(Phase(name=hostile, start_s=0, end_s=5),),
        load=(LoadStats(requests=3, errors=1, first_error=hostile, description=hostile, errors_by_kind={hostile: 1}),),
    )


def cluster(test_id: str = "tests/test_api.py::test_cluster") -> RunResult:
    """An app of two processes."""
    first = samples(100, start=12 * MB, end=13 * MB, seed=19)
    second = samples(100, start=10 * MB, end=11 * MB, seed=23, pid=PID + 1)
    both = tuple(sample for pair in zip(first, second) for sample in pair)
    return replace(healthy(test_id, count=100), samples=both)


def every_kind() -> tuple[RunResult, ...]:
    """One result of each kind."""
    return (
        healthy(),
        over_limit(),
        leaking(),
        sawtooth(),
        inconclusive(),
        crashed(),
        unmeasured(),
        compared(),
        cluster(),
    )


def document(results: Sequence[RunResult] | None = None) -> ResultDocument:
    """A document of the given results, or of one of each kind."""
    return ResultDocument(
        version=1,
        created_at="2026-05-01T10:05:00+00:00",
        environment=ENVIRONMENT,
        results=tuple(every_kind() if results is None else results),
    )


def many(tests: int = 200, count: int = 10_000) -> ResultDocument:
    """A large session: ``tests`` results of ``count`` samples each; every tenth leaks.

    A few series serve all tests: two million samples would take longer to make than to report."""
    flat = [samples(count, start=12 * MB, end=13 * MB, seed=seed) for seed in range(4)]
    rising = samples(count, start=12 * MB, end=14 * MB, seed=99)
    collections = gc_events(count * 0.1, count // 10)
    made = []
    for index in range(tests):
        name = f"tests/test_many.py::test_case_{index:03d}"
        base = leaking(name, count=1) if index % 10 == 0 else healthy(name, count=1)
        chosen = rising if index % 10 == 0 else flat[index % len(flat)]
        made.append(replace(base, samples=chosen, gc_events=collections, duration_s=count * 0.1))
    return document(made)
