"""Connecting.  Which of a host's addresses answers: all are tried until one does, and that one is kept to ("localhost"
is ::1 and 127.0.0.1, and an app often listens on one of them only); and what an event loop cannot do by itself.
Floor 5: sockets.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence

# With no time left an address still gets this long: one on this machine refuses at once.
LEAST_S = 0.01
# A slow reader must not have megabytes in the kernel's buffer.
SLOW_READER_BUFFER_BYTES = 4096


class Addresses:
    """The addresses of an app.  May be shared by threads: two that look at once find the same."""

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._candidates = list(addresses)

    def __str__(self) -> str:
        return " and ".join(f"{host} port {port}" for host, port in self._candidates)

    def connect(self, timeout_s: float) -> socket.socket:
        """A connection whose timeout is what is left of ``timeout_s``.  OSError when no address gives one; of
        several failures a refusal, which says most."""
        deadline = time.monotonic() + timeout_s
        failure = OSError("no address")
        candidates = self._candidates
        for position, address in enumerate(candidates):
            share_s = (deadline - time.monotonic()) / (len(candidates) - position)
            try:
                sock = socket.create_connection(address, timeout=max(LEAST_S, share_s))
            except OSError as error:
                failure = failure if isinstance(failure, ConnectionRefusedError) else error
                continue
            self._candidates = [address]
            sock.settimeout(max(LEAST_S, deadline - time.monotonic()))
            return sock
        raise failure


async def connect_slow_reader(loop: asyncio.AbstractEventLoop, address: tuple[str, int]) -> socket.socket:
    """A connection for which the kernel receives little before it is read."""
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_READER_BUFFER_BYTES)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
