"""An app as the sampler sees it, without one: for tests below the line."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_memory.cdp.client import InspectorClient
from pytest_memory.errors import InspectorError
from pytest_memory.node.choose import ProcessRecord


class SampledNobody:
    """No processes; ``announced_pids`` are those that have been, for a test to say."""

    processes: Sequence[ProcessRecord] = ()
    announced_pids: frozenset[int] = frozenset()
    printed_bytes: int | None = None

    def inspector_of(self, pid: int) -> InspectorClient:
        raise InspectorError(f"nobody is {pid}", slug="inspector-unreachable")
