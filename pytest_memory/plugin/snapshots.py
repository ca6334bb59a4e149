"""What becomes of the heap snapshots a test took: kept when it failed, else deleted with the test.  Floor 7."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest

from pytest_memory.errors import PytestMemoryError, PytestMemoryWarning
from pytest_memory.plugin.ids import id_of_test
from pytest_memory.plugin.stash import CAMERA, FAILED, SESSION

if TYPE_CHECKING:
    from pytest_memory.model import Artifact


def keep(item: pytest.Item) -> list[Artifact]:
    """Keep what was taken so far.  That there is no room for it is a warning: the verdict stands without."""
    from pytest_memory.heap.archive import snapshot_artifact

    camera = item.stash.get(CAMERA, None)
    if camera is None:
        return []
    try:
        return [snapshot_artifact(path) for path in item.config.stash[SESSION].keep_snapshots(camera, id_of_test(item))]
    except PytestMemoryError as error:
        warnings.warn(PytestMemoryWarning(error.message, slug=error.slug), stacklevel=2)
        return []


def keep_of_failed(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Once a phase has its report: keep what is to be kept and say in the report where it is."""
    before = call.when != "setup" and item.stash.get(FAILED, False)  # a rerun begins with its setup
    failed = item.stash[FAILED] = before or report.failed
    if CAMERA not in item.stash or not item.config.stash[SESSION].keeps_snapshots(failed=failed):
        return
    kept = keep(item)
    if kept and failed:
        report.sections.append(("Heap snapshots", "\n".join(artifact.path for artifact in kept)))


def discard(item: pytest.Item) -> None:
    """At the end of the fixture: keep what later fixtures still took, delete all else."""
    session = item.config.stash[SESSION]
    if session.keeps_snapshots(failed=item.stash.get(FAILED, False)):
        keep(item)
    session.discard_snapshots(item.stash[CAMERA])
    del item.stash[CAMERA]
