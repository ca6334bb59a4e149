"""A/B: the tests of a base commit and of the working tree, run in turns on this machine.  Floor 6.

The most reliable comparison there is: same machine, same Node, same hour.  The base is checked out into a git
worktree in a temporary directory; both sides run as pytest subprocesses in the order base, head, head, base, …, so
that a machine that grows warmer or busier does so for both.  The worktree is removed whatever happens; what a
killed run left behind is removed by the next one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from pytest_memory import git, store
from pytest_memory.compare import ComparedTest, compare_runs
from pytest_memory.errors import ConfigError, MonitorError, StoreError
from pytest_memory.model import ResultDocument

Side = Literal["base", "head"]

DEFAULT_ROUNDS = 3  # runs of each side: fewer cannot tell noise from change, more cost minutes
DEFAULT_TIMEOUT_S = 3600.0
_STOP_GRACE_S = 15.0  # pytest's teardown stops the apps under test: give it the time to
_PREFIX = "pytest-memory-ab-"
_LOCKFILES = ("package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "package.json")
_NO_TESTS_COLLECTED = 5
_PYTEST_TROUBLE = (2, 3, 4)  # interrupted, internal error, usage error
_TAIL_LINES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class AbRun:
    """One pytest run of one side; ``exit_status`` is pytest's own."""

    side: Side
    exit_status: int
    duration_s: float
    document: ResultDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class AbReport:
    """Both commits, every run in the order it was made, and one comparison a test."""

    base_ref: str
    base_commit: str
    runs: tuple[AbRun, ...]
    comparisons: tuple[ComparedTest, ...]

    @property
    def worse(self) -> tuple[ComparedTest, ...]:
        """The tests in which something got worse for sure."""
        return tuple(comparison for comparison in self.comparisons if comparison.worse)


def run_ab(
    base_ref: str,
    pytest_arguments: Sequence[str] = (),
    *,
    directory: Path | str = ".",
    rounds: int = DEFAULT_ROUNDS,
    prepare: Sequence[str] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    on_run: Callable[[Side, int, int], None] | None = None,
) -> AbReport:
    """Run the tests below ``directory`` at ``base_ref`` and as they are, ``rounds`` times each, and compare.

    ``prepare`` is a command run once in the base's checkout (``["npm", "ci"]``); without it, installed
    node_modules are shared with the base where their lock file is the same.  ``timeout_s`` bounds each pytest run;
    ``on_run(side, number, of)`` is called before each.

    Raises StoreError (store-git) for a bad ref, ConfigError when dependencies differ and ``prepare`` is missing,
    MonitorError when a run ends without results or in time."""
    directory = Path(directory).resolve()
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds!r}; expected at least 1", slug="config-option")
    root = git.repository_root(directory).resolve()
    commit = git.resolve_commit(base_ref, directory=directory)
    with _worktree(root, commit) as base_root:
        base_directory = base_root / directory.relative_to(root)
        if not base_directory.is_dir():
            raise StoreError(f"{directory} does not exist at {base_ref!r}", slug="store-git")
        if prepare:
            _prepare(prepare, base_directory, timeout_s)
        else:
            _share_node_modules(root, base_root)
        places: dict[Side, Path] = {"base": base_directory, "head": directory}
        runs = []
        for number, side in enumerate(_order(rounds), start=1):
            if on_run is not None:
                on_run(side, number, 2 * rounds)
            runs.append(_run_pytest(side, places[side], pytest_arguments, base_root.parent, timeout_s))
    return AbReport(
        base_ref=base_ref,
        base_commit=commit,
        runs=tuple(runs),
        comparisons=compare_runs(
            [run.document for run in runs if run.side == "base"], [run.document for run in runs if run.side == "head"]
        ),
    )


def _order(rounds: int) -> list[Side]:
    """base, head, head, base, base, head, …: each side first equally often."""
    order: list[Side] = []
    for index in range(rounds):
        order.extend(("base", "head") if index % 2 == 0 else ("head", "base"))
    return order


# --- the base's checkout --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _worktree(root: Path, commit: str) -> Iterator[Path]:
    """A checkout of ``commit`` in a temporary directory, removed at the end, on SIGTERM too."""
    _remove_left_behind(root)
    home = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    checkout = home / "base"
    with _sigterm_as_exit():
        try:
            git.run_git(["worktree", "add", "--detach", "--force", str(checkout), commit], directory=root)
            yield checkout
        finally:
            _remove_worktree(root, checkout)


def _remove_worktree(root: Path, checkout: Path) -> None:
    # A shared node_modules is a link: rmtree and git remove the link, never what it leads to.
    with contextlib.suppress(StoreError):
        git.run_git(["worktree", "remove", "--force", "--force", str(checkout)], directory=root)
    shutil.rmtree(checkout.parent, ignore_errors=True)
    with contextlib.suppress(StoreError):
        git.run_git(["worktree", "prune"], directory=root)


def _remove_left_behind(root: Path) -> None:
    """Remove worktrees of runs that were killed: ours by name, of processes that are gone."""
    listed = git.run_git(["worktree", "list", "--porcelain"], directory=root)
    for line in os.fsdecode(listed).splitlines():
        checkout = Path(line.removeprefix("worktree "))
        home = checkout.parent.name
        if line.startswith("worktree ") and home.startswith(_PREFIX):
            pid = home.removeprefix(_PREFIX).partition("-")[0]
            if pid.isdigit() and not psutil.pid_exists(int(pid)):
                _remove_worktree(root, checkout)


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Within, SIGTERM unwinds like an exception, so that clean-up runs.  Only the main thread may change signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _prepare(command: Sequence[str], directory: Path, timeout_s: float) -> None:
    status, output = _run(command, directory, timeout_s)
    if status != 0:
        raise MonitorError(
            f"{' '.join(command)} ended with status {status} in the base's checkout:\n{_tail(output)}",
            slug="monitor-not-measured",
        )


def _share_node_modules(root: Path, base_root: Path) -> None:
    """Link installed dependencies into the base's checkout where both sides lock the same ones."""
    for installed in _installed_node_modules(root):
        package = installed.parent.relative_to(root)
        base_package = base_root / package
        if not base_package.is_dir() or (base_package / "node_modules").exists():
            continue
        lock = next((name for name in _LOCKFILES if (root / package / name).is_file()), None)
        if lock is not None and not _same_text(root / package / lock, base_package / lock):
            raise ConfigError(
                f"{package / lock} differs between the base and the working tree; the base needs its own dependencies",
                slug="config-option",
                hint='say how to install them: --prepare "npm ci"',
            )
        (base_package / "node_modules").symlink_to(installed)


def _installed_node_modules(root: Path) -> Iterator[Path]:
    for parent, directories, _ in os.walk(root):
        if "node_modules" in directories:
            yield Path(parent) / "node_modules"
        directories[:] = [name for name in directories if name != "node_modules" and not name.startswith(".")]


def _same_text(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False


# --- one run --------------------------------------------------------------------------------------------------


def _run_pytest(side: Side, directory: Path, arguments: Sequence[str], scratch: Path, timeout_s: float) -> AbRun:
    file = scratch / f"{side}.json"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, f"--memory-json={file}"]
    began = time.monotonic()
    status, output = _run(command, directory, timeout_s)
    document = store.read_document(file) if file.is_file() else None
    if status in _PYTEST_TROUBLE or status < 0 or document is None or not document.results:
        what = "collected no tests" if status == _NO_TESTS_COLLECTED else f"ended with status {status}"
        raise MonitorError(
            f"pytest {what} on the {side} side, in {directory}; expected results of memory tests:\n{_tail(output)}",
            slug="monitor-not-measured",
            hint="do the same arguments work with pytest on both commits?",
        )
    return AbRun(
        side=side,
        exit_status=status,
        duration_s=round(time.monotonic() - began, 3),
        document=document,
    )


def _run(command: Sequence[str], directory: Path, timeout_s: float) -> tuple[int, str]:
    """Run to the end within ``timeout_s`` and return exit status and output; nothing of it outlives the call."""
    # The output goes to a file: a pipe kept open by a grandchild would keep us reading for ever.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone, and _stop_tree passes it on once
            )
        except OSError as error:
            raise ConfigError(
                f"{command[0]} cannot be run in {directory}: {error.strerror or error}", slug="config-option"
            ) from error
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise MonitorError(
                f"{' '.join(command[:4])} … did not end within {timeout_s:g} s in {directory}",
                slug="monitor-not-measured",
                hint="raise the timeout, or run fewer tests",
            ) from None
        finally:
            _stop_tree(process)
        output.seek(0)
        return status, output.read().decode("utf-8", "replace")


def _stop_tree(process: subprocess.Popen[bytes]) -> None:
    """Interrupt as a person would, so that pytest tears down; then end whatever is left of the tree."""
    if process.poll() is not None:
        return
    try:
        tree = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        tree = []
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_GRACE_S)
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    if process.poll() is None:
        process.kill()
        process.wait()


def _tail(output: str) -> str:
    return "\n".join(f"    {line}" for line in output.splitlines()[-_TAIL_LINES:])
