"""A small process that outlives a killed pytest just long enough to end the app it had started.

What it is: a program run as ``python -I -S guardian.py RUN_DIR VARIABLE`` beside each started app.  Its standard
input is a pipe whose only writer is the process that started the app.  The words written there are "PID" or
"PID:START", the leader of the app's session and when it started; the word "done" is a good-bye.  End of file without
it means that the writer died (SIGKILL, os._exit, a crash): the guardian then ends the app's whole session and removes
its private directory.
What it is not: the ordinary way to stop an app (``node.tree``).  Floor 5; the standard library only, for the start
has to cost milliseconds.

Why so, and not PR_SET_PDEATHSIG: that signal comes when the *thread* that forked ends (an app started from a
helper thread would be shot in the middle of a test), must be set between fork and exec, where running Python in a
threaded process may deadlock, and reaches only the direct child, which with ``npm start`` is npm.  atexit and
signal handlers do not run on SIGKILL, and a plugin should not take over signals.  A pipe works from any thread, on
any Unix, for any way to die.  A forked child of pytest may hold a copy of the pipe, so the parent's pid is
watched as well.
"""

import os
import select
import shutil
import signal
import sys
import time

_POLL_S = 1.0  # of the parent's pid, for the rare case that somebody else keeps the pipe open
_TERM_GRACE_S = 1.0
_KILL_ROUNDS = 20  # 50 ms each: a killed tree is gone at once, unless it forks faster than we look


def main() -> None:
    run_dir, variable = sys.argv[1], sys.argv[2]
    for interruption in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(interruption, signal.SIG_IGN)  # a Ctrl-C or a CI's cancel is meant for pytest
    words = _read_words()
    if "done" in words:
        return
    marker = f"{variable}={run_dir}/".encode()
    sessions = _parse_sessions(words)
    _end(sessions, marker)
    shutil.rmtree(run_dir, ignore_errors=True)


def _read_words() -> list[str]:
    """What the starter wrote, once it is gone."""
    data = b""
    parent = os.getppid()
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], _POLL_S)
        if readable:
            chunk = os.read(0, 4096)
            if not chunk:
                break
            data += chunk
    return data.decode("ascii", "replace").split()


def _parse_sessions(words: list[str]) -> dict[int, str]:
    """Leaders of sessions, and their start times; "" where that is not known."""
    pairs = (word.partition(":") for word in words)
    return {int(pid): started for pid, _, started in pairs if pid.isdigit()}


def started_at(pid: int) -> str:
    """When a process started, in the kernel's ticks; "" when there is no such process, or no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[19].decode("ascii")  # field 22, the name being the second
    except OSError:
        return ""


def _end(sessions: dict[int, str], marker: bytes) -> None:
    if not _signal_all(sessions, marker, signal.SIGTERM):
        return
    deadline = time.monotonic() + _TERM_GRACE_S
    while time.monotonic() < deadline and _find(sessions, marker):
        time.sleep(0.05)
    for _ in range(_KILL_ROUNDS):
        if not _signal_all(sessions, marker, signal.SIGKILL):
            return
        time.sleep(0.05)


def _signal_all(sessions: dict[int, str], marker: bytes, number: signal.Signals) -> bool:
    pids = _find(sessions, marker)
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass  # gone between the look and the kill
    return bool(pids)


def _find(sessions: dict[int, str], marker: bytes) -> set[int]:
    """Processes of the app's session, and those that left it but carry its environment variable."""
    if not os.path.isdir("/proc/self"):
        return _find_by_group(set(sessions))
    own = {pid for pid, started in sessions.items() if _is_own(pid, started)}
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and _belongs(int(name), own, marker):
            found.add(int(name))
    return found


def _is_own(session: int, started: str) -> bool:
    """Whether a session is the app's: its leader is the one that was started, or has ended.

    The pid of an app that ended long ago may be another program's now, and lead that one's session."""
    return not started or started_at(session) in ("", started)


def _find_by_group(sessions: set[int]) -> set[int]:
    """Without /proc: the session's leader stands for its process group (a negative pid in kill)."""
    found = set()
    for session in sessions:
        try:
            os.killpg(session, 0)
        except OSError:
            continue
        found.add(-session)
    return found


def _belongs(pid: int, sessions: set[int], marker: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            if stat.read().rpartition(b")")[2].split()[0] == b"Z":
                return False
        if os.getsid(pid) in sessions:
            return True
        with open(f"/proc/{pid}/environ", "rb") as environ:
            return any(entry.startswith(marker) for entry in environ.read().split(b"\0"))
    except OSError:
        return False  # gone, or somebody else's


if __name__ == "__main__":
    main()
