"""V8's own trace of collections on a real Node, beside what Node's observer tells of them."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.apps import wait_until

from pytest_memory import AppSpec, NodeApp
from pytest_memory.cdp.client import InspectorClient
from pytest_memory.cdp.trace import Pause
from pytest_memory.gc_trace import GcTrace
from pytest_memory.model import GcEvent
from pytest_memory.sampler import Sampler

pytestmark = pytest.mark.node

MakeSpec = Callable[..., AppSpec]
CHURN = """(async () => {
  const kept = [];
  for (let round = 0; round < 40; round += 1) {
    for (let i = 0; i < 30000; i += 1) { const made = { i, list: [i] }; if (i % 10 === 0) kept.push(made); }
    await new Promise((done) => setTimeout(done, 2));
  }
  gc(); gc({ type: 'minor' });
  return kept.length;
})()"""
OBSERVED = ("scavenge", "mark-compact")  # the beginning of incremental marking is not in every V8's trace


def watching(app: NodeApp, interval_s: float = 0.1) -> Sampler:
    sampler = Sampler(app, interval_s=interval_s)
    sampler.start()
    return sampler


def of_kind(events: Sequence[GcEvent], kind: str) -> list[GcEvent]:
    return [event for event in events if event.kind == kind]


def is_same(traced: Sequence[GcEvent], observed: Sequence[GcEvent], apart_s: float) -> bool:
    """Durations differ by what a machine that others use takes from a thread, at times; times by how clocks match."""
    pairs = list(zip(traced, observed))
    apart = statistics.median_low(abs(mine.duration_s - theirs.duration_s) for mine, theirs in pairs)
    return apart < 0.001 and all(abs(mine.t_s + apart_s - theirs.t_s) < 0.5 for mine, theirs in pairs)


@pytest.mark.parametrize("spec", ["grower.js", "two-workers.js"])
def test_it_tells_the_collections_that_nodes_observer_tells(make_spec: MakeSpec, spec: str) -> None:
    """Two samplers of one app: the first traces, and as a session has one trace, the second observes."""
    with NodeApp.start(make_spec(spec, node_options="--expose-gc")) as app:
        tracing, observing = watching(app), watching(app)
        try:
            assert [watch.traces for watch in tracing._watches.values()] == [True]
            assert [watch.traces for watch in observing._watches.values()] == [False]
            apart_s = tracing._started_at - observing._started_at
            app.inspector.evaluate(CHURN, await_promise=True)
        finally:
            observing.stop()
            tracing.stop()
    for kind in OBSERVED:
        traced, observed = of_kind(tracing.gc_events, kind), of_kind(observing.gc_events, kind)
        assert len(observed) >= 1
        assert 0 <= len(traced) - len(observed) <= 4, (traced, observed)  # it began sooner and ended later
        starts = range(len(traced) - len(observed) + 1)
        assert any(is_same(traced[at:], observed, apart_s) for at in starts), (traced, observed)
    assert tracing.gc_observed
    assert observing.gc_observed


def test_finalizers_that_run_behind_a_collection_are_none(make_spec: MakeSpec) -> None:
    """V8 10 (Node 18) traces them as one more major collection."""
    drop = """(async () => {
      const { createContext } = require('vm');
      for (let round = 0; round < 4; round += 1) {
        for (let i = 0; i < 20; i += 1) createContext({ i });
        await new Promise((done) => setTimeout(done, 20));
        gc();
        await new Promise((done) => setTimeout(done, 20));
      }
    })()"""
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app:
        sampler = watching(app)
        app.inspector.evaluate(drop, await_promise=True)
        sampler.stop()
    assert len(of_kind(sampler.gc_events, "mark-compact")) == 4


def test_collections_are_told_while_the_app_is_watched(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app:
        sampler = watching(app)
        try:
            for count in range(1, 4):
                app.evaluate("gc(); 0")
                assert wait_until(lambda count=count: len(of_kind(sampler.gc_events, "mark-compact")) == count)
        finally:
            sampler.stop()


def test_what_somebody_else_forces_through_the_inspector_is_not_the_apps(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app:
        sampler = watching(app)
        try:
            with InspectorClient.connect(app.inspector.url) as other:
                other.call("HeapProfiler.collectGarbage")
                other.evaluate("gc(); 0")
                other.call("HeapProfiler.takeHeapSnapshot", timeout_s=30.0)
        finally:
            sampler.stop()
    assert len(of_kind(sampler.gc_events, "mark-compact")) == 1


def test_a_session_is_traced_by_one_and_is_free_again_when_closed(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app:
        inspector = app.inspector
        first = GcTrace.open(inspector, timeout_s=5.0)
        assert first is not None
        assert GcTrace.open(inspector, timeout_s=5.0) is None
        first.close()
        second = GcTrace.open(inspector, timeout_s=5.0)
        assert second is not None
        second.begin()
        app.evaluate("gc(); 0")
        second.end()
        assert second.wait(5.0)
        assert [pause.kind for pause in second.take()] == ["mark-compact"]
        second.close()


def test_a_trace_of_somebody_elses_goes_on_and_a_session_in_use_is_observed(make_spec: MakeSpec) -> None:
    """A debugger that records performance through its own session is not disturbed; through ours it comes first."""
    config = {"traceConfig": {"includedCategories": ["v8"]}}
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app:
        told: list[object] = []
        ours: list[object] = []
        with InspectorClient.connect(app.inspector.url) as other:
            other.on("NodeTracing.dataCollected", lambda params: told.extend(params["value"]))
            other.call("NodeTracing.start", config)
            app.inspector.on("NodeTracing.dataCollected", lambda params: ours.extend(params["value"]))
            app.inspector.call("NodeTracing.start", config)
            sampler = watching(app)
            assert [watch.traces for watch in sampler._watches.values()] == [False]
            app.evaluate("gc(); 0")
            sampler.stop()
            for client in (other, app.inspector):
                client.call("NodeTracing.stop")
                client.call("Runtime.getHeapUsage")
    assert len(of_kind(sampler.gc_events, "mark-compact")) == 1
    for events in (told, ours):
        assert [event for event in events if isinstance(event, dict) and event["name"] == "MajorGC"]


def test_next_to_nothing_is_lost_between_an_end_and_the_next_beginning(make_spec: MakeSpec) -> None:
    """Hundreds of flushes beside an app that collects all the time, some 15,000 times a second."""
    work = "setInterval(() => { for (let i = 0; i < 20; i += 1) { gc({ type: 'minor' }); made += 1; } }, 0)"
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app:
        trace = GcTrace.open(app.inspector, timeout_s=5.0)
        assert trace is not None
        trace.begin()
        app.evaluate(f"globalThis.made = 0; globalThis.run = {work}; 0")
        pauses: list[Pause] = []
        flushes = 0
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            trace.flush()
            flushes += 1
            pauses.extend(trace.take())
            time.sleep(0.005)
        app.evaluate("clearInterval(run); 0")
        made = app.evaluate("new Promise((done) => setTimeout(() => done(made), 20))", await_promise=True)
        trace.end()
        assert trace.wait(5.0)
        pauses.extend(trace.take())
        trace.close()
    missing = made - sum(pause.kind == "scavenge" for pause in pauses)

    assert made > 20 * flushes
    assert 0 <= missing <= flushes / 10


def test_more_than_nodes_buffers_hold_is_told_all_the_same(make_spec: MakeSpec) -> None:
    """Node sends a buffer when it is full: nothing is flushed here."""
    burst = "for (let i = 0; i < 100 && made < 60_000; i += 1) { gc({ type: 'minor' }); made += 1; }"
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app:
        trace = GcTrace.open(app.inspector, timeout_s=5.0)
        assert trace is not None
        trace.begin()
        app.evaluate(f"globalThis.made = 0; setInterval(() => {{ {burst} }}, 0); 0")
        assert wait_until(lambda: app.evaluate("made") == 60_000)
        trace.end()
        assert trace.wait(20.0)
        pauses = trace.take()
        trace.close()
    assert sum(pause.kind == "scavenge" for pause in pauses) == 60_000


@pytest.mark.parametrize("end", ["process.exit(0)", "process.disconnect()", "(() => { throw new Error('over') })()"])
@pytest.mark.parametrize("interval_s", [0.05, 1.0])
def test_a_process_that_ends_by_itself_tells_all_its_collections(
    make_spec: MakeSpec, tmp_path: Path, end: str, interval_s: float
) -> None:
    child = tmp_path / "child.js"
    child.write_text(f"""
        process.once('message', () => {{
          let count = 0;
          const timer = setInterval(() => {{
            gc();
            count += 1;
            if (count === 20) {{ clearInterval(timer); setTimeout(() => {end}, 10); }}
          }}, 20);
        }});
    """)
    fork = f"require('child_process').fork({str(child)!r}, {{ execArgv: ['--expose-gc'], silent: true }})"
    with NodeApp.start(make_spec("grower.js", node_options="--expose-gc")) as app:
        app.evaluate(f"globalThis.child = {fork}; child.on('exit', () => {{ globalThis.ended = true; }}); 0")
        pid = app.evaluate("child.pid")
        sampler = watching(app, interval_s)
        try:
            assert wait_until(lambda: pid in sampler._watches and sampler._watches[pid].traces)
            unknown = sampler.gc_dropped  # what it did before it was watched, where it was not ready at the start
            app.evaluate("child.send('go'); 0")
            assert wait_until(lambda: app.evaluate("globalThis.ended"))
            assert wait_until(lambda: pid not in sampler._watches)
        finally:
            sampler.stop()
    assert len([event for event in of_kind(sampler.gc_events, "mark-compact") if event.pid == pid]) == 20
    assert sampler.gc_dropped == unknown


def worker_of(app: NodeApp) -> int:
    """The pid of a cluster worker that can be asked."""

    def ready() -> list[int]:
        return [one.pid for one in app.processes if one.role == "cluster-worker" and one.inspector_url]

    assert wait_until(lambda: len(ready()) == 2)
    return ready()[0]


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_settling_right_behind_the_end_of_a_process_changes_nothing_of_what_it_told(
    make_spec: MakeSpec, is_killed: bool
) -> None:
    """Before anybody has looked which processes there still are."""
    with NodeApp.start(make_spec("cluster.js", node_options="--expose-gc")) as app:
        pid = worker_of(app)
        sampler = watching(app, 1.0)
        try:
            assert sampler._watches[pid].traces
            worker = app.inspector_of(pid)
            worker.evaluate("gc(); gc(); 0")
            if is_killed:
                os.kill(pid, signal.SIGKILL)
            else:
                worker.submit("Runtime.evaluate", {"expression": "setImmediate(() => process.exit(0)); 0"})
            assert wait_until(lambda: worker.closed)
            with sampler.quiet():
                pass
            told = [event for event in of_kind(sampler.gc_events, "mark-compact") if event.pid == pid]
            dropped = sampler.gc_dropped_before_pause
        finally:
            sampler.stop()
    assert dropped == is_killed
    assert len(told) == 2 or is_killed


def test_processes_that_live_shorter_than_a_look_are_said_to_be_unknown(make_spec: MakeSpec) -> None:
    run = "require('child_process').execFileSync(process.execPath, ['--expose-gc', '-e', 'gc()']); 0"
    with NodeApp.start(make_spec("grower.js")) as app:
        app.evaluate(run)
        sampler = watching(app)
        try:
            with sampler.quiet():
                pass
            assert sampler.gc_dropped_before_pause == 0
            for _ in range(3):
                app.evaluate(run)
        finally:
            sampler.stop()
    assert sampler.gc_dropped >= 3


def test_an_app_that_ends_while_it_is_traced_ends_as_it_would(make_spec: MakeSpec) -> None:
    with NodeApp.start(make_spec("grower.js")) as app:
        sampler = watching(app)
        began = time.monotonic()
        app.evaluate("setTimeout(() => process.exit(7), 20); 0")
        assert wait_until(lambda: app.exit_status == 7)
        assert time.monotonic() - began < 5
        sampler.stop()
