"""At which address an app is reached, with real sockets."""

from __future__ import annotations

import socket

import pytest

from pytest_memory.node import readiness
from pytest_memory.node.readiness import choose_free_port, find_host


def listener(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        pytest.skip(f"this machine cannot listen on {host}: {error.strerror}")
    made.listen(50)
    return made


@pytest.mark.parametrize(
    ("family", "address", "host"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
    ],
)
def test_the_address_an_app_listens_on(family: socket.AddressFamily, address: str, host: str) -> None:
    port = choose_free_port()
    assert find_host(port) is None
    with listener(family, address, port):
        assert find_host(port) == host


def test_an_app_that_begins_to_listen_between_two_looks_has_the_address_of_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else its URL would be another one after a restart."""
    looks: list[str] = []

    def accepts(host: str, port: int) -> bool:
        looks.append(host)
        return len(looks) > 1  # nothing at the first look, both from the second on

    monkeypatch.setattr(readiness, "_accepts", accepts)
    assert find_host(3000) == "127.0.0.1"
    assert looks == ["127.0.0.1", "::1", "127.0.0.1"]
