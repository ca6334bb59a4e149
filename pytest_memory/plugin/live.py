"""The live line in pytest: behind what pytest has written of the test, gone before it goes on.  Floor 7.

On a terminal it shows whatever lasts: leak tests, settling, snapshots, load runs, and that a test measures.  pytest's
own place on the line is kept (cursor saved and restored), so that its dot or word comes where it belongs.  Where what
a test prints goes to the terminal, too (``-s``, ``log_cli``), it would meet the line, which is that of load runs alone
then; without a terminal ``-s`` gives a plain line of them now and then.  xdist's workers have no terminal reporter, and
stay silent.  What the line says is `report.progress`'s.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_memory.plugin.stash import LINE

if TYPE_CHECKING:
    from pytest_memory.load.progress import LoadProgress
    from pytest_memory.progress import Progress

Look = Callable[[], "Progress | None"]

# A log is not rewritten in place: it gets fewer lines.
PLAIN_EVERY_S = 5.0
_LOOK_EVERY_S = 0.2

_SAVE, _RESTORE = "\x1b7", "\x1b8"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"  # what does not fit is cut off at the edge
_ERASE_TO_END = "\x1b[K"
_INDENT = "  "
_USUAL_COLUMNS = 80  # of a terminal that does not tell


@contextlib.contextmanager
def load_line(config: pytest.Config) -> Iterator[Callable[[LoadProgress], None] | None]:
    """Where this session shows how far a load run is; None when nobody would see it."""
    line = _line_of(config)
    if line is not None:
        with line.taking_load() as take:
            yield take
    else:
        reporter = _seen_reporter(config)
        yield Plainly(reporter) if reporter is not None and _is_uncaptured(config) else None


@contextlib.contextmanager
def watching(config: pytest.Config, look: Look) -> Iterator[None]:
    """Within, the session's line shows what ``look`` answers, where there is a terminal that only pytest writes to."""
    line = _line_of(config)
    if line is None or not is_watched(config):
        yield
        return
    line.watch(look)
    try:
        yield
    finally:
        line.forget(look)


def is_watched(config: pytest.Config) -> bool:
    """Whether somebody sees what goes on `watching`."""
    return _line_of(config) is not None and not _shows_what_tests_print(config)


def _line_of(config: pytest.Config) -> InPlace | None:
    """The one line of a session, made for whoever comes first; None without a terminal, or under ``-q``."""
    if LINE not in config.stash:
        line = config.stash[LINE] = _make_line(config)
        if line is not None:
            config.pluginmanager.register(line, "memory-line")
            config.add_cleanup(line.close)
    return config.stash[LINE]


def _make_line(config: pytest.Config) -> InPlace | None:
    reporter = _seen_reporter(config)
    if reporter is None or not reporter.isatty or os.environ.get("TERM") == "dumb":
        return None
    writer = config.get_terminal_writer()
    return InPlace(_duplicate_of_stdout(config), sys.stdout.encoding, column=lambda: writer.width_of_current_line)


def _seen_reporter(config: pytest.Config) -> pytest.TerminalReporter | None:
    reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    return None if config.get_verbosity() < 0 else reporter


def _is_uncaptured(config: pytest.Config) -> bool:
    return bool(config.getoption("capture", "no") == "no")


def _shows_what_tests_print(config: pytest.Config) -> bool:
    if config.getoption("capture", "no") in ("no", "tee-sys"):
        return True
    if not config.pluginmanager.hasplugin("logging"):
        return False
    return config.getoption("log_cli_level", None) is not None or bool(config.getini("log_cli"))


def _duplicate_of_stdout(config: pytest.Config) -> int:
    """A descriptor of what pytest writes to, which stays that while the output of a test is captured."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext():
        return os.dup(sys.stdout.fileno())


class InPlace:
    """Rewrites the rest of pytest's current line; a plugin of its own, to be gone before pytest writes there.

    A thread looks at what goes on, so that nothing that measures ever waits for the terminal."""

    def __init__(self, fd: int, encoding: str, *, column: Callable[[], int]) -> None:
        self._fd = fd
        self._encoding = encoding
        self._column = column
        # Now, for the first look comes in the middle of a measurement.
        from pytest_memory.report import progress

        self._words = progress
        self._lock = threading.Lock()
        self._looks: list[Look] = []
        self._load: LoadProgress | None = None
        self._hidden = False
        self._shown = ""
        self._over: threading.Event | None = None

    def watch(self, look: Look) -> None:
        """Show what ``look`` answers, several times a second, until `forget`."""
        with self._lock:
            self._looks.append(look)
            self._hidden = False
            if self._over is None:
                self._over = threading.Event()
                threading.Thread(target=self._keep_looking, args=(self._over,), name="memory line", daemon=True).start()

    def forget(self, look: Look) -> None:
        with self._lock:
            self._looks.remove(look)
            if not self._looks and self._over is not None:
                self._over.set()
                self._over = None
        self._draw()

    @contextlib.contextmanager
    def taking_load(self) -> Iterator[Callable[[LoadProgress], None]]:
        """What to call with the progress of load runs, from whichever thread they have."""
        open_ = True

        def take(progress: LoadProgress) -> None:
            if open_:
                self._load = None if progress.ended else progress
                self._draw()

        self._hidden = False
        try:
            yield take
        finally:
            open_ = False
            self._load = None
            self._draw()

    def hide(self) -> None:
        """Nothing until somebody wants to be watched again."""
        with self._lock:
            self._hidden = True
            self._write("")

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            if self._over is not None:
                self._over.set()
            os.close(self._fd)
            self._fd = -1

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "setup" or not report.passed:  # the setup that passed is where the line began
            self.hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self.hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_enter_pdb(self) -> None:
        self.hide()

    def _keep_looking(self, over: threading.Event) -> None:
        while not over.wait(_LOOK_EVERY_S):
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            self._write("" if self._hidden else self._text())

    def _text(self) -> str:
        shown = self._words.current([look() for look in self._looks], self._load)
        if shown is None:
            return ""
        columns = self._columns()
        text = self._words.progress_line(shown, columns - self._column() % columns - len(_INDENT) - 1)
        return _INDENT + text if text else ""

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._fd).columns or _USUAL_COLUMNS
        except OSError:
            return _USUAL_COLUMNS

    def _write(self, text: str) -> None:
        if text == self._shown or self._fd < 0:
            return
        self._shown = text
        content = f"{_SAVE}{_NO_WRAP}{text}{_ERASE_TO_END}{_WRAP}{_RESTORE}".encode(self._encoding, "replace")
        with contextlib.suppress(OSError):  # a terminal that has gone away is no failure of the test
            os.write(self._fd, content)


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
