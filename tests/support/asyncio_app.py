"""An app in the test's own event loop, for what a real one would do too seldom: it answers as the test says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from pytest_memory.load.engine import Engine
from pytest_memory.load.messages import Done, Flow, Interval, Job, Stage, Step
from pytest_memory.load.sockets import SocketEngine

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Answer = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


class AsyncioApp:
    """What has been seen: each request's head, and how many were under way at once at most."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.heads: list[bytes] = []
        self.under_way = 0
        self.most_under_way = 0
        self.port = 0
        self.connections: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self.connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                try:
                    await self._answer(writer, head)
                finally:
                    self.under_way -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[AsyncioApp]:
    """The app, until the block ends."""
    app = AsyncioApp(answer)
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0)
    app.port = server.sockets[0].getsockname()[1]
    try:
        yield app
    finally:
        server.close()
        for task in app.connections:
            task.cancel()
        await asyncio.gather(*app.connections, return_exceptions=True)


@contextmanager
def nobody() -> Iterator[tuple[str, int]]:
    """An address that refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()


@contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that neither takes nor refuses connections: its queue is full."""
    with socket.socket() as held, ExitStack() as queued:
        held.bind(("127.0.0.1", 0))
        held.listen(0)
        for _ in range(4):
            waiting = queued.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(held.getsockname())
        yield held.getsockname()


def answer_after(seconds: float) -> Answer:
    async def answer(writer: asyncio.StreamWriter, head: bytes) -> None:
        await asyncio.sleep(seconds)
        writer.write(OK)

    return answer


def burn_cpu(seconds: float) -> None:
    """Have this process compute for so much CPU time."""
    end_s = time.process_time() + seconds
    while time.process_time() < end_s:
        pass


def shake_hands(
    writer: asyncio.StreamWriter, head: bytes, *, status_line: bytes = b"HTTP/1.1 101 Switching Protocols\r\n"
) -> None:
    """Answer a WebSocket's handshake."""
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
    assert found is not None
    digest = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    writer.write(
        status_line + b"upgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


def step(method: str = "GET", path: str = "/", **fields: Any) -> Step:
    """A request with nothing but its host."""
    head = f"{method} {path} HTTP/1.1\r\nhost: app\r\n".encode()
    return Step(target=0, method=method, head=[head], body=[], **fields)


def make_job(
    port: int, *stages: Stage, steps: list[Step] | None = None, keep_cookies: bool = False, **fields: Any
) -> Job:
    """A job of one flow."""
    fields = {"addresses": [("127.0.0.1", port)], "timeout_s": 5.0, "interval_s": 60.0, **fields}
    flow = Flow(steps=steps or [step()], keep_cookies=keep_cookies)
    return Job(id=1, flows=[flow], order=[0], names=["x"], stages=list(stages), **fields)


class Outcome:
    """What a job came to: its `Done`, the counts of its intervals added up, and the engine."""

    def __init__(self, engine: Engine | SocketEngine, done: Done, intervals: list[Interval]) -> None:
        self.engine = engine
        self.done = done
        self.intervals = intervals
        self.requests = sum(counts.requests for one in intervals for counts in one.targets)
        self.errors: dict[str, int] = {}
        for one in intervals:
            for kind, count in one.errors_by_kind.items():
                self.errors[kind] = self.errors.get(kind, 0) + count


async def run_job(job: Job, *, within_s: float = 10.0, clients: list[Any] | None = None) -> Outcome:
    """Run a job in this event loop; TimeoutError when it does not end."""
    intervals: list[Interval] = []

    def keep(interval: Interval) -> None:
        # The engine counts on in the same objects.
        copies = [type(counts)(counts.requests, counts.errors, counts.cells) for counts in interval.targets]
        intervals.append(Interval(**{**_fields(interval), "targets": copies}))

    engine = Engine(job, asyncio.get_running_loop(), keep, clients)
    done = await asyncio.wait_for(engine.run(), within_s)
    return Outcome(engine, done, intervals)


def _fields(interval: Interval) -> dict[str, Any]:
    return {name: getattr(interval, name) for name in interval.__struct_fields__}
