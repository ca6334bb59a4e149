"""The records every stage hands to the next: plain, frozen, comparable.  Floor 0: imports nothing of ours.

No behaviour beyond trivial derived values, no I/O, no sentences.  `results` turns them into the stored document
and back; `judge` decides over them; `report.view` words them.  All sizes are bytes, all times seconds unless
the name says otherwise; ``None`` means "not measured", never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["pass", "warning", "critical", "inconclusive", "not-measured"]
"""What a judgement comes to.  ``critical`` is a broken limit; ``not-measured`` is no judgement at all."""

MemoryKind = Literal["heap", "external", "native", "worker-heap", "rss", "handles", "fds"]
"""What grew: V8's managed heap, memory outside it that V8 accounts for (Buffers), memory nobody accounts for,
the heaps of worker threads, the whole process, open handles, open file descriptors."""

JUDGED_KINDS: tuple[MemoryKind, ...] = ("heap", "worker-heap", "external", "native", "handles", "fds")
"""What leak tests judge: the whole process is the sum of others."""

GcKind = Literal["scavenge", "minor-mark-compact", "mark-compact", "incremental", "weak-callbacks"]


# --- what was measured ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at one process.  ``t_s`` counts from the start of the monitor; ``late_s`` is how far behind its
    schedule the sample was taken; ``blocked`` says that the event loop did not answer, so only what the
    operating system knows was measured.  ``loop_delay_s`` is how late the event loop was at worst since the sample
    before; None where no delay ended since then (it is looked at every 20 ms).  At intervals under a second what the
    app says of itself may be up to 20 ms older than ``t_s``, and a delay under 5 ms up to a second."""

    t_s: float
    pid: int
    rss_bytes: int | None = None
    uss_bytes: int | None = None
    pss_bytes: int | None = None
    heap_used_bytes: int | None = None
    heap_total_bytes: int | None = None
    external_bytes: int | None = None
    array_buffers_bytes: int | None = None
    worker_heap_used_bytes: int | None = None
    loop_delay_s: float | None = None
    handles: int | None = None
    fds: int | None = None
    cpu_s: float | None = None
    late_s: float = 0.0
    blocked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GcEvent:
    """One garbage collection pause of the app's own; those that settled readings force are not recorded."""

    t_s: float
    pid: int
    kind: GcKind
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A named stretch of the measurement."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledMemory:
    """Memory after forced collections, when the floor has stopped moving: the only readings growth is judged by.

    Sums over all processes of the app; ``native_bytes`` is RSS not explained by heaps and external memory;
    ``worker_heaps`` are the used heaps of worker threads by process and Node's number of the thread ("4711:3");
    ``handle_kinds`` counts libuv's active resources by name; ``node_pids`` are the processes whose heaps are in the
    sums; ``converged`` is False when the floor still moved at the end of the settling budget, ``moved_bytes`` is by
    how much the heaps did so in the last round then (either way, added up)."""

    t_s: float
    heap_used_bytes: int
    heap_total_bytes: int
    external_bytes: int
    array_buffers_bytes: int
    rss_bytes: int
    worker_heap_used_bytes: int = 0
    worker_heap_total_bytes: int = 0
    native_bytes: int = 0
    code_bytes: int = 0
    handles: int | None = None
    fds: int | None = None
    handle_kinds: dict[str, int] = field(default_factory=dict)
    node_pids: tuple[int, ...] = ()
    collections: int = 0
    duration_s: float = 0.0
    converged: bool = True
    moved_bytes: int = 0
    worker_heaps: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of a leak test: ``units`` of work (requests, jobs, iterations), then a settled reading."""

    index: int
    units: int
    errors: int
    start_s: float
    end_s: float
    memory: SettledMemory
    peak_rss_bytes: int | None = None
    idle: bool = False  # no work was done: the app was left alone to see what it gives back


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Settled end minus settled start of the measured window."""

    metric: str
    start: float
    end: float
    units: int = 0

    @property
    def amount(self) -> float:
        return self.end - self.start

    @property
    def percent(self) -> float | None:
        return 100.0 * self.amount / self.start if self.start else None

    @property
    def per_unit(self) -> float | None:
        return self.amount / self.units if self.units else None


# --- load -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of response time.  With a fixed rate they count from the intended start of each request."""

    count: int = 0
    mean_s: float = 0.0
    min_s: float = 0.0
    p50_s: float = 0.0
    p75_s: float = 0.0
    p90_s: float = 0.0
    p95_s: float = 0.0
    p99_s: float = 0.0
    p999_s: float = 0.0
    max_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPoint:
    """One interval of the load's time series."""

    t_s: float
    requests: int
    errors: int
    p50_s: float
    p99_s: float
    active: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStats:
    """What one target of a mix or sequence received."""

    name: str
    requests: int
    errors: int
    latency: Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStats:
    """What a load run sent and got back.

    ``requests`` were started and ended in whatever way; ``errors`` of them failed (``errors_by_kind`` says
    how: "connect", "timeout", "http-500", "trpc", "truncated", …); ``aborted`` were hung up on purpose and are
    no errors; ``dropped`` arrivals could not be started at the asked rate.  ``warmup_requests`` came before and
    count in nothing else but ``sent``: the app kept what they left, too.  ``stopped_early`` is "app-died",
    "max-error-rate", "stalled" or "stopped".
    ``client_busy`` is the share of a core the busiest load process used: near 1 it, not the app, may be slow."""

    requests: int
    errors: int = 0
    aborted: int = 0
    dropped: int = 0
    retried: int = 0
    warmup_requests: int = 0
    duration_s: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    status: dict[str, int] = field(default_factory=dict)
    errors_by_kind: dict[str, int] = field(default_factory=dict)
    first_error: str | None = None
    latency: Latency = field(default_factory=Latency)
    targets: tuple[TargetStats, ...] = ()
    series: tuple[LoadPoint, ...] = ()
    concurrency: int = 0
    rate_per_s: float | None = None
    stopped_early: str | None = None
    description: str = ""
    client_cpu_s: float = 0.0
    client_busy: float = 0.0

    @property
    def sent(self) -> int:
        """All that the app was sent: the work that growth is divided by."""
        return self.requests + self.warmup_requests

    @property
    def rps(self) -> float:
        return self.requests / self.duration_s if self.duration_s > 0 else 0.0

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0


# --- heap -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassDelta:
    """Growth of one class between two heap snapshots (or two counts)."""

    name: str
    count_delta: int
    size_delta_bytes: int
    retained_delta_bytes: int | None = None
    count_after: int = 0
    size_after_bytes: int = 0
    new: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainerPath:
    """What keeps objects of a class alive: root first.  ``count`` objects share the path.

    Each step is ``(edge, node)``: the name of the reference and the class it leads to."""

    steps: tuple[tuple[str, str], ...]
    count: int = 1
    retained_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeapNode:
    """An object of the dominator tree, or ``count`` objects of one class with one dominator.

    ``retained_bytes`` would be freed with it; ``parent`` is the place of its dominator in the same list, which comes
    before it, and -1 for the root."""

    name: str
    parent: int
    retained_bytes: int
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One recognised pattern, with the evidence its sentence is made of.

    ``slug`` names the pattern ("growing-class", "growing-collection", "timer", "listener", "app-died", …)."""

    slug: str
    severity: Literal["info", "warning", "critical"]
    subject: str
    evidence: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    location: str | None = None
    paths: tuple[RetainerPath, ...] = ()


# --- judgement ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One limit and what it was held against.

    ``metric`` is an OPTIONS limit name ("max_heap_growth", …), "no_leaks:KIND", "health:…" or "baseline:METRIC".
    ``measured``, ``low`` and ``high`` (95 % interval) are in the limit's unit; ``unit`` says which: "bytes",
    "percent", "bytes/request", "s", "count".  ``reason`` is a stable code for report.view to word."""

    metric: str
    outcome: Outcome
    reason: str
    measured: float | None = None
    limit: float | None = None
    limit_text: str = ""
    unit: str = "bytes"
    low: float | None = None
    high: float | None = None
    source: str = "marker"
    detail: dict[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakEstimate:
    """How one kind of memory moved per unit of work over the rounds of a leak test.

    ``slope`` with its 95 % interval ``low``..``high`` is bytes (or handles) per unit; ``late_slope`` is that of
    the late half; ``give_back`` is the share of the growth that was returned at some time (0..1);
    ``shape`` is what the series looks like; ``reason`` the code of what decided."""

    kind: MemoryKind
    outcome: Outcome
    reason: str
    slope: float
    low: float
    high: float
    limit: float
    unit: str = "request"
    median_step: float = 0.0
    late_slope: float = 0.0
    give_back: float = 0.0
    shape: Literal["flat", "linear", "levelling-off", "sawtooth", "step", "staircase", "noisy"] = "flat"
    rounds: int = 0
    units: int = 0
    growth: float = 0.0
    units_to_heap_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of a run and every check it came from, worst first."""

    outcome: Outcome
    checks: tuple[Check, ...] = ()
    leaks: tuple[LeakEstimate, ...] = ()


# --- the run --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where it was measured: what must match for two results to be comparable, and what helps to read them."""

    node_version: str = ""
    v8_version: str = ""
    os: str = ""
    arch: str = ""
    cpu: str = ""
    cpu_count: int = 0
    memory_bytes: int = 0
    python_version: str = ""
    plugin_version: str = ""
    pytest_version: str = ""
    worker_count: int = 0
    commit: str = ""
    ci: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInfo:
    """One process (or worker thread) of the app's tree."""

    pid: int
    ppid: int
    role: str
    command: str = ""
    thread_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppInfo:
    """The app as it was measured."""

    command: str = ""
    pid: int = 0
    url: str = ""
    node_version: str = ""
    v8_version: str = ""
    precise: bool = False
    heap_limit_bytes: int | None = None
    exit_status: int | None = None
    output_tail: str = ""
    processes: tuple[ProcessInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file kept with the result: "heapsnapshot", "heapprofile", "report", …; ``path`` as written."""

    kind: str
    path: str
    name: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something measured but doubtful, or worth knowing: slug and the values its sentence needs."""

    slug: str
    detail: dict[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Everything one measured test (or CLI run) found out.  ``test_id`` is pytest's node id or the CLI's name."""

    test_id: str
    tool: str = "pytest"
    started_at: str = ""
    duration_s: float = 0.0
    interval_s: float = 1.0
    unit: str = "request"
    test_outcome: str = ""  # pytest's own word: passed, failed, xfailed, …
    verdict: Verdict = field(default_factory=lambda: Verdict(outcome="not-measured"))
    app: AppInfo = field(default_factory=AppInfo)
    environment: Environment = field(default_factory=Environment)
    samples: tuple[Sample, ...] = ()
    gc_events: tuple[GcEvent, ...] = ()
    phases: tuple[Phase, ...] = ()
    start_memory: SettledMemory | None = None
    end_memory: SettledMemory | None = None
    growth: tuple[Growth, ...] = ()
    rounds: tuple[Round, ...] = ()
    load: tuple[LoadStats, ...] = ()
    class_deltas: tuple[ClassDelta, ...] = ()
    heap_tree: tuple[HeapNode, ...] = ()  # of the last heap snapshot
    findings: tuple[Finding, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    notes: tuple[Note, ...] = ()
    steps: tuple[tuple[str, SettledMemory], ...] = ()  # the named steps of a baseline test


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultDocument:
    """All results of one session, as written by --memory-json and kept in --memory-results."""

    version: int
    created_at: str
    environment: Environment
    results: tuple[RunResult, ...] = ()
