"""One start of the app: the process, its output, its private directory, its guardian; and the end of all four.

What it is: what exists between the fork and the last SIGKILL of an app we started ourselves.
What it is not: the handle tests hold (``node.process.NodeApp``), nor an app somebody else started (``node.attach``).
Floor 5.

The app runs in a session of its own, so a Ctrl-C in the terminal reaches pytest alone, whose fixtures then stop the
app in order.  For the ends of pytest that run no fixtures, a guardian process watches; ``node.guardian`` argues why
it is one.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import IO

import psutil

from pytest_memory.cdp.transport import parse_ws_url
from pytest_memory.errors import AppError, ConfigError, InspectorError, PytestMemoryWarning
from pytest_memory.node.attach import find_or_open_inspector, warn_unless_loopback
from pytest_memory.node.choose import Announcement, choose_app
from pytest_memory.node.command import (
    ANNOUNCE_VARIABLE,
    PERMISSION_FLAGS,
    ResolvedCommand,
    announce_file,
    build_argv,
    build_env,
    resolve_command,
)
from pytest_memory.node.discover import AnnouncementFile, describe, gather_facts, listening_ports
from pytest_memory.node.guardian import started_at
from pytest_memory.node.output import AppOutput
from pytest_memory.node.spec import AppSpec
from pytest_memory.node.tree import ProcessTree, is_alive

_GUARDIAN = Path(__file__).with_name("guardian.py")
_READ_BYTES = 1 << 20
_PIPE_BYTES = 1 << 20  # the kernel's limit for unprivileged users: a chatty app rarely has to wait for us
_DRAIN_POLL_S = 1.0
_DISMISS_TIMEOUT_S = 5.0  # longer than a guardian that has work to do takes
_SETTLE_S = 0.5  # for wrappers to follow their app, and for the last output to arrive


class Launch:
    """A started app.  ``stop`` must be called, on every path."""

    def __init__(self, spec: AppSpec, port: int) -> None:
        """Start the app; raises ConfigError for a command that does not exist, AppError[app-not-started]."""
        self.spec = spec
        self.port = port
        self.output = AppOutput()
        self._app: psutil.Process | None = None
        self._asked: str | InspectorError | None = None
        self._stopped = False
        command = resolve_command(spec, port)
        self._run_dir = tempfile.mkdtemp(prefix="pytest-memory-")  # 0700
        self._announcements = AnnouncementFile(announce_file(self._run_dir))
        self._adopting = threading.RLock()
        self._adopted: dict[int, Announcement] = {}
        self._guardian: subprocess.Popen[bytes] | None = None
        popen = None
        try:
            self._guardian = _start_guardian(self._run_dir)
            self._popen = popen = self._spawn(command)
            self._tree = ProcessTree(self._popen.pid, (ANNOUNCE_VARIABLE, announce_file(self._run_dir)))
        except BaseException:
            # Also a Ctrl-C just behind the fork: the guardian, not told that all is well, ends what there may be.
            self._release()
            if popen is not None:
                popen.wait(_DISMISS_TIMEOUT_S)
            raise

    def _spawn(self, command: ResolvedCommand) -> subprocess.Popen[bytes]:
        os.close(os.open(announce_file(self._run_dir), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        argv = build_argv(self.spec, command, self._run_dir)
        env = build_env(self.spec, command, port=self.port, run_dir=self._run_dir, inherited=os.environ)
        read_fd, write_fd = _open_pipe()
        try:
            popen = subprocess.Popen(
                argv,
                cwd=command.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=write_fd,
                stderr=write_fd,  # one pipe for both keeps the order in which lines were printed
                start_new_session=True,
            )
        except OSError as error:
            os.close(read_fd)
            raise AppError(f"{self.spec.label!r} could not be started: {error}", slug="app-not-started") from error
        finally:
            os.close(write_fd)
        self._drain = _Drain(read_fd, self.output)
        _tell(self._guardian, f"{popen.pid}:{started_at(popen.pid)}\n")
        return popen

    @property
    def root_pid(self) -> int:
        """The pid of the process that was started: the app, or the wrapper around it."""
        return self._popen.pid

    @property
    def exit_status(self) -> int | None:
        """Of the started process, which may be a wrapper; -N for signal N, None while it runs."""
        return self._popen.poll()

    @property
    def announced(self) -> dict[int, Announcement]:
        """What the Node processes of the app have said of themselves, by pid, the ended ones included."""
        return self._announcements.read()

    def processes(self) -> list[psutil.Process]:
        """The living processes of the app, parents first."""
        self._adopt_announced()
        self._popen.poll()  # reaps: psutil must not see our own zombie as a process
        return self._tree.alive()

    def find_escaped(self) -> list[psutil.Process]:
        """Like ``processes``, and those whose parents ended before anybody looked; dear: every process is asked."""
        self._popen.poll()
        return self._tree.all_alive()

    def _adopt_announced(self) -> None:
        """Take those that have announced themselves since the last look."""
        with self._adopting:
            announced = self.announced
            if announced is not self._adopted:
                self._tree.adopt(pid for pid, one in announced.items() if self._adopted.get(pid) is not one)
                self._adopted = announced

    def owners(self) -> list[psutil.Process]:
        """The processes of the app that listen on its port."""
        return [process for process in self.processes() if self.port in listening_ports(process)]

    def other_ports(self) -> set[int]:
        """Ports the app listens on besides its own one and its inspectors': a hint when it is not ready."""
        return set().union(*(self._serving_ports(process) for process in self.processes())) - {self.port}

    def _serving_ports(self, process: psutil.Process) -> set[int]:
        announced = self.announced.get(process.pid)
        inspector = {parse_ws_url(announced.url)[1]} if announced and announced.url else set()
        return listening_ports(process) - inspector

    def candidates(self) -> list[psutil.Process]:
        """The processes that may be the app where nobody listens on its port: Node, and no wrapper we know."""
        announced = self.announced
        return [p for p in self.processes() if (one := announced.get(p.pid)) is not None and not one.wrapper]

    @property
    def pid(self) -> int:
        """The process that is the app: settled by ``identify_app``, until then the started process."""
        return self._popen.pid if self._app is None else self._app.pid

    def identify_app(self) -> bool:
        """Look for the app among the processes and settle on it; False when there is no candidate yet."""
        # On any port, if not on its own: launchers (cross-env, tsx) announce themselves first, but listen on none.
        owners = self.owners() or [process for process in self.candidates() if self._serving_ports(process)]
        processes = {process.pid: process for process in self.processes()}
        pid = choose_app(gather_facts(processes.values()), self.announced, [owner.pid for owner in owners])
        if pid is not None:
            self._app = processes[pid]
        return pid is not None

    @property
    def alive(self) -> bool:
        """Whether the app itself runs; a wrapper that outlives it does not count."""
        if self._app is None:
            return self._popen.poll() is None
        self._popen.poll()
        return is_alive(self._app)

    @property
    def inspectors(self) -> dict[int, str]:
        """The ws:// URLs known now, by pid."""
        found = {pid: announcement.url for pid, announcement in self.announced.items() if announcement.url}
        return found | {self.pid: self._asked} if isinstance(self._asked, str) else found

    def find_inspector(self, pid: int) -> str:
        """The ws:// URL of a process of the app; InspectorError[inspector-refused] with the reason when none."""
        announcement = self.announced.get(pid)
        if announcement is None:
            return self._ask_for_inspector(pid)
        if announcement.url is None:
            why = "it is a wrapper" if announcement.wrapper else announcement.refused
            permission = any(word.startswith(PERMISSION_FLAGS) for word in announcement.argv)
            raise InspectorError(
                f"pid {pid} ({' '.join(announcement.argv)[:80]}) has no inspector: {why}",
                slug="inspector-refused",
                hint="add --allow-inspector, or test without --permission" if permission else None,
            )
        warn_unless_loopback(parse_ws_url(announcement.url)[0])  # a flag of the app's own can open it to the world
        return announcement.url

    def _ask_for_inspector(self, pid: int) -> str:
        """SIGUSR1 for a Node process that could not announce itself: its environment was emptied.

        Only the app is asked, and once: a child may use the signal for itself, and its RSS can be read without.
        """
        # One we know, not whoever has the pid by now: the signal ends a program that does not expect it.
        process = next((one for one in self.processes() if one.pid == pid), None)
        if process is None or pid != self.pid:
            raise InspectorError(
                f"pid {pid} has announced no inspector: it is not Node, or its environment was emptied",
                slug="inspector-refused",
            )
        if self._asked is None:
            try:
                self._asked = find_or_open_inspector(process)[0]
            except InspectorError as error:
                self._asked = error
        if isinstance(self._asked, InspectorError):
            raise InspectorError(self._asked.message, slug=self._asked.slug, hint=self._asked.hint)
        return self._asked

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the started process to end, and for the output to be complete; its status, or None."""
        try:
            status = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._drain.join(_SETTLE_S)
        return status

    def stop(self) -> None:
        """End every process of the app and remove what was made for it (idempotent).

        Raises AppError[app-not-stopped] when a process survives SIGKILL (uninterruptible I/O).
        """
        if self._stopped:
            return
        self._stopped = True
        try:
            self._adopt_announced()
            # Not by its pid, which may be a stranger's once the process has been waited for.
            root = self._tree.root if self._popen.poll() is None else None
            first = self._app if self._app is not None else root
            survivors = self._tree.terminate(first, timeout_s=self.spec.stop_timeout_s, settle_s=_SETTLE_S)
        except BaseException:
            # A second Ctrl-C while we were being polite.
            self._tree.terminate(None, timeout_s=0, settle_s=0)
            raise
        finally:
            self.wait(_SETTLE_S)
            self._drain.close()
            _tell(self._guardian, "done\n")
            self._release()
        if survivors:
            shown = ", ".join(describe(process) for process in survivors)
            raise AppError(f"{self.spec.label!r} could not be ended: {shown} survived SIGKILL", slug="app-not-stopped")
        if self._tree.outstayed:
            message = (
                f"{self.spec.label!r} (pid {self.pid}) still ran {self.spec.stop_timeout_s:g} s after SIGTERM and was "
                "killed; expected it to end (if it only needs longer: stop_timeout)"
            )
            warnings.warn(PytestMemoryWarning(message, slug="app-killed"), stacklevel=2)

    def _release(self) -> None:
        if self._guardian is not None:
            _dismiss(self._guardian)
        shutil.rmtree(self._run_dir, ignore_errors=True)


class _Drain:
    """The thread that empties the app's pipe as fast as it fills, whatever the test is doing."""

    def __init__(self, fd: int, output: AppOutput) -> None:
        self._fd = fd
        self._output = output
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="app output", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        try:
            # The end of the pipe may never come: a daemon the app left to itself can hold the other side.
            while not self._closing:
                if poll.poll(_DRAIN_POLL_S * 1000):
                    chunk = os.read(self._fd, _READ_BYTES)
                    if not chunk:
                        return
                    self._output.feed(chunk)
        finally:
            os.close(self._fd)

    def join(self, timeout_s: float) -> None:
        """Wait until the app's last output has been read."""
        self._thread.join(timeout_s)

    def close(self) -> None:
        """Stop reading."""
        self._closing = True
        self._thread.join(2 * _DRAIN_POLL_S)


def _open_pipe() -> tuple[int, int]:
    read_fd, write_fd = os.pipe()
    try:
        fcntl.fcntl(write_fd, getattr(fcntl, "F_SETPIPE_SZ", 1031), _PIPE_BYTES)
    except OSError:
        pass  # not Linux, or above the user's quota of pipe memory: smaller works as well
    return read_fd, write_fd


def _start_guardian(run_dir: str) -> subprocess.Popen[bytes] | None:
    if not sys.executable:
        return None  # embedded Python: no program to run
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARDIAN), run_dir, ANNOUNCE_VARIABLE],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(f"the guardian process could not be started: {error}", slug="config") from error


def _tell(guardian: subprocess.Popen[bytes] | None, words: str) -> None:
    if guardian is None or guardian.stdin is None:
        return
    stdin: IO[bytes] = guardian.stdin
    try:
        stdin.write(words.encode())
        stdin.flush()
    except (OSError, ValueError):
        pass  # it was killed: the ordinary stop still works


def _dismiss(guardian: subprocess.Popen[bytes]) -> None:
    if guardian.stdin is not None:
        try:
            guardian.stdin.close()
        except OSError:
            pass  # it was killed
    try:
        guardian.wait(_DISMISS_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        guardian.kill()
        guardian.wait()
