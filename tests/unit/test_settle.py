"""What settling reads from the names of threads, and what it makes of refusals; the readings themselves are tested
on a real Node."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from pytest_memory import settle
from pytest_memory.settle import _thread_of


@pytest.mark.parametrize(
    ("title", "thread"),
    [("[worker 3] resize 7", "3"), ("[worker 12]", "12"), ("Worker 3", "3"), ("", ""), ("resize 7", "")],
)
def test_a_thread_is_known_by_its_number(title: str, thread: str) -> None:
    assert _thread_of(title) == thread


def test_a_child_whose_descriptors_are_refused_hides_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a browser's sandbox, which runs as another user; root, as tests may be, is refused nothing."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        own = psutil.Process.num_fds

        def refuse(process: psutil.Process) -> int:
            if process.pid == child.pid:
                raise psutil.AccessDenied(process.pid)
            return own(process)

        monkeypatch.setattr(psutil.Process, "num_fds", refuse)
        me = os.getpid()
        rss_bytes, fds = settle._read_processes([me, child.pid], me)
        assert fds == own(psutil.Process())
        assert rss_bytes > psutil.Process().memory_info().rss * 0.5
        assert settle._read_processes([child.pid], child.pid)[1] is None, "the app's own are asked for"
        child.communicate(b"\n")
