"""All addresses of a host are tried, once."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pytest_memory.load.addresses import Addresses

GONE = ("127.0.0.1", 1)
HERE = ("127.0.0.1", 2)


class FakeNetwork:
    def __init__(self, answers: dict[tuple[str, int], OSError | None]) -> None:
        self._answers = answers
        self.tried: list[tuple[str, int]] = []
        self.timeouts: list[float] = []

    def connect(self, address: tuple[str, int], timeout: float) -> Any:
        self.tried.append(address)
        self.timeouts.append(timeout)
        error = self._answers[address]
        if error is not None:
            raise error
        return socket.socket()


def network(monkeypatch: pytest.MonkeyPatch, *answers: OSError | None) -> tuple[FakeNetwork, Addresses]:
    fake = FakeNetwork(dict(zip((GONE, HERE), answers)))
    monkeypatch.setattr(socket, "create_connection", fake.connect)
    return fake, Addresses([GONE, HERE])


def test_the_address_that_answered_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, addresses = network(monkeypatch, ConnectionRefusedError("refused"), None)
    for _ in range(3):
        addresses.connect(5.0).close()
    assert fake.tried == [GONE, HERE, HERE, HERE]
    assert str(addresses) == "127.0.0.1 port 2"


def test_a_silent_address_leaves_time_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, addresses = network(monkeypatch, TimeoutError("timed out"), None)
    with addresses.connect(5.0) as found:
        assert 0 < (found.gettimeout() or 0.0) <= 5.0
    assert fake.timeouts[0] == pytest.approx(2.5, abs=0.2)


@pytest.mark.parametrize(
    "errors", [(ConnectionRefusedError(), OSError("no route")), (OSError("no route"), ConnectionRefusedError())]
)
def test_of_several_failures_the_refusal_is_told(
    monkeypatch: pytest.MonkeyPatch, errors: tuple[OSError, OSError]
) -> None:
    _, addresses = network(monkeypatch, *errors)
    with pytest.raises(ConnectionRefusedError):
        addresses.connect(5.0)
