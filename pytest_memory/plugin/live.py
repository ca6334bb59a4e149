"""The live line of a load run in pytest: behind what pytest has written of the test, gone when the run ends.  Floor 7.

pytest's own place on the line is kept (cursor saved and restored), so that its dot or word comes where it belongs.
Without a terminal, but with ``-s``, whoever reads along gets a plain line now and then.  xdist's workers have no
terminal reporter, and stay silent.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from pytest_memory.load.progress import LoadProgress

# A log is not rewritten in place: it gets fewer lines.
PLAIN_EVERY_S = 5.0

_SAVE, _RESTORE = "\x1b7", "\x1b8"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"  # what does not fit is cut off at the edge
_ERASE_TO_END = "\x1b[K"


@contextlib.contextmanager
def load_line(config: pytest.Config) -> Iterator[Callable[[LoadProgress], None] | None]:
    """Where this session shows how far a load run is; None when nobody would see it."""
    reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.get_verbosity() < 0:
        yield None
    elif reporter.isatty and os.environ.get("TERM") != "dumb":
        line = InPlace(_duplicate_of_stdout(config), sys.stdout.encoding)
        try:
            yield line
        finally:
            line.close()
    else:
        yield Plainly(reporter) if config.getoption("capture", "no") == "no" else None


def _duplicate_of_stdout(config: pytest.Config) -> int:
    """A descriptor of what pytest writes to, which stays that while the output of a test is captured."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext():
        return os.dup(sys.stdout.fileno())


class InPlace:
    """Rewrites the rest of pytest's current line, from whichever thread a run has."""

    def __init__(self, fd: int, encoding: str) -> None:
        self._fd = fd
        self._encoding = encoding
        self._lock = threading.Lock()

    def __call__(self, progress: LoadProgress) -> None:
        text = "" if progress.ended else f"  load {progress}"
        content = f"{_SAVE}{_NO_WRAP}{text}{_ERASE_TO_END}{_WRAP}{_RESTORE}".encode(self._encoding, "replace")
        with self._lock, contextlib.suppress(OSError):  # a terminal that has gone away is no failure of the test
            if self._fd >= 0:
                os.write(self._fd, content)

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            os.close(self._fd)
            self._fd = -1


class Plainly:
    """Writes a line every `PLAIN_EVERY_S` seconds of a run."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter
        self._next_s = 0.0

    def __call__(self, progress: LoadProgress) -> None:
        if progress.ended:
            self._next_s = 0.0
        elif time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + PLAIN_EVERY_S
            self._reporter.write_line(f"load {progress}")
