"""Where a command's words go: stdout for results, stderr for the rest.  Floor 7.

Colour only on a terminal and never under NO_COLOR; a reader that has gone away (``| head``) silences the output and
changes nothing else, so that the exit status still tells the verdict.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import IO, Any

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
MIN_WIDTH = 40
_FILE_WIDTH = 160


class Output:
    """What a command prints to.  ``as_json`` leaves stdout to one JSON document: `line` and `lines` say nothing."""

    def __init__(self, *, as_json: bool = False, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self.as_json = as_json
        self._out = sys.stdout if out is None else out
        self._err = sys.stderr if err is None else err
        for stream in (self._out, self._err):
            # A terminal that cannot show a character gets a replacement, not a traceback.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="replace")
        self.is_terminal = not as_json and _is_terminal(self._out)
        self.can_show_progress = _is_terminal(self._err) and os.environ.get("TERM") != "dumb"
        self._color = self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    @property
    def width(self) -> int:
        """Columns to fit lines into, at least 40: the terminal's, or COLUMNS; a file is not cut short."""
        if not self.is_terminal and not os.environ.get("COLUMNS"):
            return _FILE_WIDTH
        return max(shutil.get_terminal_size().columns, MIN_WIDTH)

    @property
    def color(self) -> bool:
        return self._color

    def line(self, text: str = "", style: Mapping[str, bool] | str = "") -> None:
        """One line of the result.  ``style``: "red bold", or pytest's markup names."""
        if not self.as_json:
            self._write(self._out, self.styled(text, style) + "\n")

    def lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.line(line)

    def wrapped(self, text: str, style: Mapping[str, bool] | str = "") -> None:
        """A sentence, broken at the terminal's width."""
        from pytest_memory.report.text import wrap

        for line in wrap(text, self.width):
            self.line(line, style)

    def json(self, document: object) -> None:
        """The result for programs: one JSON document, only under ``--json``; a number nobody knows is null there."""
        if self.as_json:
            text = json.dumps(_without_infinity(document), ensure_ascii=False, indent=2, default=str, allow_nan=False)
            self._write(self._out, text + "\n")

    def raw(self, text: str) -> None:
        """Text as it is, whatever the mode: scripts and schemas."""
        self._write(self._out, text)

    def note(self, text: str) -> None:
        """A line for the person at the terminal: not part of the result."""
        self._write(self._err, text + "\n")

    def styled(self, text: str, style: Mapping[str, bool] | str = "") -> str:
        """The text in the given style, or as it is where there is no colour."""
        names = style.split() if isinstance(style, str) else [name for name, on in style.items() if on]
        codes = ";".join(_STYLES[name] for name in names if name in _STYLES)
        return f"\x1b[{codes}m{text}\x1b[0m" if codes and self._color else text

    def flush(self) -> None:
        """Push out what is buffered; a closed pipe is no error."""
        for stream in (self._out, self._err):
            self._guarded(stream, stream.flush)

    def _write(self, stream: IO[str], text: str) -> None:
        self._guarded(stream, lambda: stream.write(text))

    def _guarded(self, stream: IO[str], action: Any) -> None:
        try:
            action()
        except BrokenPipeError:
            _silence(stream)
        except ValueError:
            pass  # closed by somebody: there is nobody to tell


def _without_infinity(node: Any) -> Any:
    """Infinity and NaN, the ends of an interval that is not known, have no number in JSON; most parsers refuse them."""
    if isinstance(node, float):
        return node if math.isfinite(node) else None
    if isinstance(node, Mapping):
        return {key: _without_infinity(value) for key, value in node.items()}
    return [_without_infinity(value) for value in node] if isinstance(node, (list, tuple)) else node


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except ValueError:
        return False


def _silence(stream: IO[str]) -> None:
    """Let the file descriptor lead nowhere, so that Python's own flush at exit does not complain either."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
