"""``python -m pytest_memory`` and the ``pytest-memory`` command.  Floor 8."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the entry point of the ``pytest-memory`` script."""
    from pytest_memory.cli.front import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
