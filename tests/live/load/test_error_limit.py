"""A run that too many errors have stopped fails, however well what was then under way ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest
from support.asyncio_app import OK, serving, shake_hands

from pytest_memory.load import LoadGenerator
from pytest_memory.load.result import LoadLimitError, LoadResult

FAILING = 20  # the first ones, at once; the others are answered well, and late
LATE_S = 1.0
OPTIONS = {"duration": "60s", "concurrency": 60, "max_error_rate": 0.5, "interval": "100ms"}


def run(load: LoadGenerator) -> LoadResult:
    return load.run("/", **OPTIONS)  # type: ignore[arg-type]


def run_in_two_processes(load: LoadGenerator) -> LoadResult:
    return load.run("/", workers=2, **OPTIONS)  # type: ignore[arg-type]


def open_websockets(load: LoadGenerator) -> LoadResult:
    return load.websocket("/", clean=False, **OPTIONS)  # type: ignore[arg-type]


def run_scenario(load: LoadGenerator) -> LoadResult:
    async def visit(client: httpx.AsyncClient) -> None:
        await client.get("/")

    return load.scenario(visit, **OPTIONS)  # type: ignore[arg-type]


@pytest.mark.parametrize("drive", [run, run_in_two_processes, open_websockets, run_scenario])
def test_a_run_that_errors_have_stopped_fails(drive: Callable[[LoadGenerator], LoadResult]) -> None:
    seen: list[bytes] = []

    async def fail_at_first(writer: asyncio.StreamWriter, head: bytes) -> None:
        seen.append(head)
        if len(seen) <= FAILING:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
            return
        await asyncio.sleep(LATE_S)
        if b"Upgrade: websocket" in head:
            shake_hands(writer, head)
        else:
            writer.write(OK)

    def attempt(url: str) -> LoadLimitError:
        with LoadGenerator(url) as load, pytest.raises(LoadLimitError) as caught:
            drive(load)
        return caught.value

    async def scenario() -> None:
        async with serving(fail_at_first) as app:
            error = await asyncio.to_thread(attempt, f"http://127.0.0.1:{app.port}")

        assert error.result.stopped_early == "max-error-rate"
        assert error.result.errors == FAILING
        assert error.result.error_rate < 0.5
        assert "so the run was stopped" in error.message
        assert "max_error_rate allows 50.00%" in error.message

    asyncio.run(scenario())
