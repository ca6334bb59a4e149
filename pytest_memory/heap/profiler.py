"""MemoryProfiler: snapshots and allocation sampling around an operation.  Floor 5: joins camera, sampler and settling.

Not a monitor: it explains one operation (what it allocated, where, and what stayed) and judges nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memory.errors import CaptureError, ConfigError, InspectorError
from pytest_memory.heap import tracking
from pytest_memory.heap.allocations import DEFAULT_SAMPLING_INTERVAL_BYTES, AllocationProfile
from pytest_memory.heap.capture import Camera, HeadRoomPolicy, Progress, find_worker
from pytest_memory.model import Artifact, Finding, Growth, RunResult, SettledMemory
from pytest_memory.store import file_stem, free_path, now_text, write_atomic

if TYPE_CHECKING:
    from pytest_memory.cdp.client import WorkerSession
    from pytest_memory.heap import HeapSnapshot
    from pytest_memory.heap.capture import Worker
    from pytest_memory.heap.tracking import Isolate
    from pytest_memory.node.process import NodeApp

PROFILE_SUFFIX = ".heapprofile"
_WHOLE_STEM = "allocations"
_TOP_SITES = 10
_ANSWER_TIMEOUT_S = 60.0  # asking for a profile walks all samples, behind whatever the event loop is doing


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationProfile:
    """What one operation left behind.

    ``value`` is what it returned; ``before`` and ``after`` are settled readings; ``snapshots`` the heap at both
    ends (None without snapshots); ``allocations`` what it allocated and is alive, stored in ``file``."""

    name: str
    value: Any
    started_at: str
    duration_s: float
    before: SettledMemory
    after: SettledMemory
    snapshots: tuple[HeapSnapshot, HeapSnapshot] | None
    allocations: AllocationProfile
    file: Path
    snapshot_files: tuple[Path, ...] = field(default=())

    @property
    def heap_growth_bytes(self) -> int:
        """Settled growth of the JavaScript heap over the operation, without the heaps of worker threads."""
        return self.after.heap_used_bytes - self.before.heap_used_bytes

    @property
    def worker_heap_growth_bytes(self) -> int:
        """Settled growth of the heaps of all worker threads together."""
        return self.after.worker_heap_used_bytes - self.before.worker_heap_used_bytes

    def record(self, test_id: str | None = None) -> RunResult:
        """The operation as a result for reports: growth, top allocation sites, files."""
        growth = tuple(
            Growth(metric=metric, start=float(start), end=float(end))
            for metric, start, end in (
                ("heap_used", self.before.heap_used_bytes, self.after.heap_used_bytes),
                ("worker_heap", self.before.worker_heap_used_bytes, self.after.worker_heap_used_bytes),
                ("external", self.before.external_bytes, self.after.external_bytes),
            )
            if metric != "worker_heap" or start or end
        )
        return RunResult(
            test_id=test_id or self.name,
            tool="profile",
            started_at=self.started_at,
            duration_s=round(self.duration_s, 3),
            start_memory=self.before,
            end_memory=self.after,
            growth=growth,
            findings=site_findings(self.allocations),
            artifacts=(
                _artifact("heapprofile", self.file),
                *(_artifact("heapsnapshot", path) for path in self.snapshot_files),
            ),
        )


def site_findings(allocations: AllocationProfile) -> tuple[Finding, ...]:
    """The functions that allocated most of what is alive."""
    total = allocations.total_bytes or 1
    return tuple(
        Finding(
            slug="allocation-site",
            severity="info",
            subject=site.function,
            evidence={
                "size_bytes": site.size_bytes,
                "share_percent": round(100 * site.size_bytes / total, 1),
                "called_by": " ← ".join(site.callers[:3]) or None,
            },
            location=site.location or None,
        )
        for site in allocations.top_sites(_TOP_SITES)
    )


class MemoryProfiler:
    """Profiles operations on an app; a context manager that starts and stops.

    ::

        with MemoryProfiler(app, directory="profiles") as profiler:
            profile = profiler.profile_during_operation(lambda: app.client.get("/work"), "work")
            print(profile.heap_growth_bytes, profile.allocations.top_sites(3))

    Files go to ``directory``: ``NAME.heapprofile`` for each operation (``NAME-2`` when there is one) and
    ``allocations.heapprofile`` for all of the time between start and stop (both open in Chrome DevTools), and two
    heap snapshots an operation.
    ``sampling_interval_bytes`` is the mean distance of two allocation samples; 32 KiB costs about 10 % of CPU.  While
    another profiler samples the same heap, its distance holds for both.
    ``worker`` profiles a worker thread instead of the main thread (its name or id, or one of ``worker_threads`` in
    ``app.processes``): snapshots and allocations are those of its heap.
    """

    def __init__(
        self,
        app: NodeApp | None = None,
        *,
        directory: str | Path = "memory-profiles",
        sampling_interval_bytes: int = DEFAULT_SAMPLING_INTERVAL_BYTES,
        on_low_memory: HeadRoomPolicy = "refuse",
        progress: Progress | None = None,
        worker: Worker | None = None,
    ) -> None:
        if sampling_interval_bytes < 1:
            raise ConfigError(
                f"sampling_interval_bytes is {sampling_interval_bytes!r}; expected at least 1", slug="config-option"
            )
        self._app = app
        self.directory = Path(directory)
        self._interval_bytes = sampling_interval_bytes
        self._on_low_memory: HeadRoomPolicy = on_low_memory
        self._progress = progress
        self._camera: Camera | None = None
        self._worker = worker
        self._session: WorkerSession | None = None
        self._sampled: Isolate | None = None
        self._began_at = 0  # the ordinal of the last sample before the start

    @property
    def app(self) -> NodeApp:
        """The app under the profiler."""
        if self._app is None:
            raise ConfigError(
                "the profiler has no app; expected one at MemoryProfiler(app) or start_profiling(app)",
                slug="config-app",
            )
        return self._app

    @property
    def running(self) -> bool:
        return self._camera is not None

    @property
    def camera(self) -> Camera:
        """Takes this profiler's snapshots; only while it runs."""
        if self._camera is None:
            raise CaptureError("the profiler is not running", slug="capture-state", hint="call start_profiling()")
        return self._camera

    def start_profiling(self, app: NodeApp | None = None) -> MemoryProfiler:
        """Start sampling allocations.  Raises CaptureError[capture-worker], naming those there are, for a worker there
        is not."""
        if self._camera is not None:
            raise CaptureError("the profiler was started twice", slug="capture-state")
        if app is not None:
            self._app = app
        self._session = find_worker(self.app.inspector, self._worker) if self._worker is not None else None
        camera = Camera(self.app, self.directory, on_low_memory=self._on_low_memory, progress=self._progress)
        sampled = self._sampled = self._isolate
        is_first = tracking.start_sampling(sampled, self, self._interval_bytes)
        self._began_at = 0 if is_first else AllocationProfile(tracking.read_samples(sampled)).last_ordinal
        self._camera = camera
        return self

    def profile_during_operation(
        self, operation: Callable[[], Any], name: str = "operation", *, snapshots: bool = True
    ) -> OperationProfile:
        """Run ``operation()`` between two settled readings and heap snapshots, and say what it left behind.

        Starts the profiler when it is not running.  An exception of the operation passes through.
        Without ``snapshots`` only readings and allocation sites are taken, which is cheap."""
        if not self.running:
            self.start_profiling()
        stem = file_stem(name)
        if snapshots:  # before the reading: what preparing leaves on the heap is not the operation's
            self.camera.prepare(worker=self._session)
        before = self._settle()
        first = self.camera.take(f"{stem}-before", worker=self._session) if snapshots else None
        ordinal = self.read_allocations().last_ordinal
        started_at, began = now_text(), time.monotonic()
        value = operation()
        duration_s = time.monotonic() - began
        after = self._settle()
        allocations = self.read_allocations().since(ordinal)
        second = self.camera.take(f"{stem}-after", worker=self._session) if snapshots else None
        # The name of the whole profile is taken before there is one: stop_profiling() writes it.
        whole = stem == _WHOLE_STEM
        file = free_path(self.directory, f"{stem}-operation" if whole else stem, PROFILE_SUFFIX)
        write_atomic(file, allocations.encode())
        return OperationProfile(
            name=name,
            value=value,
            started_at=started_at,
            duration_s=duration_s,
            before=before,
            after=after,
            snapshots=(first, second) if first is not None and second is not None else None,
            allocations=allocations,
            file=file,
            snapshot_files=tuple(self.camera.paths[-2:]) if snapshots else (),
        )

    def read_allocations(self) -> AllocationProfile:
        """What was allocated since the start and is alive at this moment (garbage not yet collected included)."""
        return self._own_part(tracking.read_samples(self._isolate))

    def stop_profiling(self) -> AllocationProfile:
        """Stop sampling; write and return what was allocated between start and stop and is alive."""
        camera = self.camera
        self._camera = None
        try:
            self._isolate.call("HeapProfiler.collectGarbage", timeout_s=_ANSWER_TIMEOUT_S)
            profile = self._own_part(tracking.stop_sampling(self._isolate, self))
        finally:
            camera.close()
            if self._sampled is not None:
                tracking.leave(self._sampled, self)
        write_atomic(self.directory / f"{_WHOLE_STEM}{PROFILE_SUFFIX}", profile.encode())
        return profile

    def _own_part(self, payload: dict[str, Any]) -> AllocationProfile:
        """Without what was allocated before the start, while another profiler sampled."""
        profile = AllocationProfile(payload)
        return profile.since(self._began_at) if self._began_at else profile

    @property
    def _isolate(self) -> Isolate:
        return self.app.inspector if self._session is None else self._session

    def _settle(self) -> SettledMemory:
        from pytest_memory.settle import settle_app

        return settle_app(self.app)

    def __enter__(self) -> MemoryProfiler:
        return self if self.running else self.start_profiling()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if not self.running:
            return
        if kind is None:
            self.stop_profiling()
            return
        # The error that ended the block is the one to be seen.
        with contextlib.suppress(InspectorError):
            self.stop_profiling()


def _artifact(kind: str, path: Path) -> Artifact:
    return Artifact(kind=kind, path=str(path), name=path.name, size_bytes=path.stat().st_size)
