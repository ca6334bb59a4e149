"""One session of measuring, whatever the front: its settings, its apps, its results, its files.  Floor 6.

Knows nothing of pytest: the plugin translates.  Apps are shared by whoever asks for the same app under the same
scope key; results are kept one per test id, the latest run of a repeated test winning.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memory import spec
from pytest_memory.errors import PytestMemoryError

# Every pytest run of an environment makes a session, few of them measure: what measures is imported by the method
# that needs it.
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_memory.heap.capture import Camera
    from pytest_memory.model import ResultDocument, RunResult
    from pytest_memory.monitor import MemoryMonitor
    from pytest_memory.node.process import NodeApp
    from pytest_memory.node.spec import AppSpec


class AppPool:
    """Running apps by (scope key, spec).  A key of None is never shared: a fresh process each time."""

    def __init__(self) -> None:
        self._shared: dict[str, tuple[AppSpec, NodeApp]] = {}
        self._all: list[NodeApp] = []

    def acquire(self, spec: AppSpec, key: str | None) -> NodeApp:
        """Start or attach, or hand out the one that already runs under this key with the same spec."""
        from pytest_memory.node.process import NodeApp

        if key is not None and key in self._shared:
            shared_spec, app = self._shared[key]
            if shared_spec == spec and app.alive:
                return app
            self.release(app)
        app = NodeApp.attach(spec) if spec.attach is not None else NodeApp.start(spec)
        self._all.append(app)
        if key is not None:
            self._shared[key] = (spec, app)
        return app

    def release(self, app: NodeApp) -> None:
        """Stop the app (idempotent) and forget it."""
        if app in self._all:
            self._all.remove(app)
            self._shared = {key: kept for key, kept in self._shared.items() if kept[1] is not app}
            app.stop()

    def release_all(self) -> None:
        """Stop whatever still runs, newest first."""
        for app in reversed(self._all.copy()):
            self.release(app)


class MemorySession:
    """Settings, apps and results of one pytest session or CLI call."""

    def __init__(self, settings: spec.Settings, *, root: Path, is_worker: bool = False, worker_count: int = 0) -> None:
        self.settings = settings
        self.root = root
        self.is_worker = is_worker
        self.worker_count = worker_count
        self.apps = AppPool()
        self._results: dict[str, RunResult] = {}
        self._created_at = time.time()

    # --- results ---

    @property
    def results(self) -> list[RunResult]:
        """One result a test, in the order of their first appearance."""
        return list(self._results.values())

    def collect(self, payload: dict[str, Any]) -> None:
        """Take in a result that came with a test report, from this process or a worker."""
        from pytest_memory import results

        result = results.from_payload(payload, origin="a test report")
        self._results[result.test_id] = result

    def not_measured(self, test_id: str, error: PytestMemoryError) -> RunResult:
        from pytest_memory import runner

        return runner.not_measured(test_id, error)

    def judge(self, monitor: MemoryMonitor, test_id: str, settings: spec.Settings, **expected: Any) -> RunResult:
        """Judge a stopped monitor against its settings and, where there is one, the baseline."""
        from pytest_memory import runner

        expected.pop("baseline_marker", None)
        return runner.judge_monitor(monitor, test_id, settings, worker_count=self.worker_count, **expected)

    def fails(self, result: RunResult, settings: spec.Settings) -> bool:
        from pytest_memory import judge

        return judge.fails(result.verdict.outcome, settings["fail_on"])

    def properties(self, result: RunResult) -> list[tuple[str, str]]:
        """What JUnit shows of a result: name and text."""
        from pytest_memory.report import view

        return [("memory_verdict", result.verdict.outcome), ("memory", view.verdict_line(result))]

    def document(self) -> ResultDocument:
        """All results of the session as one document."""
        from pytest_memory import environment, results, store

        measured = next((r.environment for r in self.results if r.environment.node_version), None)
        found = measured or environment.describe(worker_count=self.worker_count)
        return results.make_document(self.results, found, store.time_text(self._created_at))

    # --- files ---

    def write_files(self) -> list[str]:
        """Write everything the settings ask for; returns what went wrong, a sentence each.

        One file that cannot be written does not keep the others from being written."""
        if not self._results:
            return []
        document = self.document()
        jobs: dict[str, Callable[[Path, ResultDocument], None]] = {
            "json": _write_json,
            "report": _write_report,
            "results": _write_run,
        }
        problems = []
        for name, write in jobs.items():
            if self.settings[name]:
                try:
                    write(self.root / self.settings[name], document)
                except PytestMemoryError as error:
                    problems.append(str(error))
        return problems

    # --- snapshots ---

    def camera(self, app: NodeApp, test_id: str) -> Camera:
        """Takes this test's snapshots into a temporary directory."""
        import tempfile

        from pytest_memory.heap.capture import Camera

        return Camera(app, Path(tempfile.mkdtemp(prefix="pytest-memory-")))

    def keep_snapshots(self, camera: Camera, test_id: str, *, failed: bool) -> None:
        """Move the snapshots of a failed test below --memory-results; delete all others."""
        import shutil

        from pytest_memory import store

        camera.close()
        directory = camera.directory
        if failed and self.settings["results"]:
            kept = self.root / self.settings["results"] / "snapshots" / store.file_stem(test_id)
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(directory, kept)
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _write_json(path: Path, document: ResultDocument) -> None:
    from pytest_memory import store

    store.write_document(path, document)


def _write_report(path: Path, document: ResultDocument) -> None:
    from pytest_memory.report import html

    html.write_report(document, path)


def _write_run(directory: Path, document: ResultDocument) -> None:
    from pytest_memory import store

    store.write_document(store.run_file(directory, document), document)
