"""Kernels are compiled by two processes, before anything imports them: whichever question comes first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.apps import is_gone, wait_until
from support.snapshot_builder import SnapshotBuilder

from pytest_memory.heap import kernels_ready, warm

SCRIPT = """
import sys
from pytest_memory.heap import HeapSnapshot, analysis

def compile_kernels():
    print([name for name in KERNELS if f"pytest_memory.heap.{name}" in sys.modules])
    raise SystemExit

KERNELS = ("kernels", "bytescan", "columns", "tallies", "spreading", "ephemerons", "jumps", "nesting")
analysis.compile_kernels = compile_kernels
one, two = HeapSnapshot.load(sys.argv[1]), HeapSnapshot.load(sys.argv[1])
QUESTION
"""


@pytest.mark.parametrize(
    "question",
    [
        "one.classes()",
        "one.objects('A')",
        "one.count()",
        "one.statistics",
        "one.retainer_paths('A')",
        "one.largest_objects()",
        "one.largest_collections()",
        "one.duplicate_strings()",
        "one.find_strings('a')",
        "one.dominator_tree()",
        "one.tree()",
        "one.compare(two)",
        "str(one)",
        "one.to_dict()",
    ],
)
def test_no_question_loads_kernels_before_they_are_compiled(tmp_path: Path, question: str) -> None:
    file = tmp_path / "any.heapsnapshot"
    file.write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("QUESTION", question), str(file)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[]\n", done.stderr


INTERRUPTED = """
import subprocess, sys
from pytest_memory.heap import canary, jit, warm

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "pytest_memory.heap.columns":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
jit.compiled.append("as on a machine that has never compiled")
warm._looks_cold = lambda: COLD
helpers, start = [], warm._start
warm._start = lambda _command, **_streams: helpers.append(start("import time; time.sleep(600)")) or helpers[-1]
try:
    warm.compile_kernels()
except KeyboardInterrupt:
    print([helper.returncode for helper in helpers])
"""


@pytest.mark.parametrize("cold", [True, False], ids=["known to be cold", "found to be cold"])
def test_no_helper_outlives_an_interrupt(cold: bool) -> None:
    code = INTERRUPTED.replace("COLD", str(cold))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[-9]\n", done.stderr


def _index(version: str, name: str = "ephemerons._find_entries") -> str:
    return f"{name}_b8e89a86-88.py{version}.nbi"


_THIS = f"{sys.version_info.major}{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("file", "cold"),
    [
        (None, True),
        (_index(_THIS), False),
        (_index("27"), True),  # another Python's
        (_index(_THIS, "canary.same"), True),  # as where a session ended while it compiled
    ],
)
@pytest.mark.parametrize("chosen", [False, True], ids=["beside the module", "NUMBA_CACHE_DIR"])
def test_a_cold_cache_is_known_before_the_compiler_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: bool, file: str | None, cold: bool
) -> None:
    module = tmp_path / "heap" / "warm.py"
    directory = tmp_path / "cache" / "heap_3b1f" if chosen else module.parent / "__pycache__"
    directory.mkdir(parents=True)
    if file:
        (directory / file).touch()
    monkeypatch.setattr(warm, "__file__", str(module))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    if chosen:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    assert warm._looks_cold() == cold


def test_where_nothing_may_be_written_the_first_kernel_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numba looks for a directory of the user's then, or keeps nothing: a process beside would compile in vain."""
    monkeypatch.setattr(warm, "__file__", str(tmp_path / "missing" / "warm.py"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert not warm._looks_cold()
    chosen = tmp_path / "file"
    chosen.touch(0o400)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(chosen))
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everything
    assert not warm._looks_cold()


def test_a_directory_that_numba_will_make_is_cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "new"))
    assert warm._looks_cold()


HALF_FILLED = """
import sys
from pytest_memory.heap import canary, jit, warm

class Compiling:
    def find_spec(self, name, path, target=None):
        if name == "pytest_memory.heap.kernels":
            jit.compiled.append("as where a session ended while it compiled: the canary is in the cache, the rest not")

sys.meta_path.insert(0, Compiling())
jit.compiled.clear()
warm._looks_cold = lambda: COLD
helpers, start = [], warm._start
warm._start = lambda _command, **_streams: helpers.append(start("pass")) or helpers[-1]
warm.compile_kernels()
print(len(helpers))
"""


@pytest.mark.parametrize("cold", [True, False], ids=["known to be cold", "found to be cold"])
def test_a_half_filled_cache_is_filled_by_two_processes(cold: bool) -> None:
    code = HALF_FILLED.replace("COLD", str(cold))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "1\n", done.stderr


LOADED = """
import pytest_memory.heap.kernels_ready
from pytest_memory.heap import stop_warming, warm, warm_kernels

warm._start = lambda _command, **_streams: print("started")
print(warm_kernels())
warm.compile_kernels()
"""


def test_what_is_loaded_is_neither_compiled_nor_waited_for() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr


LEFT = """
import sys, time, psutil
from pytest_memory.heap import stop_warming, warm_kernels

print(warm_kernels(), warm_kernels())
deadline = time.monotonic() + 60
while len(psutil.Process().children(recursive=True)) < 2 and time.monotonic() < deadline:
    time.sleep(0.01)
for process in psutil.Process().children(recursive=True):
    print(process.pid)
if sys.argv[1] == "stop":
    stop_warming()
"""


@pytest.mark.parametrize("end", ["stop", "exit"])
def test_both_processes_end_with_the_session(tmp_path: Path, end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LEFT, end],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
    )
    first, *pids = done.stdout.split("\n")[:-1]
    assert (first, done.stderr) == ("True False", "")
    assert len(pids) == 2, "a cold machine compiles in two processes"
    assert wait_until(lambda: all(is_gone(int(pid)) for pid in pids))


STARVED = """
from pytest_memory.heap import canary, jit, warm

start = warm._start

def starved(command, **streams):
    return start("import time; time.sleep(600)" if command is warm._COMMAND else command, **streams)

warm._start = starved
warm.PATIENCE_S = 0.2
warm.warm_kernels()
process = warm._started
warm.compile_kernels()
from pytest_memory.heap import tallies
print(process.poll(), warm._started)
"""


def test_a_process_that_gets_no_cpu_is_not_waited_for() -> None:
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=120)
    assert done.stdout == "-15 None\n", done.stderr


TABLE = """
import json, sys
from pytest_memory.heap import HeapSnapshot, jit, warm

warm.compile_kernels()
before = [*jit.compiled]
HeapSnapshot.load(sys.argv[1]).classes()
loaded = [name for name in KERNELS if f"pytest_memory.heap.{name}" in sys.modules]
print(json.dumps([sorted(loaded), jit.compiled == before]))
"""


def test_a_class_table_needs_no_kernel_that_is_not_waited_for(tmp_path: Path) -> None:
    """Of a heap with all that Node writes: entries of WeakMaps, detached nodes, nodes nobody retains, locations."""
    heap = SnapshotBuilder()
    app = heap.node("object", "global", size=8)
    heap.edge(heap.root, "shortcut", "1", app)
    for _ in range(2):
        heap.node("object", "Orphan", size=8)
    clique = heap.node("object", "Clique", size=8)
    heap.edge(clique, "property", "other", heap.node("object", "Other", size=8))
    heap.edge(clique + 1, "property", "other", clique)
    wrap = heap.node("native", "Node / TCPWrap", size=8, detachedness=2)
    heap.edge(app, "property", "wrap", wrap)
    heap.edge(wrap, "internal", "buffer", heap.node("native", "Node / Buffer", size=4))
    table, key, value = (heap.node("object", name, size=8) for name in ("WeakMap", "Key", "Value"))
    for number, source in ((1, table), (2, key)):
        heap.edge(app, "property", f"held{number}", source)
        key_id, value_id, table_id = (2 * node + 1 for node in (key, value, table))
        pair = f"part of key (Key @{key_id}) -> value (Value @{value_id}) pair in WeakMap (table @{table_id})"
        heap.edge(source, "internal", f"{number} / {pair}", value)
    heap.location(key, 1, 2, 3)
    file = tmp_path / "any.heapsnapshot"
    file.write_bytes(heap.to_bytes())
    code = TABLE.replace("KERNELS", repr(kernels_ready.__all__))
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout or "[]") == [sorted(["canary", *warm.NEEDED]), True], done.stderr


WAITED = """
import os, signal, sys, time
import psutil
from pytest_memory.heap import jit, warm, stop_warming, warm_kernels
from pathlib import Path

warm.PATIENCE_S = 60.0
warm_kernels()
process = psutil.Process(warm._started.pid)
if sys.argv[1] == "killed":
    while not process.children():
        time.sleep(0.01)
    process.children()[0].kill()
warm.compile_kernels()
from pytest_memory.heap import bytescan, columns, ephemerons, kernels, tallies
print(jit.compiled)
print(warm._started.wait())
from pytest_memory.heap import kernels_ready
print(jit.compiled)
stop_warming()
"""


@pytest.mark.parametrize("child", ["left alone", "killed"])
def test_what_is_needed_is_there_when_it_is_said_to_be_and_the_rest_in_the_end(tmp_path: Path, child: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WAITED, child],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("[]\n0\n[]\n", "")


SILENT = """
import sys
from pytest_memory.heap import stop_warming, warm

warm._COMMAND = "pass"
warm.warm_kernels()
for _ in range(2):
    warm.compile_kernels()
    print("pytest_memory.heap.tallies" in sys.modules)
stop_warming()
"""


def test_a_process_that_ends_without_a_word_is_not_waited_for() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", SILENT], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")


WITHOUT_DESCRIPTORS = """
from pytest_memory.heap import warm

def pipe():
    raise OSError(24, "Too many open files")

warm.os.pipe = pipe
warm.compile_kernels()
print(warm._are_loaded())
"""


def test_without_descriptors_to_share_the_work_it_is_done_alone() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_DESCRIPTORS], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr
