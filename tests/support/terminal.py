"""Running a command on a terminal of its own, as a person sees it: a pseudo-terminal, with a deadline."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest


def on_a_terminal(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    columns: int = 0,
    timeout_s: float = 120.0,
    typed: Sequence[tuple[str, str]] = (),
) -> str:
    """What the command writes to a terminal of so many columns (0: one that does not tell).

    ``typed``: what is waited for (a regular expression) and then typed, one after the other."""
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals of this kind")
    import fcntl
    import termios

    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    told = {**env, "TERM": "xterm"}
    with subprocess.Popen(
        command, cwd=cwd, stdin=its, stdout=its, stderr=its, env=told, start_new_session=True
    ) as process:
        os.close(its)
        late = threading.Timer(timeout_s, lambda: os.killpg(process.pid, signal.SIGKILL))
        late.start()
        written, seen = b"", 0
        waiting = list(typed)
        try:
            while piece := os.read(ours, 65536):
                written += piece
                while waiting and (found := re.search(waiting[0][0].encode(), written[seen:])):
                    seen += found.end()
                    os.write(ours, waiting.pop(0)[1].encode())
        except OSError:  # Linux: nobody is left on the other side
            pass
        finally:
            os.close(ours)
            process.wait(60)
            late.cancel()
    return written.decode()
