"""At short intervals the app notes its sizes, and is asked only for what notes cannot say."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from support.apps import wait_until

from pytest_memory import AppSpec, NodeApp
from pytest_memory.node import notes
from pytest_memory.sampler import Sampler
from pytest_memory.watch import PROBE, probe_source

pytestmark = pytest.mark.node

StartApp = Callable[..., NodeApp]
INTERVAL_S = 0.05
FIND_OURS = """
  const fs = require('fs');
  const read = (fd) => { try { return fs.readlinkSync("/proc/self/fd/" + fd); } catch { return ""; } };
  const ours = fs.readdirSync('/proc/self/fd').map(Number).filter((fd) => read(fd).includes("pytest-memory-notes"));
"""
LOSE_THE_FILE = f"{{ {FIND_OURS} ours.forEach((fd) => fs.closeSync(fd)); }} 0"
OPEN_ON_OURS = f"""(path) => {{ {FIND_OURS}
  fs.closeSync(ours[0]);
  for (;;) {{ const fd = fs.openSync(path, 'r+'); if (fd === ours[0]) return fd; }}
}}"""

TAKE_ALL_DESCRIPTORS = """{
  const { openSync } = require('fs');
  globalThis.taken = [];
  try { for (;;) globalThis.taken.push(openSync('/dev/null')); } catch { /* there is no other */ }
} 0"""
FOLLOWS_RESOURCES = """{
  globalThis.ours = new Set();
  globalThis.seen = 0;
  const init = (id, type) => {
    if (new Error().stack.split('\\n').length < 2) throw new Error('no stack');
    if (type === 'pytest-memory') { globalThis.seen += 1; globalThis.ours.add(id); }
  };
  require('async_hooks').createHook({ init, destroy: (id) => globalThis.ours.delete(id) }).enable();
} 0"""
REQUESTS = """{
  const requests = new (require('async_hooks').AsyncLocalStorage)();
  const timers = require('timers');
  const { setTimeout } = timers;
  globalThis.began = [];
  timers.setTimeout = (...all) => {
    globalThis.began.push(requests.getStore() ?? 'idle');
    return setTimeout(...all);
  };
  const answer = async () => { for (let turn = 0; turn < 50; turn += 1) await turn; };
  const serve = () => { requests.run('request', answer); setImmediate(serve); };
  setImmediate(serve);
} 0"""
KEEPS_WHAT_IS_SET = """{
  let last;
  const get = () => (error, frames) => (last ? last(error, frames) : `${error}`);
  Object.defineProperty(Error, 'prepareStackTrace', { configurable: true, get, set: (words) => { last = words; } });
} 0"""
CLOSE_THE_SERVER = """for (const handle of process._getActiveHandles()) {
  if (handle.closeAllConnections) { handle.close(); handle.closeAllConnections(); }
} 0"""


@pytest.fixture
def app(start_app: StartApp) -> NodeApp:
    return start_app("grower.js")


@pytest.fixture
def asked(app: NodeApp, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever is sent to the app from now on."""
    client = app.inspector_of(app.pid)
    sent: list[str] = []
    submit = client.submit

    def note_and_submit(method: str, params: dict[str, Any] | None = None) -> Future[dict[str, Any]]:
        sent.append(f"{method} {params}")
        return submit(method, params)

    monkeypatch.setattr(client, "submit", note_and_submit)
    return sent


@pytest.fixture
def sampler(app: NodeApp, asked: list[str]) -> Iterator[Sampler]:
    sampler = Sampler(app, interval_s=INTERVAL_S)
    sampler.start()
    yield sampler
    sampler.stop()


def readings(asked: list[str]) -> int:
    return sum("?.read(" in one for one in asked)


def reads_at_once(sampler: Sampler, count: int) -> bool:
    """Whether so many samples with sizes come one after the other, soon: a slow machine may miss one now and then."""
    first = len(sampler.samples)

    def has_run() -> bool:
        known = [bool(sample.heap_used_bytes) for sample in sampler.samples[first:]]
        return any(all(known[at : at + count]) for at in range(len(known) - count + 1))

    return wait_until(has_run, 30.0)


def descriptors(app: NodeApp) -> list[str]:
    links = []
    for entry in Path(f"/proc/{app.pid}/fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except OSError:
            continue  # closed meanwhile
    return [link for link in links if "pytest-memory-notes" in link]


def test_most_samples_cost_the_app_no_question(sampler: Sampler, asked: list[str]) -> None:
    before = readings(asked), len(sampler.samples)
    assert reads_at_once(sampler, 60)
    questions, samples = readings(asked) - before[0], len(sampler.samples) - before[1]
    # One in twenty at this interval, and where a note came late: on a slow machine, often.
    assert questions < samples * 0.8, f"{questions} questions for {samples} samples"
    assert questions >= 2, "handles and collections are asked for each second"
    assert sum(sample.handles is not None for sample in sampler.samples) >= 2


def test_what_is_noted_is_what_the_app_has(app: NodeApp, sampler: Sampler) -> None:
    app.client.get("/grow", params={"bytes": 30_000_000})
    assert wait_until(lambda: any((s.heap_used_bytes or 0) > 25e6 for s in sampler.samples))
    usage = app.evaluate("process.memoryUsage()")
    assert reads_at_once(sampler, 3)
    last = sampler.samples[-1]
    assert last.heap_used_bytes == pytest.approx(usage["heapUsed"], abs=5e6)
    assert last.heap_total_bytes == pytest.approx(usage["heapTotal"], abs=5e6)
    assert last.external_bytes == pytest.approx(usage["external"], abs=1e6)
    assert last.array_buffers_bytes == pytest.approx(usage["arrayBuffers"], abs=1e6)


def test_collections_are_known_though_sizes_are_noted(app: NodeApp, sampler: Sampler) -> None:
    app.evaluate("{ const kept = []; for (let i = 0; i < 1e6; i++) kept.push({ i }); 0 }")
    sampler.stop()
    assert sampler.gc_events
    assert sampler.gc_dropped == 0


def test_an_app_whose_loop_is_blocked_is_asked(app: NodeApp, sampler: Sampler) -> None:
    """JavaScript that keeps the loop busy lets no timer note anything, and answers through its inspector."""
    assert reads_at_once(sampler, 5)
    began = sampler.now_s
    app.evaluate("setTimeout(() => { const end = Date.now() + 1000; while (Date.now() < end); }); 0")
    assert wait_until(lambda: any((s.loop_delay_s or 0) > 0.8 for s in sampler.samples))
    within = [s for s in sampler.samples if began + 0.1 < s.t_s < began + 0.9]
    assert sum(bool(s.heap_used_bytes) for s in within) >= 5


def test_an_app_that_prints_is_asked(app: NodeApp, sampler: Sampler, asked: list[str]) -> None:
    """What it logs is kept for the inspector, and is let go before its sizes are looked at."""
    assert reads_at_once(sampler, 3)
    app.evaluate(f"globalThis.printing = setInterval(() => console.log({{ now: 1 }}), {INTERVAL_S * 400}); 0")
    time.sleep(3 * INTERVAL_S)
    before = readings(asked)
    assert reads_at_once(sampler, 20)
    assert readings(asked) - before >= 15
    assert sum("discardConsoleEntries" in one for one in asked) >= 15


def test_a_delay_that_ends_with_a_note_is_told(app: NodeApp, sampler: Sampler) -> None:
    """Whichever way the sample comes about: most blocks end between two ticks, and some just before a question."""
    assert reads_at_once(sampler, 3)

    def blocks_once() -> float:
        first = len(sampler.samples)
        app.evaluate("{ const end = performance.now() + 130; while (performance.now() < end); } 0")
        assert wait_until(lambda: len(sampler.samples) >= first + 8)
        return max(sample.loop_delay_s or 0 for sample in sampler.samples[first:])

    delays_s = [blocks_once() for _ in range(12)]
    assert min(delays_s) > 0.08, delays_s


def test_being_sampled_keeps_no_app_alive_and_is_no_handle_of_it(app: NodeApp) -> None:
    handles = "process.getActiveResourcesInfo().length"
    before = app.evaluate(handles)
    sampler = Sampler(app, interval_s=INTERVAL_S)
    sampler.start()
    try:
        assert reads_at_once(sampler, 10)
        assert wait_until(lambda: app.evaluate(handles) <= before)
        app.evaluate(CLOSE_THE_SERVER)
        assert wait_until(lambda: app.exit_status is not None)
        assert app.exit_status == 0
    finally:
        sampler.stop()


def test_while_the_heap_is_settled_nothing_is_noted(app: NodeApp, sampler: Sampler) -> None:
    assert reads_at_once(sampler, 5)
    with sampler.quiet():
        notes = sampler._watches[app.pid]._notes
        assert notes is not None
        notes.take()
        quiet_from = len(sampler.samples)
        time.sleep(6 * INTERVAL_S)
        assert notes.take() is None
        assert not any(sample.heap_used_bytes for sample in sampler.samples[quiet_from + 1 :])
    assert reads_at_once(sampler, 3)


def test_nothing_is_left_in_the_app_or_on_disk(app: NodeApp, sampler: Sampler) -> None:
    assert reads_at_once(sampler, 3)
    assert len(descriptors(app)) == 1
    assert descriptors(app)[0].endswith("(deleted)")
    sampler.stop()
    assert not descriptors(app)


def test_two_readers_have_notes_of_their_own(app: NodeApp, sampler: Sampler) -> None:
    other = Sampler(app, interval_s=INTERVAL_S / 2)
    other.start()
    assert reads_at_once(other, 5)
    assert len(descriptors(app)) == 2
    other.stop()
    assert reads_at_once(sampler, 5)
    assert len(descriptors(app)) == 1


def test_an_app_that_cannot_open_the_file_is_asked_each_time(
    app: NodeApp, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another machine, behind a permission, or in a container of its own."""
    directory = tmp_path / "notes"
    directory.mkdir()
    monkeypatch.setattr(notes, "_MEMORY", directory)
    opened = notes.Notes.__init__

    def elsewhere(self: notes.Notes, every_s: float) -> None:
        opened(self, every_s)
        self.hide()

    monkeypatch.setattr(notes.Notes, "__init__", elsewhere)
    sampler = Sampler(app, interval_s=INTERVAL_S)
    sampler.start()
    assert reads_at_once(sampler, 10)
    sampler.stop()
    assert readings(asked) >= 10
    assert not list(directory.iterdir())


def test_an_app_that_loses_the_file_is_asked_again(app: NodeApp, sampler: Sampler) -> None:
    assert reads_at_once(sampler, 3)
    app.evaluate(LOSE_THE_FILE)
    assert not descriptors(app)
    assert reads_at_once(sampler, 10)


def test_a_file_of_the_apps_own_is_not_written_to(app: NodeApp, sampler: Sampler, tmp_path: Path) -> None:
    """Whose number is that of ours, which the app has closed."""
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    assert reads_at_once(sampler, 3)
    number = app.evaluate(f"({OPEN_ON_OURS})({str(mine)!r})")
    assert os.path.samefile(f"/proc/{app.pid}/fd/{number}", mine)
    assert reads_at_once(sampler, 6)
    sampler.stop()
    assert mine.read_bytes() == b"mine"
    assert os.path.samefile(f"/proc/{app.pid}/fd/{number}", mine), "nor closed"


def test_an_app_that_nobody_reads_any_more_stops_noting(app: NodeApp, sampler: Sampler) -> None:
    """As behind a reader that was killed, or whose connection the app has closed."""
    assert reads_at_once(sampler, 3)
    sampler._stop.set()
    assert wait_until(lambda: not descriptors(app), 20.0)


def test_an_app_out_of_descriptors_is_not_ended_by_being_watched(app: NodeApp, sampler: Sampler) -> None:
    """Node opens /proc/self/stat to look at its sizes."""
    assert reads_at_once(sampler, 3)
    resource.prlimit(app.pid, resource.RLIMIT_NOFILE, (256, 256))
    app.evaluate(TAKE_ALL_DESCRIPTORS)
    time.sleep(10 * INTERVAL_S)
    app.evaluate("for (const fd of globalThis.taken) require('fs').closeSync(fd); 0")
    assert app.alive
    assert reads_at_once(sampler, 5)


def test_nothing_is_begun_in_a_requests_context(app: NodeApp, tmp_path: Path) -> None:
    """Between its callbacks no frame of the app is left for an interrupt to see, while its context may be."""
    app.evaluate(REQUESTS)
    file = tmp_path / "notes"
    file.write_bytes(bytes(4096))
    join = f"{probe_source()}('test', {str(file)!r}, 50)"
    for _ in range(400):
        app.inspector.submit("Runtime.evaluate", {"expression": join, "includeCommandLineAPI": True})
        app.inspector.submit("Runtime.evaluate", {"expression": f"{PROBE}.resume('test', 0, false)"})
        app.inspector.call("Runtime.evaluate", {"expression": f"{PROBE}.remove('test')"})
    began = app.evaluate("globalThis.began")
    assert len(began) >= 10
    assert set(began) == {"idle"}


def test_an_app_that_is_told_of_changes_to_its_errors_is_asked(app: NodeApp, asked: list[str]) -> None:
    """As by a package that keeps what is set, and calls it for good."""
    app.evaluate(KEEPS_WHAT_IS_SET)
    sampler = Sampler(app, interval_s=INTERVAL_S)
    sampler.start()
    assert reads_at_once(sampler, 10)
    sampler.stop()
    assert readings(asked) >= 10
    assert "Error: x" in app.evaluate("new Error('x').stack")


def test_an_app_that_was_attached_to_is_asked_each_time(app: NodeApp) -> None:
    """What it logs is to be let go each time, for nobody sees it print."""
    attached = NodeApp.start(AppSpec(attach=app.processes[0].inspector_url, url=app.url))
    try:
        sampler = Sampler(attached, interval_s=INTERVAL_S)
        sampler.start()
        assert reads_at_once(sampler, 5)
        assert not descriptors(app)
        sampler.stop()
    finally:
        attached.stop()


BUSY = """{
  const timers = require('timers');
  const { setTimeout } = timers;
  globalThis.begun = [];
  timers.setTimeout = (...all) => { globalThis.begun.push(globalThis.over); return setTimeout(...all); };
  globalThis.over = false;
  setImmediate(() => {
    const end = Date.now() + 2000;
    while (Date.now() < end) globalThis.sum = Math.random();
    globalThis.over = true;
  });
} 0"""


def test_nothing_is_begun_in_the_middle_of_a_request(app: NodeApp, asked: list[str]) -> None:
    """A timer begun there keeps the request's store as long as it goes on, and may break Node's own list of timers."""
    app.evaluate(BUSY)
    sampler = Sampler(app, interval_s=INTERVAL_S)
    sampler.start()
    assert len(descriptors(app)) == 1
    assert wait_until(lambda: bool(app.evaluate("globalThis.over")))
    assert wait_until(lambda: bool(app.evaluate("globalThis.begun")), 20.0)
    sampler.stop()
    assert readings(asked) >= 5, "it was asked meanwhile"
    assert False not in app.evaluate("globalThis.begun")


def test_how_an_app_words_its_errors_is_left_alone(app: NodeApp) -> None:
    app.evaluate("Error.prepareStackTrace = () => 'mine'; Error.stackTraceLimit = 7; 0")
    sampler = Sampler(app, interval_s=INTERVAL_S)
    sampler.start()
    assert reads_at_once(sampler, 3)
    assert app.evaluate("[new Error('x').stack, Error.stackTraceLimit]") == ["mine", 7]
    with sampler.quiet():
        app.evaluate("delete Error.prepareStackTrace; 0")
        time.sleep(3 * INTERVAL_S)
    assert reads_at_once(sampler, 3)
    sampler.stop()
    assert app.evaluate("'prepareStackTrace' in Error") is False


def test_who_follows_resources_finds_errors_as_ever_and_hears_of_their_end(app: NodeApp) -> None:
    """An exception in such a hook is the end of the app."""
    app.evaluate(FOLLOWS_RESOURCES)
    sampler = Sampler(app, interval_s=INTERVAL_S)
    sampler.start()
    assert reads_at_once(sampler, 5)
    sampler.stop()
    assert app.alive
    assert wait_until(lambda: app.evaluate("globalThis.ours.size") == 0)
    assert app.evaluate("globalThis.seen") >= 1


def test_an_app_whose_errors_are_frozen_is_asked(app: NodeApp, asked: list[str]) -> None:
    app.evaluate("Object.freeze(Error); 0")
    sampler = Sampler(app, interval_s=INTERVAL_S)
    sampler.start()
    assert reads_at_once(sampler, 10)
    sampler.stop()
    assert readings(asked) >= 10


def test_at_the_usual_interval_nothing_is_noted(app: NodeApp) -> None:
    """Each sample of a second or longer asks for handles and collections anyway."""
    sampler = Sampler(app, interval_s=1.0)
    sampler.start()
    assert not descriptors(app)
    sampler.stop()
