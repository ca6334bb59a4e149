"""The load process: reads jobs from its standard input, drives them, reports on its standard output.  Floor 5.

It is a process of its own so that load never delays the sampling of memory, and it is started by exec, never by
fork, so that it holds nothing of the test process.  It ends when its standard input does, which is when the test
process ends, however that happens; on Linux the kernel tells it too.  It keeps counters, not requests: its memory
is the same after ten million of them.

Run as ``python -m pytest_memory.load.worker``; nobody but `load.pool` has a reason to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from pytest_memory.load.client import Client
from pytest_memory.load.engine import Engine
from pytest_memory.load.messages import (
    Done,
    FromWorker,
    Job,
    Socket,
    Stop,
    ToWorker,
    decode_to_worker,
    encode,
    frame_length,
)

if TYPE_CHECKING:
    from pytest_memory.load.sockets import SocketEngine

_PR_SET_PDEATHSIG = 1
# The collector has little to do here, and its pauses would be measured as the app's.
_GC_THRESHOLD = 100_000


class Inbox(asyncio.Protocol):
    """Cuts standard input into messages.  Its end is the end of the process."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 4 and len(buffer) >= 4 + (length := frame_length(bytes(buffer[:4]))):
            payload = bytes(buffer[4 : 4 + length])
            del buffer[: 4 + length]
            self._session.receive(decode_to_worker(payload))

    def connection_lost(self, error: Exception | None) -> None:
        # Nobody is left to report to: no goodbyes, no flushing.
        os._exit(0)


class Session:
    """The jobs of one process, one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._outbox: asyncio.WriteTransport | None = None
        self._engine: Engine | SocketEngine | None = None
        self._clients: list[Client] = []
        self._clients_for: object = None
        self._running: asyncio.Task[None] | None = None
        self._stop_at_once: str | None = None

    async def open(self, read_fd: int, write_fd: int) -> None:
        """Take up the pipes."""
        writer, _ = await self._loop.connect_write_pipe(asyncio.Protocol, os.fdopen(write_fd, "wb", 0))
        self._outbox = writer
        await self._loop.connect_read_pipe(lambda: Inbox(self), os.fdopen(read_fd, "rb", 0))

    def receive(self, message: ToWorker) -> None:
        """Act on a message."""
        if isinstance(message, Stop):
            # A process that was started for this job may read both at once.
            self._stop_at_once = message.reason
            if self._engine is not None:
                self._engine.stop(message.reason)
        else:
            self._stop_at_once = None
            self._running = self._loop.create_task(self._run(message))

    def send(self, message: FromWorker) -> None:
        """Report."""
        if self._outbox is not None:
            self._outbox.write(encode(message))

    async def _run(self, job: Job | Socket) -> None:
        try:
            self.send(await (self._run_requests(job) if isinstance(job, Job) else self._run_sockets(job)))
        except Exception:  # noqa: BLE001 - the process border: it must be told, and the process cannot go on
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(70)
        finally:
            self._engine = None

    async def _run_requests(self, job: Job) -> Done:
        kept, self._clients = self._clients, []
        destination = (job.addresses, job.tls)
        if self._clients_for != destination:
            for client in kept:
                client.hang_up()
            kept = []
        try:
            engine = Engine(job, self._loop, self.send, kept)
        except OSError as error:  # includes ssl.SSLError: a certificate file that cannot be used
            return Done(id=job.id, duration_s=0, cpu_s=0, next_number=job.first, failure=("tls", str(error)))
        done = await self._drive(engine)
        self._clients, self._clients_for = engine.clients, destination
        return done

    async def _run_sockets(self, job: Socket) -> Done:
        # Only here: few runs have WebSockets, and every process would pay for the import.
        from pytest_memory.load.sockets import SocketEngine

        try:
            engine = SocketEngine(job, self._loop, self.send)
        except OSError as error:
            return Done(id=job.id, duration_s=0, cpu_s=0, next_number=job.first, failure=("tls", str(error)))
        return await self._drive(engine)

    async def _drive(self, engine: Engine | SocketEngine) -> Done:
        self._engine = engine
        if self._stop_at_once is not None:
            engine.stop(self._stop_at_once)
        return await engine.run()


def _die_with_parent() -> None:
    """Have the kernel tell us when the parent is gone.

    The signal comes when the *thread* that started us ends, so the handler looks whether the process has.  The end
    of standard input is what counts; this is for a process too busy to notice."""
    if sys.platform != "linux":
        return
    parent = os.getppid()

    def look(signum: int, frame: object) -> None:
        if os.getppid() != parent:
            os._exit(0)

    signal.signal(signal.SIGUSR2, look)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR2, 0, 0, 0)


def _raise_descriptor_limit() -> None:
    """Allow as many connections as the system lets us have."""
    try:
        import resource
    except ImportError:  # Windows has neither the module nor the limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _new_loop() -> asyncio.AbstractEventLoop:
    if os.environ.get("PYTEST_MEMORY_LOOP") != "asyncio":
        try:
            import uvloop
        except ImportError:
            pass
        else:
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    return asyncio.new_event_loop()


def main() -> None:
    """Serve jobs until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the test process, which then tells us
    _die_with_parent()
    _raise_descriptor_limit()
    # A stray print must not get between the messages: they go to a descriptor of their own.
    write_fd = os.dup(1)
    os.dup2(2, 1)
    read_fd = os.dup(0)
    loop = _new_loop()
    asyncio.set_event_loop(loop)
    session = Session(loop)
    loop.run_until_complete(session.open(read_fd, write_fd))
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 10, 10)
    loop.run_forever()


if __name__ == "__main__":
    main()
