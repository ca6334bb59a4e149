"""Exit statuses and last words, put into a sentence."""

from __future__ import annotations

import pytest

from pytest_memory.node.exits import describe_exit

OUT_OF_HEAP = "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"
INEFFECTIVE = "FATAL ERROR: Ineffective mark-compacts near heap limit Allocation failed - JavaScript heap out of memory"
PORT_TAKEN = "Error: listen EADDRINUSE: address already in use :::3000"


@pytest.mark.parametrize(
    ("status", "output", "what", "hint"),
    [
        (0, "", "exited with status 0", None),
        (1, "Error: no database", "exited with status 1", None),
        (7, "", "exited with status 7", None),
        (None, "", "ended with an unknown status", None),
        (-15, "", "was ended by SIGTERM (exit status -15)", None),
        (143, "", "was ended by SIGTERM (exit status 143)", None),
        (-9, "", "was ended by SIGKILL (exit status -9)", "memory limit"),
        (137, "", "was ended by SIGKILL (exit status 137)", "memory limit"),
        (-6, OUT_OF_HEAP, "ran out of heap: was ended by SIGABRT (exit status -6)", "--max-old-space-size"),
        (134, INEFFECTIVE, "ran out of heap: was ended by SIGABRT (exit status 134)", "--max-old-space-size"),
        (1, PORT_TAKEN, "found its port 3000 taken: exited with status 1", "process.env.PORT"),
        (1, "EADDRINUSE: address already in use 127.0.0.1:80", "found its port 80 taken", "process.env.PORT"),
        (9, "", "exited with status 9: node refused a command line or NODE_OPTIONS flag", None),
        (127, "", "exited with status 127: the shell did not find the command", None),
        (255, "", "exited with status 255", None),
    ],
)
def test_an_end_is_accounted_for(status: int | None, output: str, what: str, hint: str | None) -> None:
    account = describe_exit(status, output)
    assert account.what.startswith(what)
    if hint is None:
        assert account.hint is None
    else:
        assert hint in str(account.hint)
