"""Machine code that is kept on disk: never another's, never in the way."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_memory.heap import kernels_ready

DEADLINE_S = 120.0
KERNEL = """
from pytest_memory.heap.jit import kernel
from pytest_memory.heap.marks import SHARED

@kernel("int64(int64)")
def plus_shared(value):
    return value + SHARED
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "probe.py").write_text(KERNEL)
    return tmp_path / "cache"


def run(cache: Path, code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**os.environ, "PYTHONPATH": _path(cache.parent), "NUMBA_CACHE_DIR": str(cache), **environment},
    )


def _path(directory: Path) -> str:
    return os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])


UPGRADED = """
import json, sys
from pytest_memory.heap import marks
marks.SHARED = int(sys.argv[1])
from pytest_memory.heap import jit
jit._OPTIONS["fastmath"] = sys.argv[2] == "fast"
import probe
print(json.dumps([probe.plus_shared(0), jit.compiled]))
"""


def test_code_of_other_marks_and_options_is_not_used(cache: Path) -> None:
    """As after an upgrade that changes nothing in the kernel's own module."""

    def upgraded(*words: str) -> Any:
        done = run(cache, UPGRADED, *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert upgraded("-2", "exact") == [-2, ["plus_shared"]]
    assert upgraded("-7", "exact") == [-7, ["plus_shared"]]
    assert upgraded("-7", "fast") == [-7, ["plus_shared"]]
    assert upgraded("-2", "exact") == [-2, []], "what is known is loaded"


DAMAGES = """
import importlib, json, pathlib, sys
from pytest_memory.heap import jit
import probe

def damage_and_ask(pattern, damage):
    (file,) = pathlib.Path(sys.argv[1]).rglob(pattern)
    whole = file.read_bytes()
    damage(file, whole)
    jit.compiled.clear()
    importlib.reload(probe)
    answer = [probe.plus_shared(44), jit.compiled]
    if file.is_dir():
        file.rmdir()
    file.write_bytes(whole)
    return answer

def into_directory(file, _whole):
    file.unlink()
    file.mkdir()

DAMAGES = {
    "empty": lambda file, whole: file.write_bytes(b""),
    "cut": lambda file, whole: file.write_bytes(whole[: len(whole) // 2]),
    "zeros": lambda file, whole: file.write_bytes(bytes(len(whole))),
    "directory": into_directory,
    "none": lambda file, whole: None,
}
answers = {}
for pattern, names in {"*.nbi": ("empty", "cut", "directory", "none"), "*.nbc": ("cut", "zeros", "none")}.items():
    for name in names:
        answers[f"{name} {pattern}"] = damage_and_ask(pattern, DAMAGES[name])
print(json.dumps(answers))
"""


def test_a_damaged_cache_costs_time_and_nothing_else(cache: Path) -> None:
    done = run(cache, DAMAGES, str(cache))
    assert (done.returncode, done.stderr) == (0, "")
    answers = json.loads(done.stdout)
    assert {answer for answer, _compiled in answers.values()} == {42}
    assert [name for name, (_answer, compiled) in answers.items() if "none" in name and compiled] == []
    assert len(answers) == 7


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
import probe
print(probe.plus_shared(44))
"""


@pytest.mark.skipif(importlib.util.find_spec("resource") is None, reason="needs limits of file sizes")
def test_a_full_disk_costs_time_and_nothing_else(cache: Path) -> None:
    done = run(cache, FULL, PYTHONDONTWRITEBYTECODE="1")
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_numba_that_compiles_nothing_is_said(cache: Path) -> None:
    code = "import pytest_memory.errors as e\ntry: import probe\nexcept e.ConfigError as error: print(error)"
    done = run(cache, code, NUMBA_DISABLE_JIT="1")
    assert "ConfigError[config]: numba compiles nothing here (NUMBA_DISABLE_JIT is set)" in done.stdout, done.stderr
    assert "hint: unset NUMBA_DISABLE_JIT" in done.stdout


@pytest.mark.parametrize("module", kernels_ready.__all__)
def test_nothing_is_compiled_in_that_the_cache_does_not_know(module: str) -> None:
    file = getattr(kernels_ready, module).__file__
    imported = [
        node.module
        for node in ast.walk(ast.parse(Path(file).read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pytest_memory")
    ]
    assert set(imported) <= {"pytest_memory.heap.jit", "pytest_memory.heap.marks"}


HASTE = """
import gc, json
import numba
from pytest_memory.heap import jit

seen = []

def compiling(*_args, **_options):
    seen.append([int(numba.config.OPT), gc.isenabled()])
    raise TypeError("what a kernel may be wrong about")

numba.jit, before = compiling, numba.config.OPT
try:
    jit.kernel("int64(int64)")(lambda value: value)
except TypeError:
    seen.append([numba.config.OPT == before, gc.isenabled()])
print(json.dumps(seen))
"""


@pytest.mark.parametrize(("chosen", "level"), [({}, 2), ({"NUMBA_OPT": "max"}, 2), ({"NUMBA_OPT": "1"}, 1)])
def test_haste_is_over_when_a_kernel_is_compiled(cache: Path, chosen: dict[str, str], level: int) -> None:
    """numba's settings are those of everybody in the process; a lower level that was chosen stands."""
    done = run(cache, HASTE, **chosen)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[level, False], [True, True]]
