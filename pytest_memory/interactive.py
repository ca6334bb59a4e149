"""The interactive profiler: a small shell over one live app.  Floor 7: reads commands, prints answers.

On a terminal it has history and completion (prompt_toolkit); fed by a pipe it reads lines and answers the same, so
that it can be scripted: ``printf 'snapshot a\\nsnapshot b\\ncompare\\n' | pytest-memory profile --pid 4711``.
"""

from __future__ import annotations

import difflib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memory import units
from pytest_memory.cli.live import ProgressLine
from pytest_memory.cli.snapshots import show_comparison, show_paths, show_text
from pytest_memory.errors import AppError, ConfigError, PytestMemoryError
from pytest_memory.heap.archive import SNAPSHOT_SUFFIX
from pytest_memory.heap.capture import find_worker
from pytest_memory.settle import settle_app
from pytest_memory.store import now_text

if TYPE_CHECKING:
    from pytest_memory.cdp.client import WorkerSession
    from pytest_memory.cli.output import Output
    from pytest_memory.heap import HeapComparison, HeapSnapshot
    from pytest_memory.heap.profiler import MemoryProfiler

PROMPT = "memory> "
_DEFAULT_TOP = 20
_MAX_COMPLETIONS = 300
_DEFAULT_WATCH_S = 10.0
_WATCH_STEP_S = 1.0


class Quit(Exception):
    """Raised by the command that ends the shell."""


class Shell:
    """Commands over a running profiler.  ``execute`` runs one line; ``run`` reads them until the end."""

    def __init__(self, profiler: MemoryProfiler, output: Output) -> None:
        self._profiler = profiler
        self._output = output
        self.snapshots: dict[str, HeapSnapshot] = {}  # by the names that were typed, whatever their files are called
        self._heap_of: dict[str, str] = {}  # snapshot → the inspector's id of its worker thread, "" for the main thread
        self.started_at = now_text()
        self.comparison: HeapComparison | None = None  # the last one made
        self.analysed: HeapSnapshot | None = None  # the last one that was asked anything
        self._class_names: list[str] = []
        self._commands: dict[str, tuple[Callable[[list[str]], None], str, str]] = {
            "snapshot": (self._snapshot, "[NAME [WORKER]]", "take a heap snapshot, of the app or of a worker thread"),
            "workers": (self._list_workers, "", "the app's worker threads"),
            "gc": (self._gc, "", "collect garbage until the heap stands still"),
            "compare": (self._compare, "[BEFORE AFTER]", "what grew between two snapshots (the last two of one heap)"),
            "top": (self._top, "[N]", "classes of the last snapshot, largest first"),
            "class": (self._class, "NAME", "one class of the last snapshot ('Sess*' fits, too)"),
            "retainers": (self._retainers, "NAME|@ID", "who holds the objects of a class, or one object"),
            "sites": (self._sites, "[N]", "functions that allocated what is alive since the start"),
            "watch": (self._watch, "[SECONDS]", "watch the heap"),
            "list": (self._list, "", "the snapshots taken so far"),
            "help": (self._help, "", "this list"),
            "quit": (self._quit, "", "leave; the app goes on if it is not ours"),
        }

    @property
    def command_names(self) -> tuple[str, ...]:
        return tuple(self._commands)

    def words_for(self, line: str) -> list[str]:
        """What may stand at the end of ``line``: commands, then names of snapshots or of classes seen so far."""
        first, space, _ = line.lstrip().partition(" ")
        if not space:
            return list(self._commands)
        known = {"compare": list(self.snapshots), "class": self._class_names, "retainers": self._class_names}
        return known.get(self._full_name(first.lower()), [])

    def typed_part(self, line: str) -> str:
        """The end of ``line`` that one of these words would take the place of.

        All behind ``class`` and ``retainers``, which take one name, often one of several words."""
        first, space, rest = line.lstrip().partition(" ")
        if not space:
            return first
        takes_one = self._full_name(first.lower()) in ("class", "retainers")
        return rest.lstrip() if takes_one else _last_word(rest)

    def execute(self, line: str) -> None:
        """Run one line.  Raises Quit, or PytestMemoryError with what is wrong."""
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ConfigError(f"the line is {line!r}; expected balanced quotes ({error})") from None
        if not words:
            return
        name, arguments = words[0].lower(), words[1:]
        command = self._commands.get(self._full_name(name))
        if command is None:
            close = difflib.get_close_matches(name, self._commands, n=1)
            raise ConfigError(
                f"unknown command {name!r}", hint=f"did you mean {close[0]!r}?" if close else "'help' lists them"
            )
        command[0](arguments)

    def _full_name(self, name: str) -> str:
        """The command a word means: itself, its other name, or the only one that begins so."""
        name = {"exit": "quit", "?": "help", "diff": "compare"}.get(name, name)
        begins = [known for known in self._commands if known.startswith(name)]
        return begins[0] if name not in self._commands and len(begins) == 1 else name

    def run(self) -> None:
        """Read and execute lines until ``quit`` or the end of the input; errors are said and the shell goes on."""
        self._output.line(self._greeting())
        for line in read_lines(self):
            try:
                self.execute(line)
            except Quit:
                return
            except AppError:
                raise  # without its app there is nothing left to ask
            except PytestMemoryError as error:
                self._output.note(str(error))
            except KeyboardInterrupt:
                self._output.note("interrupted")

    def _greeting(self) -> str:
        app = self._profiler.app
        return f"profiling {app.spec.label} (pid {app.pid}); 'help' lists the commands"

    # --- commands ---

    def _snapshot(self, arguments: list[str]) -> None:
        if len(arguments) > 2:
            raise ConfigError(f"snapshot takes a name and a worker thread; got {len(arguments)} words")
        name = _without_suffix(arguments[0]) if arguments else ""
        name = name or f"snapshot-{len(self.snapshots) + 1}"
        worker = find_worker(self._profiler.app.inspector, arguments[1]) if len(arguments) > 1 else None
        began = time.monotonic()
        snapshot = self._take(name, worker)
        known = self._remember(name, snapshot)
        self._heap_of[known] = worker.worker_id if worker is not None else ""
        size = units.format_size(snapshot.path.stat().st_size)
        called = "" if known == _stem_of(snapshot) else f", called {known!r} here"
        self._output.line(f"{snapshot.path}  {size} in {units.format_duration(time.monotonic() - began)}{called}")

    def _take(self, name: str, worker: WorkerSession | None) -> HeapSnapshot:
        camera = self._profiler.camera
        with ProgressLine(self._output, f"snapshot {name}") as line:
            camera.progress = line.say_share if self._output.can_show_progress else None
            try:
                return camera.take(name, worker=worker)
            finally:
                camera.progress = None

    def _list_workers(self, _arguments: list[str]) -> None:
        workers = self._profiler.app.inspector.workers()
        for worker in workers:
            used = units.format_size(int(worker.call("Runtime.getHeapUsage")["usedSize"]))
            self._output.line(f"{worker.worker_id}  {worker.title}  heap {used}  {worker.url}")
        if not workers:
            self._output.line("no worker thread")

    def _gc(self, _arguments: list[str]) -> None:
        app = self._profiler.app
        before = int(app.inspector.call("Runtime.getHeapUsage")["usedSize"])
        memory = settle_app(app)
        freed = units.format_size(before - memory.heap_used_bytes)
        self._output.line(
            f"heap {units.format_size(memory.heap_used_bytes)} ({freed} freed), "
            f"external {units.format_size(memory.external_bytes)}, RSS {units.format_size(memory.rss_bytes)}"
        )

    def _compare(self, arguments: list[str]) -> None:
        if len(arguments) not in (0, 2):
            raise ConfigError("compare takes two snapshots, or none for the last two")
        names = arguments or self._last_of_one_heap()
        if len(names) < 2:
            raise ConfigError(
                f"there are {len(names)} snapshots of one heap; expected two", hint="take one: snapshot NAME"
            )
        before, after = (self._find(name) for name in names)
        self.comparison, self.analysed = after.compare(before), after
        show_comparison(self._output, self.comparison, top=_DEFAULT_TOP)

    def _top(self, arguments: list[str]) -> None:
        from pytest_memory.heap import tables

        rows = self._latest().classes()
        self._class_names = [row.name for row in rows[:_MAX_COMPLETIONS]]
        show_text(self._output, "", tables.class_table(rows[: _number(arguments, _DEFAULT_TOP)]))

    def _class(self, arguments: list[str]) -> None:
        from pytest_memory.heap import tables

        name = _one(arguments, "class takes the name of a class")
        snapshot = self._latest()
        rows = snapshot.classes(name)
        if not rows:
            raise ConfigError(f"no object of class {name!r} is in {snapshot.name}")
        show_text(self._output, "", tables.class_table(rows[:_DEFAULT_TOP]))
        show_text(self._output, "largest", tables.object_table(snapshot.largest_objects(name, limit=10)))

    def _retainers(self, arguments: list[str]) -> None:
        name = _one(arguments, "retainers takes a class, or the @id of an object")
        wanted: str | int = int(name[1:]) if name.startswith("@") and name[1:].isdecimal() else name
        snapshot = self._latest()
        paths = snapshot.retainer_paths(wanted)
        if not paths:
            raise ConfigError(f"{name!r} is not in {snapshot.name}, or nothing holds it")
        show_paths(self._output, paths)

    def _sites(self, arguments: list[str]) -> None:
        from pytest_memory.heap.allocations import site_table

        profile = self._profiler.read_allocations()
        sites = profile.top_sites(_number(arguments, 10))
        show_text(self._output, "", site_table(sites, profile.total_bytes))

    def _watch(self, arguments: list[str]) -> None:
        seconds = units.parse_duration(arguments[0], plain_unit="s", what="watch") if arguments else _DEFAULT_WATCH_S
        app = self._profiler.app
        began = time.monotonic()
        first: int | None = None
        while True:
            usage = app.inspector.call("Runtime.getHeapUsage")
            used = int(usage["usedSize"])
            first = used if first is None else first
            elapsed = time.monotonic() - began
            change = units.format_size(used - first)
            self._output.line(
                f"{elapsed:7.1f} s  heap {units.format_size(used)} ({'+' if used > first else ''}{change})"
                f" of {units.format_size(int(usage['totalSize']))}"
            )
            self._output.flush()
            if elapsed + _WATCH_STEP_S > seconds:
                return
            time.sleep(_WATCH_STEP_S)

    def _list(self, _arguments: list[str]) -> None:
        for name, snapshot in self.snapshots.items():
            size = units.format_size(snapshot.path.stat().st_size) if snapshot.path.exists() else "deleted"
            self._output.line(f"{name}  {size}  {snapshot.path}")
        if not self.snapshots:
            self._output.line("no snapshot yet")

    def _help(self, _arguments: list[str]) -> None:
        width = max(len(f"{name} {usage}") for name, (_, usage, _) in self._commands.items())
        for name, (_, usage, text) in self._commands.items():
            self._output.line(f"  {f'{name} {usage}':<{width}}  {text}")

    def _quit(self, _arguments: list[str]) -> None:
        raise Quit

    # --- snapshots by name ---

    def _latest(self) -> HeapSnapshot:
        if not self.snapshots:
            raise ConfigError("there is no snapshot yet", hint="take one: snapshot NAME")
        self.analysed = next(reversed(self.snapshots.values()))
        return self.analysed

    def _last_of_one_heap(self) -> list[str]:
        """The last two snapshots of the heap that was looked at last: two heaps have nothing to compare."""
        names = list(self.snapshots)
        heaps = [self._heap_of.get(name, "") for name in names]
        return [name for name, heap in zip(names, heaps) if heap == heaps[-1]][-2:]

    def _remember(self, name: str, snapshot: HeapSnapshot) -> str:
        """The name it is known by from now on: as typed, or its file's where an earlier one bears the typed name."""
        known, number = name, 1
        while known in self.snapshots:
            known = _stem_of(snapshot) if number == 1 else f"{name}-{number}"
            number += 1
        self.snapshots[known] = snapshot
        return known

    def _find(self, name: str) -> HeapSnapshot:
        wanted = _without_suffix(name)
        if wanted in self.snapshots:
            return self.snapshots[wanted]
        by_file = {_stem_of(snapshot): snapshot for snapshot in self.snapshots.values()}
        if wanted in by_file:
            return by_file[wanted]
        known = ", ".join(self.snapshots) or "none"
        raise ConfigError(f"there is no snapshot {name!r}; there are: {known}")


def _stem_of(snapshot: HeapSnapshot) -> str:
    return _without_suffix(snapshot.path.name)


def _without_suffix(name: str) -> str:
    return name.removesuffix(SNAPSHOT_SUFFIX)


def _last_word(text: str) -> str:
    """The word at the end of ``text`` as `shlex` would cut it: blanks in quotes belong to it."""
    start, quote = 0, ""
    for position, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in ("'", '"'):
            quote = char
        elif char == " ":
            start = position + 1
    return text[start:]


def _number(arguments: list[str], default: int) -> int:
    if not arguments:
        return default
    if arguments[0].isdecimal() and int(arguments[0]) > 0:
        return int(arguments[0])
    raise ConfigError(f"the number is {arguments[0]!r}; expected a whole number of at least 1")


def _one(arguments: list[str], expected: str) -> str:
    if len(arguments) != 1:
        raise ConfigError(f"{expected}; got {len(arguments)} words")
    return arguments[0]


# --- reading lines ------------------------------------------------------------------------------------------------


def read_lines(shell: Shell) -> Iterator[str]:
    """Lines from a person with history and completion, or from a pipe as they come."""
    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb"):
        yield from _prompted_lines(shell)
        return
    for line in sys.stdin:
        yield line.rstrip("\n")


def _prompted_lines(shell: Shell) -> Iterator[str]:
    session = _make_session(shell)
    while True:
        try:
            yield session.prompt(PROMPT)
        except KeyboardInterrupt:
            continue  # drops the line, as in every shell
        except EOFError:
            return


def _make_session(shell: Shell) -> Any:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory

    return PromptSession(
        history=_open_history(), completer=make_completer(shell), auto_suggest=AutoSuggestFromHistory()
    )


def make_completer(shell: Shell) -> Any:
    """Completes to what ``shell.execute`` takes: a name of several words comes in quotes, however it was begun."""
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class ShellCompleter(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            line = document.text_before_cursor
            typed = shell.typed_part(line)
            beginning = typed[1:] if typed[:1] in ("'", '"') else typed
            for name in shell.words_for(line):
                if name.startswith(beginning):
                    yield Completion(shlex.quote(name), start_position=-len(typed), display=name)

    return ShellCompleter()


def _open_history() -> Any:
    """The history of earlier sessions, where the home directory can be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    file = Path(base) / "pytest-memory" / "profile-history"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a"):
            pass
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))
