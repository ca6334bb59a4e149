"""Results of many files for one report: what is read, which of several is the newest, what it is called.  Floor 7.

Changes no file, prints only what was left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_memory import results, store
from pytest_memory.cli.artifacts import found_from
from pytest_memory.cli.output import Output
from pytest_memory.errors import ResultFormatError
from pytest_memory.model import Environment, ResultDocument, RunResult
from pytest_memory.report import words


@dataclass(frozen=True, slots=True)
class Collected:
    """The document to show, and how many older results of what it shows were left out."""

    document: ResultDocument
    older: int


def collect(source: Path, output: Output) -> Collected:
    """All results below ``source``, of each test, or tool and app, the newest.

    Files that are no results (a package.json, a baseline) are passed over; a broken one is said, not fatal.
    Raises ResultFormatError when there is none."""
    newest: dict[tuple[str, ...], RunResult] = {}
    created_at, older = "", 0
    for result, document in _read(source, output):
        created_at = max(created_at, document.created_at)
        key = _identity(result)
        known = newest.get(key)
        older += known is not None and known != result  # a copy is nothing that gets lost
        if known is None or result.started_at >= known.started_at:
            newest[key] = result
    if not newest:
        raise ResultFormatError(
            f"{source} holds no results; expected the JSON files of monitor, load, baseline, stress or pytest",
            slug="result-not-a-file",
            hint="they are written by -o FILE, or by pytest --memory-json and --memory-results",
        )
    if older:
        output.note(f"left out: {words.plural('older result', older)} of the same tests or apps")
    shown = [_named(result) for result in newest.values()]
    return Collected(results.make_document(shown, _environment(shown), created_at), older)


def _read(source: Path, output: Output) -> Iterator[tuple[RunResult, ResultDocument]]:
    for path in _result_files(source):
        try:
            document = store.read_document(path)
        except ResultFormatError as error:
            if source == path or _claims_results(path):
                output.note(f"left out: {error}")
            continue
        for result in document.results:
            if result.environment == Environment():
                result = replace(result, environment=document.environment)  # of load, of what failed
            yield found_from(path, result), document


def _identity(result: RunResult) -> tuple[str, ...]:
    """What makes two results one thing measured twice: a test's id is its own, a tool's says nothing of the app."""
    return (result.test_id,) if result.tool == "pytest" else (result.test_id, result.tool, _app_of(result))


def _named(result: RunResult) -> RunResult:
    """A tool's result under a name that tells it from those of other apps and tools: ``"monitor: npm start"``."""
    if result.tool == "pytest":
        return result
    name = result.test_id if result.test_id.startswith(result.tool) else f"{result.tool} {result.test_id}"
    app = _app_of(result)
    return replace(result, test_id=f"{name}: {app}" if app else name)


def _app_of(result: RunResult) -> str:
    """The app's command or address; the process id of an attached one is another at every start."""
    command, url = result.app.command, result.app.url
    return url if url and command.isdigit() else command or url


def _environment(shown: list[RunResult]) -> Environment:
    """That of the newest result that knows the app's Node, else of the newest."""
    newest = max(shown, key=lambda result: (bool(result.environment.node_version), result.started_at))
    return newest.environment


def _result_files(source: Path) -> Iterator[Path]:
    if not source.exists():
        raise ResultFormatError(
            f"{source} does not exist; expected a directory or a file",
            slug="result-not-a-file",
            hint="results are written by -o FILE of each tool, or by pytest --memory-json and --memory-results",
        )
    if source.is_file():
        yield source
        return
    for path in sorted(source.rglob("*.json")):
        if "node_modules" not in path.parts and path.is_file():
            yield path


def _claims_results(path: Path) -> bool:
    """Whether a file that could not be read looks like one of ours that broke."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return True
    return b'"results"' in head and b'"version"' in head
