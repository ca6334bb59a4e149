"""What the plugin keeps on pytest's own objects: the keys of their stashes.  Floor 7."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_memory.heap.capture import Camera
    from pytest_memory.load.generator import LoadGenerator
    from pytest_memory.model import RunResult
    from pytest_memory.plugin.live import InPlace
    from pytest_memory.plugin.measurement import Measurement
    from pytest_memory.session import MemorySession

# On the config.
SESSION: pytest.StashKey[MemorySession] = pytest.StashKey()
LINE: pytest.StashKey[InPlace | None] = pytest.StashKey()

# On an item, while and after it runs.
MEASUREMENT: pytest.StashKey[Measurement] = pytest.StashKey()
GENERATOR: pytest.StashKey[LoadGenerator] = pytest.StashKey()
RESULT: pytest.StashKey[RunResult] = pytest.StashKey()
IN_BODY: pytest.StashKey[bool] = pytest.StashKey()
PROBLEM: pytest.StashKey[str] = pytest.StashKey()
FAILED: pytest.StashKey[bool] = pytest.StashKey()
CAMERA: pytest.StashKey[Camera] = pytest.StashKey()
