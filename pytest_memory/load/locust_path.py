"""Prints the path of the locustfile that workers on other hosts run: the plan's, or with ``--bridge`` the one that goes
beside a locustfile of the user's.  Floor 5: writes to standard output."""

from __future__ import annotations

import sys
from pathlib import Path

PLAN = Path(__file__).with_name("locust_plan.py")
BRIDGE = Path(__file__).with_name("locust_bridge.py")

if __name__ == "__main__":
    sys.stdout.write(f"{BRIDGE if '--bridge' in sys.argv else PLAN}\n")
