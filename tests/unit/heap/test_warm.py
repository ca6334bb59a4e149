"""Kernels are compiled by two processes, before anything imports them: whichever question comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pytest_memory.heap import HeapSnapshot, analysis

def compile_kernels():
    print([name for name in KERNELS if f"pytest_memory.heap.{name}" in sys.modules])
    raise SystemExit

KERNELS = ("kernels", "bytescan", "columns", "tallies", "spreading", "ephemerons")
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
helpers, start = [], warm._start
warm._start = lambda _command: helpers.append(start("import time; time.sleep(600)")) or helpers[-1]
try:
    warm.compile_kernels()
except KeyboardInterrupt:
    print([helper.returncode for helper in helpers])
"""


def test_no_helper_outlives_an_interrupt() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[-9]\n", done.stderr
