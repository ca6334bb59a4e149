"""How often a baseline is wrong: false breaches of unchanged code, and planted regressions that are missed.

Runs the suite in benchmarks/baseline_suite through the real plugin, each time in a pytest of its own:

    python benchmarks/baseline_noise.py --runs 20

First a baseline is written (``--baseline-runs`` measurements of it), then each round runs the suite unchanged, with
10 % more settled heap, and with 200 bytes kept by each request, in turns.  Printed are the breaches of each, and for
every metric how far unchanged runs lay from the baseline: what the numbers in pytest_memory/metrics.py claim.
Exit status 1 when a bar is missed.

A whole measurement takes half an hour.  In pieces: ``--keep DIR`` keeps the baseline and the results of every run,
``--for 240`` begins no further run after so many seconds (exit status 3: not finished), and the same command again
goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_memory import baseline_file, metrics

SUITE = Path(__file__).parent / "baseline_suite"
PLANTS = ("unchanged", "heap +10 %", "200 B/request")
RUN_TIMEOUT_S = 900
NOT_FINISHED = 3


@dataclass
class Tally:
    """What the runs of one plant came to."""

    runs: int = 0
    found: int = 0
    breaches: list[str] = field(default_factory=list)
    other: dict[str, int] = field(default_factory=dict)
    changes: dict[str, list[float]] = field(default_factory=dict)


def main() -> int:
    arguments = parse_arguments()
    with contextlib.ExitStack() as stack:
        kept = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="baseline-noise-")))
        kept.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C: report what there is
            measure(kept, arguments)
        tallies = {plant: tally(kept, plant) for plant in PLANTS if plant in arguments.plants}
    report(tallies)
    if any(tally.runs < arguments.runs for tally in tallies.values()):
        return NOT_FINISHED
    return 0 if all(met(plant, tally) for plant, tally in tallies.items()) else 1


def measure(kept: Path, arguments: argparse.Namespace) -> None:
    """Make every run that ``kept`` does not hold yet: the baseline's first, then the plants in turns."""
    deadline = time.monotonic() + arguments.for_s
    plants = [plant for plant in PLANTS if plant in arguments.plants]
    runs = [("baseline", number) for number in range(arguments.baseline_runs)]
    runs += [(plant, number) for number, plant in itertools.product(range(arguments.runs), plants)]
    for plant, number in runs:
        file = run_file(kept, plant, number)
        if file.exists():
            continue
        if time.monotonic() > deadline:
            return
        began = time.monotonic()
        run_suite(kept / "baseline.json", file, plant, arguments.tests)
        print(f"{file.stem}: {time.monotonic() - began:.0f} s", flush=True)


def run_file(kept: Path, plant: str, number: int) -> Path:
    return kept / f"{re.sub('[^a-zA-Z0-9]+', '-', plant).strip('-')}.{number + 1:03}.json"


def tally(kept: Path, plant: str) -> Tally:
    """What all kept runs of a plant came to."""
    counted = Tally()
    for file in sorted(kept.glob(run_file(kept, plant, 0).name.replace("001", "*"))):
        count(counted, json.loads(file.read_text(encoding="utf-8"))["results"])
    return counted


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="runs of each plant (default 20)")
    parser.add_argument("--baseline-runs", type=int, default=3, help="measurements in the baseline (default 3)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep all runs there, and go on with what is there")
    parser.add_argument("--for", dest="for_s", type=float, default=float("inf"), metavar="S", help="begin no run after")
    parser.add_argument("--tests", default="test", metavar="EXPRESSION", help="pytest's -k (default: all)")
    parser.add_argument("--plants", nargs="+", choices=PLANTS, default=PLANTS, metavar="PLANT")
    return parser.parse_args()


def run_suite(baseline: Path, file: Path, plant: str, tests: str) -> None:
    """One pytest run of the suite; ``file`` appears under its name when the run was whole."""
    unfinished = file.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-k", tests]
    command += [f"--memory-baseline={baseline.absolute()}", f"--memory-json={unfinished.absolute()}"]
    if plant == "baseline":
        command.append("--memory-baseline-update")
    done = subprocess.run(
        command,
        cwd=SUITE,
        env={**os.environ, **planted(baseline, plant)},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    if done.returncode not in (0, 1) or (plant == "baseline" and done.returncode) or not unfinished.is_file():
        raise SystemExit(f"the suite did not run (status {done.returncode}):\n{done.stdout}\n{done.stderr}")
    unfinished.replace(file)


def planted(baseline: Path, plant: str) -> dict[str, str]:
    if plant == "200 B/request":
        return {"PLANT_BYTES_PER_REQUEST": "200"}
    if plant == "heap +10 %":
        idle = baseline_file.load(baseline).entries["test_suite.py::test_idle"]
        return {"PLANT_HEAP_BYTES": str(round(0.10 * idle.metrics["heap_bytes"].value))}
    return {}


def count(tally: Tally, results: list[dict[str, Any]]) -> None:
    breaches = []
    for result in results:
        test = result["test_id"].rpartition("::")[2]
        for check in result["verdict"]["checks"]:
            if not check["metric"].startswith("baseline"):
                continue
            metric, reason = check["metric"].partition(":")[2], check["reason"]
            if reason == "baseline-breach" and check["outcome"] == "critical":  # what fails a test, no warning
                breaches.append(f"{test} {metric} {check['measured']:.0f} over {check['limit']:.0f}")
            elif reason != "baseline-within":
                tally.other[f"{reason} {metric}"] = tally.other.get(f"{reason} {metric}", 0) + 1
            if "change" in check["detail"]:
                tally.changes.setdefault(f"{test} {metric}", []).append(check["detail"]["change"])
    tally.runs += 1
    tally.found += bool(breaches)
    tally.breaches.extend(breaches)


def met(plant: str, tally: Tally) -> bool:
    return tally.found == (0 if plant == "unchanged" else tally.runs)


def report(tallies: dict[str, Tally]) -> None:
    print()
    for plant, tally in tallies.items():
        what = "runs with a false breach" if plant == "unchanged" else "runs in which it was found"
        print(f"{plant:14} {tally.found} of {tally.runs} {what}{'' if met(plant, tally) else '   MISSED THE BAR'}")
        if plant == "unchanged":
            for breach in tally.breaches:
                print(f"    {breach}")
        for reason, number in sorted(tally.other.items()):
            print(f"    {reason}: {number}")
    unchanged = tallies.get("unchanged")
    if unchanged is None or not unchanged.changes:
        return
    print(f"\n{'unchanged code, difference from the baseline':52} {'sd':>12} {'largest':>12}  expected sd, at least")
    for name, changes in unchanged.changes.items():
        metric = metrics.BY_NAME[name.rpartition(" ")[2]]
        sd = statistics.pstdev(changes)
        largest = max(changes, key=abs)
        print(f"{name:52} {sd:12.4g} {largest:12.4g}  {metric.noise:g} or {metric.noise_percent:g} % ({metric.unit})")


if __name__ == "__main__":
    sys.exit(main())
