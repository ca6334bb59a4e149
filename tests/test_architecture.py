"""The house rules that can be checked: floors, no cycles, the sans-I/O line, a light plugin.

A module imports only from its own floor or lower ones (TYPE_CHECKING imports are free, imports inside functions
count).  Floors 0 to 4 are below the sans-I/O line.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pytest_memory"

# Prefix → floor; the longest prefix that fits a module wins.
FLOORS = {
    "pytest_memory": 8,
    "pytest_memory.__main__": 8,
    "pytest_memory.plugin": 7,
    "pytest_memory.cli": 7,
    "pytest_memory.interactive": 7,
    "pytest_memory.session": 6,
    "pytest_memory.runner": 6,
    "pytest_memory.monitor": 6,
    "pytest_memory.leakrun": 6,
    "pytest_memory.explain": 6,
    "pytest_memory.ab": 6,
    "pytest_memory.baseline_session": 6,
    "pytest_memory.report": 6,
    "pytest_memory.report.view": 4,
    "pytest_memory.report.figures": 4,
    "pytest_memory.report.stored": 4,
    "pytest_memory.report.changes": 4,
    "pytest_memory.report.words": 4,
    "pytest_memory.report.text": 4,
    "pytest_memory.report.progress": 4,
    "pytest_memory.report.series": 4,
    "pytest_memory.report.tables": 4,
    "pytest_memory.report.advice": 4,
    "pytest_memory.settle": 5,
    "pytest_memory.classcount": 5,
    "pytest_memory.expression": 5,
    "pytest_memory.sampler": 5,
    "pytest_memory.watch": 5,
    "pytest_memory.gc_trace": 5,
    "pytest_memory.cgroups": 5,
    "pytest_memory.environment": 5,
    "pytest_memory.store": 5,
    "pytest_memory.baseline_file": 5,
    "pytest_memory.baseline_update": 2,
    "pytest_memory.config_file": 5,
    "pytest_memory.history_file": 5,
    "pytest_memory.git": 5,
    "pytest_memory.node": 5,
    "pytest_memory.node.choose": 2,
    "pytest_memory.node.wanted": 2,
    "pytest_memory.node.spec": 1,
    "pytest_memory.node.output": 1,
    "pytest_memory.node.exits": 1,
    "pytest_memory.cdp": 5,
    "pytest_memory.cdp.protocol": 2,
    "pytest_memory.cdp.trace": 2,
    "pytest_memory.load": 5,
    "pytest_memory.load.compile": 2,
    "pytest_memory.load.events": 2,
    "pytest_memory.load.inspect": 2,
    "pytest_memory.load.jobs": 2,
    "pytest_memory.load.har": 2,
    "pytest_memory.load.trpc": 2,
    "pytest_memory.load.progress": 2,
    "pytest_memory.load.result": 2,
    "pytest_memory.load.wire": 2,
    "pytest_memory.load.template": 2,
    "pytest_memory.load.schedule": 2,
    "pytest_memory.load.steps": 2,
    "pytest_memory.load.unpack": 1,
    "pytest_memory.load.plan": 2,
    "pytest_memory.load.messages": 2,
    "pytest_memory.load.histogram": 2,
    "pytest_memory.load.hopeless": 2,
    "pytest_memory.heap": 5,
    "pytest_memory.heap.jit": 0,
    "pytest_memory.heap.marks": 0,
    "pytest_memory.heap.tallies": 1,
    "pytest_memory.heap.spreading": 1,
    "pytest_memory.heap.jumps": 1,
    "pytest_memory.heap.nesting": 1,
    "pytest_memory.heap.kernels_ready": 1,
    "pytest_memory.heap.sources": 4,
    "pytest_memory.heap.bytescan": 1,
    "pytest_memory.heap.canary": 1,
    "pytest_memory.heap.kernels": 1,
    "pytest_memory.heap.columns": 1,
    "pytest_memory.heap.sections": 1,
    "pytest_memory.heap.snapshot": 2,
    "pytest_memory.heap.strings": 2,
    "pytest_memory.heap.names": 2,
    "pytest_memory.heap.graph": 2,
    "pytest_memory.heap.classes": 2,
    "pytest_memory.heap.ephemerons": 1,
    "pytest_memory.heap.allocations": 2,
    "pytest_memory.heap.faults": 2,
    "pytest_memory.heap.matching": 2,
    "pytest_memory.heap.compare": 3,
    "pytest_memory.heap.paths": 3,
    "pytest_memory.heap.queries": 3,
    "pytest_memory.heap.tree": 3,
    "pytest_memory.heap.findings": 4,
    "pytest_memory.heap.tables": 4,
    "pytest_memory.judge": 3,
    "pytest_memory.leaktest": 3,
    "pytest_memory.baseline": 2,
    "pytest_memory.growth": 1,
    "pytest_memory.noise": 1,
    "pytest_memory.progress": 1,
    "pytest_memory.metrics": 1,
    "pytest_memory.compare": 3,
    "pytest_memory.history": 3,
    "pytest_memory.results": 2,
    "pytest_memory.spec": 1,
    "pytest_memory.values": 1,
    "pytest_memory.markers": 1,
    "pytest_memory.stats": 1,
    "pytest_memory.model": 0,
    "pytest_memory.units": 0,
    "pytest_memory.errors": 0,
}
SANS_IO_FLOOR = 4
IO_MODULES = {"socket", "subprocess", "threading", "asyncio", "time", "tempfile", "shutil", "signal", "select"}
IO_MODULES |= {"psutil", "websocket", "requests", "pytest", "logging", "multiprocessing"}
IO_CALLS = {"open", "print", "input"}
# Reasons for what looks like an exception: a lock is not I/O, and the tail of the output is filled by one thread and
# read by others.
ALLOWED = {("pytest_memory.node.output", "threading"), ("pytest_memory.node.exits", "signal")}


def module_name(path: Path) -> str:
    parts = ["pytest_memory", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, ast.Module]:
    return {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def floor_of(name: str) -> int:
    while name not in FLOORS:
        name = name.rpartition(".")[0]
    return FLOORS[name]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports_of(tree: ast.AST, *, nested: bool) -> set[str]:
    """Names imported by a module, as written; with ``nested`` also those inside functions."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif nested or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found |= imports_of(node, nested=nested)
    return found


def own_imports(name: str, *, nested: bool) -> set[str]:
    found = set()
    for imported in imports_of(modules()[name], nested=nested):
        if imported.split(".")[0] == "pytest_memory":
            target = imported if imported in modules() else imported.rpartition(".")[0]
            if target in modules() and target != name:
                found.add(target)
    return found


def test_every_import_goes_to_the_same_floor_or_down() -> None:
    upward = [
        f"{name} (F{floor_of(name)}) imports {target} (F{floor_of(target)})"
        for name in modules()
        for target in own_imports(name, nested=True)
        # Importing a package runs its __init__, which for the root is only lazy exports.
        if floor_of(target) > floor_of(name) and target != "pytest_memory"
    ]
    assert upward == []


def test_no_import_cycle() -> None:
    graph = {name: own_imports(name, nested=False) for name in modules()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", sorted(n for n in modules() if floor_of(n) <= SANS_IO_FLOOR))
def test_below_the_line_there_is_no_io(name: str) -> None:
    tree = modules()[name]
    imported = {found.split(".")[0] for found in imports_of(tree, nested=True)}
    used = {module for module in imported & IO_MODULES if (name, module) not in ALLOWED}
    assert used == set(), f"{name} does I/O through {used}"
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called & IO_CALLS == set()
    environ = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "environ"]
    assert environ == []


def test_only_the_plugin_imports_pytest() -> None:
    importers = {
        name
        for name, tree in modules().items()
        if any(found.split(".")[0] in ("pytest", "_pytest") for found in imports_of(tree, nested=True))
    }
    assert importers
    assert {name for name in importers if not name.startswith("pytest_memory.plugin")} == set()


def test_every_module_says_what_it_is() -> None:
    silent = [name for name, tree in modules().items() if not ast.get_docstring(tree)]
    assert silent == []


def test_docstrings_and_the_page_tell_the_floors_that_are_held_here() -> None:
    said = {}
    for name, tree in modules().items():
        for floor in re.findall(r"Floor (\d)", ast.get_docstring(tree) or ""):
            said[name, "its docstring"] = int(floor)
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    for floor, names in re.findall(r"^\| F(\d) \|([^|]*)\|", page, re.MULTILINE):
        for name in re.findall(r"`([a-z_.]+)`", names):
            if f"pytest_memory.{name}" in modules():
                said[f"pytest_memory.{name}", "the page"] = int(floor)
    assert len(said) > 200
    assert {key: floor for key, floor in said.items() if floor != floor_of(key[0])} == {}


def test_importing_the_plugin_is_light() -> None:
    heavy = (
        *("numpy", "numba", "plotly", "httpx", "psutil", "websocket", "rich", "jinja2", "msgspec", "asyncio"),
        *(
            "pytest_memory.model",
            "pytest_memory.metrics",
            "pytest_memory.monitor",
        ),  # ours, where imports would creep in
    )
    script = (
        "import sys, pytest; before = set(sys.modules); import pytest_memory.plugin; "
        f"print([m for m in {heavy!r} if m in sys.modules and m not in before])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_no_catch_all_modules() -> None:
    assert not [name for name in modules() if name.rpartition(".")[2] in ("utils", "helpers", "common", "misc")]


def test_the_architecture_page_names_every_module_that_has_a_floor_here() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = {name.removeprefix("pytest_memory.") for name in FLOORS} - {
        "pytest_memory",
        "report",
        "node",
        "cdp",
        "heap",
    }
    packages = {"load"}  # its many small modules are told of in its own docstring
    assert sorted(n for n in names if f"`{n}`" not in page and n.partition(".")[0] not in packages) == []
