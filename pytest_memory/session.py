"""One session of measuring, whatever the front: its settings, its apps, its results, its files.  Floor 6.

Knows nothing of pytest: the plugin translates.  Apps are shared by whoever asks for the same app under the same
scope key; results are kept one per test id, the latest run of a repeated test winning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memory import spec
from pytest_memory.errors import PytestMemoryError, StoreError

# Every pytest run of an environment makes a session, few of them measure: what measures is imported by the method
# that needs it.
if TYPE_CHECKING:
    from pytest_memory.baseline_session import BaselineSession
    from pytest_memory.baseline_update import UpdateSummary
    from pytest_memory.heap.capture import Camera
    from pytest_memory.model import ResultDocument, RunResult
    from pytest_memory.monitor import MemoryMonitor
    from pytest_memory.node.process import NodeApp
    from pytest_memory.node.spec import AppSpec

Location = tuple[str, int]


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
        """Stop the app (idempotent) and forget it: in this order, for a stop that is interrupted is tried again."""
        if app in self._all:
            app.stop()
            self._all.remove(app)
            self._shared = {key: kept for key, kept in self._shared.items() if kept[1] is not app}

    def release_all(self) -> None:
        """Stop whatever still runs, newest first; raises the first error once every app has been told to stop."""
        errors: list[BaseException] = []
        for app in reversed(self._all.copy()):
            try:
                self.release(app)
            except BaseException as error:  # noqa: BLE001 - a Ctrl-C, too: the other apps must end all the same
                errors.append(error)
        if errors:
            raise errors[0]


class MemorySession:
    """Settings, apps, baseline and results of one pytest session."""

    def __init__(self, settings: spec.Settings, *, root: Path, is_worker: bool = False, worker_count: int = 0) -> None:
        self.settings = settings
        self.root = root
        self.is_worker = is_worker
        self.worker_count = worker_count
        self.apps = AppPool()
        self.baseline_summary: UpdateSummary | None = None
        self._results: dict[str, RunResult] = {}
        self._locations: dict[str, Location] = {}
        self._created_at = time.time()
        self._baseline = self._load_baseline()
        if settings["snapshot_compression"] != "none":
            from pytest_memory.heap.archive import check_compression

            check_compression(settings["snapshot_compression"])

    def _load_baseline(self) -> BaselineSession | None:
        """Read the baseline before any test runs: a bad file must not cost a session's measurements."""
        names = ("baseline", "baseline_ref", "baseline_update", "baseline_prune")
        if not any(self.settings[name] for name in names):
            return None
        from pytest_memory.baseline_session import BaselineSession

        baseline = BaselineSession.from_settings(self.settings, self.root)
        baseline.load()
        return baseline

    # --- results ---

    @property
    def results(self) -> list[RunResult]:
        """One result a test, in the order of their first appearance."""
        return list(self._results.values())

    def collect(self, payload: dict[str, Any], location: Location | None = None) -> None:
        """Take in a result that came with a test report, from this process or a worker."""
        from pytest_memory import results

        result = results.from_payload(payload, origin="a test report")
        self._results[result.test_id] = result
        if location is not None:
            self._locations[result.test_id] = location

    def not_measured(self, test_id: str, error: PytestMemoryError) -> RunResult:
        from pytest_memory import runner

        return runner.not_measured(test_id, error)

    def judge(
        self,
        monitor: MemoryMonitor,
        test_id: str,
        settings: spec.Settings,
        *,
        leak_test_expected: bool = False,
        baseline_metrics: object = None,
    ) -> RunResult:
        """Judge a stopped monitor against its settings and, where there is one, the baseline."""
        from pytest_memory import runner

        result = runner.judge_monitor(
            monitor, test_id, settings, worker_count=self.worker_count, leak_test_expected=leak_test_expected
        )
        if self._baseline is None:
            return result
        return self._baseline.judged(result, settings, named=baseline_metrics, worker_count=self.worker_count)

    def fails(self, result: RunResult, settings: spec.Settings) -> bool:
        from pytest_memory import judge

        return judge.verdict_fails(result.verdict, settings["fail_on"])

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

    def finish(self, *, collected: Collection[str] = (), whole_files: Collection[str] = ()) -> list[str]:
        """Write everything the settings ask for; returns what went wrong, a sentence each.

        One file that cannot be written does not keep the others from being written: results are never lost with it."""
        problems = []
        for write in self._jobs(collected, whole_files):
            try:
                write()
            except PytestMemoryError as error:
                problems.append(str(error))
        return problems

    def _jobs(self, collected: Collection[str], whole_files: Collection[str]) -> Iterator[Callable[[], None]]:
        # Also where nothing was measured: yesterday's file must not be taken for today's.
        wanted = {write: self.root / self.settings[name] for name, write in _WRITERS.items() if self.settings[name]}
        if wanted:
            document = self.document()
            for write, path in wanted.items():
                yield lambda write=write, path=path: write(path, document)  # type: ignore[misc]
        if self._baseline is not None:
            yield lambda: self._finish_baseline(collected, whole_files)

    def _finish_baseline(self, collected: Collection[str], whole_files: Collection[str]) -> None:
        assert self._baseline is not None
        self.baseline_summary = self._baseline.finish(self.results, collected=collected, whole_files=whole_files)

    def tell_github(self, environ: Mapping[str, str]) -> list[str]:
        """In a GitHub job: append the step summary; returns the annotation lines to print."""
        if not self._results or environ.get("GITHUB_ACTIONS") != "true":
            return []
        from pytest_memory.report import github

        if path := environ.get("GITHUB_STEP_SUMMARY"):
            github.append_step_summary(self.document(), Path(path))
        # pytest counts from its root directory, GitHub from the top of the checkout.
        inside = github.path_in_checkout(self.root, environ.get("GITHUB_WORKSPACE", ""))
        return github.annotation_lines(self.results, self._locations, directory=inside)

    # --- snapshots ---

    def camera(self, app: NodeApp) -> Camera:
        """Takes a test's snapshots into a temporary directory."""
        import tempfile

        from pytest_memory.heap.capture import Camera

        return Camera(app, Path(tempfile.mkdtemp(prefix="pytest-memory-")))

    def kept_directory(self, test_id: str) -> Path | None:
        """Where the snapshots of a test that failed are kept; None without --memory-results."""
        from pytest_memory import store

        if not self.settings["results"]:
            return None
        return Path(self.root, self.settings["results"], "snapshots", store.file_stem(test_id))

    def keeps_snapshots(self, *, failed: bool) -> bool:
        """Whether a test's snapshots outlive it."""
        return bool(self.settings["results"]) and (failed or self.settings["keep_snapshots"] == "all")

    def keep_snapshots(self, camera: Camera, test_id: str) -> list[Path]:
        """Move what the camera took so far to the test's directory, compressed if asked to; where it is now.

        Over nothing: what an earlier run kept there is what its result names.

        Raises StoreError when that cannot be written."""
        from pytest_memory.heap.archive import compress_snapshots, move_snapshot

        kept, paths = self.kept_directory(test_id), camera.hand_over()
        if kept is None or not paths:
            return []
        try:
            kept.mkdir(parents=True, exist_ok=True)
            moved = [move_snapshot(path, kept) for path in paths]
        except OSError as error:
            raise StoreError(
                f"snapshots could not be kept in {kept}: {error.strerror or error}", slug="store-write"
            ) from error
        return compress_snapshots(moved, self.settings["snapshot_compression"])

    def discard_snapshots(self, camera: Camera) -> None:
        """Delete what was not kept."""
        import shutil

        camera.close()
        shutil.rmtree(camera.directory, ignore_errors=True)


def _write_json(path: Path, document: ResultDocument) -> None:
    from pytest_memory import store

    store.write_document(path, document)


def _write_report(path: Path, document: ResultDocument) -> None:
    from pytest_memory.report import html

    html.write_report(document, path)


def _write_run(directory: Path, document: ResultDocument) -> None:
    from pytest_memory import store

    store.write_document(store.run_file(directory, document), document)


def _write_comment(path: Path, document: ResultDocument) -> None:
    from pytest_memory.report import github

    github.write_pr_comment(document, path)


def _write_benchmark(path: Path, document: ResultDocument) -> None:
    from pytest_memory.report import github

    github.write_benchmark(document, path)


_WRITERS: dict[str, Callable[[Path, ResultDocument], None]] = {
    "json": _write_json,
    "results": _write_run,
    "report": _write_report,
    "comment": _write_comment,
    "benchmark": _write_benchmark,
}
