"""Why a Node process ended: exit statuses and last words put into a sentence and a next step.

What it is: one pure function over an exit status and the tail of the output.
What it is not: a wait for the process (``node.process``).  Floor 1.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_HEAP_LIMIT = re.compile(r"FATAL ERROR: .*(?:heap out of memory|Allocation failed)", re.IGNORECASE)
_PORT_TAKEN = re.compile(r"EADDRINUSE[^\n]*?(?::(?P<port>\d+)\b|port: (?P<port2>\d+))")
LAST_BREATH_S: Final = 2.0
"""The inspector's socket breaks, and requests fail, a moment before the process is gone: wait before asking whether."""

_SHELL_SIGNAL_BASE = 128  # sh and npm report a child's death by signal N as exit status 128 + N

# Node's own statuses, https://nodejs.org/api/process.html#exit-codes: those that need a word of explanation.
_NODE_STATUS: Final = {
    9: "node refused a command line or NODE_OPTIONS flag",
    10: "a JavaScript evaluation failed while node started",
    12: "node refused the inspector's port",
    13: "a top-level await never finished",
    126: "the command is not executable",
    127: "the shell did not find the command",
}


@dataclass(frozen=True, slots=True)
class ExitAccount:
    """``what`` completes the sentence "the app …"; ``hint`` is the next step where there is a particular one."""

    what: str
    hint: str | None = None


def describe_exit(status: int | None, output: str) -> ExitAccount:
    """Account for an exit status as subprocess reports it (-N for signal N) and the output's tail.

    None means that the status is unknown: the process was not our child.
    """
    how = _describe_status(status)
    for cause in _CAUSES:
        if account := cause(how, output):
            return account
    if status in (-signal.SIGKILL, _SHELL_SIGNAL_BASE + signal.SIGKILL):
        return ExitAccount(how, "nobody but root, a container's memory limit or a CI's cleaning kills so")
    return ExitAccount(how)


def _describe_status(status: int | None) -> str:
    if status is None:
        return "ended with an unknown status"
    number = -status if status < 0 else status - _SHELL_SIGNAL_BASE
    try:
        return f"was ended by {signal.Signals(number).name} (exit status {status})"
    except ValueError:
        pass  # an ordinary status
    said = _NODE_STATUS.get(status)
    return f"exited with status {status}" + (f": {said}" if said else "")


def _out_of_heap(how: str, output: str) -> ExitAccount | None:
    if not _HEAP_LIMIT.search(output):
        return None
    return ExitAccount(
        f"ran out of heap: {how}",
        "a leak, or a limit too low for the load: see --max-old-space-size in node_options",
    )


def _port_taken(how: str, output: str) -> ExitAccount | None:
    match = _PORT_TAKEN.search(output)
    if match is None:
        return None
    port = match["port"] or match["port2"]
    return ExitAccount(
        f"found its port {port} taken: {how}",
        "let the app listen on process.env.PORT or on {port} in its arguments: a free port is chosen then",
    )


_CAUSES: Final[tuple[Callable[[str, str], ExitAccount | None], ...]] = (_out_of_heap, _port_taken)
