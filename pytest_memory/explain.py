"""Names the culprit after a leak was found: which class grows, how much per unit of work, who holds it.  Floor 6.

Two heap snapshots around another portion of the same work, compared object by object.  Only ever after the
statistics: a snapshot swells the process and slows it down.  What cannot be explained (no room for a snapshot, a leak
outside the heap) leaves the verdict as it is.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memory.errors import PytestMemoryError
from pytest_memory.model import ClassDelta, Finding, HeapNode, LeakEstimate, Note
from pytest_memory.settle import settle_worker

if TYPE_CHECKING:
    from pytest_memory.cdp.client import WorkerSession
    from pytest_memory.leakrun import LeakResult
    from pytest_memory.node.process import NodeApp

# Enough work for a leak of one request in fifty to leave several objects, and for one-off objects to fade beside it.
WANTED_UNITS = 500
MAX_WORK_S = 6.0
MAX_CLASSES = 20
EXPLAINED = ("heap", "worker-heap", "external", "handles", "fds")


def explains(estimates: Sequence[LeakEstimate]) -> bool:
    """Whether a snapshot could say more: something leaked that objects of the heap stand for."""
    return any(estimate.outcome == "critical" and estimate.kind in EXPLAINED for estimate in estimates)


def explain_leak(
    app: NodeApp, operation: Callable[[], Any], result: LeakResult, directory: Path | None, *, compression: str = "none"
) -> tuple[LeakResult, tuple[Note, ...]]:
    """The result with class growth and findings added; notes say why it could not be explained.

    The snapshots are kept in ``directory`` (compressed: "gzip", "zstd") and named in the result; without one they
    are deleted."""
    if directory is not None:
        return _explain(app, operation, result, directory, keep=compression)
    with tempfile.TemporaryDirectory(prefix="pytest-memory-") as temporary:
        return _explain(app, operation, result, Path(temporary), keep=None)


def _explain(
    app: NodeApp, operation: Callable[[], Any], result: LeakResult, directory: Path, *, keep: str | None
) -> tuple[LeakResult, tuple[Note, ...]]:
    from pytest_memory.heap import stop_warming, warm_kernels
    from pytest_memory.heap.archive import compress_snapshots, snapshot_artifact
    from pytest_memory.heap.capture import Camera

    with contextlib.ExitStack() as around:
        if warm_kernels():  # a cold machine compiles while the snapshots are taken
            around.callback(stop_warming)
        camera = around.enter_context(Camera(app, directory))
        try:
            worker = _growing_worker(app, operation, result)
            before = camera.take("leak-before", worker=worker)
            units = _work(operation)
            after = camera.take("leak-after", worker=worker)
            comparison = after.compare(before)
            deltas = comparison.class_deltas()[:MAX_CLASSES]
            findings = comparison.findings(units=units)
            result = _add(result, deltas, after.tree(), findings)
            notes: tuple[Note, ...] = ()
        except PytestMemoryError as error:
            notes = (Note(slug="not-explained", detail={"reason": error.message}),)
        except Exception as error:  # noqa: BLE001 - of the test's operation: the leak has been found, with or without it
            notes = (Note(slug="not-explained", detail={"reason": f"{error!r} was raised"}),)
        try:
            kept = [] if keep is None else compress_snapshots(camera.paths, keep)
        except PytestMemoryError as error:
            kept, notes = [], (*notes, Note(slug="snapshot-skipped", detail={"reason": error.message}))
    return replace(result, artifacts=(*result.artifacts, *map(snapshot_artifact, kept))), notes


def _growing_worker(app: NodeApp, operation: Callable[[], Any], result: LeakResult) -> WorkerSession | None:
    """The worker thread whose heap a portion of work makes grow most, when it is worker heaps that grow.

    Not the one with the largest heap: that may hold what every app holds, beside the one that leaks."""
    kinds = {estimate.kind for estimate in result.estimates if estimate.outcome == "critical"}
    if "worker-heap" not in kinds or "heap" in kinds:
        return None
    workers = app.inspector.workers()
    if len(workers) < 2:
        return workers[0] if workers else None
    before = {worker: settle_worker(worker) for worker in workers}
    _work(operation)
    grown = {worker: settle_worker(worker) - bytes_ for worker, bytes_ in before.items() if not worker.closed}
    return max(grown, key=lambda worker: grown[worker], default=None)


def _work(operation: Callable[[], Any]) -> int:
    """Repeat the operation until there is enough to see; units done."""
    from pytest_memory.leakrun import count_work

    units, deadline = 0, time.monotonic() + MAX_WORK_S
    while units < WANTED_UNITS and (units == 0 or time.monotonic() < deadline):
        units += (count_work(operation()) or (1, 0))[0]
    return units


def _add(
    result: LeakResult,
    deltas: Sequence[ClassDelta],
    tree: tuple[HeapNode, ...],
    findings: Sequence[Finding],
) -> LeakResult:
    return replace(
        result,
        class_deltas=(*result.class_deltas, *deltas),
        heap_tree=tree,
        findings=(*result.findings, *findings),
    )
