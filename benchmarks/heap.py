"""Speed and correctness of snapshot analysis beside its peers: memlab and the DevTools heap snapshot worker.

    python benchmarks/heap.py [--quick] [--rounds N] [--only NAME] [--nodes 20=PATH,24=PATH] [--cache DIR]

Makes its snapshots with real Nodes (a synthetic heap of three sizes, a linked list a million links deep, a type
checker's program, a bundler's compilation, 25 browser-like windows), installs both peers from npm, then lets the
three analyse each file in turn, every run in a process of its own: parse → dominators → retained sizes → class
table.  In one more run each, not timed, all three also write down their answers, which must be equal to the byte (what
differs is printed, and the exit status is 1):

- both peers: node and edge counts, retained size of the root (memlab's under its own rules, as below);
- DevTools: count, shallow and retained size of every class, shallow and retained size and distance of 1,000 random
  objects, the sum of all distances, the statistics;
- memlab (under its own rules, see heap.graph.Rules): count, size and summed retained sizes of the 200 commonest
  names, shallow and retained size of the same 1,000 objects.

Everything lies in a cache directory outside of the project; a second run makes and installs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "heap"
QUICK = ("synthetic-10", "jsdom")
PEERS = ("devtools", "memlab")
MEMLAB_PACKAGES = ("@memlab/heap-analysis@2", "@memlab/core@2")
DEVTOOLS_PACKAGES = ("chrome-devtools-frontend@1.0.1705227", "esbuild@0.25")
PROGRAM_PACKAGES = ("typescript@5", "webpack@5", "jsdom@24")
TIMEOUT_S = 1200.0
LEAST_ANALYSIS_NODE = 22
"""The DevTools worker calls Promise.withResolvers."""
IDS = 1000
LOADS = ((10.0, 1000), (10.0, 0), (30.0, 0))
"""Before a first analysis: seconds and requests/s; 0 is flat out, which leaves two CPUs no time to compile."""

# name → script and its arguments behind the output file
SNAPSHOTS: dict[str, tuple[str, ...]] = {
    "synthetic-10": ("make_synthetic.js", "10"),
    "synthetic-100": ("make_synthetic.js", "105"),
    "jsdom": ("make_real.js", "jsdom"),
    "typescript": ("make_real.js", "typescript"),
    "webpack": ("make_real.js", "webpack"),
    "list-500": ("make_synthetic.js", "500", "list"),
    "synthetic-500": ("make_synthetic.js", "500"),
}
_LOCALES = "export const LOCALES=['en-US'],BUNDLED_LOCALES=['en-US'],DEFAULT_LOCALE='en-US',REMOTE_FETCH_PATTERN='',LOCAL_FETCH_PATTERN='';"  # noqa: E501


@dataclass(frozen=True)
class Run:
    """One analysis of one file: what it took, and how large a graph it found."""

    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    nodes: int
    edges: int
    root_retained_bytes: int


class Bench:
    def __init__(self, cache: Path, nodes: dict[str, str]) -> None:
        self.cache = cache
        self.nodes = nodes
        self.analysis_node = nodes[max(nodes, key=int)]

    # --- what is needed ---

    def install(self, name: str, packages: tuple[str, ...]) -> Path:
        """A directory with npm packages in it.  No install scripts: memlab's would download a browser."""
        target = self.cache / name
        if not (target / "installed").exists():
            target.mkdir(parents=True, exist_ok=True)
            (target / "package.json").write_text('{"private": true}')
            command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", *packages]
            subprocess.run(command, cwd=target, check=True, timeout=TIMEOUT_S)
            (target / "installed").touch()
        return target

    def devtools_bundle(self) -> Path:
        """The worker's TypeScript in one file.  Its generated list of locales is not in the package: a stub does."""
        target = self.install("devtools", DEVTOOLS_PACKAGES)
        bundle = target / "bundle.mjs"
        if not bundle.exists():
            package = target / "node_modules" / "chrome-devtools-frontend"
            (package / "front_end/core/i18n/locales.js").write_text(_LOCALES)
            shutil.copy(HERE / "devtools_entry.mjs", target)
            esbuild = target / "node_modules" / ".bin" / "esbuild"
            command = [str(esbuild), "devtools_entry.mjs", "--bundle", "--platform=node", "--format=esm"]
            subprocess.run(
                [*command, f"--outfile={bundle}", "--log-level=error"], cwd=target, check=True, timeout=TIMEOUT_S
            )
        return bundle

    def snapshot(self, name: str, major: str) -> Path:
        target = self.cache / "snapshots" / f"{name}-node{major}.heapsnapshot"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            script, *arguments = SNAPSHOTS[name]
            if script == "make_real.js":
                arguments.append(str(self.install("programs", PROGRAM_PACKAGES)))
            part = target.with_suffix(".part")
            command = [self.nodes[major], "--max-old-space-size=8000", str(HERE / script), str(part), *arguments]
            subprocess.run(command, check=True, timeout=TIMEOUT_S)
            part.rename(target)
        return target

    # --- runs ---

    def run(self, who: str, file: Path, answers: Path | None = None, ids: Path | None = None) -> Run:
        extra = [str(answers), str(ids)] if answers else []
        node = [self.analysis_node, "--max-old-space-size=8000"]
        if who == "ours":
            command = [sys.executable, str(HERE / "ours.py"), str(file), *extra]
        elif who == "devtools":
            command = [*node, str(HERE / "devtools_peer.mjs"), str(self.devtools_bundle()), str(file), *extra]
        else:
            modules = self.install("memlab", MEMLAB_PACKAGES)
            command = [*node, str(HERE / "memlab_peer.js"), str(modules), str(file), *extra]
        warm_page_cache(file)
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
        summary = json.loads(done.stdout.splitlines()[-1])
        return Run(
            seconds=summary["seconds"],
            cpu_seconds=summary["cpu_seconds"],
            peak_rss_bytes=summary["peak_rss_bytes"],
            nodes=summary["nodes"],
            edges=summary["edges"],
            root_retained_bytes=summary["total_retained"],
        )

    def compare_two(self, major: str) -> dict[str, Any]:
        """Two files of about 300 MB, loaded and compared."""
        pair = [self.snapshot_pair(major, which) for which in (0, 1)]
        for file in pair:
            warm_page_cache(file)
        command = [sys.executable, str(HERE / "ours.py"), "--compare", *map(str, pair)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
        summary: dict[str, Any] = json.loads(done.stdout)
        return {**summary, "bytes": [file.stat().st_size for file in pair]}

    def first_analysis(self, file: Path, load: Sequence[float] = ()) -> dict[str, float]:
        """Seconds of one whole analysis with an empty and with a filled cache of compiled kernels.

        ``load``: behind so many seconds of load on an app (at so many requests/s; 0 is flat out), beside which
        kernels are compiled."""
        warm_page_cache(file)
        return self._cold_and_warm("--first", str(file), *([self.analysis_node, *map(str, load)] if load else []))

    def explained_leak(self) -> dict[str, float]:
        """Seconds from where a leak is called to where it is explained, likewise."""
        return self._cold_and_warm("--explain", self.analysis_node)

    def _cold_and_warm(self, *arguments: str) -> dict[str, float]:
        seconds = {}
        with tempfile.TemporaryDirectory(prefix="heap-bench-") as kernels:
            for state in ("cold", "warm"):
                done = subprocess.run(
                    [sys.executable, str(HERE / "ours.py"), *arguments],
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=TIMEOUT_S,
                    env={**os.environ, "NUMBA_CACHE_DIR": kernels},
                )
                found = json.loads(done.stdout.splitlines()[-1])
                seconds[state] = round(float(found["seconds"]), 2)
                if "rps" in found:
                    seconds[f"{state} requests/s"] = round(found["rps"])
        return seconds

    def snapshot_pair(self, major: str, which: int) -> Path:
        target = self.cache / "snapshots" / f"pair-{which}-node{major}.heapsnapshot"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            parts = [target.with_name(f"pair-{at}-node{major}.part") for at in (0, 1)]
            script = str(HERE / "make_pair.js")
            command = [self.nodes[major], "--max-old-space-size=8000", script, *map(str, parts), "300"]
            subprocess.run(command, check=True, timeout=TIMEOUT_S)
            for at, part in enumerate(parts):
                part.rename(target.with_name(f"pair-{at}-node{major}.heapsnapshot"))
        return target


def warm_page_cache(file: Path) -> None:
    """Nobody is to wait for the disk."""
    with open(file, "rb") as stream:
        while stream.read(1 << 24):
            pass


# --- equal to the byte ----------------------------------------------------------------------------------------------


def check_answers(bench: Bench, file: Path) -> list[str]:
    """All three answers to one file; a list of differences, empty when equal."""
    from pytest_memory.heap import HeapSnapshot

    with tempfile.TemporaryDirectory(prefix="heap-bench-") as scratch:
        node_ids = HeapSnapshot.load(file).graph.snapshot.node_id
        ids = Path(scratch) / "ids.json"
        chosen = random.Random(7).sample(range(len(node_ids)), min(IDS, len(node_ids)))
        ids.write_text(json.dumps([int(node_ids[at]) for at in chosen]))
        del node_ids
        found, runs = {}, {}
        for who in ("ours", *PEERS):
            answers = Path(scratch) / f"{who}.json"
            runs[who] = bench.run(who, file, answers, ids)
            found[who] = json.loads(answers.read_text())
    return [
        *differences_in_counts(runs, found["ours"]["memlab_total"]),
        *differences_to_devtools(found["ours"], found["devtools"]),
        *differences_to_memlab(found["ours"], found["memlab"]),
    ]


def differences_in_counts(runs: dict[str, Run], root_retained_memlab_bytes: int) -> list[str]:
    """Nodes, edges and what the root retains: ours beside each peer's, the last under the peer's own rules."""
    ours = runs["ours"]
    roots = {"devtools": ours.root_retained_bytes, "memlab": root_retained_memlab_bytes}
    found = []
    for who in PEERS:
        theirs = runs[who]
        pairs = (
            ("nodes", ours.nodes, theirs.nodes),
            ("edges", ours.edges, theirs.edges),
            ("bytes retained by the root", roots[who], theirs.root_retained_bytes),
        )
        found += [f"{what}: ours {mine:,}, {who} {other:,}" for what, mine, other in pairs if mine != other]
    return found


def differences_to_devtools(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    found = []
    mine: dict[str, list[list[int]]] = defaultdict(list)
    for key, *values in ours["classes"]:
        mine["," + key if isinstance(key, str) else ",".join(map(str, key))].append(values)
    others: dict[str, list[list[int]]] = defaultdict(list)
    for key, *values in theirs["plain"]:
        others[key].append(values)
    for key in mine.keys() | others.keys():
        left, right = mine.get(key, []), others.get(key, [])
        if len(right) > 1:  # one name held twice in its string table; the parts' retained sizes do not add up
            left, right = [[sum(row[at] for row in rows) for at in (0, 1)] for rows in (left, right)]  # type: ignore[misc]
        if left != right:
            found.append(f"class {key!r}: ours {left}, DevTools {right}")
    if sorted(ours["objects"]) != sorted(theirs["objects"]):
        unequal = [pair for pair in zip(sorted(ours["objects"]), sorted(theirs["objects"])) if pair[0] != pair[1]]
        found.append(f"{len(unequal)} objects differ from DevTools, first {unequal[:1]}")
    if ours["distances"] != theirs["distances"]:
        found.append(f"sum of distances {ours['distances']}, DevTools {theirs['distances']}")
    pie, other = ours["statistics"], theirs["statistics"]
    pairs = (
        (pie["total_bytes"], other["total"]),
        (pie["native_bytes"], other["native"]["total"]),
        (pie["typed_array_bytes"], other["native"]["typedArrays"]),
        (pie["code_bytes"], other["v8heap"]["code"]),
        (pie["js_array_bytes"], other["v8heap"]["jsArrays"]),
        (pie["string_bytes"], other["v8heap"]["strings"]),
        (pie["system_bytes"], other["v8heap"]["system"]),
    )
    return found + [f"statistics: ours {a}, DevTools {b}" for a, b in pairs if a != b]


def differences_to_memlab(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    found = []
    others: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for kind, name, *values in theirs["names"]:
        # memlab renames what is detached, we do not: put them together again
        total = others[kind, name.removeprefix("Detached ")]
        total[:] = [a + b for a, b in zip(total, values)]
    for kind, name, *values in ours["memlab_names"]:
        if others[kind, name.removeprefix("Detached ")] != values:
            found.append(f"{kind} {name[:40]!r}: ours {values}, memlab {others[kind, name]}")
    if sorted(ours["memlab_objects"]) != sorted(theirs["objects"]):
        found.append("objects differ from memlab")
    return found


# --- the front ------------------------------------------------------------------------------------------------------


def measure(bench: Bench, name: str, major: str, rounds: int) -> tuple[list[str], list[str]]:
    file = bench.snapshot(name, major)
    runs: dict[str, list[Run]] = defaultdict(list)
    for _ in range(rounds):  # interleaved: a busy minute hits all three
        for who in ("ours", *PEERS):
            runs[who].append(bench.run(who, file))
    cells = [f"{name}, Node {major}", f"{file.stat().st_size / 1e6:.0f} MB"]
    for who in ("ours", *PEERS):
        seconds = statistics.median(run.seconds for run in runs[who])
        cpu = statistics.median(run.cpu_seconds for run in runs[who])
        cells.append(f"{seconds:.2f} s, {cpu:.2f} s CPU, {max(run.peak_rss_bytes for run in runs[who]) / 1e6:.0f} MB")
    for who in PEERS:
        ratios = [theirs.seconds / mine.seconds for mine, theirs in zip(runs["ours"], runs[who])]
        cpu_ratios = [theirs.cpu_seconds / mine.cpu_seconds for mine, theirs in zip(runs["ours"], runs[who])]
        cells.append(f"{statistics.median(ratios):.1f}× ({statistics.median(cpu_ratios):.1f}× CPU)")
    return cells, check_answers(bench, file)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small snapshots, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="snapshots whose name contains this")
    parser.add_argument("--nodes", default="", help="major=path,… (default: the node on PATH)")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "pytest-memory-bench-heap")
    return parser.parse_args()


def find_nodes(text: str) -> dict[str, str]:
    if text:
        return dict(pair.split("=", 1) for pair in text.split(","))
    node = shutil.which("node") or sys.exit("no node on PATH; name one with --nodes 22=/path/to/node")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True, timeout=60).stdout
    return {version.strip().lstrip("v").split(".")[0]: node}


def main() -> int:
    options = parse_arguments()
    bench = Bench(options.cache, find_nodes(options.nodes))
    if max(map(int, bench.nodes)) < LEAST_ANALYSIS_NODE:
        sys.exit(
            f"Node {', '.join(bench.nodes)} cannot run the DevTools worker; it needs {LEAST_ANALYSIS_NODE} or later "
            "(--nodes 24=/path/to/node)"
        )
    names = [name for name in SNAPSHOTS if not options.quick or name in QUICK]
    names = [name for name in names if not options.only or options.only in name]
    failures = []
    print("| snapshot | file | ours | DevTools worker | memlab | DevTools / ours | memlab / ours | equal |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        for major in bench.nodes:
            cells, differences = measure(bench, name, major, 1 if options.quick else options.rounds)
            failures += [f"{cells[0]}: {difference}" for difference in differences]
            print("| " + " | ".join([*cells, "to the byte" if not differences else "NO"]) + " |", flush=True)
    if not options.quick and not options.only:
        for major in bench.nodes:
            print(f"\ncompare, Node {major}: {json.dumps(bench.compare_two(major))}", flush=True)
    for failure in failures:
        print(failure)
    file = bench.snapshot(QUICK[0], next(iter(bench.nodes)))
    print(f"\nfirst analysis: {json.dumps(bench.first_analysis(file))}", flush=True)
    for load_s, rate in () if options.quick else LOADS:
        when = f"{load_s:g} s of load, {f'{rate} requests/s' if rate else 'flat out'}"
        print(f"first analysis after {when}: {json.dumps(bench.first_analysis(file, (load_s, rate)))}", flush=True)
    if not options.quick:
        print(f"a leak explained: {json.dumps(bench.explained_leak())}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(HERE.parent.parent))
    sys.path.insert(0, str(HERE.parent.parent))
    sys.exit(main())
