"""The driver's locks: what is sent together stays together, and who is told of an end may send."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, cast

import pytest

from pytest_memory.cdp.client import InspectorClient, _Connection
from pytest_memory.cdp.transport import TextTransport
from pytest_memory.errors import InspectorClosed

DEADLINE_S = 20.0


class Wire:
    """Keeps what is sent until it breaks."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self.breaks = False

    def send_text(self, text: str) -> None:
        if self.breaks:
            raise InspectorClosed("broken pipe")
        self.methods.append(json.loads(text)["method"])

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        yield

    def abort(self) -> None:
        pass


def connected() -> tuple[InspectorClient, Wire]:
    wire = Wire()
    return InspectorClient(_Connection("ws://127.0.0.1:1/x", cast(TextTransport, wire))), wire


def test_nothing_of_another_thread_comes_between_what_is_sent_together() -> None:
    client, wire = connected()
    other = threading.Thread(target=client.submit, args=("Other.command",))
    with client.together():
        client.submit("First.command")
        other.start()
        other.join(0.2)
        client.submit("Second.command")
    other.join(DEADLINE_S)
    assert wire.methods == ["First.command", "Second.command", "Other.command"]


def test_who_is_told_that_a_send_failed_may_send() -> None:
    """It waited for an answer, and another command's failure is how it learns that none will come."""
    client, wire = connected()
    refused: list[BaseException] = []

    def send_again(_ended: Future[Any]) -> None:
        with pytest.raises(InspectorClosed) as raised:
            client.submit("Next.command")
        refused.append(raised.value)

    client.submit("First.command").add_done_callback(lambda ended: threaded(send_again, ended))
    wire.breaks = True
    sender = threading.Thread(target=client.submit, args=("Second.command",), daemon=True)
    sender.start()
    sender.join(DEADLINE_S)
    assert not sender.is_alive()
    assert len(refused) == 1


def threaded(target: Any, *arguments: Any) -> None:
    """Run elsewhere and wait: a lock that this thread may take again is one that others wait for."""
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    thread.join(DEADLINE_S / 2)
