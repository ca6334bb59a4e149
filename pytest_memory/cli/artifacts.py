"""Kept files named by a result file: relative to it as long as they lie beside it, so that both can be moved.  Floor 7.

In memory, and in what is printed, a path is relative to the working directory, as the person who named it wrote it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pytest_memory.model import Artifact, ResultDocument, RunResult


def for_file_in(directory: Path, document: ResultDocument) -> ResultDocument:
    """The document as it is stored in ``directory``: paths from there, of files elsewhere absolute."""
    base = os.path.abspath(directory)

    def stored(artifact: Artifact) -> Artifact:
        path = os.path.abspath(artifact.path)
        inside = path.startswith(base + os.sep)
        return replace(artifact, path=os.path.relpath(path, base) if inside else path)

    return replace(document, results=tuple(_with_artifacts(result, stored) for result in document.results))


def found_from(file: Path, result: RunResult) -> RunResult:
    """A result read from ``file``, with the paths of files that are still there made valid here.

    Looked for beside the file, then, for results that name files relative to where the measuring command ran, in
    the directories above it and here.  A file of another size is another file."""

    def here(artifact: Artifact) -> Artifact:
        if os.path.isabs(artifact.path):
            return artifact
        place = next((place for place in _places(file) if _is_there(place / artifact.path, artifact)), None)
        return artifact if place is None else replace(artifact, path=_shown(place / artifact.path))

    return _with_artifacts(result, here)


def _with_artifacts(result: RunResult, change: Callable[[Artifact], Artifact]) -> RunResult:
    return replace(result, artifacts=tuple(map(change, result.artifacts))) if result.artifacts else result


def _places(file: Path) -> Iterator[Path]:
    yield from file.absolute().parents
    yield Path.cwd()


def _is_there(path: Path, artifact: Artifact) -> bool:
    try:
        return path.is_file() and artifact.size_bytes in (0, path.stat().st_size)
    except (OSError, ValueError):
        return False  # no name a file can have


def _shown(path: Path) -> str:
    """Relative where it lies below the working directory."""
    shown = os.path.relpath(path)
    return os.path.normpath(path) if shown.startswith(os.pardir) else shown
