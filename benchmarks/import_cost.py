"""What the installed but unused plugin costs every pytest run of an environment.

Runs ``pytest --co -q`` on an empty project with this plugin alone and with none, in turn, and prints both medians and
the median of the paired differences.  Other plugins of the environment are left out: what they import too would not
be counted as ours, and their seconds of noise would be.  Bytecode is written and used, as that of an installed package
is, whatever PYTHONDONTWRITEBYTECODE says here.  Bar: at most 30 ms more.

    python benchmarks/import_cost.py [--pairs 20]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

BAR_MS = 30.0
OURS = ("-p", "pytest_memory.plugin")


def run_once(directory: str, *args: str) -> float:
    """Seconds of one collection; CPU time of the child, which a busy machine does not stretch as it does wall time."""
    import resource

    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "--co", "-q", "-p", "no:cacheprovider", *args, directory],
        env={**env, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return min(wall_s, cpu_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as directory:
        run_once(directory, *OURS)
        run_once(directory)
        measured = [(run_once(directory, *OURS), run_once(directory)) for _ in range(pairs)]
    with_ms = statistics.median(one for one, _ in measured) * 1000
    without_ms = statistics.median(other for _, other in measured) * 1000
    more_ms = statistics.median(one - other for one, other in measured) * 1000
    print(f"pytest --co -q on an empty project, {pairs} pairs (CPU time)")
    print(f"  with the plugin     {with_ms:7.1f} ms")
    print(f"  without the plugin  {without_ms:7.1f} ms")
    print(f"  more                {more_ms:7.1f} ms   bar: at most {BAR_MS:.0f} ms")
    return 0 if more_ms <= BAR_MS else 1


if __name__ == "__main__":
    raise SystemExit(main())
