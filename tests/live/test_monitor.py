"""The monitor on a real Node: what it samples, what it settles, what it does when the app is in trouble."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.apps import wait_until

from pytest_memory import AppSpec, MemoryMonitor, NodeApp
from pytest_memory.errors import ConfigError, MonitorError
from pytest_memory.heap.capture import Camera
from pytest_memory.leakrun import LeakResult
from pytest_memory.progress import Progress
from pytest_memory.sampler import Sampler

pytestmark = pytest.mark.node

MakeSpec = Callable[..., AppSpec]
KEPT_BYTES = 8_000_000


EVERY_KIND = ("rss_bytes", "heap_used_bytes", "heap_total_bytes", "external_bytes", "array_buffers_bytes")
KINDS = (*EVERY_KIND, "fds", "handles", "uss_bytes", "pss_bytes")  # these once a second


def test_samples_hold_every_kind_of_memory(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app, interval=0.02) as monitor:
        for _ in range(50):
            app.client.get("/")
        assert wait_until(lambda: any(all(getattr(s, name) for name in KINDS) for s in monitor.samples))
        assert wait_until(lambda: len(monitor.samples) >= 10)
    sample = next(s for s in monitor.samples if all(getattr(s, name) for name in KINDS))
    assert sample.pid == app.pid
    assert sample.heap_used_bytes < sample.heap_total_bytes < sample.rss_bytes
    assert 0 < sample.uss_bytes <= sample.pss_bytes
    assert sample.uss_bytes < sample.rss_bytes * 1.2  # the two are not read at the same moment
    assert [s.t_s for s in monitor.samples] == sorted(s.t_s for s in monitor.samples)


@pytest.mark.parametrize("interval_s", [0.01, 0.02, 0.1])
def test_the_delay_of_the_event_loop_is_seen_at_every_interval(make_spec: MakeSpec, interval_s: float) -> None:
    """Also one that spans many samples: JavaScript that keeps the loop busy does not keep the samples from coming."""
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app, interval=interval_s) as monitor:
        assert wait_until(lambda: sum(sample.loop_delay_s is not None for sample in monitor.samples) >= 3)
        app.evaluate("{ const end = Date.now() + 700; while (Date.now() < end); }")
        assert wait_until(lambda: any((sample.loop_delay_s or 0) > 0.6 for sample in monitor.samples))


def test_growth_is_what_the_app_keeps_and_not_its_garbage(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app, interval="50ms") as monitor:
        app.client.get("/grow", params={"bytes": KEPT_BYTES})
        app.evaluate("{ const garbage = []; for (let i = 0; i < 2e5; i++) garbage.push({ i }); garbage.length }")
        running = monitor.growth["heap_used"].amount
    final = monitor.growth["heap_used"].amount
    for amount in (running, final):
        assert KEPT_BYTES * 0.95 < amount < KEPT_BYTES * 1.25
    assert monitor.growth["external"].amount < KEPT_BYTES * 0.1


def test_buffers_are_external_growth(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app) as monitor:
        app.client.get("/buffer", params={"bytes": KEPT_BYTES})
    assert monitor.growth["external"].amount == pytest.approx(KEPT_BYTES, rel=0.05)
    assert monitor.growth["heap_used"].amount < KEPT_BYTES * 0.25
    assert monitor.growth["rss"].amount > KEPT_BYTES * 0.5


def test_logged_objects_are_not_growth(make_spec: MakeSpec) -> None:
    """An open inspector keeps what console.log was given; the monitor lets go of it before it looks."""
    log = "for (let i = 0; i < 900; i++) console.log({ rows: Array.from({ length: 500 }, (_, n) => 'row ' + n + i) })"
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app) as monitor:
        app.evaluate(log + "; 0")
    assert monitor.growth["heap_used"].amount < 2_000_000


def test_caches_that_v8_grows_by_chance_have_grown_before_anything_is_measured(make_spec: MakeSpec) -> None:
    """Texts of numbers: 256 KB when two first meet, 64 KB more for fractions (Node 26)."""
    texts = "for (let i = 0; i < 500; i += 1) { String(i * 256); String(i + 0.5); } 0"
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app) as monitor:
        app.evaluate(texts)
    assert monitor.growth["heap_used"].amount < 50_000


def test_what_was_logged_is_let_go_before_each_sample(make_spec: MakeSpec) -> None:
    """Also between the samples that ask for everything."""
    log = "(() => { const row = { logged: 1 }; globalThis.row = new WeakRef(row); console.log(row); return 0 })()"
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app:
        app.inspector  # noqa: B018 - the console keeps objects for whoever is connected
        app.evaluate(log)
        app.evaluate("gc(); 0")
        assert app.evaluate("row.deref()?.logged ?? 0") == 1, "nothing kept it: this test would prove nothing"
        sampler = Sampler(app, interval_s=0.05, full_interval_s=1e6)
        sampler.start()
        try:
            printed = app.printed_bytes
            app.evaluate(log)
            assert wait_until(lambda: app.printed_bytes > printed)
            seen = len(sampler.samples)
            assert wait_until(lambda: len(sampler.samples) >= seen + 2)
            app.evaluate("gc(); 0")
            assert app.evaluate("row.deref()?.logged ?? 0") == 0
        finally:
            sampler.stop()


def test_collections_of_the_app_are_seen_and_our_own_are_not_counted(make_spec: MakeSpec) -> None:
    churn = "(() => { let kept; for (let i = 0; i < 3e6; i++) kept = { i }; return kept.i })()"
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app, interval=0.05) as monitor:
        monitor.settle()
        app.evaluate(churn)
        assert wait_until(lambda: monitor.gc_events)
    own = monitor.gc_events
    assert {event.kind for event in own} <= {"scavenge", "minor-mark-compact", "mark-compact", "incremental"}
    assert all(0 < event.duration_s < 5 for event in own)
    major = [event for event in own if event.kind == "mark-compact"]
    assert len(major) <= 2, "the settling's collections were taken for the app's"


def test_a_blocked_event_loop_does_not_stop_the_samples_and_is_said(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app, interval=0.1) as monitor:
        app.inspector.submit(
            "Runtime.evaluate",
            {"expression": "require('child_process').execSync('sleep 3'); 0", "includeCommandLineAPI": True},
        )
        assert wait_until(lambda: sum(sample.blocked for sample in monitor.samples) >= 3)
        assert wait_until(lambda: not monitor.samples[-1].blocked)
    blocked = [sample for sample in monitor.samples if sample.blocked]
    assert all(sample.rss_bytes for sample in blocked)
    assert all(sample.heap_used_bytes is None for sample in blocked)
    assert "blocked-loop" in {note.slug for note in monitor.record("t").notes}


def test_a_child_that_never_answers_keeps_nobody_from_being_sampled(make_spec: MakeSpec) -> None:
    """Its inspector is open, and its loop is blocked from its first line on."""
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app, interval=0.1) as monitor:
        child = app.evaluate(
            "globalThis.child = require('child_process').spawn(process.execPath, "
            "['-e', \"require('child_process').execSync('sleep 6')\"]); child.pid"
        )
        assert wait_until(lambda: any(sample.pid == child for sample in monitor.samples))
        seen_s = next(sample.t_s for sample in monitor.samples if sample.pid == child)
        assert wait_until(lambda: monitor.samples[-1].t_s > seen_s + 3)
        samples = [s for s in monitor.samples if seen_s <= s.t_s <= seen_s + 3]
        missed = monitor.missed_samples
        app.evaluate("child.kill('SIGKILL')")
    of_child = [s for s in samples if s.pid == child]
    assert all(s.rss_bytes and s.heap_used_bytes is None for s in of_child)
    # Some 30 were due; held up by the child, the app would have had but one or two.
    assert len(of_child) + missed >= 20
    assert len(of_child) >= 10
    assert sum(s.heap_used_bytes is not None for s in samples if s.pid == app.pid) >= 10


def test_collections_before_the_window_are_nothing_to_its_limits(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app, MemoryMonitor(app) as monitor:
        app.evaluate("for (let i = 0; i < 20; i += 1) gc(); 0")
        monitor.rebase()
        app.evaluate("gc(); 0")
    assert [event.kind for event in monitor.gc_events].count("mark-compact") == 21
    assert [event.kind for event in monitor.window_gc_events].count("mark-compact") == 1


def test_collections_of_work_that_never_yields_come_before_the_window_that_begins_behind_it(
    make_spec: MakeSpec,
) -> None:
    work = "setImmediate(() => { const end = Date.now() + 6500; while (Date.now() < end) gc(); }); 0"
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app, MemoryMonitor(app) as monitor:
        app.evaluate(work)
        monitor.rebase()
    assert [event.kind for event in monitor.gc_events].count("mark-compact") >= 10
    assert not [event for event in monitor.window_gc_events if event.kind == "mark-compact"]


def test_two_monitors_of_one_app_see_the_same_collections(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app, MemoryMonitor(app) as patient:
        with MemoryMonitor(app, interval=0.05) as curious:
            app.evaluate("gc(); 0")
            assert wait_until(lambda: curious.gc_events)
            app.evaluate("gc(); 0")
        app.evaluate("gc(); 0")
        assert wait_until(lambda: patient.samples[-1].heap_used_bytes is not None)
    assert [event.kind for event in curious.window_gc_events].count("mark-compact") == 2
    assert [event.kind for event in patient.window_gc_events].count("mark-compact") == 3


def test_a_callback_can_be_given_while_the_monitor_runs(make_spec: MakeSpec) -> None:
    seen: list[int] = []
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app, interval=0.05) as monitor:
        monitor.on_sample(lambda sample: seen.append(sample.pid))
        assert wait_until(lambda: len(seen) >= 2)
        monitor.on_sample(None)
    assert set(seen) == {app.pid}


def test_an_app_that_dies_is_recorded_with_its_last_samples(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app:
        monitor = MemoryMonitor(app, interval=0.05).start()
        with pytest.raises(Exception, match=r"."):
            app.client.get("/die")
        assert wait_until(lambda: not app.alive)
        monitor.stop()
    assert monitor.app_died
    assert monitor.app_info.exit_status == 7
    assert "out of biscuits" in monitor.app_info.output_tail
    assert monitor.samples[0].rss_bytes
    assert monitor.growth == {}


def test_an_app_killed_from_outside_is_no_hang(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app:
        monitor = MemoryMonitor(app, interval=0.05).start()
        import psutil

        psutil.Process(app.pid).kill()
        assert wait_until(lambda: not app.alive)
        began = time.monotonic()
        monitor.stop()
        assert time.monotonic() - began < 60
    assert monitor.app_info.exit_status == -9


def test_a_restarted_app_is_noticed(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app:
        monitor = MemoryMonitor(app).start()
        app.restart()
        assert monitor.app_restarted
        monitor.stop()


def test_worker_heaps_count_as_heap(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("threads.js")) as app, MemoryMonitor(app, interval=0.05) as monitor:
        assert wait_until(lambda: any(sample.worker_heap_used_bytes for sample in monitor.samples))
    assert monitor.end_memory is not None
    assert monitor.end_memory.worker_heap_used_bytes > 500_000
    heaps = monitor.end_memory.worker_heaps
    assert set(heaps) == {f"{monitor.app_info.pid}:{thread}" for thread in (1, 2, 3)}
    assert sum(heaps.values()) == monitor.end_memory.worker_heap_used_bytes


def test_run_watches_for_its_duration_and_writes_the_document(make_spec: MakeSpec, tmp_path: Path) -> None:
    seen = []
    with NodeApp.start(make_spec("grower.js")) as app:
        MemoryMonitor(app, interval=0.05, duration=0.5, output_file=tmp_path / "out.json", on_sample=seen.append).run()
    document = json.loads((tmp_path / "out.json").read_text())
    samples = document["results"][0]["samples"]
    assert len(samples["t_s"]) == len(seen) >= 3
    assert document["environment"]["node_version"].startswith("v")


def test_a_failing_callback_is_said_and_costs_no_samples(make_spec: MakeSpec) -> None:
    def fail(_sample: object) -> None:
        raise RuntimeError("callback broke")

    with NodeApp.start(make_spec("grower.js")) as app:
        monitor = MemoryMonitor(app, interval=0.02, on_sample=fail).start()
        assert wait_until(lambda: len(monitor.samples) >= 5)
        with pytest.warns(match="callback broke"):
            monitor.stop()


def test_phases_are_named_and_timed(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app) as monitor, monitor.phase("busy"):
        app.client.get("/")
    (busy,) = [phase for phase in monitor.phases if phase.name == "busy"]
    assert 0 <= busy.start_s < busy.end_s


def test_rebase_begins_the_window_anew(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app) as monitor:
        app.client.get("/grow", params={"bytes": KEPT_BYTES})
        monitor.rebase()
    assert abs(monitor.growth["heap_used"].amount) < KEPT_BYTES * 0.1


def test_nothing_of_the_probe_stays_in_the_app(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app:
        with MemoryMonitor(app):
            assert app.evaluate("Symbol.for('pytest-memory.probe') in globalThis") is True
        assert app.evaluate("Symbol.for('pytest-memory.probe') in globalThis") is False


def test_wrong_use_is_an_error_that_says_so() -> None:
    with pytest.raises(ConfigError, match="at least 10 ms"):
        MemoryMonitor(interval=0.001)
    with pytest.raises(ConfigError, match="no app"):
        MemoryMonitor().start()
    with pytest.raises(MonitorError, match="before it was started"):
        MemoryMonitor().stop()
    with pytest.raises(ConfigError, match="needs a duration"):
        MemoryMonitor().run()


def test_progress_tells_the_phase_and_the_heap_from_the_samples_that_are_taken_anyway(make_spec: MakeSpec) -> None:
    seen: list[Progress] = []

    def look() -> None:
        progress = monitor.progress()
        assert progress is not None
        seen.append(progress)

    def work() -> None:
        look()
        time.sleep(0.02)

    with NodeApp.start(make_spec("grower.js")) as app:
        monitor = MemoryMonitor(app, interval=0.05)
        assert monitor.progress() is None
        monitor.start()
        look()
        with monitor.phase("warm-up"):
            look()
        monitor.leak_test(work, max_rounds=3, max_duration=60)
        look()
        monitor.stop()
        assert monitor.progress() is None

    phases = [progress.phase for progress in seen]
    assert phases[:2] == ["", "warm-up"]
    assert phases[-1] == ""
    assert list(dict.fromkeys(phases[2:-1])) == ["leak test, warm-up", "leak test, round 1", "leak test, round 2"]
    assert all(progress.heap_used_bytes > 1e6 for progress in seen if progress.heap_used_bytes is not None)
    assert seen[-1].heap_used_bytes is not None
    for progress in seen:
        left_s = 60 - progress.elapsed_s if progress.phase.startswith("leak test") else None
        assert progress.remaining_s == (left_s and pytest.approx(left_s))


@pytest.mark.parametrize("explain", [True, False])
def test_kernels_are_compiled_while_the_work_pauses_for_growth(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, explain: bool
) -> None:
    """Only where a leak will be explained: a cold machine would else compile for seconds when it is found."""
    warmed: list[str] = []

    def grow(*_args: object, on_growth: Callable[[], None], **_options: object) -> LeakResult:
        on_growth()
        return LeakResult(estimates=())

    monkeypatch.setattr("pytest_memory.heap.warm_kernels", lambda: warmed.append("started"))
    monkeypatch.setattr("pytest_memory.leakrun.run_leak_test", grow)
    with NodeApp.start(make_spec("grower.js")) as app, MemoryMonitor(app, explain=explain) as monitor:
        monitor.leak_test(lambda: None)
    assert warmed == ["started"] * explain


def test_collections_of_a_snapshot_are_not_the_apps(make_spec: MakeSpec, tmp_path: Path) -> None:
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app, MemoryMonitor(app) as monitor:
        app.evaluate("gc(); 0")
        with monitor.hands_off(), Camera(app, tmp_path) as camera:
            camera.take_file()
        app.evaluate("gc(); 0")
    assert [event.kind for event in monitor.window_gc_events].count("mark-compact") == 2


def test_a_worker_thread_that_ends_does_not_hide_what_the_main_thread_keeps(make_spec: MakeSpec) -> None:
    begin = """new Promise((ready) => {
      const { Worker } = require('worker_threads');
      const hold = 'globalThis.held = Array.from({ length: 2e6 }, (_, i) => i + 0.5);';
      const wait = "require('worker_threads').parentPort.on('message', () => process.exit());";
      globalThis.thread = new Worker(hold + wait, { eval: true });
      globalThis.thread.once('online', () => setTimeout(ready, 500));
    })"""
    with NodeApp.start(make_spec("grower.js")) as app:
        app.inspector.evaluate(begin, await_promise=True)
        with MemoryMonitor(app) as monitor:
            assert monitor.start_memory is not None
            assert monitor.start_memory.worker_heap_used_bytes > 2 * KEPT_BYTES
            app.client.get("/grow", params={"bytes": KEPT_BYTES})
            app.inspector.evaluate(
                "new Promise((done) => { thread.once('exit', done); thread.postMessage('end') })", await_promise=True
            )
    assert monitor.growth["heap_used"].amount == pytest.approx(KEPT_BYTES, rel=0.2)
